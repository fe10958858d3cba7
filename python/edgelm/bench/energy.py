"""Energy, where the system shows it: RAPL counters, hwmon sensors, a battery's gauge.

Every reader takes the folder that stands for "/", so that tests can lay out a machine of their own.
"""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .run import CannotMeasure
from .topology import number_of, text_of

PERIOD_S = 0.1  # between two readings of a gauge
MILLI_BELOW_A, MILLI_BELOW_V = 20_000, 100_000  # see _product
TOTALS = ("total", "vdd_in", "ppt", "socket", "package", "psys", "soc")  # sensors of a whole board


@dataclass(frozen=True)
class Counter:
    """Joules since some moment, that wrap around at `wraps_at`; 0 if they never do."""

    source: str
    read: Callable[[], float]
    wraps_at: float = 0.0

    def between(self, before: float, after: float) -> float:
        """Joules from one reading to the next."""
        return after - before + (self.wraps_at if after < before else 0.0)


@dataclass(frozen=True)
class Gauge:
    """Watts now."""

    source: str
    read: Callable[[], float]


@dataclass
class Reading:
    """What a Meter saw: joules in all, and a gauge's readings."""

    joules: float = 0.0
    seconds: float = 0.0
    watts_samples: list[float] = field(default_factory=list)

    @property
    def watts(self) -> float:
        """Mean power."""
        return self.joules / self.seconds


class Unreadable(CannotMeasure):
    """No energy can be read; the message says why."""


def find(root: Path = Path("/")) -> list[Counter] | Gauge:
    """The best source here: RAPL, then hwmon, then the battery. Unreadable says why none is."""
    reasons = []
    for search in (_rapl, _hwmon, _battery):
        try:
            return search(root)
        except Unreadable as reason:
            reasons.append(str(reason))
    raise Unreadable("; ".join(reasons))


def _rapl(root: Path) -> list[Counter]:
    """One counter a package, microjoules. Source: the kernel's admin-guide, "powercap"."""
    zones = [
        zone
        for zone in sorted((root / "sys/class/powercap").glob("*-rapl:*"))
        if (text_of(zone / "name") or "").startswith("package")
    ]
    if not zones:
        raise Unreadable("there is no RAPL in /sys/class/powercap")
    counters = []
    for zone in zones:
        if number_of(zone / "energy_uj") is None:
            raise Unreadable(f"RAPL is there, but {zone.name}/energy_uj is for root only")
        counters.append(
            Counter(
                source=f"RAPL {text_of(zone / 'name')}",
                read=_scaled(zone / "energy_uj", 1e-6),
                wraps_at=1e-6 * (number_of(zone / "max_energy_range_uj") or 0.0),
            )
        )
    return counters


def _hwmon(root: Path) -> list[Counter] | Gauge:
    """energyN_input in microjoules, powerN_* in microwatts. Source: sysfs-class-hwmon ABI."""
    energies = list(_sensors(root, "energy*_input"))
    if chosen := _whole(energies):
        return [Counter(f"hwmon {label}", _scaled(path, 1e-6)) for label, path in chosen]
    powers = [*_sensors(root, "power*_input"), *_sensors(root, "power*_average")]
    if chosen := _whole(powers):
        label, path = chosen[0]
        return Gauge(f"hwmon {label}", _scaled(path, 1e-6))
    if energies or powers:
        raise Unreadable("hwmon has several sensors and none is named as that of the whole")
    raise Unreadable("no hwmon sensor shows energy or power")


def _sensors(root: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    for path in sorted((root / "sys/class/hwmon").glob(f"hwmon*/{pattern}")):
        if number_of(path) is not None:
            label = text_of(path.with_name(path.name.partition("_")[0] + "_label"))
            yield label or text_of(path.parent / "name") or path.parent.name, path


def _whole(sensors: list[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """Those that measure all of the machine, or the only one."""
    for word in TOTALS:
        if chosen := [s for s in sensors if word in s[0].lower()]:
            return chosen
    return sensors if len(sensors) == 1 else []


def _battery(root: Path) -> Gauge:
    """power_now in microwatts, or current_now * voltage_now. Source: sysfs-class-power ABI."""
    for folder in sorted((root / "sys/class/power_supply").glob("*")):
        if (text_of(folder / "type") or "").lower() != "battery":
            continue
        if (text_of(folder / "scope") or "").lower() == "device":
            continue  # of a mouse or a pen, say
        status = text_of(folder / "status") or "unknown"
        if status.lower() != "discharging":
            raise Unreadable(f"the battery is {status.lower()}: unplug the charger")
        if number_of(folder / "power_now") is not None:
            return Gauge(f"battery {folder.name}", _scaled(folder / "power_now", 1e-6))
        for current in ("current_now", "current_avg"):
            if number_of(folder / current) is not None:
                return Gauge(f"battery {folder.name}", _product(folder, current))
        raise Unreadable("the battery shows no power_now or current_now")
    raise Unreadable("there is no battery")


def _product(folder: Path, current: str) -> Callable[[], float]:
    """Watts by a current and voltage_now, in micro units; some drivers give milli units.

    A device that computes draws more than 20 mA and less than 20 A, a battery has 2 to 100 V: so a
    current below 20,000 is in milliamperes, a voltage below 100,000 in millivolts.
    """
    if number_of(folder / "voltage_now") is None:
        raise Unreadable(f"the battery shows {current} but no voltage_now")
    read_current, read_voltage = (
        _scaled(folder / current, 1.0),
        _scaled(folder / "voltage_now", 1.0),
    )

    def watts() -> float:
        amperes, volts = read_current(), read_voltage()
        amperes *= 1e-6 if amperes >= MILLI_BELOW_A else 1e-3
        return amperes * volts * (1e-6 if volts >= MILLI_BELOW_V else 1e-3)

    return watts


def _scaled(path: Path, unit: float) -> Callable[[], float]:
    """Reads a file of a number; its sign is dropped, for drivers disagree on it."""

    def read() -> float:
        number = number_of(path)
        if number is None:
            raise Unreadable(f"{path} can't be read any more")
        return abs(number) * unit

    return read


class Meter:
    """Measures the energy of a `with` block, into `reading`."""

    def __init__(self, source: list[Counter] | Gauge) -> None:
        self._source = source
        self.name = (
            source.source
            if isinstance(source, Gauge)
            else ", ".join(counter.source for counter in source)
        )
        self.reading = Reading()

    def __enter__(self) -> Meter:
        self.reading = Reading()
        self._done = threading.Event()
        self._began = time.perf_counter()
        if isinstance(self._source, Gauge):
            self._sampler = threading.Thread(target=self._sample, daemon=True)
            self._sampler.start()
        else:
            self._before = [counter.read() for counter in self._source]
        return self

    def __exit__(self, *_: object) -> None:
        reading = self.reading
        reading.seconds = time.perf_counter() - self._began
        if isinstance(self._source, Gauge):
            self._done.set()
            self._sampler.join()
            if not reading.watts_samples:
                raise Unreadable(f"{self.name} gave no reading")
            reading.joules = statistics.fmean(reading.watts_samples) * reading.seconds
        else:
            reading.joules = sum(
                counter.between(before, counter.read())
                for counter, before in zip(self._source, self._before, strict=True)
            )

    def _sample(self) -> None:
        assert isinstance(self._source, Gauge)
        with contextlib.suppress(Unreadable):  # what was read until then counts
            while True:
                self.reading.watts_samples.append(self._source.read())
                if self._done.wait(PERIOD_S):
                    return
