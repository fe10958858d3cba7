"""From a row of logits to a token: llama.cpp's chain of samplers, in its order.

Two kinds: edits change the row of all V logits; the chain then narrows and bends the candidates.
A new sampler is a function of Candidates and one number, and its name in CHAIN and in Options.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .options import Options

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Tokens that may be chosen: ids (n,) and their logits (n,), highest first; n >= 1."""

    ids: NDArray[np.int32]
    logits: Doubles

    def __getitem__(self, keep: slice | NDArray[np.bool_]) -> Candidates:
        return Candidates(self.ids[keep], self.logits[keep])

    def probabilities(self) -> Doubles:
        """Softmax over the candidates, (n,)."""
        odds: Doubles = np.exp(self.logits - self.logits[0])
        return odds / float(odds.sum())


# --- edits of the row (V,), in place -------------------------------------------------------------


def penalties(
    row: Floats, recent: Sequence[int], repeat: float, presence: float, frequency: float
) -> None:
    """Make the tokens of `recent` less likely.

    repeat divides a positive logit and multiplies a negative one (arXiv:1909.05858); presence is
    subtracted once and frequency for every occurrence (OpenAI's definitions).
    """
    if not recent or (repeat == 1 and presence == 0 and frequency == 0):
        return
    ids, counts = np.unique(np.asarray(recent, np.int32), return_counts=True)
    logits = row[ids].astype(np.float64)
    logits = np.where(logits > 0, logits / repeat, logits * repeat)
    with np.errstate(over="ignore"):  # broken weights: the infinity is reported as theirs
        row[ids] = logits - counts * frequency - presence


# --- the chain -----------------------------------------------------------------------------------


def top_k(row: Floats, k: int) -> Candidates:
    """The k tokens with the highest logits, lower ids first among equals; all if k is 0."""
    ids, logits = _core.top(row, min(k, len(row)) or len(row))
    return Candidates(ids, logits.astype(np.float64))


def typical_p(c: Candidates, p: float) -> Candidates:
    """Keep the most typical tokens, to a mass above p. Source: arXiv:2202.00666.

    Typical is a surprise -log(prob) near the entropy.
    """
    if p >= 1:
        return c
    probs = c.probabilities()
    surprise = -np.log(np.maximum(probs, np.finfo(np.float64).tiny))
    order = np.argsort(np.abs(surprise - probs @ surprise), kind="stable")
    n = int(np.searchsorted(np.cumsum(probs[order]), p, side="right")) + 1
    keep = np.zeros(len(probs), np.bool_)
    keep[order[:n]] = True
    return c[keep]


def top_p(c: Candidates, p: float) -> Candidates:
    """Keep the fewest likeliest tokens whose mass is at least p. Source: arXiv:1904.09751."""
    if p >= 1:
        return c
    return c[: _core.top_p(c.logits, p)]


def min_p(c: Candidates, p: float) -> Candidates:
    """Keep tokens at least p times as likely as the best. Source: arXiv:2407.01082."""
    return c[: _core.min_p(c.logits, p)] if p > 0 else c


def temperature(c: Candidates, t: float) -> Candidates:
    """Divide the logits by t > 0: below 1 the likely get likelier. The largest becomes 0."""
    return Candidates(c.ids, _core.temperature(c.logits, t))


CHAIN: tuple[Callable[[Candidates, float], Candidates], ...] = (
    typical_p,
    top_p,
    min_p,
    temperature,
)


def draw(c: Candidates, u: float) -> int:
    """The token at which the cumulative probability passes u, 0 <= u < 1."""
    return int(c.ids[_core.draw(c.logits, u)])


# --- one request's sampler -----------------------------------------------------------------------


class Sampler:
    """Chooses the tokens of one reply; its randomness is its own. Not thread-safe.

    The seed drives NumPy's PCG64, one draw a token, so it gives the same text on every platform.
    """

    def __init__(self, options: Options, *, vocab_size: int, ends: Iterable[int] = ()) -> None:
        """`ends` are the tokens that end a reply, banned by ignore_eos."""
        bias = dict(options.logit_bias or {})
        for token in bias:
            if token >= vocab_size:
                raise ValueError(
                    f"logit_bias has token {token}, but the last one is {vocab_size - 1}."
                )
        if options.ignore_eos:
            bias.update(dict.fromkeys(ends, -math.inf))
        self._options = options
        self._biased = np.fromiter(bias.keys(), np.int32, len(bias))
        self._bias = np.fromiter(bias.values(), np.float32, len(bias))
        self._penalizes = options.repeat_last_n != 0 and (
            options.repeat_penalty != 1
            or options.presence_penalty != 0
            or options.frequency_penalty != 0
        )
        self.seed = secrets.randbits(63) if options.seed is None else options.seed
        self._random = np.random.Generator(np.random.PCG64(self.seed))
        self._row = np.empty(vocab_size, np.float32)  # of edited logits; new pages cost more

    def choose(self, row: Floats, history: Sequence[int]) -> int:
        """The next token from its logits (V,), which stay as they are, and the ids so far.

        Raises LogitsError if the logits hold NaN or infinity, or if every token is banned.
        """
        row = self.edited(row, history)
        if self._options.temperature == 0:
            return _core.argmax(row)
        candidates = top_k(row, self._options.top_k)
        for sampler in CHAIN:
            candidates = sampler(candidates, getattr(self._options, sampler.__name__))
        return draw(candidates, self._random.random())

    def edited(self, row: Floats, history: Sequence[int]) -> Floats:
        """The logits after bias, penalties and processors: `row` itself if nothing edits it.

        Otherwise a copy, good until the next call.
        """
        o = self._options
        if len(self._biased) == 0 and not self._penalizes and not o.logits_processors:
            return row
        np.copyto(self._row, row)
        row = self._row
        row[self._biased] += self._bias
        if self._penalizes:
            recent = history if o.repeat_last_n < 0 else history[-o.repeat_last_n :]
            penalties(row, recent, o.repeat_penalty, o.presence_penalty, o.frequency_penalty)
        for process in o.logits_processors:
            edited = np.ascontiguousarray(process(np.asarray(history, np.int32), row), np.float32)
            if edited.shape != row.shape:
                raise ValueError(
                    f"the logits processor {process!r} returned shape {edited.shape}; "
                    f"expected the logits, {row.shape}."
                )
            row = edited
        return row


# --- log-probabilities ---------------------------------------------------------------------------


class TokenLogprob(NamedTuple):
    """A token, its log-probability in nats, and the likeliest tokens with theirs, best first.

    They are the model's own: softmax of the unedited logits over the whole vocabulary.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


def token_logprob(row: Floats, token: int, n: int) -> TokenLogprob:
    """The log-probability of `token` under the logits (V,), and the n likeliest."""
    total = float(_core.log_sum_exp(row[None])[0])
    ids, logits = _core.top(row, min(n, len(row)))
    best = tuple((int(i), float(x) - total) for i, x in zip(ids, logits, strict=True))
    return TokenLogprob(token, float(row[token]) - total, best)


def log_probabilities(rows: Floats, targets: Sequence[int]) -> Doubles:
    """The log-probability in nats of targets[r] under the logits rows[r]: (R, V) to (R,)."""
    chosen = rows[np.arange(len(rows)), np.asarray(targets, np.int32)]
    scores: Doubles = chosen - _core.log_sum_exp(rows)
    return scores
