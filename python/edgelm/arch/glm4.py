"""GLM 4: norms on both sides, RoPE over a part of each head, a fused gate and up."""

from __future__ import annotations

from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Weights
from . import wiring


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """GLM 4's dense decoder (0414). Source: arXiv:2406.12793."""
    rope = wiring.rope(g, m, w)
    x = g.embed(w["token_embd"])  # (T, D)
    for i, b in w.blocks(m.n_layers):
        h = g.rms_norm(x, b["attn_norm"], m.rms_eps)
        q, k, v = g.heads(m.head_width, *wiring.fused_qkv(g, m, h, b))
        q = g.rope(q, rope.inv_freq, mscale=rope.mscale, interleaved=True)  # (T, H, C)
        k = g.rope(k, rope.inv_freq, mscale=rope.mscale, interleaved=True)  # (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=m.head_width**-0.5)
        if i == m.n_layers - 1:
            x, attended = g.rows(x), g.rows(attended)
        h = wiring.attention_out(g, attended, b)
        x = g.add(x, g.rms_norm(h, b["post_attention_norm"], m.rms_eps))
        h = g.rms_norm(x, b["ffn_norm"], m.rms_eps)
        x = g.add(x, g.rms_norm(wiring.fused_glu(g, h, b, "silu"), b["post_ffw_norm"], m.rms_eps))
    h = g.rms_norm(x, w["output_norm"], m.rms_eps)  # (R, D)
    return g.linear(h, w.get("output", w["token_embd"]))  # (R, V)
