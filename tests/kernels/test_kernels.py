"""Every matmul kernel on every ISA against float64.

The float64 side decodes with quant_reference, which test_quant.py holds against the gguf package
and llama.cpp. Two bounds are checked. The kernels' own: everything after the quantization of x is
exact integers and a few float32 operations a block. And the user's: half a step of quantizing x.
"""

import numpy as np
import pytest

import ggml_oracle
import quant_reference as reference
from edgelm import _core as core

ISAS = core.usable_isas()
QUANTS = [name for name, *_ in core.quants()]
EPSILON = 2.0**-24
TINY = 2.0**-110  # activations below this count as zero
N_TOKENS = (1, 2, 3, 4, 5, 8, 16, 17, 40)
FORMS = ("auto", "fused", "panel")


class Exact(str):
    """An ISA's kernels for 16-bit activations."""


# Types whose weights multiply activations of 16 bits where that is asked, or free.
EXACT_QUANTS = ("q8_0", "iq4_nl", "iq4_xs")
INTEGER_QUANTS = [quant for quant in QUANTS if reference.WEIGHTS[quant] > 1]


def kernels(quants):
    """(quant, ISA) of every matmul kernel."""
    for quant in quants:
        for isa in ISAS:
            yield pytest.param(quant, isa, id=f"matmul-{quant}-{isa}")
            if quant in EXACT_QUANTS:
                yield pytest.param(quant, Exact(isa), id=f"matmul-{quant}-{isa}-exact")


def packed(isa, quant, rows, k):
    return core.PackedMatrix(isa, quant, rows, k, exact=isinstance(isa, Exact))


def quantized(isa, quant, x):
    return core.quantize(isa, quant, x, exact=isinstance(isa, Exact))


KERNELS = list(kernels(QUANTS))
INTEGER_KERNELS = list(kernels(INTEGER_QUANTS))

SHAPES = {
    1: [(1, 1), (3, 172), (17, 64), (33, 577), (40, 4352)],
    32: [(1, 256), (7, 512), (16, 32), (17, 64), (33, 576), (40, 4352)],
    256: [(1, 256), (7, 512), (33, 1024), (40, 4352)],
}
SHAPED = [
    pytest.param(*kernel.values, n, k, id=f"{kernel.id}-{n}x{k}")
    for kernel in KERNELS
    for n, k in SHAPES[reference.WEIGHTS[kernel.values[0]]]
]


def activations(rng, n_tokens, k):
    """Normal values with a few outliers, as transformers have; row 11, if there, is zero."""
    x = rng.standard_normal((n_tokens, k)).astype(np.float32)
    x[:, :: max(1, k // 5)] *= 20
    x[11:12] = 0
    return x


def rounding(quant, k):
    """Relative error of one output: its float32 operations in order, a few a scaled block."""
    return (k / min(16, reference.WEIGHTS[quant]) + 8) * EPSILON


def half_step(quant, x):
    """Greatest error of int8 quantization with a scale for 32: half of amax / 127. (T, K)."""
    if reference.WEIGHTS[quant] == 1:
        return np.zeros(x.shape)
    amax = np.abs(x.astype(np.float64)).reshape(len(x), -1, 32).max(axis=-1)
    return np.repeat(amax, 32, axis=-1) / 254


def assert_exact(quant, isa, rows, x, out):
    """out is w . quantize(x) up to float32 rounding."""
    seen = quantized(isa, quant, x).astype(np.float64)
    want = seen @ reference.decode(quant, rows).T
    scale = np.abs(seen) @ reference.magnitude(quant, rows).T
    worst = np.abs(out - want) - rounding(quant, x.shape[1]) * scale - 1e-37
    assert worst.max() <= 0, f"error {np.abs(out - want).max():.3g} at {worst.argmax()}"


def assert_accurate(quant, rows, x, out):
    """out is w . x up to half a step of int8 activations, and rounding."""
    x = x.astype(np.float64)
    weights = reference.decode(quant, rows)
    bound = 1.01 * (half_step(quant, x) + TINY) @ np.abs(weights).T
    bound += rounding(quant, x.shape[1]) * np.abs(x) @ reference.magnitude(quant, rows).T
    worst = np.abs(out - x @ weights.T) - bound - 1e-37
    assert worst.max() <= 0, f"{worst.max():.3g} above the bound, at {worst.argmax()}"


@pytest.mark.parametrize(("quant", "isa", "n", "k"), SHAPED)
def test_matmul_is_the_product(quant, isa, n, k, rng):
    rows, x = reference.random_rows(rng, quant, n, k), activations(rng, 40, k)
    out = packed(isa, quant, rows, k).matmul(x)
    assert out.shape == (40, n)
    assert_exact(quant, isa, rows, x, out)
    assert_accurate(quant, rows, x, out)


@pytest.mark.parametrize(("quant", "isa"), KERNELS)
def test_one_wrong_bit_is_caught(quant, isa, rng):
    """Seeded fault: the lowest bit of one weight, of the largest scale, flips behind the oracle."""
    k = 512
    rows, x = reference.random_rows(rng, quant, 16, k), activations(rng, 8, k)
    values = core.decode_rows(quant, rows, k)
    for position in rng.permutation(rows.shape[1] * 8):
        byte, bit = divmod(int(position), 8)
        wrong = rows.copy()
        wrong[:, byte] ^= 1 << bit
        moved = np.abs(core.decode_rows(quant, wrong, k) - values)
        if 0.02 < moved.max() / np.abs(values).max() < 10:
            break
    out = packed(isa, quant, wrong, k).matmul(x)
    with pytest.raises(AssertionError):
        assert_exact(quant, isa, rows, x, out)


@pytest.mark.parametrize(("quant", "isa", "n", "k"), SHAPED)
def test_a_row_has_the_same_bits_in_every_call(quant, isa, n, k, rng):
    """Whatever the form, the tokens beside it, the threads and the rows packed together."""
    rows, x = reference.random_rows(rng, quant, n, k), activations(rng, 40, k)
    whole = packed(isa, quant, rows, k)
    want = whole.matmul(x)

    def same(out, part):
        assert np.array_equal(out.view(np.uint32), part.view(np.uint32))

    for form in FORMS:
        for n_tokens in N_TOKENS:
            same(whole.matmul(x[:n_tokens], form), want[:n_tokens])
        same(whole.matmul(x[23:], form), want[23:])
    for n_threads in (2, 3):
        same(whole.matmul(x, n_threads=n_threads), want)
        same(whole.matmul(x[7:8], n_threads=n_threads), want[7:8])
    for cut in {n // 3, n // 2, n - 1} - {0}:
        for part in (slice(0, cut), slice(cut, n)):
            split = packed(isa, quant, rows[part], k)
            same(split.matmul(x[:5]), np.ascontiguousarray(want[:5, part]))


@pytest.mark.slow
@pytest.mark.parametrize("quant", QUANTS)
def test_a_large_matrix(quant, rng):
    """Many groups and a panel longer than one pass, on the fastest ISA."""
    n, k = 1024, 4352
    rows, x = reference.random_rows(rng, quant, n, k), activations(rng, 17, k)
    matrix = core.PackedMatrix(ISAS[0], quant, rows, k)
    out = matrix.matmul(x, n_threads=2)
    assert_exact(quant, ISAS[0], rows, x, out)
    assert np.array_equal(matrix.matmul(x[:1]), out[:1])
    assert np.array_equal(matrix.matmul(x, "fused"), out)


FUSED = [isa for isa in ISAS if isa in ("avx2", "avxvnni", "avx512vnni")]
ARM = [isa for isa in ISAS if isa in ("neon", "dotprod", "i8mm")]
TWICE_ROUNDED = [isa for isa in ISAS if isa in ("scalar", "scalar_wide")]


@pytest.mark.parametrize("quant", QUANTS)
def test_isas_agree_bit_by_bit(quant, rng):
    """All that sum integers exactly and then floats in one order, with fma or without.

    8-bit activations for Q8_0 and IQ4 are a choice of the wide ones and ARM; 16-bit ones all have.
    9 tokens are enough for the matrix instruction of i8mm, 3 are not.
    """
    rows, x = reference.random_rows(rng, quant, 33, 1024), activations(rng, 9, 1024)
    kinds = [Exact, str] if quant in EXACT_QUANTS else [str]
    for isas in (FUSED, ARM, TWICE_ROUNDED):
        for kind in kinds if isas is ARM else kinds[:1]:
            outs = [packed(kind(isa), quant, rows, 1024).matmul(x) for isa in isas]
            for isa, out in zip(isas, outs, strict=True):
                assert np.array_equal(out.view(np.uint32), outs[0].view(np.uint32))
                few = packed(kind(isa), quant, rows, 1024).matmul(x[:3])
                assert np.array_equal(few.view(np.uint32), out[:3].view(np.uint32))


# --- extremes ----------------------------------------------------------------------------------


def sign_patterns(rng, k):
    """Activations that all quantize to the ends of their range: (T, k) of 1 and -1."""
    i = np.arange(k)
    periods = [np.where(i // p % 2, -1, 1) for p in (1, 2, 4, 8, 16, 32, 64, 256)]
    chance = rng.choice([-1, 1], (4, k))
    return np.concatenate([[i * 0 + 1], periods, chance]).astype(np.float32)


@pytest.mark.parametrize(("quant", "isa"), KERNELS)
def test_matmul_at_the_extremes(quant, isa, rng):
    """Weights, scales and activations at the ends of their ranges, with signs for and against."""
    k = 1024
    rows = reference.extreme_rows(quant, k)
    with_rows = np.sign(reference.decode(quant, rows)).astype(np.float32)
    x = np.concatenate([sign_patterns(rng, k), with_rows[:: max(1, len(rows) // 16)]])
    x = np.concatenate([x, -x]) * np.float32(0.7)
    matrix = packed(isa, quant, rows, k)
    want = matrix.matmul(x)
    assert np.isfinite(want).all()
    assert_exact(quant, isa, rows, x, want)
    for form in ("fused", "panel"):
        assert np.array_equal(matrix.matmul(x, form), want)
        assert np.array_equal(matrix.matmul(x[:1], form), want[:1])


def int16_chain(codes, x, steps):
    """A dot product as vpmaddubsw kernels form it: a lane adds `steps` saturated pairs, saturating.

    Unsigned codes (K,) by signed x (K,), one column's two lanes, summed in int64 after each chain.
    """
    pairs = np.clip((codes * x).reshape(-1, 2, 2).sum(axis=-1), -32768, 32767)  # (K / 4, lane)
    total = 0
    for start in range(0, len(pairs), steps):
        lane = np.zeros(2)
        for pair in pairs[start : start + steps]:
            lane = np.clip(lane + pair, -32768, 32767)
        total += lane.sum()
    return total


@pytest.mark.slow
@pytest.mark.parametrize("quant", INTEGER_QUANTS)
def test_the_extremes_break_a_chain_that_is_too_long(quant, rng):
    """The inputs above tell a saturating kernel from a right one; the longest safe chain passes."""
    rows = reference.extreme_rows(quant, 1024)
    codes = reference.integers(quant, reference.blocks_of(quant, rows)).reshape(len(rows), -1)
    codes = np.unique(codes - codes.min(), axis=0)
    x = np.concatenate([sign_patterns(rng, 1024), -sign_patterns(rng, 1024)]) * 127
    safe = int(32767 // (2 * 127 * codes.max()))
    broken = 0
    for row in codes:
        for acts in x:
            if safe:
                assert int16_chain(row, acts, safe) == row @ acts
            broken += int16_chain(row, acts, 2 * safe or 1) != row @ acts
    assert broken >= 2


@pytest.mark.parametrize(("quant", "isa"), KERNELS)
def test_unpack_row_is_exact(quant, isa, rng):
    k = 1024
    rows = np.concatenate(
        [reference.random_rows(rng, quant, 18, k), reference.extreme_rows(quant, k)]
    )
    matrix = packed(isa, quant, rows, k)
    want = core.decode_rows(quant, rows, k)
    for row in range(len(rows)):
        got = matrix.unpack_row(row)
        assert np.array_equal(got.view(np.uint32), want[row].view(np.uint32))


# --- activations -------------------------------------------------------------------------------


@pytest.mark.parametrize(("quant", "isa"), INTEGER_KERNELS)
def test_activations_are_no_less_accurate_than_llama_cpps(quant, isa, rng):
    """Independent source: quantize_row_q8_0, q8_1 and q8_K of llama.cpp itself."""
    for x in (rng.standard_normal((64, 1024)), rng.standard_t(3, (64, 1024)) * 30):
        x = x.astype(np.float32)
        theirs = ggml_oracle.quantize_activations(ggml_oracle.activation_type(quant), x)
        ours = quantized(isa, quant, x)
        ours, theirs = (np.sqrt(np.mean((seen - np.float64(x)) ** 2)) for seen in (ours, theirs))
        assert ours <= 1.001 * theirs


@pytest.mark.parametrize(("quant", "isa"), KERNELS)
def test_activations_round_to_the_nearest_step(quant, isa, rng):
    x = activations(rng, 20, 1024)
    x[3] *= 1e30
    x[4] *= 1e-30
    seen = quantized(isa, quant, x).astype(np.float64)
    assert np.all(np.abs(seen - x) <= half_step(quant, x) * (1 + 1e-5))


@pytest.mark.parametrize(("quant", "isa"), KERNELS)
def test_subnormal_activations_stay_finite(quant, isa, rng):
    rows = reference.random_rows(rng, quant, 16, 512)
    x = np.float32(1e-42) * rng.standard_normal((6, 512)).astype(np.float32)
    x[1] = 0
    x[2] = 1e-45
    x[3, ::2] = 0
    x[4, 256:] = 1
    out = packed(isa, quant, rows, 512).matmul(x)
    assert np.isfinite(out).all()
    assert not out[1].any()
    assert_accurate(quant, rows, x, out)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("quant", "isa"), KERNELS)
def test_non_finite_activations_show_and_stay_in_their_row(quant, isa, bad, rng):
    k = 1024
    rows, x = reference.random_rows(rng, quant, 33, k), activations(rng, 20, k)
    matrix = packed(isa, quant, rows, k)
    clean = matrix.matmul(x)
    for position in (0, 31, 517, k - 1):
        spoilt = x.copy()
        spoilt[6, position] = bad
        for form in ("fused", "panel"):
            out = matrix.matmul(spoilt, form)
            assert not np.isfinite(out[6]).any()
            assert np.array_equal(np.delete(out, 6, axis=0), np.delete(clean, 6, axis=0))


@pytest.mark.parametrize(("quant", "isa"), KERNELS)
@np.errstate(all="ignore")
def test_damaged_weights_stay_in_their_row(quant, isa, rng):
    """Infinite and NaN scales and values spoil their own outputs and no others of the group."""
    k = 512
    rows = reference.random_rows(rng, quant, 48, k)
    damaged = [3, 17, 31]
    rows[damaged] = 0xFF if quant != "mxfp4" else 0x7F  # as f16 scales and as floats: NaN
    if quant == "mxfp4":  # has no NaN: 12 * 2^127 is infinite
        rows[damaged, :: reference.DTYPES[quant].itemsize] = 0xFF
    x = activations(rng, 17, k)
    matrix = packed(isa, quant, rows, k)
    sound = np.delete(np.arange(48), damaged)
    for form in ("fused", "panel"):
        out = matrix.matmul(x, form)
        assert not np.isfinite(out[:11][:, damaged]).any()
        assert_exact(quant, isa, rows[sound], x, out[:, sound])


# --- arguments ---------------------------------------------------------------------------------


def test_packed_matrix_says_what_it_is(rng):
    rows = reference.random_rows(rng, "q4_k", 33, 512)
    matrix = core.PackedMatrix(ISAS[0], "q4_k", rows, 512)
    assert (matrix.n, matrix.k) == (33, 512)
    row_bytes = rows.shape[1]  # whole groups of 8 or 16 rows
    assert 33 * row_bytes < matrix.n_bytes <= 1.1 * 48 * row_bytes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mmx", "q8_0", (2, 34), 32), "mmx"),
        (("scalar", "q9_0", (2, 34), 32), "q9_0"),
        (("scalar", "q8_0", (2, 33), 32), "34"),
        (("scalar", "q8_0", (34,), 32), "34"),
        (("scalar", "q8_0", (0, 34), 32), "0"),
        (("scalar", "q8_0", (2, 34), 31), "31"),
        (("scalar", "q8_0", (2, 0), 0), "0"),
        (("scalar", "q8_0", (2, 34), -32), "-32"),
    ],
)
def test_packed_matrix_refuses(arguments, message):
    isa, quant, shape, k = arguments
    with pytest.raises(ValueError, match=message):
        packed(isa, quant, np.zeros(shape, np.uint8), k)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.matmul(np.zeros((2, 31), np.float32)), "31"),
        (lambda m: m.matmul(np.zeros(32, np.float32)), "32"),
        (lambda m: m.matmul(np.zeros((2, 32), np.float32), "best"), "best"),
        (lambda m: m.matmul(np.zeros((2, 32), np.float32), n_threads=0), "0"),
        (lambda m: m.unpack_row(2), "2"),
        (lambda m: m.unpack_row(-1), "-1"),
        (lambda m: core.quantize("scalar", "q8_0", np.zeros((1, 33), np.float32)), "33"),
        (lambda m: core.quantize("mmx", "q8_0", np.zeros((1, 32), np.float32)), "mmx"),
    ],
)
def test_matmul_refuses(call, message):
    matrix = core.PackedMatrix("scalar", "q8_0", np.zeros((2, 34), np.uint8), 32)
    with pytest.raises(ValueError, match=message):
        call(matrix)


def test_matmul_of_no_tokens(rng):
    matrix = core.PackedMatrix("scalar", "q8_0", reference.random_rows(rng, "q8_0", 5, 32), 32)
    assert matrix.matmul(np.zeros((0, 32), np.float32)).shape == (0, 5)
