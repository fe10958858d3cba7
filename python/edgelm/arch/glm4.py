"""GLM 4: RoPE over a part of each head, a fused gate and up, later norms on both sides."""

from __future__ import annotations

from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Block, Weights
from . import wiring


def build_chatglm(g: Graph, m: Meta, w: Weights) -> Value:
    """ChatGLM 3 and GLM 4 9B (2024). Source: arXiv:2406.12793."""
    return _build(g, m, w, post_norms=False)


def build_glm4(g: Graph, m: Meta, w: Weights) -> Value:
    """GLM 4's and Z1's dense decoder (0414). Source: their model cards."""
    return _build(g, m, w, post_norms=True)


def _build(g: Graph, m: Meta, w: Weights, post_norms: bool) -> Value:
    def after(h: Value, b: Block, name: str) -> Value:
        return g.rms_norm(h, b[name], m.rms_eps) if post_norms else h

    rope = wiring.rope(g, m, w, interleaved=True)
    x = g.embed(w["token_embd"])  # (T, D)
    for i, b in w.blocks(m.n_layers):
        h = g.rms_norm(x, b["attn_norm"], m.rms_eps)
        q, k, v = g.heads(m.head_width, *wiring.fused_qkv(g, m, h, b))
        q, k = rope(q), rope(k)  # (T, H, C), (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=m.head_width**-0.5)
        x, attended = wiring.wanted_rows(g, m, i, x, attended)
        h = wiring.attention_out(g, attended, b)
        x = g.add(x, after(h, b, "post_attention_norm"))
        h = g.rms_norm(x, b["ffn_norm"], m.rms_eps)
        x = g.add(x, after(wiring.fused_glu(g, h, b, "silu"), b, "post_ffw_norm"))
    return wiring.head(g, m, w, x)  # (R, V)
