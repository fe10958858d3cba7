"""Cores and clusters (big.LITTLE), as the engine sees them, and the small files of sysfs.

Every reader takes the folder that stands for "/", so that tests can lay out a machine of their own.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import _core


@dataclass
class Core:
    """A processor as the system counts them (a hardware thread).

    cpu: its number.
    max_mhz: greatest clock by cpufreq; null if not shown.
    capacity: relative speed by the scheduler's model, the fastest 1024; null if not shown.
    governor: cpufreq's; null if not shown.
    usable: this process may run on it.
    core: number of the first processor of its physical core; -1 if unknown.
    speed: beside the fastest, which is 1: by capacity, else by clock, else equal.
    fast: usable, and of a core that gets a thread by default.
    name: of its kind, on ARM; null if not shown.
    """

    cpu: int
    max_mhz: float | None
    capacity: int | None
    governor: str | None
    usable: bool
    core: int = -1
    speed: float = 1.0
    fast: bool = True
    name: str | None = None


@dataclass
class Cluster:
    """Cores of one kind.

    name: "all" where there is one kind; else "prime", "big", "middle" or "little".
    cpus: their numbers.
    max_mhz: greatest clock of its cores; null if not shown.
    """

    name: str
    cpus: list[int]
    max_mhz: float | None


def text_of(path: Path) -> str | None:
    """A small system file, stripped; None if it is not there or not for us."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def number_of(path: Path) -> float | None:
    """A system file that holds a number; None if it does not."""
    try:
        return float(text_of(path) or "")
    except ValueError:
        return None


def read_cores(root: Path) -> tuple[list[Core], list[Cluster]]:
    """Every online processor, and their kinds, the fastest first; none where sysfs is not shown."""
    cpus = _core.read_topology(str(root)).cpus
    folder = root / "sys/devices/system/cpu"
    cores = [
        Core(
            cpu=cpu.cpu,
            max_mhz=cpu.max_mhz or None,
            capacity=cpu.capacity or None,
            governor=text_of(folder / f"cpu{cpu.cpu}/cpufreq/scaling_governor"),
            usable=cpu.usable,
            core=cpu.core,
            speed=cpu.speed,
            fast=cpu.fast,
            name=arm_core(cpu.midr >> 12, cpu.midr & 0xFFF) if cpu.midr else None,
        )
        for cpu in cpus
    ]
    kinds: dict[int, list[Core]] = {}
    for cpu, core in zip(cpus, cores, strict=True):
        kinds.setdefault(cpu.cluster, []).append(core)
    groups = [kinds[number] for number in sorted(kinds)]
    clusters = [
        Cluster(name, [c.cpu for c in group], max(c.max_mhz or 0 for c in group) or None)
        for name, group in zip(_names(len(groups)), groups, strict=True)
    ]
    return cores, clusters


def _names(n: int) -> list[str]:
    few = {0: [], 1: ["all"], 2: ["big", "little"], 3: ["prime", "big", "little"]}
    return few[n] if n in few else ["prime", "big", *["middle"] * (n - 3), "little"]


def physical(cores: Sequence[Core]) -> list[int]:
    """One usable processor of every physical core."""
    usable = sorted((c for c in cores if c.usable), key=lambda c: (_place(c), c.cpu))
    return sorted(next(same).cpu for _, same in itertools.groupby(usable, key=_place))


def _place(core: Core) -> int:
    return core.core if core.core >= 0 else core.cpu


def fast_cpus(cores: Sequence[Core]) -> list[int]:
    """One processor of every core that gets a thread by default, the fastest first."""
    speeds = {core.cpu: core.speed for core in cores}
    fast = physical([core for core in cores if core.fast])
    return sorted(fast, key=lambda cpu: (-speeds[cpu], cpu))


def arm_core(implementer: int, part: int) -> str:
    """What a core is called, by its MIDR."""
    if implementer == 0x41 and part in ARM_PARTS:
        return ARM_PARTS[part]
    return PARTS.get((implementer, part), f"part {implementer:#x}:{part:#05x}")


# Arm's own cores, by the MIDR part number (Arm's Technical Reference Manuals, "MIDR_EL1").
ARM_PARTS = {
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1",
    0xD0D: "Cortex-A77",
    0xD40: "Neoverse-V1",
    0xD41: "Cortex-A78",
    0xD44: "Cortex-X1",
    0xD46: "Cortex-A510",
    0xD47: "Cortex-A710",
    0xD48: "Cortex-X2",
    0xD49: "Neoverse-N2",
    0xD4D: "Cortex-A715",
    0xD4E: "Cortex-X3",
    0xD4F: "Neoverse-V2",
    0xD80: "Cortex-A520",
    0xD81: "Cortex-A720",
    0xD82: "Cortex-X4",
    0xD85: "Cortex-X925",
    0xD87: "Cortex-A725",
    0xD8B: "C1-Pro",
    0xD8C: "C1-Ultra",
    0xD90: "C1-Premium",
}

# Others' cores, by implementer and part, as the kernel's asm/cputype.h lists them.
PARTS = {
    (0x51, 0x001): "Oryon",
    (0x51, 0x801): "Kryo Silver",
    (0x51, 0x802): "Kryo Gold",
    (0x51, 0x803): "Kryo Silver",
    (0x51, 0x804): "Kryo Gold",
    (0x51, 0x805): "Kryo Silver",
}
