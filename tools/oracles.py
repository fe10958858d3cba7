"""Two engines that are not ours: llama.cpp (cyllama) and transformers on dequantized weights.

Nothing here imports edgelm. Needs, in an environment of its own:

    pip install numpy gguf torch==2.13.0 transformers==5.23.0
    pip install --no-deps cyllama==0.2.18
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cyllama.llama.llama_cpp as llama_cpp
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
# llama.cpp's file types (LLAMA_FTYPE_*) by the name that its quantizer prints.
FILE_TYPES = {"f32": 0, "f16": 1, "q8_0": 7, "q3_k_m": 12, "q4_k_m": 15}


class _Model(llama_cpp.LlamaModel):
    @property
    def n_vocab(self) -> int:  # cyllama's get_logits_ith asks the model for it
        return int(self.get_vocab().n_vocab)


class LlamaCpp:
    """llama.cpp on the CPU, two threads, no BOS added, otherwise its defaults."""

    def __init__(self, path: Path, *, n_ctx: int) -> None:
        llama_cpp.disable_logging()
        llama_cpp.llama_backend_init()
        llama_cpp.ggml_backend_load_all()
        model = llama_cpp.LlamaModelParams()
        model.n_gpu_layers = 0
        self._model = _Model(path_model=str(path), params=model)
        self._vocab = self._model.get_vocab()
        context = llama_cpp.LlamaContextParams()
        context.n_ctx = context.n_batch = n_ctx
        context.n_threads = context.n_threads_batch = 2
        self._context = llama_cpp.LlamaContext(model=self._model, params=context)
        self._batch = llama_cpp.LlamaBatch(n_tokens=n_ctx, embd=0, n_seq_max=1)
        self._length = 0

    def tokenize(self, text: str, *, parse_special: bool = False) -> list[int]:
        """Token ids, without BOS."""
        return list(self._vocab.tokenize(text, False, parse_special))

    def logits(self, ids: Sequence[int]) -> Floats:
        """(T, V) logits of a whole text in one batch, on an empty cache."""
        self.clear()
        self._decode(ids, all_rows=True)
        rows = [np.asarray(self._context.get_logits_ith(i), np.float32) for i in range(len(ids))]
        return np.stack(rows)

    def extend(self, ids: Sequence[int]) -> Floats:
        """(V,) logits after appending ids to what the cache holds."""
        self._decode(ids, all_rows=False)
        return np.asarray(self._context.get_logits_ith(-1), np.float32)

    def ends(self, token: int) -> bool:
        """Whether the token ends a generation."""
        return bool(self._vocab.is_eog(token))

    def clear(self) -> None:
        """Empty the cache."""
        self._context.kv_cache_clear()
        self._length = 0

    def _decode(self, ids: Sequence[int], *, all_rows: bool) -> None:
        self._batch.reset()
        self._batch.set_batch(list(ids), self._length, all_rows)
        self._context.decode(self._batch)
        self._length += len(ids)


def quantize(source: Path, target: Path, file_type: str) -> None:
    """llama.cpp's quantizer; the result appears whole or not at all."""
    params = llama_cpp.LlamaModelQuantizeParams()
    params.ftype = FILE_TYPES[file_type]
    params.nthread = os.cpu_count() or 1
    params.allow_requantize = True
    partial = target.with_suffix(".partial")
    llama_cpp.model_quantize(str(source), str(partial), params)
    partial.rename(target)


def transformers_logits(path: Path, ids: Sequence[int]) -> Floats:
    """(T, V) float32 logits of transformers' LlamaForCausalLM on the file's dequantized weights."""
    import torch
    from gguf import GGUFReader, dequantize
    from transformers import LlamaConfig, LlamaForCausalLM

    reader = GGUFReader(path)
    tensors = {t.name: dequantize(t.data, t.tensor_type) for t in reader.tensors}

    def meta(key: str) -> Any:
        return reader.fields[f"llama.{key}"].contents()

    heads, kv_heads = meta("attention.head_count"), meta("attention.head_count_kv")
    config = LlamaConfig(
        vocab_size=len(tensors["token_embd.weight"]),
        hidden_size=meta("embedding_length"),
        intermediate_size=meta("feed_forward_length"),
        num_hidden_layers=meta("block_count"),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        rms_norm_eps=meta("attention.layer_norm_rms_epsilon"),
        max_position_embeddings=meta("context_length"),
        rope_theta=meta("rope.freq_base"),
        tie_word_embeddings="output.weight" not in tensors,
        attn_implementation="eager",
    )

    def unpermute(w: Floats, n: int) -> Floats:
        """Undo llama.cpp's order of rows: it rotates neighbours, transformers halves of a head."""
        return w.reshape(n, -1, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)

    state = {
        "model.embed_tokens.weight": tensors["token_embd.weight"],
        "model.norm.weight": tensors["output_norm.weight"],
        "lm_head.weight": tensors.get("output.weight", tensors["token_embd.weight"]),
    }
    names = {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    for layer in range(config.num_hidden_layers):
        for ours, theirs in names.items():
            w = tensors[f"blk.{layer}.{ours}.weight"]
            if ours == "attn_q":
                w = unpermute(w, heads)
            elif ours == "attn_k":
                w = unpermute(w, kv_heads)
            state[f"model.layers.{layer}.{theirs}.weight"] = w
    model = LlamaForCausalLM(config).float().eval()
    loaded = model.load_state_dict({k: torch.tensor(v) for k, v in state.items()}, strict=True)
    assert not loaded.missing_keys
    with torch.inference_mode():
        logits: Floats = model(torch.tensor([list(ids)])).logits[0].numpy()
    return logits


def log_softmax(logits: Floats) -> NDArray[np.float64]:
    """Log-probabilities in nats over the last axis, in float64."""
    x = logits.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def kl(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """KL(p || q) in nats per row, over the whole vocabulary; both are log-probabilities."""
    return (np.exp(p) * (p - q)).sum(-1)
