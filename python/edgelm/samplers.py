"""From a row of logits to a token: llama.cpp's chain of samplers, in its order.

Two kinds: edits change the row of all V logits; the chain then narrows and bends the candidates.
A new one is a function in csrc/select/chain.cc, its name there and in Options.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .options import Options

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]


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
        self._chain = _core.Chain(
            options.top_k, [(name, getattr(options, name)) for name in _core.chain_names()]
        )
        self._penalizes = options.repeat_last_n != 0 and (
            options.repeat_penalty != 1
            or options.presence_penalty != 0
            or options.frequency_penalty != 0
        )
        self._edits = bool(bias or self._penalizes or options.logits_processors)
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
        return self._chain.choose(row, self._random.random())

    def edited(self, row: Floats, history: Sequence[int]) -> Floats:
        """The logits after bias, penalties and processors: `row` itself if nothing edits it.

        Otherwise a copy, good until the next call.
        """
        if not self._edits:
            return row
        o = self._options
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
