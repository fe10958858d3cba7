"""StableLM 2 and 3B: LayerNorm, RoPE over a part of each head; the 12B model runs in parallel."""

from __future__ import annotations

from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Weights
from . import wiring


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """StableLM's decoder. Source: arXiv:2402.17834."""
    rope = wiring.rope(g, m, w)
    x = g.embed(w["token_embd"])  # (T, D)
    for i, b in w.blocks(m.n_layers):
        h = wiring.norm(g, x, b, "attn_norm", m.norm_eps)
        q, k, v = g.heads(m.head_width, *wiring.qkv(g, h, b))
        if b.get("attn_q_norm") is not None:  # (H, C): a norm of its own for each head
            q = g.mul(g.layer_norm(q, None, None, m.norm_eps), b["attn_q_norm"])
            k = g.mul(g.layer_norm(k, None, None, m.norm_eps), b["attn_k_norm"])
        q, k = rope(q), rope(k)  # (T, H, C), (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=m.head_width**-0.5)
        x, h, attended = wiring.wanted_rows(g, m, i, x, h, attended)
        x = g.add(x, wiring.attention_out(g, attended, b))
        if b.get("ffn_norm") is not None:  # absent where the feed-forward shares attention's norm
            h = wiring.norm(g, x, b, "ffn_norm", m.norm_eps)
        x = g.add(x, wiring.glu(g, h, b, "silu"))
    h = wiring.norm(g, x, w, "output_norm", m.norm_eps)  # (R, D)
    return g.linear(h, w["output"])  # (R, V)
