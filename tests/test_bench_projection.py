"""The projection onto phone chips, against numbers worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest

import bench_example
from edgelm.bench.chips import Chip, Cores, chips
from edgelm.bench.projection import FORMULA, on_chip, project
from edgelm.bench.timing import Times

INFO = dataclasses.replace(
    bench_example.info("a.gguf"), bytes_per_token=10**9, layer_macs=10**9, head_macs=10**8
)
CHIP = Chip(
    name="Round numbers",
    cores=(Cores("slow", 4, 1.0, 10, ("b",)), Cores("fast", 2, 2.0, 20, ("a",))),
    memory="LPDDR5-6400, 64 bit",
    read_gb_s=50.0,
    sources=("c", "a"),
)


def test_by_hand() -> None:
    """2 x 2 GHz x 20 + 2 x 1 GHz x 10 = 100 G/s; half of each limit is reached."""
    found = on_chip(CHIP, INFO, [1, 100], memory_share=0.5, compute_share=0.5)
    assert found.int8_gmac_s == 100
    assert found.n_threads == 4
    assert found.first_token_ms["1"] == pytest.approx(40.0)  # 1e9 bytes at 25 GB/s
    assert found.first_token_ms["100"] == pytest.approx(2002.0)  # 100.1e9 at 50 G/s
    assert (found.token_ms, found.tok_s) == pytest.approx((40.0, 25.0))
    assert found.sources == ["a", "b", "c"]
    assert found.formula == FORMULA


def test_shares_come_from_the_least_depth_and_the_longest_prompt() -> None:
    run = bench_example.example().models[0]
    found = project(run.model, run.first_token, run.decode)
    assert [p.chip for p in found] == [chip.name for chip in chips()]
    least = next(row for row in run.decode if row.depth == 0)
    longest = next(row for row in run.first_token if row.n_tokens == 1024 and not row.n_cached)
    assert least.limit is not None
    assert longest.limit is not None
    assert found[0].memory_share == pytest.approx(least.limit.share)
    assert found[0].compute_share == pytest.approx(longest.limit.share)
    slower = [
        dataclasses.replace(row, token=Times([2 * row.token.median_ms])) for row in run.decode
    ]
    assert project(run.model, run.first_token, slower)[0].tok_s == pytest.approx(
        found[0].tok_s / 2, rel=1e-6
    )


def test_a_share_is_never_above_one() -> None:
    """A time below its limit is noise, and no reason to promise more than a chip's limits."""
    run = bench_example.example().models[0]
    quick = [dataclasses.replace(row, token=Times([1e-3])) for row in run.decode]
    assert project(run.model, run.first_token, quick)[0].memory_share == 1


def test_no_projection_without_its_shares() -> None:
    run = bench_example.example().models[0]
    short = [row for row in run.first_token if row.n_tokens == 1]
    assert project(run.model, run.first_token, []) == []
    assert project(run.model, short, run.decode) == []
