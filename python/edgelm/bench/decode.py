"""Per-token latency by depth, and llama-bench's two columns."""

from __future__ import annotations

from dataclasses import dataclass

from .timing import Bound, Times


@dataclass
class Decode:
    """Per-token latency behind `depth` tokens.

    depth: tokens in the KV cache when the first of these was computed; "0" is a prompt of one.
    token: from one token's choice to the next one's: a decode step and greedy sampling.
    tok_s: tokens a second without the first (MLPerf Client's definition): count over summed times.
    limit: weights, and the keys and values of the depth, over the read bandwidth.
    """

    depth: int
    token: Times
    tok_s: float
    limit: Bound | None


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
    limit: Bound | None
