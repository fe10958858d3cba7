"""Granite 3 and 4, MiniCPM: Llama's wiring with four scales; dense, or with experts."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Weights
from . import wiring


def build_granite(g: Graph, m: Meta, w: Weights) -> Value:
    """Granite's decoder. Source: IBM 2024, Granite 3.0 Language Models."""
    return _build(g, m, w, Scales())


def build_minicpm(g: Graph, m: Meta, w: Weights) -> Value:
    """MiniCPM 1 to 4, whose first files leave the scales unsaid. Source: arXiv:2404.06395."""
    return _build(g, m, w, Scales(12.0, 1.4 * m.n_layers**-0.5, m.width / 256))


@dataclass(frozen=True)
class Scales:
    """What a file's scales are if it does not say."""

    embedding: float = 1.0
    residual: float = 1.0
    logit: float = 1.0


def _build(g: Graph, m: Meta, w: Weights, default: Scales) -> Value:
    rope = wiring.rope(g, m, w)
    scale = m.number("attention.scale", m.head_width**-0.5)
    residual = m.number("residual_scale", default.residual)
    x = g.scale(g.embed(w["token_embd"]), m.number("embedding_scale", default.embedding))  # (T, D)
    for i, b in w.blocks(m.n_layers):
        h = g.rms_norm(x, b["attn_norm"], m.rms_eps)
        q, k, v = g.heads(m.head_width, *wiring.qkv(g, h, b))
        q = g.rope(q, rope.inv_freq, mscale=rope.mscale, interleaved=True)  # (T, H, C)
        k = g.rope(k, rope.inv_freq, mscale=rope.mscale, interleaved=True)  # (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=scale)
        if i == m.n_layers - 1:
            x, attended = g.rows(x), g.rows(attended)
        x = g.add(x, g.scale(wiring.attention_out(g, attended, b), residual))
        h = g.rms_norm(x, b["ffn_norm"], m.rms_eps)
        experts = b.get("ffn_gate_inp") is not None
        h = wiring.experts(g, m, h, b) if experts else wiring.glu(g, h, b, "silu")
        x = g.add(x, g.scale(h, residual))
    h = g.rms_norm(x, w["output_norm"], m.rms_eps)  # (R, D)
    logits = g.linear(h, w.get("output", w["token_embd"]))  # (R, V)
    return g.scale(logits, 1 / m.number("logit_scale", default.logit))
