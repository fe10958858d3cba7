"""tools/predict: what it takes from logs and listings, and what it says of the numbers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tools" / "predict"))
import report
from cores import A76, CORES, TIERS, peak_trace
from engines import MARCH, llama_kernels
from rates import MANY, ONE, Rate
from report import Prediction
from simulate import executed, parse_listing

from edgelm.bench.chips import chips

LISTING = """
0000000000400700 <f>:
  400700:      \tldr\tq0, [x0, #0x10]
  400704:      \tsdot\tv2.4s, v4.16b, v6.4b[0]
  400708:      \tb.ne\t0x400700 <f>
  40070c:      \tcbz\tx2, 0x400700 <f>
  400710:      \tbl\t0x400700 <f>
  400714:      \tadrp\tx1, 0x48d000 <.text+0x10>
  400718:      \tret
  40071c:      \tmov\tw0, #0x10                // =16
"""


def line(address: int) -> str:
    return f"Trace 0: 0x7fa1ec0aaa80 [0000000001009331/{address:016x}/00000001/00000201] f\n"


def test_a_listing_becomes_assembly() -> None:
    """Addresses have no meaning to the assembler; calls and returns are branches to it."""
    assert list(dict(parse_listing(LISTING.splitlines())).values()) == [
        "ldr\tq0, [x0, #0x10]",
        "sdot\tv2.4s, v4.16b, v6.4b[0]",
        "b.ne\ttarget",
        "cbz\tx2, target",
        "b\ttarget",
        "adrp\tx1, target",
        "br\tx30",
        "mov\tw0, #0x10",
    ]


def test_only_what_runs_between_the_marks_counts() -> None:
    begin, end = 0x4006D4, 0x4006E0
    log = [line(a) for a in (0x400100, begin, 0x400700, 0x400704, 0x400700, end, 0x400900)]
    assert list(executed(["a line of qemu's own\n", *log], begin, end)) == [
        0x400700,
        0x400704,
        0x400700,
    ]


def test_a_program_that_ends_early_is_an_error() -> None:
    with pytest.raises(ValueError, match="ended early"):
        list(executed([line(0x400100), line(0x4006D4), line(0x400700)], 0x4006D4, 0x4006E0))


def prediction(quant: str, ours: float, llama: float, shape: object = MANY) -> Prediction:
    return Prediction("dotprod", A76, quant, shape, 32.0, Rate(ours, "panel"), Rate(llama, "x"))


def test_goals_are_judged() -> None:
    """Of the two goals for Q4_K, 22 / 12.7 reaches both, 20 / 12.7 one, 18 / 12.7 none."""

    def missed(ours: float) -> int:
        return sum("missed" in told for told in report.bars([prediction("q4_k", ours, 12.7)]))

    assert [missed(22), missed(20), missed(18)] == [0, 1, 2]
    slow = report.bars([prediction("q5_0", 9.9, 10.0, ONE), prediction("q3_k", 14, 10.0, ONE)])
    assert ["missed" in told for told in slow] == [True, True]


def test_shares_are_what_the_benchmark_reads() -> None:
    told = json.loads(report.shares("clang", [prediction("q4_k", 16, 10)]))
    assert told["many tokens"] == {"dotprod": {"Cortex-A76": {"Q4_K": 0.5}}}
    assert told["one token"] == {}
    assert {"read_me", "made_by"} < set(told)


def test_every_chips_cores_are_predicted() -> None:
    """Whatever core chips.json names, by itself or by another, is one that the tool knows."""
    for chip in chips():
        for core in chip.cores:
            assert (core.predicted_as or core.name) in CORES, (chip.name, core.name)


def test_every_tier_has_a_peak_and_a_peer() -> None:
    for tier in TIERS:
        trace, macs = peak_trace(tier)
        assert macs % len(trace) == 0
        assert MARCH[tier]
        assert llama_kernels(tier, "q4_k", True)
    assert llama_kernels("i8mm", "q4_k", False) == [
        ("q4_K_q8_K", True),
        ("q4_K_q8_K_x2", True),
        ("q4_K_8x8_q8_K", False),
    ]
