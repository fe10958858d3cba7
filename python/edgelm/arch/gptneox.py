"""GPT-NeoX and Pythia: attention and feed-forward side by side, or one after the other."""

from __future__ import annotations

from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Weights
from . import wiring


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """GPT-NeoX's decoder. Source: arXiv:2204.06745."""
    rope = wiring.rope(g, m, w)
    parallel = m.flag("use_parallel_residual", True)
    x = g.embed(w["token_embd"])  # (T, D)
    for i, b in w.blocks(m.n_layers):
        h = wiring.norm(g, x, b, "attn_norm", m.norm_eps)
        q, k, v = g.heads(m.head_width, *wiring.fused_qkv(g, m, h, b))
        q, k = rope(q), rope(k)  # (T, H, C), (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=m.head_width**-0.5)
        x, attended = wiring.wanted_rows(g, m, i, x, attended)
        y = g.add(x, wiring.attention_out(g, attended, b))
        h = wiring.norm(g, x if parallel else y, b, "ffn_norm", m.norm_eps)
        x = g.add(y, wiring.mlp(g, h, b, "gelu"))
    h = wiring.norm(g, x, w, "output_norm", m.norm_eps)  # (R, D)
    return g.linear(h, w["output"])  # (R, V)
