"""Writes tests/golden/arch/*.npz: logits of each tiny model by transformers, checked by llama.cpp.

Needs torch, transformers, gguf and cyllama, so it is run by hand, never by CI:

    python -m venv goldens && goldens/bin/pip install torch transformers gguf
    goldens/bin/pip install --no-deps cyllama
    PYTHONPATH=tests goldens/bin/python tools/make_arch_goldens.py [NAME ...]

For every model of tests/arch_models.py it holds
  logits          (T, V) float32, transformers' own class in float32 with the same weights
  llama_cpp_rms   how far llama.cpp is from them on the float32 file, as rms error / rms
and for each of the files that llama.cpp's quantizer makes of it, Q8_0, Q4_K_M and Q3_K_M
  types           (3, n_tensors) the type of each tensor, in the order of ArchModel.tensors()
  sha256          (3,) of the tensors' bytes, in that order
  quantized       (3, T, V) float16, transformers' logits with the dequantized weights
  quantized_rms   (3,) how far llama.cpp is from those, as rms error / rms
A model that llama.cpp cannot load so small has logits only.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cyllama.llama.llama_cpp as llama_cpp
import gguf
import numpy as np
import torch
import transformers

from arch_models import MODELS, N_CTX, TOKENS, WINDOW, ArchModel, C, D, F, G, H, V, relative_rms

GOLDEN = Path(__file__).parent.parent / "tests" / "golden" / "arch"
FTYPES = {"q8_0": 7, "q4_k_m": 15, "q3_k_m": 12}

Tensors = dict[str, np.ndarray]
Transform = Callable[[str, np.ndarray], np.ndarray]


def unpermute(name: str, w: np.ndarray) -> np.ndarray:
    """GGUF interleaves the halves of Llama's rotary heads; transformers keeps them apart."""
    if ".attn_q." not in name and ".attn_k." not in name:
        return w
    n_heads = H if ".attn_q." in name else G
    return w.reshape(n_heads, len(w) // n_heads // 2, 2, -1).swapaxes(1, 2).reshape(w.shape)


def unshift(name: str, w: np.ndarray) -> np.ndarray:
    """GGUF adds the 1 to Gemma's norms."""
    return w - 1 if "norm" in name else w


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
}


def transformers_logits(name: str, model: ArchModel, tensors: Tensors) -> np.ndarray:
    """(T, V) float32 logits."""
    with torch.no_grad():
        ids = torch.from_numpy(TOKENS.astype(np.int64))[None]
        return hf_model(name, model, tensors)(ids).logits[0].float().numpy()


def hf_model(name: str, model: ArchModel, tensors: Tensors) -> Any:
    """transformers' own class with these weights, in float32."""
    kind, changes, transform = SOURCES[name]
    layers = {"n_layer": model.n_layers} if kind == "gpt2" else {}
    settings = {**COMMON, "num_hidden_layers": model.n_layers, **layers, **changes}
    settings["layer_norm_eps"] = settings["layer_norm_epsilon"] = settings["norm_epsilon"] = 1e-5
    config = transformers.AutoConfig.for_model(kind, **settings)
    config._attn_implementation = "eager"
    hf = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    names = name_map(kind, model)
    state, unused = {}, set(tensors)
    for key, parameter in hf.state_dict().items():
        sources = gguf_names(key, names, tensors)
        unused -= set(sources)
        state[key] = joined(key, [transform(s, tensors[s]) for s in sources], parameter)
    unused = {u for u in unused if not u.startswith("rope_")}
    assert not unused, f"{name}: transformers has no place for {sorted(unused)}"
    hf.load_state_dict(state, strict=True)
    if "rope_freqs.weight" in tensors:
        factors = torch.tensor(tensors["rope_freqs.weight"])
        hf.model.rotary_emb.inv_freq /= factors
    return hf


def name_map(kind: str, model: ArchModel) -> gguf.TensorNameMap:
    """gguf's own table of transformers' tensor names."""
    names = {v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}
    arch = "llama" if kind == "llama" else model.architecture
    return gguf.get_tensor_name_map(names[arch], model.n_layers)


def gguf_names(key: str, names: gguf.TensorNameMap, tensors: Tensors) -> list[str]:
    """Which of our tensors make up one of transformers'."""
    granite = {
        "block_sparse_moe.router": ("ffn_gate_inp",),
        "block_sparse_moe.experts.gate_up_proj": ("ffn_gate_exps", "ffn_up_exps"),
        "block_sparse_moe.experts.down_proj": ("ffn_down_exps",),
        "shared_mlp.input_linear": ("ffn_gate_shexp", "ffn_up_shexp"),
        "shared_mlp.output_linear": ("ffn_down_shexp",),
    }
    for part, ours in granite.items():
        if part in key:
            return [f"blk.{key.split('.')[2]}.{name}.weight" for name in ours]
    if key.endswith("mlp.experts.gate_up_proj"):
        block = f"blk.{key.split('.')[2]}."
        return [block + "ffn_gate_exps.weight", block + "ffn_up_exps.weight"]
    if key.endswith("mlp.experts.down_proj"):
        return [f"blk.{key.split('.')[2]}.ffn_down_exps.weight"]
    if key.endswith("mlp.gate.weight"):
        return [f"blk.{key.split('.')[2]}.ffn_gate_inp.weight"]
    for part, ours in (("q_layernorm.norms", "attn_q_norm"), ("k_layernorm.norms", "attn_k_norm")):
        if part in key:
            return [f"blk.{key.split('.')[2]}.{ours}.weight"]
    found = names.get_name(key, try_suffixes=(".weight", ".bias"))
    if key == "lm_head.weight" and found not in tensors:
        found = "token_embd.weight"
    assert found in tensors, f"no tensor for {key}: {found}"
    return [found]


def joined(key: str, parts: list[np.ndarray], parameter: Any) -> Any:
    """Our tensors as transformers' parameter."""
    if ".norms." in key:  # StableLM keeps one norm a head
        parts = [parts[0][int(key.split(".norms.")[1].split(".")[0])]]
    array = np.concatenate(parts, axis=-2) if len(parts) > 1 else parts[0]
    return torch.tensor(array).reshape(parameter.shape)


class RawModel(llama_cpp.LlamaModel):
    """cyllama's logits want the vocabulary's size on the model."""

    @property
    def n_vocab(self) -> int:
        """V."""
        return self.get_vocab().n_vocab


def llama_cpp_logits(path: Path) -> np.ndarray:
    """(T, V) logits of one prompt by llama.cpp, one token at a time."""
    model_params = llama_cpp.LlamaModelParams()
    model_params.n_gpu_layers = 0
    model = RawModel(path_model=str(path), params=model_params)
    params = llama_cpp.LlamaContextParams()
    params.n_ctx = N_CTX
    params.n_threads = params.n_threads_batch = 1
    context = llama_cpp.LlamaContext(model=model, params=params)
    rows = []
    for position, token in enumerate(TOKENS):
        batch = llama_cpp.LlamaBatch(n_tokens=1, embd=0, n_seq_max=1)
        batch.set_batch([int(token)], position, False)
        context.decode(batch)
        rows.append(np.array(context.get_logits_ith(-1), np.float32))
    return np.stack(rows)


def quantized(name: str, model: ArchModel, source: Path, ftype: int) -> dict[str, Any]:
    """llama.cpp's file of that type, what transformers makes of its weights, llama.cpp's error."""
    path = source.with_name("quantized.gguf")
    params = llama_cpp.LlamaModelQuantizeParams()
    params.ftype, params.nthread = ftype, 1
    llama_cpp.model_quantize(str(source), str(path), params)
    found = {t.name: t for t in gguf.GGUFReader(path).tensors}
    stored = [found[n] for n in model.shapes()]
    assert len(stored) == len(found)
    tensors = {t.name: gguf.dequantize(t.data, t.tensor_type) for t in stored}
    logits = transformers_logits(name, model, tensors)
    return {
        "types": np.array([t.tensor_type for t in stored], np.uint8),
        "sha256": hashlib.sha256(b"".join(t.data.tobytes() for t in stored)).hexdigest(),
        "quantized": logits.astype(np.float16),
        "quantized_rms": relative_rms(llama_cpp_logits(path), logits),
    }


def main(wanted: list[str]) -> None:
    """Make the goldens of the named models, of all by default."""
    torch.set_num_threads(1)
    llama_cpp.disable_logging()
    llama_cpp.llama_backend_init()
    llama_cpp.ggml_backend_load_all()
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name in wanted or MODELS:
        model = MODELS[name]
        logits = transformers_logits(name, model, model.tensors())
        if not model.llama_cpp:
            np.savez_compressed(GOLDEN / f"{name}.npz", logits=logits, llama_cpp_rms=0.0)
            print(f"{name:18} by transformers only", flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = model.write(Path(folder) / "f32.gguf")
            own = relative_rms(llama_cpp_logits(path), logits)
            rows = [quantized(name, model, path, ftype) for ftype in FTYPES.values()]
        made = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
        np.savez_compressed(GOLDEN / f"{name}.npz", logits=logits, llama_cpp_rms=own, **made)
        shown = ", ".join(
            f"{k} {e:.2e}" for k, e in zip(FTYPES, made["quantized_rms"], strict=True)
        )
        print(f"{name:18} llama.cpp F32 {own:.2e}; {shown}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
