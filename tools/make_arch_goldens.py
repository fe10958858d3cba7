"""Writes tests/golden/arch/*.npz: logits of each tiny model by transformers, checked by llama.cpp.

Needs torch, transformers, gguf and cyllama, so it is run by hand, never by CI:

    python -m venv goldens && goldens/bin/pip install torch transformers gguf
    goldens/bin/pip install --no-deps cyllama
    PYTHONPATH=tests/support goldens/bin/python tools/make_arch_goldens.py [NAME ...]

For every model of tests/support/arch_models.py it holds
  logits          (T, V) float32, transformers' own class in float32 with the same weights
  llama_cpp_rms   how far llama.cpp is from them on the float32 file, as rms error / rms
and for each of the files that llama.cpp's quantizer makes of it, Q8_0, Q4_K_M and Q3_K_M
  types           (3, n_tensors) the type of each tensor, in the order of ArchModel.tensors()
  sha256          (3,) of the tensors' bytes, in that order
  quantized       (3, T, V) float16, transformers' logits with the dequantized weights
  quantized_rms   (3,) how far llama.cpp is from those, as rms error / rms
A model that llama.cpp cannot load so small, or runs otherwise, has logits only.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cyllama.llama.llama_cpp as llama_cpp
import gguf
import numpy as np
import torch
import transformers
from arch_sources import COMMON, SOURCES

from arch_model import N_CTX, TOKENS, ArchModel, D, V, relative_rms
from arch_models import MODELS

GOLDEN = Path(__file__).parent.parent / "tests" / "golden" / "arch"
FTYPES = {"q8_0": 7, "q4_k_m": 15, "q3_k_m": 12}

Tensors = dict[str, np.ndarray]


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
    hf = causal_model(config).float().eval()
    names = name_map(kind, model)
    state, unused = {}, set(tensors)
    for key, parameter in hf.state_dict().items():
        sources = gguf_names(key, names, tensors)
        unused -= set(sources)
        state[key] = joined(kind, key, [transform(s, tensors[s]) for s in sources], parameter)
    unused = {u for u in unused if not u.startswith("rope_")}
    assert not unused, f"{name}: transformers has no place for {sorted(unused)}"
    hf.load_state_dict(state, strict=True)
    if "rope_freqs.weight" in tensors:
        factors = torch.tensor(tensors["rope_freqs.weight"])
        hf.model.rotary_emb.inv_freq /= factors
    return hf


class TextModel(torch.nn.Module):
    """The decoder of a model of images and text, under the head that it shares with its tokens."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.model = transformers.AutoModel.from_config(config)
        self.lm_head = torch.nn.Linear(D, V, bias=False)

    def forward(self, ids: torch.Tensor) -> Any:
        """An object with (1, T, V) logits."""
        return SimpleNamespace(logits=self.lm_head(self.model(ids).last_hidden_state))


def causal_model(config: Any) -> Any:
    """transformers' class with a head for the next token."""
    if type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        return transformers.AutoModelForCausalLM.from_config(config)
    return TextModel(config)


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
    others = {
        "mlp.shared_experts.gate_proj.weight": ("ffn_gate_shexp.weight",),
        "mlp.shared_experts.up_proj.weight": ("ffn_up_shexp.weight",),
        "mlp.shared_experts.down_proj.weight": ("ffn_down_shexp.weight",),
        "moe_statics.e_score_correction_bias": ("exp_probs_b.bias",),
        "self_attn.sinks": ("attn_sinks.weight",),
        "mlp.router.weight": ("ffn_gate_inp.weight",),
        "mlp.router.bias": ("ffn_gate_inp.bias",),
        "mlp.experts.gate_up_proj_bias": ("ffn_gate_exps.bias", "ffn_up_exps.bias"),
        "mlp.experts.down_proj_bias": ("ffn_down_exps.bias",),
    }
    for part, ours in others.items():
        if key.endswith(part):
            return [f"blk.{key.split('.')[2]}.{name}" for name in ours]
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


def joined(kind: str, key: str, parts: list[np.ndarray], parameter: Any) -> Any:
    """Our tensors as transformers' parameter."""
    if ".norms." in key:  # StableLM keeps one norm a head
        parts = [parts[0][int(key.split(".norms.")[1].split(".")[0])]]
    if kind == "gpt_oss" and "mlp.experts" in key:  # transposed, gate and up in turns
        turned = [p.swapaxes(1, 2) if p.ndim == 3 else p for p in parts]
        array = np.stack(turned, axis=-1)
    else:
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


def start_llama_cpp() -> None:
    """Silent, and on one thread beside one of torch's."""
    torch.set_num_threads(1)
    llama_cpp.disable_logging()
    llama_cpp.llama_backend_init()
    llama_cpp.ggml_backend_load_all()


def main(wanted: list[str]) -> None:
    """Make the goldens of the named models, of all by default."""
    start_llama_cpp()
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
