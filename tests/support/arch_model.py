"""A tiny random model of any architecture, under its GGUF names, and the file of it.

Weights follow from a tensor's name, so that tools/make_arch_goldens.py can give the very same to
transformers, and the goldens need to hold logits only.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from tiny_models import SPECIALS, byte_symbols

Shape = tuple[int, ...]

D, H, G, C, F, V = 256, 4, 2, 64, 320, 300
WINDOW = 6
N_TOKENS = 24
N_CTX = 64
TOKENS = np.random.default_rng(11).integers(0, 250, N_TOKENS).astype(np.int32)


@dataclass(frozen=True)
class ArchModel:
    """One test model; `metadata` keys lack the architecture's prefix."""

    architecture: str
    block: Mapping[str, Shape]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    n_layers: int = 3
    head: Mapping[str, Shape] = field(default_factory=lambda: {"output.weight": (V, D)})
    final: Mapping[str, Shape] = field(default_factory=lambda: {"output_norm.weight": (D,)})
    kv_heads: int = G
    c: int = C
    llama_cpp: bool = True  # False where it departs, or has the branch for other sizes only

    def shapes(self) -> dict[str, Shape]:
        """Every tensor's shape by its GGUF name."""
        shapes: dict[str, Shape] = {"token_embd.weight": (V, D)}
        for i in range(self.n_layers):
            shapes |= {f"blk.{i}.{name}": shape for name, shape in self.block.items()}
        return shapes | dict(self.final) | dict(self.head)

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Every tensor's values, drawn from a generator that its name seeds."""
        return {name: values(name, shape) for name, shape in self.shapes().items()}

    def write(
        self,
        path: Path,
        tensors: Mapping[str, NDArray[Any]] | None = None,
        types: Mapping[str, int] | None = None,
        prepare: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
        split_max_tensors: int = 0,
    ) -> Path:
        """Write the file and return its path; `types` holds those of tensors that are not float32.

        The latter are given as rows of bytes. `prepare` adds to the writer what it wants.
        """
        writer = gguf.GGUFWriter(path, self.architecture, split_max_tensors=split_max_tensors)
        prepare(writer)
        common = {
            "block_count": self.n_layers,
            "context_length": N_CTX,
            "embedding_length": D,
            "feed_forward_length": F,
            "attention.head_count": H,
            "attention.head_count_kv": self.kv_heads,
            "vocab_size": V,
        }
        for key, value in (common | dict(self.metadata)).items():
            kind = gguf.GGUFValueType.FLOAT32
            if isinstance(value, bool):
                kind = gguf.GGUFValueType.BOOL
            elif isinstance(value, int):
                kind = gguf.GGUFValueType.UINT32
            elif isinstance(value, str):
                kind = gguf.GGUFValueType.STRING
            if isinstance(value, tuple):
                writer.add_array(f"{self.architecture}.{key}", value)
                continue
            writer.add_key_value(f"{self.architecture}.{key}", value, kind)
        tokens = [*byte_symbols(), "Ġt", *SPECIALS]
        tokens += [f"<unused{i}>" for i in range(V - len(tokens))]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("smollm")
        writer.add_token_list(tokens)
        control = V - 257
        writer.add_token_types([gguf.TokenType.NORMAL] * 257 + [gguf.TokenType.CONTROL] * control)
        writer.add_token_merges(["Ġ t"])
        writer.add_bos_token_id(257)
        writer.add_eos_token_id(259)
        writer.add_add_bos_token(False)
        for name, array in (self.tensors() if tensors is None else tensors).items():
            kind = (types or {}).get(name, gguf.GGMLQuantizationType.F32)
            writer.add_tensor(name, array, raw_dtype=gguf.GGMLQuantizationType(kind))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path


def values(name: str, shape: Shape) -> NDArray[np.float32]:
    """Weights that give attention something to choose from and biases that matter."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.startswith("rope_"):
        return np.linspace(1, 4 if "short" in name else 8, shape[0]).astype(np.float32)
    if "norm" in name:
        offset = 1.0 if name.endswith(".weight") else 0.0
        return (offset + rng.uniform(-0.5, 0.5, shape)).astype(np.float32)
    if len(shape) == 1:
        return rng.normal(0, 0.2, shape).astype(np.float32)
    if name.endswith("exps.bias"):
        return rng.normal(0, 4.0, shape).astype(np.float32)  # beyond the limit of gpt-oss
    gain = 2.0 if "attn_q." in name or "attn_k." in name or "_inp" in name else 1.0
    return (gain * rng.normal(0, shape[-1] ** -0.5, shape)).astype(np.float32)


def relative_rms(got: NDArray[np.float32], want: NDArray[np.float32]) -> float:
    """rms(got - want) / rms(want)."""
    return float(np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2)))
