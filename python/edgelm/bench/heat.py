"""Clocks and temperatures, where the system shows them."""

from __future__ import annotations

from pathlib import Path

from .topology import number_of, read_cores, text_of

ABSOLUTE_ZERO = -273.15
HOTTEST = 200.0  # no sensor of a working device shows more: some give junk when they are off


def clocks(root: Path) -> dict[str, float]:
    """MHz by processor, from cpufreq's scaling_cur_freq in kHz."""
    found = {}
    folder = root / "sys/devices/system/cpu"
    for path in sorted(folder.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"), key=_number):
        if (khz := number_of(path)) is not None:
            found[path.parent.parent.name] = khz / 1000
    return found


def cluster_clocks(root: Path) -> dict[str, float]:
    """MHz by kind of core, "big" say: the highest of its processors, which share a clock on ARM."""
    by_cpu = clocks(root)
    found = {}
    for cluster in read_cores(root)[1]:
        shown = [by_cpu[f"cpu{cpu}"] for cpu in cluster.cpus if f"cpu{cpu}" in by_cpu]
        if shown:
            found[cluster.name] = max(shown)
    return found


def temperatures(root: Path) -> dict[str, float]:
    """Degrees Celsius by thermal zone; zones of one type are numbered.

    The kernel's unit is a thousandth of a degree; some phones' drivers give tenths or degrees.
    """
    found: dict[str, float] = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*"), key=_number):
        if (shown := number_of(zone / "temp")) is None:
            continue
        celsius = shown / (1000 if abs(shown) > 1000 else 10 if abs(shown) > HOTTEST else 1)
        if ABSOLUTE_ZERO < celsius < HOTTEST:
            name = text_of(zone / "type") or zone.name
            found[f"{name} {zone.name[12:]}" if name in found else name] = celsius
    return found


def _number(path: Path) -> tuple[int, str]:
    """Sorts cpu10 after cpu9."""
    name = next(part for part in reversed(path.parts) if part[-1:].isdigit())
    digits = name[len(name.rstrip("0123456789")) :]
    return int(digits), name
