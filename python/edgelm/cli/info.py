"""Show what a GGUF file holds and what it will cost, without loading its weights.

Memory is the weights, about as large packed as in the file, and the KV cache of one sequence that
fills the context; the program itself and its buffers come on top.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import defaultdict
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import add_model
from .terminal import printable, resolve, size, table

if TYPE_CHECKING:
    from ..gguf import GgufFile
    from ..graph import StateSpec

HELP = "show what a file holds and what it costs"

CONTEXTS = (512, 2048, 8192, 32768, 131072)


def add_arguments(parser: argparse.ArgumentParser, argv: tuple[str, ...]) -> None:
    """Define the options."""
    add_model(parser, argv, help="a path, a known name or an hf: file")
    parser.add_argument(
        "-a", "--all", action="store_true", help="whole metadata values, and every tensor"
    )


def main(arguments: argparse.Namespace) -> None:
    """Print the report."""
    from ..gguf import open_gguf

    file = open_gguf(resolve(arguments.model))
    for section in (_overview(file), _tensor_types(file), _memory(file)):
        print(section, end="\n\n")
    if arguments.all:
        print(_tensors(file), end="\n\n")
    print(_metadata(file, whole=arguments.all))


def _overview(file: GgufFile) -> str:
    n_weights = sum(prod(t.shape) for t in file.tensors)
    n_bytes = sum(t.n_bytes for t in file.tensors)
    parts = f" in {file.n_parts} parts" if file.n_parts > 1 else ""
    rows = [
        ("architecture", _text(file.get("general.architecture"))),
        ("name", _text(file.get("general.name"))),
        ("license", _text(file.get("general.license"))),
        ("file", f"GGUF {file.version}, {size(file.n_bytes)}{parts}"),
        ("weights", f"{n_weights:,} in {len(file.tensors):,} tensors"),
    ]
    if n_bytes:
        smaller = f"{4 * n_weights / n_bytes:.2f} times smaller than float32"
        rows.append(("compression", f"{8 * n_bytes / n_weights:.2f} bits a weight, {smaller}"))
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:{width}}  {value}" for name, value in rows if value]
    return "\n".join([printable(Path(file.path).name), *lines])


def _tensor_types(file: GgufFile) -> str:
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for tensor in file.tensors:
        for i, n in enumerate((1, prod(tensor.shape), tensor.n_bytes)):
            counts[tensor.type][i] += n
    rows = [("tensors", "count", "weights", "bytes", "bits a weight", "share")]
    total = sum(n_bytes for _, _, n_bytes in counts.values())
    for name, (count, n, n_bytes) in sorted(counts.items(), key=lambda item: -item[1][2]):
        bits, share = f"{8 * n_bytes / n:.2f}", f"{n_bytes / total:.1%}"
        rows.append((name, f"{count:,}", f"{n:,}", f"{n_bytes:,}", bits, share))
    return table(rows)


def _memory(file: GgufFile) -> str:
    from ..graph import state_bytes

    try:
        states, n_ctx_train = _states(file)
    except ValueError as error:  # the file is damaged or unknown, or its shapes do not fit
        reason = printable(str(error)).removeprefix(f"{file.path}: ")
        return f"  edgelm cannot run this file: {reason}"
    weights = sum(t.n_bytes for t in file.tensors)
    rows: list[tuple[str, ...]] = [
        ("memory at n_ctx", "KV f16", "KV q8_0", "total f16", "total q8_0")
    ]
    for n_ctx in sorted({*(n for n in CONTEXTS if n < n_ctx_train), n_ctx_train}):
        f16, q8_0 = (state_bytes(states, n_ctx, kv_type) for kv_type in ("f16", "q8_0"))
        sizes = (f16, q8_0, weights + f16, weights + q8_0)
        rows.append((f"{n_ctx:,}", *map(size, sizes)))
    return table(rows, ">")


def _states(file: GgufFile) -> tuple[list[StateSpec], int]:
    """From the model's graph, which needs the header only."""
    from ..arch import build
    from ..graph import Graph
    from ..meta import Meta
    from ..weights import Weights

    meta, graph = Meta(file), Graph()
    build(graph, meta, Weights(file, graph))
    return graph.states, meta.n_ctx_train


def _tensors(file: GgufFile) -> str:
    rows = [("tensor", "type", "shape", "bytes")]
    for t in file.tensors:
        rows.append((printable(t.name), t.type, " x ".join(map(str, t.shape)), f"{t.n_bytes:,}"))
    return table(rows, "<<<")


def _metadata(file: GgufFile, *, whole: bool) -> str:
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 100
    lines = ["metadata"]
    for key in file.keys():  # noqa: SIM118  (no mapping)
        start = f"  {key} = "
        lines.append(start + _value(file, key, None if whole else max(20, columns - len(start))))
    return "\n".join(lines)


def _value(file: GgufFile, key: str, room: int | None) -> str:
    """A value on one line, cut to `room` characters."""
    n = file.array_length(key)
    if n < 0:
        return _scalar(file.get(key), room)
    values = file.get(key)
    values = values if isinstance(values, list) else values.tolist()
    if room is None:
        return f"[{', '.join(map(_scalar, values))}]"
    end = f", ...] ({n:,})"
    text = "["
    for i, value in enumerate(values):
        item = (", " if i else "") + _scalar(value)
        if len(text) + len(item) + len(end) > room:
            return text + (end if i else end[2:])
        text += item
    return f"{text}] ({n:,})"


def _scalar(value: Any, room: int | None = None) -> str:
    if isinstance(value, str):
        text = repr(printable(value))
    else:
        text = f"{value:.7g}" if isinstance(value, float) else str(value)
    return text if room is None or len(text) <= room else text[: room - 3] + "..."


def _text(value: Any) -> str:
    return " ".join(printable(value).split()) if isinstance(value, str) else ""
