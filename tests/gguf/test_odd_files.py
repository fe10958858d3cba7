"""GGUF files that are odd in what does not matter, and files that are something else."""

from __future__ import annotations

import gc
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

import edgelm
import gguf_bytes as g
from edgelm import EdgelmWarning, ModelFormatError, UnsupportedModelError
from edgelm.gguf import check_is_model, open_gguf
from gguf_parts import GgufParts
from llama_cpp_vocab import LlamaCppVocab
from tiny_models import TinyLlama


def number(kind: int, value: int) -> bytes:
    return g.value("", kind, value)[8:]


def changed(path: Path, **values: bytes) -> Path:
    """The tiny model with other metadata, "__" for a dot: a type and a payload."""
    parts = GgufParts.of(TinyLlama().write(path).read_bytes())
    parts.values.update({key.replace("__", "."): value for key, value in values.items()})
    path.write_bytes(bytes(parts))
    return path


def answers(path: Path) -> list[float]:
    with edgelm.load(path) as model:
        return model.logits([1, 2, 3])[-1].tolist()


WHOLE = {
    "joined by gguf-split": [(g.U16, 0, g.U16, 0)],
    "one part": [(g.U16, 1, g.U16, 0)],
    "of any width": [(kind, n, kind, 0) for kind in (g.U8, g.I32, g.U32, g.U64) for n in (0, 1)],
    "joined from its third part": [(g.U16, 0, g.U16, 2)],
}


@pytest.mark.parametrize("case", WHOLE)
def test_what_announces_no_more_parts_is_whole(case: str, tmp_path: Path) -> None:
    plain = answers(TinyLlama().write(tmp_path / "plain.gguf"))
    for count_kind, count, kind, no in WHOLE[case]:
        path = changed(
            tmp_path / "m.gguf", split__count=number(count_kind, count), split__no=number(kind, no)
        )
        assert open_gguf(path).n_parts == 1
        assert answers(path) == plain
        if count_kind == kind == g.U16:  # llama.cpp knows no other width
            LlamaCppVocab(path).close()


def test_a_part_alone_is_no_whole(tmp_path: Path) -> None:
    """The seeded fault: more parts follow."""
    path = changed(tmp_path / "m.gguf", split__count=number(g.U16, 2), split__no=number(g.U16, 0))
    with pytest.raises(ModelFormatError, match="part 1 of 2"):
        open_gguf(path)


ODD = {
    "a bool of 255": (
        {"general__x": g.value("", g.BOOL, b"\xff")[8:]},
        "holds a bool of value 255",
    ),
    "bools of 2": ({"general__x": g.array("", g.BOOL, [b"\1", b"\2"])[8:]}, "bool of value 2"),
    "a key with an umlaut": ({"general__größe": number(g.U32, 1)}, r"gr\\xc3\\xb6.* is no ASCII"),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_metadata_that_nobody_needs_is_warned_of(case: str, tmp_path: Path) -> None:
    values, says = ODD[case]
    path = changed(tmp_path / "m.gguf", **values)
    with pytest.warns(EdgelmWarning, match=rf"m\.gguf: metadata .*{says}"):
        file = open_gguf(path)
    (key,) = values
    assert np.all(file.get(key.replace("__", ".")))
    with closing(LlamaCppVocab(path)) as theirs:  # takes it, too
        assert theirs.size == len(TinyLlama().tokens)


def test_a_latin_1_key_is_one_too(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(bytes(g.Gguf([g.value(b"gr\xf6\xdfe", g.U32, 7)])))
    with pytest.warns(EdgelmWarning, match=r"'gr\\xf6\\xdfe'"):
        assert len(open_gguf(path).keys()) == 1


def test_a_file_full_of_oddities_warns_a_few_times(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(bytes(g.Gguf([g.value(f"k{i}", g.BOOL, b"\3") for i in range(1000)])))
    with pytest.warns(EdgelmWarning) as caught:
        open_gguf(path)
    assert len(caught) == 4


def test_a_sound_file_warns_of_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answers(TinyLlama().write(tmp_path / "m.gguf"))


def test_the_command_shows_a_warning_once_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgelm.cli import main

    path = changed(tmp_path / "m.gguf", general__x=g.value("", g.BOOL, b"\xff")[8:])
    assert main(["run", str(path), "hi", "--max-tokens", "1"]) == 0  # opens the file twice
    lines = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert lines == [f"edgelm: warning: {lines[0].removeprefix('edgelm: warning: ')}"]
    assert "holds a bool of value 255" in lines[0]


def test_parts_joined_by_bytes_say_how_to_mend_it(tmp_path: Path) -> None:
    path = changed(tmp_path / "m.gguf", split__count=number(g.U16, 3), split__no=number(g.U16, 0))
    data = path.read_bytes()
    for padding in (b"", bytes(-len(data) % 32)):
        path.write_bytes(data + padding + data)
        with pytest.raises(ModelFormatError, match=r"joined by bytes.*gguf-split --merge"):
            open_gguf(path)


@pytest.mark.parametrize(
    "name",
    [
        *("big.Q6_K.gguf.part1of2", "big.Q6_K.gguf.part2of2", "big.Q6_K.gguf-split-a"),
        *("big.Q6_K.gguf.001", "big.Q6_K.gguf.aa", "big.Q6_K.gguf.part-01", "BIG.GGUF.PART1OF3"),
    ],
)
def test_pieces_say_how_to_join_them(name: str, tmp_path: Path) -> None:
    whole = TinyLlama().write(tmp_path / "whole.gguf").read_bytes()
    for piece in (whole[: len(whole) // 2], whole[len(whole) // 2 :]):
        (tmp_path / name).write_bytes(piece)
        with pytest.raises(
            ModelFormatError, match=r"(?i)several pieces.*`cat .*gguf\[\.-\]\* > .*gguf`"
        ) as e:
            open_gguf(tmp_path / name)
        assert name[:10] in str(e.value)
    (tmp_path / name).write_bytes(whole)  # a name alone is no fault
    assert open_gguf(tmp_path / name).tensors


def test_a_download_that_did_not_end_is_called_so(tmp_path: Path) -> None:
    whole = TinyLlama().write(tmp_path / "whole.gguf").read_bytes()
    for name in ("m.gguf.part", "m.gguf.crdownload", "m.gguf.incomplete"):
        (tmp_path / name).write_bytes(whole[:-100])
        with pytest.raises(ModelFormatError, match="download that did not end"):
            open_gguf(tmp_path / name)


def written(path: Path, arch: str, keys: dict[str, Any], tensors: list[str]) -> Path:
    writer = gguf.GGUFWriter(path, arch)
    for key, value in keys.items():
        writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
    for name in tensors:
        writer.add_tensor(name, np.zeros((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


OTHERS = {
    "a projector": ("clip", {"general.type": "mmproj"}, ["v.patch_embd.weight"], "projector"),
    "a projector by its tensors": ("x", {}, ["v.patch_embd.weight"], "projector"),
    "an imatrix": ("x", {"general.type": "imatrix"}, ["blk.0.attn_k.weight.in_sum2"], "importance"),
    "an imatrix by its tensors": ("llama", {}, ["blk.0.attn_k.weight.in_sum2"], "importance"),
    "a LoRA": ("llama", {"general.type": "adapter"}, ["blk.0.attn_q.weight.lora_a"], "LoRA"),
    "a LoRA by its type": ("llama", {"adapter.type": "lora"}, ["a.weight"], "LoRA"),
    "a control vector": ("controlvector", {}, ["direction.1"], "control vector"),
    "Flux": ("flux", {}, ["double_blocks.0.img_attn.proj.weight"], "diffusion model"),
    "Stable Diffusion": ("sdxl", {}, ["model.diffusion_model.x.weight"], "diffusion model"),
    "Whisper": ("whisper", {}, ["encoder.conv1.weight"], "Whisper"),
    "a language model by diffusion": ("dream", {}, ["token_embd.weight"], "writes by diffusion"),
    "an encoder": ("nomic-bert", {}, ["token_embd.weight"], "embeddings"),
    "a vocabulary": ("llama", {}, [], "vocabulary without a model"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_files_are_called_what_they_are(case: str, tmp_path: Path) -> None:
    arch, keys, tensors, says = OTHERS[case]
    path = written(tmp_path / "m.gguf", arch, keys, tensors)
    with pytest.raises(UnsupportedModelError, match=rf"m\.gguf is .*{says}.*\. \w+"):
        edgelm.load(path)


def test_a_model_is_called_nothing_else(smollm2_path: Path, gemma3_path: Path) -> None:
    for path in (smollm2_path, gemma3_path):
        check_is_model(open_gguf(path))


def test_a_folder_means_its_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "models--o--r" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    blob = TinyLlama().write(tmp_path / "models--o--r" / "blob")
    (snapshot / "m.Q8_0.gguf").symlink_to(blob)
    (snapshot / "mmproj-m.gguf").write_bytes(b"GGUF")
    found = open_gguf(tmp_path / "models--o--r")
    assert Path(found.path).name == "m.Q8_0.gguf"
    upper = tmp_path / "upper"
    upper.mkdir()
    TinyLlama().write(upper / "M.GGUF")
    assert open_gguf(upper).tensors
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_gguf("~/upper/M.GGUF").tensors
    assert open_gguf(Path("~/upper")).tensors
    TinyLlama().write(upper / "other.gguf")
    with pytest.raises(IsADirectoryError, match=r"2 models.*: M\.GGUF, other\.gguf\."):
        open_gguf(upper)
    gc.collect()
