"""Arcee AFM: Llama's wiring with a plain feed-forward of squared ReLU."""

from __future__ import annotations

from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Weights
from . import wiring


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """AFM 4.5B's decoder. Source: its model card; arXiv:2109.08668 for the activation."""
    rope = wiring.rope(g, m, w)
    x = g.embed(w["token_embd"])  # (T, D)
    for i, b in w.blocks(m.n_layers):
        h = g.rms_norm(x, b["attn_norm"], m.rms_eps)
        q, k, v = g.heads(m.head_width, *wiring.qkv(g, h, b))
        q = g.rope(q, rope.inv_freq, mscale=rope.mscale, interleaved=True)  # (T, H, C)
        k = g.rope(k, rope.inv_freq, mscale=rope.mscale, interleaved=True)  # (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=m.head_width**-0.5)
        if i == m.n_layers - 1:
            x, attended = g.rows(x), g.rows(attended)
        x = g.add(x, wiring.attention_out(g, attended, b))
        h = g.rms_norm(x, b["ffn_norm"], m.rms_eps)
        x = g.add(x, wiring.mlp(g, h, b, "relu2"))
    h = g.rms_norm(x, w["output_norm"], m.rms_eps)  # (R, D)
    return g.linear(h, w.get("output", w["token_embd"]))  # (R, V)
