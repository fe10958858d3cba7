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
    rope = wiring.rope(g, m, w)
    x = g.embed(w["token_embd"])  # (T, D)
    for i, b in w.blocks(m.n_layers):
        window = windows[i] if windows else 0
        h = g.layer_norm(x, b["attn_norm"], None, m.norm_eps)
        q, k, v = g.heads(m.head_width, *wiring.qkv(g, h, b))
        if b.get("attn_q_norm") is not None:  # (H, C): a norm of its own for each head
            q = g.mul(g.layer_norm(q, None, None, m.norm_eps), b["attn_q_norm"])
            k = g.mul(g.layer_norm(k, None, None, m.norm_eps), b["attn_k_norm"])
        if windows is None or window:
            q = g.rope(q, rope.inv_freq, mscale=rope.mscale, interleaved=True)  # (T, H, C)
            k = g.rope(k, rope.inv_freq, mscale=rope.mscale, interleaved=True)  # (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=m.head_width**-0.5, window=window)
        if i == m.n_layers - 1:
            x, h, attended = g.rows(x), g.rows(h), g.rows(attended)
        x = g.add(x, wiring.attention_out(g, attended, b))
        x = g.add(x, wiring.glu(g, h, b, "silu"))
    h = g.layer_norm(x, w["output_norm"], None, m.norm_eps)  # (R, D)
    logits = g.linear(h, w.get("output", w["token_embd"]))  # (R, V)
    return g.scale(logits, m.number("logit_scale"))
