"""One model in every legal shape of file answers the same, through edgelm.load.

Independent sources: the gguf package writes the files, llama.cpp quantizes their tensors, and
transformers gives the logits of what the gguf package dequantizes (tools/make_mix_goldens.py).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

import edgelm
from arch_mixes import LARGE_BLOCKS, MIXES, SMALL_BLOCKS, median_error, mixed, write_mix
from arch_model import TOKENS, relative_rms
from arch_models import MODELS

LLAMA = MODELS["llama"]
GOLDEN = Path(__file__).parents[1] / "golden" / "mixes.npz"
# Our error on a mixed file as a multiple of llama.cpp's.
MIXED_RATIO = 1.25


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
    assert relative_rms(logits, expected[0]) > 0.4


@pytest.mark.slow
@pytest.mark.parametrize(("name", "turn"), MIXES)
def test_any_mix_of_types(name, turn, tmp_path):
    """Against transformers' logits of the same weights; llama.cpp's distance from them beside."""
    golden = np.load(GOLDEN)
    logits, _ = answer(write_mix(name, turn, tmp_path / "mixed.gguf"))
    error = median_error(logits, golden[f"{name}-{turn}"].astype(np.float32))
    assert error <= MIXED_RATIO * golden[f"{name}-{turn}-llama_cpp_error"]


def test_another_mix_is_caught(tmp_path):
    """The seeded fault: the types of one turn where those of another are meant."""
    golden = np.load(GOLDEN)
    logits, _ = answer(write_mix("llama", 0, tmp_path / "mixed.gguf"))
    error = median_error(logits, golden["llama-11"].astype(np.float32))
    assert error > 2 * MIXED_RATIO * golden["llama-11-llama_cpp_error"]


def test_the_mixes_hold_every_type():
    used = {t for name, turn in MIXES if name == "llama" for t in mixed(LLAMA, turn).values()}
    assert used == {*SMALL_BLOCKS, *LARGE_BLOCKS}
