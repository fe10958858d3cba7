"""Multiply-adds per cycle of a kernel on a core, from the instructions that it executes."""

from __future__ import annotations

from dataclasses import dataclass

from cores import Core, peak_trace
from engines import COMPILERS, MARCH, build_llama, build_ours, llama_kernels
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


MANY = Shape("many tokens", 16, 1024, 16, 32)
FEW = Shape("4 tokens", 64, 1024, 0, 4)
ONE = Shape("one token", 64, 1024, 0, 1)
# As those, with less to simulate, for kernels that make one dot product a call.
_DOT = {MANY: Shape("many tokens", 4, 1024, 2, 4), ONE: Shape("one token", 16, 1024, 0, 1)}


@dataclass(frozen=True)
class Rate:
    """Multiply-adds per cycle, and of which kernel."""

    macs: float
    kernel: str


class Tier:
    """One tier's programs, ours and llama.cpp's, and their rates."""

    def __init__(self, name: str, compiler: str, simulator: Simulator):
        self.name = name
        self._compiler = COMPILERS[compiler]
        self._ours = build_ours(name, self._compiler)
        self._simulator = simulator

    def ours(self, quant: str, shape: Shape, core: Core, form: str = "") -> Rate:
        """Our matmul's, in the form that it picks itself; the panel's for many tokens."""
        form = form or ("panel" if shape is MANY else "auto")
        return self._rate(self._ours, form, (quant, form), shape, core)

    def llama(self, quant: str, shape: Shape, core: Core) -> Rate:
        """That of llama.cpp's best kernel, repacked or plain, in its best build for the tier."""
        return max(self.llama_all(quant, shape, core), key=lambda rate: rate.macs)

    def llama_all(self, quant: str, shape: Shape, core: Core) -> list[Rate]:
        """Those of all of llama.cpp's kernels for the type that this tier can run."""
        rates = []
        for label, march in MARCH[self.name].items():
            program = build_llama(march, self._compiler)
            for kernel, is_dot in llama_kernels(self.name, quant, shape is ONE):
                used = _DOT[shape] if is_dot else shape
                name = f"{kernel}.{label}" if label else kernel
                rates.append(self._rate(program, name, (kernel,), used, core))
        return rates

    def peak(self, core: Core) -> float:
        """What the core could do with the tier's widest multiply-add and nothing else."""
        trace, macs = peak_trace(self.name)
        return macs / self._simulator.cycles(trace, core)

    def _rate(
        self, program: Program, name: str, args: tuple[str, ...], shape: Shape, core: Core
    ) -> Rate:
        def cycles(n_tokens: int) -> int:
            trace = program.trace(*args, shape.n_rows, n_tokens, shape.k)
            return self._simulator.cycles(trace, core)

        spent = cycles(shape.to) - (cycles(shape.base) if shape.base else 0)
        return Rate(shape.macs() / spent, name)
