"""Repeated times, what they come to, and how they stand to the machine's limits."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Literal

from . import stats


@dataclass
class Times:
    """Repeated times of one thing. The summaries follow from the samples.

    samples_ms: every time, in order; at least one.
    median_ms: half are faster.
    p90_ms: nine of ten are faster (interpolated, as all percentiles).
    p99_ms: 99 of 100 are faster; close to the maximum for few samples.
    min_ms: the fastest.
    max_ms: the slowest.
    mean_ms: the sum over the count.
    jitter_ms: mean absolute difference between one sample and the next.
    """

    samples_ms: list[float]
    median_ms: float = field(init=False)
    p90_ms: float = field(init=False)
    p99_ms: float = field(init=False)
    min_ms: float = field(init=False)
    max_ms: float = field(init=False)
    mean_ms: float = field(init=False)
    jitter_ms: float = field(init=False)

    def __post_init__(self) -> None:
        """Summarize; ValueError without samples."""
        if not self.samples_ms:
            raise ValueError("Times of no samples; expected at least one.")
        samples = self.samples_ms
        self.median_ms = statistics.median(samples)
        self.p90_ms = stats.percentile(samples, 0.9)
        self.p99_ms = stats.percentile(samples, 0.99)
        self.min_ms, self.max_ms = min(samples), max(samples)
        self.mean_ms = statistics.fmean(samples)
        self.jitter_ms = stats.jitter(samples)

    @property
    def tok_s(self) -> float:
        """Of one token's times: tokens a second, their count over their sum."""
        return 1e3 / self.mean_ms


@dataclass
class Bound:
    """The least time that the measured limits of the machine allow, and what we make of them.

    memory_ms: bytes that must be read over the read bandwidth.
    compute_ms: multiply-adds over the int8 peak.
    limit_ms: the greater of the two.
    by: which one that is.
    share: limit_ms over the measured median: 1 would be all that the machine can do.
    """

    memory_ms: float
    compute_ms: float
    limit_ms: float
    by: Literal["memory", "compute"]
    share: float

    def times(self, n: int) -> Bound:
        """The bound of n such tasks."""
        return Bound(
            n * self.memory_ms, n * self.compute_ms, n * self.limit_ms, self.by, self.share
        )
