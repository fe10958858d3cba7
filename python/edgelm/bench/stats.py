"""The statistics that the suite reports; plain definitions, tested on known inputs."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import Literal

Verdict = Literal["faster", "slower", "no difference beyond the noise", "too few rounds"]

MIN_ROUNDS = 5  # paired ratios that a verdict needs
CONFIDENCE = 0.9  # least probability that the stated interval holds the true median


def percentile(samples: Sequence[float], q: float) -> float:
    """The value below which a share q in [0, 1] lies, interpolated as NumPy's default does."""
    ordered = sorted(samples)
    place = q * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def jitter(samples: Sequence[float]) -> float:
    """Mean absolute difference of neighbours in time (RFC 3550's, unsmoothed); 0 for one sample."""
    if len(samples) < 2:
        return 0.0
    return statistics.fmean(abs(b - a) for a, b in itertools.pairwise(samples))


def median_interval(samples: Sequence[float]) -> tuple[float, float]:
    """An interval that holds the true median with at least CONFIDENCE, if there are 5 samples.

    It runs between two order statistics: the k-th least and the k-th greatest of n samples miss the
    median with probability 2 * P(Binomial(n, 1/2) < k), whatever the distribution. Fewer than 5
    samples cannot reach it; then, as for 5 to 7, it is their whole range.
    """
    ordered = sorted(samples)
    n = len(ordered)
    k, missed = 1, 2 * 0.5**n
    while k < n / 2:
        missed += 2 * math.comb(n, k) * 0.5**n
        if missed > 1 - CONFIDENCE:
            break
        k += 1
    return ordered[k - 1], ordered[n - k]


def paired_ratios(theirs: Sequence[float], ours: Sequence[float]) -> list[float]:
    """Round by round, their time over ours: above 1, ours is the faster."""
    return [t / o for t, o in zip(theirs, ours, strict=True)]


def verdict(ratios: Sequence[float]) -> Verdict:
    """ "faster" or "slower" if the interval of the median ratio leaves no doubt, else why not."""
    if len(ratios) < MIN_ROUNDS:
        return "too few rounds"
    low, high = median_interval(ratios)
    if low > 1:
        return "faster"
    return "slower" if high < 1 else "no difference beyond the noise"


def spread(samples: Sequence[float]) -> float:
    """Half the interquartile range over the median: the noise of a timing, as a share of it."""
    middle = statistics.median(samples)
    return (percentile(samples, 0.75) - percentile(samples, 0.25)) / (2 * middle) if middle else 0.0
