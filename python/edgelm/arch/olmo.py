"""OLMo 1: Llama's wiring under LayerNorms that have no weights."""

from __future__ import annotations

from ..errors import UnsupportedModelError
from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Weights
from . import wiring


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """OLMo's decoder, 1B and 7B. Source: arXiv:2402.00838."""
    if m.number("attention.clamp_kqv", 0.0):
        raise UnsupportedModelError(
            f"{m.file.path}: metadata key 'olmo.attention.clamp_kqv' is set, and clamped queries, "
            "keys and values are not supported."
        )
    rope = wiring.rope(g, m, w, interleaved=True)
    x = g.embed(w["token_embd"])  # (T, D)
    for i, b in w.blocks(m.n_layers):
        h = g.layer_norm(x, None, None, m.norm_eps)
        q, k, v = g.heads(m.head_width, *wiring.qkv(g, h, b))
        q, k = rope(q), rope(k)  # (T, H, C), (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=m.head_width**-0.5)
        x, attended = wiring.wanted_rows(g, m, i, x, attended)
        x = g.add(x, wiring.attention_out(g, attended, b))
        x = g.add(x, wiring.glu(g, g.layer_norm(x, None, None, m.norm_eps), b, "silu"))
    h = g.layer_norm(x, None, None, m.norm_eps)  # (R, D)
    return g.linear(h, w.get("output", w["token_embd"]))  # (R, V)
