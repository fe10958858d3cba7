"""Granite 3: Llama's wiring with four scales."""

from __future__ import annotations

from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Weights
from . import wiring


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """Granite's dense decoder. Source: IBM 2024, Granite 3.0 Language Models."""
    rope = wiring.rope(g, m, w)
    scale = m.number("attention.scale", m.head_width**-0.5)
    residual = m.number("residual_scale", 1.0)
    x = g.scale(g.embed(w["token_embd"]), m.number("embedding_scale", 1.0))  # (T, D)
    for i, b in w.blocks(m.n_layers):
        h = g.rms_norm(x, b["attn_norm"], m.rms_eps)
        q, k, v = g.heads(m.head_width, *wiring.qkv(g, h, b))
        q = g.rope(q, rope.inv_freq, mscale=rope.mscale, interleaved=True)  # (T, H, C)
        k = g.rope(k, rope.inv_freq, mscale=rope.mscale, interleaved=True)  # (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=scale)
        if i == m.n_layers - 1:
            x, attended = g.rows(x), g.rows(attended)
        x = g.add(x, g.scale(wiring.attention_out(g, attended, b), residual))
        h = g.rms_norm(x, b["ffn_norm"], m.rms_eps)
        x = g.add(x, g.scale(wiring.glu(g, h, b, "silu"), residual))
    h = g.rms_norm(x, w["output_norm"], m.rms_eps)  # (R, D)
    logits = g.linear(h, w.get("output", w["token_embd"]))  # (R, V)
    return g.scale(logits, 1 / m.number("logit_scale", 1.0))
