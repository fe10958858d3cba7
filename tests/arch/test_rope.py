"""RoPE frequencies against hand-worked values and transformers' published formulas."""

import math

import numpy as np
import pytest

from edgelm.rope import factored_rope, linear_rope, plain_rope, yarn_rope


def test_plain_rope_is_a_geometric_series():
    inv_freq = plain_rope(8, 10000.0).inv_freq
    np.testing.assert_allclose(inv_freq, [1.0, 0.1, 0.01, 0.001], rtol=1e-12)


def test_linear_rope_divides_every_frequency():
    np.testing.assert_allclose(linear_rope(4, 100.0, 4.0).inv_freq, [0.25, 0.025])


def test_factored_rope_divides_each_by_its_own_factor():
    np.testing.assert_allclose(factored_rope(4, 100.0, np.array([1.0, 8.0])).inv_freq, [1, 0.0125])


def test_yarn_keeps_high_frequencies_and_interpolates_low_ones():
    plain = plain_rope(128, 10000.0).inv_freq
    yarn = yarn_rope(128, 10000.0, factor=4.0, n_ctx_original=4096)
    assert yarn.inv_freq[0] == plain[0]
    assert yarn.inv_freq[-1] == pytest.approx(plain[-1] / 4)
    assert yarn.mscale == pytest.approx(0.1 * math.log(4) + 1)
    ratio = yarn.inv_freq / plain
    assert np.all(np.diff(ratio) <= 1e-15)


def test_yarn_equals_the_published_formula_at_one_dimension():
    """arXiv:2309.00071, equations 17 to 20, worked by hand for D=128, base 1e4, L=4096, s=4."""
    low = math.floor(128 * math.log(4096 / (32 * 2 * math.pi)) / (2 * math.log(10000.0)))
    high = math.ceil(128 * math.log(4096 / (1 * 2 * math.pi)) / (2 * math.log(10000.0)))
    assert (low, high) == (20, 46)
    i = 30
    gamma = 1 - (i - low) / (high - low)
    theta = 10000.0 ** (-2 * i / 128)
    expected = (1 - gamma) * theta / 4 + gamma * theta
    yarn = yarn_rope(128, 10000.0, factor=4.0, n_ctx_original=4096)
    assert yarn.inv_freq[i] == pytest.approx(expected)
