"""From a row of logits to a token: llama.cpp's chain of samplers, in its order.

Two kinds: edits change the row of all V logits; the chain then narrows and bends the candidates.
A new one is a function in csrc/select/chain.cc, its name there and in Options. The tokens of all
replies of a step are chosen in one native call, without the GIL.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.random import PCG64, Generator  # here: a Ctrl-C while it is being imported gets lost

from . import _core
from .errors import LogitsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .options import Options

    Ids = NDArray[np.int32]
    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]
    _Asked = tuple[Floats, _core.Edits, _core.Chain, Ids, float]


class Sampler:
    """How the tokens of one reply are chosen; its randomness is its own. Not thread-safe.

    The seed drives NumPy's PCG64, one draw a token, so it gives the same text on every platform.
    """

    def __init__(
        self,
        options: Options,
        *,
        vocab_size: int,
        ends: Iterable[int] = (),
        seed: int | None = None,
        n_prompt: int = 0,
    ) -> None:
        """`ends` are the model's tokens that end a reply, banned by ignore_eos.

        `seed` beats the option. `n_prompt` is the length of the first history, whose next
        min_tokens tokens end nothing.
        """
        bias = dict(options.logit_bias or {})
        for name, tokens in (("logit_bias", bias), ("stop_token_ids", options.stop_token_ids)):
            for token in tokens:
                if token >= vocab_size:
                    raise ValueError(
                        f"{name} has token {token}, but the last one is {vocab_size - 1}."
                    )
        if options.ignore_eos:
            bias.update(dict.fromkeys(ends, -math.inf))
        self._later_edits = _edits(options, bias)
        self._ends_from = n_prompt + options.min_tokens  # tokens of the history
        bias.update(dict.fromkeys((*ends, *options.stop_token_ids), -math.inf))
        self._first_edits = _edits(options, bias) if options.min_tokens else self._later_edits
        names = _core.chain_names() if options.temperature > 0 else []  # 0: only the best is left
        self._chain = _core.Chain(
            options.top_k if names else 1, [(name, getattr(options, name)) for name in names]
        )
        self._last_n = options.repeat_last_n if self._later_edits.penalizes else 0
        self._processors = options.logits_processors
        self.n_logprobs = options.logprobs
        if seed is None:
            seed = secrets.randbits(63) if options.seed is None else options.seed
        self.seed = seed
        self._random = Generator(PCG64(seed)) if names else None
        self.u: float | None = None  # drawn for the next token
        self._row = np.empty(vocab_size, np.float32)  # of edited logits; new pages cost more

    def choose(self, row: Floats, history: Sequence[int]) -> int:
        """The next token from its logits (V,), which stay as they are, and the ids so far.

        Raises LogitsError if the logits hold NaN or infinity, or if every token is banned.
        """
        (choice,) = choose([(self, row, history)])
        if isinstance(choice, Exception):
            raise choice
        self.accept()
        return choice.token

    def edited(self, row: Floats, history: Sequence[int]) -> Floats:
        """The logits after bias, penalties and processors: `row` itself if nothing edits it.

        Otherwise a copy, good until the next call.
        """
        edits = self._edits(history)
        if edits.empty and not self._processors:
            return row
        np.copyto(self._row, row)
        row = self._row
        edits.apply(row, self._recent(history))
        for process in self._processors:
            returned = process(np.asarray(history, np.int32), row)
            if returned is None:
                raise TypeError(
                    f"the logits processor {process!r} returned None; expected the logits, "
                    f"{row.shape}. One that edits them in place has to return them, too."
                )
            edited = np.ascontiguousarray(returned, np.float32)
            if edited.shape != row.shape:
                raise ValueError(
                    f"the logits processor {process!r} returned shape {edited.shape}; "
                    f"expected the logits, {row.shape}."
                )
            row = edited
        return row

    def accept(self) -> None:
        """The choice counts: the next one has a draw of its own."""
        self.u = None

    def asked(self, row: Floats, history: Sequence[int]) -> _Asked:
        """A row of the native call. Asked again before `accept`, it has the same draw."""
        if self.u is None:
            self.u = self._random.random() if self._random is not None else 0.0
        if self._processors:
            return self.edited(row, history), _NO_EDITS, self._chain, _NO_IDS, self.u
        return row, self._edits(history), self._chain, self._recent(history), self.u

    def _edits(self, history: Sequence[int]) -> _core.Edits:
        return self._first_edits if len(history) < self._ends_from else self._later_edits

    def _recent(self, history: Sequence[int]) -> Ids:
        if self._last_n == 0:
            return _NO_IDS
        ids = np.asarray(history if self._last_n < 0 else history[-self._last_n :], np.int32)
        return ids[ids >= 0]  # embeddings have none


def _edits(options: Options, bias: dict[int, float]) -> _core.Edits:
    return _core.Edits(
        np.fromiter(bias.keys(), np.int32, len(bias)),
        np.fromiter(bias.values(), np.float32, len(bias)),
        options.repeat_penalty,
        options.presence_penalty,
        options.frequency_penalty,
    )


_NO_IDS = np.empty(0, np.int32)
_NO_EDITS = _core.Edits(_NO_IDS, np.empty(0, np.float32), 1, 0, 0)


class Choice(NamedTuple):
    """A token that was chosen, and its log-probability if that was asked for."""

    token: int
    logprob: TokenLogprob | None = None


def choose(
    rows: Sequence[tuple[Sampler, Floats, Sequence[int]]],
) -> list[Choice | Exception]:
    """The next token of each of several replies, or what went wrong with it, in one native call.

    Each row has its sampler, its logits (V,), which stay as they are, and the ids so far. The
    choice counts once the sampler is told to `accept` it.
    """
    asked: list[_Asked | Exception] = []
    for sampler, row, history in rows:
        try:
            asked.append(sampler.asked(row, history))
        except Exception as error:  # a logits processor's: only its own reply ends with it
            asked.append(error)
    tokens = iter(_core.choose([one for one in asked if isinstance(one, tuple)]))
    return [
        _choice(sampler, row, one, next(tokens)) if isinstance(one, tuple) else one
        for (sampler, row, _), one in zip(rows, asked, strict=True)
    ]


def _choice(sampler: Sampler, row: Floats, asked: _Asked, token: int) -> Choice | Exception:
    if token >= 0:
        n = sampler.n_logprobs
        return Choice(token, token_logprob(row, token, n) if n else None)
    edited, edits, chain, recent, u = asked
    edited = edited.copy()
    edits.apply(edited, recent)
    try:
        return Choice(chain.choose(edited, u))
    except LogitsError as error:  # as there is no choice, it says why
        return error


# --- log-probabilities ---------------------------------------------------------------------------


class TokenLogprob(NamedTuple):
    """How likely a token was.

    token: its id.
    logprob: its log-probability in nats.
    top: the likeliest tokens with theirs, best first.

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
