"""Wall-clock time, dealt out to the sections of a run."""

from __future__ import annotations

import time
from collections.abc import Callable


class Budget:
    """A run's seconds. What a section leaves over goes to those behind it."""

    def __init__(self, seconds: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        """None: as long as it takes."""
        self._clock = clock
        self._seconds = seconds
        self._began = clock()
        self._dealt = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._began

    def section(self, share: float) -> Section:
        """The next section, with its share of the whole."""
        self._dealt += share
        end = None if self._seconds is None else self._began + self._seconds * self._dealt
        return Section(end, self._clock)


class Section:
    """The time of one section."""

    def __init__(self, end: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._end = end
        self._clock = clock

    def allows(self, seconds: float) -> bool:
        """Whether something that takes so long may still begin."""
        return self._end is None or self._clock() + seconds <= self._end
