"""OLMoE: experts, and norms over all queries and all keys at once."""

from __future__ import annotations

from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Weights
from . import wiring


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """OLMoE's decoder. Source: arXiv:2409.02060."""
    rope = wiring.rope(g, m, w)
    x = g.embed(w["token_embd"])  # (T, D)
    for i, b in w.blocks(m.n_layers):
        h = g.rms_norm(x, b["attn_norm"], m.rms_eps)
        q, k, v = wiring.qkv(g, h, b)
        q = g.rms_norm(q, b["attn_q_norm"], m.rms_eps)
        k = g.rms_norm(k, b["attn_k_norm"], m.rms_eps)
        q, k, v = g.heads(m.head_width, q, k, v)
        q, k = rope(q), rope(k)  # (T, H, C), (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=m.head_width**-0.5)
        x, attended = wiring.wanted_rows(g, m, i, x, attended)
        x = g.add(x, g.linear(attended, b["attn_output"]))
        h = g.rms_norm(x, b["ffn_norm"], m.rms_eps)
        x = g.add(x, wiring.moe(g, m, h, b, normalize=False))
    return wiring.head(g, m, w, x)  # (R, V)
