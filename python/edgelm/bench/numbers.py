"""Numbers as a reader wants them: three digits that count, and a dash for what is not known."""

from __future__ import annotations

import math

ABSENT = "\N{EN DASH}"


def number(x: float | None) -> str:
    """Three significant digits, never in powers of ten: 0.0123, 1.23, 12.3, 123, 1,235."""
    if x is None or not math.isfinite(x):
        return ABSENT
    if x == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(x))))
    return f"{x:,.{min(decimals, 6)}f}"


def percent(x: float | None) -> str:
    """A share: 0.77 is "77 %"."""
    return ABSENT if x is None or not math.isfinite(x) else f"{100 * x:.0f} %"


def mib(n_bytes: float | None) -> str:
    """Bytes in MiB, without the unit."""
    return ABSENT if n_bytes is None else number(n_bytes / 2**20)


def count(n: int | None) -> str:
    """A whole number."""
    return ABSENT if n is None else f"{n:,}"


def duration(seconds: float) -> str:
    """ "45 s" or "2 min 23 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
