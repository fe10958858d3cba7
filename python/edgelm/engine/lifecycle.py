"""How an engine ends: closing, the end of the program, a fork of the process."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref

from ..errors import ClosedError
from ..model import Network
from .scheduler import Scheduler

_CLOSED = "The model is closed. Load it again."
_ENDED = "The program has ended, and the model with it."
_FORKED = "This process was forked while the model was running. Load it again here."


class Engine(Scheduler):
    """Runs one network for all who ask, until it is closed."""

    def __init__(
        self, network: Network, *, max_queue: int = 256, queue_timeout_s: float | None = None
    ) -> None:
        """Raise Busy for a request with max_queue others before it, or that waits so long."""
        super().__init__(network, max_queue=max_queue, queue_timeout_s=queue_timeout_s)
        with _ENGINES_LOCK:
            _ENGINES.add(self)

    def check_open(self) -> None:
        """Raise ClosedError after close(); SystemExit in a daemon thread once the program ended."""
        if self._closed == _ENDED and threading.current_thread().daemon:
            raise SystemExit(_ENDED)  # ends the thread without a traceback
        if self._closed:
            raise ClosedError(self._closed)

    def close(self, why: str = _CLOSED) -> None:
        """Stop what runs (it raises ClosedError) and free the network. Closing twice is fine."""
        self._closed = self._closed or why
        me = threading.get_ident()
        while True:
            with self._lock:
                self._flag.set()
                for request in self._composer.requests:
                    request.waiter.wake()
                if self._hired is not None:
                    self._hired.rouse()
                if self._driver in (None, me):
                    if "network" in self.__dict__:
                        self._composer.close()
                        del self.network
                    return
            time.sleep(1e-3)

    def after_fork(self) -> None:
        """In a child process: no thread of the parent is left to go on."""
        me = threading.get_ident()
        others = self._driver not in (None, me)
        others |= any(r.ready and r.waiter.thread != me for r in self._composer.requests)
        if others or self._lock.locked():
            self._closed = self._closed or _FORKED
            self._driver, self._running = None, ()
        self._lock = threading.Lock()
        self._hired = None


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
