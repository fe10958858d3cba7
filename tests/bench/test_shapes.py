"""Models of random weights in real shapes."""

from __future__ import annotations

import dataclasses
import struct
from collections import Counter
from pathlib import Path

import gguf
import numpy as np
import pytest

import edgelm
from edgelm.bench import shapes
from edgelm.bench.shapes import Shape
from edgelm.gguf import open_gguf

SMALL = Shape(256, 8, 4, 2, 64, 512, 300, n_ctx=512)


def write(folder: Path, shape: Shape, file_type: str) -> Path:
    path = folder / "shape.gguf"
    shapes.write(path, "small", shape, file_type, lambda step: None)
    return path


@pytest.mark.parametrize(
    ("file_type", "counts"),
    [
        # What llama.cpp's own quantizer made of a file of this shape (tools/make_models.py).
        ("q4_k_m", {"Q4_K": 96, "Q6_K": 17}),
        ("q3_k_m", {"Q3_K": 64, "Q4_K": 45, "Q5_K": 3, "Q6_K": 1}),
        ("q8_0", {"Q8_0": 113}),
    ],
)
def test_types_are_llama_cpps_mix(file_type: str, counts: dict[str, int]) -> None:
    kinds = [kind for _, _, kind in shapes.tensors(shapes.SHAPES["llama-3.2-1b"], file_type)]
    assert Counter(kinds) - Counter({"F32": 99}) == Counter(counts)


def faults(path: Path, shape: Shape) -> list[str]:
    """What the gguf package, which is not ours, finds wrong with a file and its weights."""
    found = []
    reader = gguf.GGUFReader(path)
    for t in reader.tensors:
        if t.tensor_type.name == "F32":
            continue
        weights = gguf.quants.dequantize(t.data, t.tensor_type)
        k = weights.shape[-1]
        if not np.isfinite(weights).all():
            found.append(f"{t.name}: not finite")
        elif not (0.7 < weights.std() * k**0.5 < 1.4 and abs(weights.mean()) * k**0.5 < 0.2):
            found.append(f"{t.name}: deviation {weights.std() * k**0.5:.2f} of 1 / sqrt(K)")
    if reader.fields["llama.block_count"].contents() != shape.n_layers:
        found.append("block_count")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("file_type", shapes.TYPES)
def test_the_gguf_package_reads_it(tmp_path: Path, file_type: str) -> None:
    assert faults(write(tmp_path, SMALL, file_type), SMALL) == []


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_wrong_scales_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swapped = dataclasses.replace(shapes.BLOCKS["Q6_K"], scales={0: 1.0})
    monkeypatch.setitem(shapes.BLOCKS, "Q6_K", swapped)
    assert faults(write(tmp_path, SMALL, "q4_k_m"), SMALL)


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
@pytest.mark.parametrize("tied", [True, False])
def test_edgelm_runs_it(tmp_path: Path, architecture: str, tied: bool) -> None:
    shape = dataclasses.replace(SMALL, architecture=architecture, tied=tied)
    path = write(tmp_path, shape, "q4_k_m")
    assert open_gguf(path).get("edgelm.random_weights") is True
    with edgelm.load(path, n_parallel=1) as model:
        logits = model.logits(model.tokenize("any text"))
    assert np.isfinite(logits).all()
    assert 0.3 < logits.std() < 3


def test_rows_that_are_no_whole_blocks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rows of 96 are no whole number of Q6_K blocks of 256"):
        write(tmp_path, dataclasses.replace(SMALL, ff_width=96), "q4_k_m")


@pytest.mark.parametrize("spec", ["", "llama", "llama-3.2-1b:q9", ":q8_0", "a:b:c"])
def test_unknown_shapes_name_the_known(spec: str) -> None:
    with pytest.raises(ValueError, match=r"llama-3\.2-1b.*q4_k_m"):
        shapes.parse(spec)


def test_a_shape_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGELM_CACHE", str(tmp_path))
    monkeypatch.setitem(shapes.SHAPES, "small", SMALL)
    path = shapes.file_of("small:q8_0", lambda step: None)
    assert "random" in path.name
    assert struct.unpack("<4sI", path.read_bytes()[:8]) == (b"GGUF", 3)
    before = path.stat().st_mtime_ns
    assert shapes.file_of("SMALL:Q8_0", lambda step: None) == path
    assert path.stat().st_mtime_ns == before
    assert list(path.parent.glob("*.part")) == []


def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGELM_CACHE", str(tmp_path))
    monkeypatch.setitem(shapes.SHAPES, "small", SMALL)

    def stop(step: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shapes.file_of("small", stop)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
