"""The machine's limits, which benches are held against."""

import sys

import pytest

from edgelm import _core as core

ISAS = core.usable_isas()


def test_the_clock_is_that_of_a_processor():
    assert 2e8 < core.clock_hz() < 1e10


@pytest.mark.parametrize("isa", ISAS)
def test_peaks_are_positive(isa):
    peaks = core.measure_peaks(isa, 1, 1 << 22)
    assert set(peaks) == {
        "clock_hz",
        "u8s8_mac_cycle",
        "i16_mac_cycle",
        "f32_mac_cycle",
        "read_gb_s",
    }
    assert all(0 < value < 1e11 for value in peaks.values())


@pytest.mark.skipif("avx2" not in ISAS, reason="needs AVX2")
def test_avx2_multiplies_whole_vectors():
    """Every AVX2 processor starts one or two multiplications of 32 bytes a cycle."""
    peaks = core.measure_peaks("avx2", 1, 1 << 20)
    for name, one in (("u8s8_mac_cycle", 32), ("i16_mac_cycle", 16), ("f32_mac_cycle", 8)):
        assert 0.5 * one < peaks[name] < 2.3 * one, name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mmx", 1, 1 << 22), "unknown ISA 'mmx'"),
        ((ISAS[0], 0, 1 << 22), "n_threads is 0"),
        ((ISAS[0], 257, 1 << 22), "n_threads is 257"),
        ((ISAS[0], 1, 0), "n_bytes is 0"),
        ((ISAS[0], 1, sys.maxsize), "expected 1 MiB to 64 GiB"),
    ],
)
def test_measure_peaks_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        core.measure_peaks(*arguments)
