"""The suite's statistics on known inputs, its time budget, and the turns of its tasks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from edgelm.bench import stats
from edgelm.bench.budget import Budget
from edgelm.bench.limits import Limit, bound
from edgelm.bench.run import CannotMeasure, Run, Task
from edgelm.bench.timing import Times


@pytest.mark.parametrize("n", [1, 2, 3, 10, 101])
@pytest.mark.parametrize("q", [0.0, 0.25, 0.5, 0.9, 0.99, 1.0])
def test_percentile_is_numpys(n: int, q: float, rng: np.random.Generator) -> None:
    """Independent source: numpy.quantile."""
    samples = rng.exponential(10, n).tolist()
    assert stats.percentile(samples, q) == pytest.approx(np.quantile(samples, q))


def test_jitter_is_the_mean_step() -> None:
    assert stats.jitter([1.0, 3.0, 2.0, 2.0]) == pytest.approx((2 + 1 + 0) / 3)
    assert stats.jitter([5.0]) == 0


def test_summaries_of_known_times() -> None:
    times = Times([4.0, 1.0, 3.0, 2.0])
    assert (times.median_ms, times.min_ms, times.max_ms, times.mean_ms) == (2.5, 1.0, 4.0, 2.5)
    assert times.tok_s == 400  # four tokens in ten milliseconds
    with pytest.raises(ValueError, match="no samples"):
        Times([])


@pytest.mark.parametrize(
    ("n", "rank"),
    # The greatest k with 2 * P(Binomial(n, 1/2) < k) <= 0.1, from a printed table of the sign test.
    [(5, 1), (7, 1), (8, 2), (10, 2), (11, 3), (13, 4), (15, 4), (20, 6), (25, 8)],
)
def test_median_interval_is_that_of_the_sign_test(n: int, rank: int) -> None:
    samples = list(range(1, n + 1))
    assert stats.median_interval(samples) == (rank, n + 1 - rank)


def test_median_interval_holds_the_median_nine_times_in_ten(rng: np.random.Generator) -> None:
    for n in (5, 8, 15):
        draws = rng.lognormal(0, 1, (4000, n))
        inside = [low <= 1 <= high for low, high in map(stats.median_interval, draws.tolist())]
        assert np.mean(inside) > 0.885, n


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([1.2, 1.3, 1.1, 1.4, 1.2], "faster"),
        ([0.8, 0.9, 0.7, 0.95, 0.8], "slower"),
        ([1.2, 1.3, 0.9, 1.4, 1.2], "no difference beyond the noise"),
        ([9.0, 9.0, 9.0, 9.0], "too few rounds"),
        ([1.0] * 9, "no difference beyond the noise"),
    ],
)
def test_verdict(ratios: list[float], verdict: str) -> None:
    assert stats.verdict(ratios) == verdict


def test_equal_engines_get_a_verdict_once_in_ten_at_most(rng: np.random.Generator) -> None:
    """The seeded fault: without an interval, a verdict by the median alone is always given."""
    trials = [rng.lognormal(0, 0.2, 5).tolist() for _ in range(3000)]
    given = [stats.verdict(ratios) in ("faster", "slower") for ratios in trials]
    assert np.mean(given) < 0.1
    assert np.mean([np.median(ratios) != 1 for ratios in trials]) == 1


def test_ratios_are_paired_by_round() -> None:
    assert stats.paired_ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="zip"):
        stats.paired_ratios([1.0], [1.0, 2.0])


def test_bound_takes_the_greater_limit() -> None:
    limit = Limit(1, "avx2", 10.0, 100.0, 25.0, 3.0, [10.0])
    memory = bound(limit, n_bytes=1e9, macs=1e9, measured_ms=200.0)
    assert (memory.memory_ms, memory.compute_ms) == (100.0, 10.0)
    assert (memory.limit_ms, memory.by, memory.share) == (100.0, "memory", 0.5)
    compute = bound(limit, n_bytes=1e9, macs=1e12, measured_ms=20_000.0)
    assert (compute.limit_ms, compute.by, compute.share) == (10_000.0, "compute", 0.5)
    assert compute.times(3).limit_ms == 30_000.0


# --- time and turns ---


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_a_section_leaves_or_overruns_is_spread_over_the_rest() -> None:
    clock = Clock()
    budget = Budget(100.0, {"a": 3, "b": 2, "c": 5}, clock)
    assert budget.section("a").allows(30)
    clock.now = 10
    second = budget.section("b")
    assert second.left == pytest.approx(90 * 2 / 7)
    assert second.allows(25)
    assert not second.allows(26)
    with budget.paused():  # costs nobody anything
        clock.now += 1000
    assert second.left == pytest.approx(90 * 2 / 7)
    clock.now += 60  # far too long
    assert budget.section("c").left == pytest.approx(30)
    clock.now += 60
    assert budget.section("c").left == 0
    assert Budget(None, clock=clock).section("a").allows(math.inf)


def run_with(budget: Budget) -> Run:
    return Run(budget, progress=lambda step: None, model="m")


def test_tasks_take_turns() -> None:
    numbers = itertools.count()
    tasks = [Task(key, 0.0, lambda: next(numbers)) for key in "ab"]
    found = run_with(Budget(None)).collect("s", 3, tasks)
    assert found == {"a": [0, 2, 4], "b": [1, 3, 5]}


def test_what_has_no_time_is_named() -> None:
    clock = Clock()
    run = run_with(Budget(10.0, {"s": 1, "next": 1}, clock))

    def slow() -> int:
        clock.now += 3
        return 1

    tasks = [Task("short", 1.0, slow), Task("long", 9.0, slow)]
    found = run.collect("s", 5, tasks)
    assert found["short"] == [1]  # three of five seconds, so not again
    assert "long" not in found
    assert [(s.model, s.section, s.what) for s in run.skipped] == [("m", "s", "long")]
    assert "no time" in run.skipped[0].reason


def test_a_wrong_estimate_is_mended_by_the_task_before() -> None:
    """All tasks take a tenth of what was thought; without that, the second would be left out."""
    clock = Clock()

    def work(seconds: float) -> int:
        clock.now += seconds
        return 1

    tasks = [Task("a", 4.0, lambda: work(0.4)), Task("b", 40.0, lambda: work(4.0))]
    assert set(run_with(Budget(10.0, {"s": 1, "next": 1}, clock)).collect("s", 1, tasks)) == {
        "a",
        "b",
    }
    tasks[0] = Task("a", 0.0, lambda: work(0.4))  # says nothing about the estimates
    assert set(run_with(Budget(10.0, {"s": 1, "next": 1}, clock)).collect("s", 1, tasks)) == {"a"}


def test_an_interrupt_keeps_what_was_measured() -> None:
    run = run_with(Budget(None))
    answers = iter([1, 2, 3])

    def ask() -> int:
        answer = next(answers)
        if answer == 3:
            raise KeyboardInterrupt
        return answer

    assert run.collect("s", 4, [Task("k", 0.0, ask)]) == {"k": [1, 2]}
    assert run.interrupted
    assert run.collect("next", 4, [Task("k", 0.0, ask)]) == {}


def test_what_cannot_be_measured_says_why() -> None:
    def fail() -> int:
        raise CannotMeasure("no such sensor")

    run = run_with(Budget(None))
    tasks = [Task("sensor", 0.0, fail), Task("other", 0.0, lambda: 7)]
    assert run.collect("s", 2, tasks) == {"other": [7, 7]}
    assert [s.reason for s in run.skipped] == ["no such sensor"]
