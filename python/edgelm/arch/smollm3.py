"""SmolLM 3: Llama's wiring, with no positions in every fourth layer."""

from __future__ import annotations

from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Weights
from . import wiring

PATTERN = 4  # every fourth layer leaves RoPE out


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """SmolLM 3's decoder. Source: arXiv:2501.18795 for the layers without positions."""
    rope = wiring.rope(g, m, w, interleaved=True)
    x = g.embed(w["token_embd"])  # (T, D)
    for i, b in w.blocks(m.n_layers):
        h = g.rms_norm(x, b["attn_norm"], m.rms_eps)
        q, k, v = g.heads(m.head_width, *wiring.qkv(g, h, b))
        if (i + 1) % PATTERN:
            q, k = rope(q), rope(k)  # (T, H, C), (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=m.head_width**-0.5)
        x, attended = wiring.wanted_rows(g, m, i, x, attended)
        x = g.add(x, wiring.attention_out(g, attended, b))
        h = g.rms_norm(x, b["ffn_norm"], m.rms_eps)
        x = g.add(x, wiring.glu(g, h, b, "silu"))
    return wiring.head(g, m, w, x)  # (R, V)
