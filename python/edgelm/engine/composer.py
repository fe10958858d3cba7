"""What the next step holds: decoding first, then prompts in order of arrival."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from .pace import Pace
from .request import Request
from .sequences import CachedText, Sequences, common_prefix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..model import Network
    from ..samplers import Choice

    Floats = NDArray[np.float32]

RECENT_S = 1.0  # a text that grew by a token so lately may do so again at any moment
SHARED = 32  # tokens of a beginning in the making that are worth waiting for


class Part(NamedTuple):
    """A request's share of a step: ids[at:at + n], and the rows behind the last n_rows of them.

    A signal may raise wherever Python makes a call, and must not harm the requests of other
    threads. So what a step brings is taken over without calls, in an order that may break off
    anywhere: a sequence that holds more than its text is cut, and computed again.
    """

    request: Request
    text: CachedText
    at: int
    n: int
    n_rows: int

    def take_choice(self, choice: Choice | Exception, ran_at: float, now: float) -> None:
        """The token that follows the request's last id, or why there is none."""
        request, text, at, n, _ = self
        sampler, fresh = request.sampler, request.ids[len(text.tokens) : at + n]
        if request.done or sampler is None:  # cancelled meanwhile
            return
        if isinstance(choice, Exception):
            request.error, request.done = choice, True
            return
        token = choice.token
        if not request.choices:
            request.prefill_s = ran_at - request.began_at
        # From here on without calls.
        sampler.u = None
        request.choices += [(choice, now)]
        request.credit -= 1
        request.limit -= 1
        if token in request.ends:
            request.reason, request.done = "stop", True
        else:
            request.ids += [token]
            if request.limit <= 0:
                request.reason, request.done = "length", True
        text.tokens += fresh
        text.decoded_at = request.served_at = now
        request.alone = False

    def take_rows(self, rows: Floats, ran_at: float) -> None:
        """Logits of the rows that are wanted (n_rows, V), maybe none."""
        request, text, at, n, n_rows = self
        fresh, done = request.ids[len(text.tokens) : at + n], at + n == len(request.ids)
        if request.done:  # cancelled meanwhile
            return
        # From here on without calls.
        if n_rows > 0:
            request.rows += [rows]
            request.rows_from = at + n
            request.credit -= 1
        if done:
            request.prefill_s = ran_at - request.began_at
            request.reason, request.done = "length", True
        text.tokens += fresh
        request.alone = False
        if n == 1:
            text.decoded_at = ran_at


class Composer:
    """The requests in order of arrival, their sequences, and the policy of who is next.

    It neither locks nor waits; the scheduler calls it with its lock held, between runs.
    """

    def __init__(self, network: Network) -> None:
        self.requests: list[Request] = []
        self.sequences = Sequences(network.cache, network.n_parallel)
        self.pace = Pace()
        self._n_batch, self._max_rows = network.n_batch, network.max_rows

    @property
    def n_queued(self) -> int:
        """Requests that have no sequence yet."""
        return sum(request.text is None for request in self.requests)

    def compose(self, running: tuple[Request, ...]) -> list[Part]:
        """The parts of a step; none of the requests that `running` steps are for."""
        ready = [r for r in self.requests if r.credit > 0 and not r.done and r not in running]
        if any(request.alone for request in ready):
            ready = [next(request for request in ready if request.alone)]
        parts, prompts = [], []
        for request in ready:
            if request.text is not None:
                at = self.sequences.held(request.text)
                if at + 1 == len(request.ids):
                    parts.append(Part(request, request.text, at, 1, request.n_rows(at, 1)))
                    continue
            prompts.append(request)
        most = min(self._n_batch, self._max_rows)
        if len(parts) > most:  # those that waited longest
            parts.sort(key=lambda part: part.text.decoded_at)
            del parts[most:]
        if prompts:
            parts += self._prompts(prompts, running, parts)
        self.sequences.keep_within_memory(sum(part.n for part in parts))
        return parts

    def _prompts(
        self, prompts: list[Request], running: tuple[Request, ...], decoding: list[Part]
    ) -> list[Part]:
        """Chunks of prompts that join the decoding parts."""
        parts: list[Part] = []
        room = self._n_batch - len(decoding)
        rows = self._max_rows - sum(part.n_rows for part in decoding)
        paced = bool(decoding) or self._others_decode(prompts)
        for request in prompts:
            if request.text is None and not self._begin(request, running):
                continue
            text = request.text
            if text is None or request.done:
                continue
            at = self.sequences.held(text)
            left = len(request.ids) - at
            if paced and not parts:
                room = min(room, self.pace.budget(left))
            n = min(left, room)
            n -= max(0, request.n_rows(at, n) - rows)
            if n > 0:
                parts.append(Part(request, text, at, n, request.n_rows(at, n)))
                room, rows = room - n, rows - parts[-1].n_rows
        return parts

    def _others_decode(self, prompts: list[Request]) -> bool:
        """Whether a text may grow by a token again at any moment: a long step would delay it."""
        since = time.perf_counter() - RECENT_S
        texts = [request.text for request in prompts]
        return any(t.decoded_at > since and t not in texts for t in self.sequences.live)

    def _begin(self, request: Request, running: tuple[Request, ...]) -> bool:
        """Give a request its sequence, if there is one and nothing better comes soon."""
        if self.sequences.n_free == 0 or self._comes_soon(request, running):
            return False
        request.began_at = time.perf_counter()
        request.text = self.sequences.begin(request.ids[:-1], request.key)
        request.cached = self.sequences.held(request.text)
        if not request.ids:  # a session: the sequence is all it asked for
            request.owns_text = False
            self.end(request)
        return True

    def _comes_soon(self, request: Request, running: tuple[Request, ...]) -> bool:
        """Whether another prompt is being computed that begins like this one."""
        if request.key is None:
            return False
        ids = request.ids[:-1]
        shared = max(
            (
                common_prefix(other.ids, ids)
                for other in self.requests
                if other.key == request.key and other.ready and other not in running
                if other.text is not None and len(other.text.tokens) < other.n_prompt
            ),
            default=0,
        )
        if shared == 0 or shared < min(SHARED, len(ids)):
            return False
        return shared > self.sequences.reusable(ids, request.key)

    def end(self, request: Request) -> None:
        """Give back what a request holds, and tell who waits for it. Twice is fine."""
        request.done = True
        if request.owns_text and request.text is not None:
            self.sequences.give_back(request.text, keep=request.keep)
        if request in self.requests:
            self.requests.remove(request)
        request.waiter.wake()

    def close(self) -> None:
        """Let go of all, and of the cache."""
        self.requests.clear()
        self.sequences.close()
