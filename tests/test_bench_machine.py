"""The machine's description, its energy and its heat, on machines laid out as folders."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgelm.bench import cost, energy, machine, noise, sustain, threads, topology
from edgelm.bench.topology import Cluster, Core


def lay_out(root: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


def cpus(*kinds: tuple[int, int | None, int | None]) -> dict[str, object]:
    """Files of processors in a row: (how many, capacity, kHz) a kind."""
    files: dict[str, object] = {}
    n = 0
    for count, capacity, khz in kinds:
        for _ in range(count):
            own = f"sys/devices/system/cpu/cpu{n}"
            files[f"{own}/topology/core_id"] = n
            files[f"{own}/topology/physical_package_id"] = 0
            if capacity is not None:
                files[f"{own}/cpu_capacity"] = capacity
            if khz is not None:
                files[f"{own}/cpufreq/cpuinfo_max_freq"] = khz
                files[f"{own}/cpufreq/scaling_governor"] = "schedutil"
                files[f"{own}/cpufreq/scaling_cur_freq"] = khz // 2
            n += 1
    files["sys/devices/system/cpu/online"] = f"0-{n - 1}"
    return files


SNAPDRAGON = cpus((4, 300, 2_016_000), (3, 800, 2_800_000), (1, 1024, 3_200_000))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", []), ("0", [0]), ("0-3", [0, 1, 2, 3]), ("0-1,4,6-7\n", [0, 1, 4, 6, 7])],
)
def test_cpu_list(text: str, expected: list[int]) -> None:
    assert topology.cpu_list(text) == expected


def clusters_of(root: Path) -> tuple[list[Core], list[Cluster]]:
    cores = topology.read_cores(root, range(64))
    return cores, topology.read_clusters(root, cores)


def test_three_clusters_of_a_phone(tmp_path: Path) -> None:
    cores, clusters = clusters_of(lay_out(tmp_path, SNAPDRAGON))
    assert [(c.name, c.cpus, c.max_mhz) for c in clusters] == [
        ("prime", [7], 3200.0), ("big", [4, 5, 6], 2800.0), ("little", [0, 1, 2, 3], 2016.0)
    ]  # fmt: skip
    assert topology.performance_cpus(cores, clusters) == [4, 5, 6, 7]
    assert cores[0].governor == "schedutil"


def test_clusters_by_clock_where_no_capacity_is_shown(tmp_path: Path) -> None:
    """Turbo bins of one kind differ by little: 5.0 and 5.1 GHz are one cluster."""
    files = cpus((2, None, 5_000_000), (2, None, 5_100_000), (4, None, 3_800_000))
    _, clusters = clusters_of(lay_out(tmp_path, files))
    assert [(c.name, c.cpus) for c in clusters] == [
        ("big", [0, 1, 2, 3]),
        ("little", [4, 5, 6, 7]),
    ]


def test_intels_hybrid_parts_say_so(tmp_path: Path) -> None:
    files = cpus((8, 1024, 4_000_000)) | {
        "sys/devices/cpu_core/cpus": "0-3",
        "sys/devices/cpu_atom/cpus": "4-7",
    }
    _, clusters = clusters_of(lay_out(tmp_path, files))
    assert [c.cpus for c in clusters] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_hyperthreads_count_once(tmp_path: Path) -> None:
    files = cpus((4, None, 4_000_000))
    for cpu, core in enumerate((0, 1, 0, 1)):
        files[f"sys/devices/system/cpu/cpu{cpu}/topology/core_id"] = core
    cores, clusters = clusters_of(lay_out(tmp_path, files))
    assert topology.physical(cores, [0, 1, 2, 3]) == [0, 1]
    labels = [c.label for c in threads.choices(cores, clusters, 2)]
    assert labels == ["1 thread", "all cores", "all hardware threads"]


def test_a_machine_that_shows_nothing(tmp_path: Path) -> None:
    assert clusters_of(tmp_path) == ([], [])
    assert topology.read_clusters(tmp_path, []) == []
    described = machine.describe(tmp_path)
    assert (described.cores, described.board, described.before.others) == ([], None, None)


def test_threads_to_try_on_a_phone(tmp_path: Path) -> None:
    cores, clusters = clusters_of(lay_out(tmp_path, SNAPDRAGON))
    found = threads.choices(cores, clusters, 8)
    assert [c.n_threads for c in found] == [1, 2, 3, 4, 5, 6, 7, 8, 4]
    assert (found[-1].label, found[-1].cpus) == ("big cores", (4, 5, 6, 7))
    assert found[-2].label == "all cores"


def test_many_cores_are_tried_by_powers_of_two() -> None:
    found = threads.choices([], [Cluster("all", list(range(48)), None)], 48)
    assert [c.n_threads for c in found] == [*range(1, 9), 16, 32, 48]


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("model name\t: AMD EPYC 7B13\nflags\t: fpu", "AMD EPYC 7B13"),
        ("processor\t: 0\nHardware\t: Qualcomm SM8350", "Qualcomm SM8350"),
        ("CPU part : 0xd05\n" * 2 + "CPU part : 0xd41\n", "2 x Cortex-A55, 1 x Cortex-A78"),
        ("CPU part\t: 0xfff\n", "1 x part 0xfff"),
        ("", None),
    ],
)  # fmt: skip
def test_processor_name(cpuinfo: str, name: str | None) -> None:
    assert machine.processor_name(cpuinfo) == name


def test_board_name(tmp_path: Path) -> None:
    assert machine.board_name(tmp_path) is None
    lay_out(tmp_path, {"proc/device-tree/model": "Raspberry Pi 5 Model B\0"})
    assert machine.board_name(tmp_path) == "Raspberry Pi 5 Model B"


# --- noise ---


def test_shares_of_the_processors() -> None:
    before, after = (100.0, 0.0, 1000.0), (160.0, 20.0, 1200.0)
    assert noise.share_between(before, after) == (0.3, 0.1)
    assert noise.share_between(None, after) is None
    assert noise.share_between(before, before) is None


def test_cpu_times(tmp_path: Path) -> None:
    assert noise.cpu_times(tmp_path) is None
    lay_out(tmp_path, {"proc/stat": "cpu  10 1 5 100 4 2 3 8 0 0\ncpu0 1 1"})
    assert noise.cpu_times(tmp_path) == (10 + 1 + 5 + 2 + 3 + 8, 8, 133)


def test_a_look_names_who_else_runs() -> None:
    look = noise.look(0.05)
    assert 0 <= look.lost <= 1
    assert look.others is None or 0 <= look.others <= 1


# --- energy ---

RAPL = "sys/class/powercap/intel-rapl:0"


def test_rapl_counts_joules_and_wraps(tmp_path: Path) -> None:
    files = {"name": "package-0", "energy_uj": 9_000_000, "max_energy_range_uj": 10_000_000}
    lay_out(tmp_path, {f"{RAPL}/{name}": value for name, value in files.items()})
    lay_out(tmp_path, {"sys/class/powercap/intel-rapl:0:0/name": "core"})
    meter = energy.Meter(energy.find(tmp_path))
    assert meter.name == "RAPL package-0"
    with meter:
        lay_out(tmp_path, {f"{RAPL}/energy_uj": 1_500_000})
    assert meter.reading.joules == pytest.approx(2.5)


def test_an_unreadable_rapl_says_so(tmp_path: Path) -> None:
    lay_out(tmp_path, {f"{RAPL}/name": "package-0"})
    (tmp_path / RAPL / "energy_uj").mkdir()  # as unreadable as for another user
    with pytest.raises(energy.Unreadable, match="energy_uj is for root only"):
        energy.find(tmp_path)


def test_hwmon_prefers_the_sensor_of_the_whole(tmp_path: Path) -> None:
    folder = "sys/class/hwmon/hwmon0"
    lay_out(tmp_path, {
        f"{folder}/name": "ina3221", f"{folder}/power1_input": 900_000,
        f"{folder}/power1_label": "VDD_CPU", f"{folder}/power2_input": 5_000_000,
        f"{folder}/power2_label": "VDD_IN",
    })  # fmt: skip
    source = energy.find(tmp_path)
    assert isinstance(source, energy.Gauge)
    assert (source.source, source.read()) == ("hwmon VDD_IN", 5.0)


def test_several_partial_sensors_are_not_added_up(tmp_path: Path) -> None:
    folder = "sys/class/hwmon/hwmon0"
    lay_out(tmp_path, {f"{folder}/power1_input": 1, f"{folder}/power2_input": 2})
    with pytest.raises(energy.Unreadable, match="none is named as that of the whole"):
        energy.find(tmp_path)


BATTERY = "sys/class/power_supply/battery"


def test_a_battery_by_current_and_voltage(tmp_path: Path) -> None:
    files = {
        "type": "Battery", "status": "Discharging",
        "current_now": -500_000, "voltage_now": 4_000_000,
    }  # fmt: skip
    lay_out(tmp_path, {f"{BATTERY}/{name}": value for name, value in files.items()})
    meter = energy.Meter(energy.find(tmp_path))
    with meter:
        time.sleep(0.25)
    assert meter.reading.watts == pytest.approx(2.0)
    assert len(meter.reading.watts_samples) >= 2
    assert meter.reading.joules == pytest.approx(2.0 * meter.reading.seconds)


def test_a_gauge_that_goes_away_is_no_zero(tmp_path: Path) -> None:
    files = {"type": "Battery", "status": "Discharging", "power_now": 3_000_000}
    lay_out(tmp_path, {f"{BATTERY}/{name}": value for name, value in files.items()})
    source = energy.find(tmp_path)
    (tmp_path / BATTERY / "power_now").unlink()
    with pytest.raises(energy.Unreadable, match="gave no reading"), energy.Meter(source):
        pass


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "there is no battery"),
        ({"type": "Battery", "status": "Charging"}, "the battery is charging: unplug"),
        ({"type": "Battery", "status": "Discharging"}, "shows no power_now or current_now"),
        ({"type": "Mains"}, "there is no battery"),
    ],
)
def test_energy_that_cannot_be_read_has_a_reason(
    tmp_path: Path, files: dict[str, str], reason: str
) -> None:
    lay_out(tmp_path, {f"{BATTERY}/{name}": value for name, value in files.items()})
    with pytest.raises(energy.Unreadable, match=reason):
        energy.find(tmp_path)
    result = cost.once("decode", lambda deadline: 4, 0.01, tmp_path)
    assert (result.joules_per_token, result.watts, result.idle_watts) == (None, None, None)
    assert reason in (result.energy_unavailable or "")
    assert result.cpu_s_per_token >= 0


def test_joules_per_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "IDLE_S", 0.01)
    lay_out(tmp_path, {f"{RAPL}/name": "package-0", f"{RAPL}/energy_uj": 0})

    def work(deadline: float) -> int:
        lay_out(tmp_path, {f"{RAPL}/energy_uj": 3_000_000})
        return 12

    result = cost.once("decode", work, 0.01, tmp_path)
    assert result.joules_per_token == pytest.approx(0.25)
    assert (result.energy_source, result.energy_unavailable) == ("RAPL package-0", None)


# --- clocks and heat ---


def test_clocks_and_temperatures(tmp_path: Path) -> None:
    zones = "sys/class/thermal/thermal_zone"
    lay_out(tmp_path, cpus((2, None, 3_000_000)) | {
        f"{zones}0/type": "cpu", f"{zones}0/temp": 41_500,
        f"{zones}1/type": "cpu", f"{zones}1/temp": 43_000,
        f"{zones}2/type": "gpu",
    })  # fmt: skip
    assert sustain.clocks(tmp_path) == {"cpu0": 1500.0, "cpu1": 1500.0}
    assert sustain.temperatures(tmp_path) == {"cpu": 41.5, "cpu 1": 43.0}
    assert sustain.clocks(tmp_path / "nowhere") == {}
