"""The native readers of a row of logits, against NumPy's sorts and float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgelm import _core
from edgelm.errors import LogitsError

SIZES = [1, 2, 63, 64, 65, 1000, 49_152]
finite_rows = hnp.arrays(
    np.float32,
    st.integers(1, 300),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


def sorted_top(row, k):
    """NumPy's answer: a stable sort of the negated row keeps the lower id first."""
    ids = np.argsort(-row.astype(np.float64), kind="stable")[:k]
    ids = ids[row[ids] > -np.inf]
    return ids, row[ids]


def assert_top(row, k):
    ids, logits = _core.top(row, k)
    want_ids, want_logits = sorted_top(row, k)
    np.testing.assert_array_equal(ids, want_ids)
    np.testing.assert_array_equal(logits, want_logits)
    assert _core.argmax(row) == want_ids[0]


@pytest.mark.parametrize("order", ["random", "ascending", "descending", "equal", "few values"])
@pytest.mark.parametrize("size", SIZES)
def test_top_matches_a_stable_sort(rng, size, order):
    row = rng.normal(size=size).astype(np.float32) * 5
    if order == "ascending":
        row.sort()
    elif order == "descending":
        row = np.sort(row)[::-1].copy()
    elif order == "equal":
        row[:] = 1.5
    elif order == "few values":
        row = np.round(row / 5)
    for k in (1, 40, size, size + 1):
        assert_top(row, k)


@given(row=finite_rows, k=st.integers(1, 400))
def test_top_matches_a_stable_sort_for_any_floats(row, k):
    assert_top(row, k)  # denormals, -0 beside +0, the largest floats


def test_the_oracle_notices_a_wrong_tie():
    row = np.array([1, 2, 2, 0], np.float32)
    ids, _ = sorted_top(row[::-1].copy(), 2)  # a seeded fault: ties decided from the other end
    assert not np.array_equal(3 - ids, _core.top(row, 2)[0])


def test_banned_tokens_are_no_candidates(rng):
    row = rng.normal(size=1000).astype(np.float32)
    row[rng.permutation(1000)[:990]] = -np.inf
    assert len(_core.top(row, 40)[0]) == 10
    assert_top(row, 40)


@pytest.mark.parametrize("size", SIZES)
def test_log_sum_exp_matches_float64(rng, size):
    for spread in (0, 1, 10, 60):
        rows = (rng.normal(size=(3, size)) * spread - 7).astype(np.float32)
        wide = rows.astype(np.float64)
        top = wide.max(axis=1)
        expected = top + np.log(np.exp(wide - top[:, None]).sum(axis=1))
        np.testing.assert_allclose(_core.log_sum_exp(rows), expected, rtol=0, atol=5e-7)


def test_log_sum_exp_gives_banned_tokens_no_weight():
    row = np.array([[1.0, -np.inf, -3e38, 1.0]], np.float32)
    np.testing.assert_allclose(_core.log_sum_exp(row), 1 + np.log(2), atol=1e-7)


BREAKAGES = [np.nan, -np.nan, np.inf]


@pytest.mark.parametrize("bad", BREAKAGES, ids=["nan", "-nan", "inf"])
@pytest.mark.parametrize("place", [0, 63, 64, 998, 999])
def test_broken_logits_are_an_error(rng, bad, place):
    row = rng.normal(size=1000).astype(np.float32)
    row[place] = np.copysign(np.float32(bad), 1 if bad is not BREAKAGES[1] else -1)
    for read in (_core.argmax, lambda r: _core.top(r, 3), lambda r: _core.log_sum_exp(r[None])):
        with pytest.raises(LogitsError, match=f"token {place} "):
            read(row)


def test_a_row_that_bans_everything_is_an_error():
    row = np.full(100, -np.inf, np.float32)
    with pytest.raises(LogitsError, match="no token is left"):
        _core.top(row, 3)


def test_bad_arguments():
    row = np.zeros(8, np.float32)
    for call in (
        lambda: _core.top(row, 0),
        lambda: _core.top(row[None], 1),
        lambda: _core.argmax(row[:0]),
        lambda: _core.log_sum_exp(row),
    ):
        with pytest.raises(ValueError, match=r"logits|k must"):
            call()
    with pytest.raises(TypeError):
        _core.top(row.astype(np.float64), 1)
