"""Attention of one K/V head by depth, decode and prefill: `python -m pytest bench/attention.py`.

GB/s in extra_info count the keys and values that are read; GMAC/s are the products of queries with
keys and of weights with values.
"""

from __future__ import annotations

import timeit
from typing import Any

import numpy as np
import pytest

from edgelm import _core as core

ISA = core.active_isa()
VALUE_BYTES = {"f16": 2.0, "q8_0": 34 / 32}
# Query heads of a K/V head, and head width: Llama 3.2 1B, SmolLM2 135M, Gemma 3 270M.
SHAPES = {"llama": (4, 64), "smollm2": (3, 64), "gemma3": (4, 256)}


def arrays(n_queries: int, depth: int, heads: int, width: int) -> tuple[np.ndarray, ...]:
    """Queries (T, H, C) behind `depth` slots, keys and values (S, C), positions (T,)."""
    rng = np.random.default_rng(0)
    n_slots = depth + n_queries
    q = rng.standard_normal((n_queries, heads, width), np.float32)
    k, v = (rng.standard_normal((n_slots, width), np.float32) for _ in range(2))
    return q, k, v, np.arange(depth, n_slots, dtype=np.int32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kv_type", VALUE_BYTES)
@pytest.mark.parametrize(
    ("n_queries", "depth"), [(1, 512), (1, 4096), (64, 0), (512, 0), (64, 4096)]
)
def test_attention(benchmark: Any, shape: str, kv_type: str, n_queries: int, depth: int) -> None:
    """The time holds the filling of a fresh cache; extra_info has it, and rates without it."""
    heads, width = SHAPES[shape]
    q, k, v, positions = arrays(n_queries, depth, heads, width)
    options: dict[str, Any] = {"kv_type": kv_type, "scale": width**-0.5, "chunk": n_queries}
    benchmark(core.attention, ISA, q, k, v, positions, **options)
    first = np.zeros(1, np.int32)  # one query over one slot: all else is filling
    fill = min(timeit.repeat(lambda: core.attention(ISA, q[:1], k, v, first, kv_type=kv_type),
                             number=1, repeat=20))  # fmt: skip
    seconds = benchmark.stats["min"] - fill
    seen = n_queries * depth + n_queries * (n_queries + 1) // 2
    benchmark.extra_info["fill_us"] = round(1e6 * fill, 1)
    if seconds > 0:
        n_bytes = 2 * len(k) * width * VALUE_BYTES[kv_type]
        benchmark.extra_info["gb_s"] = round(1e-9 * n_bytes / seconds, 2)
        benchmark.extra_info["gmac_s"] = round(1e-9 * 2 * seen * heads * width / seconds, 2)
