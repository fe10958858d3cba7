"""Wall-clock time, dealt out to the sections of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


class Budget:
    """A run's seconds, shared by its sections.

    A section gets its share of what is left when it begins: what those before it spared or overran
    is spread over all that follow.
    """

    def __init__(
        self,
        seconds: float | None,
        weights: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """seconds: None is as long as it takes. weights: of the sections, in their order."""
        self._seconds = seconds
        self._weights = dict(weights or {})
        self._clock = clock
        self._began = clock()

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning, pauses left out."""
        return self._clock() - self._began

    def section(self, name: str) -> TimeLeft:
        """Begin it: its weight's part of the time, among the weights from it on."""
        if self._seconds is None:
            return TimeLeft(self, None)
        weights = list(self._weights.values())[list(self._weights).index(name) :]
        left = max(0.0, self._seconds - self.elapsed)
        return TimeLeft(self, self.elapsed + left * weights[0] / sum(weights))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens meanwhile costs the sections nothing."""
        start = self._clock()
        try:
            yield
        finally:
            self._began += self._clock() - start


class TimeLeft:
    """The time of one section, up to `end` seconds since its budget's beginning; None is no end."""

    def __init__(self, budget: Budget, end: float | None) -> None:
        self._budget = budget
        self._end = end

    @property
    def left(self) -> float | None:
        """Seconds, less than 0 when it is over; None without an end."""
        return None if self._end is None else self._end - self._budget.elapsed

    def allows(self, seconds: float) -> bool:
        """Whether something that takes so long may still begin."""
        return self.left is None or seconds <= self.left
