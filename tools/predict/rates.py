"""Multiply-adds per cycle of a kernel on a core, from the instructions that it executes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cores import Core, peak_trace
from engines import MARCH, Compiler, build_llama, build_ours, llama_kernels
from simulate import Program, Simulator


@dataclass(frozen=True)
class Shape:
    """What to time: what a call of `to` tokens takes more than one of `base`.

    So unpacking for many tokens is left out, for it is done once; what is done for each tile,
    prologues and spills included, counts.
    """

    name: str
    n_rows: int
    k: int
    base: int
    to: int

    def macs(self) -> int:
        """Multiply-adds between the two calls."""
        return self.n_rows * (self.to - self.base) * self.k


MANY = Shape("many tokens", 16, 512, 16, 32)
# Where ours pairs activations once for all rows of a call, mostly 64 (plan/ops/linear.cc);
# llama.cpp's kernels get theirs prepared.
_PAIRED = Shape("many tokens", 64, 512, 16, 32)
FEW = Shape("4 tokens", 64, 512, 0, 4)
SIXTEEN = Shape("16 tokens", 16, 512, 0, 16)
ONE = Shape("one token", 64, 512, 0, 1)
# As those, with less to simulate, for kernels that make one dot product a call.
_DOT = {MANY: Shape("many tokens", 4, 1024, 2, 4), ONE: Shape("one token", 16, 1024, 0, 1)}


@dataclass(frozen=True)
class Rate:
    """Multiply-adds per cycle, and of which kernel."""

    macs: float
    kernel: str
    is_repacked: bool = False


class Tier:
    """One tier's programs, ours and llama.cpp's, and their rates."""

    def __init__(
        self,
        name: str,
        quants: Sequence[str],
        compiler: Compiler,
        simulator: Simulator,
        peers: bool,
    ):
        self.name = name
        self._ours = build_ours(name, quants, compiler)
        self._llama = {
            label: build_llama(march, compiler) for label, march in MARCH[name].items() if peers
        }
        self._simulator = simulator

    def ours(self, quant: str, shape: Shape, core: Core, form: str = "") -> Rate:
        """Our matmul's, in the form that it picks itself; the panel's for many tokens."""
        form = form or ("panel" if shape is MANY else "auto")
        if shape is MANY and self.name == "i8mm":
            shape = _PAIRED
        return self._rate(self._ours, form, (quant, form), shape, core)

    def llama(self, quant: str, shape: Shape, core: Core) -> Rate | None:
        """That of llama.cpp's best kernel, repacked or plain, in its best build for the tier."""
        rates = []
        for label, program in self._llama.items():
            for kernel, is_dot in llama_kernels(self.name, quant, shape is ONE):
                used = _DOT[shape] if is_dot else shape
                name = f"{kernel}.{label}" if label else kernel
                rates.append(self._rate(program, name, (kernel,), used, core, not is_dot))
        return max(rates, key=lambda rate: rate.macs, default=None)

    def peak(self, core: Core) -> float:
        """What the core could do with the tier's widest multiply-add and nothing else."""
        trace, macs = peak_trace(self.name)
        return macs / self._simulator.cycles(trace, core)

    def _rate(
        self, program: Program, name: str, args: tuple[str, ...], shape: Shape, core: Core,
        is_repacked: bool = False,
    ) -> Rate:  # fmt: skip
        def cycles(n_tokens: int) -> int:
            trace = program.trace(*args, shape.n_rows, n_tokens, shape.k)
            return self._simulator.cycles(trace, core)

        spent = cycles(shape.to) - (cycles(shape.base) if shape.base else 0)
        return Rate(shape.macs() / spent, name, is_repacked)
