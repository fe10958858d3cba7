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
    rope = wiring.rope(g, m, w, interleaved=True)
    scale = m.number("attention.scale", m.head_width**-0.5)
    residual = m.number("residual_scale", default.residual)
    x = g.scale(g.embed(w["token_embd"]), m.number("embedding_scale", default.embedding))  # (T, D)
    for i, b in w.blocks(m.n_layers):
        h = g.rms_norm(x, b["attn_norm"], m.rms_eps)
        q, k, v = g.heads(m.head_width, *wiring.qkv(g, h, b))
        q, k = rope(q), rope(k)  # (T, H, C), (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=scale)
        x, attended = wiring.wanted_rows(g, m, i, x, attended)
        x = g.add(x, g.scale(wiring.attention_out(g, attended, b), residual))
        h = g.rms_norm(x, b["ffn_norm"], m.rms_eps)
        x = g.add(x, g.scale(wiring.feed_forward(g, m, h, b), residual))
    return wiring.head(g, m, w, x, scale=1 / m.number("logit_scale", default.logit))  # (R, V)
