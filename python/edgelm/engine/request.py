"""What the scheduler is asked for, and who waits for it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from .sequences import text_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..samplers import Choice, Sampler
    from .sequences import CachedText

    Floats = NDArray[np.float32]

ALL = 1 << 60  # tokens: more than any context holds


class Request:
    """Ids that a text is to hold, and what is wanted behind them.

    A sampler chooses what follows the last id, up to `limit` tokens, which join the ids, or one of
    `ends`. Without one, the rows of logits behind ids[rows_from:] are handed over.

    Once its reader waits, a request may make `ahead` tokens or chunks of rows before the reader
    must have come back; until then it is not part of any step.
    """

    def __init__(
        self,
        ids: Sequence[int],
        *,
        text: CachedText | None = None,
        key: object = None,
        keep: bool = False,
        rows_from: int = ALL,
        sampler: Sampler | None = None,
        ends: frozenset[int] = frozenset(),
        limit: int = 0,
        ahead: int = 1,
        embeddings: Floats | None = None,
        adapter: int = 0,
    ) -> None:
        """`ids` are the whole text, whatever the cache holds of it.

        Without a `text` the request gets one when its turn comes, which begins with what the cache
        holds under `key` of all ids but the last, and gives it back at the end; with `keep`, for
        others to begin with. `embeddings` (n, D) are the rows of the ids that are -1.
        """
        self.ids = list(ids)
        self.adapter = adapter
        self._embeddings = embeddings
        n_rows = 0 if embeddings is None else len(embeddings)
        if self.ids.count(-1) != n_rows:
            raise ValueError(
                f"There are {n_rows:,} rows of embeddings for {self.ids.count(-1):,} ids of -1."
            )
        self.n_prompt = len(self.ids)
        self.text = text
        self.owns_text = text is None
        self.key = text_key(key, adapter, embeddings)
        self.keep = keep
        self.rows_from = rows_from
        self.sampler = sampler
        self.ends = ends
        self.limit = limit
        self.ahead = ahead

        # What has come of it. `done` with neither a reason nor an error: it was cancelled.
        self.done = False
        self.reason: Literal["stop", "length"] | None = None
        self.error: BaseException | None = None
        self.choices: list[tuple[Choice, float]] = []  # and when, in time.perf_counter()
        self.rows: list[Floats] = []
        self.cached = 0  # ids that the cache held
        self.prefill_s = math.nan

        # The scheduler's own.
        self.waiter = Waiter()
        self.credit = 0  # of `ahead`
        self.submitted = False
        self.asked_at = self.began_at = self.served_at = math.nan
        self.alone = False  # a step that it was part of failed: is it to blame?
        self.slow = False  # its reader did not come back at once

    @property
    def ready(self) -> bool:
        """Whether its reader waits for more of it."""
        return self.credit > 0 and not self.done

    def embeddings(self, at: int, n: int) -> Floats | None:
        """The rows of embeddings of ids[at:at + n]; None if there are none."""
        if self._embeddings is None:
            return None
        n_here, first = self.ids[at : at + n].count(-1), self.ids[:at].count(-1)
        return self._embeddings[first : first + n_here] if n_here > 0 else None

    def n_rows(self, at: int, n: int) -> int:
        """Rows that are wanted of ids[at:at + n]: the last ones."""
        if self.sampler is not None:
            return int(at + n == len(self.ids) and self.limit > 0)
        return max(0, at + n - max(at, self.rows_from))


class Waiter:
    """Who waits for requests: this thread, or a task of its event loop, which `call` wakes."""

    __slots__ = ("_bed", "call", "thread")

    def __init__(self, call: Callable[[], object] | None = None) -> None:
        self.thread = threading.get_ident()
        self.call = call
        self._bed: threading.Lock | None = None

    def lie_down(self) -> threading.Lock:
        """A lock that can be acquired after `wake`. With the scheduler's lock held, as all this."""
        bed = self._bed = threading.Lock()
        bed.acquire()
        return bed

    def rouse(self) -> bool:
        """Let a sleeping thread look around; whether there was one."""
        bed, self._bed = self._bed, None
        if bed is not None:
            bed.release()
        return bed is not None

    def wake(self) -> None:
        """There is something for the reader."""
        if self.call is not None:
            self.call()
        self.rouse()
