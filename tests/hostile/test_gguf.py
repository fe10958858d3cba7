"""Malformed GGUF files end in one clear exception: no crash, no hang, no huge allocation."""

import os
import resource
import subprocess
import sys
import textwrap
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelm._core import GgufFile
from edgelm.errors import EdgelmError, ModelFormatError, UnsupportedModelError
from gguf_bytes import (
    ARRAY,
    BOOL,
    F32,
    I32,
    STRING,
    TENSOR_Q4_0,
    TENSOR_Q4_K,
    U8,
    U16,
    U32,
    U64,
    Gguf,
    array,
    number,
    string,
    tensor,
    value,
)

F32_8 = bytes(32)  # 8 floats


def with_tensors(*tensors: bytes, data: bytes = F32_8, **rest) -> Gguf:
    return Gguf(tensors=list(tensors), data=data, **rest)


def with_values(*values: bytes, **rest) -> Gguf:
    return Gguf(values=list(values), **rest)


ALIGNMENT = "general.alignment"

# name: (file, what the message must say)
DAMAGED = {
    "empty": (b"", "empty"),
    "magic": (Gguf(magic=b"GGML"), "begins with 'GGML'"),
    "magic-with-escapes": (Gguf(magic=b"\x1b[2J"), r"begins with '\\x1b\[2J'"),
    "only-magic": (b"GGUF", "the version needs 4 bytes"),
    "value-count": (Gguf(n_values=2**63), "number of metadata values is 9223372036854775808"),
    "value-count-one-more": (Gguf(n_values=2), "the file ends"),
    "tensor-count": (Gguf(n_tensors=2**64 - 1), "number of tensors is 18446744073709551615"),
    "tensor-count-one-more": (with_tensors(tensor("a", [8]), n_tensors=2), "tensor name ''"),
    "key-length": (with_values(string(b"k", 2**64 - 1)), "needs 18446744073709551615 bytes"),
    "key-empty": (with_values(value("", U32, 1)), "key ''"),
    "key-overlong": (with_values(value("k" * 65536, U32, 1)), "of 65536 bytes"),
    "key-duplicate": (with_values(value("k", U32, 1), value("k", U32, 1)), "'k' occurs twice"),
    "key-control": (with_values(value("a\nb", U32, 1)), r"'a\\x0ab'"),
    "value-type": (with_values(value("k", 13, b"\0" * 8)), "unknown type 13"),
    "value-type-huge": (with_values(value("k", 2**32 - 1, b"\0" * 8)), "unknown type 4294967295"),
    "string-length": (with_values(value("k", STRING, string(b"abc", 4))), "needs 4 bytes"),
    "string-wraps": (with_values(value("k", STRING, string(b"abc", 2**64 - 4))), "the file ends"),
    "array-type": (with_values(array("k", 99, [b"\0"])), "unknown type 99"),
    "array-length": (with_values(array("k", U32, [b"\0" * 4], 2)), "array's length is 2"),
    "array-wraps": (with_values(array("k", U64, [b"\0" * 8], 2**61)), "length is 23058430"),
    "strings-length": (with_values(array("k", STRING, [string("a")], 2**40)), "length is|needs"),
    "strings-short": (with_values(array("k", STRING, [string("a" * 30)], 3)), "the file ends"),
    "alignment-0": (with_values(value(ALIGNMENT, U32, 0)), "power of two"),
    "alignment-24": (with_values(value(ALIGNMENT, U32, 24)), "alignment is 24"),
    "alignment-2M": (with_values(value(ALIGNMENT, U32, 1 << 21)), "alignment is 2097152"),
    "alignment-u64": (with_values(value(ALIGNMENT, U64, 32)), "must be a u32, but is u64"),
    "alignment-array": (with_values(array(ALIGNMENT, U32, [number(U32, 32)])), "u32 array"),
    "tensor-name-empty": (with_tensors(tensor("", [8])), "name ''"),
    "tensor-name-65": (with_tensors(tensor("t" * 65, [8])), "of 65 bytes"),
    "tensor-name-escape": (with_tensors(tensor("\x1b]0;x", [8])), r"\\x1b\]0;x"),
    "tensor-duplicate": (
        with_tensors(tensor("a", [4]), tensor("a", [4], offset=32), data=bytes(64)),
        "tensor 'a' occurs twice",
    ),
    "dims-0": (with_tensors(tensor("a", [])), "0 dimensions"),
    "dims-5": (with_tensors(tensor("a", [1] * 5)), "5 dimensions"),
    "dims-many": (with_tensors(tensor("a", [1], n_dims=2**32 - 1)), "4294967295 dimensions"),
    "dim-zero": (with_tensors(tensor("a", [8, 0])), "dimension 1 is 0"),
    "dim-negative": (with_tensors(tensor("a", [-8])), "dimension 0 is -8"),
    "dims-overflow": (with_tensors(tensor("a", [2**32, 2**31, 2**31])), "larger than the file"),
    "dims-wrap-to-32": (with_tensors(tensor("a", [2**62, 4, 1, 2])), "larger than the file"),
    "rows-of-33": (with_tensors(tensor("a", [33], TENSOR_Q4_0)), "rows of 33 weights"),
    "rows-of-32": (with_tensors(tensor("a", [32], TENSOR_Q4_K)), "block of 256"),
    "offset-misaligned": (with_tensors(tensor("a", [4], offset=16)), "offset 16, no multiple"),
    "offset-past-end": (with_tensors(tensor("a", [8], offset=32)), "past the file's end"),
    "offset-wraps": (with_tensors(tensor("a", [8], offset=2**64 - 32)), "past the file's end"),
    "one-float-short": (with_tensors(tensor("a", [8]), data=bytes(28)), "past the file's end"),
    "overlap": (
        with_tensors(tensor("a", [16]), tensor("b", [8], offset=32), data=bytes(96)),
        "'a' and 'b' overlap",
    ),
    "same-place": (with_tensors(tensor("a", [8]), tensor("b", [8])), "overlap"),
    "split-no-too-big": (
        with_values(value("split.count", U16, 2), value("split.no", U16, 2)),
        "contradict",
    ),
    "split-count-huge": (with_values(value("split.count", U64, 2**40)), "contradict"),
    "split-count-string": (with_values(value("split.count", STRING, "2")), "must be an integer"),
    "split-renamed": (
        with_values(value("split.count", U16, 2), value("split.no", U16, 0)),
        "must end with -00001-of-00002.gguf",
    ),
}

UNSUPPORTED = {
    "version-0": (Gguf(version=0), "."),
    "version-1": (Gguf(version=1), "version 1"),
    "version-4": (Gguf(version=4), "version 4"),
    "big-endian": (Gguf(version=3 << 24), "big-endian"),
    "nested-array": (with_values(array("k", ARRAY, [number(U32, 4)])), "array of arrays"),
    "tensor-type-removed": (with_tensors(tensor("a", [32], 4)), r"Q4_2 \(removed\).*Known types"),
    "tensor-type-iq2": (with_tensors(tensor("a", [256], 16)), "'a' has the type IQ2_XXS"),
    "tensor-type-i32": (with_tensors(tensor("a", [8], 26)), "I32"),
    "tensor-type-unknown": (with_tensors(tensor("a", [8], 1234)), "unknown type 1234"),
}


def open_bytes(tmp_path, data) -> GgufFile:
    path = tmp_path / "model.gguf"
    path.unlink(missing_ok=True)  # rewriting in place makes some file systems flush
    path.write_bytes(bytes(data))
    return GgufFile(path)


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged(tmp_path, case):
    data, message = DAMAGED[case]
    with pytest.raises(ModelFormatError, match=message) as caught:
        open_bytes(tmp_path, data)
    assert str(caught.value).startswith("model.gguf: ")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_unsupported(tmp_path, case):
    data, message = UNSUPPORTED[case]
    with pytest.raises(UnsupportedModelError, match=message):
        open_bytes(tmp_path, data)


def test_the_builder_writes_sound_files_by_default(tmp_path):
    """Or every case above would fail for a reason of its own."""
    file = open_bytes(tmp_path, with_tensors(tensor("a", [4, 2])))
    assert file.tensors[0].shape == (2, 4)
    assert open_bytes(tmp_path, Gguf()).get("general.architecture") == "x"


TINY = bytes(
    Gguf(
        values=[
            value("general.architecture", STRING, "llama"),
            value(ALIGNMENT, U32, 8),
            array("tokens", STRING, [string(t) for t in ("a", "", "über")]),
            array("scores", F32, [number(F32, x) for x in (0.5, -1, 2)]),
            array("bools", BOOL, [b"\1", b"\0"]),
            array("none", I32, []),
            value("byte", U8, 255),
        ],
        tensors=[
            tensor("a", [8]),
            tensor("b", [32, 3], TENSOR_Q4_0, offset=32),
            tensor("c", [256, 1, 2], TENSOR_Q4_K, offset=88),
        ],
        data=bytes(range(256)) + bytes(88 + 288 - 256),
        alignment=8,
    )
)


def walk(file: GgufFile) -> None:
    """Touch everything that the file claims to hold."""
    for key in file.keys():  # noqa: SIM118
        file.get(key)
        file.array_length(key)
    for t in file.tensors:
        assert file.read(t).nbytes == t.n_bytes
        repr(t)


def test_truncation_at_every_byte(tmp_path):
    walk(open_bytes(tmp_path, TINY))
    for n in range(len(TINY)):
        with pytest.raises(ModelFormatError):
            open_bytes(tmp_path, TINY[:n])


@pytest.fixture(scope="module")
def mutant_path(tmp_path_factory):
    return tmp_path_factory.mktemp("mutants") / "mutant.gguf"


EDGE_BYTES = st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFF]) | st.integers(0, 255)


@pytest.mark.slow
@settings(max_examples=600, deadline=1000)
@given(edits=st.lists(st.tuples(st.integers(0, len(TINY) - 1), EDGE_BYTES), min_size=1, max_size=8))
def test_mutated_bytes(mutant_path, edits):
    mutant = bytearray(TINY)
    for at, byte in edits:
        mutant[at] = byte
    mutant_path.unlink(missing_ok=True)  # rewriting in place makes some file systems flush
    mutant_path.write_bytes(mutant)
    try:
        walk(GgufFile(mutant_path))
    except EdgelmError as error:
        message = str(error)
    else:
        message = ""
    assert message.isprintable()


@pytest.mark.parametrize("claim", ["numbers", "strings", "values", "tensor"])
def test_a_sparse_file_buys_no_memory(tmp_path, claim):
    """A terabyte of holes makes every count plausible; the header's own limit must hold."""
    huge = {
        "numbers": with_values(array("k", U8, [], 2**39)),
        "strings": with_values(array("k", STRING, [], 2**36)),
        "values": Gguf(n_values=2**36),
        "tensor": with_tensors(tensor("a", [2**37]), data=b""),
    }[claim]
    path = tmp_path / "sparse.gguf"
    path.write_bytes(bytes(huge))
    try:
        os.truncate(path, 2**40)
    except OSError:
        pytest.skip("this file system has no sparse files of a terabyte")
    program = f"""
        import resource
        from edgelm._core import GgufFile
        from edgelm.errors import ModelFormatError
        try:
            file = GgufFile({str(path)!r})
        except ModelFormatError as error:
            print(error)
        print("peak MiB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    """
    begun = time.perf_counter()
    limit = 2 << 30
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 800
    assert time.perf_counter() - begun < 20
