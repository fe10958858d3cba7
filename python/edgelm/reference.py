"""Interprets a graph in NumPy float64: the oracle of every op and fusion.

It shares the graph's wiring with the engine, so each architecture also needs golden logits from an
independent implementation. One sequence, from position 0, without a cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .graph import Attr, Graph, Node, Weight

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    Doubles = NDArray[np.float64]


def _erf(x: Doubles) -> Doubles:
    import math

    return np.vectorize(math.erf, otypes=[np.float64])(x)


ACTIVATIONS: dict[str, Callable[[Doubles], Doubles]] = {
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: 0.5 * x * (1 + _erf(x / np.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "relu2": lambda x: np.maximum(x, 0) ** 2,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
}


def glu(gate: Doubles, up: Doubles, attrs: Mapping[str, Attr]) -> Doubles:
    """kind(gate) * (up + offset), gate and up within the limit."""
    limit = float(attrs["limit"]) or np.inf
    act = ACTIVATIONS[str(attrs["kind"])]
    return act(np.minimum(gate, limit)) * (np.clip(up, -limit, limit) + float(attrs["offset"]))


def softmax(x: Doubles) -> Doubles:
    """exp(x) / sum(exp(x)) over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


class Reference:
    """Runs a graph's nodes on the tokens of one sequence.

    `decode(weight)` gives a weight's values as an array of its shape. `kv_dtype` rounds keys and
    values as the engine's cache does (float16, or float64 for no rounding).
    """

    def __init__(
        self,
        graph: Graph,
        decode: Callable[[Weight], NDArray[np.floating]],
        *,
        kv_dtype: DTypeLike = np.float16,
    ) -> None:
        self._graph = graph
        self._decode = decode
        self._kv_dtype = kv_dtype
        self._decoded: dict[str, Doubles] = {}

    def run(
        self,
        tokens: Sequence[int],
        wanted: Sequence[int] | None = None,
        positions: NDArray[np.integer] | None = None,
    ) -> dict[str, Doubles]:
        """Each output by name; `wanted` are indices of tokens, all by default.

        positions: (T,) or (T, P); from 0 on by default.
        """
        results = self.trace(tokens, wanted, positions)
        return {name: results[index] for name, index in self._graph.outputs.items()}

    def trace(
        self,
        tokens: Sequence[int],
        wanted: Sequence[int] | None = None,
        positions: NDArray[np.integer] | None = None,
    ) -> list[Any]:
        """Every node's result, in the order in which the graph's ops were added."""
        self._tokens = np.asarray(tokens, np.int64)
        self._positions = np.arange(len(tokens)) if positions is None else positions
        self._wanted = np.arange(len(tokens)) if wanted is None else np.asarray(wanted, np.int64)
        results: list[Any] = []
        for node in self._graph.nodes:
            weights = [None if w is None else self._weight(w) for w in node.weights]
            op = getattr(self, f"_op_{node.op}")
            results.append(op(node, [results[i] for i in node.inputs], weights))
        return results

    def _weight(self, weight: Weight) -> Doubles:
        if weight.name not in self._decoded:
            constant = self._graph.constants.get(weight.name)
            values = self._decode(weight) if constant is None else constant
            self._decoded[weight.name] = np.asarray(values, np.float64)
        return self._decoded[weight.name]

    # One method an op: (node, inputs, weights) -> result.

    def _op_tokens(self, node: Node, x: list[Any], w: list[Any]) -> NDArray[np.int64]:
        return self._tokens

    def _op_positions(self, node: Node, x: list[Any], w: list[Any]) -> NDArray[np.integer]:
        return self._positions

    def _op_embed(self, node: Node, x: list[Any], w: list[Any]) -> Doubles:
        return w[0][x[0]]

    def _op_linear(self, node: Node, x: list[Any], w: list[Any]) -> Doubles:
        rows = x[0].reshape(len(x[0]), -1)
        return rows @ w[0].T + (0 if w[1] is None else w[1])

    def _op_moe(self, node: Node, x: list[Any], w: list[Any]) -> Doubles:
        router, gate, up, down, choice_bias, *biases = w
        router_bias, gate_bias, up_bias, down_bias = (0 if b is None else b for b in biases)
        a = node.attrs
        scores = x[0] @ router.T + router_bias
        p = softmax(scores) if a["score"] == "softmax" else ACTIVATIONS["sigmoid"](scores)
        ranks = p if choice_bias is None else p + choice_bias
        g = np.einsum("efd,td->tef", gate, x[0]) + gate_bias
        u = np.einsum("efd,td->tef", up, x[0]) + up_bias
        hidden = glu(g, u, a)
        y = np.einsum("edf,tef->ted", down, hidden) + down_bias
        out = np.zeros((len(x[0]), down.shape[1]))
        for t in range(len(out)):
            chosen = np.argsort(-ranks[t], kind="stable")[: int(a["top_k"])]
            share = p[t][chosen] / (p[t][chosen].sum() if a["normalize"] else 1)
            out[t] = float(a["scale"]) * (share @ y[t][chosen])
        return out

    def _op_rms_norm(self, node: Node, x: list[Any], w: list[Any]) -> Doubles:
        mean = np.mean(x[0] ** 2, axis=-1, keepdims=True)
        return x[0] / np.sqrt(mean + node.attrs["eps"]) * (1 if w[0] is None else w[0])

    def _op_layer_norm(self, node: Node, x: list[Any], w: list[Any]) -> Doubles:
        centered = x[0] - x[0].mean(axis=-1, keepdims=True)
        variance = np.mean(centered**2, axis=-1, keepdims=True)
        y = centered / np.sqrt(variance + node.attrs["eps"])
        return y * (1 if w[0] is None else w[0]) + (0 if w[1] is None else w[1])

    def _op_l2_norm(self, node: Node, x: list[Any], w: list[Any]) -> Doubles:
        return x[0] / np.sqrt(np.sum(x[0] ** 2, axis=-1, keepdims=True) + node.attrs["eps"])

    def _op_add(self, node: Node, x: list[Any], w: list[Any]) -> Doubles:
        return x[0] + (x[1] if len(x) > 1 else w[0])

    def _op_mul(self, node: Node, x: list[Any], w: list[Any]) -> Doubles:
        return x[0] * (x[1] if len(x) > 1 else w[0])

    def _op_scale(self, node: Node, x: list[Any], w: list[Any]) -> Doubles:
        return x[0] * node.attrs["factor"]

    def _op_softcap(self, node: Node, x: list[Any], w: list[Any]) -> Doubles:
        cap = float(node.attrs["cap"])
        return cap * np.tanh(x[0] / cap)

    def _op_activation(self, node: Node, x: list[Any], w: list[Any]) -> Doubles:
        return ACTIVATIONS[str(node.attrs["kind"])](x[0])

    def _op_gated(self, node: Node, x: list[Any], w: list[Any]) -> Doubles:
        return glu(x[0], x[1], node.attrs)

    def _op_pool(self, node: Node, x: list[Any], w: list[Any]) -> Doubles:
        row = x[0].mean(axis=0) if node.attrs["kind"] == "mean" else x[0][0]
        return np.repeat(row[None], len(self._wanted), axis=0)

    def _op_slice(self, node: Node, x: list[Any], w: list[Any]) -> Doubles:
        start = int(node.attrs["start"])
        return x[0][:, start : start + int(node.attrs["width"])]

    def _op_rows(self, node: Node, x: list[Any], w: list[Any]) -> Doubles:
        return x[0][self._wanted]

    def _op_heads(self, node: Node, x: list[Any], w: list[Any]) -> Doubles:
        return x[0].reshape(len(x[0]), -1, int(node.attrs["width"]))

    def _op_rope(self, node: Node, x: list[Any], w: list[Any]) -> Doubles:
        inv_freq = np.atleast_2d(w[0])  # (P, N)
        n_pairs = inv_freq.shape[1]
        positions = x[1] if len(x[0]) == len(self._tokens) else x[1][self._wanted]
        positions = np.broadcast_to(positions.reshape(len(x[0]), -1), (len(x[0]), len(inv_freq)))
        angle = (positions @ inv_freq)[:, None]
        cos, sin = np.cos(angle) * node.attrs["mscale"], np.sin(angle) * node.attrs["mscale"]
        even, odd = (
            (slice(0, 2 * n_pairs, 2), slice(1, 2 * n_pairs, 2))
            if node.attrs["interleaved"]
            else (slice(0, n_pairs), slice(n_pairs, 2 * n_pairs))
        )
        y = x[0].copy()
        y[..., even] = x[0][..., even] * cos - x[0][..., odd] * sin
        y[..., odd] = x[0][..., even] * sin + x[0][..., odd] * cos
        return y

    def _op_kv(self, node: Node, x: list[Any], w: list[Any]) -> tuple[Doubles, Doubles]:
        k, v = (np.asarray(a.astype(self._kv_dtype), np.float64) for a in x)
        return k, v

    def _op_attention(self, node: Node, x: list[Any], w: list[Any]) -> Doubles:
        q, (k, v) = x
        n_tokens, n_heads, width = q.shape
        k, v = (np.repeat(a, n_heads // k.shape[1], axis=1) for a in (k, v))
        scores = np.einsum("thc,shc->hts", q, k) * node.attrs["scale"]
        cap, window = float(node.attrs["softcap"]), int(node.attrs["window"])
        if cap:
            scores = cap * np.tanh(scores / cap)
        age = np.arange(n_tokens)[:, None] - np.arange(n_tokens)
        hidden = (age < 0) | ((age >= window) if window else False)
        scores = np.where(hidden, -np.inf, scores)
        if w[0] is not None:  # a sink takes its share of the softmax and gives nothing
            sinks = np.broadcast_to(w[0][:, None, None], (n_heads, n_tokens, 1))
            p = softmax(np.concatenate([scores, sinks], axis=-1))[..., :-1]
        else:
            p = softmax(scores)
        return np.einsum("hts,shc->thc", p, v).reshape(n_tokens, n_heads * width)


def first_difference(
    graph: Graph, got: Sequence[Any], want: Sequence[Any], tolerance: float
) -> str | None:
    """Names the first op whose result is off by over tolerance * rms(want), or None.

    `got` is `Plan.trace`'s list, `want` is `Reference.trace`'s.
    """
    for index, (node, g, r) in enumerate(zip(graph.nodes, got, want, strict=True)):
        if node.op in ("tokens", "positions", "kv"):
            continue
        r = np.asarray(r)
        g = np.asarray(g, np.float64).reshape(r.shape)
        error = float(np.max(np.abs(g - r), initial=0.0))
        bound = tolerance * float(np.sqrt(np.mean(r**2)))
        if not error <= bound:
            weights = ", ".join(w.name for w in node.weights if w is not None)
            return f"op {index}, {node.op}({weights}): off by {error:.3g}, allowed {bound:.3g}"
    return None


def weights_by_name(tensors: Mapping[str, NDArray[np.floating]]) -> Callable[[Weight], Any]:
    """A `decode` for `Reference` from arrays by tensor name."""
    return lambda weight: tensors[weight.name]
