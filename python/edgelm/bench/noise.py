"""Whether the machine is quiet enough for its times to be quoted."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import heat

GAP_S = 2e-4  # a spinning thread that sees more than this pass was not running
MAX_BUSY = 0.05
MAX_LOST = 0.05


@dataclass
class Process:
    """Another process that was running.

    name: as the kernel knows it.
    cores: processors' worth of time that it took.
    """

    name: str
    cores: float


@dataclass
class Noise:
    """What else the machine does, watched for `seconds` before and after the run.

    seconds: of each look.
    others: share of all processors that others use while we sleep; null if not shown.
    lost: share of its time in which a spinning thread did not run.
    steal: share of all processors that the hypervisor gave to others; null if not shown.
    processes: the busiest others.
    quiet: neither is above 5 %.
    mhz: clock by kind of core, as cpufreq shows it while one of us spins; empty if not shown.
    celsius: temperature by thermal zone; empty if not shown.
    """

    seconds: float
    others: float | None
    lost: float
    steal: float | None
    processes: list[Process] = field(default_factory=list)
    quiet: bool = True
    mhz: dict[str, float] = field(default_factory=dict)
    celsius: dict[str, float] = field(default_factory=dict)


def look(seconds: float = 0.4, root: Path = Path("/")) -> Noise:
    """Watch for 2 * `seconds`: asleep, to see others; spinning, to see whether we are let run."""
    before, own = _processes(root), os.getpid()
    asleep_before = cpu_times(root)
    time.sleep(seconds)
    asleep = share_between(asleep_before, cpu_times(root))
    after = _processes(root)
    tick = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
    used = {
        pid: (name, (ticks - before[pid][1]) / tick / seconds)
        for pid, (name, ticks) in after.items()
        if pid in before and pid != own
    }
    busiest = sorted(used.values(), key=lambda item: -item[1])[:3]
    spinning_before = cpu_times(root)
    lost = lost_share(seconds)
    spinning = share_between(spinning_before, cpu_times(root))
    mhz = heat.cluster_clocks(root)
    others = None if asleep is None else asleep[0]
    steal = None if spinning is None else spinning[1]
    return Noise(
        seconds=seconds,
        others=others,
        lost=lost,
        steal=steal,
        processes=[Process(name, cores) for name, cores in busiest if cores >= 0.05],
        quiet=(others or 0) <= MAX_BUSY and lost <= MAX_LOST and (steal or 0) <= MAX_BUSY,
        mhz=mhz,
        celsius=heat.temperatures(root),
    )


def lost_share(seconds: float) -> float:
    """Share of the time in which this thread, spinning, was not running."""
    start = last = time.perf_counter()
    lost = 0.0
    while last - start < seconds:
        now = time.perf_counter()
        if now - last > GAP_S:
            lost += now - last
        last = now
    return lost / (last - start)


def cpu_times(root: Path) -> tuple[float, float, float] | None:
    """Ticks since boot that all processors spent busy, stolen, and in all; None if not shown."""
    try:
        line = (root / "proc/stat").read_text().partition("\n")[0].split()
    except OSError:
        return None
    ticks = [float(n) for n in line[1:9]] if line[:1] == ["cpu"] else []
    if len(ticks) < 8:
        return None
    _user, _nice, _system, idle, iowait, _irq, _softirq, steal = ticks
    return sum(ticks) - idle - iowait, steal, sum(ticks)


def share_between(
    before: tuple[float, float, float] | None, after: tuple[float, float, float] | None
) -> tuple[float, float] | None:
    """Shares of all processors' time, busy (stolen included) and stolen, between two readings."""
    if before is None or after is None or after[2] <= before[2]:
        return None
    total = after[2] - before[2]
    return (after[0] - before[0]) / total, (after[1] - before[1]) / total


def _processes(root: Path) -> dict[int, tuple[str, float]]:
    """Name and ticks of processor time by process id, of those that we may see."""
    found = {}
    for path in root.glob("proc/[0-9]*/stat"):
        try:
            text = path.read_text(errors="replace")
        except OSError:  # it has ended
            continue
        name, _, rest = text.partition("(")[2].rpartition(")")
        fields = rest.split()
        if len(fields) > 12:
            found[int(path.parent.name)] = (name, float(fields[11]) + float(fields[12]))
    return found
