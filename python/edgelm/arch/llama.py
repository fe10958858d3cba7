"""Llama 1 to 3, Mistral, Mixtral, SmolLM2, TinyLlama, InternLM 2, ERNIE 4.5 (experts too)."""

from __future__ import annotations

from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Weights
from . import wiring


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """Llama's decoder. Source: arXiv:2302.13971, arXiv:2407.21783; experts: arXiv:2401.04088."""
    rope = wiring.rope(g, m, w, interleaved=True)
    scale = m.number("attention.scale", m.head_width**-0.5)
    x = g.embed(w["token_embd"])  # (T, D)
    for i, b in w.blocks(m.n_layers):
        h = g.rms_norm(x, b["attn_norm"], m.rms_eps)
        q, k, v = g.heads(m.head_width, *wiring.qkv(g, h, b))
        q, k = rope(q), rope(k)  # (T, H, C), (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=scale)
        x, attended = wiring.wanted_rows(g, m, i, x, attended)
        x = g.add(x, wiring.attention_out(g, attended, b))
        h = g.rms_norm(x, b["ffn_norm"], m.rms_eps)
        x = g.add(x, wiring.feed_forward(g, m, h, b))
    return wiring.head(g, m, w, x)  # (R, V)
