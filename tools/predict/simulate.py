"""What an arm64 program executes between two marks, and what llvm-mca says of it.

The program runs under qemu-user, an instruction a block, and logs each program counter; the
instructions from the return of `trace_begin` to the call of `trace_end` go to llvm-mca as one
straight line, branches included. So loops count as often as they ran, and epilogues and spills too.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cores import Core

QEMU, MCA, OBJDUMP = "qemu-aarch64-static", "llvm-mca-19", "llvm-objdump-19"
NM = "llvm-nm-19"
# 128-bit SVE, as phones have it.
CPU = "max,sve-max-vq=1"

_INSTRUCTION = re.compile(r"^ *([0-9a-f]+): *\t(\S.*)$")
_EXECUTED = re.compile(r"^Trace \d+: \S+ \[[^/]*/([0-9a-f]+)/")
# A branch's target is an address of the program; llvm-mca follows no branch, and guesses at calls.
_TARGET = re.compile(r"(?:0x)?[0-9a-f]+ <[^>]*>")
_PLAIN_BRANCH = {"bl": "b", "blr": "br", "ret": "br\tx30"}


def disassemble(program: Path) -> dict[int, str]:
    """Every instruction of the program, by address."""
    listing = run([OBJDUMP, "-d", "--no-show-raw-insn", "--mattr=+all", str(program)])
    return dict(parse_listing(listing.splitlines()))


def parse_listing(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """(address, text that an assembler takes) of each instruction in an objdump listing."""
    for line in lines:
        found = _INSTRUCTION.match(line)
        if not found:
            continue
        name, _, operands = found[2].split("//")[0].strip().partition("\t")
        operands = _TARGET.sub("target", operands)
        if name == "adr" or name == "adrp":
            operands = operands.split(",")[0] + ", target"
        name = _PLAIN_BRANCH.get(name, name)
        yield int(found[1], 16), f"{name}\t{operands}".rstrip()


def executed(log: Iterable[str], begin: int, end: int) -> Iterator[int]:
    """The addresses logged between the marks: what ran after `begin` returned, up to `end`."""
    inside = False
    for line in log:
        found = _EXECUTED.match(line)
        if not found:
            continue
        address = int(found[1], 16)
        if address == begin:
            inside = True
        elif address == end:
            return
        elif inside:
            yield address
    raise ValueError(
        "the program's log has no instruction of trace_end: it ended early, or qemu logs otherwise"
    )


class Program:
    """A statically linked arm64 program with the marks `trace_begin` and `trace_end`."""

    def __init__(self, path: Path):
        self._path = path
        self._text = disassemble(path)
        self._traces: dict[tuple[object, ...], list[str]] = {}
        self._begin, self._end = symbols(path, "trace_begin", "trace_end")

    def trace(self, *args: object) -> list[str]:
        """The instructions that a run with these arguments executes between the marks."""
        if args not in self._traces:
            self._traces[args] = self._run(*args)
        return self._traces[args]

    def _run(self, *args: object) -> list[str]:
        new = "one-insn-per-tb" in run([QEMU, "-h"])  # since QEMU 8.1; -singlestep before
        step = "-one-insn-per-tb" if new else "-singlestep"
        command = [QEMU, "-cpu", CPU, step, "-d", "exec,nochain", "-D", "/dev/stderr"]
        with subprocess.Popen(
            [*command, str(self._path), *map(str, args)],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        ) as process:  # fmt: skip
            assert process.stderr is not None
            addresses = list(executed(process.stderr, self._begin, self._end))
            for _ in process.stderr:
                pass
        if process.returncode != 0:
            raise RuntimeError(f"{self._path.name} {args} under {QEMU}: exit {process.returncode}")
        return [self._text[a] for a in addresses]


def symbols(program: Path, *names: str) -> list[int]:
    """The addresses of these functions."""
    table = run(["llvm-nm-19", str(program)])
    at = {
        line.split()[-1]: int(line.split()[0], 16) for line in table.splitlines() if line[0] != " "
    }
    return [at[name] for name in names]


class Simulator:
    """llvm-mca, with what it said before about a trace and a core kept in a folder."""

    def __init__(self, cache: Path):
        self._cache = cache / "cycles"
        self._cache.mkdir(parents=True, exist_ok=True)
        self._version = run([MCA, "--version"])

    def cycles(self, trace: Sequence[str], core: Core) -> int:
        """Cycles that the core's model takes for the trace."""
        flags = ["-mtriple=aarch64", f"-mcpu={core.model}", "-iterations=1", "-json",
                 "-resource-pressure=false", "-instruction-info=false"]  # fmt: skip
        if core.dispatch:
            flags.append(f"-dispatch={core.dispatch}")
        text = "\n".join(trace) + "\n"
        key = hashlib.sha256("\n".join([self._version, *flags, text]).encode()).hexdigest()
        kept = self._cache / key
        if not kept.exists():
            told = json.loads(run([MCA, *flags], text))
            new = kept.with_suffix(f".{threading.get_ident()}")  # others may look at the same time
            new.write_text(str(told["CodeRegions"][0]["SummaryView"]["TotalCycles"]))
            new.replace(kept)
        return int(kept.read_text())


def run(command: list[str], text: str | None = None) -> str:
    """What the command prints; its own words if it fails."""
    if shutil.which(command[0]) is None:
        raise RuntimeError(f"{command[0]} was not found: --help names the packages to install")
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:4])} ... failed:\n{done.stderr[:2000]}")
    return done.stdout
