"""The attention kernel of every ISA against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest

from edgelm import _core as core

EPS = float(np.finfo(np.float32).eps)


@pytest.fixture(params=core.usable_isas())
def isa(request):
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def floats(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def stored(x, kv_type):
    """What the cache keeps of rows x: f16, or int8 with an f16 scale for each 32 values."""
    if kv_type == "f16":
        return x.astype(np.float16).astype(np.float64)
    out = np.empty(x.shape)
    for first in range(0, x.shape[1], 32):
        block = x[:, first : first + 32]
        scale = (np.abs(block).max(axis=1, keepdims=True) / np.float32(127)).astype(np.float16)
        scale = scale.astype(np.float32)
        codes = np.rint(block * np.where(scale > 0, 1 / np.where(scale > 0, scale, 1), 0))
        out[:, first : first + 32] = np.clip(codes, -127, 127) * scale.astype(np.float64)
    return out


def oracle(
    q, k, v, positions, *, causal=True, window=0, scale=1.0, softcap=0.0, sinks=None, alibi=None
):
    """Softmax attention over a whole (T, S) mask. Returns the result and its error bound."""
    q = q.astype(np.float64)
    slot, position = np.arange(len(k))[None], np.asarray(positions)[:, None]
    seen = np.ones((len(q), len(k)), bool)
    if causal:
        seen &= slot <= position
    if window:
        seen &= slot > position - window
    scores = scale * np.einsum("thc,sc->ths", q, k)
    slack = abs(scale) * np.einsum("thc,sc->ths", np.abs(q), np.abs(k))
    if softcap:
        scores = softcap * np.tanh(scores / softcap)
    if alibi is not None:
        bias = alibi[None, :, None] * (slot - position)[:, None, :]
        scores, slack = scores + bias, slack + np.abs(bias)
    scores = np.where(seen[:, None], scores, -np.inf)
    top = scores.max(axis=-1, keepdims=True)
    if sinks is not None:
        top = np.maximum(top, sinks[None, :, None])
    p = np.exp(scores - top)
    total = p.sum(axis=-1, keepdims=True)
    if sinks is not None:
        total += np.exp(sinks[None, :, None] - top)
    p /= total
    # A score's rounding errors, C of EPS/2 of its terms at the very worst, move p by as much, and
    # the weights' sum likewise; typical errors grow with the square root of the number of terms.
    typical = (
        4 * np.sqrt(q.shape[2]) * EPS * np.where(seen[:, None], slack, 0).max(axis=-1) + 16 * EPS
    )
    bound = 2 * typical[..., None] * np.einsum("ths,sc->thc", p, np.abs(v)) + 1e-7
    return np.einsum("ths,sc->thc", p, v), bound


def run_and_check(isa, q, k, v, positions, *, kv_type="f16", chunk=1, split=False, **options):
    got = core.attention(
        isa, q, k, v, positions, kv_type=kv_type, chunk=chunk, split=split, **options
    )
    want, bound = oracle(q, stored(k, kv_type), stored(v, kv_type), positions, **options)
    assert np.all(np.abs(got - want) <= bound), float(np.max(np.abs(got - want) / bound))
    return got


def case(rng, t, h, c, s):
    """T queries at the last positions of a cache of S slots."""
    return floats(rng, t, h, c), floats(rng, s, c), floats(rng, s, c), np.arange(s - t, s)


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
@pytest.mark.parametrize("c", [8, 24, 64, 80, 96, 128, 256])
@pytest.mark.parametrize("h", [1, 3, 8])
def test_head_widths_and_groups(isa, rng, c, h, kv_type):
    q, k, v, positions = case(rng, 5, h, c, 333)
    for chunk in (1, 5):
        run_and_check(isa, q, k, v, positions, kv_type=kv_type, chunk=chunk, scale=c**-0.5)


@pytest.mark.parametrize("s", [1, 2, 63, 64, 65, 255, 256, 257, 1000])
@pytest.mark.parametrize("chunk", [1, 64])
def test_page_and_block_borders(isa, rng, s, chunk):
    q, k, v, positions = case(rng, min(s, 70), 3, 64, s)
    run_and_check(isa, q, k, v, positions, chunk=chunk, scale=0.125)


@pytest.mark.parametrize("window", [1, 7, 64, 100, 512, 5000])
@pytest.mark.parametrize("chunk", [1, 48])
def test_windows(isa, rng, window, chunk):
    q, k, v, positions = case(rng, 48, 2, 64, 700)
    run_and_check(isa, q, k, v, positions, chunk=chunk, scale=0.125, window=window)


def test_slots_outside_the_window_are_never_read(isa, rng):
    q, k, v, positions = case(rng, 3, 2, 64, 700)
    poisoned_k, poisoned_v = k.copy(), v.copy()
    poisoned_k[: 700 - 3 - 99], poisoned_v[: 700 - 3 - 99] = np.nan, np.nan
    options = {"scale": 0.125, "window": 100, "chunk": 3}
    clean = core.attention(isa, q, k, v, positions, **options)
    np.testing.assert_array_equal(
        core.attention(isa, q, poisoned_k, poisoned_v, positions, **options), clean
    )


@pytest.mark.parametrize("chunk", [1, 20])
@pytest.mark.parametrize(
    "options",
    [
        {"softcap": 5.0},
        {"sinks": np.array([0.5, -2, 30, 1], np.float32)},
        {"alibi": np.array([0.5, 0.25, 0.125, 2.0], np.float32)},
        {"causal": False},
        {"softcap": 2.0, "sinks": np.zeros(4, np.float32), "window": 33},
    ],
    ids=["softcap", "sinks", "alibi", "not-causal", "all"],
)
def test_score_options(isa, rng, options, chunk):
    q, k, v, positions = case(rng, 20, 4, 64, 300)
    run_and_check(isa, q, k, v, positions, chunk=chunk, scale=0.3, **options)


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
@pytest.mark.parametrize(("h", "c"), [(1, 256), (3, 64), (4, 80), (7, 8), (16, 128)])
@pytest.mark.parametrize("window", [0, 130])
def test_bits_depend_on_neither_chunks_nor_splits(isa, rng, h, c, kv_type, window):
    q, k, v, positions = case(rng, 67, h, c, 901)
    options = {"kv_type": kv_type, "scale": c**-0.5, "window": window}
    one_by_one = core.attention(isa, q, k, v, positions, chunk=1, **options)
    for chunk in (2, 3, 4, 16, 67):
        for split in (False, True):
            other = core.attention(isa, q, k, v, positions, chunk=chunk, split=split, **options)
            np.testing.assert_array_equal(other, one_by_one)
    later = core.attention(isa, q[40:], k, v, positions[40:], chunk=27, **options)
    np.testing.assert_array_equal(later, one_by_one[40:])
    # A query sees nothing of what came after it.
    shorter = core.attention(isa, q[:40], k[:874], v[:874], positions[:40], chunk=40, **options)
    np.testing.assert_array_equal(shorter, one_by_one[:40])


def test_great_scores_stay_finite(isa, rng):
    q, k, v, positions = case(rng, 3, 2, 64, 600)
    got = core.attention(isa, q * 1e4, k, v, positions, scale=10.0)
    best = np.einsum("thc,sc->ths", q.astype(np.float64), stored(k, "f16"))
    best = np.where(np.arange(600) <= positions[:, None, None], best, -np.inf).argmax(axis=-1)
    np.testing.assert_array_equal(got, stored(v, "f16")[best])  # all weight on one slot


def test_the_oracle_catches_a_wrong_window(isa, rng):
    q, k, v, positions = case(rng, 4, 2, 64, 300)
    got = core.attention(isa, q, k, v, positions, scale=0.125, window=65)
    want, bound = oracle(q, stored(k, "f16"), stored(v, "f16"), positions, scale=0.125, window=64)
    assert not np.all(np.abs(got - want) <= bound)


def test_isas_agree(rng):
    q, k, v, positions = case(rng, 9, 3, 96, 500)
    results = [
        core.attention(isa, q, k, v, positions, scale=0.1, chunk=9) for isa in core.usable_isas()
    ]
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=1e-4, atol=1e-6)


def test_misfitting_arguments_are_refused(isa, rng):
    q, k, v, positions = case(rng, 4, 2, 64, 10)
    with pytest.raises(ValueError, match="shapes"):
        core.attention(isa, q, k, v[:9], positions)
    with pytest.raises(ValueError, match="positions"):
        core.attention(isa, q, k, v, positions + 1)
    with pytest.raises(ValueError, match="kv_type"):
        core.attention(isa, q, k, v, positions, kv_type="f32")
