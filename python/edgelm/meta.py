"""A model's hyperparameters: typed, range-checked readings of GGUF metadata."""

from __future__ import annotations

import math
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .errors import ModelFormatError
from .gguf import check_is_model
from .metadata import Metadata

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

    A missing, mistyped or absurd value raises ModelFormatError naming the key, an n_ctx that the
    model has no positions for ValueError, a file that is no model UnsupportedModelError.
    """

    def __init__(self, file: GgufFile, n_ctx: int | None = None) -> None:
        self.file = file
        check_is_model(file)
        self._values = Metadata(file)
        self.architecture = self._values.string("general.architecture")
        if not _NAME.fullmatch(self.architecture):  # it stands in keys and messages
            raise ModelFormatError(
                f"{file.path}: general.architecture is {self.architecture!r:.60}; expected a name."
            )
        self.n_ctx = self._own_context() if n_ctx is None else n_ctx  # what it will be run with
        self._check_context()

    def integer(
        self, key: str, default: int | None = None, *, low: int = 1, high: int = MAX_WIDTH
    ) -> int:
        """An integer in [low, high]; a per-layer array must hold one value throughout."""
        value = self._get(key)
        if isinstance(value, np.ndarray):
            value = self._uniform(key, value)
            return self._values.as_integer(self._whole(key), value, low, high)
        return self._values.integer(self._whole(key), default, low=low, high=high)

    def integers(self, key: str, *, low: int = 0, high: int = MAX_WIDTH) -> list[int]:
        """One integer a layer, whether the file holds a scalar or an array."""
        value = self._get(key)
        if not isinstance(value, np.ndarray):
            return [self.integer(key, low=low, high=high)] * self.n_layers
        if len(value) < self.n_layers or value.dtype.kind not in "iu":
            self._bad(key, f"{len(value)} values of {value.dtype}", f"{self.n_layers} integers")
        whole = self._whole(key)
        return [self._values.as_integer(whole, v, low, high) for v in value[: self.n_layers]]

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
        return self._values.number(self._whole(key), default, low=low, high=high)

    def string(self, key: str, default: str | None = None) -> str:
        """A string."""
        return self._values.string(self._whole(key), default)

    def flag(self, key: str, default: bool = False) -> bool:
        """A boolean."""
        return self._values.flag(self._whole(key), default)

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

    @cached_property
    def n_ctx_original(self) -> int:
        """The context before RoPE was stretched; that of LongRoPE's short factors."""
        return self.integer(
            "rope.scaling.original_context_length", self.n_ctx_train, high=MAX_CONTEXT
        )

    @cached_property
    def rope_scaling(self) -> tuple[str, float]:
        """How RoPE is stretched, and by what: "linear" if the file says only the factor.

        No factor, or 0, is 1. Converters of 2023 called it rope.scale_linear. Source: llama.cpp.
        """
        kind = self.string("rope.scaling.type", "linear")
        key = "rope.scaling.factor" if self.has("rope.scaling.factor") else "rope.scale_linear"
        factor = self.number(key, 0.0) or 1.0
        return (kind, 1.0) if kind == "none" else (kind, factor)

    @property
    def name(self) -> str:
        """The model's own name, or its architecture's."""
        return self._values.string("general.name", self.architecture)

    def _own_context(self) -> int:
        n = min(self.n_ctx_train, DEFAULT_N_CTX, self._n_positions or self.n_ctx_train)
        return min(n, self.n_ctx_original) if self._has_long_factors else n

    def _check_context(self) -> None:
        if self._n_positions and self.n_ctx > self._n_positions:
            raise ValueError(
                f"n_ctx is {self.n_ctx:,}, but {self.file.path} has learned positions for "
                f"{self._n_positions:,} tokens. Use n_ctx={self._n_positions} or less, or None."
            )
        if self.n_ctx > self.n_ctx_train:
            self._values.odd(
                f"n_ctx is {self.n_ctx:,}, but the model was trained for {self.n_ctx_train:,} "
                "tokens; what it writes beyond them will be poor."
            )

    @cached_property
    def _n_positions(self) -> int | None:
        """Rows of a table of learned positions, if there is one."""
        table = next((t for t in self.file.tensors if t.name == "position_embd.weight"), None)
        return None if table is None else math.prod(table.shape[:-1])

    @cached_property
    def _has_long_factors(self) -> bool:
        return any("rope_factors_long" in t.name for t in self.file.tensors)

    def _whole(self, key: str) -> str:
        return f"{self.architecture}.{key}"

    def _get(self, key: str) -> Any:
        return self._values.get(self._whole(key))

    def _uniform(self, key: str, values: Any) -> Any:
        n = len(values) if key == "block_count" else self.n_layers
        if len(values) == 0 or np.any(values[:n] != values[0]):
            self._bad(key, "values that differ by layer", "one value for all layers")
        return values[0]

    def _bad(self, key: str, got: object, expected: str) -> NoReturn:
        self._values.bad(self._whole(key), got, expected)
