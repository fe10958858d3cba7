"""Wiring that several architectures share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import UnsupportedModelError
from ..graph import Graph, Value, Weight
from ..meta import Meta
from ..rope import Rope, factored_rope, linear_rope, yarn_rope
from ..weights import Block, Weights

Rotation = Callable[[Value], Value]  # of queries or keys (T, H or G, C) by their positions


def rope(
    g: Graph, m: Meta, w: Weights, *, interleaved: bool = False, truncate: bool = True
) -> Rotation:
    """The RoPE that the metadata asks for: plain, linear, YaRN, or Llama 3.1's factors.

    It turns pairs of neighbours if `interleaved`, else of half-heads. `truncate` is YaRN's. The
    files say nothing of either.
    """
    return rotation(g, "rope.inv_freq", _rope(m, w, truncate), interleaved=interleaved)


def rotation(g: Graph, name: str, chosen: Rope, *, interleaved: bool = False) -> Rotation:
    """A RoPE whose frequencies are the graph's constant `name`."""
    frequencies = chosen.inv_freq.astype(np.float32)
    if not np.all(np.isfinite(frequencies)):
        raise ValueError(
            "RoPE's frequencies are not finite: its base, scale or factors are absurd."
        )
    inv_freq = g.constant(name, frequencies)
    return lambda x: g.rope(x, inv_freq, mscale=chosen.mscale, interleaved=interleaved)


def _rope(m: Meta, w: Weights, truncate: bool) -> Rope:
    kind, factor = m.rope_scaling
    attn_factor = m.number("rope.scaling.attn_factor", 1.0)
    factors = w.vector("rope_freqs", m.n_rot // 2)
    long, short = (w.vector(f"rope_factors_{n}", m.n_rot // 2) for n in ("long", "short"))
    if long is not None and short is not None:  # LongRoPE: the context decides. arXiv:2402.13753
        factors = long if m.n_ctx > m.n_ctx_original else short
    if factors is not None:
        return Rope(factored_rope(m.n_rot, m.rope_base, factors).inv_freq / factor, attn_factor)
    if kind == "yarn":
        return yarn_rope(
            m.n_rot,
            m.rope_base,
            factor,
            m.n_ctx_original,
            beta_fast=m.number("rope.scaling.yarn_beta_fast", 32.0),
            beta_slow=m.number("rope.scaling.yarn_beta_slow", 1.0),
            log_multiplier=m.number("rope.scaling.yarn_log_multiplier", 0.0),
            attn_factor=attn_factor,
            truncate=truncate,
        )
    if kind not in ("none", "linear", "longrope"):
        raise UnsupportedModelError(
            f"{m.file.path}: RoPE scaling {kind!r:.60} is not supported. "
            "Known: none, linear, longrope, yarn."
        )
    return Rope(linear_rope(m.n_rot, m.rope_base, factor).inv_freq, attn_factor)


def qkv(g: Graph, h: Value, b: Block) -> tuple[Value, Value, Value]:
    """Queries, keys and values from three weights, with their biases if the file has any."""
    names = ("attn_q", "attn_k", "attn_v")
    q, k, v = g.linears(h, *(b[n] for n in names), biases=tuple(b.bias(n) for n in names))
    return q, k, v


def glu(g: Graph, h: Value, b: Block, kind: str) -> Value:
    """The gated feed-forward: down(kind(gate(h)) * up(h)), with its biases if the file has any."""
    biases = (b.bias("ffn_gate"), b.bias("ffn_up"))
    gate, up = g.linears(h, b["ffn_gate"], b["ffn_up"], biases=biases)
    return g.linear(g.gated(gate, up, kind), b["ffn_down"], b.bias("ffn_down"))


def moe(
    g: Graph,
    m: Meta,
    h: Value,
    b: Block,
    *,
    normalize: bool = True,
    kind: str = "silu",
    limit: float = 0.0,
    offset: float = 0.0,
    biases: tuple[Weight | None, ...] = (None, None, None, None),
) -> Value:
    """Each token's best experts, weighed by the router's softmax, normalized to 1 or not."""
    return g.moe(
        h,
        b["ffn_gate_inp"],
        b["ffn_gate_exps"],
        b["ffn_up_exps"],
        b["ffn_down_exps"],
        top_k=m.integer("expert_used_count", high=min(m.integer("expert_count", high=4096), 256)),
        normalize=normalize,
        scale=m.number("expert_weights_scale", 1.0),
        kind=kind,
        limit=limit,
        offset=offset,
        choice_bias=b.bias("exp_probs_b"),
        biases=biases,
    )


def feed_forward(g: Graph, m: Meta, h: Value, b: Block) -> Value:
    """A GLU or, where a layer has a router, experts and, in some, one that all tokens share."""
    if b.get("ffn_gate_inp") is None:
        return glu(g, h, b, "silu")
    chosen = moe(g, m, h, b)
    if b.get("ffn_gate_shexp") is None:
        return chosen
    gate, up = g.linears(h, b["ffn_gate_shexp"], b["ffn_up_shexp"])
    return g.add(chosen, g.linear(g.gated(gate, up, "silu"), b["ffn_down_shexp"]))


def mlp(g: Graph, h: Value, b: Block, kind: str) -> Value:
    """The plain feed-forward with its biases: down(kind(up(h)))."""
    up = g.linear(h, b["ffn_up"], b.bias("ffn_up"))
    return g.linear(g.activation(up, kind), b["ffn_down"], b.bias("ffn_down"))


def norm(g: Graph, x: Value, w: Weights | Block, name: str, eps: float) -> Value:
    """LayerNorm by a named weight and its bias, if it has one."""
    return g.layer_norm(x, w[name], w.bias(name), eps)


def fused_qkv(g: Graph, m: Meta, h: Value, b: Block) -> tuple[Value, Value, Value]:
    """Queries, keys and values from one weight of (H + 2 G) C rows, or from three."""
    fused = b.get("attn_qkv")
    if fused is None:
        return qkv(g, h, b)
    kv_width = m.n_kv_heads * m.head_width
    h = g.linear(h, fused, b.bias("attn_qkv"))
    q, k, v = g.split(h, m.n_heads * m.head_width, kv_width, kv_width)
    return q, k, v


def attention_out(g: Graph, attended: Value, b: Block) -> Value:
    """The projection after attention, with its bias if it has one."""
    return g.linear(attended, b["attn_output"], b.bias("attn_output"))


def fused_glu(g: Graph, h: Value, b: Block, kind: str) -> Value:
    """A GLU whose gate and up are the two halves of one weight (2 F, D)."""
    both = g.linear(h, b["ffn_up"])
    gate, up = g.split(both, both.width // 2, both.width // 2)
    return g.linear(g.gated(gate, up, kind), b["ffn_down"])


def wanted_rows(g: Graph, m: Meta, layer: int, *values: Value) -> tuple[Value, ...]:
    """Values (T, D) or, behind the last attention, where no others are needed, (R, D) of them."""
    return tuple(map(g.rows, values)) if layer == m.n_layers - 1 else values


def head(
    g: Graph,
    m: Meta,
    w: Weights,
    x: Value,
    *,
    layer_norm: bool = False,
    scale: float = 1.0,
    softcap: float = 0.0,
) -> Value:
    """Logits (R, V): the final norm, an RMSNorm or a LayerNorm, and the output layer.

    The embedding is the output layer of a file that has none.
    """
    if layer_norm:
        h = norm(g, x, w, "output_norm", m.norm_eps)
    else:
        h = g.rms_norm(x, w["output_norm"], m.rms_eps)
    logits = g.linear(h, w.get("output", w["token_embd"]), w.bias("output"))
    return g.softcap(g.scale(logits, scale), softcap)
