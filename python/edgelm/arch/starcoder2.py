"""StarCoder 2: Llama's skeleton with LayerNorm, biases and a plain feed-forward."""

from __future__ import annotations

from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Weights
from . import wiring


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """StarCoder 2's decoder. Source: arXiv:2402.19173."""
    rope = wiring.rope(g, m, w)
    x = g.embed(w["token_embd"])  # (T, D)
    for i, b in w.blocks(m.n_layers):
        h = wiring.norm(g, x, b, "attn_norm", m.norm_eps)
        q, k, v = g.heads(m.head_width, *wiring.qkv(g, h, b))
        q, k = rope(q), rope(k)  # (T, H, C), (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=m.head_width**-0.5)
        x, attended = wiring.wanted_rows(g, m, i, x, attended)
        x = g.add(x, wiring.attention_out(g, attended, b))
        h = wiring.norm(g, x, b, "ffn_norm", m.norm_eps)
        x = g.add(x, wiring.mlp(g, h, b, "gelu_tanh"))
    return wiring.head(g, m, w, x, layer_norm=True)  # (R, V)
