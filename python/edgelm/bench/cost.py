"""Processor time and energy per token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class Cost:
    """Processor time, and energy where the system shows it.

    phase: what was running.
    n_tokens: tokens computed meanwhile.
    seconds: how long that took.
    cpu_s_per_token: processor seconds of all threads; waiting in a spin counts.
    energy_source: what was read, "RAPL package-0" say; null if nothing could be.
    energy_unavailable: why not; null if it was read.
    joules_per_token: of all that the source covers, idle power included.
    watts: mean power.
    idle_watts: mean power just before, with nothing running.
    watts_samples: where the source is a gauge, its readings.
    """

    phase: Literal["prefill", "decode"]
    n_tokens: int
    seconds: float
    cpu_s_per_token: float
    energy_source: str | None
    energy_unavailable: str | None
    joules_per_token: float | None
    watts: float | None
    idle_watts: float | None
    watts_samples: list[float]
