"""The two phases of inference in the caller's hands: prefill a text, decode it token by token."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn, SupportsIndex

import numpy as np

from .engine import CachedText, Engine, Request, checked_ids
from .errors import Busy, ClosedError, ContextFullError
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
        network = self._engine.network
        tokens = checked_ids(ids, network.vocab_size)
        request = _appending(self._engine, text, tokens)
        if not all_logits:
            _extend(self._engine, [request])
            last: Floats = request.rows[0][0]
            return last
        request.rows_from = len(text.tokens)
        logits = np.empty((len(tokens), network.vocab_size), np.float32)
        done = 0

        def take() -> None:
            nonlocal done
            for rows in request.rows:
                logits[done : done + len(rows)] = rows
                done += len(rows)
            request.rows.clear()

        _extend(self._engine, [request], take)
        return logits

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

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        raise TypeError(
            "A Session can't be copied, pickled or sent to another process. fork() gives a second "
            "one with the same text; elsewhere, prefill its tokens in a session of a model there."
        )

    def __repr__(self) -> str:
        try:
            return f"<edgelm.Session: {len(self):,} of {self._engine.network.n_ctx:,} tokens>"
        except ClosedError:
            return "<edgelm.Session, closed>"

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
        texts = [stack.enter_context(session._alone()) for session in sessions]
        pairs = zip(texts, tokens, strict=True)
        requests = [_appending(engine, text, [token]) for text, token in pairs]
        _extend(engine, requests)
    return np.concatenate([request.rows[0] for request in requests])


def _appending(engine: Engine, text: CachedText, ids: list[int]) -> Request:
    """A request for the row behind the last of ids; ContextFullError before any compute."""
    engine.check_open()
    n_ctx = engine.network.n_ctx
    if len(text.tokens) + len(ids) > n_ctx:
        raise ContextFullError(
            f"{len(text.tokens):,} tokens and {len(ids):,} more exceed the context of "
            f"{n_ctx:,}. Truncate the session, or load with a larger n_ctx."
        )
    n = len(text.tokens) + len(ids)
    return Request([*text.tokens, *ids], text=text, rows_from=n - 1)


def _extend(
    engine: Engine, requests: list[Request], take: Callable[[], None] = lambda: None
) -> None:
    """Compute requests to their ends, and `take` their rows as they come. All grow, or none."""
    before = [(r.text, len(r.text.tokens)) for r in requests if r.text is not None]
    try:
        while waiting := [request for request in requests if not request.done]:
            engine.wait(waiting)
            take()
    except BaseException:
        with suppress(ClosedError):
            for text, n in before:
                engine.truncate(text, n)
        raise
