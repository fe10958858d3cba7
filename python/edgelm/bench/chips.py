"""Phone and board chips: memory bandwidth and int8 rate, each with its source (chips.json)."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

MAX_THREADS = 4  # as in `--profile phone`: performance cores only


@dataclass(frozen=True)
class Cores:
    """`count` equal cores.

    name: "Cortex-X4".
    count: how many.
    ghz: their greatest clock.
    int8_mac_cycle: 8-bit multiply-adds a cycle and core.
    sources: where that rate stands.
    """

    name: str
    count: int
    ghz: float
    int8_mac_cycle: int
    sources: tuple[str, ...]

    @property
    def gmac_s(self) -> float:
        """Of one core, in 10^9 a second."""
        return self.ghz * self.int8_mac_cycle


@dataclass(frozen=True)
class Chip:
    """A chip.

    name: as people know it.
    cores: its kinds of cores but the slowest.
    memory: type and width.
    read_gb_s: transfers a second times width, in 10^9 bytes; what a processor reaches is less.
    sources: where clocks and memory stand.
    """

    name: str
    cores: tuple[Cores, ...]
    memory: str
    read_gb_s: float
    sources: tuple[str, ...]

    def fastest(self, n_threads: int = MAX_THREADS) -> tuple[Cores, ...]:
        """The fastest `n_threads` cores, or all of them if there are fewer."""
        chosen: list[Cores] = []
        for kind in sorted(self.cores, key=lambda c: -c.gmac_s):
            count = min(kind.count, n_threads - sum(c.count for c in chosen))
            if count > 0:
                chosen.append(Cores(kind.name, count, kind.ghz, kind.int8_mac_cycle, kind.sources))
        return tuple(chosen)


@functools.cache
def chips() -> tuple[Chip, ...]:
    """All chips of chips.json, in its order."""
    data = json.loads(Path(__file__).with_name("chips.json").read_text("utf-8"))
    kinds = data["cores"]
    return tuple(
        Chip(
            name=chip["name"],
            cores=tuple(
                Cores(name, n, ghz, kinds[name]["int8_mac_cycle"], tuple(kinds[name]["sources"]))
                for name, n, ghz in chip["cores"]
            ),
            memory=chip["memory"],
            read_gb_s=chip["read_gb_s"],
            sources=tuple(chip["sources"]),
        )
        for chip in data["chips"]
    )
