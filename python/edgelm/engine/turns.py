"""Who makes the steps: whoever waits for a request, for all whose readers wait.

The others sleep, and one of them takes over. Nobody waits, nothing runs. Tasks of an event loop may
not be held up, so while one waits, a thread of ours does. The lock is held for moments only, never
during a run.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ClosedError
from ..graph import CancelFlag
from .composer import Composer
from .request import Request, Waiter

if TYPE_CHECKING:
    from ..model import Network
    from .sequences import CachedText

CHECK_S = 1.0  # a sleeper looks around, in case that a signal kept its waker from waking it
READER_S = 0.002  # in which a reader is expected back, or in a tenth of a step


class Turns:
    """Requests, those who wait for them, and the thread that makes a step."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._lock = threading.Lock()  # guards everything below
        self._composer = Composer(network)
        self._released: deque[CachedText] = deque()
        self._driver: int | None = None  # the thread that makes a step
        self._running: tuple[Request, ...] = ()  # that the step is for
        self._flag = CancelFlag()  # ends the step
        self._late: list[Request] = []  # had a token, and their readers will be back at once,
        self._late_until = 0.0  # before that
        self._napper: Waiter | None = None  # who waits for them
        self._hired: Waiter | None = None  # the thread that makes steps for tasks
        self._n_changes = 0  # that may give an idle thread something to do
        self._check_s = CHECK_S
        self._closed = ""  # why, once it is

    def submit(self, requests: Sequence[Request], waiter: Waiter) -> None:
        """From now on the waiter waits for the requests; new ones join the queue."""
        raise NotImplementedError

    def step(self) -> bool:
        """One run for all whose readers wait, by the thread whose turn it is; False: for nobody."""
        raise NotImplementedError

    def _hopeless(self, request: Request, waiter: Waiter) -> Exception | None:
        """Why not to wait for a sequence any longer: it took too long, or would take forever."""
        raise NotImplementedError

    def wait(self, requests: Sequence[Request]) -> None:
        """Return when one of the requests has something for its reader.

        Raises its error; Busy or CacheFullError if there is no sequence to be had; ClosedError. If
        this raises, the requests have ended.
        """
        waiter = Waiter()
        try:
            self.submit(requests, waiter)
            while not self._turn(waiter, requests):
                pass
            raise_error(requests)
        except BaseException:
            for request in requests:
                self.cancel(request)
            raise
        finally:
            self._hand_over()

    def cancel(self, request: Request) -> None:
        """End a request where it is. Finalizers and signal handlers may, too."""
        request.done = True
        if request in self._running:
            mine = request.waiter.thread == self._driver
            if mine or len(self._running) == 1:  # else the others need the step
                self._flag.set()
        self._nudge()

    def release(self, text: CachedText) -> None:
        """Give a session's sequence back. Finalizers may, too."""
        self._released.append(text)
        self._nudge()

    def check_open(self) -> None:
        """Raise ClosedError after close()."""
        if self._closed:
            raise ClosedError(self._closed)

    def _turn(self, waiter: Waiter, requests: Sequence[Request] | None) -> bool:
        """Make a step or sleep; True once a request has something for its reader.

        Without requests: for all tasks, until none waits.
        """
        drives, outer, bed, nap_s = False, None, None, self._check_s
        try:
            with self._lock:
                self._settle()
                if self._no_more_tasks() if requests is None else _any_settled(requests):
                    return True
                self.check_open()
                outer, n_changes = self._driver, self._n_changes
                free = outer is None or outer == waiter.thread  # or this is within a step of its
                if free and (nap_s := self._pause_s(waiter)) == 0:
                    drives, self._driver = True, waiter.thread
                else:
                    bed = self._lie_down(waiter, requests)
            if drives and self.step():
                return False
        finally:
            if drives:
                self._driver = outer
        if drives:  # there was nothing to do
            with self._lock:
                if self._n_changes == n_changes:
                    bed, nap_s = self._lie_down(waiter, requests), self._check_s
        if bed is not None:
            bed.acquire(timeout=nap_s)
        return False

    def _pause_s(self, waiter: Waiter) -> float:
        """How long to nap until readers who had a token just now share the next step."""
        if self._late:
            late = [r for r in self._late if r.credit <= 0 and not r.done]
            left_s = self._late_until - time.perf_counter()
            if left_s > 0 and any(r.waiter.thread != waiter.thread for r in late):
                if self._napper in (None, waiter):
                    self._napper = waiter
                    return left_s
                return self._check_s
            for request in late:
                request.slow = True
            self._late, self._napper = [], None
        return 0.0

    def _lie_down(self, waiter: Waiter, requests: Sequence[Request] | None) -> threading.Lock:
        """The waiter sleeps, unless one of its requests is hopeless: that raises, or ends it."""
        for request in self._tasks() if requests is None else requests:
            if request.text is None and (error := self._hopeless(request, waiter)) is not None:
                if requests is not None:
                    raise error
                request.error = error
                self._composer.end(request)
        return waiter.lie_down()

    def _hand_over(self) -> None:
        """Settle what has ended; if nobody makes steps now, wake somebody who has to."""
        with self._lock:
            self._settle()
            if self._driver is None:
                if any(r.ready and r.waiter.rouse() for r in self._composer.requests):
                    return
                if self._hired is not None:
                    self._hired.rouse()

    def _nudge(self) -> None:
        """As _hand_over, for a finalizer or signal handler: this thread itself may hold the lock.

        Whoever holds it now goes on to settle things, but may be past the look at this one.
        """
        for _ in range(10):
            if not self._lock.locked():
                self._hand_over()
                return
            time.sleep(1e-4)

    def _settle(self) -> None:
        """End what was cancelled, and take back what was released, if no step is at it."""
        running = [request.text for request in self._running]
        for request in self._composer.requests[:]:
            if request.done and request not in self._running:
                self._composer.end(request)
                self._n_changes += 1
            elif request.done:
                request.waiter.wake()
        for _ in range(len(self._released)):
            text = self._released.popleft()
            if text in running:
                self._released.append(text)
            else:
                self._composer.sequences.give_back(text, keep=False)
                self._n_changes += 1

    def _tasks(self) -> list[Request]:
        """What tasks wait for."""
        return [r for r in self._composer.requests if r.ready and r.waiter.call is not None]

    def _no_more_tasks(self) -> bool:
        """Whether none waits, or will at once: then the hired thread goes."""
        late = self._late if time.perf_counter() < self._late_until else []
        if self._tasks() or any(r.waiter.call is not None and not r.done for r in late):
            return False
        self._hired = None
        return True


def _any_settled(requests: Sequence[Request]) -> bool:
    return any(not request.ready for request in requests)


def raise_error(requests: Sequence[Request]) -> None:
    """Raise what one of them ended with."""
    for request in requests:
        if request.error is not None:
            raise request.error
