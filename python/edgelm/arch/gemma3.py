"""Gemma 3: windows of local attention with a global layer among them, norms around every part."""

from __future__ import annotations

from ..graph import Graph, Value
from ..meta import Meta
from ..rope import linear_rope, plain_rope
from ..weights import Weights
from . import wiring

LOCAL_ROPE_BASE = 10000.0


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """Gemma 3's decoder; GGUF folds the +1 of its norms. Source: arXiv:2503.19786."""
    windows = m.windows(period=6)
    _, factor = m.rope_scaling
    everywhere = wiring.rotation(g, "rope.global", linear_rope(m.n_rot, m.rope_base, factor))
    local_base = m.number("rope.freq_base_swa", LOCAL_ROPE_BASE)
    local = wiring.rotation(g, "rope.local", plain_rope(m.n_rot, local_base))
    # The 27B model alone scales by the width per query head instead of the head's own.
    scale = (m.width / m.n_heads if m.n_layers == 62 else m.head_width) ** -0.5

    x = g.scale(g.embed(w["token_embd"]), m.width**0.5)  # (T, D)
    for i, b in w.blocks(m.n_layers):
        rope = local if windows[i] else everywhere
        h = g.rms_norm(x, b["attn_norm"], m.rms_eps)
        q, k, v = g.heads(m.head_width, *wiring.qkv(g, h, b))
        q = rope(g.rms_norm(q, b["attn_q_norm"], m.rms_eps))  # (T, H, C)
        k = rope(g.rms_norm(k, b["attn_k_norm"], m.rms_eps))  # (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=scale, window=windows[i])
        x, attended = wiring.wanted_rows(g, m, i, x, attended)
        h = g.linear(attended, b["attn_output"])
        x = g.add(x, g.rms_norm(h, b["post_attention_norm"], m.rms_eps))
        h = g.rms_norm(x, b["ffn_norm"], m.rms_eps)
        x = g.add(x, g.rms_norm(wiring.glu(g, h, b, "gelu_tanh"), b["post_ffw_norm"], m.rms_eps))
    return wiring.head(g, m, w, x, softcap=m.number("final_logit_softcapping", 0.0))  # (R, V)
