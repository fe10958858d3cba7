"""The plan against the NumPy reference, step by step, with weights decoded by the gguf package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgelm.arch import build
from edgelm.gguf import open_gguf
from edgelm.graph import Graph, Plan
from edgelm.meta import Meta
from edgelm.reference import Reference, first_difference, weights_by_name
from edgelm.weights import Weights
from tiny_models import TinyLlama, decode

# A quantized activation may be half a step off, and so turn a sharp score; float32 leaves almost
# nothing, but where a key or value rounds to the other float16, sharp scores make 3e-3 of it.
TOLERANCE = {"F32": 4e-4, "F16": 4e-4, "BF16": 4e-4, "Q8_0": 5e-3}


def compiled(path: Path, n_threads: int = 2) -> tuple[Graph, Plan]:
    file = open_gguf(path)
    graph = Graph()
    graph.output("logits", build(graph, Meta(file), Weights(file, graph, "int16")))
    return graph, graph.compile(n_batch=64, max_rows=64, n_threads=n_threads)


def trace(plan: Plan, tokens: np.ndarray, wanted: np.ndarray) -> list[np.ndarray]:
    cache = plan.kv_cache(n_ctx=256, n_parallel=1, kv_type="f16")
    sequences = np.full(len(tokens), cache.create(), np.int32)
    return plan.trace(cache, tokens, sequences, wanted)


@pytest.mark.parametrize("quant", TOLERANCE)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("n_tokens", [1, 3, 40])
def test_every_step_matches_the_reference(tmp_path, rng, quant, tied, n_tokens):
    path = TinyLlama(quant=quant, tied=tied).write(tmp_path / "tiny.gguf")
    graph, plan = compiled(path)
    tokens = rng.integers(0, 260, n_tokens).astype(np.int32)
    wanted = np.unique([0, n_tokens - 1]).astype(np.int32)
    want = Reference(graph, weights_by_name(decode(path))).trace(tokens, wanted)
    got = trace(plan, tokens, wanted)
    # Errors add up over the layers: three of them here.
    assert first_difference(graph, got, want, tolerance=12 * TOLERANCE[quant]) is None


def test_a_wrong_weight_is_named(tmp_path, rng):
    """The seeded fault: one norm of the middle layer is off by a tenth."""
    path = TinyLlama().write(tmp_path / "tiny.gguf")
    graph, plan = compiled(path)
    tokens = rng.integers(0, 260, 9).astype(np.int32)
    weights = decode(path)
    weights["blk.1.ffn_norm.weight"] = weights["blk.1.ffn_norm.weight"] * 1.1
    want = Reference(graph, weights_by_name(weights)).trace(tokens)
    got = trace(plan, tokens, np.arange(9, dtype=np.int32))
    message = first_difference(graph, got, want, tolerance=12 * TOLERANCE["F32"])
    assert message is not None
    assert "blk.1.ffn_norm.weight" in message
