"""Opening, packing and loading: `python -m pytest bench/loading.py`. MB/s are in extra_info."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgelm
from edgelm import _core as core
from edgelm import hub
from edgelm.bench.loading import drop_cached, read_whole
from edgelm.gguf import open_gguf

MODELS = ("smollm2-135m-instruct", "gemma-3-270m")
QUANTS = {name: (block, n_bytes) for name, _, block, n_bytes in core.quants()}
ROWS, WIDTH = 4096, 2048


@pytest.fixture(scope="module", params=MODELS)
def path(request: pytest.FixtureRequest) -> Path:
    return hub.resolve(request.param)


def test_header(benchmark: Any, path: Path) -> None:
    benchmark(open_gguf, path)


@pytest.mark.parametrize("file_cache", ["warm", "cold"])
def test_load(benchmark: Any, path: Path, file_cache: str) -> None:
    """All of edgelm.load(); cold where the system lets the file's pages be dropped."""
    prepare = read_whole if file_cache == "warm" else drop_cached
    benchmark.pedantic(
        lambda: edgelm.load(path, n_ctx=512, n_parallel=1).close(),
        setup=lambda: prepare(path),
        rounds=5,
        warmup_rounds=1,
    )
    megabytes = path.stat().st_size / 1e6
    benchmark.extra_info["MB/s"] = round(megabytes / benchmark.stats["min"], 1)


@pytest.mark.parametrize("quant", QUANTS)
def test_pack(benchmark: Any, quant: str) -> None:
    """One matrix, rows of blocks as in the file to the kernels' records, on one thread."""
    block, n_bytes = QUANTS[quant]
    shape = (ROWS, WIDTH // block * n_bytes)
    rows = np.random.default_rng(0).integers(0, 120, shape, dtype=np.uint8)
    benchmark(core.PackedMatrix, core.active_isa(), quant, rows, WIDTH)
    benchmark.extra_info["MB/s"] = round(rows.nbytes / 1e6 / benchmark.stats["min"], 1)
