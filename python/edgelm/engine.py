"""The sequences of one model's KV cache, and the only place that runs its network.

A lock is held for one step at a time (a chunk of a prompt, or a token of one or more sequences), so
calls from several threads take turns, and a stream that nobody reads blocks nobody.
"""

from __future__ import annotations

import atexit
import os
import reprlib
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .errors import CacheFullError, ClosedError, ContextFullError
from .graph import CancelFlag

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .model import Network

    Floats = NDArray[np.float32]


class Cancelled(Exception):  # noqa: N818  (an outcome, not an error: it never leaves the package)
    """The caller's CancelFlag ended a step; the sequence is as it was before that step."""


@dataclass(eq=False, slots=True)
class CachedText:
    """A sequence of the KV cache: its handle and its ids.

    The cache may hold fewer than `tokens` where a window forgot some; they are computed again when
    the sequence goes on.
    """

    handle: int
    tokens: list[int]
    shared: bool  # replies' texts serve as each other's beginning; a session's never
    caller: int | None = None  # the thread of a call that gives it back by itself


class Engine:
    """Runs one network for sessions and replies, which share its n_parallel sequences."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._lock = threading.Lock()  # guards the network and everything below
        self._live: list[CachedText] = []
        self._idle: list[CachedText] = []  # kept for their beginnings, least recently used first
        self._released: deque[tuple[CachedText, bool]] = deque()
        self._freed = threading.Event()
        self._closed = ""  # why, once it is
        self._running: CancelFlag | None = None
        with _ENGINES_LOCK:
            _ENGINES.add(self)

    # --- sequences -------------------------------------------------------------------------------

    def open(self, prompt: Sequence[int] | None = None, *, waits: bool = False) -> CachedText:
        """A sequence; for a prompt, one that begins with as much of prompt[:-1] as the cache holds.

        When all are in use, a call that gives its own back by itself `waits` for others of its
        kind, unless its thread holds one already: who waits holds nothing, so nobody waits forever.
        Everybody else gets a CacheFullError.
        """
        caller = threading.get_ident() if waits else None
        while True:
            self._freed.clear()
            with self._lock:
                self._ready()
                try:
                    text = self._begin(prompt)
                    text.caller = caller
                    return text
                except CacheFullError:
                    callers = {text.caller for text in self._live} - {None}
                    if caller is None or caller in callers or not callers:
                        raise
            self._freed.wait(0.1)

    def fork(self, text: CachedText) -> CachedText:
        """A copy that goes its own way; both share the pages of what they have in common."""
        with self._lock:
            self._ready()
            self._make_room()
            return self._adopt(self._copy(text, len(text.tokens)))

    def truncate(self, text: CachedText, n: int) -> None:
        """Forget all but the first n tokens."""
        with self._lock:
            self._ready()
            self._cut(text, n)

    def release(self, text: CachedText, keep: bool = False) -> None:
        """Give a sequence back; with `keep` its text stays until room is needed.

        Also runs in finalizers, maybe in a thread that holds the lock: the next step settles it.
        """
        self._released.append((text, keep))
        self._freed.set()
        if not self._lock.locked():
            with self._lock:
                self._settle()

    def cached(self, text: CachedText) -> int:
        """Tokens of the text that need not be computed again."""
        with self._lock:
            self._ready()
            return self._aligned(text)

    # --- steps -----------------------------------------------------------------------------------

    def feed(
        self,
        text: CachedText,
        ids: Sequence[int],
        *,
        all_rows: bool = False,
        cancel: CancelFlag | None = None,
        out: Floats | None = None,
    ) -> Iterator[Floats]:
        """Append ids in chunks of at most n_batch; yields (R, V) logits of theirs, in order.

        R adds up to len(ids) with `all_rows`, otherwise to one: the last, in `out` if it is given.
        Between chunks other threads have their turn. Raises ContextFullError before any compute,
        Cancelled, ClosedError.
        """
        self._check_room(text, len(ids))
        first = len(text.tokens)
        position = self.cached(text)
        todo = [*text.tokens[position:], *ids]
        size = self.network.n_batch
        if all_rows:
            size = min(size, self.network.max_rows)
        for start in range(0, len(todo), size):
            chunk = todo[start : start + size]
            new = max(0, first - position)  # the chunk's tokens from here on are the caller's
            if start + size >= len(todo):
                wanted = range(new if all_rows else len(chunk) - 1, len(chunk))
            else:
                wanted = range(new, len(chunk) if all_rows else new)
            if start > 0:
                time.sleep(1e-4)  # locks are not fair: let a thread that waits take its turn
            rows = self._step([text], [chunk], wanted, cancel, out if wanted else None)
            position += len(chunk)
            if wanted:
                yield rows

    def decode(self, texts: Sequence[CachedText], ids: Sequence[int]) -> Floats:
        """Append one id to each of B sequences: their (B, V) logits, computed together."""
        before = [len(text.tokens) for text in texts]
        for text in texts:
            self._check_room(text, 1)
        size = min(self.network.n_batch, self.network.max_rows)
        logits = np.empty((len(ids), self.network.vocab_size), np.float32)
        try:
            for text in texts:
                self._catch_up(text)
            for i in range(0, len(ids), size):
                some = slice(i, min(i + size, len(ids)))
                chunks = [[token] for token in ids[some]]
                self._step(texts[some], chunks, range(len(chunks)), out=logits[some])
        except BaseException:
            for text, n in zip(texts, before, strict=True):
                del text.tokens[n:]  # all or none: the cache follows at the next step
            raise
        return logits

    def _catch_up(self, text: CachedText) -> None:
        """Compute again what the cache does not hold of the text."""
        position = self.cached(text)
        missing = text.tokens[position:]
        for start in range(0, len(missing), self.network.n_batch):
            self._step([text], [missing[start : start + self.network.n_batch]], range(0))

    def _step(
        self,
        texts: Sequence[CachedText],
        chunks: Sequence[Sequence[int]],
        wanted: range,
        cancel: CancelFlag | None = None,
        out: Floats | None = None,
    ) -> Floats:
        """One run: each text goes on with its chunk, from where its cache ends."""
        with self._lock:
            self._running = cancel or CancelFlag()
            self._ready()
            positions: list[int] = []
            for text, chunk in zip(texts, chunks, strict=True):
                start = self.network.cache.length(text.handle)
                positions += range(start, start + len(chunk))
            rows = self.network.run(
                np.array([token for chunk in chunks for token in chunk], np.int32),
                np.array(positions, np.int32),
                np.repeat(
                    np.array([text.handle for text in texts], np.int32),
                    [len(chunk) for chunk in chunks],
                ),
                np.array(wanted, np.int32),
                self._running,
                out,
            )
            self._running = None
            if rows is not None:
                for text, chunk in zip(texts, chunks, strict=True):
                    known = len(text.tokens) - self.network.cache.length(text.handle) + len(chunk)
                    text.tokens += chunk[known:]
                return rows
        self.check_open()
        raise Cancelled

    def _aligned(self, text: CachedText) -> int:
        """What the cache holds of the text; an interrupted step may have left it more than that."""
        length = self.network.cache.length(text.handle)
        if length > len(text.tokens):
            length = self.network.cache.truncate(text.handle, len(text.tokens))
        return length

    # --- closing ---------------------------------------------------------------------------------

    def close(self, why: str = "The model is closed. Load it again.") -> None:
        """Stop what runs (it raises ClosedError) and free the network. Closing twice is fine."""
        self._closed = self._closed or why
        if (running := self._running) is not None:
            running.set()
        with self._lock:
            self._live.clear()
            self._idle.clear()
            self._released.clear()
            self.__dict__.pop("network", None)

    def check_open(self) -> None:
        """Raise ClosedError after close(); SystemExit in a daemon thread once the program ended."""
        if self._closed == _ENDED and threading.current_thread().daemon:
            raise SystemExit(_ENDED)  # ends the thread without a traceback
        if self._closed:
            raise ClosedError(self._closed)

    def after_fork(self) -> None:
        """In a child process: no thread of the parent is left to give back what it held."""
        if self._lock.locked():
            self._closed = self._closed or _FORKED
        self._lock = threading.Lock()
        self._freed = threading.Event()

    # --- with the lock held ----------------------------------------------------------------------

    def _ready(self) -> None:
        self.check_open()
        self._settle()

    def _settle(self) -> None:
        while self._released:
            text, keep = self._released.popleft()
            if text not in self._live:
                continue
            self._live.remove(text)
            if keep and text.tokens:
                self._idle.append(text)
            else:
                self.network.cache.drop(text.handle)

    def _adopt(self, text: CachedText) -> CachedText:
        self._live.append(text)
        return text

    def _make_room(self, spare: CachedText | None = None) -> bool:
        """Have a free sequence, dropping the least recently used idle one, but not `spare`."""
        if len(self._live) + len(self._idle) < self.network.n_parallel:
            return True
        victim = next((text for text in self._idle if text is not spare), None)
        if victim is not None:
            self._idle.remove(victim)
            self.network.cache.drop(victim.handle)
            return True
        if spare is not None and spare in self._idle:
            return False
        n = self.network.n_parallel
        raise CacheFullError(
            f"All {n} sequences of the KV cache are in use by open sessions and streams. Close "
            f"one, or load the model with n_parallel={n + 1} or more."
        )

    def _begin(self, prompt: Sequence[int] | None) -> CachedText:
        source, n = self._longest_prefix(prompt[:-1]) if prompt is not None else (None, 0)
        if source is None:
            self._make_room()
            create = self.network.cache.create
            return self._adopt(CachedText(create(), [], shared=prompt is not None))
        whole = n == len(source.tokens)
        if source in self._idle and (whole or not self._make_room(spare=source)):
            self._idle.remove(source)  # nobody else needs it, or there is no room for a copy
            self._cut(source, n)
            return self._adopt(source)
        self._make_room(spare=source)
        return self._adopt(self._copy(source, n))

    def _longest_prefix(self, ids: Sequence[int]) -> tuple[CachedText | None, int]:
        best, best_n = None, 0
        for text in (*self._live, *self._idle):
            if text.shared and (n := common_prefix(text.tokens, ids)) > best_n:
                best, best_n = text, n
        return best, best_n

    def _copy(self, source: CachedText, n: int) -> CachedText:
        copy = CachedText(self.network.cache.fork(source.handle), source.tokens[:], source.shared)
        self._cut(copy, n)
        return copy

    def _cut(self, text: CachedText, n: int) -> None:
        del text.tokens[n:]
        self._aligned(text)

    def _check_room(self, text: CachedText, n: int) -> None:
        self.check_open()
        if len(text.tokens) + n > self.network.n_ctx:
            raise ContextFullError(
                f"{len(text.tokens):,} tokens and {n:,} more exceed the context of "
                f"{self.network.n_ctx:,}. Truncate the session, or load with a larger n_ctx."
            )


MAX_IDS = 1 << 24
_ENDED = "The program has ended, and the model with it."
_FORKED = "This process was forked while the model was running. Load it again here."
_ENGINES: weakref.WeakSet[Engine] = weakref.WeakSet()
_ENGINES_LOCK = threading.Lock()  # held during a fork, so that the child's set is whole


@atexit.register
def _at_exit() -> None:
    with _ENGINES_LOCK:
        engines = list(_ENGINES)
    for engine in engines:
        engine.close(_ENDED)


def _after_fork() -> None:
    _ENGINES_LOCK.release()
    for engine in list(_ENGINES):
        engine.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_ENGINES_LOCK.acquire,
        after_in_parent=_ENGINES_LOCK.release,
        after_in_child=_after_fork,
    )


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many ids two texts begin with in common; slices keep the comparison native."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def checked_ids(ids: object, vocab_size: int) -> list[int]:
    """Token ids as a list; TypeError or ValueError unless they are integers of the vocabulary."""
    if isinstance(ids, Sized) and len(ids) > MAX_IDS:  # before a range becomes gigabytes
        raise ValueError(f"There are {len(ids):,} token ids; no context holds over {MAX_IDS:,}.")
    try:
        array = np.asarray(ids)
    except ValueError:  # lists of different lengths
        array = np.empty((0, 0))
    if array.ndim == 1 and array.size == 0:
        raise ValueError("There are no token ids; give at least one.")
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(f"token ids must be a flat sequence of integers; got {reprlib.repr(ids)}.")
    outside = (array < 0) | (array >= vocab_size)
    if outside.any():
        at = int(outside.argmax())
        raise ValueError(
            f"token id {array[at]} at index {at} is not in the model's vocabulary, "
            f"0 to {vocab_size - 1}."
        )
    return [int(i) for i in array]
