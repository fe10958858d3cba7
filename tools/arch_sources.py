"""What transformers calls the models of arch_models.py, and how it stores their tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from arch_model import N_CTX, WINDOW, C, D, F, G, H, V

Transform = Callable[[str, np.ndarray], np.ndarray]


def unpermute(name: str, w: np.ndarray) -> np.ndarray:
    """GGUF interleaves the halves of Llama's rotary heads; transformers keeps them apart."""
    if ".attn_q." not in name and ".attn_k." not in name:
        return w
    n_heads = H if ".attn_q." in name else G
    return w.reshape(n_heads, len(w) // n_heads // 2, 2, -1).swapaxes(1, 2).reshape(w.shape)


def unshift(name: str, w: np.ndarray) -> np.ndarray:
    """GGUF adds the 1 to Gemma's norms."""
    return w - 1 if "norm" in name and name.endswith(".weight") else w


def conv1d(name: str, w: np.ndarray) -> np.ndarray:
    """GPT-2's linear layers are stored transposed."""
    return w.T if w.ndim == 2 and "embd" not in name else w


def interleave_neox(name: str, w: np.ndarray) -> np.ndarray:
    """GPT-NeoX stores Q, K and V head by head."""
    if "attn_qkv" not in name:
        return w
    return w.reshape(3, H, C, -1).swapaxes(0, 1).reshape(w.shape)


def group_falcon(name: str, w: np.ndarray) -> np.ndarray:
    """Falcon 40B stores each key/value head after the queries that share it."""
    if "attn_qkv" not in name:
        return w
    q, k, v = np.split(w.reshape(-1, C, D), [H, H + G])
    parts = [q.reshape(G, H // G, C, D), k[:, None], v[:, None]]
    return np.concatenate(parts, axis=1).reshape(w.shape)


def same(name: str, w: np.ndarray) -> np.ndarray:
    """Stored alike."""
    return w


ROPE = {"rope_type": "default", "rope_theta": 10000.0}
COMMON = {
    "hidden_size": D,
    "intermediate_size": F,
    "num_attention_heads": H,
    "num_key_value_heads": G,
    "vocab_size": V,
    "max_position_embeddings": N_CTX,
    "rms_norm_eps": 1e-5,
    "rope_parameters": ROPE,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
}
GRANITE = {
    "attention_multiplier": 0.05,
    "embedding_multiplier": 12.0,
    "residual_multiplier": 0.22,
    "logits_scaling": 4.0,
}
GRANITE_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
WINDOWED = ["sliding_attention", "full_attention"]
IMAGES = {"rope_parameters": {**ROPE, "mrope_section": [8, 12, 12]}}
GPT_OSS = {
    "head_dim": C,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "sliding_window": WINDOW,
    "layer_types": [WINDOWED[0], WINDOWED[1], WINDOWED[0]],
}


def partial(factor: float) -> dict[str, Any]:
    """RoPE over a part of each head."""
    return {"rope_parameters": {**ROPE, "partial_rotary_factor": factor}}


# Test model -> transformers' model type, its configuration, how its tensors are stored.
SOURCES: dict[str, tuple[str, dict[str, Any], Transform]] = {
    "llama": ("llama", {"head_dim": C}, unpermute),
    "llama-biases": (
        "llama",
        {"head_dim": C, "attention_bias": True, "mlp_bias": True},
        unpermute,
    ),
    "llama3-rope": ("llama", {"head_dim": C, "tie_word_embeddings": True}, unpermute),
    "mixtral": ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}, unpermute),
    "llama-yarn": ("llama", {"head_dim": 48, "rope_parameters": YARN}, unpermute),
    "qwen2": ("qwen2", {"tie_word_embeddings": True}, same),
    "qwen2moe": (
        "qwen2_moe",
        {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 64,
            "shared_expert_intermediate_size": 96,
            "norm_topk_prob": False,
        },
        same,
    ),
    "qwen3": ("qwen3", {"head_dim": 48}, same),
    "qwen3moe": (
        "qwen3_moe",
        {
            "head_dim": C,
            "num_experts": 4,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 64,
            "norm_topk_prob": True,
        },
        same,
    ),
    "olmoe": (
        "olmoe",
        {"num_key_value_heads": H, "num_experts": 4, "num_experts_per_tok": 2},
        same,
    ),
    "gemma": ("gemma", {"head_dim": 80}, unshift),
    "gemma2": (
        "gemma2",
        {
            "head_dim": 80,
            "query_pre_attn_scalar": 80,
            "sliding_window": WINDOW,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 3.0,
            "layer_types": (WINDOWED * 2),
        },
        unshift,
    ),
    "gemma3": (
        "gemma3_text",
        {
            "head_dim": 80,
            "query_pre_attn_scalar": 80,
            "sliding_window": WINDOW,
            "layer_types": [WINDOWED[0]] * 5 + [WINDOWED[1]] + [WINDOWED[0]],
            "rope_parameters": {
                "sliding_attention": ROPE,
                "full_attention": {"rope_type": "linear", "rope_theta": 1e5, "factor": 8.0},
            },
        },
        unshift,
    ),
    "phi2": ("phi", {"num_key_value_heads": G, **partial(0.5)}, same),
    "phi3": ("phi3", {"original_max_position_embeddings": N_CTX, **partial(1.0)}, same),
    "phi3-longrope": (
        "phi3",
        {
            "original_max_position_embeddings": 16,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "original_max_position_embeddings": 16,
                "partial_rotary_factor": 1.0,
                "long_factor": np.linspace(1, 8, C // 2).tolist(),
                "short_factor": np.linspace(1, 4, C // 2).tolist(),
            },
        },
        same,
    ),
    "phi3-partial": (
        "phi3",
        {
            "tie_word_embeddings": True,
            "original_max_position_embeddings": 256,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "original_max_position_embeddings": 256,
                "partial_rotary_factor": 0.75,
                "long_factor": np.linspace(1, 8, 24).tolist(),
                "short_factor": np.linspace(1, 4, 24).tolist(),
            },
        },
        same,
    ),
    "gpt2": ("gpt2", {"n_embd": D, "n_head": H, "n_inner": F, "n_positions": N_CTX}, conv1d),
    "starcoder2": ("starcoder2", {"use_bias": True, "sliding_window": None}, same),
    "stablelm": ("stablelm", {"use_qkv_bias": True, **partial(0.25)}, same),
    "stablelm-parallel": (
        "stablelm",
        {"use_parallel_residual": True, "qk_layernorm": True, **partial(0.25)},
        same,
    ),
    "command-r": ("cohere", {"logit_scale": 0.0625}, same),
    "command-r-plus": ("cohere", {"logit_scale": 0.25, "use_qk_norm": True}, same),
    "cohere2": (
        "cohere2",
        {
            "head_dim": C,
            "logit_scale": 0.25,
            "sliding_window": WINDOW,
            "layer_types": [WINDOWED[0]] * 3 + [WINDOWED[1]] + [WINDOWED[0]],
        },
        same,
    ),
    "granite": ("granite", {**GRANITE, "tie_word_embeddings": True}, unpermute),
    "granitemoe": (
        "granitemoe",
        {**GRANITE, **GRANITE_EXPERTS, "tie_word_embeddings": True},
        unpermute,
    ),
    "granitemoe-shared": (
        "granitemoeshared",
        {**GRANITE, **GRANITE_EXPERTS, "shared_intermediate_size": 96},
        unpermute,
    ),
    "olmo": ("olmo", {"tie_word_embeddings": True}, unpermute),
    "olmo2": ("olmo2", {}, same),
    "olmo3": (
        "olmo3",
        {
            "sliding_window": WINDOW,
            "rope_parameters": {"sliding_attention": ROPE, "full_attention": YARN},
        },
        same,
    ),
    "smollm3": (
        "smollm3",
        {"no_rope_layers": [1, 1, 1, 0, 1], "tie_word_embeddings": True},
        unpermute,
    ),
    "gptneox": ("gpt_neox", {"use_parallel_residual": True, **partial(0.25)}, interleave_neox),
    "gptneox-serial": (
        "gpt_neox",
        {"use_parallel_residual": False, **partial(0.25)},
        interleave_neox,
    ),
    "falcon-7b": ("falcon", {"ffn_hidden_size": F, "multi_query": True}, same),
    "falcon-40b": (
        "falcon",
        {"ffn_hidden_size": F, "new_decoder_architecture": True, "num_kv_heads": G},
        group_falcon,
    ),
    "exaone": ("llama", {"head_dim": C}, same),
    "glm4": ("glm4", {"head_dim": C, "attention_bias": True, **partial(0.5)}, same),
    "gpt-oss": (  # all experts, of which the quantized ones would be near ties
        "gpt_oss",
        {**GPT_OSS, "num_experts_per_tok": 4, "rope_parameters": ROPE},
        same,
    ),
    "gpt-oss-yarn": (
        "gpt_oss",
        {**GPT_OSS, "rope_parameters": {**YARN, "truncate": False}},
        same,
    ),
    "chatglm": ("glm", {"head_dim": C, "attention_bias": True, **partial(0.5)}, same),
    "arcee": ("arcee", {"head_dim": C}, unpermute),
    "nemotron": ("nemotron", {"head_dim": C, **partial(0.5)}, unshift),
    "nemotron-biases": (
        "nemotron",
        {"head_dim": C, "attention_bias": True, "mlp_bias": True, **partial(0.5)},
        unshift,
    ),
    "hunyuan-dense": ("hunyuan_v1_dense", {"head_dim": 48}, same),
    "exaone4": (
        "exaone4",
        {"head_dim": C, "sliding_window": None, "layer_types": [WINDOWED[1]] * 3},
        same,
    ),
    "exaone4-windows": (
        "exaone4",
        {
            "head_dim": C,
            "sliding_window": WINDOW,
            "layer_types": [WINDOWED[0]] * 3 + [WINDOWED[1]] + [WINDOWED[0]],
        },
        same,
    ),
    "ernie4_5": ("ernie4_5", {"head_dim": C, "tie_word_embeddings": True}, same),
    "ernie4_5-moe": (
        "ernie4_5_moe",
        {
            "head_dim": C,
            "moe_num_experts": 5,
            "moe_k": 2,
            "moe_intermediate_size": 64,
            "moe_num_shared_experts": 2,
            "moe_layer_start_index": 0,
            "tie_word_embeddings": True,
        },
        same,
    ),
    "internlm2": ("llama", {"head_dim": C}, unpermute),
    "minicpm": ("granite", {**GRANITE, "attention_multiplier": C**-0.5}, unpermute),
    "mistral3": (
        "ministral3",
        {
            "head_dim": 48,
            "sliding_window": None,
            "rope_parameters": {
                **YARN,
                "beta_fast": 16.0,
                "beta_slow": 2.0,
                "mscale": 1.0,
                "mscale_all_dim": 0.5,
                "llama_4_scaling_beta": 0.5,
            },
        },
        unpermute,
    ),
    "seed_oss": ("seed_oss", {"head_dim": 48, "attention_out_bias": False}, same),
    "qwen2vl": ("qwen2_5_vl_text", IMAGES, same),
    "qwen3vl": ("qwen3_vl_text", {"head_dim": C, **IMAGES}, same),
    "qwen3vlmoe": (
        "qwen3_vl_moe_text",
        {
            "head_dim": C,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 64,
            **IMAGES,
        },
        same,
    ),
}
