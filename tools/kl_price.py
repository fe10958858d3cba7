"""What wider activations would buy: KL divergence by the format that matmul inputs are rounded to.

    python tools/kl_price.py smollm2-q4_k_m.gguf smollm2-q3_k_m.gguf ...

Runs edgelm's NumPy reference in float64 on weights that the gguf package decodes, once with exact
inputs and once for each rule below, and prints the mean KL divergence from the exact run over 256
positions of edgelm/bench/prose.txt. Keys and values are not rounded. Needs edgelm and gguf.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from edgelm.arch import build
from edgelm.gguf import open_gguf
from edgelm.graph import Graph, Node
from edgelm.meta import Meta
from edgelm.reference import Reference, weights_by_name
from edgelm.tokenizer import Tokenizer
from edgelm.weights import Weights

PROSE = Path(__file__).parent.parent / "python" / "edgelm" / "bench" / "prose.txt"
N_POSITIONS = 256

Doubles = NDArray[np.float64]
Rule = Callable[[str, str], tuple[int, int] | None]  # (type, name) -> block and limit of |q|

WIDE = (32, 32767)
WIDE_TYPES = ("q8_0", "iq4_nl", "iq4_xs")


def ours(quant: str, name: str) -> tuple[int, int] | None:
    """As the kernels do: ActFormat in csrc/kernels/table.h."""
    if quant in ("f32", "f16", "bf16"):
        return None
    if quant in WIDE_TYPES:
        return WIDE
    return (32, 127)


def wide_down(quant: str, name: str) -> tuple[int, int] | None:
    """16 bits for ffn_down alone, whose inputs have the outliers."""
    return WIDE if "ffn_down" in name else ours(quant, name)


def wide(quant: str, name: str) -> tuple[int, int] | None:
    """16 bits everywhere."""
    return ours(quant, name) and WIDE


RULES: tuple[Rule, ...] = (ours, wide_down, wide)


class Rounded(Reference):
    """A reference whose matmul inputs are rounded as the rule says."""

    rule: Rule | None = None

    def _op_linear(self, node: Node, x: list[Any], w: list[Any]) -> Doubles:
        weight = node.weights[0]
        form = weight and self.rule and self.rule(weight.type.lower(), weight.name)
        if form:
            block, limit = form
            rows = x[0].reshape(len(x[0]), -1, block)
            scale = np.maximum(np.abs(rows).max(-1, keepdims=True), 1e-30) / limit
            x = [np.round(rows / scale) * scale, *x[1:]]
        return super()._op_linear(node, x, w)


def log_probabilities(logits: Doubles) -> Doubles:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    print("| file | " + " | ".join((rule.__doc__ or "").rstrip(".") for rule in RULES) + " |")
    print("|---" * (1 + len(RULES)) + "|")
    for path in parser.parse_args().files:
        file = open_gguf(path)
        graph = Graph()
        graph.output("logits", build(graph, Meta(file), Weights(file, graph)))
        ids = Tokenizer(file).encode(PROSE.read_text())[:N_POSITIONS]
        tensors = {
            t.name: gguf.quants.dequantize(t.data, t.tensor_type)
            for t in gguf.GGUFReader(path).tensors
        }
        model = Rounded(graph, weights_by_name(tensors), kv_dtype=np.float64)
        exact = log_probabilities(model.run(ids)["logits"])
        cells = []
        for rule in RULES:
            model.rule = rule
            rounded = log_probabilities(model.run(ids)["logits"])
            kl = (np.exp(exact) * (exact - rounded)).sum(-1).mean()
            cells.append(f"{kl:.6f}")
        print(f"| {path.name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
