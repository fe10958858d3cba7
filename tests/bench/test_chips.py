"""Chip data of the projection: every rate has a source and follows from what the source says."""

from __future__ import annotations

import dataclasses
import re

import pytest

from edgelm.bench.chips import Chip, Cores, chips


def faults(chip: Chip) -> list[str]:
    """What is wrong with an entry, by facts that the file does not hold itself."""
    found = []
    # JEDEC: a DRAM name ends in its transfers a second, in millions; times bytes of width.
    text = re.fullmatch(r"LPDDR\d\w?-(\d+), (?:(\d) x )?(\d+) bit", chip.memory)
    if not text:
        return [f"{chip.name}: memory {chip.memory!r} is not 'LPDDR..-RATE, WIDTH bit'"]
    gb_s = int(text[1]) * int(text[2] or 1) * int(text[3]) / 8e3
    if abs(chip.read_gb_s - gb_s) > 0.1:
        found.append(f"{chip.name}: {chip.memory} gives {gb_s:.1f} GB/s, not {chip.read_gb_s}")
    for cores in chip.cores:
        rates = dict(cores.mac_cycle)
        # 16 in an SDOT, 32 in an SMMLA, two or four of them a cycle on the same pipes.
        right = ({"neon": 8}, {"dotprod": 32}, {"dotprod": 64})
        right += ({"dotprod": 32, "i8mm": 64}, {"dotprod": 64, "i8mm": 128})
        if rates not in right:
            found.append(f"{chip.name}: {rates} multiply-adds a cycle")
        if not 1 <= cores.ghz <= 5:
            found.append(f"{chip.name}: {cores.ghz} GHz")
    for source in (*chip.sources, *(s for cores in chip.cores for s in cores.sources)):
        if not re.fullmatch(r"https://[\w.-]+/\S+", source):
            found.append(f"{chip.name}: source {source!r}")
    if not chip.sources or not all(cores.sources for cores in chip.cores):
        found.append(f"{chip.name}: no source")
    return found


@pytest.mark.parametrize("chip", chips(), ids=lambda chip: chip.name)
def test_chip_data_agrees_with_itself_and_names_its_sources(chip: Chip) -> None:
    assert faults(chip) == []
    assert sum(cores.count for cores in chip.fastest()) == 4


def test_there_are_phones_and_boards() -> None:
    names = [chip.name for chip in chips()]
    assert len(set(names)) == len(names) >= 10
    assert {"Snapdragon 8 Gen 3", "Raspberry Pi 5"} <= set(names)


def test_wrong_chip_data_is_caught() -> None:
    chip = chips()[0]
    for wrong in (
        dataclasses.replace(chip, read_gb_s=2 * chip.read_gb_s),
        dataclasses.replace(chip, memory="fast"),
        dataclasses.replace(chip, sources=()),
        dataclasses.replace(chip, sources=("a friend",)),
        dataclasses.replace(
            chip,
            cores=tuple(dataclasses.replace(c, mac_cycle={"dotprod": 48}) for c in chip.cores),
        ),
        dataclasses.replace(
            chip, cores=tuple(dataclasses.replace(c, ghz=1000 * c.ghz) for c in chip.cores)
        ),
    ):
        assert faults(wrong)


def test_the_fastest_cores_are_taken_first() -> None:
    source = ("https://example.org/a",)
    chip = Chip(
        name="x",
        cores=(
            Cores("mid", 3, 2.5, {"dotprod": 32}, source),
            Cores("big", 1, 3.0, {"dotprod": 64}, source),
        ),
        memory="LPDDR5-6400, 64 bit",
        read_gb_s=51.2,
        sources=source,
    )
    assert [(c.name, c.count) for c in chip.fastest(1)] == [("big", 1)]
    assert [(c.name, c.count) for c in chip.fastest(3)] == [("big", 1), ("mid", 2)]
    assert [(c.name, c.count) for c in chip.fastest(9)] == [("big", 1), ("mid", 3)]
    assert chip.fastest(1)[0].gmac_s("dotprod") == 192


def test_rates_stand_by_the_cores_generation() -> None:
    """Arm's manuals: SMMLA came with the A510, A710 and X2; SDOT with the A55, A75 and A76."""
    tiers = {chip.name: chip.tier for chip in chips()}
    assert tiers["Raspberry Pi 4"] == "neon"
    assert tiers["Raspberry Pi 5"] == "dotprod"
    assert {t for name, t in tiers.items() if "Raspberry" not in name} == {"i8mm"}
