"""The projection onto phone chips, against numbers worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest

import bench_example
from edgelm import _core
from edgelm.bench.chips import MANY, ONE, TIERS, Chip, Cores, chips, predicted
from edgelm.bench.limits import inner_gmac_s
from edgelm.bench.projection import FORMULA, Shares, on_chip, project
from edgelm.bench.subject import Settings
from edgelm.bench.timing import Times

INNER = bench_example.INNER_GMAC_S
INFO = dataclasses.replace(
    bench_example.info("a.gguf"), bytes_per_token=10**9, layer_macs=10**9, head_macs=10**8
)
CHIP = Chip(
    name="Round numbers",
    cores=(
        Cores("slow", 4, 1.0, {"dotprod": 10}, ("b",)),
        Cores("fast", 2, 2.0, {"dotprod": 20, "i8mm": 40}, ("a",)),
    ),
    memory="LPDDR5-6400, 64 bit",
    read_gb_s=50.0,
    sources=("c", "a"),
)


def test_by_hand() -> None:
    """2 x 2 GHz x 20 + 2 x 1 GHz x 10 = 100 G/s; half of each limit is reached.

    Not all its cores have SMMLA, so none uses it; nothing is predicted for such cores.
    """
    found = on_chip(CHIP, INFO, [1, 100], Shares(memory=0.5, compute=0.5, whole=0.3))
    assert (found.tier, found.predicted) == ("dotprod", False)
    assert found.int8_gmac_s == 100
    assert found.n_threads == 4
    assert found.first_token_ms["1"] == pytest.approx(40.0)  # 1e9 bytes at 25 GB/s
    assert found.first_token_ms["100"] == pytest.approx(2002.0)  # 100.1e9 at 50 G/s
    assert (found.token_ms, found.tok_s) == pytest.approx((40.0, 25.0))
    assert found.sources == ["a", "b", "c"]
    assert found.formula == FORMULA


def test_shares_come_from_the_least_depth_and_the_longest_prompt() -> None:
    run = bench_example.example().models[0]
    found = project(run.model, run.first_token, run.decode, INNER)
    assert [p.chip for p in found] == [chip.name for chip in chips()]
    least = next(row for row in run.decode if row.depth == 0)
    longest = next(row for row in run.first_token if row.n_tokens == 1024 and not row.n_cached)
    assert least.limit is not None
    assert longest.limit is not None
    assert found[0].memory_share == pytest.approx(least.limit.share)
    rate = 1e-6 * (1024 * run.model.layer_macs + run.model.head_macs) / longest.prefill.median_ms
    assert found[0].whole_share == pytest.approx(rate / INNER)

    def tok_s(times: int) -> float:
        """Of the first chip, if tokens took as many times longer here."""
        slower = [
            dataclasses.replace(row, token=Times([times * row.token.median_ms]))
            for row in run.decode
        ]
        return project(run.model, run.first_token, slower, INNER)[0].tok_s

    # So slow that it is memory which bounds the chip, not its cores.
    assert tok_s(20) == pytest.approx(tok_s(10) / 2, rel=1e-6)


def test_a_share_is_never_above_one() -> None:
    """A time below its limit is noise, and no reason to promise more than a chip's limits."""
    run = bench_example.example().models[0]
    quick = [dataclasses.replace(row, token=Times([1e-3])) for row in run.decode]
    assert project(run.model, run.first_token, quick, INNER)[0].memory_share == 1


def test_no_projection_without_its_shares() -> None:
    run = bench_example.example().models[0]
    short = [row for row in run.first_token if row.n_tokens == 1]
    assert project(run.model, run.first_token, [], INNER) == []
    assert project(run.model, short, run.decode, INNER) == []


def test_a_chips_own_tier_and_cores_are_predicted() -> None:
    """One A76-like and one A710-like core of the same rate: the mean of their shares, by hand."""
    cores = (
        Cores("Cortex-A76", 2, 2.0, {"dotprod": 32}, ("a",)),
        Cores("new", 2, 1.0, {"dotprod": 64, "i8mm": 128}, ("b",), predicted_as="Cortex-X1"),
    )
    chip = dataclasses.replace(CHIP, cores=cores, read_gb_s=1e6)
    info = dataclasses.replace(INFO, quant="Q4_K+")
    many, one = predicted()[MANY]["dotprod"], predicted()[ONE]["dotprod"]
    found = on_chip(chip, info, [100], Shares(memory=0.5, compute=0.5, whole=0.8))

    def mean(table: dict[str, dict[str, float]]) -> float:
        return (table["Cortex-A76"]["Q4_K"] + table["Cortex-X1"]["Q4_K"]) / 2

    assert (found.tier, found.predicted, found.int8_gmac_s) == ("dotprod", True, 256)
    assert found.compute_share == pytest.approx(0.8 * mean(many))
    assert found.first_token_ms["100"] == pytest.approx(1e-6 * 100.1e9 / (256 * 0.8 * mean(many)))
    assert found.token_ms == pytest.approx(1e-6 * 1.1e9 / (256 * 0.8 * mean(one)))


def test_every_chip_has_a_prediction_for_the_usual_types() -> None:
    for chip in chips():
        for quant in ("Q4_K", "Q8_0"):
            for kind in chip.cores:
                assert kind.share(chip.tier, MANY, quant) is not None, (chip.name, kind.name)


def test_predictions_are_shares_of_known_tiers() -> None:
    for tokens in (MANY, ONE):
        for tier, cores in predicted()[tokens].items():
            assert tier in TIERS
            for core, types in cores.items():
                assert types, core
                assert all(0 < share <= 1 for share in types.values()), core


@pytest.mark.parametrize("quant", ["Q4_K+", "Q8_0"])
def test_the_inner_loops_speed_here(quant: str) -> None:
    """It is no time of ours to judge, but more than a scalar loop's and less than any machine's."""
    settings = Settings(2048, 1, 512, "f16", _core.active_isa(), None)
    assert 0.01 < inner_gmac_s(quant, settings) < 1e5
