"""Per-token latency by depth, and llama-bench's two columns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .limits import Limit, decode_bound, prefill_bound
from .run import Run, Task
from .timing import Bound, Times

if TYPE_CHECKING:
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


def measure(run: Run, subject: Subject, limit: Limit, *, full: bool, quick: bool) -> list[Decode]:
    """A row a depth."""
    n_tokens = 64 if full else 16 if quick else 32

    def task(depth: int) -> Task[Depth, list[float]]:
        seconds = depth * subject.prefill_s + n_tokens * subject.decode_s
        return Task(Depth(depth), seconds, lambda: once(subject, depth, n_tokens, run.seed))

    n_ctx = subject.settings.n_ctx
    todo = [
        task(d) for d in DEPTHS if run.fits("decode", f"depth {d}", max(d, 1) + n_tokens, n_ctx)
    ]
    samples = run.collect("decode", 5 if full else 3, todo)
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


def llama_bench(
    run: Run, subject: Subject, limit: Limit, *, n_prompt: int = 512, n_generate: int = 128
) -> list[LlamaBench]:
    """Its two default tests, five repetitions; no warm-up, for the subject is warm."""
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
