"""Cores and clusters (big.LITTLE), as Linux describes them in sysfs.

Every reader takes the folder that stands for "/", so that tests can lay out a machine of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SAME_CLOCK = 0.9  # cores whose greatest clocks differ by less are of one kind: turbo bins vary


@dataclass
class Core:
    """A processor as the system counts them (a hardware thread).

    cpu: its number.
    core_id: of its physical core in its package; -1 if unknown. Two of one core share it.
    package_id: of its package; -1 if unknown.
    max_mhz: greatest clock by cpufreq; null if not shown.
    capacity: relative speed by the scheduler's model, the fastest 1024; null if not shown.
    governor: cpufreq's; null if not shown.
    usable: this process may run on it.
    """

    cpu: int
    core_id: int
    package_id: int
    max_mhz: float | None
    capacity: int | None
    governor: str | None
    usable: bool


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


def cpu_list(text: str) -> list[int]:
    """The kernel's list format: "0-3,6" is [0, 1, 2, 3, 6]."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            cpus += range(int(first), int(last or first) + 1)
    return cpus


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


def read_cores(root: Path, usable: Sequence[int]) -> list[Core]:
    """Every online processor; [] where sysfs is not shown."""
    return list(_cores(root / "sys/devices/system/cpu", set(usable)))


def _cores(folder: Path, usable: set[int]) -> Iterator[Core]:
    for cpu in cpu_list(text_of(folder / "online") or ""):
        own = folder / f"cpu{cpu}"
        khz = number_of(own / "cpufreq/cpuinfo_max_freq")
        capacity = number_of(own / "cpu_capacity")
        yield Core(
            cpu=cpu,
            core_id=int(_or(number_of(own / "topology/core_id"), -1)),
            package_id=int(_or(number_of(own / "topology/physical_package_id"), -1)),
            max_mhz=None if khz is None else khz / 1000,
            capacity=None if capacity is None else int(capacity),
            governor=text_of(own / "cpufreq/scaling_governor"),
            usable=cpu in usable,
        )


def _or(number: float | None, default: float) -> float:
    return default if number is None else number


def read_clusters(root: Path, cores: Sequence[Core]) -> list[Cluster]:
    """Kinds of cores, the fastest first.

    Told apart by what Intel's hybrid parts list, else by the scheduler's capacities, else by their
    greatest clocks. [] where no core is shown.
    """
    if not cores:
        return []
    groups = [
        [core for core in cores if core.cpu in cpu_list(text_of(path) or "")]
        for path in (root / "sys/devices/cpu_core/cpus", root / "sys/devices/cpu_atom/cpus")
    ]
    if not all(groups):
        groups = _groups(cores)
    names = {1: ["all"], 2: ["big", "little"], 3: ["prime", "big", "little"]}.get(
        len(groups), ["prime", "big", *["middle"] * (len(groups) - 3), "little"]
    )
    return [
        Cluster(name, [c.cpu for c in group], max(c.max_mhz or 0 for c in group) or None)
        for name, group in zip(names, groups, strict=True)
    ]


def _groups(cores: Sequence[Core]) -> list[list[Core]]:
    capacities = {core.capacity for core in cores}
    if len(capacities) > 1 and None not in capacities:
        order = sorted((c for c in capacities if c is not None), reverse=True)
        return [[core for core in cores if core.capacity == capacity] for capacity in order]
    groups: list[list[Core]] = []
    for core in sorted(cores, key=lambda c: -(c.max_mhz or 0)):
        if groups and (core.max_mhz or 0) >= SAME_CLOCK * (groups[-1][0].max_mhz or 0):
            groups[-1].append(core)
        else:
            groups.append([core])
    return [sorted(group, key=lambda c: c.cpu) for group in groups]


def physical(cores: Sequence[Core], cpus: Sequence[int]) -> list[int]:
    """One usable processor of every physical core among `cpus`."""
    seen: set[tuple[int, int]] = set()
    chosen = []
    for core in cores:
        place = (core.package_id, core.core_id)
        if core.usable and core.cpu in cpus and (core.core_id < 0 or place not in seen):
            seen.add(place)
            chosen.append(core.cpu)
    return chosen


def performance_cpus(cores: Sequence[Core], clusters: Sequence[Cluster]) -> list[int]:
    """One usable processor of every core but those of the slowest kind, where there are several."""
    fast = clusters if len(clusters) == 1 else clusters[:-1]
    return physical(cores, [cpu for cluster in fast for cpu in cluster.cpus])
