"""The GGUF reader against the gguf package's writer and reader, which share no code with it."""

import os
import struct
import threading
import time
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from gguf.constants import GGML_QUANT_SIZES

from edgelm.errors import ModelFormatError, UnsupportedModelError
from edgelm.gguf import open_gguf
from gguf_bytes import STRING, U32, Gguf, array, number, string, tensor, value

KNOWN = {
    "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1",
    "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4",
}  # fmt: skip


def finish(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def raw_tensor(rng, quant: GGMLQuantizationType, n: int, k: int):
    block, block_bytes = GGML_QUANT_SIZES[quant]
    return rng.integers(0, 256, (n, k // block * block_bytes), dtype=np.uint8)


SCALARS = {
    GGUFValueType.UINT8: [0, 255],
    GGUFValueType.INT8: [-128, 127],
    GGUFValueType.UINT16: [0, 65535],
    GGUFValueType.INT16: [-32768, 32767],
    GGUFValueType.UINT32: [0, 2**32 - 1],
    GGUFValueType.INT32: [-(2**31), 2**31 - 1],
    GGUFValueType.UINT64: [0, 2**64 - 1],
    GGUFValueType.INT64: [-(2**63), 2**63 - 1],
    GGUFValueType.FLOAT32: [0.0, -1.5, float(np.float32(3.4e38)), float("inf")],
    GGUFValueType.FLOAT64: [1e300, -0.1],
    GGUFValueType.BOOL: [True, False],
    GGUFValueType.STRING: ["", "text", "naïve 😀\n\0 end"],
}


def test_every_scalar_type(tmp_path):
    path = tmp_path / "m.gguf"
    writer = GGUFWriter(path, "llama")
    expected = {"general.architecture": "llama"}
    for kind, values in SCALARS.items():
        for i, v in enumerate(values):
            expected[f"{kind.name}.{i}"] = v
            writer.add_key_value(f"{kind.name}.{i}", v, kind)
    finish(writer)
    file = open_gguf(path)
    assert sorted(file.keys()) == sorted(expected)
    for key, v in expected.items():
        got = file.get(key)
        assert type(got) is type(v)
        assert got == v
        assert file.array_length(key) == -1
    assert file.get("absent") is None
    assert file.array_length("absent") == -1
    assert (file.version, file.alignment, file.n_parts) == (3, 32, 1)
    assert (file.path, file.n_bytes) == (str(path), path.stat().st_size)


def test_every_array_type(tmp_path):
    path = tmp_path / "m.gguf"
    writer = GGUFWriter(path, "llama")
    for kind, values in SCALARS.items():
        writer.add_key_value(f"a.{kind.name}", values * 3, GGUFValueType.ARRAY, sub_type=kind)
    finish(writer)
    file = open_gguf(path)
    widths = {"8": 1, "16": 2, "32": 4, "64": 8}
    for kind, values in SCALARS.items():
        got = file.get(f"a.{kind.name}")
        assert list(got) == values * 3
        assert file.array_length(f"a.{kind.name}") == len(values) * 3
        if kind is GGUFValueType.STRING:
            assert isinstance(got, list)
        elif kind is not GGUFValueType.BOOL:
            assert got.dtype.itemsize == widths[kind.name.lstrip("UINTFLOA")]
            assert got.flags.aligned
            assert got.flags.owndata  # a copy: it may outlive the file
        else:
            assert got.dtype == np.bool_


def test_an_empty_array_and_bytes_that_are_no_utf8(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(
        bytes(
            Gguf(
                [array("e", U32, []), array("s", STRING, []), value("t", STRING, string(b"\xffa"))]
            )
        )
    )
    file = open_gguf(path)
    assert file.get("e").shape == (0,)
    assert file.get("s") == []
    assert (file.array_length("e"), file.array_length("s")) == (0, 0)
    assert file.get("t") == "\N{REPLACEMENT CHARACTER}a"


def check_against_gguf_package(path: Path) -> None:
    """Every tensor's name, type, shape, place and bytes, and every value, as GGUFReader has it."""
    file, reader = open_gguf(path), GGUFReader(path)
    assert [t.name for t in file.tensors] == [t.name for t in reader.tensors]
    for ours, theirs in zip(file.tensors, reader.tensors, strict=True):
        assert ours.type == theirs.tensor_type.name
        assert ours.shape == tuple(reversed(theirs.shape.tolist()))
        assert (ours.offset, ours.n_bytes) == (theirs.data_offset, theirs.n_bytes)
        assert np.array_equal(file.read(ours), theirs.data.reshape(-1).view(np.uint8))
    keys = [k for k in reader.fields if not k.startswith("GGUF.")]
    assert file.keys() == keys
    for key in keys:
        theirs, ours = reader.fields[key].contents(), file.get(key)
        assert np.array_equal(ours, theirs) if isinstance(ours, np.ndarray) else ours == theirs


@pytest.mark.parametrize("alignment", [None, 1, 8, 64, 1 << 20])
def test_every_tensor_type_lies_where_the_gguf_package_finds_it(tmp_path, rng, alignment):
    path = tmp_path / "m.gguf"
    writer = GGUFWriter(path, "llama")
    if alignment:
        writer.add_custom_alignment(alignment)
    for name in sorted(KNOWN):
        quant = GGMLQuantizationType[name]
        data = raw_tensor(rng, quant, 3, 512)
        if name in ("F32", "F16"):
            data = data.view(np.float32 if name == "F32" else np.float16)
        writer.add_tensor(f"blk.0.{name}.weight", data, raw_dtype=quant)
    quant = GGMLQuantizationType.Q8_0
    writer.add_tensor("experts", raw_tensor(rng, quant, 10, 64).reshape(2, 5, -1), raw_dtype=quant)
    writer.add_tensor("vector", np.arange(7, dtype=np.float32))
    finish(writer)
    check_against_gguf_package(path)


def test_the_oracle_sees_a_moved_tensor(tmp_path, rng):
    """A seeded fault: with one offset changed, our bytes must differ from the package's."""
    path = tmp_path / "m.gguf"
    writer = GGUFWriter(path, "llama")
    for name in ("a", "b"):
        writer.add_tensor(name, rng.normal(size=8).astype(np.float32))
    finish(writer)
    check_against_gguf_package(path)
    theirs = GGUFReader(path).tensors
    at = path.read_bytes().index(struct.pack("<IQ", 0, 32))
    broken = bytearray(path.read_bytes())
    broken[at : at + 12] = struct.pack("<IQ", 0, 64)
    path.write_bytes(bytes(broken) + bytes(32))
    file = open_gguf(path)
    assert not np.array_equal(file.read(file.tensors[1]), theirs[1].data.view(np.uint8))


@pytest.mark.parametrize("quant", [q for q in GGMLQuantizationType if q.name not in KNOWN])
def test_types_without_kernels_are_named(tmp_path, rng, quant):
    path = tmp_path / "m.gguf"
    writer = GGUFWriter(path, "llama")
    block, _ = GGML_QUANT_SIZES[quant]
    writer.add_tensor("odd.weight", raw_tensor(rng, quant, 2, block * 2), raw_dtype=quant)
    finish(writer)
    with pytest.raises(UnsupportedModelError, match=rf"'odd.weight' has the type {quant.name},"):
        open_gguf(path)


def test_block_sizes_are_the_gguf_packages(tmp_path):
    """The sizes of quants.def, seen through a file: one byte less is refused."""
    for name in KNOWN:
        quant = GGMLQuantizationType[name]
        block, block_bytes = GGML_QUANT_SIZES[quant]
        path = tmp_path / f"{name}.gguf"
        whole = Gguf(tensors=[tensor("t", [block, 3], int(quant))], data=bytes(3 * block_bytes))
        path.write_bytes(bytes(whole))
        assert open_gguf(path).tensors[0].n_bytes == 3 * block_bytes
        path.write_bytes(bytes(whole)[:-1])
        with pytest.raises(ModelFormatError, match="past the file's end"):
            open_gguf(path)


def test_version_2_reads_like_version_3(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(bytes(Gguf(tensors=[tensor("t", [8])], data=bytes(32), version=2)))
    assert open_gguf(path).version == 2
    check_against_gguf_package(path)


def write_split(folder: Path, rng) -> list[Path]:
    writer = GGUFWriter(folder / "big.gguf", "llama", split_max_tensors=2)
    for i in range(5):
        writer.add_tensor(f"t{i}", rng.normal(size=(i + 1, 8)).astype(np.float32))
    finish(writer)
    return sorted(folder.glob("*.gguf"))


def test_split_files_open_as_one(tmp_path, rng):
    parts = write_split(tmp_path, rng)
    assert [p.name for p in parts] == [f"big-{i:05}-of-00003.gguf" for i in (1, 2, 3)]
    file = open_gguf(parts[0])
    assert [t.name for t in file.tensors] == [f"t{i}" for i in range(5)]
    assert [t.part for t in file.tensors] == [0, 0, 1, 1, 2]
    assert (file.n_parts, file.n_bytes) == (3, sum(p.stat().st_size for p in parts))
    theirs = {t.name: t for p in parts for t in GGUFReader(p).tensors}
    for t in file.tensors:
        assert t.offset == theirs[t.name].data_offset
        assert np.array_equal(file.read(t), theirs[t.name].data.reshape(-1).view(np.uint8))


def test_split_files_that_do_not_belong_together(tmp_path, rng):
    (tmp_path / "a").mkdir()
    parts = write_split(tmp_path / "a", rng)
    with pytest.raises(ModelFormatError, match=r"part 2 of 3. Open the first, big-00001-of-00003"):
        open_gguf(parts[1])
    second = parts[1].read_bytes()
    parts[1].write_bytes(parts[2].read_bytes())
    with pytest.raises(ModelFormatError, match=r"expected part 2 of 3 in big-00002-of-00003.gguf"):
        open_gguf(parts[0])
    parts[1].write_bytes(second.replace(b"t2", b"t0"))
    with pytest.raises(ModelFormatError, match="tensor 't0' occurs twice"):
        open_gguf(parts[0])
    (tmp_path / "b").mkdir()
    other = GGUFWriter(tmp_path / "b" / "x.gguf", "llama", split_max_tensors=1)
    for name in ("u0", "u1", "u2"):
        other.add_tensor(name, np.zeros(8, np.float32))
    finish(other)
    parts[1].write_bytes((tmp_path / "b" / "x-00002-of-00003.gguf").read_bytes())
    with pytest.raises(ModelFormatError, match=r"split.tensors.count is 5 but .* hold 4"):
        open_gguf(parts[0])
    parts[1].unlink()
    with pytest.raises(OSError, match=r"big-00002-of-00003.gguf: cannot open: No such file"):
        open_gguf(parts[0])
    renamed = parts[0].rename(tmp_path / "model.gguf")
    with pytest.raises(ModelFormatError, match=r"must end with -00001-of-00003.gguf"):
        open_gguf(renamed)


LOOKALIKES = {
    b"": "the file is empty",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n": "Git LFS pointer.*git lfs pull",
    struct.pack("<Q", 30) + b'{"__metadata__":{}}': "safetensors file.*convert it",
    b"PK\x03\x04....": "zip archive or a PyTorch checkpoint",
    b"\x80\x02}q": "pickle",
    b"\x1f\x8b\x08": "gzip archive. Unpack",
    b"<!DOCTYPE html><html>": "HTML.*download link",
    b"\xef\xbb\xbf\n <html>": "HTML",
    b'{"error":"Repository not found"}': "JSON text",
    b"tjgg\x03\0\0\0": "before GGUF",
    b"hello": "not a GGUF file: it begins with b'hell'",
}


@pytest.mark.parametrize("start", LOOKALIKES)
def test_other_files_are_told_apart(tmp_path, start):
    path = tmp_path / "model.gguf"
    path.write_bytes(start)
    with pytest.raises(ModelFormatError, match=LOOKALIKES[start]) as caught:
        open_gguf(path)
    assert "\n" not in str(caught.value)


def test_paths_that_are_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file"):
        open_gguf(tmp_path / "absent.gguf")
    with pytest.raises(IsADirectoryError, match=r"holds no .gguf file"):
        open_gguf(tmp_path)
    for name in ("b.gguf", "a.gguf"):
        (tmp_path / name).write_bytes(bytes(Gguf()))
    with pytest.raises(IsADirectoryError, match=r"directory of 2 models.*: a\.gguf, b\.gguf"):
        open_gguf(str(tmp_path))
    os.mkfifo(tmp_path / "pipe")  # opening one blocks until somebody writes
    with pytest.raises(OSError, match="not a regular file"):
        open_gguf(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        open_gguf("/dev/zero")
    with pytest.raises(ValueError, match="null"):
        open_gguf("a\0b")


def test_no_permission(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(bytes(Gguf()))
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may read everything
    try:
        with pytest.raises(PermissionError):
            open_gguf(path)
    finally:
        os.seteuid(user)


def test_a_path_that_is_no_utf8(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.gguf"))
    path.write_bytes(bytes(Gguf()))
    assert open_gguf(path).get("general.architecture") == "x"


def test_a_file_that_shrinks_is_an_error_not_a_crash(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(bytes(Gguf(tensors=[tensor("t", [4096])], data=bytes(16384))))
    file = open_gguf(path)
    os.truncate(path, path.stat().st_size - 4096)
    with pytest.raises(OSError, match=r"m\.gguf: the file shrank while it was read"):
        file.read(file.tensors[0])


def test_tensors_keep_their_file_alive_and_know_it(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(bytes(Gguf(tensors=[tensor("t", [8])], data=bytes(32))))
    orphan = open_gguf(path).tensors[0]
    assert (orphan.name, orphan.shape) == ("t", (8,))
    with pytest.raises(ValueError, match="belongs to another file"):
        open_gguf(path).read(orphan)


def test_reads_from_many_threads(tmp_path, rng):
    path = tmp_path / "m.gguf"
    data = rng.integers(0, 256, 1 << 20, dtype=np.uint8)
    path.write_bytes(bytes(Gguf(tensors=[tensor("t", [1 << 18])], data=data.tobytes())))
    file = open_gguf(path)
    wrong = []

    def read():
        for _ in range(8):
            if not np.array_equal(file.read(file.tensors[0]), data):
                wrong.append(1)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_a_large_vocabulary_opens_quickly(tmp_path):
    """262,144 tokens with scores, as Gemma's: about 10 ms here; Python lists would take seconds."""
    tokens = [string(f"token{i}") for i in range(262144)]
    scores = [number(U32, i) for i in range(262144)]
    path = tmp_path / "m.gguf"
    path.write_bytes(bytes(Gguf([array("tokens", STRING, tokens), array("scores", U32, scores)])))
    seconds = min(timed(lambda: open_gguf(path)) for _ in range(5))
    assert seconds < 0.25
    file = open_gguf(path)
    assert file.get("tokens")[262143] == "token262143"
    assert file.get("scores")[262143] == 262143


def timed(action) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def test_gguf_package_version_knows_what_we_know():
    """Or the oracle above would silently test less."""
    assert set(GGMLQuantizationType.__members__) >= KNOWN, gguf.__file__
