"""Gemma 1: scaled embeddings, a GELU-gated feed-forward, wide heads."""

from __future__ import annotations

from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Weights
from . import wiring


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """Gemma's decoder; GGUF folds the +1 of its norms. Source: arXiv:2403.08295."""
    rope = wiring.rope(g, m, w)
    x = g.scale(g.embed(w["token_embd"]), m.width**0.5)  # (T, D)
    for i, b in w.blocks(m.n_layers):
        h = g.rms_norm(x, b["attn_norm"], m.rms_eps)
        q, k, v = g.heads(m.head_width, *wiring.qkv(g, h, b))
        q, k = rope(q), rope(k)  # (T, H, C), (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=m.head_width**-0.5)
        x, attended = wiring.wanted_rows(g, m, i, x, attended)
        x = g.add(x, g.linear(attended, b["attn_output"]))
        h = g.rms_norm(x, b["ffn_norm"], m.rms_eps)
        x = g.add(x, wiring.glu(g, h, b, "gelu_tanh"))
    return wiring.head(g, m, w, x)  # (R, V)
