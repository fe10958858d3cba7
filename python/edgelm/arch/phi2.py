"""Phi 1, 1.5 and 2: attention and feed-forward side by side, RoPE over a part of each head."""

from __future__ import annotations

from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Weights
from . import wiring


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """Phi 2's decoder. Source: arXiv:2309.05463."""
    rope = wiring.rope(g, m, w)
    x = g.embed(w["token_embd"])  # (T, D)
    for i, b in w.blocks(m.n_layers):
        h = wiring.norm(g, x, b, "attn_norm", m.norm_eps)
        q, k, v = g.heads(m.head_width, *wiring.fused_qkv(g, m, h, b))
        q, k = rope(q), rope(k)  # (T, H, C), (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=m.head_width**-0.5)
        x, h, attended = wiring.wanted_rows(g, m, i, x, h, attended)
        x = g.add(x, wiring.attention_out(g, attended, b))
        x = g.add(x, wiring.mlp(g, h, b, "gelu_tanh"))
    h = wiring.norm(g, x, w, "output_norm", m.norm_eps)  # (R, D)
    return g.linear(h, w["output"], w.bias("output"))  # (R, V)
