"""How much a chat template may do, and the meter that counts it."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import TemplateError

MAX_TEXT = 8 * 1024 * 1024  # characters of one string, of the output, of a container written out
MAX_BUILT = 8 * MAX_TEXT  # characters of all strings together
MAX_STEPS = 500_000
MAX_CPU_S = 0.4  # of the thread, for compiling and for rendering; on slow machines more
MAX_DEPTH = 64  # of nested containers
MAX_BITS = 4096  # of an integer


_LOOP_S = 0.6e-3  # of slowness()'s loop where MAX_CPU_S was chosen
_MAX_SLOWNESS = 10.0


@functools.cache
def slowness() -> float:
    """How many times slower than a server's this processor runs Python: 1 to 10.

    The longest templates in use take 0.15 s to compile there, which a phone must be allowed too.
    """

    def loop_s() -> float:
        start = time.thread_time()
        sum(i & 3 for i in range(10_000))
        return time.thread_time() - start

    return min(max(1.0, min(loop_s() for _ in range(3)) / _LOOP_S), _MAX_SLOWNESS)


class Meter:
    """What one compilation or rendering has used, and the weights of containers it has seen."""

    def __init__(self) -> None:
        self.steps = 0
        self.built = 0
        self.cpu_limit_s = MAX_CPU_S * slowness()
        self.started = time.thread_time()
        # id -> (weight, depth, the container, held so that its id stays its own)
        self.weights: dict[int, tuple[int, int, object]] = {}

    def charge(self, characters: int = 0) -> None:
        """Count one step, which builds so many characters."""
        self.steps += 1
        self.built += characters
        if self.steps > MAX_STEPS:
            raise TemplateError(f"the chat template took more than {MAX_STEPS:,} steps")
        if self.built > MAX_BUILT:
            raise TemplateError(f"the chat template built more than {MAX_BUILT:,} characters")
        if time.thread_time() - self.started > self.cpu_limit_s:
            raise TemplateError(
                f"the chat template computed for more than {self.cpu_limit_s:.1f} s"
            )

    def allow(self, characters: int, what: str) -> None:
        """Refuse what would become too long, before it is built; charge for the rest."""
        if characters > MAX_TEXT:
            raise TemplateError(f"the chat template's {what} exceeds {MAX_TEXT:,} characters")
        self.charge(characters)

    def weight(self, value: object) -> int:
        """About how many characters `value` has when written out. Cost: O(what is new in it)."""
        return self._weight(value)[0]

    def _weight(self, value: object) -> tuple[int, int]:
        if isinstance(value, (str, bytes)):
            return len(value) + 2, 0
        if not isinstance(value, (list, tuple, Mapping, set, frozenset)):
            return 24, 0
        known = self.weights.get(id(value))
        if known is not None:
            return known[:2]
        self.charge()
        inner: Iterable[object] = value
        if isinstance(value, Mapping):
            inner = (part for item in value.items() for part in item)
        weight, depth = 8, 0
        for item in inner:
            item_weight, item_depth = self._weight(item)
            weight += item_weight + 8
            depth = max(depth, item_depth)
            if weight > MAX_TEXT:
                raise TemplateError(
                    f"the chat template made a container of more than {MAX_TEXT:,} characters"
                )
        if depth + 1 > MAX_DEPTH:
            raise TemplateError(f"the chat template nested containers over {MAX_DEPTH} deep")
        self.weights[id(value)] = weight, depth + 1, value
        return weight, depth + 1

    def admit(self, value: Any) -> Any:
        """Weigh a new value, refuse it if it is too heavy, and pass it on."""
        if isinstance(value, (str, bytes)):
            self.allow(len(value), "text")
        elif isinstance(value, int):
            if value.bit_length() > MAX_BITS:
                raise TemplateError(f"the chat template computed an integer over {MAX_BITS} bits")
        elif isinstance(value, (list, tuple, dict)):
            self.weight(value)
            self.charge(8 * len(value))
        return value
