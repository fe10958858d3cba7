"""The row kernels of every ISA against NumPy in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgelm import _core as core

WIDTHS = [1, 3, 8, 13, 64, 576, 4099]
EPS = np.finfo(np.float32).eps

erf = np.vectorize(math.erf)
EXACT = {
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x * 0.5 * (1 + erf(x / np.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "relu2": lambda x: np.maximum(x, 0) ** 2,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
}


@pytest.fixture(params=core.usable_isas())
def rows(request):
    return core.RowKernels(request.param)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def floats(rng, *shape, spread=3.0):
    return (spread * rng.standard_normal(shape)).astype(np.float32)


def assert_close(got, want, relative, absolute=0.0):
    error = np.abs(got.astype(np.float64) - want)
    assert np.all(error <= relative * np.abs(want) + absolute), float(error.max())


@pytest.mark.parametrize("d", WIDTHS)
def test_rms_norm(rows, rng, d):
    x, w = floats(rng, 3, d), floats(rng, d)
    normal = x / np.sqrt(np.mean(x.astype(np.float64) ** 2, axis=1, keepdims=True) + 1e-5)
    assert_close(rows.rms_norm(x, w, 1e-5), normal * w, 8 * EPS)
    assert_close(rows.rms_norm(x, None, 1e-5), normal, 8 * EPS)


@pytest.mark.parametrize("d", WIDTHS)
def test_layer_norm(rows, rng, d):
    x, w, b = floats(rng, 3, d) + np.float32(2), floats(rng, d), floats(rng, d)
    exact = x.astype(np.float64)
    deviation = exact - exact.mean(axis=1, keepdims=True)
    normal = deviation / np.sqrt(np.mean(deviation**2, axis=1, keepdims=True) + 1e-5)
    # One rounding of the mean shifts every deviation: up to EPS * |mean| / deviation, so absolute.
    slack = 32 * EPS * (1 + np.abs(w)) if d > 1 else 1e-4 * (1 + np.abs(w))
    assert_close(rows.layer_norm(x, w, b, 1e-5), normal * w + b, 16 * EPS, slack)
    assert_close(rows.layer_norm(x, None, None, 1e-5), normal, 16 * EPS, slack)


@pytest.mark.parametrize("d", WIDTHS)
def test_elementwise(rows, rng, d):
    a, b = floats(rng, 2, d), floats(rng, 2, d)
    np.testing.assert_array_equal(rows.add(a, b), a + b)
    np.testing.assert_array_equal(rows.mul(a, b), a * b)
    np.testing.assert_array_equal(rows.scale(a, 1.7), a * np.float32(1.7))
    cap = 2.5
    assert_close(rows.softcap(a, cap), cap * np.tanh(a.astype(np.float64) / cap), 8 * EPS)


@pytest.mark.parametrize("kind", EXACT)
def test_activation_over_the_whole_range(rows, kind):
    x = np.concatenate([np.linspace(-30, 30, 20_001), np.geomspace(1e-30, 1e4, 999)])
    x = np.concatenate([x, -x, [0.0]]).astype(np.float32)[None]
    with np.errstate(over="ignore"):
        want = EXACT[kind](x.astype(np.float64))
    got = rows.activation(kind, x)
    # A relative error of one rounding in the argument of e^z is z times as large in the result.
    relative = {"silu": 4, "sigmoid": 4, "tanh": 4, "relu": 0, "relu2": 1}.get(kind, 0) * EPS
    if kind == "quick_gelu":
        relative = (4 + 1.702 * np.abs(x.astype(np.float64))) * EPS
    if kind == "gelu":
        relative = (4 + x.astype(np.float64) ** 2) * EPS
    if kind == "gelu_tanh":
        relative = (4 + 4 * np.abs(x.astype(np.float64)) ** 3) * EPS
    # Where the true result is below 1e-6 it may be cancelled away in the oracle, or subnormal.
    assert_close(got, want, relative, 2e-7 if "gelu" in kind else 1e-37)


@pytest.mark.parametrize("kind", EXACT)
def test_gated_is_the_activation_times_up(rows, rng, kind):
    gate, up = floats(rng, 3, 77), floats(rng, 3, 77)
    np.testing.assert_array_equal(rows.gated(kind, gate, up), rows.activation(kind, gate) * up)


def test_extremes_stay_in_range(rows):
    x = np.array([[np.inf, -np.inf, np.nan, 3e38, -3e38, 1e-45, -0.0]], np.float32)
    sigmoid = rows.activation("sigmoid", x)[0]
    np.testing.assert_array_equal(sigmoid[[0, 1, 3, 4, 5, 6]], [1, 0, 1, 0, 0.5, 0.5])
    assert np.isnan(sigmoid[2])
    tanh = rows.activation("tanh", x)[0]
    np.testing.assert_array_equal(tanh[[0, 1, 3, 4, 6]], [1, -1, 1, -1, 0])
    assert np.isnan(tanh[2])


def rotated(x, cosine, sine, interleaved):
    """Rotate pairs (i, i + n) or (2i, 2i + 1) of each row in float64. Source: arXiv:2104.09864."""
    n = cosine.shape[1]
    out = x.astype(np.float64)
    a, b = (
        (slice(0, 2 * n, 2), slice(1, 2 * n, 2)) if interleaved else (slice(0, n), slice(n, 2 * n))
    )
    first, second = out[:, a].copy(), out[:, b].copy()
    out[:, a] = first * cosine - second * sine
    out[:, b] = first * sine + second * cosine
    return out


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize(
    ("n_pairs", "c"), [(32, 64), (4, 8), (5, 16), (40, 80), (16, 96), (128, 256)]
)
def test_rope(rows, rng, n_pairs, c, interleaved):
    x = floats(rng, 5, c)
    angle = rng.uniform(-99, 99, (5, n_pairs))
    cos_sin = np.concatenate([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    cosine, sine = np.split(cos_sin.astype(np.float64), 2, axis=1)
    got = rows.rope(x, cos_sin, interleaved)
    assert_close(got, rotated(x, cosine, sine, interleaved), 0, 4 * EPS * np.abs(x).max())
    # The oracle tells the two pairings apart.
    assert np.abs(got - rotated(x, cosine, sine, not interleaved)).max() > 0.1


def test_a_row_gets_the_same_bits_wherever_it_stands(rows, rng):
    x, w = floats(rng, 9, 577), floats(rng, 577)
    whole = rows.rms_norm(x, w, 1e-6)
    for t in range(9):
        np.testing.assert_array_equal(rows.rms_norm(x[t : t + 1].copy(), w, 1e-6)[0], whole[t])


def test_isas_agree(rng):
    x, w = floats(rng, 4, 960), floats(rng, 960)
    results = [core.RowKernels(isa).rms_norm(x, w, 1e-6) for isa in core.usable_isas()]
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=1e-6)


def test_unknown_activation_names_the_known_ones(rows):
    with pytest.raises(ValueError, match="silu"):
        rows.activation("swish", np.zeros((1, 4), np.float32))
