"""Decoding for long, while the machine warms up."""

from __future__ import annotations

from dataclasses import dataclass

from .timing import Times


@dataclass
class SustainPoint:
    """One interval of a sustained run.

    t_s: its end, since the beginning.
    tok_s: tokens decoded a second within it.
    mhz: clock by processor; empty if the system won't tell.
    celsius: temperature by thermal zone; empty if the system won't tell.
    core_mhz: clock measured by a chain of adds on the calling thread.
    """

    t_s: float
    tok_s: float
    mhz: dict[str, float]
    celsius: dict[str, float]
    core_mhz: float


@dataclass
class Sustain:
    """Decoding for long, to see the machine throttle.

    seconds: asked for.
    first_tok_s: over the first tenth.
    last_tok_s: over the last tenth.
    points: about one a second.
    token: every token's time.
    unavailable: what could not be read, and why.
    """

    seconds: float
    first_tok_s: float
    last_tok_s: float
    points: list[SustainPoint]
    token: Times
    unavailable: list[str]
