"""Nemotron 3 and 4 and Minitron: LayerNorm, RoPE over half a head, squared ReLU."""

from __future__ import annotations

from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Weights
from . import wiring


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """Nemotron's decoder; GGUF folds the +1 of its norms. Source: arXiv:2402.16819."""
    rope = wiring.rope(g, m, w)
    x = g.embed(w["token_embd"])  # (T, D)
    for i, b in w.blocks(m.n_layers):
        h = wiring.norm(g, x, b, "attn_norm", m.norm_eps)
        q, k, v = g.heads(m.head_width, *wiring.qkv(g, h, b))
        q, k = rope(q), rope(k)  # (T, H, C), (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=m.head_width**-0.5)
        x, attended = wiring.wanted_rows(g, m, i, x, attended)
        x = g.add(x, wiring.attention_out(g, attended, b))
        h = wiring.norm(g, x, b, "ffn_norm", m.norm_eps)
        x = g.add(x, wiring.mlp(g, h, b, "relu2"))
    h = wiring.norm(g, x, w, "output_norm", m.norm_eps)  # (R, D)
    return g.linear(h, w["output"])  # (R, V)
