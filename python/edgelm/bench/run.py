"""The course of a run: tasks in turns, within the time that there is, safe to interrupt."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..hub import Progress, Step
from .budget import Budget, TimeLeft

Sample = TypeVar("Sample")
Key = TypeVar("Key", bound=Hashable)
NO_TIME = "no time"  # the start of a reason


@dataclass
class Skipped:
    """What was left out, and why.

    model: name of the file; null if it concerns all.
    section: the field of ModelResult or Results that lacks it.
    what: which part, "prompt of 1024" say.
    reason: why.
    """

    model: str | None
    section: str
    what: str
    reason: str


@dataclass(frozen=True)
class Task(Generic[Key, Sample]):
    """Something to be timed: what it is, how long it takes, roughly, and the timing itself."""

    key: Key
    seconds: float
    call: Callable[[], Sample]


class CannotMeasure(RuntimeError):  # noqa: N818  (an outcome, which the results carry)
    """Something cannot be had here; the message says why."""


class Run:
    """What the sections of one model share."""

    def __init__(
        self, budget: Budget, *, progress: Progress, seed: int = 0, model: str | None = None
    ) -> None:
        self.budget = budget
        self.progress = progress
        self.seed = seed
        self.model = model
        self.skipped: list[Skipped] = []
        self.interrupted = False

    def skip(self, section: str, what: object, reason: object) -> None:
        """Note what is left out."""
        self.skipped.append(Skipped(self.model, section, str(what), str(reason)))

    def fits(self, section: str, what: object, n_tokens: int, n_ctx: int) -> bool:
        """Whether so many tokens fit the context; if not, that is noted."""
        if n_tokens <= n_ctx:
            return True
        self.skip(section, what, f"it needs {n_tokens:,} tokens of context; there are {n_ctx:,}")
        return False

    def collect(
        self,
        section: str,
        n_rounds: int,
        tasks: Iterable[Task[Key, Sample]],
        time_left: TimeLeft | None = None,
    ) -> dict[Key, list[Sample]]:
        """Samples by key. The tasks take turns for n_rounds, so that a noisy moment hits all.

        What does not fit into time_left, the section's own by default, is left out: whole tasks
        with a note, further rounds in silence. Ctrl-C ends it; what was measured is returned, and
        `interrupted` is set. So does a task that raises CannotMeasure, with a note.
        """
        todo = list(tasks)
        time_left = time_left or self.budget.section(section)
        took: dict[Key, float] = {}
        pace = 1.0  # of the last task that ran for the first time: what it took over its estimate
        found: dict[Key, list[Sample]] = {}
        done, total = 0, n_rounds * len(todo)
        if self.interrupted:
            return found
        try:
            for round_ in range(n_rounds):
                for task in list(todo):
                    self.progress(Step(section, done, total))
                    done += 1
                    seconds = took.get(task.key, pace * task.seconds)
                    if not time_left.allows(seconds):
                        if round_ == 0:
                            todo.remove(task)
                            self.skip(section, task.key, f"{NO_TIME}: it takes {seconds:.1f} s")
                        continue
                    start = self.budget.elapsed
                    try:
                        found.setdefault(task.key, []).append(task.call())
                    except CannotMeasure as reason:
                        todo.remove(task)
                        self.skip(section, task.key, reason)
                    took[task.key] = self.budget.elapsed - start
                    if round_ == 0 and task.seconds > 0:
                        pace = took[task.key] / task.seconds
            self.progress(Step(section, total, total))
        except KeyboardInterrupt:
            self.interrupted = True
        return {key: samples for key, samples in found.items() if samples}
