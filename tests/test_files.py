"""One model in every legal shape of file answers the same, through edgelm.load.

Independent sources: the gguf package writes the files, llama.cpp quantizes their tensors, and the
gguf package dequantizes them again for the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

import edgelm
from arch_model import TOKENS, ArchModel, relative_rms
from arch_models import MODELS
from ggml_oracle import quantize

LLAMA = MODELS["llama"]
Quant = gguf.GGMLQuantizationType
# Rows of 256 columns take any of these; rows of 320 only those with blocks of 32.
SMALL_BLOCKS = [
    *(Quant.F32, Quant.F16, Quant.BF16, Quant.Q8_0, Quant.Q4_0),
    *(Quant.Q4_1, Quant.Q5_0, Quant.Q5_1, Quant.IQ4_NL, Quant.MXFP4),
]
LARGE_BLOCKS = [Quant.Q2_K, Quant.Q3_K, Quant.Q4_K, Quant.Q5_K, Quant.Q6_K, Quant.IQ4_XS]
# The rounding of activations to 8 bits, which these sharp models amplify; Mixtral's router too.
MIXED_TOLERANCE = 0.2


def answer(path: Path) -> tuple[NDArray[np.float32], str]:
    """Logits of all of TOKENS, and what comes next."""
    with edgelm.load(path, n_ctx=64, n_parallel=1, n_threads=2) as model:
        text = model.generate(TOKENS.tolist(), max_tokens=8, temperature=0, ignore_eos=True).text
        return model.logits(TOKENS.tolist()), text


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[NDArray[np.float32], str]:
    return answer(LLAMA.write(tmp_path_factory.mktemp("plain") / "model.gguf"))


def with_alignment(n: int) -> Callable[[Path], Path]:
    return lambda path: LLAMA.write(path, prepare=lambda w: w.add_custom_alignment(n))


def split(path: Path) -> Path:
    """Five tensors a part: model-00001-of-0000N.gguf, whose first part is what one opens."""
    LLAMA.write(path, split_max_tensors=5)
    assert len(list(path.parent.glob("model-*-of-*.gguf"))) == 6
    return path.parent / "model-00001-of-00006.gguf"


def version_2(path: Path) -> Path:
    """Versions 2 and 3 differ in their number only, on little-endian machines."""
    LLAMA.write(path)
    with path.open("r+b") as file:
        file.seek(4)
        file.write((2).to_bytes(4, "little"))
    return path


def backwards(path: Path) -> Path:
    return LLAMA.write(path, dict(reversed(LLAMA.tensors().items())))


def unknown_metadata(path: Path) -> Path:
    """A key of each type that no engine knows, under our architecture's prefix too."""

    def prepare(writer: gguf.GGUFWriter) -> None:
        kinds = [k for k in gguf.GGUFValueType if k.name not in ("STRING", "ARRAY", "BOOL")]
        for kind in kinds:
            writer.add_key_value(f"llama.unknown.{kind.name}", 1, kind)
        writer.add_string("general.unknown", "ÿ" * 1000)
        writer.add_bool("tokenizer.ggml.unknown", True)
        writer.add_array("unknown.words", ["", "a", "ß"])
        writer.add_array("unknown.numbers", [0.5, -1.0])

    return LLAMA.write(path, prepare=prepare)


SHAPES: dict[str, Callable[[Path], Path]] = {
    **{f"alignment {n}": with_alignment(n) for n in (8, 16, 64, 4096, 1 << 16)},
    "split": split,
    "version 2": version_2,
    "backwards": backwards,
    "unknown metadata": unknown_metadata,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_file_answers_the_same(shape, tmp_path, expected):
    logits, text = answer(SHAPES[shape](tmp_path / "model.gguf"))
    assert text == expected[1]
    np.testing.assert_array_equal(logits, expected[0])


def test_another_model_answers_otherwise(tmp_path, expected):
    """The seeded fault: two layers in each other's place."""
    swap = {"blk.0.": "blk.1.", "blk.1.": "blk.0."}
    tensors = {swap.get(n[:6], n[:6]) + n[6:]: w for n, w in LLAMA.tensors().items()}
    logits, _ = answer(LLAMA.write(tmp_path / "model.gguf", tensors))
    assert relative_rms(logits, expected[0]) > 2 * MIXED_TOLERANCE


def mixed(model: ArchModel, turn: int) -> dict[str, int]:
    """A type for each matrix, all in turn, so that neighbours differ."""
    types: dict[str, int] = {}
    for name, shape in model.shapes().items():
        if len(shape) > 1:
            fitting = SMALL_BLOCKS + (LARGE_BLOCKS if shape[-1] % 256 == 0 else [])
            types[name] = fitting[(len(types) + turn) % len(fitting)]
    return types


@pytest.mark.parametrize("turn", [0, 5, 11])
@pytest.mark.parametrize("name", ["llama", "mixtral", "phi3"])
def test_any_mix_of_types(name, turn, tmp_path):
    """Against the same weights as float32: fused projections get weights of unlike types."""
    model = MODELS[name]
    types = mixed(model, turn)
    stored = {n: quantize(types[n], w) if types.get(n) else w for n, w in model.tensors().items()}
    path = model.write(tmp_path / "mixed.gguf", stored, types)
    found = gguf.GGUFReader(path).tensors
    plain = {t.name: gguf.dequantize(t.data, t.tensor_type) for t in found}
    reference, _ = answer(model.write(tmp_path / "plain.gguf", plain))
    logits, _ = answer(path)
    assert relative_rms(logits, reference) < MIXED_TOLERANCE


def test_the_mixes_hold_every_type():
    used = {t for turn in (0, 5, 11) for t in mixed(LLAMA, turn).values()}
    assert used == {*SMALL_BLOCKS, *LARGE_BLOCKS}
