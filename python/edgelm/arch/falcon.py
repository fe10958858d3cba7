"""Falcon: attention and feed-forward side by side; the 40B model norms each on its own."""

from __future__ import annotations

from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Weights
from . import wiring


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """Falcon's decoder. Source: arXiv:2311.16867."""
    rope = wiring.rope(g, m, w)
    x = g.embed(w["token_embd"])  # (T, D)
    for i, b in w.blocks(m.n_layers):
        h = wiring.norm(g, x, b, "attn_norm", m.norm_eps)
        own = b.get("attn_norm_2") is not None
        attention_in = wiring.norm(g, x, b, "attn_norm_2", m.norm_eps) if own else h
        q, k, v = g.heads(m.head_width, *wiring.fused_qkv(g, m, attention_in, b))
        q, k = rope(q), rope(k)  # (T, H, C), (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=m.head_width**-0.5)
        x, h, attended = wiring.wanted_rows(g, m, i, x, h, attended)
        x = g.add(x, wiring.attention_out(g, attended, b))
        x = g.add(x, wiring.mlp(g, h, b, "gelu"))
    return wiring.head(g, m, w, x, layer_norm=True)  # (R, V)
