"""Other engines on the same file, in the same run, in turns.

Each engine lives in a process of its own (engines.py states its settings). They get the same ids,
new ones every round, and take turns, so that a noisy moment hits both. A ratio is that of one
round; what is quoted is the median of the rounds' ratios, with an interval that holds the true
median nine times in ten.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..hub import Step
from . import stats
from .budget import TimeLeft
from .canvas import (
    INK,
    MUTED,
    PAPER,
    SERIES,
    Plot,
    canvas,
    log_axis,
    rows_height,
    short,
)
from .limits import Limit, decode_bound, prefill_bound
from .numbers import number, percent
from .plan import Effort
from .run import Run, Task
from .section import Case, Section
from .stats import Verdict
from .table import Row, Table, label
from .timing import Bound, Times
from .worker import Worker, WorkerError

if TYPE_CHECKING:
    from .results import Results
    from .subject import Subject

PREFILLS = (16, 128, 512)
QUICK_ROWS = ("prefill 128", "decode 32", "first token")
ROUNDS: dict[Effort, int] = {"quick": 5, "default": 5, "full": 9}  # if there is time
DECODES = (32, 64)
DECODE_PROMPT = 16
QUESTION = "What is the capital of France, and what river runs through it?"
N_CTX = 1024
PILOT = 32  # tokens
PAUSE_S = 0.1


@dataclass
class PeerRow:
    """One measurement of edgelm and a peer in turns, same file, same ids.

    name: "prefill 128", "decode 64", "first token", "load".
    unit: how it is usually quoted: "tok/s" (n_tokens over a time) or "ms".
    n_tokens: what a rate divides by.
    depth: tokens before the first timed one, for decode.
    ours: edgelm's times, round by round.
    theirs: the peer's, in the same rounds.
    ratios: round by round, their time over ours: above 1 edgelm is the faster.
    ratio: their median.
    ratio_low: least value of the median's interval (stats.median_interval).
    ratio_high: greatest value of it.
    verdict: "faster", "slower", or why there is none.
    limit: with our share of it.
    their_share: the peer's share of the limit.
    """

    name: str
    unit: Literal["tok/s", "ms"]
    n_tokens: int
    depth: int
    ours: Times
    theirs: Times
    ratios: list[float]
    ratio: float
    ratio_low: float
    ratio_high: float
    verdict: Verdict
    limit: Bound | None
    their_share: float | None


@dataclass
class Peer:
    """edgelm against another engine on one file, each in a process of its own.

    model: name of the file.
    random_weights: as in its ModelInfo.
    peer: "llama.cpp", "llama-cpp-python" or "openvino".
    version: of the peer.
    our_settings: as our process states them.
    their_settings: as the peer's process states them.
    unavailable: why the peer could not run the file; null if it did.
    """

    model: str
    random_weights: bool
    peer: str
    version: str
    our_settings: dict[str, str]
    their_settings: dict[str, str]
    unavailable: str | None
    rows: list[PeerRow]


def measure(case: Case) -> list[Peer]:
    """One peer, in the plan's rounds however long they take, or in its share of the time."""
    asked_for = case.plan.rounds is not None
    budget = case.run.budget
    time_left = TimeLeft(budget, None) if asked_for else budget.section(case.peer)
    with budget.paused() if asked_for else nullcontext():
        return [_against(case, time_left)]


def _against(case: Case, time_left: TimeLeft) -> Peer:
    """Both engines, each in a process of its own, in turns; who begins alternates."""
    run, subject, limit, peer = case.run, case.subject, case.limit, case.peer
    rounds = case.plan.rounds or ROUNDS[case.plan.effort]
    only = case.plan.rows or (QUICK_ROWS if case.plan.quick else ())
    found = Peer(
        model=subject.info.name,
        random_weights=subject.info.random_weights,
        peer=peer,
        version="",
        our_settings={},
        their_settings={},
        unavailable=None,
        rows=[],
    )
    n_ctx = min(N_CTX, subject.info.n_ctx_train)
    run.progress(Step(f"{subject.info.name}: {peer}", 0, 1))

    def opened(engine: str) -> Worker:
        return subject.worker(
            engine=engine, n_ctx=n_ctx, kv_type="f16", patience=lambda: time_left.left
        )

    try:
        with ExitStack() as both:
            ours, theirs = (both.enter_context(opened(name)) for name in ("edgelm", peer))
            found.version = theirs.hello["version"]
            found.our_settings = shown(ours.hello["settings"])
            found.their_settings = shown(theirs.hello["settings"])
            speeds = [pilot(worker, subject) for worker in (ours, theirs)]
            run.progress(Step(f"{subject.info.name}: {peer}", 1, 1))

            def once(work: Work, round_: int) -> tuple[float, float]:
                times = [0.0, 0.0]
                for i in (0, 1) if round_ % 2 == 0 else (1, 0):
                    time.sleep(PAUSE_S)  # the other's idle threads spin for a moment
                    worker = (ours, theirs)[i]
                    if work.method == "load":
                        with opened(worker.engine) as fresh:
                            times[i] = fresh.hello["load_ms"]
                    else:
                        arguments = work.arguments(subject, run.seed + 1000 * round_)
                        times[i] = float(worker.ask(work.method, *arguments))
                return times[0], times[1]

            def task(work: Work) -> Task[Work, tuple[float, float]]:
                count = itertools.count()
                seconds = 2 * PAUSE_S + sum(work.seconds(speed) for speed in speeds)
                return Task(work, seconds, lambda: once(work, next(count)))

            wanted = [
                task(work)
                for work in works(run, subject, n_ctx)
                if not only or str(work).startswith(tuple(only))
            ]
            for work, times in run.collect("peers", rounds, wanted, time_left).items():
                our_ms, their_ms = zip(*times, strict=True)
                found.rows.append(row(work, subject, limit, list(our_ms), list(their_ms)))
    except WorkerError as error:
        found.unavailable = " ".join(str(error).split())
    except KeyboardInterrupt:
        run.interrupted = True
    return found


class Speed(NamedTuple):
    """What an engine needs, roughly."""

    load_s: float
    prefill_s: float
    decode_s: float


def pilot(worker: Worker, subject: Subject) -> Speed:
    """Warms the engine up, and tells how long to expect it to take; a token's time is a mean."""
    ids = subject.ids(PILOT)
    for _ in range(2):
        prefill_ms, decode_ms = worker.ask("prefill", ids), worker.ask("decode", ids[:1], 2)
    start_s = 1e-3 * (worker.hello["interpreter_ms"] + worker.hello["imports_ms"])
    return Speed(
        start_s + 1e-3 * worker.hello["load_ms"], 1e-3 * prefill_ms / PILOT, 1e-3 * decode_ms
    )


@dataclass(frozen=True)
class Work:
    """What both engines are asked: a method of engines.Engine, or "load".

    n_prompt: tokens of the prompt.
    n_decode: tokens decoded behind it.
    """

    method: Literal["prefill", "decode", "first_token", "load"]
    n_prompt: int = 0
    n_decode: int = 0

    def __str__(self) -> str:
        return {
            "prefill": f"prefill {self.n_prompt}",
            "decode": f"decode {self.n_decode}",
            "first_token": "first token",
        }.get(self.method, self.method)

    def seconds(self, speed: Speed) -> float:
        """Of one round, about."""
        load_s = speed.load_s if self.method == "load" else 0.0
        return load_s + self.n_prompt * speed.prefill_s + self.n_decode * speed.decode_s

    def arguments(self, subject: Subject, seed: int) -> tuple[Any, ...]:
        """Of the method; the seed is of the round, so that no engine has cached the ids."""
        if self.method == "first_token":
            return (QUESTION,)
        ids = subject.ids(self.n_prompt, seed + self.n_prompt + self.n_decode)
        return (ids, self.n_decode) if self.method == "decode" else (ids,)


def works(run: Run, subject: Subject, n_ctx: int) -> Iterator[Work]:
    """Everything that can be measured within the context."""
    for work in (
        *(Work("prefill", n) for n in PREFILLS),
        *(Work("decode", DECODE_PROMPT, n) for n in DECODES),
    ):
        if run.fits("peers", work, work.n_prompt + work.n_decode + 1, n_ctx):
            yield work
    yield Work("first_token", len(subject.tokenizer.encode(QUESTION)))
    yield Work("load")


def row(
    work: Work, subject: Subject, limit: Limit, ours: list[float], theirs: list[float]
) -> PeerRow:
    """Ratios, their spread, the verdict, the shares of the limit."""
    our_times, their_times = Times(ours), Times(theirs)
    ratios = stats.paired_ratios(theirs, ours)
    low, high = stats.median_interval(ratios)
    bound = None
    if work.method == "prefill":
        bound = prefill_bound(subject.info, limit, work.n_prompt, 0, our_times.median_ms)
    elif work.method == "decode":
        kv_bytes = subject.kv_read_bytes(work.n_prompt + work.n_decode // 2)
        bound = decode_bound(subject.info, limit, kv_bytes, our_times.median_ms)
    return PeerRow(
        name=str(work),
        unit="tok/s" if work.method in ("prefill", "decode") else "ms",
        n_tokens=work.n_prompt if work.method == "prefill" else 1,
        depth=work.n_prompt if work.method == "decode" else 0,
        ours=our_times,
        theirs=their_times,
        ratios=ratios,
        ratio=statistics.median(ratios),
        ratio_low=low,
        ratio_high=high,
        verdict=stats.verdict(ratios),
        limit=bound,
        their_share=bound.limit_ms / their_times.median_ms if bound else None,
    )


def shown(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings as people write them."""
    words = {True: "on", False: "off"}
    return {k: words[v] if isinstance(v, bool) else str(v) for k, v in settings.items()}


def _table(results: Results) -> Table:
    """Other engines in the same run."""

    def rows() -> Iterator[Row]:
        for peer in results.peers:
            name = f"{label(results, peer.model)}, {peer.peer}"
            for row in peer.rows:
                rate = row.unit == "tok/s"

                def shown(ms: float, rate: bool = rate, n: int = row.n_tokens) -> str:
                    return number(1e3 * n / ms if rate else ms)

                yield (
                    name,
                    f"{row.name} ({row.unit})",
                    shown(row.ours.median_ms),
                    shown(row.theirs.median_ms),
                    f"{row.ratio:.2f} ({row.ratio_low:.2f} to {row.ratio_high:.2f})",
                    f"{percent(row.limit.share if row.limit else None)}, "
                    f"{percent(row.their_share)}",
                    row.verdict,
                )

    return Table(
        "peers",
        "Against other engines",
        "Same file, same prompt ids, same threads, prompt caching off, in turns, each in a process "
        "of its own. Medians; ratio: their time over edgelm's, the median of the rounds and an "
        "interval that holds it with at least 90 % (of fewer than five, their range); above 1 "
        "edgelm is the faster. A verdict stands only where that interval leaves no doubt.",
        ("file, peer", "what", "edgelm", "peer", "ratio", "of the limit", "edgelm is"),
        list(rows()),
        frozenset({"file, peer", "what", "edgelm is"}),
    )


def _plot(results: Results) -> Iterator[Plot]:
    """How many times as fast as a peer."""
    colours = {"faster": SERIES[0], "slower": SERIES[1]}
    for peer in results.peers:
        if not peer.rows:
            continue
        with canvas(height=rows_height(len(peer.rows), 1.1)) as c:
            ax = c.ax
            ax.set_xscale("log")
            ax.axvline(1, color=INK, linewidth=0.9)
            for i, row in enumerate(peer.rows):
                colour = colours.get(row.verdict, MUTED)
                ax.plot(
                    [row.ratio_low, row.ratio_high], [i, i], color=colour, linewidth=5, alpha=0.3
                )
                ax.plot(
                    row.ratios,
                    [i] * len(row.ratios),
                    "|",
                    color=colour,
                    markersize=6,
                    markeredgewidth=0.8,
                )
                ax.plot([row.ratio], [i], "o", color=colour, markersize=6)
                ax.annotate(
                    f"{row.ratio:.2f}",
                    (row.ratio, i),
                    xytext=(0, 6),
                    textcoords="offset points",
                    ha="center",
                    fontsize=8,
                    bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.4},
                )
            c.name_rows([row.name for row in peer.rows])
            ends = [x for row in peer.rows for x in (row.ratio_low, row.ratio_high, *row.ratios)]
            ax.set_xlim(min(0.8, 0.9 * min(ends)), max(1.3, 1.15 * max(ends)))
            ax.set_ylim(len(peer.rows) - 0.4, -0.7)
            log_axis(ax.xaxis, (0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20, 50))
            ax.set_xlabel(f"times as fast as {short(peer.peer)}")
            yield c.plot(
                "peers",
                f"edgelm against {short(peer.peer)}",
                "Dot: median of the rounds' ratios; thick line: an interval that holds it with at "
                "least 90 %; ticks: every round. Right of 1 edgelm is the faster; grey: the spread "
                "allows no verdict.",
                label(results, peer.model),
            )


PEERS = Section("peers", 100, measure, (_table,), (_plot,))  # the weight of each
