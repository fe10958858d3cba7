"""The block formats. Independent sources: the gguf package's dequantizers, and llama.cpp's own."""

import gguf
import gguf.quants
import numpy as np
import pytest

import ggml_oracle
import quant_reference as reference
from edgelm import _core as core

QUANTS = {name: (gguf_id, block, n_bytes) for name, gguf_id, block, n_bytes in core.quants()}
BLOCK_QUANTS = [quant for quant, (_, block, _) in QUANTS.items() if block > 1]


def gguf_dequantize(quant, rows):
    native = {"f32": np.float32, "f16": np.float16}.get(quant, np.uint8)
    kind = gguf.GGMLQuantizationType(QUANTS[quant][0])
    return gguf.quants.dequantize(rows.view(native), kind).astype(np.float32)


def same_bits(a, b):
    """Equal bit for bit; a NaN equals any NaN."""
    a, b = np.float32(a), np.float32(b)
    return np.array_equal(np.isnan(a), np.isnan(b)) and np.array_equal(
        a.view(np.uint32)[~np.isnan(a)], b.view(np.uint32)[~np.isnan(b)]
    )


def all_rows(quant, k=1024):
    """Random, extreme and arbitrary bytes: the last bring NaN, infinite and subnormal scales."""
    rng = np.random.default_rng(7)
    rows = [reference.random_rows(rng, quant, 40, k), reference.extreme_rows(quant, k)]
    return np.concatenate([*rows, rng.integers(0, 256, (40, rows[0].shape[1]), dtype=np.uint8)])


def test_the_list_agrees_with_gguf():
    for quant, (gguf_id, block, n_bytes) in QUANTS.items():
        kind = gguf.GGMLQuantizationType(gguf_id)
        assert kind.name.lower() == quant
        assert gguf.GGML_QUANT_SIZES[kind] == (block, n_bytes)
        assert (reference.WEIGHTS[quant], reference.DTYPES[quant].itemsize) == (block, n_bytes)


@pytest.mark.parametrize("quant", QUANTS)
@np.errstate(all="ignore")
def test_decode_equals_gguf(quant):
    rows = all_rows(quant)
    assert same_bits(core.decode_rows(quant, rows, 1024), gguf_dequantize(quant, rows))


@pytest.mark.parametrize("quant", BLOCK_QUANTS)
def test_decode_equals_llama_cpp(quant):
    rows = all_rows(quant)
    want = ggml_oracle.dequantize(quant, rows, 1024)
    assert same_bits(core.decode_rows(quant, rows, 1024), want)


@pytest.mark.parametrize("quant", QUANTS)
@np.errstate(all="ignore")
def test_decode_rounds_the_reference_once(quant):
    """Every product of a format fits 24 bits, so float32 decoding rounds at most the final sum."""
    rows = all_rows(quant)
    assert same_bits(core.decode_rows(quant, rows, 1024), reference.decode(quant, rows))


@pytest.mark.parametrize("quant", BLOCK_QUANTS)
def test_a_wrong_bit_is_caught(quant):
    """Seeded fault: flipping any single bit of a block must make the oracles disagree with us.

    Exempt are bits that cannot matter: MXFP4's sign of zero, and a scale over zero codes.
    """
    rows = reference.random_rows(np.random.default_rng(3), quant, 1, QUANTS[quant][1])
    want = ggml_oracle.dequantize(quant, rows, QUANTS[quant][1])
    flips = np.eye(rows.size * 8, dtype=np.uint8)
    flipped = np.packbits(flips, axis=1) ^ rows
    got = core.decode_rows(quant, flipped, QUANTS[quant][1])
    unseen = np.count_nonzero((got == want).all(axis=1))
    assert unseen <= (want == 0).sum()


def test_f16_and_bf16_decode_every_value():
    bits = np.arange(65536, dtype=np.uint16)
    rows = bits.view(np.uint8).reshape(1, -1)
    assert same_bits(core.decode_rows("f16", rows, 65536)[0], bits.view(np.float16))
    want = (bits.astype(np.uint32) << 16).view(np.float32)
    assert same_bits(core.decode_rows("bf16", rows, 65536)[0], want)


def test_decode_takes_rows_at_odd_addresses():
    rows = reference.random_rows(np.random.default_rng(1), "f32", 3, 40)
    odd = np.zeros(rows.size + 1, np.uint8)[1:].reshape(rows.shape)
    odd[:] = rows
    assert np.array_equal(core.decode_rows("f32", odd, 40), rows.view(np.float32))


@pytest.mark.parametrize(
    ("quant", "shape", "k", "message"),
    [
        ("q9_z", (1, 34), 32, "unknown weight type 'q9_z'; the types are f32, f16"),
        ("q8_0", (1, 34), 33, "k is 33, but q8_0 rows hold a positive multiple of 32"),
        ("q8_0", (1, 34), 0, "k is 0"),
        ("q8_0", (1, 34), -32, "k is -32"),
        ("q4_k", (2, 143), 256, r"256 weights of q4_k are 144 bytes a row, .* \(2, 143\)"),
        ("q4_k", (144,), 256, r"shape \(144,\)"),
        ("f32", (1, 8), 2**31, "k is 2147483648"),
    ],
)
def test_decode_rows_refuses(quant, shape, k, message):
    with pytest.raises(ValueError, match=message):
        core.decode_rows(quant, np.zeros(shape, np.uint8), k)


def test_decode_rows_takes_bytes_only():
    with pytest.raises(TypeError):
        core.decode_rows("f32", np.zeros((1, 4), np.float32), 4)
