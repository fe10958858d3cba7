"""A model's hyperparameters: typed, range-checked readings of GGUF metadata."""

from __future__ import annotations

import math
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ModelFormatError

if TYPE_CHECKING:
    from .gguf import GgufFile

DEFAULT_N_CTX = 8192  # a longer context has to be asked for
MAX_LAYERS = 1024
MAX_WIDTH = 1 << 20
MAX_HEADS = 4096
MAX_CONTEXT = 1 << 28
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Meta:
    """Hyperparameters of one file. Keys are given without their architecture's prefix.

    A missing, mistyped or absurd value raises ModelFormatError naming the key.
    """

    def __init__(self, file: GgufFile, n_ctx: int | None = None) -> None:
        self.file = file
        self.architecture = self._string("general.architecture")
        if not _NAME.fullmatch(self.architecture):  # it stands in keys and messages
            raise ModelFormatError(
                f"{file.path}: general.architecture is {self.architecture!r:.60}; expected a name."
            )
        self.n_ctx = n_ctx or min(self.n_ctx_train, DEFAULT_N_CTX)  # what it will be run with

    def integer(
        self, key: str, default: int | None = None, *, low: int = 1, high: int = MAX_WIDTH
    ) -> int:
        """An integer in [low, high]; a per-layer array must hold one value throughout."""
        value = self._uniform(key, self._get(key))
        if value is None:
            return self._missing(key) if default is None else default
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            self._bad(key, value, "an integer")
        if not low <= value <= high:
            self._bad(key, value, f"{low} to {high}")
        return int(value)

    def integers(self, key: str, *, low: int = 0, high: int = MAX_WIDTH) -> list[int]:
        """One integer a layer, whether the file holds a scalar or an array."""
        value = self._get(key)
        if not isinstance(value, np.ndarray):
            return [self.integer(key, low=low, high=high)] * self.n_layers
        if len(value) < self.n_layers or value.dtype.kind not in "iu":
            self._bad(key, f"{len(value)} values of {value.dtype}", f"{self.n_layers} integers")
        values = [int(v) for v in value[: self.n_layers]]
        for v in values:
            if not low <= v <= high:
                self._bad(key, v, f"{low} to {high}")
        return values

    def windows(self, period: int, default: int = 0) -> list[int]:
        """Each layer's window, 0 where it sees everything, as each `period`-th layer does.

        The file may state another period, or a flag a layer; without a window all see everything.
        """
        window = self.integer("attention.sliding_window", default, low=0, high=MAX_CONTEXT)
        key = "attention.sliding_window_pattern"
        flags = self._get(key)
        if not isinstance(flags, np.ndarray):
            period = self.integer(key, period, low=0, high=MAX_LAYERS)
            flags = np.array([period == 0 or i % period < period - 1 for i in range(self.n_layers)])
        if len(flags) < self.n_layers or flags.dtype.kind not in "biu":
            self._bad(key, f"{len(flags)} values of {flags.dtype}", f"{self.n_layers} flags")
        return [window if flag else 0 for flag in flags[: self.n_layers]]

    def number(
        self, key: str, default: float | None = None, *, low: float = 0.0, high: float = math.inf
    ) -> float:
        """A finite number in (low, high]; low itself is allowed if it is the default."""
        value = self._get(key)
        if value is None:
            return self._missing(key) if default is None else default
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
            self._bad(key, value, "a number")
        if not (math.isfinite(value) and (low < value <= high or value == default)):
            self._bad(key, value, f"over {low:g}" + ("" if high == math.inf else f" to {high:g}"))
        return float(value)

    def string(self, key: str, default: str | None = None) -> str:
        """A string."""
        return self._string(f"{self.architecture}.{key}", default)

    def flag(self, key: str, default: bool = False) -> bool:
        """A boolean."""
        value = self._get(key)
        if value is not None and not isinstance(value, (bool, np.bool_)):
            self._bad(key, value, "a boolean")
        return default if value is None else bool(value)

    def has(self, key: str) -> bool:
        """Whether the file holds the key."""
        return self._get(key) is not None

    # What nearly every architecture reads.

    @cached_property
    def n_layers(self) -> int:
        """Transformer blocks."""
        return self.integer("block_count", high=MAX_LAYERS)

    @cached_property
    def width(self) -> int:
        """D, the width of the residual stream."""
        return self.integer("embedding_length")

    @cached_property
    def n_heads(self) -> int:
        """H, query heads."""
        return self.integer("attention.head_count", high=MAX_HEADS)

    @cached_property
    def n_kv_heads(self) -> int:
        """G, key/value heads; a divisor of H."""
        n = self.integer("attention.head_count_kv", self.n_heads, high=MAX_HEADS)
        if self.n_heads % n:
            self._bad("attention.head_count_kv", n, f"a divisor of {self.n_heads} heads")
        return n

    @cached_property
    def head_width(self) -> int:
        """C, the width of one head."""
        default = self.width // self.n_heads or 1
        width = self.integer("attention.key_length", default, high=4096)
        if self.integer("attention.value_length", width, high=4096) != width:
            self._bad("attention.value_length", "another width", f"key_length, {width}")
        return width

    @cached_property
    def n_rot(self) -> int:
        """How much of a head RoPE rotates: even, at most C."""
        n = self.integer("rope.dimension_count", self.head_width, high=self.head_width)
        if n % 2:
            self._bad("rope.dimension_count", n, "an even number")
        return n

    @cached_property
    def rms_eps(self) -> float:
        """RMSNorm's epsilon."""
        return self.number("attention.layer_norm_rms_epsilon", high=1.0)

    @cached_property
    def norm_eps(self) -> float:
        """LayerNorm's epsilon."""
        return self.number("attention.layer_norm_epsilon", high=1.0)

    @cached_property
    def rope_base(self) -> float:
        """RoPE's frequency base."""
        return self.number("rope.freq_base", 10000.0, low=1.0)

    @cached_property
    def n_ctx_train(self) -> int:
        """The context that the model was made for, in tokens."""
        return self.integer("context_length", high=MAX_CONTEXT)

    @property
    def name(self) -> str:
        """The model's own name, or its architecture's."""
        return self._string("general.name", self.architecture)

    def _get(self, key: str) -> Any:
        return self.file.get(f"{self.architecture}.{key}")

    def _string(self, key: str, default: str | None = None) -> str:
        value = self.file.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise ModelFormatError(
                f"{self.file.path}: metadata key '{key}' must be a string, but it is "
                + ("missing." if value is None else f"{value!r:.60}.")
            )
        return value

    def _uniform(self, key: str, value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        n = len(value) if key == "block_count" else self.n_layers
        if len(value) == 0 or np.any(value[:n] != value[0]):
            self._bad(key, "values that differ by layer", "one value for all layers")
        return value[0]

    def _missing(self, key: str) -> Any:
        raise ModelFormatError(
            f"{self.file.path}: metadata key '{self.architecture}.{key}' is missing. "
            "Convert the model again with a current converter."
        )

    def _bad(self, key: str, got: object, expected: str) -> None:
        raise ModelFormatError(
            f"{self.file.path}: metadata key '{self.architecture}.{key}' is {got!r:.60}; "
            f"expected {expected}."
        )
