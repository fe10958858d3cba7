"""Compiles a file's plan and runs it without an engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgelm.arch import build
from edgelm.gguf import open_gguf
from edgelm.graph import Graph, KvCache, Plan
from edgelm.meta import Meta
from edgelm.weights import Weights

SUPPORT = Path(__file__).parent  # for the sys.path of a script in a process of its own


def compiled(path: Path, n_threads: int = 2, n_batch: int = 128) -> Plan:
    file = open_gguf(path)
    graph = Graph()
    graph.output("logits", build(graph, Meta(file), Weights(file, graph)))
    return graph.compile(n_batch=n_batch, max_rows=n_batch, n_threads=n_threads)


def cache_of(plan: Plan, n_parallel: int = 4) -> KvCache:
    return plan.kv_cache(n_ctx=256, n_parallel=n_parallel, kv_type="f16")


def run(plan, cache, ids, sequences, wanted=None, **options):
    """All logits of ids, each after what its sequence holds."""
    wanted = np.arange(len(ids), dtype=np.int32) if wanted is None else wanted
    results = plan.run(cache, ids, sequences, wanted, **options)
    return None if results is None else results["logits"]


def all_logits(plan: Plan, ids: np.ndarray, chunk: int) -> np.ndarray:
    cache = cache_of(plan)
    sequence = cache.create()
    parts = [ids[i : i + chunk] for i in range(0, len(ids), chunk)]
    return np.concatenate(
        [run(plan, cache, part, np.full(len(part), sequence, np.int32)) for part in parts]
    )
