"""Decoding for long, while the machine warms up."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import _core
from ..hub import Step
from . import heat
from .run import Run
from .timing import Times

if TYPE_CHECKING:
    from ..session import Session
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


def measure(
    run: Run, subject: Subject, seconds: float, root: Path = Path("/"), interval: float = INTERVAL_S
) -> Sustain | None:
    """Decode until the time is over or Ctrl-C comes; None if that is before the first point."""
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
