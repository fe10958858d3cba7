"""First-token latency by prompt length.

The first token's latency is the time from having the text to knowing the token: tokenization,
prefill and the first sampling. Three conditions: *warm* (other prompts ran before), *warm with a
shared prefix* (the cache holds the first half of the prompt, as when a chat goes on), and *cold*
(the first prompt after load, each in a fresh process).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from .canvas import (
    MUTED,
    SERIES,
    Plot,
    canvas,
    each_model,
    log_axis,
)
from .limits import Limit, prefill_bound
from .numbers import count, number
from .prompts import prompt
from .run import CannotMeasure, Task
from .section import Case, Section
from .table import Table, limit_cells, per_model
from .timing import Bound, Times

if TYPE_CHECKING:
    from ..api import Model
    from ..session import Session
    from ..tokenizer import Tokenizer
    from .results import ModelResult, Results
    from .subject import Chooser, Subject

LENGTHS = (1, 2, 4, 8, 10, 16, 32, 50, 64, 128, 256, 512, 1024)
LONGEST = 2048  # with --full
SHARED_LENGTHS = (32, 64, 128, 256, 512, 1024)
COLD_LENGTHS = (1, 16, 128, 512)
TICKS = (1, 4, 10, 32, 128, 512, 2048)  # of the plot


@dataclass
class FirstToken:
    """First-token latency at one prompt length.

    n_tokens: length of the prompt.
    n_cached: of these, how many the KV cache held already: a prefix shared with an earlier prompt.
    state: "cold": the first prompt after load; "warm": any later one.
    tokenize: from the text to its ids, the whole prompt.
    prefill: from the ids to the last one's logits, with taking a sequence of the cache.
    sample: from the logits to the token, greedily.
    total: all three, measured as one.
    limit: of prefill, at the median of its samples.
    """

    n_tokens: int
    n_cached: int
    state: Literal["cold", "warm"]
    tokenize: Times
    prefill: Times
    sample: Times
    total: Times
    limit: Bound


class Condition(NamedTuple):
    """Under which a first token is timed."""

    n_tokens: int
    n_cached: int = 0
    state: Literal["cold", "warm"] = "warm"

    def __str__(self) -> str:
        shared = f" ({self.n_cached} cached)" if self.n_cached else ""
        return f"{self.state} prompt of {self.n_tokens}{shared}"


class Parts(NamedTuple):
    """One sample, in milliseconds."""

    tokenize: float
    prefill: float
    sample: float
    total: float


def once(subject: Subject, n_tokens: int, n_cached: int = 0) -> Parts:
    """Time one first token. n_cached: tokens of a prefix that the cache is made to hold before."""
    return timed(subject.model, subject.choose, text_of(subject.tokenizer, n_tokens), n_cached)


def text_of(tokenizer: Tokenizer, n_tokens: int) -> str:
    """A prompt of that length, or CannotMeasure."""
    try:
        return prompt(tokenizer, n_tokens)
    except ValueError as error:
        raise CannotMeasure(str(error)) from None


def timed(model: Model, choose: Chooser, text: str, n_cached: int = 0) -> Parts:
    """One first token of a text."""
    with ExitStack() as open_until_the_end:
        start_session: Callable[[], Session] = model.session
        if n_cached:
            prefix = open_until_the_end.enter_context(model.session())
            prefix.prefill(model.tokenize(text)[:n_cached])
            start_session = prefix.fork
        began = time.perf_counter()
        ids = model.tokenize(text)
        tokenized = time.perf_counter()
        session = open_until_the_end.enter_context(start_session())
        row = session.prefill(ids[n_cached:])
        prefilled = time.perf_counter()
        choose(row, ids)
        ended = time.perf_counter()
    seconds = (tokenized - began, prefilled - tokenized, ended - prefilled, ended - began)
    return Parts(*(1e3 * s for s in seconds))


def row(condition: Condition, parts: Sequence[Parts], subject: Subject, limit: Limit) -> FirstToken:
    """All samples of one condition."""
    tokenize, prefill, sample, total = (Times(list(times)) for times in zip(*parts, strict=True))
    n_cached = condition.n_cached
    return FirstToken(
        n_tokens=condition.n_tokens,
        n_cached=n_cached,
        state=condition.state,
        tokenize=tokenize,
        prefill=prefill,
        sample=sample,
        total=total,
        limit=prefill_bound(
            subject.info,
            limit,
            condition.n_tokens - n_cached,
            subject.kv_read_bytes(n_cached),
            prefill.median_ms,
        ),
    )


def measure(case: Case) -> list[FirstToken]:
    """Warm rows, with and without a shared prefix of half the prompt."""
    plan, subject = case.plan, case.subject
    conditions = [Condition(n) for n in ((*LENGTHS, LONGEST) if plan.full else LENGTHS)]
    shared = SHARED_LENGTHS[1::2] if plan.quick else SHARED_LENGTHS
    conditions += [Condition(n, n_cached=n // 2) for n in shared]

    def task(c: Condition) -> Task[Condition, Parts]:
        seconds = c.n_tokens * subject.prefill_s
        return Task(c, seconds, lambda: once(subject, c.n_tokens, c.n_cached))

    return _collected(case, "first_token", 10 if plan.full else 5, map(task, conditions))


def measure_cold(case: Case) -> list[FirstToken]:
    """The first prompt after load, a process a sample."""
    plan, subject = case.plan, case.subject
    lengths = LENGTHS if plan.full else COLD_LENGTHS[1:3] if plan.quick else COLD_LENGTHS

    def task(n: int) -> Task[Condition, Parts]:
        seconds = 1.0 + subject.load_s + n * subject.prefill_s
        return Task(Condition(n, state="cold"), seconds, lambda: cold(subject, n))

    return _collected(case, "cold", 1 if plan.quick else 3, map(task, lengths))


def _collected(
    case: Case, dealt: str, n_rounds: int, tasks: Iterable[Task[Condition, Parts]]
) -> list[FirstToken]:
    """A row a condition that fits the context, in the time of section `dealt`."""
    run, n_ctx = case.run, case.subject.settings.n_ctx
    todo = [t for t in tasks if run.fits("first_token", t.key, t.key.n_tokens, n_ctx)]
    samples = run.collect("first_token", n_rounds, todo, run.budget.section(dealt))
    return [row(key, parts, case.subject, case.limit) for key, parts in samples.items()]


def cold(subject: Subject, n_tokens: int) -> Parts:
    """One first token right after load, in a fresh process."""
    text = text_of(subject.tokenizer, n_tokens)
    with subject.worker() as worker:
        return Parts(*worker.ask("first_token_parts", text))


def _table(results: Results) -> Table:
    """First-token latency by prompt length."""
    return Table(
        "first_token",
        "First-token latency",
        "From the text to the first token, medians in milliseconds. Cold: the first prompt after "
        "load; cached: leading tokens that the KV cache held already. Limit: of prefill, what "
        "binds it, and our share of it.",
        (
            *("file", "prompt", "cached", "state", "total", "p90", "tokenize", "prefill"),
            *("sample", "prefill tok/s", "limit", "by", "share"),
        ),
        per_model(
            results,
            lambda result: result.first_token,
            lambda r: (
                count(r.n_tokens),
                count(r.n_cached),
                r.state,
                number(r.total.median_ms),
                number(r.total.p90_ms),
                number(r.tokenize.median_ms),
                number(r.prefill.median_ms),
                number(r.sample.median_ms),
                number(1e3 * (r.n_tokens - r.n_cached) / r.prefill.median_ms),
                *limit_cells(r.limit),
            ),
        ),
        frozenset({"file", "state", "by"}),
        "ms",
    )


def _plot(result: ModelResult, name: str) -> Iterator[Plot]:
    """Latency over prompt length, on the limits: a climb from 1 to 10 tokens tells of compute."""
    kinds: tuple[tuple[str, str, str, Callable[[FirstToken], bool]], ...] = (
        ("first prompt after load", "^", SERIES[1], lambda r: r.state == "cold"),
        ("warm", "o", SERIES[0], lambda r: r.state == "warm" and not r.n_cached),
        ("warm, half of it cached", "s", SERIES[2], lambda r: r.state == "warm" and r.n_cached > 0),
    )
    limits = {r.n_tokens: r.limit for r in result.first_token if r.limit and not r.n_cached}
    if not result.first_token:
        return
    with canvas() as c:
        ax = c.ax
        ax.set(xscale="log", yscale="log", xlabel="prompt, tokens", ylabel="first token, ms")
        for text, marker, colour, wanted in kinds:
            rows = sorted(filter(wanted, result.first_token), key=lambda r: r.n_tokens)
            if not rows:
                continue
            lengths = [r.n_tokens for r in rows]
            ax.plot(
                lengths, [r.total.median_ms for r in rows], color=colour, marker=marker, label=text
            )
            least, most = ([getattr(r.total, end) for r in rows] for end in ("min_ms", "max_ms"))
            ax.fill_between(lengths, least, most, color=colour, alpha=0.18, linewidth=0)
        for text, style, key in (
            ("memory limit", ":", "memory_ms"),
            ("compute limit", "--", "compute_ms"),
        ):
            ax.plot(
                sorted(limits),
                [getattr(limits[n], key) for n in sorted(limits)],
                color=MUTED,
                linestyle=style,
                linewidth=1.1,
                label=text,
            )
        if limits:
            ax.set_ylim(bottom=0.5 * min(limit.memory_ms for limit in limits.values()))
        log_axis(ax.xaxis, TICKS)
        log_axis(ax.yaxis)
        ax.legend(loc="upper left")
        yield c.plot(
            "first_token",
            "First token by prompt length",
            "Medians, the band from the least to the greatest sample. No engine can read a whole "
            "prompt faster than the greater of the two limits, which this run measured.",
            subject=name,
        )


def _samples(row: FirstToken) -> Iterator[tuple[str, str, Times]]:
    what = f"{row.state} prompt of {row.n_tokens}, {row.n_cached} cached"
    for part in ("tokenize", "prefill", "sample", "total"):
        yield what, part, getattr(row, part)


FIRST_TOKEN = Section("first_token", 28, measure, (_table,), (each_model(_plot),), samples=_samples)
COLD = Section("cold", 8, measure_cold, apart=True, part="first_token")
