"""A row's logits are the same bits however it is computed, on one ISA.

No other source is needed: the check is equality. That it can fail is shown on another ISA, whose
sums are ordered otherwise.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import edgelm
from edgelm import _core
from goldens import reference
from tiny_models import TinyLlama

pytestmark = pytest.mark.slow
Floats = NDArray[np.float32]

N_PREFILL = 640  # more than one chunk of 512, more than two attention blocks of 256


@pytest.fixture(scope="module")
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2; with --tiny a random model of Q4_1 and Q8_0."""
    if not request.config.getoption("--tiny"):
        return request.getfixturevalue("smollm2_path")
    tiny = TinyLlama(n_ctx=1024, width=128, ff_width=256, quant="Q4_1", quants={"attn": "Q8_0"})
    return tiny.write(tmp_path_factory.mktemp("bitwise") / "tiny.gguf")


@pytest.fixture(scope="module")
def model(path: Path) -> Iterator[edgelm.Model]:
    with edgelm.load(path, n_ctx=1024, n_parallel=4, n_threads=2) as model:
        yield model


@pytest.fixture(scope="module")
def ids(model: edgelm.Model) -> list[int]:
    vocab_size = model.logits([0]).shape[-1]
    return [int(i) % vocab_size for i in reference().ids[:N_PREFILL]]


@pytest.fixture(scope="module")
def expected(model: edgelm.Model, ids: list[int]) -> Floats:
    """(T, V) from one call, in chunks of n_batch."""
    with model.session() as session:
        return session.prefill(ids, all_logits=True)


def assert_same_bits(got: Floats, expected: Floats) -> None:
    assert got.dtype == expected.dtype == np.float32
    assert got.shape == expected.shape
    different = np.any(got.view(np.uint32) != expected.view(np.uint32), axis=-1)
    assert not different.any(), (
        f"{different.sum()} of {different.size} rows differ, from row {int(np.argmax(different))}; "
        f"the largest difference is {np.abs(got - expected).max():g}"
    )


@pytest.mark.parametrize("chunk", [7, 64, 512])
def test_prefill_in_chunks(
    model: edgelm.Model, ids: list[int], expected: Floats, chunk: int
) -> None:
    with model.session() as session:
        rows = [
            session.prefill(ids[i : i + chunk], all_logits=True) for i in range(0, len(ids), chunk)
        ]
    assert_same_bits(np.concatenate(rows), expected)


def test_prefill_in_chunks_of_one(model: edgelm.Model, ids: list[int], expected: Floats) -> None:
    n = 300  # past the first attention block; one by one is slow
    with model.session() as session:
        rows = [session.prefill([i]) for i in ids[:n]]
    assert_same_bits(np.stack(rows), expected[:n])


def test_decode_one_by_one(model: edgelm.Model, ids: list[int], expected: Floats) -> None:
    start, n = 500, 40  # across the slot 512, where an attention block ends
    with model.session() as session:
        rows = [session.prefill(ids[:start])]
        rows += [session.decode(i) for i in ids[start : start + n]]
    assert_same_bits(np.stack(rows), expected[start - 1 : start + n])


def test_decode_beside_other_sequences(
    model: edgelm.Model, ids: list[int], expected: Floats
) -> None:
    starts, n = (250, 3, 90), 12
    sessions = [model.session() for _ in starts]
    try:
        for session, start in zip(sessions, starts, strict=True):
            session.prefill(ids[:start])
        for step in range(n):
            rows = model.decode_batch(sessions, [ids[start + step] for start in starts])
            assert_same_bits(rows, expected[[start + step for start in starts]])
    finally:
        for session in sessions:
            session.close()


def test_after_fork_and_truncate(model: edgelm.Model, ids: list[int], expected: Floats) -> None:
    with model.session() as session:
        session.prefill(ids[:100])
        with session.fork() as other:
            other.prefill(ids[300:350])
            other.truncate(100)
            assert_same_bits(other.prefill(ids[100:140], all_logits=True), expected[100:140])
        assert_same_bits(session.prefill(ids[100:140], all_logits=True), expected[100:140])


@pytest.mark.parametrize("n_threads", [1, 3])
def test_threads(path: Path, ids: list[int], expected: Floats, n_threads: int) -> None:
    n = 320
    with edgelm.load(path, n_ctx=1024, n_parallel=1, n_threads=n_threads) as model:
        assert_same_bits(model.logits(ids[:n]), expected[:n])
        with model.session() as session:
            session.prefill(ids[:280])
            rows = [session.decode(i) for i in ids[280:290]]
        assert_same_bits(np.stack(rows), expected[280:290])


def test_n_batch(path: Path, ids: list[int], expected: Floats) -> None:
    with edgelm.load(path, n_ctx=1024, n_parallel=1, n_batch=48) as model:
        assert_same_bits(model.logits(ids[:200]), expected[:200])


def test_the_check_can_fail(path: Path, ids: list[int], expected: Floats, tmp_path: Path) -> None:
    """The scalar kernels sum in another order: near, but not the same bits."""
    if _core.active_isa() == "scalar":
        pytest.skip("this machine or EDGELM_ISA leaves only the scalar kernels to compare")
    n = 24
    code = (
        "import sys, json, numpy, edgelm\n"
        "path, ids, out = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]\n"
        "numpy.save(out, edgelm.load(path, n_ctx=64, n_parallel=1).logits(ids))\n"
    )
    out = tmp_path / "scalar.npy"
    subprocess.run(
        [sys.executable, "-c", code, str(path), str(ids[:n]), str(out)],
        env={**os.environ, "EDGELM_ISA": "scalar"},
        check=True,
    )
    scalar = np.load(out)
    assert np.abs(scalar - expected[:n]).mean() < 0.5
    with pytest.raises(AssertionError, match="rows differ"):
        assert_same_bits(scalar, expected[:n])
