"""Gemma 2: every other layer sees a window, soft-caps on scores and logits, norms on both sides."""

from __future__ import annotations

from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Weights
from . import wiring


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """Gemma 2's decoder; GGUF folds the +1 of its norms. Source: arXiv:2408.00118."""
    rope = wiring.rope(g, m, w)
    windows = m.windows(period=2, default=4096)
    softcap = m.number("attn_logit_softcapping", 50.0)
    # The 27B model alone scales by the width per query head instead of the head's own.
    scale = (m.width / m.n_heads if m.n_layers == 46 else m.head_width) ** -0.5

    x = g.scale(g.embed(w["token_embd"]), m.width**0.5)  # (T, D)
    for i, b in w.blocks(m.n_layers):
        h = g.rms_norm(x, b["attn_norm"], m.rms_eps)
        q, k, v = g.heads(m.head_width, *wiring.qkv(g, h, b))
        q, k = rope(q), rope(k)  # (T, H, C), (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=scale, window=windows[i], softcap=softcap)
        x, attended = wiring.wanted_rows(g, m, i, x, attended)
        h = g.linear(attended, b["attn_output"])
        x = g.add(x, g.rms_norm(h, b["post_attention_norm"], m.rms_eps))
        h = g.rms_norm(x, b["ffn_norm"], m.rms_eps)
        x = g.add(x, g.rms_norm(wiring.glu(g, h, b, "gelu_tanh"), b["post_ffw_norm"], m.rms_eps))
    return wiring.head(g, m, w, x, softcap=m.number("final_logit_softcapping", 30.0))  # (R, V)
