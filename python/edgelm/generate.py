"""Replies: from the ids of a prompt to text that ends, with what it cost."""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NoReturn, SupportsIndex

from .chat import REASONING_MARKS
from .engine import ALL, Engine, Request
from .errors import Busy, ContextFullError
from .samplers import Sampler, TokenLogprob
from .stops import StopStrings

if TYPE_CHECKING:
    from .options import Options

FinishReason = Literal["stop", "length", "cancelled"]
MAX_SHOWN = 60  # characters of a text
SHARED = "prompts"  # the key of replies that share their beginnings with each other


@dataclass(frozen=True)
class Usage:
    """What a reply was made of.

    prompt_tokens: of the prompt.
    cached_tokens: how many of them the cache already held.
    completion_tokens: of the reply.
    """

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Timings:
    """What a reply took, without the time in which a stream waited for its reader.

    first_token_ms: from the call to the first token: tokenization, prefill and sampling.
    prefill_ms: the part of it in which the prompt was computed.
    prefill_tok_s: prompt tokens computed a second of it.
    token_ms: of every token after the first.
    tok_s: decode: tokens after the first a second.

    NaN stands where there were too few tokens. The token that ends a reply counts: it was computed.
    """

    first_token_ms: float
    prefill_ms: float
    prefill_tok_s: float
    token_ms: tuple[float, ...] = field(repr=False)
    tok_s: float


@dataclass(frozen=True, repr=False)
class Generation:
    """A reply. `str(generation)` is its text.

    tokens: every token chosen but the one that ends a reply; a stop string's tokens are among them.
    text: the tokens' text, cut before the stop string; a cancelled reply's is what was streamed.
        With `echo`, the prompt's stands before it.
    finish_reason: "stop" (the model ended it, or a stop string), "length" (max_tokens, or the
        context is full) or "cancelled"; None while a stream runs.
    logprobs: one entry for every token, if asked for.
    usage, timings: what it cost.
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

    def __repr__(self) -> str:
        shown = self.text if len(self.text) <= MAX_SHOWN else self.text[: MAX_SHOWN - 3] + "..."
        parts = [f"{len(self.tokens):,} tokens", self.finish_reason or "unfinished"]
        if not math.isnan(self.timings.tok_s):
            parts.append(f"{self.timings.tok_s:,.0f} tok/s")
        return f"<edgelm.Generation {shown!r}: {', '.join(parts)}>"


class Reply:
    """A reply in the making. Its clock (seconds) stands still while its reader is away."""

    def __init__(
        self,
        engine: Engine,
        prompt: list[int],
        options: Options,
        began: float | None = None,
        *,
        streams: bool = False,
        key: object = SHARED,
        seed: int | None = None,
        prompt_text: str | None = None,
    ) -> None:
        """Raises ContextFullError, ValueError.

        `began` is the call's time.perf_counter(). Replies whose prompts have one `key` share their
        beginnings. `streams`: its reader wants to see every token before the next is computed.
        `prompt_text` is what the ids were made of, if they were.
        """
        network, tokenizer = engine.network, engine.network.tokenizer
        room = network.n_ctx - len(prompt)
        if room < 0:
            raise ContextFullError(
                f"The prompt has {len(prompt):,} tokens but the context holds {network.n_ctx:,}. "
                "Shorten it, or load the model with a larger n_ctx."
            )
        self._engine = engine
        self._options = options
        self._sampler = Sampler(
            options,
            vocab_size=tokenizer.vocab_size,
            ends=tokenizer.eog,
            seed=seed,
            n_prompt=len(prompt),
        )
        self.request = Request(
            prompt,
            key=key if options.cache_prompt or key != SHARED else None,
            keep=options.cache_prompt,
            sampler=self._sampler,
            ends=tokenizer.eog.union(options.stop_token_ids),
            # The last token needs no room in the cache: nothing is computed behind it.
            limit=min(room + 1 if options.max_tokens is None else options.max_tokens, room + 1),
            ahead=1 if streams or options.stop else ALL,  # a stop string may be found in each
        )
        self.finish_reason: FinishReason | None = None
        self.chunk = ""  # that `take` took last
        self._text: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._decoder = tokenizer.decoder(continues=not options.echo or prompt_text is not None)
        self._echo = ""  # what is still to be shown of the prompt
        if options.echo:
            decoded = "".join(map(self._decoder.push, prompt)) if prompt_text is None else ""
            self._echo = prompt_text or decoded
        self._stops = StopStrings(options.stop)
        self._n_taken = 0  # of the request's choices
        self._began = time.perf_counter() if began is None else began
        self._left = time.perf_counter()
        self._times: list[float] = []  # of every choice, since the call

    def read(self) -> Iterator[list[Request]]:
        """Yields what to wait for until there is more text of it, or its end."""
        self.chunk = ""
        self.resume()
        try:
            while not self.finish_reason and not self.take():
                yield [self.request]
        finally:
            self._left = time.perf_counter()

    def take(self) -> str:
        """The text of what was chosen meanwhile; at the end, it sets finish_reason."""
        chunks, request = [self._echo], self.request
        self._echo = ""
        done = request.done  # before its choices are looked at: more may come meanwhile
        while self._n_taken < len(request.choices) and not self.finish_reason:
            choice, at = request.choices[self._n_taken]
            self._n_taken += 1
            self._times.append(at - self._began)
            if choice.token in request.ends:
                break
            if choice.logprob is not None:
                self._logprobs.append(choice.logprob)
            chunks.append(self._push(self._decoder.push(choice.token), choice.token))
        if done and not self.finish_reason:
            self.finish_reason = request.reason or "cancelled"
            if request.reason:
                chunks.append(self._push(self._decoder.flush()) + self._stops.flush())
        if self.finish_reason:
            self.end()
        self.chunk = "".join(chunks)
        self._text.append(self.chunk)
        return self.chunk

    def _push(self, text: str, token: int | None = None) -> str:
        # A control token has a name instead of a text. Some names tell reasoning from the answer.
        name = "" if text or token is None else self._engine.network.tokenizer.control_name(token)
        is_shown = not name or name in REASONING_MARKS
        if self._n_taken <= self._options.min_tokens:
            return (text or name) if is_shown else ""
        shown, stopped = self._stops.push(text or name, shown=is_shown)
        if stopped:
            self.finish_reason = "stop"
        return shown

    def end(self) -> None:
        """Compute no more of it."""
        self._engine.cancel(self.request)
        self.finish_reason = self.finish_reason or "cancelled"

    def resume(self) -> None:
        """The reader is back."""
        self._began += time.perf_counter() - self._left

    def timings(self) -> Timings:
        """What it took so far."""
        times, request = self._times, self.request
        decode_s = times[-1] - times[0] if len(times) > 1 else math.nan
        return Timings(
            first_token_ms=1e3 * times[0] if times else math.nan,
            prefill_ms=1e3 * request.prefill_s,
            prefill_tok_s=(request.n_prompt - request.cached) / request.prefill_s,
            token_ms=tuple(1e3 * (b - a) for a, b in itertools.pairwise(times)),
            tok_s=(len(times) - 1) / decode_s,
        )

    def generation(self) -> Generation:
        """The reply so far."""
        request = self.request
        tokens = [choice.token for choice, _ in request.choices[: self._n_taken]]
        if tokens and tokens[-1] in request.ends:
            del tokens[-1]
        return Generation(
            text="".join(self._text),
            tokens=tokens,
            finish_reason=self.finish_reason,
            logprobs=self._logprobs[:] if self._options.logprobs else None,
            usage=Usage(request.n_prompt, request.cached, len(tokens)),
            timings=self.timings(),
            seed=self._sampler.seed,
        )


def finish(engine: Engine, replies: Sequence[Reply]) -> Iterator[list[Request]]:
    """Yields what to wait for until all replies are whole; as many at once as there are sequences.

    If it is closed before, they all end.
    """
    waiting, running = deque(replies), list[Reply]()
    try:
        while waiting or running:
            while waiting and len(running) < engine.network.n_parallel:
                running.append(waiting.popleft())
                running[-1].resume()
            yield [reply.request for reply in running]
            for reply in running:
                reply.take()
            running = [reply for reply in running if not reply.finish_reason]
    finally:
        for reply in running:
            reply.end()


def wait(engine: Engine, rounds: Iterator[list[Request]]) -> None:
    """Wait for what is yielded, round by round."""
    with contextlib.closing(rounds):  # type: ignore[type-var]
        for requests in rounds:
            engine.wait(requests)


async def wait_async(engine: Engine, rounds: Iterator[list[Request]]) -> None:
    """As `wait`, in a task."""
    with contextlib.closing(rounds):  # type: ignore[type-var]
        for requests in rounds:
            await engine.wait_async(requests)


class Stream:
    """The chunks of a reply, computed as they are read: whole characters, no part of a stop string.

    For `for` and, in a task, for `async for`. Closing it (or leaving its `with` block, or dropping
    it) ends the reply, within 50 ms even if another thread is reading; what was made so far is in
    `generation`.
    """

    def __init__(self, engine: Engine, reply: Reply) -> None:
        """Use Model.stream()."""
        self._engine = engine
        self._reply = reply
        self._drop = weakref.finalize(self, engine.cancel, reply.request)
        self._drop.atexit = False
        self._used = threading.Lock()  # never waited for, so that a fork can't leave a thread stuck

    @property
    def generation(self) -> Generation:
        """The reply so far."""
        return self._reply.generation()

    def close(self) -> None:
        """End the reply here. Closing twice, or after its end, is fine."""
        self._reply.end()

    async def aclose(self) -> None:
        """As `close`."""
        self._reply.end()

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> str:
        with self._reads() as reply:
            wait(self._engine, reply.read())
            if chunk := reply.chunk:
                return chunk
        raise StopIteration

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> str:
        with self._reads() as reply:
            await wait_async(self._engine, reply.read())
            if chunk := reply.chunk:
                return chunk
        raise StopAsyncIteration

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        raise TypeError(
            "A Stream can't be copied, pickled or sent to another process. Its `generation` can; a "
            "second one is begun by stream()."
        )

    def __repr__(self) -> str:
        return repr(self.generation).replace("Generation", "Stream", 1)

    @contextlib.contextmanager
    def _reads(self) -> Iterator[Reply]:
        if not self._used.acquire(blocking=False):
            raise Busy("This stream is being read already. Read it from one thread or task only.")
        try:
            yield self._reply
        except BaseException:
            self._reply.end()
            raise
        finally:
            self._used.release()
