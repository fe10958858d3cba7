"""Wiring that several architectures share."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UnsupportedModelError
from ..graph import Graph, Value, Weight
from ..meta import Meta
from ..rope import Rope, factored_rope, linear_rope, plain_rope, yarn_rope
from ..weights import Block, Weights


@dataclass(frozen=True)
class GraphRope:
    """A `Rope` whose frequencies are a constant of the graph."""

    inv_freq: Weight
    mscale: float


def rope(g: Graph, m: Meta, w: Weights) -> GraphRope:
    """The RoPE that the metadata asks for: plain, linear, YaRN, or Llama 3.1's factors."""
    return constant_rope(g, "rope.inv_freq", _rope(m, w))


def constant_rope(g: Graph, name: str, chosen: Rope) -> GraphRope:
    """The frequencies as a constant of the graph, under a name of their own."""
    return GraphRope(g.constant(name, chosen.inv_freq), chosen.mscale)


def _rope(m: Meta, w: Weights) -> Rope:
    factors = w.vector("rope_freqs", m.n_rot // 2)
    if factors is not None:
        return factored_rope(m.n_rot, m.rope_base, factors)
    kind = m.string("rope.scaling.type", "none")
    if kind == "linear":
        return linear_rope(m.n_rot, m.rope_base, m.number("rope.scaling.factor"))
    if kind == "yarn":
        return yarn_rope(
            m.n_rot,
            m.rope_base,
            m.number("rope.scaling.factor"),
            m.integer("rope.scaling.original_context_length", m.n_ctx_train, high=1 << 28),
            attn_factor=m.number("rope.scaling.attn_factor", 1.0),
        )
    if kind != "none":
        raise UnsupportedModelError(
            f"{m.file.path}: RoPE scaling '{kind}' is not supported. Known: none, linear, yarn."
        )
    return plain_rope(m.n_rot, m.rope_base)


def qkv(g: Graph, h: Value, b: Block) -> tuple[Value, Value, Value]:
    """Queries, keys and values from three weights, with their biases if the file has any."""
    names = ("attn_q", "attn_k", "attn_v")
    q, k, v = g.linears(h, *(b[n] for n in names), biases=tuple(b.bias(n) for n in names))
    return q, k, v


def glu(g: Graph, h: Value, b: Block, kind: str) -> Value:
    """The gated feed-forward: down(kind(gate(h)) * up(h))."""
    gate, up = g.linears(h, b["ffn_gate"], b["ffn_up"])
    return g.linear(g.gated(gate, up, kind), b["ffn_down"])
