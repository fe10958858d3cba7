"""Processor time and energy per token."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from . import energy
from .energy import Meter, Unreadable
from .numbers import count, number
from .run import Task
from .section import Case, Section
from .table import Table, per_model

if TYPE_CHECKING:
    from .results import Results

IDLE_S = 1.0
PROMPT = 256
Phase = Literal["prefill", "decode"]


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
    idle_watts: mean power just before, with nothing of ours running.
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


def measure(case: Case, root: Path = Path("/")) -> list[Cost]:
    """Each phase for a second or three."""
    run, subject = case.run, case.subject
    seconds = 1.0 if case.plan.quick else 3.0
    ids = subject.ids(min(PROMPT, subject.settings.n_ctx - 1), run.seed)

    def prefill(deadline: float) -> int:
        n = 0
        while n == 0 or time.perf_counter() < deadline:
            with subject.model.session() as session:
                session.prefill(ids)
            n += len(ids)
        return n

    def decode(deadline: float) -> int:
        n = 0
        while n == 0 or time.perf_counter() < deadline:
            with subject.model.session() as session:
                session.prefill(ids[:1])
                for token in ids[1:]:
                    session.decode(token)
                    n += 1
                    if time.perf_counter() >= deadline:
                        break
        return n

    phases: dict[Phase, Callable[[float], int]] = {"prefill": prefill, "decode": decode}
    tasks = [
        Task(phase, seconds, lambda p=phase, w=work: once(p, w, seconds, root))  # type: ignore[misc]
        for phase, work in phases.items()
    ]
    return [costs[0] for costs in run.collect("cost", 1, tasks).values()]


def once(phase: Phase, work: Callable[[float], int], seconds: float, root: Path) -> Cost:
    """Run `work` until its deadline; it returns the tokens that it made."""
    try:
        meter: Meter | None = Meter(energy.find(root))
        unavailable = None
    except Unreadable as reason:
        meter, unavailable = None, str(reason)
    idle_watts = None
    if meter is not None:
        with meter:
            time.sleep(IDLE_S)
        idle_watts = meter.reading.watts
    start, cpu = time.perf_counter(), time.process_time()
    if meter is None:
        n_tokens = work(start + seconds)
    else:
        with meter:
            n_tokens = work(start + seconds)
    took, cpu_took = time.perf_counter() - start, time.process_time() - cpu
    return Cost(
        phase=phase,
        n_tokens=n_tokens,
        seconds=took,
        cpu_s_per_token=cpu_took / n_tokens,
        energy_source=meter.name if meter else None,
        energy_unavailable=unavailable,
        joules_per_token=meter.reading.joules / n_tokens if meter else None,
        watts=meter.reading.watts if meter else None,
        idle_watts=idle_watts,
        watts_samples=meter.reading.watts_samples if meter else [],
    )


def _table(results: Results) -> Table:
    """Processor time and energy."""
    return Table(
        "cost",
        "Processor time and energy",
        "Processor time is of all threads, waiting in a spin included; energy is of all that the "
        "source covers, idle power included.",
        (
            *("file", "phase", "tokens", "CPU ms/token", "joules/token", "watts", "idle watts"),
            "energy read from",
        ),
        per_model(
            results,
            lambda result: result.cost,
            lambda c: (
                c.phase,
                count(c.n_tokens),
                number(1e3 * c.cpu_s_per_token),
                number(c.joules_per_token),
                number(c.watts),
                number(c.idle_watts),
                c.energy_source or f"not read: {c.energy_unavailable}",
            ),
        ),
        frozenset({"file", "phase", "energy read from"}),
    )


COST = Section("cost", 6, measure, (_table,))
