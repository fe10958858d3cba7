"""gpt-oss: experts with biases and a limit, sinks in attention, a window in every other layer."""

from __future__ import annotations

from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Block, Weights
from . import wiring

LIMIT = 7.0  # of the experts' inner values; their up is added to 1


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """gpt-oss 20B and 120B. Source: arXiv:2508.10925."""
    # As its config.json says; llama.cpp truncates.
    rope = wiring.rope(g, m, w, truncate=False)
    windows = m.windows(period=2)
    x = g.embed(w["token_embd"])  # (T, D)
    for i, b in w.blocks(m.n_layers):
        h = g.rms_norm(x, b["attn_norm"], m.rms_eps)
        q, k, v = g.heads(m.head_width, *wiring.qkv(g, h, b))
        q, k = rope(q), rope(k)  # (T, H, C), (T, G, C)
        scale, sinks = m.head_width**-0.5, b["attn_sinks"]
        attended = g.attention(q, k, v, layer=i, scale=scale, window=windows[i], sinks=sinks)
        x, attended = wiring.wanted_rows(g, m, i, x, attended)
        x = g.add(x, wiring.attention_out(g, attended, b))
        x = g.add(x, _experts(g, m, g.rms_norm(x, b["post_attention_norm"], m.rms_eps), b))
    return wiring.head(g, m, w, x)  # (R, V)


def _experts(g: Graph, m: Meta, h: Value, b: Block) -> Value:
    names = ("ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")
    return wiring.moe(
        g, m, h, b, kind="quick_gelu", limit=LIMIT, offset=1.0, biases=tuple(map(b.bias, names))
    )
