"""The tiny random model of each architecture: odd sizes, every branch of its wiring."""

from __future__ import annotations

from arch_model import N_CTX, WINDOW, ArchModel, C, D, F, G, H, Shape, V


def qkv(c: int = C, bias: bool = False, fused: bool = False, kv_heads: int = G) -> dict[str, Shape]:
    """Attention's projections for heads of width c."""
    widths = {"attn_q": H * c, "attn_k": kv_heads * c, "attn_v": kv_heads * c}
    if fused:
        widths = {"attn_qkv": sum(widths.values())}
    shapes: dict[str, Shape] = {f"{n}.weight": (w, D) for n, w in widths.items()}
    if bias:
        shapes |= {f"{n}.bias": (w,) for n, w in widths.items()}
    return shapes | {"attn_output.weight": (D, H * c)}


def norms(*names: str, bias: bool = False, width: int = D) -> dict[str, Shape]:
    """Norm weights and, for LayerNorm, their biases."""
    shapes: dict[str, Shape] = {f"{n}.weight": (width,) for n in names}
    return shapes | ({f"{n}.bias": (width,) for n in names} if bias else {})


def glu() -> dict[str, Shape]:
    """Gate, up and down."""
    return {"ffn_gate.weight": (F, D), "ffn_up.weight": (F, D), "ffn_down.weight": (D, F)}


def mlp(bias: bool = True) -> dict[str, Shape]:
    """Up and down, with their biases."""
    shapes: dict[str, Shape] = {"ffn_up.weight": (F, D), "ffn_down.weight": (D, F)}
    return shapes | ({"ffn_up.bias": (F,), "ffn_down.bias": (D,)} if bias else {})


def experts(n: int = 4, width: int = 64) -> dict[str, Shape]:
    """A router and n experts."""
    return {
        "ffn_gate_inp.weight": (n, D),
        "ffn_gate_exps.weight": (n, width, D),
        "ffn_up_exps.weight": (n, width, D),
        "ffn_down_exps.weight": (n, D, width),
    }


def shared_expert(width: int = 96) -> dict[str, Shape]:
    """An expert that every token goes through."""
    return {
        "ffn_gate_shexp.weight": (width, D),
        "ffn_up_shexp.weight": (width, D),
        "ffn_down_shexp.weight": (D, width),
    }


PRE_NORMS = norms("attn_norm", "ffn_norm")
HEAD_NORMS = norms("attn_q_norm", "attn_k_norm", width=C)
LAYER_NORMS = norms("attn_norm", "ffn_norm", bias=True)
SANDWICH = norms("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")

RMS = {"attention.layer_norm_rms_epsilon": 1e-5}
LN = {"attention.layer_norm_epsilon": 1e-5}
BASE = {"rope.freq_base": 10000.0}
TIED: dict[str, Shape] = {}
FINAL_LN = norms("output_norm", bias=True)
MOE = {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 64}

YARN = {
    "rope.scaling.type": "yarn",
    "rope.scaling.factor": 4.0,
    "rope.scaling.original_context_length": 16,
}
GRANITE = {
    "attention.scale": 0.05,
    "embedding_scale": 12.0,
    "residual_scale": 0.22,
    "logit_scale": 4.0,
    "rope.dimension_count": C,
}
HALF_ROPE = {"rope.dimension_count": C // 2}
SECTIONS = {"rope.dimension_sections": (8, 12, 12, 0)}  # of a position in an image; a text's agree
MISTRAL3 = {
    "rope.scaling.yarn_log_multiplier": 0.5,
    "rope.scaling.yarn_beta_fast": 16.0,
    "rope.scaling.yarn_beta_slow": 2.0,
    "attention.temperature_scale": 0.5,
}
GPT_OSS_BLOCK = (
    qkv(bias=True)
    | {"attn_output.bias": (D,), "attn_sinks.weight": (H,)}
    | norms("attn_norm", "post_attention_norm")
    | experts(width=F)
    | {"ffn_gate_inp.bias": (4,), "ffn_gate_exps.bias": (4, F), "ffn_up_exps.bias": (4, F)}
    | {"ffn_down_exps.bias": (4, D)}
)


def head_width(c: int) -> dict[str, int]:
    """Metadata of a head width that is not D / H."""
    return {"attention.key_length": c, "attention.value_length": c, "rope.dimension_count": c}


GPT_OSS = RMS | BASE | MOE | {"expert_feed_forward_length": F, "attention.sliding_window": WINDOW}
GPT_OSS |= head_width(C)

MODELS: dict[str, ArchModel] = {
    "llama": ArchModel("llama", qkv() | PRE_NORMS | glu(), RMS | BASE),
    "llama-biases": ArchModel(  # Granite Code
        "llama",
        qkv(bias=True)
        | PRE_NORMS
        | glu()
        | {"attn_output.bias": (D,), "ffn_gate.bias": (F,), "ffn_up.bias": (F,)}
        | {"ffn_down.bias": (D,)},
        RMS | BASE,
    ),
    "llama3-rope": ArchModel(
        "llama",
        qkv() | PRE_NORMS | glu(),
        RMS | BASE,
        head=TIED,
        final=norms("output_norm") | {"rope_freqs.weight": (C // 2,)},
    ),
    "mixtral": ArchModel("llama", qkv() | PRE_NORMS | experts(width=F), RMS | BASE | MOE),
    "llama-yarn": ArchModel(
        "llama", qkv(c=48) | PRE_NORMS | glu(), RMS | BASE | YARN | head_width(48), c=48
    ),
    "qwen2": ArchModel("qwen2", qkv(bias=True) | PRE_NORMS | glu(), RMS | BASE, head=TIED),
    "qwen2moe": ArchModel(
        "qwen2moe",
        qkv(bias=True)
        | PRE_NORMS
        | experts()
        | {"ffn_gate_inp_shexp.weight": (D,)}
        | shared_expert(),
        RMS | BASE | MOE | {"expert_shared_feed_forward_length": 96},
    ),
    "qwen3": ArchModel(
        "qwen3",
        qkv(c=48) | PRE_NORMS | norms("attn_q_norm", "attn_k_norm", width=48) | glu(),
        RMS | BASE | head_width(48),
        c=48,
    ),
    "qwen3moe": ArchModel(
        "qwen3moe", qkv() | PRE_NORMS | HEAD_NORMS | experts(), RMS | BASE | MOE | head_width(C)
    ),
    "olmoe": ArchModel(
        "olmoe",
        qkv(kv_heads=H) | PRE_NORMS | norms("attn_q_norm", "attn_k_norm") | experts(width=F),
        RMS | BASE | MOE,
        kv_heads=H,
    ),
    "gemma": ArchModel(
        "gemma", qkv(c=80) | PRE_NORMS | glu(), RMS | BASE | head_width(80), head=TIED, c=80
    ),
    "gemma2": ArchModel(
        "gemma2",
        qkv(c=80) | SANDWICH | glu(),
        RMS
        | BASE
        | head_width(80)
        | {
            "attention.sliding_window": WINDOW,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 3.0,
        },
        n_layers=4,
        head=TIED,
        c=80,
    ),
    "gemma3": ArchModel(
        "gemma3",
        qkv(c=80) | SANDWICH | norms("attn_q_norm", "attn_k_norm", width=80) | glu(),
        RMS
        | head_width(80)
        | {
            "rope.freq_base": 100000.0,
            "rope.scaling.type": "linear",
            "rope.scaling.factor": 8.0,
            "attention.sliding_window": WINDOW,
        },
        n_layers=7,
        head=TIED,
        c=80,
    ),
    "phi2": ArchModel(
        "phi2",
        qkv(bias=True) | {"attn_output.bias": (D,)} | norms("attn_norm", bias=True) | mlp(),
        LN | BASE | {"rope.dimension_count": 32},
        head={"output.weight": (V, D), "output.bias": (V,)},
        final=FINAL_LN,
    ),
    "phi3": ArchModel(
        "phi3",
        qkv(fused=True) | PRE_NORMS | {"ffn_up.weight": (2 * F, D), "ffn_down.weight": (D, F)},
        RMS | BASE | {"rope.dimension_count": C},
    ),
    "phi3-longrope": ArchModel(
        "phi3",
        qkv(fused=True) | PRE_NORMS | {"ffn_up.weight": (2 * F, D), "ffn_down.weight": (D, F)},
        RMS
        | BASE
        | {
            "rope.dimension_count": C,
            "rope.scaling.original_context_length": 16,
            "rope.scaling.attn_factor": 1.5**0.5,
        },
        final=norms("output_norm")
        | {f"rope_factors_{n}.weight": (C // 2,) for n in ("long", "short")},
    ),
    "phi3-partial": ArchModel(  # Phi 4 mini, within its short context
        "phi3",
        qkv(fused=True) | PRE_NORMS | {"ffn_up.weight": (2 * F, D), "ffn_down.weight": (D, F)},
        RMS | BASE | {"rope.dimension_count": 48, "rope.scaling.original_context_length": 256},
        head=TIED,
        final=norms("output_norm") | {f"rope_factors_{n}.weight": (24,) for n in ("long", "short")},
    ),
    "gpt2": ArchModel(
        "gpt2",
        qkv(fused=True, bias=True, kv_heads=H) | {"attn_output.bias": (D,)} | LAYER_NORMS | mlp(),
        LN,
        head=TIED,
        final=FINAL_LN | {"position_embd.weight": (N_CTX, D)},
        kv_heads=H,
    ),
    "starcoder2": ArchModel(
        "starcoder2",
        qkv(bias=True) | {"attn_output.bias": (D,)} | LAYER_NORMS | mlp(),
        LN | BASE,
        head=TIED,
        final=FINAL_LN,
    ),
    "stablelm": ArchModel(
        "stablelm",
        qkv(bias=True) | LAYER_NORMS | glu(),
        LN | BASE | {"rope.dimension_count": 16, "use_parallel_residual": False},
        final=FINAL_LN,
    ),
    "stablelm-parallel": ArchModel(
        "stablelm",
        qkv()
        | norms("attn_norm", bias=True)
        | {"attn_q_norm.weight": (H, C), "attn_k_norm.weight": (G, C)}
        | glu(),
        LN | BASE | {"rope.dimension_count": 16, "use_parallel_residual": True},
        final=FINAL_LN,
    ),
    "command-r": ArchModel(
        "command-r",
        qkv() | norms("attn_norm") | glu(),
        LN | BASE | {"logit_scale": 0.0625},
        head=TIED,
    ),
    "command-r-plus": ArchModel(
        "command-r",
        qkv()
        | norms("attn_norm")
        | {"attn_q_norm.weight": (H, C), "attn_k_norm.weight": (G, C)}
        | glu(),
        LN | BASE | {"logit_scale": 0.25},
        head=TIED,
        llama_cpp=False,
    ),
    "cohere2": ArchModel(
        "cohere2",
        qkv() | norms("attn_norm") | glu(),
        LN | BASE | head_width(C) | {"logit_scale": 0.25, "attention.sliding_window": WINDOW},
        n_layers=5,
        head=TIED,
    ),
    "granite": ArchModel(
        "granite",
        qkv() | PRE_NORMS | glu(),
        RMS | BASE | GRANITE,
        head=TIED,
    ),
    "granitemoe": ArchModel(
        "granitemoe", qkv() | PRE_NORMS | experts(width=F), RMS | BASE | MOE | GRANITE, head=TIED
    ),
    "granitemoe-shared": ArchModel(
        "granitemoe",
        qkv() | PRE_NORMS | experts(width=F) | shared_expert(),
        RMS | BASE | MOE | GRANITE | {"expert_shared_feed_forward_length": 96},
        n_layers=2,  # with 3 a token's experts are too near a tie
    ),
    "olmo": ArchModel("olmo", qkv() | glu(), LN | BASE, head=TIED, final={}),
    "olmo2": ArchModel(
        "olmo2",
        qkv()
        | norms("post_attention_norm", "post_ffw_norm", "attn_q_norm")
        | norms("attn_k_norm", width=G * C)
        | glu(),
        RMS | BASE,
    ),
    "olmo3": ArchModel(
        "olmo2",
        qkv()
        | norms("post_attention_norm", "post_ffw_norm", "attn_q_norm")
        | norms("attn_k_norm", width=G * C)
        | glu(),
        RMS | BASE | YARN | {"attention.sliding_window": WINDOW},
        n_layers=5,
    ),
    "smollm3": ArchModel("smollm3", qkv() | PRE_NORMS | glu(), RMS | BASE, n_layers=5, head=TIED),
    "gptneox": ArchModel(
        "gptneox",
        qkv(fused=True, bias=True, kv_heads=H) | {"attn_output.bias": (D,)} | LAYER_NORMS | mlp(),
        LN | BASE | {"rope.dimension_count": 16, "use_parallel_residual": True},
        final=FINAL_LN,
        kv_heads=H,
    ),
    "gptneox-serial": ArchModel(
        "gptneox",
        qkv(fused=True, bias=True, kv_heads=H) | {"attn_output.bias": (D,)} | LAYER_NORMS | mlp(),
        LN | BASE | {"rope.dimension_count": 16, "use_parallel_residual": False},
        final=FINAL_LN,
        kv_heads=H,
    ),
    "falcon-7b": ArchModel(
        "falcon",
        qkv(fused=True, kv_heads=1) | norms("attn_norm", bias=True) | mlp(bias=False),
        LN | BASE,
        final=FINAL_LN,
        head=TIED,
        kv_heads=1,
    ),
    "falcon-40b": ArchModel(
        "falcon",
        qkv(fused=True) | norms("attn_norm", "attn_norm_2", bias=True) | mlp(bias=False),
        LN | BASE,
        final=FINAL_LN,
        head=TIED,
    ),
    "exaone": ArchModel(
        "exaone",
        qkv() | PRE_NORMS | glu(),
        RMS | BASE,
        final=norms("output_norm") | {"rope_freqs.weight": (C // 2,)},
    ),
    "glm4": ArchModel(
        "glm4",
        qkv(bias=True) | SANDWICH | {"ffn_up.weight": (2 * F, D), "ffn_down.weight": (D, F)},
        RMS | BASE | {"rope.dimension_count": 32},
    ),
    "chatglm": ArchModel(
        "chatglm",
        qkv(bias=True) | PRE_NORMS | {"ffn_up.weight": (2 * F, D), "ffn_down.weight": (D, F)},
        RMS | BASE | {"rope.dimension_count": 32},
    ),
    "arcee": ArchModel("arcee", qkv() | PRE_NORMS | mlp(bias=False), RMS | BASE),
    "nemotron": ArchModel(
        "nemotron", qkv() | LAYER_NORMS | mlp(bias=False), LN | BASE | HALF_ROPE, final=FINAL_LN
    ),
    "nemotron-biases": ArchModel(
        "nemotron",
        qkv(bias=True) | {"attn_output.bias": (D,)} | LAYER_NORMS | mlp(),
        LN | BASE | HALF_ROPE,
        final=FINAL_LN,
    ),
    "hunyuan-dense": ArchModel(
        "hunyuan-dense",
        qkv(c=48) | PRE_NORMS | norms("attn_q_norm", "attn_k_norm", width=48) | glu(),
        RMS | BASE | head_width(48),
        head=TIED,
        c=48,
    ),
    "exaone4": ArchModel(  # 1.2B
        "exaone4",
        qkv() | norms("post_attention_norm", "post_ffw_norm") | HEAD_NORMS | glu(),
        RMS | BASE | head_width(C),
        head=TIED,
    ),
    "exaone4-windows": ArchModel(  # 32B
        "exaone4",
        qkv() | norms("post_attention_norm", "post_ffw_norm") | HEAD_NORMS | glu(),
        RMS | BASE | head_width(C) | {"attention.sliding_window": WINDOW},
        n_layers=5,
        llama_cpp=False,
    ),
    "ernie4_5": ArchModel("ernie4_5", qkv() | PRE_NORMS | glu(), RMS | BASE, head=TIED),
    "ernie4_5-moe": ArchModel(
        "ernie4_5-moe",
        qkv() | PRE_NORMS | experts(5) | {"exp_probs_b.bias": (5,)} | shared_expert(128),
        RMS
        | BASE
        | MOE
        | {"expert_count": 5, "expert_shared_count": 2, "expert_shared_feed_forward_length": 128}
        | {"leading_dense_block_count": 0, "interleave_moe_layer_step": 1},
        head=TIED,
    ),
    "internlm2": ArchModel("internlm2", qkv() | PRE_NORMS | glu(), RMS | BASE),
    "minicpm": ArchModel(
        "minicpm", qkv() | PRE_NORMS | glu(), RMS | BASE | {**GRANITE, "attention.scale": C**-0.5}
    ),
    "mistral3": ArchModel(
        "mistral3",
        qkv(c=48) | PRE_NORMS | glu(),
        RMS | BASE | YARN | MISTRAL3 | head_width(48),
        head=TIED,
        c=48,
    ),
    "seed_oss": ArchModel(
        "seed_oss",
        qkv(c=48, bias=True) | norms("attn_norm", "post_attention_norm") | glu(),
        RMS | BASE | head_width(48),
        c=48,
    ),
    "qwen2vl": ArchModel(
        "qwen2vl", qkv(bias=True) | PRE_NORMS | glu(), RMS | BASE | SECTIONS, head=TIED
    ),
    "qwen3vl": ArchModel(
        "qwen3vl",
        qkv() | PRE_NORMS | HEAD_NORMS | glu(),
        RMS | BASE | SECTIONS | head_width(C),
        head=TIED,
    ),
    "qwen3vlmoe": ArchModel(
        "qwen3vlmoe",
        qkv() | PRE_NORMS | HEAD_NORMS | experts(),
        RMS | BASE | MOE | SECTIONS | head_width(C),
    ),
    "gpt-oss": ArchModel("gpt-oss", GPT_OSS_BLOCK, GPT_OSS | {"expert_used_count": 4}),
    "gpt-oss-yarn": ArchModel("gpt-oss", GPT_OSS_BLOCK, GPT_OSS | YARN, llama_cpp=False),
}
