"""The machine's description, its energy and its heat, on machines laid out as folders."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgelm.bench import cost, energy, heat, machine, noise, threads, topology


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
            files[f"{own}/topology/core_cpus_list"] = n
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


def test_three_clusters_of_a_phone(tmp_path: Path) -> None:
    cores, clusters = topology.read_cores(lay_out(tmp_path, SNAPDRAGON))
    assert [(c.name, c.cpus, c.max_mhz) for c in clusters] == [
        ("prime", [7], 3200.0), ("big", [4, 5, 6], 2800.0), ("little", [0, 1, 2, 3], 2016.0)
    ]  # fmt: skip
    assert topology.fast_cpus(cores) == [7, 4, 5, 6]  # the fastest first
    assert (cores[0].governor, cores[0].speed, cores[0].fast) == ("schedutil", 300 / 1024, False)


def test_clusters_by_clock_where_no_capacity_is_shown(tmp_path: Path) -> None:
    """Turbo bins of one kind differ by little: 5.0 and 5.1 GHz are one cluster."""
    files = cpus((2, None, 5_000_000), (2, None, 5_100_000), (4, None, 3_800_000))
    _, clusters = topology.read_cores(lay_out(tmp_path, files))
    assert [(c.name, c.cpus) for c in clusters] == [
        ("big", [0, 1, 2, 3]),
        ("little", [4, 5, 6, 7]),
    ]


def test_intels_hybrid_parts_say_so(tmp_path: Path) -> None:
    files = cpus((8, 1024, 4_000_000)) | {
        "sys/devices/cpu_core/cpus": "0-3",
        "sys/devices/cpu_atom/cpus": "4-7",
    }
    _, clusters = topology.read_cores(lay_out(tmp_path, files))
    assert [c.cpus for c in clusters] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_hyperthreads_count_once(tmp_path: Path) -> None:
    files = cpus((4, None, 4_000_000))
    for cpu, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        files[f"sys/devices/system/cpu/cpu{cpu}/topology/core_cpus_list"] = siblings
    cores, _ = topology.read_cores(lay_out(tmp_path, files))
    assert topology.physical(cores) == [0, 1]
    labels = [c.label for c in threads.choices(cores, 2)]
    assert labels == ["1 thread", "all cores", "all hardware threads"]


@pytest.mark.slow
def test_a_machine_that_shows_nothing(tmp_path: Path) -> None:
    assert topology.read_cores(tmp_path) == ([], [])
    described = machine.describe(tmp_path)
    assert (described.cores, described.board, described.before.others) == ([], None, None)
    assert described.cpu_quota is None


def test_threads_to_try_on_a_phone(tmp_path: Path) -> None:
    cores, _ = topology.read_cores(lay_out(tmp_path, SNAPDRAGON))
    found = threads.choices(cores, 8)
    assert [c.n_threads for c in found] == [1, 2, 3, 4, 5, 6, 7, 8, 4]
    assert (found[-1].label, found[-1].cpus) == ("big cores", (4, 5, 6, 7))
    assert found[-2].label == "all cores"


def test_a_phone_in_the_background(tmp_path: Path) -> None:
    """The cpuset of an app that has left the screen holds the little cores only."""
    status = {"proc/thread-self/status": "Name:\tx\nCpus_allowed_list:\t0-3"}
    cores, clusters = topology.read_cores(lay_out(tmp_path, SNAPDRAGON | status))
    assert [core.cpu for core in cores if core.usable] == [0, 1, 2, 3]
    assert topology.fast_cpus(cores) == [0, 1, 2, 3]
    assert len(clusters) == 3  # of the machine, whatever we may use


@pytest.mark.slow
def test_a_quota_is_described(tmp_path: Path) -> None:
    lay_out(tmp_path, {"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/cpu.max": "150000 100000"})
    assert machine.describe(tmp_path).cpu_quota == 1.5


def test_cores_by_name(tmp_path: Path) -> None:
    files = cpus((3, 1024, 2_400_000))
    midrs = ("0x00000000414fd0b1", "0x00000000510f8034", "0x0000000043000a10")
    for cpu, midr in enumerate(midrs):
        files[f"sys/devices/system/cpu/cpu{cpu}/regs/identification/midr_el1"] = midr
    cores, _ = topology.read_cores(lay_out(tmp_path, files))
    assert [core.name for core in cores] == ["Cortex-A76", "Kryo Silver", "part 0x43:0x0a1"]


def test_many_cores_are_tried_by_powers_of_two() -> None:
    assert [c.n_threads for c in threads.choices([], 48)] == [*range(1, 9), 16, 32, 48]


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


@pytest.mark.parametrize(
    ("current", "voltage", "watts"),
    [
        (-500_000, 4_000_000, 2.0),  # microamperes and microvolts, negative while discharging
        (500_000, 4_000_000, 2.0),  # positive while discharging
        (-500, 4_000_000, 2.0),  # milliamperes
        (1_250, 3_800, 4.75),  # milliamperes and millivolts
        (31_000, 3_700_000, 0.1147),  # idle: 31 mA
        (9_000_000, 3_500_000, 31.5),
    ],
)
def test_units_and_signs_of_batteries(
    tmp_path: Path, current: int, voltage: int, watts: float
) -> None:
    files = {
        "type": "Battery", "status": "Discharging",
        "current_now": current, "voltage_now": voltage,
    }  # fmt: skip
    lay_out(tmp_path, {f"{BATTERY}/{name}": value for name, value in files.items()})
    source = energy.find(tmp_path)
    assert isinstance(source, energy.Gauge)
    assert source.read() == pytest.approx(watts)


def test_another_devices_battery_is_none_of_ours(tmp_path: Path) -> None:
    pen = {"type": "Battery", "scope": "Device", "status": "Discharging", "power_now": 10}
    own = {"type": "Battery", "status": "Discharging", "power_now": 3_000_000}
    folder = "sys/class/power_supply"
    lay_out(tmp_path, {f"{folder}/a-pen/{name}": value for name, value in pen.items()})
    with pytest.raises(energy.Unreadable, match="there is no battery"):
        energy.find(tmp_path)
    lay_out(tmp_path, {f"{folder}/battery/{name}": value for name, value in own.items()})
    source = energy.find(tmp_path)
    assert isinstance(source, energy.Gauge)
    assert (source.source, source.read()) == ("battery battery", 3.0)


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
        (
            {"type": "Battery", "status": "Discharging", "current_now": "-500000"},
            "shows current_now but no voltage_now",
        ),
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
    assert heat.clocks(tmp_path) == {"cpu0": 1500.0, "cpu1": 1500.0}
    assert heat.temperatures(tmp_path) == {"cpu": 41.5, "cpu 1": 43.0}
    assert heat.clocks(tmp_path / "nowhere") == {}


def test_a_look_reads_clocks_and_heat_of_a_phone(tmp_path: Path) -> None:
    zones = "sys/class/thermal/thermal_zone"
    phone = SNAPDRAGON | {
        f"{zones}2/type": "cpu-1-0", f"{zones}2/temp": 41_500,
        f"{zones}10/type": "battery", f"{zones}10/temp": 312,  # tenths
        f"{zones}3/type": "skin", f"{zones}3/temp": 33,  # degrees
        f"{zones}4/type": "modem", f"{zones}4/temp": -273_000_000,  # off
        f"{zones}5/type": "gpu", f"{zones}5/temp": -5_000,
    }  # fmt: skip
    look = noise.look(0.02, lay_out(tmp_path, phone))
    assert look.mhz == {"prime": 1600.0, "big": 1400.0, "little": 1008.0}
    assert look.celsius == {"cpu-1-0": 41.5, "skin": 33.0, "gpu": -5.0, "battery": 31.2}
    assert noise.look(0.02, tmp_path / "nowhere").mhz == {}


def test_clocks_are_sorted_by_number(tmp_path: Path) -> None:
    clocks = heat.clocks(lay_out(tmp_path, cpus((12, None, 3_000_000))))
    assert list(clocks) == [f"cpu{n}" for n in range(12)]
