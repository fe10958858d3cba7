"""Two results, row by row: what changed, and what got worse beyond the noise.

A time is worse if its median's interval (stats.median_interval) lies above the old one's and the
median grew by more than MIN_CHANGE; with a single sample on either side, by more than ONE_SAMPLE.
A ratio to a peer is worse likewise if its interval lies below the old one's. Of a model for which
both files have ratios to a peer, only those count: a ratio is of one run, so the machine's own
drift does not show in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from . import stats
from .results import Results
from .samples import samples
from .timing import Times

MIN_CHANGE = 0.03
ONE_SAMPLE = 0.15
DRIFT = 0.1  # of a limit, between the two runs

Direction = Literal["worse", "better", "same"]


@dataclass(frozen=True)
class Change:
    """One row in both files.

    old, new: medians, in `unit`.
    ratio: how many times as long it takes now (times), or as far ahead of the peer it is (ratios).
    """

    model: str
    what: str
    unit: str
    old: float
    new: float
    direction: Direction

    @property
    def ratio(self) -> float:
        """New over old."""
        return self.new / self.old


def compare(old: Results, new: Results) -> list[Change]:
    """Every row that both have."""
    changes = list(_ratios(old, new))
    before = _times(old)
    for key, times in _times(new).items():
        if key in before:
            model, what = key
            direction = judged(before[key], times)
            medians = (before[key].median_ms, times.median_ms)
            changes.append(Change(model, what, "ms", *medians, direction))
    return changes


def regressions(changes: Sequence[Change]) -> list[Change]:
    """What got worse; times only of models that have no ratios to a peer."""
    peered = {c.model for c in changes if c.unit == "times"}
    return [
        c
        for c in changes
        if c.direction == "worse" and (c.unit == "times" or c.model not in peered)
    ]


def judged(old: Times, new: Times) -> Direction:
    """Whether times got worse or better beyond the noise."""
    change = new.median_ms / old.median_ms - 1
    if min(len(old.samples_ms), len(new.samples_ms)) < 2:
        return "worse" if change > ONE_SAMPLE else "better" if change < -ONE_SAMPLE else "same"
    old_low, old_high = stats.median_interval(old.samples_ms)
    new_low, new_high = stats.median_interval(new.samples_ms)
    if new_low > old_high and change > MIN_CHANGE:
        return "worse"
    return "better" if new_high < old_low and change < -MIN_CHANGE else "same"


def _ratios(old: Results, new: Results) -> Iterator[Change]:
    before = {(p.model, p.peer, row.name): row for p in old.peers for row in p.rows}
    for peer in new.peers:
        for row in peer.rows:
            was = before.get((peer.model, peer.peer, row.name))
            if was is None:
                continue
            change = row.ratio / was.ratio - 1
            direction: Direction = "same"
            if row.ratio_high < was.ratio_low and change < -MIN_CHANGE:
                direction = "worse"
            elif row.ratio_low > was.ratio_high and change > MIN_CHANGE:
                direction = "better"
            what = f"{row.name} against {peer.peer}"
            yield Change(peer.model, what, "times", was.ratio, row.ratio, direction)


def _times(results: Results) -> dict[tuple[str, str], Times]:
    """Every time but the peers' rows, and but the parts of a whole that is there."""
    return {
        (s.model, f"{s.section}: {s.what}, {s.part}"): s.times
        for s in samples(results)
        if s.section != "peers" and s.part not in ("tokenize", "sample", "interpreter")
    }


def remarks(old: Results, new: Results) -> list[str]:
    """Why the two may not be comparable."""
    found = []
    for what in ("processor", "usable_cores"):
        was, now = getattr(old.machine, what), getattr(new.machine, what)
        if was != now:
            found.append(f"The machines differ: {what} was {was} and is {now}.")
    settings = {m.model.name: m.settings for m in old.models}
    for model in new.models:
        was = settings.get(model.model.name)
        if was is not None and was != model.settings:
            found.append(f"{model.model.name} was loaded as {was} and now as {model.settings}.")
    limits = {limit.n_threads: limit for limit in old.limits}
    for limit in new.limits:
        was_limit = limits.get(limit.n_threads)
        for name in ("read_gb_s", "int8_gmac_s"):
            change = getattr(limit, name) / getattr(was_limit, name) - 1 if was_limit else 0.0
            if abs(change) > DRIFT:
                found.append(
                    f"The machine's own {name} on {limit.n_threads} threads changed by "
                    f"{change:+.0%}: times of the two runs are not of one machine state."
                )
    return found
