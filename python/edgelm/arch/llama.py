"""Llama 1 to 3, Mistral, Mixtral, SmolLM2, TinyLlama, InternLM 2, ERNIE 4.5 (experts too)."""

from __future__ import annotations

from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Weights
from . import wiring


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """Llama's decoder. Source: arXiv:2302.13971, arXiv:2407.21783; experts: arXiv:2401.04088."""
    rope = wiring.rope(g, m, w)
    scale = m.number("attention.scale", m.head_width**-0.5)
    x = g.embed(w["token_embd"])  # (T, D)
    for i, b in w.blocks(m.n_layers):
        h = g.rms_norm(x, b["attn_norm"], m.rms_eps)
        q, k, v = g.heads(m.head_width, *wiring.qkv(g, h, b))
        q = g.rope(q, rope.inv_freq, mscale=rope.mscale, interleaved=True)  # (T, H, C)
        k = g.rope(k, rope.inv_freq, mscale=rope.mscale, interleaved=True)  # (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=scale)
        if i == m.n_layers - 1:  # nothing after the last attention needs the other rows
            x, attended = g.rows(x), g.rows(attended)
        x = g.add(x, wiring.attention_out(g, attended, b))
        h = g.rms_norm(x, b["ffn_norm"], m.rms_eps)
        experts = b.get("ffn_gate_inp") is not None
        x = g.add(x, wiring.experts(g, m, h, b) if experts else wiring.glu(g, h, b, "silu"))
    h = g.rms_norm(x, w["output_norm"], m.rms_eps)  # (R, D)
    return g.linear(h, w.get("output", w["token_embd"]))  # (R, V)
