"""Qwen 1.5 and 2 with experts: one expert that every token shares, behind a sigmoid."""

from __future__ import annotations

from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Block, Weights
from . import wiring


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """Qwen 2's decoder with experts. Source: arXiv:2407.10671, section 2.2.2."""
    rope = wiring.rope(g, m, w)
    x = g.embed(w["token_embd"])  # (T, D)
    for i, b in w.blocks(m.n_layers):
        h = g.rms_norm(x, b["attn_norm"], m.rms_eps)
        q, k, v = g.heads(m.head_width, *wiring.qkv(g, h, b))
        q, k = rope(q), rope(k)  # (T, H, C), (T, G, C)
        attended = g.attention(q, k, v, layer=i, scale=m.head_width**-0.5)
        x, attended = wiring.wanted_rows(g, m, i, x, attended)
        x = g.add(x, g.linear(attended, b["attn_output"]))
        h = g.rms_norm(x, b["ffn_norm"], m.rms_eps)
        routed = wiring.moe(g, m, h, b, normalize=False)
        x = g.add(x, g.add(routed, shared_expert(g, h, b)))
    return wiring.head(g, m, w, x)  # (R, V)


def shared_expert(g: Graph, h: Value, b: Block) -> Value:
    """sigmoid(gate . h) times a GLU: (T, D)."""
    gate, up = g.linears(h, b["ffn_gate_shexp"], b["ffn_up_shexp"])
    y = g.linear(g.gated(gate, up, "silu"), b["ffn_down_shexp"])
    return g.mul(y, g.activation(g.linear(h, b["ffn_gate_inp_shexp"]), "sigmoid"))
