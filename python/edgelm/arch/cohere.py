"""Command R and Cohere 2: attention and feed-forward side by side under one LayerNorm."""

from __future__ import annotations

from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Weights
from . import wiring


def build_command_r(g: Graph, m: Meta, w: Weights) -> Value:
    """Command R, with a norm for each head in the plus model. Source: its model card."""
    return _build(g, m, w, windows=None)


def build_cohere2(g: Graph, m: Meta, w: Weights) -> Value:
    """Command R7B: windows with RoPE, global layers without. Source: arXiv:2504.00698."""
    return _build(g, m, w, windows=m.windows(period=4))


def _build(g: Graph, m: Meta, w: Weights, windows: list[int] | None) -> Value:
    rope = wiring.rope(g, m, w, interleaved=True)
    x = g.embed(w["token_embd"])  # (T, D)
    for i, b in w.blocks(m.n_layers):
        window = windows[i] if windows else 0
        h = g.layer_norm(x, b["attn_norm"], None, m.norm_eps)
        q, k, v = g.heads(m.head_width, *wiring.qkv(g, h, b))
        if b.get("attn_q_norm") is not None:  # (H, C): a norm of its own for each head
            q = g.mul(g.layer_norm(q, None, None, m.norm_eps), b["attn_q_norm"])
            k = g.mul(g.layer_norm(k, None, None, m.norm_eps), b["attn_k_norm"])
        if windows is None or window:
            q, k = rope(q), rope(k)  # (T, H, C), (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=m.head_width**-0.5, window=window)
        x, h, attended = wiring.wanted_rows(g, m, i, x, h, attended)
        x = g.add(x, wiring.attention_out(g, attended, b))
        x = g.add(x, wiring.glu(g, h, b, "silu"))
    return wiring.head(g, m, w, x, layer_norm=True, scale=m.number("logit_scale"))  # (R, V)
