"""Models of random weights in the shape of real ones: speed does not depend on the values.

`NAME:TYPE` is one of SHAPES and one of TYPES, "llama-3.2-1b:q4_k_m" say. The file is written once,
to the cache folder, and says in its name and in its metadata that its weights are random. Each
tensor has the type that llama.cpp's quantizer gives it (llama_tensor_get_type). A file takes
seconds: a megabyte of random blocks of a type, with scales that keep activations near one, is
repeated.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..hub import Progress, Step, cache_folder
from .subject import RANDOM_KEY

ALIGNMENT = 32
TILE_BYTES = 1 << 20
PIECE_BYTES = 1 << 24


@dataclass(frozen=True)
class Shape:
    """A dense decoder, in the alphabet of HACKING.md: D, layers, H, G, C, F, V."""

    width: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_width: int
    ff_width: int
    vocab_size: int
    architecture: str = "llama"
    tied: bool = True
    rope_base: float = 500_000.0
    n_ctx: int = 131_072
    eps: float = 1e-5


_qwen3 = partial(Shape, vocab_size=151_936, architecture="qwen3", rope_base=1e6, n_ctx=40_960)

# From the models' own config.json.
SHAPES = {
    "llama-3.2-1b": Shape(2048, 16, 32, 8, 64, 8192, 128_256),
    "llama-3.2-3b": Shape(3072, 28, 24, 8, 128, 8192, 128_256),
    "llama-3.1-8b": Shape(4096, 32, 32, 8, 128, 14_336, 128_256, tied=False),
    "qwen3-0.6b": _qwen3(1024, 28, 16, 8, 128, 3072, eps=1e-6),
    "qwen3-1.7b": _qwen3(2048, 28, 16, 8, 128, 6144, eps=1e-6),
    "qwen3-4b": _qwen3(2560, 36, 32, 8, 128, 9728, eps=1e-6),
    "smollm2-1.7b": Shape(2048, 24, 32, 32, 64, 8192, 49_152, rope_base=130_000.0, n_ctx=8192),
    "tinyllama-1.1b": Shape(
        2048, 22, 32, 4, 64, 5632, 32_000, tied=False, rope_base=10_000.0, n_ctx=2048
    ),
}


@dataclass(frozen=True)
class BlockType:
    """Weights a block, bytes a block, where its f16 scales stand, and how great those are.

    scales: byte offset to size. A weight's standard deviation is about that of one block with
    scale 1 / sqrt(K) over the first `unit`.
    """

    type_id: int
    n_weights: int
    n_bytes: int
    scales: Mapping[int, float]


# Scales such that random codes give weights of about unit variance and no mean.
# Source of the layouts: the headers of csrc/quant.
BLOCKS = {
    "F32": BlockType(0, 1, 4, {}),
    "Q4_0": BlockType(2, 32, 18, {0: 1 / 4.6}),
    "Q8_0": BlockType(8, 32, 34, {0: 1 / 74}),
    "Q3_K": BlockType(11, 256, 110, {108: 1 / 43}),
    "Q4_K": BlockType(12, 256, 144, {0: 1 / 250, 2: 7.5 / 250}),
    "Q5_K": BlockType(13, 256, 176, {0: 1 / 500, 2: 15.5 / 500}),
    "Q6_K": BlockType(14, 256, 210, {208: 1 / 1370}),
}
TYPES = {"q8_0": 7, "q4_0": 2, "q4_k_m": 15, "q3_k_m": 12}  # GGUF's general.file_type


def tensors(shape: Shape, file_type: str) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """Name, (rows, columns) or (width,), and type of every tensor, in the order of the file."""
    queries, keys = shape.n_heads * shape.head_width, shape.n_kv_heads * shape.head_width
    head = "Q8_0" if file_type == "q8_0" else "Q6_K"
    yield (
        "token_embd.weight",
        (shape.vocab_size, shape.width),
        head if shape.tied else _plain(file_type),
    )
    for i in range(shape.n_layers):
        matrices = {
            "attn_q": (queries, shape.width),
            "attn_k": (keys, shape.width),
            "attn_v": (keys, shape.width),
            "attn_output": (shape.width, queries),
            "ffn_gate": (shape.ff_width, shape.width),
            "ffn_up": (shape.ff_width, shape.width),
            "ffn_down": (shape.width, shape.ff_width),
        }
        norms = {"attn_norm": shape.width, "ffn_norm": shape.width}
        if shape.architecture == "qwen3":
            norms |= {"attn_q_norm": shape.head_width, "attn_k_norm": shape.head_width}
        for name, width in norms.items():
            yield f"blk.{i}.{name}.weight", (width,), "F32"
        for name, dims in matrices.items():
            yield f"blk.{i}.{name}.weight", dims, matrix_type(file_type, name, i, shape.n_layers)
    yield "output_norm.weight", (shape.width,), "F32"
    if not shape.tied:
        yield "output.weight", (shape.vocab_size, shape.width), head


def _plain(file_type: str) -> str:
    return file_type.removesuffix("_m").upper()


def matrix_type(file_type: str, name: str, layer: int, n_layers: int) -> str:
    """What llama.cpp's quantizer makes of a layer's matrix in a file of that type."""
    eighth = n_layers // 8
    more = layer < eighth or layer >= 7 * n_layers // 8 or (layer - eighth) % 3 == 2
    if file_type == "q4_k_m" and name in ("attn_v", "ffn_down") and more:
        return "Q6_K"
    if file_type == "q3_k_m":
        if name == "attn_v":
            return "Q5_K" if layer < 2 else "Q4_K"
        if name == "ffn_down":
            return "Q5_K" if layer < n_layers // 16 else "Q4_K"
        if name == "attn_output":
            return "Q4_K"
    return _plain(file_type)


def parse(spec: str) -> tuple[str, str]:
    """Name and type of NAME:TYPE; ValueError names the choices."""
    name, _, file_type = spec.lower().partition(":")
    file_type = file_type or "q4_k_m"
    if name not in SHAPES or file_type not in TYPES:
        raise ValueError(
            f"{spec} is no shape; expected NAME:TYPE with NAME one of {', '.join(SHAPES)} and "
            f"TYPE one of {', '.join(TYPES)}."
        )
    return name, file_type


def file_of(spec: str, progress: Progress) -> Path:
    """The file of a shape, written to the cache folder if it is not there."""
    name, file_type = parse(spec)
    path = cache_folder() / "shapes" / f"{name}-{file_type}-random.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            write(part, name, SHAPES[name], file_type, progress)
            os.replace(part, path)
        except OSError as error:
            raise ValueError(f"{path} could not be written: {error.strerror}") from None
        finally:
            part.unlink(missing_ok=True)
    return path


def write(path: Path, name: str, shape: Shape, file_type: str, progress: Progress) -> None:
    """Write the file. ValueError if a row is no whole number of blocks."""
    listed = list(tensors(shape, file_type))
    sizes = [n_bytes(tensor, dims, kind) for tensor, dims, kind in listed]
    done, total = 0, sum(sizes)
    rng = np.random.default_rng(0)
    tiles = {kind: tile(rng, kind) for kind in {kind for _, _, kind in listed} - {"F32"}}
    with path.open("wb") as file:
        file.write(_header(name, shape, file_type, listed, sizes))
        _pad(file)
        for (_, dims, kind), size in zip(listed, sizes, strict=True):
            progress(Step(f"writing {name}:{file_type}, random weights", done, total))
            if kind == "F32":
                file.write((1 + 0.1 * rng.standard_normal(dims[0])).astype("<f4").tobytes())
            else:
                _repeat(file, scaled(tiles[kind], kind, dims[1]), size)
            _pad(file)
            done += size
        progress(Step(f"writing {name}:{file_type}, random weights", total, total))


def n_bytes(name: str, dims: tuple[int, ...], kind: str) -> int:
    """Of a tensor."""
    block = BLOCKS[kind]
    if dims[-1] % block.n_weights:
        raise ValueError(
            f"{name}: rows of {dims[-1]} are no whole number of {kind} blocks of {block.n_weights}"
        )
    return int(np.prod(dims)) // block.n_weights * block.n_bytes


def tile(rng: np.random.Generator, kind: str) -> NDArray[np.uint8]:
    """Random blocks (N, bytes), scales and all."""
    n = TILE_BYTES // BLOCKS[kind].n_bytes
    return rng.integers(0, 256, (n, BLOCKS[kind].n_bytes), dtype=np.uint8)


def scaled(blocks: NDArray[np.uint8], kind: str, k: int) -> NDArray[np.uint8]:
    """The blocks with scales that make weights of variance 1 / k."""
    for offset, scale in BLOCKS[kind].scales.items():
        two_bytes = np.frombuffer(np.float16(scale * k**-0.5).tobytes(), np.uint8)
        blocks[:, offset : offset + 2] = two_bytes
    return blocks


def _repeat(file: BinaryIO, blocks: NDArray[np.uint8], size: int) -> None:
    piece = blocks.tobytes() * (PIECE_BYTES // blocks.nbytes)
    for start in range(0, size, len(piece)):
        file.write(piece[: min(len(piece), size - start)])


# --- GGUF, version 3 -----------------------------------------------------------------------------
# Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

_KINDS = {int: ("<I", 4), float: ("<f", 6), bool: ("<?", 7)}


def _header(
    name: str,
    shape: Shape,
    file_type: str,
    listed: list[tuple[str, tuple[int, ...], str]],
    sizes: list[int],
) -> bytes:
    metadata = _metadata(name, shape, file_type)
    out = b"GGUF" + struct.pack("<IQQ", 3, len(listed), len(metadata))
    for key, value in metadata.items():
        out += _text(key) + _value(value)
    offset = 0
    for (tensor, dims, kind), size in zip(listed, sizes, strict=True):
        out += _text(tensor) + struct.pack("<I", len(dims))
        out += b"".join(struct.pack("<Q", n) for n in reversed(dims))
        out += struct.pack("<IQ", BLOCKS[kind].type_id, offset)
        offset += -(-size // ALIGNMENT) * ALIGNMENT
    return out


def _metadata(name: str, shape: Shape, file_type: str) -> dict[str, object]:
    own = {
        "context_length": shape.n_ctx,
        "embedding_length": shape.width,
        "block_count": shape.n_layers,
        "feed_forward_length": shape.ff_width,
        "attention.head_count": shape.n_heads,
        "attention.head_count_kv": shape.n_kv_heads,
        "attention.key_length": shape.head_width,
        "attention.value_length": shape.head_width,
        "attention.layer_norm_rms_epsilon": shape.eps,
        "rope.freq_base": shape.rope_base,
        "vocab_size": shape.vocab_size,
    }
    if shape.architecture == "llama":
        own["rope.dimension_count"] = shape.head_width
    tokens = [*_byte_symbols(), "Ġt", "<|end|>"]
    unused = shape.vocab_size - len(tokens)
    return {
        "general.architecture": shape.architecture,
        "general.name": f"{name} shape, random weights",
        "general.file_type": TYPES[file_type],
        RANDOM_KEY: True,
        **{f"{shape.architecture}.{key}": value for key, value in own.items()},
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [*tokens, *(f"<unused_{i}>" for i in range(unused))],
        "tokenizer.ggml.token_type": [1] * (len(tokens) - 1) + [3] + [5] * unused,
        "tokenizer.ggml.merges": ["Ġ t"],
        "tokenizer.ggml.eos_token_id": len(tokens) - 1,
        "tokenizer.ggml.add_bos_token": False,
    }


def _byte_symbols() -> Iterable[str]:
    """GPT-2's printable stand-in for each byte."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    extra = iter(range(256, 512))
    return [chr(byte if byte in printable else next(extra)) for byte in range(256)]


def _value(value: object) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, list):
        start = struct.pack("<I", 9)
        if isinstance(value[0], str):
            return start + struct.pack("<IQ", 8, len(value)) + b"".join(map(_text, value))
        return start + struct.pack("<IQ", 5, len(value)) + np.array(value, "<i4").tobytes()
    form, kind = _KINDS[type(value)]
    return struct.pack("<I", kind) + struct.pack(form, value)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _pad(file: BinaryIO) -> None:
    file.write(b"\0" * (-file.tell() % ALIGNMENT))
