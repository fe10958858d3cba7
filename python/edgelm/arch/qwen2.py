"""Qwen 2 and 2.5, EXAONE 3, Seed-OSS: Llama's wiring, RoPE over half-heads, biases on Q, K, V."""

from __future__ import annotations

from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Weights
from . import wiring


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """Qwen 2's dense decoder. Source: arXiv:2407.10671."""
    return _build(g, m, w, ffn_norm="ffn_norm")


def build_seed_oss(g: Graph, m: Meta, w: Weights) -> Value:
    """Seed-OSS 36B, whose files name the second norm otherwise. Source: its model card."""
    return _build(g, m, w, ffn_norm="post_attention_norm")


def _build(g: Graph, m: Meta, w: Weights, ffn_norm: str) -> Value:
    rope = wiring.rope(g, m, w)
    x = g.embed(w["token_embd"])  # (T, D)
    for i, b in w.blocks(m.n_layers):
        h = g.rms_norm(x, b["attn_norm"], m.rms_eps)
        q, k, v = g.heads(m.head_width, *wiring.qkv(g, h, b))
        q, k = rope(q), rope(k)  # (T, H, C), (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=m.head_width**-0.5)
        x, attended = wiring.wanted_rows(g, m, i, x, attended)
        x = g.add(x, g.linear(attended, b["attn_output"], b.bias("attn_output")))
        h = g.rms_norm(x, b[ffn_norm], m.rms_eps)
        x = g.add(x, wiring.glu(g, h, b, "silu"))
    return wiring.head(g, m, w, x)  # (R, V)
