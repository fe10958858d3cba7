"""Whose tokens are computed when: the only place that runs a network.

A step is one run: the next token of every request that is decoding, then chunks of prompts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import Busy, EdgelmError
from ..graph import CancelFlag
from ..samplers import choose
from .composer import Part
from .request import Request, Waiter
from .sequences import CachedText
from .tasks import Tasks
from .turns import READER_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..model import Network

    Floats = NDArray[np.float32]

AWAY_S = 10.0  # a stream whose reader is away for longer may never go on


class Scheduler(Tasks):
    """Requests, and the steps that serve them."""

    def __init__(
        self, network: Network, *, max_queue: int = 256, queue_timeout_s: float | None = None
    ) -> None:
        super().__init__(network)
        self._max_queue = max_queue
        self._queue_timeout_s = queue_timeout_s
        if queue_timeout_s is not None:
            self._check_s = min(self._check_s, queue_timeout_s)
        self._logits: Floats | None = None  # of a step: new pages cost more than it

    def submit(self, requests: Sequence[Request], waiter: Waiter) -> None:
        """From now on the waiter waits for the requests; new ones join the queue."""
        now = time.perf_counter()
        with self._lock:
            self.check_open()
            new = [r for r in requests if not r.submitted and not r.done]
            n_new = sum(request.text is None for request in new)
            n_waiting = self._composer.n_queued - self._composer.sequences.n_free
            if n_new and n_waiting + n_new > self._max_queue:
                raise Busy(
                    f"{max(0, n_waiting):,} requests wait already for one of the "
                    f"{self.network.n_parallel} sequences (max_queue={self._max_queue:,}). Ask "
                    "again later, or load the model with a larger n_parallel or max_queue."
                )
            for request in requests:
                request.waiter = waiter
                if not request.ready:
                    request.credit = request.ahead
                    request.slow = now > self._late_until
            for request in new:
                request.submitted, request.asked_at = True, now
                self._composer.requests.append(request)
            self._n_changes += 1

    def _hopeless(self, request: Request, waiter: Waiter) -> Exception | None:
        if self._composer.sequences.n_free > 0:
            return None
        now, limit_s = time.perf_counter(), self._queue_timeout_s
        if limit_s is not None and now - request.asked_at > limit_s:
            return Busy(
                f"None of the {self.network.n_parallel} sequences came free within {limit_s:g} s "
                f"(queue_timeout_s); {self._composer.n_queued:,} requests wait for one."
            )
        if any(self._may_end(other, waiter, now) for other in self._composer.requests):
            return None
        return self._composer.sequences.full()

    def _may_end(self, request: Request, waiter: Waiter, now: float) -> bool:
        """Whether a request may give a sequence back while this waiter waits."""
        if request.text is None or not request.owns_text:
            return False
        if request.ready or request.done:  # but not if this very thread is within its step
            return not (self._driver == waiter.thread and request in self._running)
        return request.waiter.thread != waiter.thread and now - request.served_at < AWAY_S

    # --- sessions --------------------------------------------------------------------------------

    def open(self) -> CachedText:
        """A sequence of one's own, given back with `release`. Raises as `wait` does."""
        request = Request(())
        self.wait([request])
        assert request.text is not None
        return request.text

    def fork(self, text: CachedText) -> CachedText:
        """A copy that goes its own way; both share the pages of what they have in common."""
        while True:
            with self._lock:
                self.check_open()
                self._settle()
                if text not in [request.text for request in self._running]:
                    return self._composer.sequences.fork(text)
            time.sleep(1e-3)  # a step that was interrupted here is not over yet

    def truncate(self, text: CachedText, n: int) -> None:
        """Forget all but the first n tokens."""
        with self._lock:
            self.check_open()
            del text.tokens[n:]
            if text not in [request.text for request in self._running]:
                self._composer.sequences.held(text)

    # --- steps -----------------------------------------------------------------------------------

    def step(self) -> bool:
        """One run for all whose readers wait, by the thread whose turn it is; False: for nobody."""
        outer = self._running
        try:
            with self._lock:
                self.check_open()
                n_before = len(self._composer.requests)
                parts = self._composer.compose(outer)
                opened = len(self._composer.requests) < n_before  # sessions, which need no run
                self._flag = CancelFlag()
                self._running = (*outer, *(part.request for part in parts))
            if parts:
                self._run(parts)
        finally:
            self._running = outer
        return opened or bool(parts)

    def _run(self, parts: list[Part]) -> None:
        tokens: list[int] = []
        handles: list[int] = []
        wanted: list[int] = []
        adapters: list[int] = []
        embeddings: list[Floats] = []
        n_decoded, hands_out = 0, False
        for request, text, at, n, n_rows in parts:
            tokens += request.ids[at : at + n]
            handles += [text.handle] * n
            adapters.append(request.adapter)
            if (given := request.embeddings(at, n)) is not None:
                embeddings.append(given)
            wanted += range(len(tokens) - n_rows, len(tokens))
            n_decoded += n == 1
            hands_out |= n_rows > 0 and request.sampler is None
        rows, self._logits = self._logits, None  # a step within this one has its own
        if hands_out or rows is None or len(rows) < len(wanted):
            rows = np.empty((len(wanted), self.network.row_width), np.float32)
        began = time.perf_counter()
        try:
            result = self.network.run(
                np.array(tokens, np.int32),
                np.array(handles, np.int32),
                np.array(wanted, np.int32),
                embeddings=np.concatenate(embeddings) if embeddings else None,
                adapters=np.array(adapters, np.int32) if any(adapters) else None,
                cancel=self._flag,
                out=rows[: len(wanted)],
            )
        except (EdgelmError, MemoryError) as error:
            self._blame(parts, error)
            return
        ran_at = time.perf_counter()
        if result is not None:
            self._composer.pace.record(n_decoded, len(tokens) - n_decoded, ran_at - began)
            self._deliver(parts, result, began, ran_at)
        if not hands_out:
            self._logits = rows

    def _blame(self, parts: list[Part], error: Exception) -> None:
        """A step failed: its only request ends with the error, several are tried one by one.

        Where memory was short, only if no idle text can make room.
        """
        with self._lock:
            if isinstance(error, MemoryError) and self._composer.sequences.drop_idle():
                return
            for part in parts:
                part.request.alone = True
            if len(parts) == 1 and not parts[0].request.done:
                parts[0].request.error = error
                self._composer.end(parts[0].request)

    def _deliver(self, parts: list[Part], rows: Floats, began: float, ran_at: float) -> None:
        """Choose tokens for all parts at once, and hand over what is wanted."""
        width, first, asked = self.network.vocab_size, 0, []
        for request, _, _, _, n_rows in parts:
            if n_rows > 0 and request.sampler is not None:
                asked.append((request.sampler, rows[first, :width], request.ids))
            first += n_rows
        choices = iter(choose(asked) if asked else ())
        first, late = 0, []
        with self._lock:
            now = time.perf_counter()
            for part in parts:
                request, n_rows = part.request, part.n_rows
                if n_rows > 0 and request.sampler is not None:
                    part.take_choice(next(choices), ran_at, now)
                    if request.credit <= 0 and not (request.done or request.slow):
                        late.append(request)
                else:
                    some = rows[first : first + n_rows, :width]
                    some = np.ascontiguousarray(some) if len(parts) == 1 else some.copy()
                    part.take_rows(some, ran_at)
                first += n_rows
                if request.done:
                    self._composer.end(request)
                elif request.credit <= 0:
                    request.waiter.wake()
            self._late, self._late_until = late, now + min(0.1 * (ran_at - began), READER_S)
