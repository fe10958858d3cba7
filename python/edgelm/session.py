"""The two phases of inference in the caller's hands: prefill a text, decode it token by token."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import numpy as np

from .engine import CachedText, Engine, checked_ids
from .errors import Busy, ClosedError
from .options import integer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


class Session:
    """One text that grows token by token. A context manager.

    It reuses no other text's work. Logits come as fresh float32 arrays. It serves one thread at a
    time; a second one gets Busy.
    """

    def __init__(self, engine: Engine, text: CachedText) -> None:
        self._engine = engine
        self._text = text
        self._release = weakref.finalize(self, engine.release, text)
        self._release.atexit = False
        self._used = threading.Lock()  # never waited for, so that a fork can't leave a thread stuck

    @property
    def tokens(self) -> list[int]:
        """The ids so far, a copy."""
        return self._opened().tokens[:]

    def prefill(self, ids: Sequence[int], *, all_logits: bool = False) -> Floats:
        """Append ids: the last one's logits (V,), or (T, V) of all of them, which may be large.

        Raises ContextFullError if they do not fit; an interrupted prefill leaves no trace.
        """
        with self._alone() as text:
            return self._prefill(text, ids, all_logits)

    def _prefill(self, text: CachedText, ids: Sequence[int], all_logits: bool) -> Floats:
        tokens = checked_ids(ids, self._engine.network.vocab_size)
        before = len(text.tokens)
        logits = np.empty(
            (len(tokens) if all_logits else 1, self._engine.network.vocab_size), np.float32
        )
        done = 0
        try:
            for rows in self._engine.feed(text, tokens, all_rows=all_logits):
                logits[done : done + len(rows)] = rows
                done += len(rows)
        except BaseException:
            del text.tokens[before:]
            raise
        return logits if all_logits else logits[0]

    def decode(self, token: int) -> Floats:
        """Append one id: its logits (V,)."""
        row: Floats = decode_batch(self._engine, [self], [token])[0]
        return row

    def truncate(self, n: int) -> None:
        """Forget all but the first n tokens."""
        with self._alone() as text:
            self._engine.truncate(text, integer("n", n, 0, len(text.tokens)))

    def fork(self) -> Session:
        """A second session with the same text so far; costs at most one page of the cache."""
        with self._alone() as text:
            return Session(self._engine, self._engine.fork(text))

    def close(self) -> None:
        """Give the sequence back. Closing twice is fine."""
        self._release()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._opened().tokens)

    @contextmanager
    def _alone(self) -> Iterator[CachedText]:
        text = self._opened()
        if not self._used.acquire(blocking=False):
            raise Busy(
                "Another thread uses this session. Wait for it, or fork the session to go two ways."
            )
        try:
            yield text
        finally:
            self._used.release()

    def _opened(self) -> CachedText:
        self._engine.check_open()
        if not self._release.alive:
            raise ClosedError("The session is closed. Open another with model.session().")
        return self._text


def decode_batch(engine: Engine, sessions: Sequence[Session], ids: Sequence[int]) -> Floats:
    """Append ids[b] to sessions[b]: logits (B, V). All sessions grow, or none."""
    sessions = list(sessions)
    engine.check_open()
    tokens = checked_ids(ids, engine.network.vocab_size)
    if len(sessions) != len(tokens):
        raise ValueError(f"{len(sessions)} sessions but {len(tokens)} ids; give one id for each.")
    for session in sessions:
        if not isinstance(session, Session):
            raise TypeError(f"expected sessions of this model; got {session!r}.")
        if session._engine is not engine:
            raise ValueError("A session of another model is in the batch; give this model's only.")
    if len({id(session) for session in sessions}) != len(sessions):
        raise ValueError("A session is in the batch twice; fork it to go two ways.")
    with ExitStack() as stack:
        return engine.decode([stack.enter_context(s._alone()) for s in sessions], tokens)
