"""Tiny random models, written with the gguf package: odd sizes, every branch, loaded in no time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def byte_symbols() -> list[str]:
    """GPT-2's printable stand-in for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols, extra = [], 0
    for byte in range(256):
        if byte in printable:
            symbols.append(chr(byte))
        else:
            symbols.append(chr(256 + extra))
            extra += 1
    return symbols


@dataclass
class TinyLlama:
    """A llama of a few thousand weights. `quant` is a type that `gguf.quants` can write."""

    n_layers: int = 3
    width: int = 64
    n_heads: int = 4
    n_kv_heads: int = 2
    ff_width: int = 96
    n_ctx: int = 256
    quant: str = "F32"
    tied: bool = False
    seed: int = 7
    metadata: Mapping[str, Any] = field(default_factory=dict)
    quants: Mapping[str, str] = field(default_factory=dict)  # of tensors whose name has the key

    @property
    def tokens(self) -> list[str]:
        """256 bytes, one merge, the special tokens."""
        return [*byte_symbols(), "Ġt", *SPECIALS]

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Every tensor as float32, under its GGUF name."""
        rng = np.random.default_rng(self.seed)
        head_width = self.width // self.n_heads
        kv_width = head_width * self.n_kv_heads

        def matrix(n: int, k: int) -> NDArray[np.float32]:
            return rng.normal(0, k**-0.5, (n, k)).astype(np.float32)

        def norm() -> NDArray[np.float32]:
            return rng.uniform(0.5, 1.5, self.width).astype(np.float32)

        vocab_size = len(self.tokens)
        tensors = {"token_embd.weight": 2 * matrix(vocab_size, self.width)}
        for i in range(self.n_layers):
            block = {
                "attn_norm": norm(),
                "attn_q": 2 * matrix(self.width, self.width),
                "attn_k": 2 * matrix(kv_width, self.width),
                "attn_v": matrix(kv_width, self.width),
                "attn_output": matrix(self.width, self.width),
                "ffn_norm": norm(),
                "ffn_gate": matrix(self.ff_width, self.width),
                "ffn_up": matrix(self.ff_width, self.width),
                "ffn_down": matrix(self.width, self.ff_width),
            }
            tensors |= {f"blk.{i}.{name}.weight": w for name, w in block.items()}
        tensors["output_norm.weight"] = norm()
        if not self.tied:
            tensors["output.weight"] = matrix(vocab_size, self.width)
        return tensors

    def write(self, path: Path) -> Path:
        """Write the file and return its path."""
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_name("tiny")
        writer.add_block_count(self.n_layers)
        writer.add_context_length(self.n_ctx)
        writer.add_embedding_length(self.width)
        writer.add_feed_forward_length(self.ff_width)
        writer.add_head_count(self.n_heads)
        writer.add_head_count_kv(self.n_kv_heads)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_freq_base(10000.0)
        writer.add_vocab_size(len(self.tokens))
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("smollm")
        writer.add_token_list(self.tokens)
        kinds = [gguf.TokenType.NORMAL] * (len(self.tokens) - len(SPECIALS))
        writer.add_token_types(kinds + [gguf.TokenType.CONTROL] * len(SPECIALS))
        writer.add_token_merges(["Ġ t"])
        writer.add_bos_token_id(len(self.tokens) - 3)
        writer.add_eos_token_id(len(self.tokens) - 1)
        writer.add_add_bos_token(False)
        for key, value in self.metadata.items():
            writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
        for name, values in self.tensors().items():
            quant = next((q for part, q in self.quants.items() if part in name), self.quant)
            if values.ndim == 1 or quant == "F32":
                writer.add_tensor(name, values)
            else:
                qtype = gguf.GGMLQuantizationType[quant]
                packed = gguf.quants.quantize(values, qtype)
                writer.add_tensor(name, packed, raw_dtype=qtype)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path


def decode(path: Path) -> dict[str, NDArray[np.float32]]:
    """Every tensor of a file as float32, by the gguf package's own reader and dequantizers."""
    return {
        t.name: gguf.quants.dequantize(t.data, t.tensor_type).reshape(
            tuple(int(n) for n in reversed(t.shape))
        )
        for t in gguf.GGUFReader(path).tensors
    }
