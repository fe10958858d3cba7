"""Typed, range-checked readings of a GGUF file's metadata: the one place that knows its types."""

from __future__ import annotations

import math
from typing import Any, NoReturn, Protocol

import numpy as np

from .errors import ModelFormatError, warn


class KeyValues(Protocol):
    """What is read of a file: its path, and a value by its key or None."""

    path: str

    def get(self, key: str, /) -> Any:
        """A scalar, str, list of str or NumPy array; None if absent."""

    def keys(self) -> list[str]:
        """All keys, in the file's order."""


class Metadata:
    """Readings by whole keys. A missing, mistyped or absurd value is a ModelFormatError naming it.

    Integers may have any width, flags may be integers, and numbers may be either: writers differ.
    """

    def __init__(self, file: KeyValues) -> None:
        self.file = file

    def get(self, key: str) -> Any:
        """The value as the file has it, or None."""
        return self.file.get(key)

    def integer(self, key: str, default: int | None = None, *, low: int, high: int) -> int:
        """An integer in [low, high]; the default may be any."""
        if default is not None and self.get(key) is None:
            return default
        return self.as_integer(key, self._or_default(key, None), low, high)

    def as_integer(self, key: str, value: Any, low: int, high: int) -> int:
        """A value of the key, or one of its elements, as an integer in [low, high]."""
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
            self.bad(key, value, "an integer")
        if not low <= value <= high:
            self.bad(key, value, f"{low} to {high}")
        return int(value)

    def number(
        self, key: str, default: float | None = None, *, low: float = 0.0, high: float = math.inf
    ) -> float:
        """A finite number in (low, high]; low itself is allowed if it is the default."""
        value = self._or_default(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
            self.bad(key, value, "a number")
        if not (math.isfinite(value) and (low < value <= high or value == default)):
            self.bad(key, value, f"over {low:g}" + ("" if high == math.inf else f" to {high:g}"))
        return float(value)

    def string(self, key: str, default: str | None = None) -> str:
        """A string."""
        value = self._or_default(key, default)
        if not isinstance(value, str):
            self.bad(key, value, "a string")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """A boolean, or an integer that stands for one."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, (bool, np.bool_, int, np.integer)):
            self.bad(key, value, "true or false")
        return bool(value)

    def bad(self, key: str, got: object, expected: str) -> NoReturn:
        """ModelFormatError: the key is `got`."""
        raise ModelFormatError(
            f"{self.file.path}: metadata key '{key}' is {got!r:.60}; expected {expected}."
        )

    def odd(self, what: str) -> None:
        """An EdgelmWarning: the file says `what`, which does no harm."""
        warn(f"{self.file.path}: {what}")

    def _or_default(self, key: str, default: Any) -> Any:
        value = self.get(key)
        if value is None and default is None:
            raise ModelFormatError(
                f"{self.file.path}: metadata key '{key}' is missing. "
                "Convert the model again with a current converter."
            )
        return default if value is None else value


def chat_templates(values: Metadata) -> dict[str, str]:
    """A file's chat templates by name, but blank ones; that without a name is "default"."""
    prefix = "tokenizer.chat_template"
    keys = [key for key in values.file.keys() if f"{key}.".startswith(prefix + ".")]  # noqa: SIM118
    texts = [(key[len(prefix) + 1 :] or "default", values.string(key)) for key in sorted(keys)]
    return {name: text for name, text in texts[::-1] if text.strip()}
