"""One reply: from the ids of a prompt to text that ends, with what it cost."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from .engine import Cancelled, Engine
from .errors import ContextFullError
from .graph import CancelFlag
from .samplers import Sampler, TokenLogprob, token_logprob

if TYPE_CHECKING:
    from .model import Network
    from .options import Options

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class Usage:
    """Tokens of the prompt, how many of them the cache already held, and tokens of the reply."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Timings:
    """What a reply took, without the time in which a stream waited for its reader.

    NaN stands where there were too few tokens. The token that ends a reply counts: it was computed.
    """

    first_token_ms: float  # from the call to the first token: tokenization, prefill and sampling
    prefill_ms: float  # the part of it in which the prompt was computed
    prefill_tok_s: float  # prompt tokens computed a second of it
    token_ms: tuple[float, ...]  # of every token after the first
    tok_s: float  # decode: tokens after the first a second


@dataclass(frozen=True)
class Generation:
    """A reply. `str(generation)` is its text.

    tokens: every token chosen but the one that ends a reply; a stop string's tokens are among them.
    text: the tokens' text, cut before the stop string; a cancelled reply's is what was streamed.
    finish_reason: "stop" (the model ended it, or a stop string), "length" (max_tokens, or the
        context is full) or "cancelled"; None while a stream runs.
    logprobs: one entry for every token, if asked for.
    seed: gives the same text again.
    """

    text: str
    tokens: list[int]
    finish_reason: FinishReason | None
    logprobs: list[TokenLogprob] | None
    usage: Usage
    timings: Timings
    seed: int

    def __str__(self) -> str:
        return self.text


class StopStrings:
    """Lets text through up to the first stop string, and never a part of one."""

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = strings
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """The text that may be shown now, and whether a stop string was found behind it."""
        text = self._held + text
        found = [at for stop in self._strings if (at := text.find(stop)) >= 0]
        if found:
            self._held = ""
            return text[: min(found)], True
        cut = len(text) - max((_overlap(text, stop) for stop in self._strings), default=0)
        self._held = text[cut:]
        return text[:cut], False

    def flush(self) -> str:
        """What was held back, when no more text comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` with which `stop` begins."""
    for n in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:n]):
            return n
    return 0


class _Reply:
    """A reply in the making. Its clock (seconds) stands still while its reader is away."""

    def __init__(self, network: Network, prompt: list[int], options: Options, began: float) -> None:
        tokenizer = network.tokenizer
        self.options = options
        self.sampler = Sampler(options, vocab_size=tokenizer.vocab_size, ends=tokenizer.eog)
        self.cancel = CancelFlag()
        self.prompt = prompt
        self.history = prompt[:]
        self.logprobs: list[TokenLogprob] = []
        self.text: list[str] = []
        self.finish_reason: FinishReason | None = None
        self.cached = 0
        self.logits = np.empty((1, network.vocab_size), np.float32)  # new pages cost more than it
        self._vocab_size = tokenizer.vocab_size  # the network's rows may be padded beyond it
        self._ends = tokenizer.eog
        self._decoder = tokenizer.decoder(continues=True)
        self._stops = StopStrings(options.stop)
        # The last token needs no room in the cache: nothing is computed behind it.
        self._end = len(prompt) + min(options.max_tokens, network.n_ctx - len(prompt) + 1)
        self._began = began
        self._left = time.perf_counter()
        self._prefill_s = math.nan
        self._times: list[float] = []  # of every choice, since the call

    @property
    def tokens(self) -> list[int]:
        return self.history[len(self.prompt) :]

    def advance(self) -> str:
        """Choose the next token; the text that may be shown now. Sets finish_reason at the end."""
        if len(self.history) == self._end:  # max_tokens is 0
            self.finish_reason = "length"
            return ""
        row = self.logits[0, : self._vocab_size]
        token = self.sampler.choose(row, self.history)
        self._times.append(self._elapsed())
        if token in self._ends:
            self.finish_reason = "stop"
            return self._rest()
        if self.options.logprobs:
            self.logprobs.append(token_logprob(row, token, self.options.logprobs))
        self.history.append(token)
        chunk, stopped = self._stops.push(self._decoder.push(token))
        if stopped:
            self.finish_reason = "stop"
        elif len(self.history) == self._end:
            self.finish_reason = "length"
            chunk += self._rest()
        return chunk

    def _rest(self) -> str:
        chunk, stopped = self._stops.push(self._decoder.flush())
        if stopped:
            self.finish_reason = "stop"
        return chunk + self._stops.flush()

    def resume(self) -> None:
        """The reader is back."""
        self._began += time.perf_counter() - self._left

    def leave(self, chunk: str) -> str:
        """The reader goes with this chunk."""
        self.text.append(chunk)
        self._left = time.perf_counter()
        return chunk

    def _elapsed(self) -> float:
        return time.perf_counter() - self._began

    @contextlib.contextmanager
    def prefill(self) -> Iterator[None]:
        """Times what is within."""
        began = time.perf_counter()
        yield
        self._prefill_s = time.perf_counter() - began

    def timings(self) -> Timings:
        times, prefill_s = self._times, self._prefill_s
        decode_s = times[-1] - times[0] if len(times) > 1 else math.nan
        return Timings(
            first_token_ms=1e3 * times[0] if times else math.nan,
            prefill_ms=1e3 * prefill_s,
            prefill_tok_s=(len(self.prompt) - self.cached) / prefill_s,
            token_ms=tuple(1e3 * (b - a) for a, b in itertools.pairwise(times)),
            tok_s=(len(times) - 1) / decode_s,
        )

    def generation(self) -> Generation:
        """The reply so far."""
        return Generation(
            text="".join(self.text),
            tokens=self.tokens,
            finish_reason=self.finish_reason,
            logprobs=self.logprobs[:] if self.options.logprobs else None,
            usage=Usage(len(self.prompt), self.cached, len(self.tokens)),
            timings=self.timings(),
            seed=self.sampler.seed,
        )


class Stream:
    """The chunks of a reply, computed as they are read: whole characters, no part of a stop string.

    Closing it (or leaving its `with` block, or dropping it) ends the reply, within 50 ms even if
    another thread is reading; what was made so far is in `generation`.
    """

    def __init__(
        self,
        engine: Engine,
        prompt: list[int],
        options: Options,
        *,
        began: float | None = None,
        waits: bool = False,
    ) -> None:
        """Raises ContextFullError, ValueError.

        `began` is the call's time.perf_counter(); one that reads to the end at once `waits` for a
        sequence while others of its kind have them all.
        """
        n_ctx = engine.network.n_ctx
        if len(prompt) > n_ctx:
            raise ContextFullError(
                f"The prompt has {len(prompt):,} tokens but the context holds {n_ctx:,}. "
                "Shorten it, or load the model with a larger n_ctx."
            )
        self._reply = _Reply(engine.network, prompt, options, began or time.perf_counter())
        self._chunks = _chunks(engine, self._reply, waits)

    @property
    def generation(self) -> Generation:
        """The reply so far."""
        return self._reply.generation()

    def close(self) -> None:
        """End the reply here. Closing twice, or after its end, is fine."""
        self._reply.cancel.set()
        # ValueError: another thread is reading, and ends now that the flag is set.
        with contextlib.suppress(ValueError):
            self._chunks.close()
            self._reply.finish_reason = self._reply.finish_reason or "cancelled"

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> str:
        return next(self._chunks)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _chunks(engine: Engine, reply: _Reply, waits: bool) -> Generator[str, None, None]:
    """The request loop. It knows nothing of its Stream, so dropping that one ends it at once."""
    prompt, keep = reply.prompt, reply.options.cache_prompt
    reply.resume()
    text = engine.open(prompt if keep else None, waits=waits)

    def step(ids: list[int]) -> None:
        for _ in engine.feed(text, ids, cancel=reply.cancel, out=reply.logits):
            pass

    try:
        reply.cached = engine.cached(text)
        with reply.prefill():
            step(prompt[len(text.tokens) :])
        while True:
            if chunk := reply.advance():
                yield reply.leave(chunk)
                reply.resume()
            if reply.finish_reason:
                return
            step(reply.history[-1:])
    except Cancelled:
        reply.finish_reason = "cancelled"
    finally:
        reply.finish_reason = reply.finish_reason or "cancelled"
        engine.release(text, keep=keep)
