"""The graph that an architecture file writes: one method an op.

A `Graph` method appends one op; C++ checks the shapes during that call, so a wiring mistake is a
traceback on the guilty line. Shapes: T tokens, R wanted rows, D model width, H query heads, G
key/value heads, C head width, N rows and K columns of a weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

Weight = _core.Weight
Plan = _core.Plan
KvCache = _core.KvCache
StateSpec = _core.StateSpec
CancelFlag = _core.CancelFlag
PAGE_TOKENS = _core.PAGE_TOKENS
state_bytes = _core.state_bytes
MemoryRoom = _core.MemoryRoom
Attr = float | int | str | bool


@dataclass(frozen=True)
class Value:
    """One op's result. `shape` begins with "T" (tokens) or "R" (wanted rows)."""

    index: int
    native: _core.Value

    @property
    def shape(self) -> tuple[str | int, ...]:
        """The symbolic first axis, then the widths."""
        return self.native.shape

    @property
    def width(self) -> int:
        """The last axis."""
        return int(self.shape[-1])


@dataclass(frozen=True)
class Node:
    """One op as it was added; `inputs` are indices of earlier nodes."""

    op: str
    inputs: tuple[int, ...]
    weights: tuple[Weight | None, ...]
    attrs: Mapping[str, Attr]


class Graph:
    """Ops in the order in which they were added, mirrored in `nodes` for the NumPy reference."""

    def __init__(self) -> None:
        self._native = _core.Graph()
        self.nodes: list[Node] = []
        self.constants: dict[str, NDArray[np.float32]] = {}
        self.outputs: dict[str, int] = {}
        self._kept: dict[int, Value] = {}  # keys and values, by layer
        self.tokens = self._input("tokens")
        self.positions = self._input("positions")

    @property
    def states(self) -> list[StateSpec]:
        """What its ops keep of every sequence in the KV cache."""
        return self._native.states()

    # --- leaves -------------------------------------------------------------------------------

    def weight(self, file: _core.GgufFile, name: str, exact: bool = False) -> Weight:
        """A tensor of the file, loaded and packed by `compile`.

        exact: multiplied by 16-bit activations even where 8-bit ones are faster.
        """
        return self._native.weight(file, name, exact)

    def constant(self, name: str, array: NDArray[np.floating]) -> Weight:
        """A float32 vector computed in Python, such as RoPE's inverse frequencies."""
        values = np.ascontiguousarray(array, np.float32)
        self.constants[name] = values
        return self._native.constant(name, values)

    # --- matmuls ------------------------------------------------------------------------------

    def embed(self, table: Weight, index: Value | None = None) -> Value:
        """Rows of table (V, D) for tokens (or positions): (T, D)."""
        return self._add("embed", [index or self.tokens], [table])

    def linear(self, x: Value, w: Weight, bias: Weight | None = None) -> Value:
        """x (T, K) times w (N, K) transposed, plus bias (N,): (T, N)."""
        return self._add("linear", [x], [w, bias])

    def linears(
        self, x: Value, *weights: Weight, biases: tuple[Weight | None, ...] = ()
    ) -> tuple[Value, ...]:
        """Several `linear`s of one x, which is quantized once."""
        biases = biases or (None,) * len(weights)
        return tuple(self.linear(x, w, b) for w, b in zip(weights, biases, strict=True))

    def moe(
        self,
        x: Value,
        router: Weight,
        gate: Weight,
        up: Weight,
        down: Weight,
        *,
        top_k: int,
        score: str = "softmax",
        normalize: bool = True,
        scale: float = 1.0,
        kind: str = "silu",
        limit: float = 0.0,
        offset: float = 0.0,
        choice_bias: Weight | None = None,
        biases: tuple[Weight | None, ...] = (None, None, None, None),
    ) -> Value:
        """A mixture of experts (E, N, K): each token goes to top_k of them. (T, D).

        `score` is softmax or sigmoid; choice_bias (E,) counts for the choice, not for the shares.
        `biases` are those of router (E,), gate, up (E, F) and down (E, D); `limit` and `offset` are
        gated's.
        """
        attrs: dict[str, Attr] = {
            "top_k": top_k,
            "score": score,
            "normalize": normalize,
            "scale": scale,
            "kind": kind,
            "limit": limit,
            "offset": offset,
        }
        return self._add("moe", [x], [router, gate, up, down, choice_bias, *biases], attrs)

    # --- rows ---------------------------------------------------------------------------------

    def rms_norm(self, x: Value, w: Weight | None, eps: float) -> Value:
        """x * w / sqrt(mean(x^2) + eps) over the last axis."""
        return self._add("rms_norm", [x], [w], {"eps": eps})

    def layer_norm(self, x: Value, w: Weight | None, bias: Weight | None, eps: float) -> Value:
        """(x - mean) * w / sqrt(variance + eps) + bias over the last axis."""
        return self._add("layer_norm", [x], [w, bias], {"eps": eps})

    def l2_norm(self, x: Value, eps: float = 0.0) -> Value:
        """x / sqrt(sum(x^2) + eps) over the last axis."""
        return self._add("l2_norm", [x], attrs={"eps": eps})

    def add(self, a: Value, b: Value | Weight) -> Value:
        """a + b. b has its shape, or is a value (T, 1) or a weight of its last axes."""
        return self._pair("add", a, b)

    def mul(self, a: Value, b: Value | Weight) -> Value:
        """a * b. b has its shape, or is a value (T, 1) or a weight of its last axes."""
        return self._pair("mul", a, b)

    def scale(self, x: Value, factor: float) -> Value:
        """x * factor."""
        return x if factor == 1 else self._add("scale", [x], attrs={"factor": factor})

    def softcap(self, x: Value, cap: float) -> Value:
        """cap * tanh(x / cap); x itself if cap is 0."""
        return x if cap == 0 else self._add("softcap", [x], attrs={"cap": cap})

    def activation(self, x: Value, kind: str) -> Value:
        """silu, gelu, gelu_tanh, quick_gelu, relu, relu2, sigmoid or tanh of x."""
        return self._add("activation", [x], attrs={"kind": kind})

    def gated(
        self, gate: Value, up: Value, kind: str, *, limit: float = 0.0, offset: float = 0.0
    ) -> Value:
        """activation(gate) * (up + offset): the GLU family.

        A limit caps the gate at +limit and keeps up within +-limit first; 0 is none.
        """
        attrs: dict[str, Attr] = {"kind": kind, "limit": limit, "offset": offset}
        return self._add("gated", [gate, up], attrs=attrs)

    def slice(self, x: Value, start: int, width: int) -> Value:
        """Columns [start, start + width) of x (T, N)."""
        return self._add("slice", [x], attrs={"start": start, "width": width})

    def split(self, x: Value, *widths: int) -> tuple[Value, ...]:
        """x (T, N) cut into consecutive columns, as of a fused QKV."""
        starts = np.cumsum((0, *widths[:-1])).tolist()
        return tuple(self.slice(x, s, w) for s, w in zip(starts, widths, strict=True))

    def rows(self, x: Value) -> Value:
        """The R wanted rows of x (T, D): (R, D)."""
        return self._add("rows", [x])

    def pool(self, x: Value, kind: str) -> Value:
        """For each wanted row the "mean" or "first" of x over its sequence's tokens: (R, D)."""
        return self._add("pool", [x], attrs={"kind": kind})

    # --- attention ----------------------------------------------------------------------------

    def heads(self, head_width: int, *values: Value) -> tuple[Value, ...]:
        """Views (T, N) as (T, N / C, C)."""
        return tuple(self._add("heads", [v], attrs={"width": head_width}) for v in values)

    def rope(
        self, x: Value, inv_freq: Weight, *, mscale: float = 1.0, interleaved: bool = False
    ) -> Value:
        """Rotates the first 2 N of each head of x (T, H, C) by positions (T, P) @ inv_freq (P, N).

        inv_freq may be (N,), for P = 1. A position of one number stands for P equal ones.
        """
        attrs = {"mscale": mscale, "interleaved": interleaved}
        return self._add("rope", [x, self.positions], [inv_freq], attrs)

    def attention(
        self,
        q: Value,
        k: Value | None = None,
        v: Value | None = None,
        *,
        layer: int,
        scale: float,
        window: int = 0,
        softcap: float = 0.0,
        sinks: Weight | None = None,
    ) -> Value:
        """Causal attention of q (T, H, C) over the cache, k and v (T, G, C) appended: (T, H * C).

        Without k and v it reads what an earlier call appended to that layer. A window of w sees the
        w newest tokens, its own included; 0 sees all.
        """
        if k is not None and v is not None:
            self._kept[layer] = self._add("kv", [k, v], attrs={"layer": layer, "window": window})
        elif k is not None or v is not None or layer not in self._kept:
            raise ValueError(f"attention: layer {layer} has no keys and values yet; give k and v.")
        attrs = {"scale": scale, "window": window, "softcap": softcap}
        return self._add("attention", [q, self._kept[layer]], [sinks], attrs)

    # --- the end ------------------------------------------------------------------------------

    def output(self, name: str, value: Value) -> None:
        """Names a result that `Plan.run` returns."""
        self.outputs[name] = value.index
        self._native.output(name, value.native)

    def compile(self, *, n_batch: int, max_rows: int, n_threads: int) -> Plan:
        """Load and pack the weights, lay out the arena, place the barriers."""
        return self._native.compile(n_batch=n_batch, max_rows=max_rows, n_threads=n_threads)

    def _input(self, name: str) -> Value:
        return self._record(name, self._native.input(name))

    def _pair(self, op: str, a: Value, b: Value | Weight) -> Value:
        return self._add(op, [a, b]) if isinstance(b, Value) else self._add(op, [a], [b])

    def _add(
        self,
        op: str,
        inputs: list[Value],
        weights: list[Weight | None] | list[Weight] | None = None,
        attrs: Mapping[str, Attr] | None = None,
    ) -> Value:
        natives = [v.native for v in inputs]
        value = self._native.add(op, natives, weights or [], attrs or {})
        return self._record(op, value, inputs, weights or [], attrs or {})

    def _record(
        self,
        op: str,
        native: _core.Value,
        inputs: list[Value] | None = None,
        weights: list[Weight | None] | list[Weight] | None = None,
        attrs: Mapping[str, Attr] | None = None,
    ) -> Value:
        indices = tuple(v.index for v in inputs or [])
        self.nodes.append(Node(op, indices, tuple(weights or ()), dict(attrs or {})))
        return Value(len(self.nodes) - 1, native)
