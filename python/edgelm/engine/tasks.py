"""Waiting in tasks of an event loop, which must not be held up: a thread makes the steps for them.

It is hired when a task begins to wait, and goes when none does, nor will at once.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .request import Request, Waiter
from .turns import Turns, raise_error

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future


class Tasks(Turns):
    """Turns that tasks take part in."""

    async def wait_async(self, requests: Sequence[Request]) -> None:
        """As `wait`, in a task."""
        import asyncio  # with the first task, which has done so

        loop = asyncio.get_running_loop()
        came = loop.create_future()
        try:
            self.submit(requests, Waiter(lambda: _tell(loop, came)))
            if all(request.ready for request in requests):
                self._hire()
                await came
                self.check_open()
            raise_error(requests)
        except BaseException:
            for request in requests:
                self.cancel(request)
            raise

    def _hire(self) -> None:
        """Have a thread that makes the steps, awake if there is one to make."""
        with self._lock:
            hired = self._hired
            if hired is not None:
                if self._pause_s(hired) == 0:
                    hired.rouse()
                return
            hired = self._hired = Waiter()
        try:
            threading.Thread(target=self._serve, args=(hired,), name="edgelm", daemon=True).start()
        except BaseException:
            self._hired = None
            raise

    def _serve(self, hired: Waiter) -> None:
        hired.thread = threading.get_ident()
        try:
            while not self._turn(hired, None):
                pass
        except BaseException as error:
            with self._lock:
                self._hired = None
                for request in self._tasks():
                    request.error = error
                    self._composer.end(request)
        finally:
            self._hand_over()


def _tell(loop: AbstractEventLoop, came: Future[None]) -> None:
    """From any thread: the task that awaits the future goes on."""
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody awaits
        loop.call_soon_threadsafe(_resolve, came)


def _resolve(came: Future[None]) -> None:
    if not came.done():
        came.set_result(None)
