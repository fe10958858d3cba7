"""Other engines on the same file, in the same run, in turns.

Each engine lives in a process of its own (engines.py states its settings). They get the same ids
and take turns, so that a noisy moment hits both. A ratio is that of one round; what is quoted is
the median of the rounds' ratios, with an interval that holds the true median nine times in ten.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..hub import Step
from . import stats
from .limits import Limit, decode_bound, prefill_bound
from .run import Run
from .stats import Verdict
from .timing import Bound, Times
from .worker import Worker, WorkerError

if TYPE_CHECKING:
    from .subject import Subject

PEERS = ("llama.cpp", "llama-cpp-python", "openvino")
PREFILLS = (16, 128, 512)
DECODES = (32, 64)
DECODE_PROMPT = 16
QUESTION = "What is the capital of France, and what river runs through it?"
N_CTX = 1024
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


def measure(
    run: Run,
    subject: Subject,
    limit: Limit,
    peer: str,
    *,
    only: Sequence[str],
    rounds: int,
    tell: Callable[[PeerRow], object],
) -> Peer:
    """Both engines, each in a process of its own, in turns; who begins alternates.

    only: rows whose names begin so; all if empty. `tell` gets every row when it is done.
    """
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
    try:
        with ExitStack() as both:
            pair = [both.enter_context(opened(subject, name, n_ctx)) for name in ("edgelm", peer)]
            ours, theirs = pair
            found.version = theirs.hello["version"]
            found.our_settings = shown(ours.hello["settings"])
            found.their_settings = shown(theirs.hello["settings"])
            for worker in pair:
                worker.ask("decode", subject.ids(DECODE_PROMPT, run.seed), 2)  # warms up
            for work in works(run, subject, n_ctx):
                if not only or any(work.name.startswith(start) for start in only):
                    times = in_turns(run, work, subject, pair, n_ctx, rounds)
                    if times[0]:
                        found.rows.append(row(work, subject, limit, *times))
                        tell(found.rows[-1])
    except WorkerError as error:
        found.unavailable = str(error)
    except KeyboardInterrupt:
        run.interrupted = True
    return found


@dataclass(frozen=True)
class Work:
    """What both engines are asked: a method of engines.Engine, or "load"."""

    name: str
    unit: Literal["tok/s", "ms"]
    n_tokens: int
    depth: int
    method: str
    arguments: tuple[Any, ...] = ()


def works(run: Run, subject: Subject, n_ctx: int) -> Iterator[Work]:
    """Everything that can be measured within the context."""
    for n in PREFILLS:
        if run.fits("peers", f"prefill {n}", n + 1, n_ctx):
            yield Work(f"prefill {n}", "tok/s", n, 0, "prefill", (subject.ids(n, run.seed + n),))
    for n in DECODES:
        if run.fits("peers", f"decode {n}", DECODE_PROMPT + n + 1, n_ctx):
            ids = subject.ids(DECODE_PROMPT, run.seed + n)
            yield Work(f"decode {n}", "tok/s", 1, DECODE_PROMPT, "decode", (ids, n))
    yield Work("first token", "ms", 1, 0, "first_token", (QUESTION,))
    yield Work("load", "ms", 1, 0, "load")


def in_turns(
    run: Run, work: Work, subject: Subject, pair: Sequence[Worker], n_ctx: int, rounds: int
) -> tuple[list[float], list[float]]:
    """Milliseconds of both, round by round; whole rounds only."""
    ours: list[float] = []
    theirs: list[float] = []
    for round_ in range(rounds):
        run.progress(Step(f"{subject.info.name}: {work.name}", round_, rounds))
        order = (0, 1) if round_ % 2 == 0 else (1, 0)
        times = [0.0, 0.0]
        for i in order:
            time.sleep(PAUSE_S)  # the other's idle threads spin for a moment
            if work.method == "load":
                with opened(subject, pair[i].engine, n_ctx) as fresh:
                    times[i] = fresh.hello["load_ms"]
            else:
                times[i] = float(pair[i].ask(work.method, *work.arguments))
        ours.append(times[0])
        theirs.append(times[1])
    run.progress(Step(f"{subject.info.name}: {work.name}", rounds, rounds))
    return ours, theirs


def opened(subject: Subject, engine: str, n_ctx: int) -> Worker:
    """A process with that engine and the subject's file."""
    return subject.worker(engine=engine, n_ctx=n_ctx, kv_type="f16")


def row(
    work: Work, subject: Subject, limit: Limit, ours: list[float], theirs: list[float]
) -> PeerRow:
    """Ratios, their spread, the verdict, the shares of the limit."""
    our_times, their_times = Times(ours), Times(theirs)
    ratios = stats.paired_ratios(theirs, ours)
    low, high = stats.median_interval(ratios)
    bound = None
    if work.method == "prefill":
        bound = prefill_bound(subject.info, limit, work.n_tokens, 0, our_times.median_ms)
    elif work.method == "decode":
        n_before = work.depth + work.arguments[1] // 2
        kv_bytes = subject.kv_read_bytes(n_before)
        bound = decode_bound(subject.info, limit, kv_bytes, our_times.median_ms)
    return PeerRow(
        name=work.name,
        unit=work.unit,
        n_tokens=work.n_tokens,
        depth=work.depth,
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
