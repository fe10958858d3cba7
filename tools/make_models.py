"""Makes the model files that the benchmarks and peers share, with llama.cpp's own quantizer.

    python tools/make_models.py --from SMOLLM2.gguf --out FOLDER [--only NAME] [--types TYPE ...]

Writes `llama-1b-{q8_0,q4_k_m,q3_k_m}.gguf`, random weights in Llama-3.2-1B's shape (speed does not
depend on the values), and `smollm2-{...}.gguf`, requantized from the real file. Files that exist
are kept. Needs `pip install gguf` and `pip install --no-deps cyllama==0.2.18`; the 1B shape takes
two minutes and 6 GB of disk. Requantizing costs accuracy, equally for every engine.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from oracles import FILE_TYPES, quantize

DEFAULT_TYPES = ("q8_0", "q4_k_m", "q3_k_m")
UNUSED_TOKEN = 5  # gguf.TokenType.UNUSED


@dataclass(frozen=True)
class Shape:
    """A llama-architecture model: D, layers, H, G, C, F, V as in DESIGN's alphabet."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    ff_width: int
    vocab: int
    rope_base: float = 500_000.0
    context: int = 131_072


SHAPES = {"llama-1b": Shape(2048, 16, 32, 8, 64, 8192, 128_256)}


def tensors(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and (rows, columns) in file order; the embedding is tied, so there is no output."""
    queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    yield "token_embd.weight", (shape.vocab, shape.width)
    for layer in range(shape.layers):
        b = f"blk.{layer}."
        yield b + "attn_norm.weight", (shape.width,)
        yield b + "attn_q.weight", (queries, shape.width)
        yield b + "attn_k.weight", (keys, shape.width)
        yield b + "attn_v.weight", (keys, shape.width)
        yield b + "attn_output.weight", (shape.width, queries)
        yield b + "ffn_norm.weight", (shape.width,)
        yield b + "ffn_gate.weight", (shape.ff_width, shape.width)
        yield b + "ffn_up.weight", (shape.ff_width, shape.width)
        yield b + "ffn_down.weight", (shape.width, shape.ff_width)
    yield "output_norm.weight", (shape.width,)


def values(dims: tuple[int, ...], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Norms near one in f32; matrices as f16 of the size that keeps activations near one."""
    if len(dims) == 1:
        return (1 + 0.1 * rng.standard_normal(dims, np.float32)).astype(np.float32)
    out = np.empty(dims, np.float16)
    std = np.float32(dims[1] ** -0.5)
    for start in range(0, dims[0], 4096):
        rows = out[start : start + 4096]
        rows[:] = std * rng.standard_normal(rows.shape, np.float32)
    return out


def write_random(path: Path, shape: Shape, vocab_from: Path) -> None:
    """Write an F16 GGUF of that shape, with the vocabulary of another file padded to V."""
    import gguf

    reader = gguf.GGUFReader(vocab_from)
    copied = {
        key: reader.fields[f"tokenizer.ggml.{key}"].contents()
        for key in ("model", "pre", "tokens", "token_type", "merges")
    }
    special = {
        key: field.contents()
        for key, field in reader.fields.items()
        if key.startswith("tokenizer.ggml.") and key.endswith(("_token_id", "_token"))
    }
    missing = shape.vocab - len(copied["tokens"])
    tokens = copied["tokens"] + [f"<unused_{i}>" for i in range(missing)]
    token_types = list(copied["token_type"]) + [UNUSED_TOKEN] * missing

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(path.stem)
    writer.add_bool("edgelm.random_weights", True)  # edgelm bench labels its results
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ff_width)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocab)
    writer.add_file_type(FILE_TYPES["f16"])
    writer.add_tokenizer_model(copied["model"])
    writer.add_tokenizer_pre(copied["pre"])
    writer.add_token_list(tokens)
    writer.add_token_types(token_types)
    writer.add_token_merges(copied["merges"])
    for key, value in special.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        else:
            writer.add_uint32(key, value)
    for name, dims in tensors(shape):
        dtype = np.dtype(np.float32 if len(dims) == 1 else np.float16)
        writer.add_tensor_info(name, dims, dtype, int(np.prod(dims)) * dtype.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = np.random.default_rng(0)
    for _, dims in tensors(shape):
        writer.write_tensor_data(values(dims, rng))
    writer.close()


def make(name: str, types: tuple[str, ...], folder: Path, source: Path) -> list[Path]:
    """The files of one model, made where they are missing."""
    paths = {file_type: folder / f"{name}-{file_type}.gguf" for file_type in types}
    missing = {t: p for t, p in paths.items() if not p.exists()}
    if not missing:
        return list(paths.values())
    shape = SHAPES.get(name)
    if shape is not None:
        plain = folder / f"{name}-f16.tmp.gguf"
        write_random(plain, shape, vocab_from=source)
        source = plain
    for file_type, path in missing.items():
        quantize(source, path, file_type)
    if shape is not None:
        source.unlink()
    return list(paths.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--from", dest="source", type=Path, required=True, help="SmolLM2's GGUF")
    parser.add_argument("--out", type=Path, required=True, help="where the files go")
    parser.add_argument("--only", choices=[*SHAPES, "smollm2"], action="append")
    parser.add_argument("--types", choices=list(FILE_TYPES), nargs="+", default=DEFAULT_TYPES)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only or ["smollm2", *SHAPES]:
        for path in make(name, tuple(args.types), args.out, args.source):
            print(f"{path}  {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
