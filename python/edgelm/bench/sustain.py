"""Decoding for long, while the machine warms up."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import _core
from ..hub import Step
from . import heat
from .canvas import (
    SERIES,
    Plot,
    canvas,
    each_model,
)
from .numbers import ABSENT, number, percent
from .section import Case, Section
from .table import Table, label
from .timing import Times

if TYPE_CHECKING:
    from ..session import Session
    from .results import ModelResult, Results
    from .subject import Subject

INTERVAL_S = 1.0
DEPTH = 256  # a text is begun anew when it is this long, so that depth does not look like heat


@dataclass
class SustainPoint:
    """One interval of a sustained run.

    t_s: its end, since the beginning.
    tok_s: tokens decoded a second within it.
    mhz: clock by processor, as cpufreq shows it; empty if the system won't tell.
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
    first_tok_s: median of the points in the first tenth.
    last_tok_s: median of the points in the last tenth.
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


def measure(case: Case, root: Path = Path("/"), interval: float = INTERVAL_S) -> Sustain | None:
    """Decode until the time is over or Ctrl-C comes; None if that is before the first point."""
    run, subject, seconds = case.run, case.subject, case.plan.sustain_s or 0.0
    points: list[SustainPoint] = []
    times: list[float] = []
    began = time.perf_counter()
    depth = min(DEPTH, subject.settings.n_ctx - 1)

    def report(elapsed: float) -> None:
        run.progress(Step("sustain", min(round(elapsed), round(seconds)), round(seconds)))

    report(0.0)
    try:
        with run.budget.paused():  # it was asked for on top
            while not points or points[-1].t_s < seconds:
                with subject.model.session() as session:
                    session.prefill(subject.ids(1, run.seed))
                    while len(session) < depth and (not points or points[-1].t_s < seconds):
                        points.append(
                            _interval(subject, session, depth, interval, times, began, root)
                        )
                        report(points[-1].t_s)
    except KeyboardInterrupt:
        run.interrupted = True
    return _summary(seconds, points, times) if points else None


def _interval(
    subject: Subject,
    session: Session,
    depth: int,
    interval: float,
    times: list[float],
    began: float,
    root: Path,
) -> SustainPoint:
    """Decode for an interval or up to the depth; the tokens' times go to `times`."""
    start, n_before = time.perf_counter(), len(times)
    while time.perf_counter() - start < interval and len(session) < depth:
        times += subject.decode_times(session, session.tokens[-1], 1)
    end = time.perf_counter()
    return SustainPoint(
        t_s=end - began,
        tok_s=(len(times) - n_before) / (end - start),
        mhz=heat.clocks(root),
        celsius=heat.temperatures(root),
        core_mhz=1e-6 * _core.clock_hz(),
    )


def _summary(seconds: float, points: list[SustainPoint], times: list[float]) -> Sustain:
    tenth = max(1, len(points) // 10)
    unavailable = []
    if not points[0].mhz:
        unavailable.append("clocks: cpufreq shows no scaling_cur_freq")
    if not points[0].celsius:
        unavailable.append("temperatures: there is no readable thermal zone")
    return Sustain(
        seconds=seconds,
        first_tok_s=statistics.median(p.tok_s for p in points[:tenth]),
        last_tok_s=statistics.median(p.tok_s for p in points[-tenth:]),
        points=points,
        token=Times(times),
        unavailable=unavailable,
    )


def _table(results: Results) -> Table:
    """A long run, at its two ends."""

    def ends(points: list[SustainPoint], kind: str) -> str:
        if not points:
            return ABSENT
        first, last = (getattr(points[i], kind) for i in (0, -1))
        if kind == "mhz" and not (first and last):
            return f"{number(points[0].core_mhz)} to {number(points[-1].core_mhz)}, timed"
        if not (first and last):
            return ABSENT
        return f"{number(max(first.values()))} to {number(max(last.values()))}"

    rows = [
        (
            label(results, result.model.name),
            number(s.seconds),
            number(s.first_tok_s),
            number(s.last_tok_s),
            percent(s.last_tok_s / s.first_tok_s) if s.first_tok_s else ABSENT,
            ends(s.points, "mhz"),
            ends(s.points, "celsius"),
            "; ".join(s.unavailable) or ABSENT,
        )
        for result in results.models
        if (s := result.sustain)
    ]
    return Table(
        "sustain",
        "Sustained decoding",
        "tok/s over the first and the last tenth; clock of the fastest processor (timed by "
        "additions where the system shows none) and warmest zone, at the first and last look.",
        (
            *("file", "seconds", "tok/s first", "tok/s last", "kept", "MHz", "\N{DEGREE SIGN}C"),
            "not read",
        ),
        rows,
        frozenset({"file", "not read"}),
    )


def _plot(result: ModelResult, name: str) -> Iterator[Plot]:
    """Speed, clock and heat over time."""
    if not (run := result.sustain) or not run.points:
        return
    seconds = [p.t_s for p in run.points]
    panels = [
        ("tok/s", {"": [p.tok_s for p in run.points]}),
        ("MHz", _over_time([p.mhz for p in run.points])),
        ("\N{DEGREE SIGN}C", _over_time([p.celsius for p in run.points])),
    ]
    if not panels[1][1]:
        panels[1] = ("MHz, timed", {"": [p.core_mhz for p in run.points]})
    panels = [(text, lines) for text, lines in panels if lines]
    with canvas(len(panels), 1.0 + 0.85 * len(panels), sharex=True) as c:
        for ax, (text, lines) in zip(c.axes, panels, strict=True):
            for i, values in enumerate(lines.values()):
                ax.plot(seconds, values, color=SERIES[i % 6], linewidth=1.2)
            ax.set_ylabel(text)
            ax.margins(y=0.15)
        c.axes[0].set_ylim(bottom=0)
        c.axes[-1].set_xlabel("seconds")
        yield c.plot(
            "sustain",
            "Sustained decoding",
            "Speed, clock of each processor and temperature of each zone over time, as far as the "
            "system shows them.",
            subject=name,
        )


def _over_time(looks: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Readings by name, of those that are there at every look."""
    names = set(looks[0]).intersection(*looks) if looks else set()
    return {name: [look[name] for look in looks] for name in sorted(names)}


SUSTAIN = Section(
    "sustain", 0, measure, (_table,), (each_model(_plot),), standard=False,
    asked=lambda plan: plan.sustain_s is not None,
    samples=lambda record: iter([(f"{record.seconds:g} s", "token", record.token)]),
)  # fmt: skip
