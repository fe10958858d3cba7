"""Two engines that are not ours: llama.cpp (cyllama) and transformers on dequantized weights.

Nothing here imports edgelm. Needs, in an environment of its own:

    pip install numpy gguf torch==2.13.0 transformers==5.23.0
    pip install --no-deps cyllama==0.2.18
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cyllama.llama.llama_cpp as llama_cpp
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Source = tuple[str, dict[str, Any], Callable[[str, Floats], Floats]]
_N_THREADS = 1  # more of them only wait for each other on a busy machine
# llama.cpp's file types (LLAMA_FTYPE_*) by the name that its quantizer prints.
FILE_TYPES = {"f32": 0, "f16": 1, "q8_0": 7, "q3_k_m": 12, "q4_k_m": 15}


class _Model(llama_cpp.LlamaModel):
    @property
    def n_vocab(self) -> int:  # cyllama's get_logits_ith asks the model for it
        return int(self.get_vocab().n_vocab)


class LlamaCpp:
    """llama.cpp on the CPU, with its defaults."""

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
        context.n_threads = context.n_threads_batch = _N_THREADS
        self._context = llama_cpp.LlamaContext(model=self._model, params=context)
        self._batch = llama_cpp.LlamaBatch(n_tokens=n_ctx, embd=0, n_seq_max=1)
        self._length = 0

    def tokenize(
        self, text: str, *, add_special: bool = False, parse_special: bool = False
    ) -> list[int]:
        """Token ids, with BOS if it is asked for and the file adds one."""
        return list(self._vocab.tokenize(text, add_special, parse_special))

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
    """(T, V) float32 logits of transformers' own class on the file's dequantized weights."""
    import torch
    from gguf import MODEL_ARCH_NAMES, GGUFReader, dequantize, get_tensor_name_map
    from transformers import AutoConfig, AutoModelForCausalLM

    reader = GGUFReader(path)
    tensors = {t.name: dequantize(t.data, t.tensor_type) for t in reader.tensors}
    architecture = reader.fields["general.architecture"].contents()

    def meta(key: str) -> Any:
        return reader.fields[f"{architecture}.{key}"].contents()

    kind, settings, restore = _SOURCES[architecture](meta)
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(tensors["token_embd.weight"]),
        hidden_size=meta("embedding_length"),
        intermediate_size=meta("feed_forward_length"),
        num_hidden_layers=meta("block_count"),
        num_attention_heads=meta("attention.head_count"),
        num_key_value_heads=meta("attention.head_count_kv"),
        rms_norm_eps=meta("attention.layer_norm_rms_epsilon"),
        max_position_embeddings=meta("context_length"),
        tie_word_embeddings="output.weight" not in tensors,
        **settings,
    )
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config).float().eval()
    (arch,) = (a for a, name in MODEL_ARCH_NAMES.items() if name == architecture)
    names = get_tensor_name_map(arch, meta("block_count"))
    state, unused = {}, set(tensors)
    for key in model.state_dict():
        name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if name == "output.weight" and name not in tensors:
            name = "token_embd.weight"
        state[key] = torch.from_numpy(restore(name, tensors[name]))
        unused.discard(name)
    assert not unused, f"transformers has no place for {sorted(unused)}"
    model.load_state_dict(state, strict=True)
    with torch.inference_mode():
        logits: Floats = model(torch.tensor([list(ids)])).logits[0].numpy()
    return logits


def _llama(meta: Callable[[str], Any]) -> Source:
    def unpermute(name: str, w: Floats) -> Floats:
        """Undo llama.cpp's order of rows: it rotates neighbours, transformers halves of a head."""
        if ".attn_q." not in name and ".attn_k." not in name:
            return w
        n = meta("attention.head_count" if ".attn_q." in name else "attention.head_count_kv")
        return w.reshape(n, -1, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)

    rope = {"rope_type": "default", "rope_theta": meta("rope.freq_base")}
    return "llama", {"rope_parameters": rope}, unpermute


def _gemma3(meta: Callable[[str], Any]) -> Source:
    def unshift(name: str, w: Floats) -> Floats:
        """GGUF adds the 1 to Gemma's norms."""
        return w - 1 if "norm" in name else w

    layers = range(1, meta("block_count") + 1)
    settings = {
        "head_dim": meta("attention.key_length"),
        "query_pre_attn_scalar": meta("attention.key_length"),
        "sliding_window": meta("attention.sliding_window"),
        "layer_types": ["sliding_attention" if i % 6 else "full_attention" for i in layers],
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            "full_attention": {"rope_type": "default", "rope_theta": meta("rope.freq_base")},
        },
    }
    return "gemma3_text", settings, unshift


# GGUF's architecture -> transformers' model type, its settings, how its tensors are stored.
_SOURCES: dict[str, Callable[[Callable[[str], Any]], Source]] = {"llama": _llama, "gemma3": _gemma3}


def log_softmax(logits: Floats) -> NDArray[np.float64]:
    """Log-probabilities in nats over the last axis, in float64."""
    x = logits.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def kl(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """KL(p || q) in nats per row, over the whole vocabulary; both are log-probabilities."""
    return (np.exp(p) * (p - q)).sum(-1)
