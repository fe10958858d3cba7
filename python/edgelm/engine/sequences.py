"""The texts in a model's KV cache, and their beginnings, which others may go on from.

Nothing here waits or locks: it is called with the scheduler's lock held, for texts of no running
step.
"""

from __future__ import annotations

import hashlib
import math
import reprlib
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import CacheFullError
from ..graph import PAGE_TOKENS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..graph import KvCache

    Floats = NDArray[np.float32]

MAX_IDS = 1 << 24
IDLE_CONTEXTS = 1  # whole contexts' bytes that idle texts take, beside one for what is live


@dataclass(eq=False, slots=True)
class CachedText:
    """A sequence of the KV cache: its handle and its ids.

    The cache may hold fewer than `tokens` where a window forgot some; they are computed again when
    the sequence goes on.
    """

    handle: int
    tokens: list[int]
    key: object  # texts of one key serve as each other's beginning; None: of no other's
    decoded_at: float = -math.inf  # when it last grew by one token, in time.perf_counter()


class Sequences:
    """Who has the n_parallel sequences of a cache: live texts, and idle ones kept to go on from."""

    def __init__(self, cache: KvCache, n_parallel: int) -> None:
        self.live: list[CachedText] = []
        self._idle: list[CachedText] = []  # least recently used first
        self._cache = cache
        self._n_parallel = n_parallel
        self._most_bytes = min(IDLE_CONTEXTS + 1, n_parallel) * cache.context_bytes

    @property
    def n_free(self) -> int:
        """Sequences that can be had, some by dropping an idle text."""
        return self._n_parallel - len(self.live)

    def begin(self, ids: Sequence[int], key: object) -> CachedText:
        """A text with as many of the ids as some text of that key begins with.

        Raises CacheFullError if all sequences are live.
        """
        source, n = self._longest_prefix(ids, key)
        if source is None:
            self._make_room()
            return self._adopt(CachedText(self._cache.create(), [], key))
        whole = n == len(source.tokens)
        if source in self._idle and (whole or not self._make_room(spare=source)):
            self._idle.remove(source)  # nobody else needs it, or there is no room for a copy
            self.cut(source, n)
            return self._adopt(source)
        self._make_room(spare=source)
        return self._adopt(self._copy(source, n))

    def reusable(self, ids: Sequence[int], key: object) -> int:
        """How many of the ids `begin` would find."""
        return self._longest_prefix(ids, key)[1]

    def fork(self, text: CachedText) -> CachedText:
        """A copy that goes its own way; both share the pages of what they have in common."""
        self._make_room()
        return self._adopt(self._copy(text, len(text.tokens)))

    def cut(self, text: CachedText, n: int) -> None:
        """Forget all but the first n tokens."""
        del text.tokens[n:]
        self.held(text)

    def held(self, text: CachedText) -> int:
        """What the cache holds of the text; an interrupted step may have left it more than that."""
        length = self._cache.length(text.handle)
        if length > len(text.tokens):
            length = self._cache.truncate(text.handle, len(text.tokens))
        return length

    def give_back(self, text: CachedText, *, keep: bool) -> None:
        """Free a sequence; with `keep` its text stays until room is needed. Twice is fine."""
        if text not in self.live:
            return
        self.live.remove(text)
        if keep and text.tokens:
            self._idle.append(text)
        else:
            self._cache.drop(text.handle)

    def keep_within_memory(self, n_tokens: int) -> None:
        """Before a step of so many tokens: give up idle texts for which too little is left."""
        if self._idle:
            token_bytes = self._cache.context_bytes / self._cache.n_ctx
            most = self._most_bytes - (n_tokens + PAGE_TOKENS) * token_bytes
            while self._idle and self._cache.committed_bytes > most:
                self.drop_idle()

    def drop_idle(self) -> bool:
        """Give up the least recently used idle text; False if there is none."""
        if not self._idle:
            return False
        self._cache.drop(self._idle.pop(0).handle)
        return True

    def full(self) -> CacheFullError:
        """The error when all sequences are live."""
        n = self._n_parallel
        return CacheFullError(
            f"All {n} sequences of the KV cache are in use by open sessions and streams. Close "
            f"one, or load the model with n_parallel={n + 1} or more."
        )

    def close(self) -> None:
        """Let go of all, and of the cache."""
        self.live.clear()
        self._idle.clear()
        del self._cache

    def _adopt(self, text: CachedText) -> CachedText:
        self.live.append(text)
        return text

    def _make_room(self, spare: CachedText | None = None) -> bool:
        """Have a free sequence, dropping the least recently used idle one, but not `spare`."""
        self._reclaim()
        if len(self.live) + len(self._idle) < self._n_parallel:
            return True
        victim = next((text for text in self._idle if text is not spare), None)
        if victim is not None:
            self._idle.remove(victim)
            self._cache.drop(victim.handle)
            return True
        if spare is not None and spare in self._idle:
            return False
        raise self.full()

    def _reclaim(self) -> None:
        """Drop sequences that only the cache knows: a signal came before they were listed here."""
        known = {text.handle for text in (*self.live, *self._idle)}
        for handle in self._cache.sequences:
            if handle not in known:
                self._cache.drop(handle)

    def _longest_prefix(self, ids: Sequence[int], key: object) -> tuple[CachedText | None, int]:
        best, best_n = None, 0
        if key is not None:
            for text in (*self.live, *self._idle):
                if text.key == key and (n := common_prefix(text.tokens, ids)) > best_n:
                    best, best_n = text, n
        return best, best_n

    def _copy(self, source: CachedText, n: int) -> CachedText:
        copy = CachedText(self._cache.fork(source.handle), source.tokens[:], source.key)
        self.cut(copy, n)
        return copy


def text_key(key: object, adapter: int, embeddings: Floats | None) -> object:
    """A CachedText's key, if `key` is what its caller says of it.

    It holds what else decides a text's keys and values: its adapter, and embeddings, of which its
    ids tell only where they are.
    """
    if key is None:
        return None
    rows = b"" if embeddings is None else hashlib.sha256(embeddings.tobytes()).digest()
    return key, adapter, rows


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
