"""EXAONE 4: norms behind attention and feed-forward, windows with RoPE, global layers without."""

from __future__ import annotations

from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Weights
from . import wiring


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """EXAONE 4's decoder; the 1.2B has no windows and RoPE throughout. Source: arXiv:2507.11407."""
    rope = wiring.rope(g, m, w)
    windows = m.windows(period=4)
    x = g.embed(w["token_embd"])  # (T, D)
    for i, b in w.blocks(m.n_layers):
        q, k, v = g.heads(m.head_width, *wiring.qkv(g, x, b))
        q = g.rms_norm(q, b["attn_q_norm"], m.rms_eps)
        k = g.rms_norm(k, b["attn_k_norm"], m.rms_eps)
        if windows[i] or not any(windows):
            q, k = rope(q), rope(k)  # (T, H, C), (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=m.head_width**-0.5, window=windows[i])
        x, attended = wiring.wanted_rows(g, m, i, x, attended)
        h = wiring.attention_out(g, attended, b)
        x = g.add(x, g.rms_norm(h, b["post_attention_norm"], m.rms_eps))
        x = g.add(x, g.rms_norm(wiring.glu(g, x, b, "silu"), b["post_ffw_norm"], m.rms_eps))
    return wiring.head(g, m, w, x)  # (R, V)
