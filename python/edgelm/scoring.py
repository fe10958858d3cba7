"""What a model makes of a given text: logits, log-probabilities, perplexity."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .engine import Engine, Request
from .errors import ContextFullError
from .samplers import log_probabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Perplexity:
    """How well a model foretells a text; `float(result)` is the perplexity.

    nats: the summed negative log-probability of the `tokens` that were scored, `n_bytes` of text.
    """

    nats: float
    tokens: int
    n_bytes: int
    chunks: int

    @property
    def perplexity(self) -> float:
        """exp(nats / tokens): the smaller the better, comparable for one tokenizer only."""
        return math.exp(self.nats / self.tokens)

    @property
    def bits_per_byte(self) -> float:
        """nats / ln 2 / n_bytes: comparable across tokenizers."""
        return self.nats / math.log(2) / self.n_bytes

    def __float__(self) -> float:
        return self.perplexity


def logits(engine: Engine, ids: Sequence[int]) -> Floats:
    """The logits that follow each of T ids: (T, V) float32."""
    _check_length(engine, ids)
    out = np.empty((len(ids), engine.network.vocab_size), np.float32)
    done = 0
    for rows in _rows(engine, ids, 0):
        out[done : done + len(rows)] = rows
        done += len(rows)
    return out


def score(engine: Engine, ids: Sequence[int]) -> Doubles:
    """The log-probability in nats of each of T ids but the first, given those before it: (T-1,)."""
    _check_length(engine, ids)
    return np.concatenate([np.empty(0), *_scores(engine, ids[:-1], ids[1:])])


def perplexity(
    engine: Engine, text: str, n_ctx: int, progress: Callable[[int, int], object] | None = None
) -> Perplexity:
    """Perplexity by llama.cpp's chunking (tools/perplexity): chunks of n_ctx tokens, none shared.

    Of each chunk the second half is scored, tokens n_ctx / 2 + 1 to n_ctx - 1; BOS takes the place
    of its first token if the model begins texts with one. What is left at the end is not scored.
    progress(done, total) is called with tokens, before each chunk and at the end.
    """
    tokenizer = engine.network.tokenizer
    ids = tokenizer.encode(text)
    if len(ids) < n_ctx:
        raise ValueError(
            f"The text has {len(ids):,} tokens, less than one chunk of n_ctx={n_ctx:,}. "
            "Give a longer text or a smaller n_ctx."
        )
    half, nats, scored = n_ctx // 2, 0.0, []
    end = len(ids) // n_ctx * n_ctx
    for start in range(0, end, n_ctx):
        if progress is not None:
            progress(start, end)
        chunk = ids[start : start + n_ctx]
        scored += chunk[half + 1 :]
        if tokenizer.add_bos and tokenizer.bos_id is not None:
            chunk[0] = tokenizer.bos_id
        for scores in _scores(engine, chunk[:-1], chunk[half + 1 :]):
            nats -= float(scores.sum())
    if progress is not None:
        progress(end, end)
    n_bytes = sum(len(tokenizer.token_bytes(token)) for token in scored)
    return Perplexity(nats, len(scored), n_bytes, len(ids) // n_ctx)


def _scores(engine: Engine, ids: Sequence[int], targets: Sequence[int]) -> Iterator[Doubles]:
    """Log-probabilities of the targets, which stand behind the last ids, as rows come."""
    done = 0
    for rows in _rows(engine, ids, len(ids) - len(targets)):
        yield log_probabilities(rows, targets[done : done + len(rows)])
        done += len(rows)


def _rows(engine: Engine, ids: Sequence[int], rows_from: int) -> Iterator[Floats]:
    """The rows behind ids[rows_from:], as they come: rows of V floats are big."""
    if not ids:
        return
    request = Request(ids, rows_from=rows_from)
    try:
        while not request.done:
            engine.wait([request])
            yield from request.rows
            request.rows.clear()
    finally:
        engine.cancel(request)


def _check_length(engine: Engine, ids: Sequence[int]) -> None:
    if len(ids) > engine.network.n_ctx:
        raise ContextFullError(
            f"The text has {len(ids):,} tokens but the context holds {engine.network.n_ctx:,}. "
            "Shorten it, or load the model with a larger n_ctx."
        )
