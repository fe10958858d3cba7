"""Per-token latency by depth, and llama-bench's two columns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .canvas import (
    INK,
    MUTED,
    PAPER,
    SERIES,
    Plot,
    canvas,
    each_model,
    rows_height,
    write_inside,
)
from .limits import Limit, decode_bound, prefill_bound
from .numbers import ABSENT, count, number, percent
from .run import Task
from .section import Case, Section
from .stats import percentile
from .table import Table, label, limit_cells, per_model
from .timing import Bound, Times

if TYPE_CHECKING:
    from .results import ModelResult, Results
    from .subject import Subject

DEPTHS = (0, 512, 1024, 2048)


class Depth(int):
    """Tokens in the KV cache."""

    def __str__(self) -> str:
        return f"depth {int(self)}"


@dataclass
class Decode:
    """Per-token latency behind `depth` tokens.

    depth: tokens in the KV cache when the first of these was computed; "0" is a prompt of one.
    token: from one token's choice to the next one's: a decode step and greedy sampling.
    tok_s: tokens a second without the first (MLPerf Client's definition): count over summed times.
    limit: weights, and the keys and values at the middle of the samples, over the read bandwidth.
    """

    depth: int
    token: Times
    tok_s: float
    limit: Bound


@dataclass
class LlamaBench:
    """A row as llama-bench prints it: random ids, no sampling, mean and standard deviation.

    test: "pp512": 512 prompt tokens at once; "tg128": 128 tokens one by one on an empty cache.
    n_tokens: 512 or 128.
    run: time of a whole repetition.
    tok_s: mean of the repetitions' rates.
    tok_s_std: their standard deviation; null for one.
    limit: of a whole repetition.
    """

    test: str
    n_tokens: int
    run: Times
    tok_s: float
    tok_s_std: float | None
    limit: Bound


def measure(case: Case) -> list[Decode]:
    """A row a depth."""
    run, subject, limit = case.run, case.subject, case.limit
    n_tokens = 64 if case.plan.full else 16 if case.plan.quick else 32

    def task(depth: int) -> Task[Depth, list[float]]:
        seconds = depth * subject.prefill_s + n_tokens * subject.decode_s
        return Task(Depth(depth), seconds, lambda: once(subject, depth, n_tokens, run.seed))

    n_ctx = subject.settings.n_ctx
    todo = [
        task(d) for d in DEPTHS if run.fits("decode", f"depth {d}", max(d, 1) + n_tokens, n_ctx)
    ]
    samples = run.collect("decode", 5 if case.plan.full else 3, todo)
    rows = []
    for depth, lists in samples.items():
        token = Times([ms for times in lists for ms in times])
        kv_bytes = subject.kv_read_bytes(depth + n_tokens // 2)
        bound = decode_bound(subject.info, limit, kv_bytes, token.median_ms)
        rows.append(Decode(int(depth), token, token.tok_s, bound))
    return rows


def once(subject: Subject, depth: int, n_tokens: int, seed: int) -> list[float]:
    """Milliseconds of n_tokens tokens behind `depth` random ones."""
    with subject.model.session() as session:
        ids = subject.ids(max(depth, 1), seed)
        row = session.prefill(ids)
        return subject.decode_times(session, subject.choose(row, ids), n_tokens)


# --- llama-bench ---------------------------------------------------------------------------------


class Test(NamedTuple):
    """Of llama-bench."""

    phase: str
    n_tokens: int

    def __str__(self) -> str:
        return f"{self.phase}{self.n_tokens}"


def llama_bench(case: Case) -> list[LlamaBench]:
    """Its two default tests, five repetitions; no warm-up, for the subject is warm."""
    run, subject, limit = case.run, case.subject, case.limit
    n_prompt, n_generate = 512, 128
    prefill_s, decode_s = n_prompt * subject.prefill_s, n_generate * subject.decode_s
    ids = subject.ids(max(n_prompt, n_generate), run.seed)
    todo = [
        Task(Test("pp", n_prompt), prefill_s, lambda: prefill_ms(subject, ids[:n_prompt])),
        Task(Test("tg", n_generate), decode_s, lambda: decode_ms(subject, ids[:n_generate])),
    ]
    n_ctx = subject.settings.n_ctx
    todo = [t for t in todo if run.fits("llama_bench", t.key, t.key.n_tokens, n_ctx)]
    samples = run.collect("llama_bench", 5, todo)
    return [llama_bench_row(subject, limit, test, times) for test, times in samples.items()]


def llama_bench_row(
    subject: Subject, limit: Limit, test: Test, times: Sequence[float]
) -> LlamaBench:
    """Rates of the repetitions, averaged as llama-bench does."""
    n_tokens, repetitions = test.n_tokens, Times(list(times))
    rates = [1e3 * n_tokens / ms for ms in times]
    if test.phase == "pp":
        bound = prefill_bound(subject.info, limit, n_tokens, 0, repetitions.median_ms)
    else:
        token_ms = repetitions.median_ms / n_tokens
        kv_bytes = subject.kv_read_bytes(n_tokens // 2)
        bound = decode_bound(subject.info, limit, kv_bytes, token_ms).times(n_tokens)
    return LlamaBench(
        test=str(test),
        n_tokens=n_tokens,
        run=repetitions,
        tok_s=statistics.fmean(rates),
        tok_s_std=statistics.stdev(rates) if len(rates) > 1 else None,
        limit=bound,
    )


def prefill_ms(subject: Subject, ids: list[int]) -> float:
    """Milliseconds from the ids to the last one's logits, in a fresh sequence."""
    with subject.model.session() as session:
        start = time.perf_counter()
        session.prefill(ids)
        return 1e3 * (time.perf_counter() - start)


def decode_ms(subject: Subject, ids: list[int]) -> float:
    """Milliseconds of feeding the ids one by one to a fresh sequence."""
    with subject.model.session() as session:
        start = time.perf_counter()
        session.prefill(ids[:1])
        for token in ids[1:]:
            session.decode(token)
        return 1e3 * (time.perf_counter() - start)


def _table(results: Results) -> Table:
    """Per-token latency."""
    return Table(
        "decode",
        "Per-token latency",
        "Every decoded token's time behind so many tokens of context, in milliseconds. Jitter: "
        "mean difference between one token and the next. tok/s: without the first token, as MLPerf "
        "Client counts.",
        (
            *("file", "depth", "tokens", "median", "p90", "p99", "max", "jitter", "tok/s"),
            *("limit", "by", "share"),
        ),
        per_model(
            results,
            lambda result: result.decode,
            lambda r: (
                count(r.depth),
                count(len(r.token.samples_ms)),
                number(r.token.median_ms),
                number(r.token.p90_ms),
                number(r.token.p99_ms),
                number(r.token.max_ms),
                number(r.token.jitter_ms),
                number(r.tok_s),
                *limit_cells(r.limit),
            ),
        ),
        frozenset({"file", "by"}),
        "ms",
    )


def _speed_plot(results: Results) -> Iterator[Plot]:
    """Decoding speed beside the limit, all files."""
    rows = [
        (label(results, result.model.name), row)
        for result in results.models
        if result.decode and (row := min(result.decode, key=lambda r: r.depth)).limit
    ]
    if len(rows) < 2:  # of one file the plot by depth shows it
        return
    with canvas(height=rows_height(len(rows))) as c:
        ax = c.ax
        at = range(len(rows))
        ax.barh(at, [r.tok_s for _, r in rows], 0.5, color=SERIES[0], label="measured")
        for i, (_, row) in zip(at, rows, strict=True):
            if row.limit:
                limit = 1e3 / row.limit.limit_ms
                text = "limit" if i == 0 else None
                ax.plot([limit, limit], [i - 0.36, i + 0.36], ":", color=INK, label=text)
                write_inside(ax, row.tok_s, i)
        c.name_rows([name for name, _ in rows])
        ax.set(xlabel="decode, tok/s")
        ax.set_xlim(left=0)
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.25), ncols=2)
        yield c.plot(
            "decode",
            "Decoding speed and its limit",
            "At the least depth. The limit is the measured read bandwidth over the bytes that a "
            "token reads.",
        )


def _plot(result: ModelResult, name: str) -> Iterator[Plot]:
    """How long tokens took, at each depth."""
    rows = sorted(result.decode, key=lambda r: r.depth)
    if not rows:
        return
    with canvas() as c:
        ax = c.ax
        at = range(len(rows))
        boxes = [
            {
                "med": r.token.median_ms,
                "q1": percentile(r.token.samples_ms, 0.25),
                "q3": percentile(r.token.samples_ms, 0.75),
                "whislo": r.token.min_ms,
                "whishi": percentile(r.token.samples_ms, 0.9),
                "fliers": [t for t in r.token.samples_ms if t > r.token.p90_ms],
            }
            for r in rows
        ]
        line = {"color": SERIES[0], "linewidth": 1.1}
        ax.bxp(
            boxes,
            positions=at,
            widths=0.5,
            patch_artist=True,
            boxprops={"facecolor": PAPER, "edgecolor": SERIES[0], "linewidth": 1.1},
            medianprops={"color": SERIES[0], "linewidth": 2.2},
            whiskerprops=line,
            capprops=line,
            flierprops={
                "marker": "o",
                "markersize": 2.5,
                "markerfacecolor": SERIES[0],
                "markeredgewidth": 0,
                "alpha": 0.5,
            },
        )
        for i, row in zip(at, rows, strict=True):
            if row.limit:
                text = "limit" if i == 0 else None
                ax.plot(
                    [i - 0.36, i + 0.36], [row.limit.limit_ms] * 2, ":", color=MUTED, label=text
                )
        ax.set(xlabel="depth, tokens of context before", ylabel="time of a token, ms")
        ax.set_xticks(at, [f"{r.depth:,}" for r in rows])
        ax.set_ylim(bottom=0)
        ax.grid(visible=False, axis="x")
        if any(r.limit for r in rows):
            ax.legend(loc="lower right")
        yield c.plot(
            "decode",
            "Per-token latency by depth",
            "Box: the middle half of all tokens and their median; whiskers: least and p90; dots: "
            "every slower token.",
            subject=name,
        )


def _llama_bench_table(results: Results) -> Table:
    """llama-bench's columns."""
    return Table(
        "llama_bench",
        "As llama-bench counts",
        "Random ids, no sampling: pp512 is 512 prompt tokens at once, tg128 is 128 tokens one by "
        "one on an empty cache; mean and standard deviation of the repetitions.",
        ("file", "test", "tok/s", "deviation", "limit tok/s", "share"),
        per_model(
            results,
            lambda result: result.llama_bench,
            lambda r: (
                r.test,
                number(r.tok_s),
                number(r.tok_s_std),
                number(1e3 * r.n_tokens / r.limit.limit_ms) if r.limit else ABSENT,
                percent(r.limit.share) if r.limit else ABSENT,
            ),
        ),
        frozenset({"file", "test"}),
    )


DECODE = Section(
    "decode", 20, measure, (_table,), (_speed_plot, each_model(_plot)),
    samples=lambda row: iter([(f"depth {row.depth}", "token", row.token)]),
)  # fmt: skip
LLAMA_BENCH = Section(
    "llama_bench", 15, llama_bench, (_llama_bench_table,),
    samples=lambda row: iter([(row.test, "run", row.run)]),
)  # fmt: skip
