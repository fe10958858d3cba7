"""Ministral 3: Llama's wiring, with queries that grow beyond the context that YaRN extends."""

from __future__ import annotations

import numpy as np

from ..graph import Graph, Value
from ..meta import MAX_CONTEXT, Meta
from ..weights import Weights
from . import wiring


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """Ministral 3's decoder. Source: its model cards; arXiv:2501.19399 for the growth."""
    rope = wiring.rope(g, m, w, interleaved=True)
    growth = _growth(g, m)
    x = g.embed(w["token_embd"])  # (T, D)
    for i, b in w.blocks(m.n_layers):
        h = g.rms_norm(x, b["attn_norm"], m.rms_eps)
        q, k, v = wiring.qkv(g, h, b)
        q, k, v = g.heads(m.head_width, q if growth is None else g.mul(q, growth), k, v)
        q, k = rope(q), rope(k)  # (T, H, C), (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=m.head_width**-0.5)
        x, attended = wiring.wanted_rows(g, m, i, x, attended)
        x = g.add(x, wiring.attention_out(g, attended, b))
        h = g.rms_norm(x, b["ffn_norm"], m.rms_eps)
        x = g.add(x, wiring.glu(g, h, b, "silu"))
    return wiring.head(g, m, w, x)  # (R, V)


def _growth(g: Graph, m: Meta) -> Value | None:
    """1 + beta * ln(1 + floor(position / n)) for each token, (T, 1); None where it is 1."""
    beta = m.number("attention.temperature_scale", 0.0)
    n = m.integer("rope.scaling.original_context_length", m.n_ctx_train, high=MAX_CONTEXT)
    if beta == 0 or m.n_ctx <= n:
        return None
    table = 1 + beta * np.log1p(np.arange(m.n_ctx) // n)
    return g.embed(g.constant("attention.growth", table[:, None]), g.positions)
