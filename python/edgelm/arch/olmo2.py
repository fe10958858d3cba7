"""OLMo 2 and 3: norms after attention and feed-forward only, and over all queries and all keys."""

from __future__ import annotations

from ..graph import Graph, Value
from ..meta import Meta
from ..rope import plain_rope
from ..weights import Weights
from . import wiring


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """OLMo 2's decoder, with OLMo 3's windows. Source: arXiv:2501.00656, arXiv:2512.13961."""
    windows = m.windows(period=4)
    everywhere = wiring.rope(g, m, w)
    # A window is within the context that YaRN extends.
    local = wiring.rotation(g, "rope.local", plain_rope(m.n_rot, m.rope_base))
    x = g.embed(w["token_embd"])  # (T, D)
    for i, b in w.blocks(m.n_layers):
        rope = local if windows[i] else everywhere
        q, k, v = wiring.qkv(g, x, b)
        q = g.rms_norm(q, b["attn_q_norm"], m.rms_eps)
        k = g.rms_norm(k, b["attn_k_norm"], m.rms_eps)
        q, k, v = g.heads(m.head_width, q, k, v)
        q, k = rope(q), rope(k)  # (T, H, C), (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=m.head_width**-0.5, window=windows[i])
        x, attended = wiring.wanted_rows(g, m, i, x, attended)
        h = g.linear(attended, b["attn_output"])
        x = g.add(x, g.rms_norm(h, b["post_attention_norm"], m.rms_eps))
        x = g.add(x, g.rms_norm(wiring.glu(g, x, b, "silu"), b["post_ffw_norm"], m.rms_eps))
    return wiring.head(g, m, w, x)  # (R, V)
