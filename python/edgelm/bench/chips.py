"""Phone and board chips: memory bandwidth and int8 rates, each with its source (chips.json).

And the shares of those rates that our kernels are predicted to reach (predicted.json).
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_THREADS = 4  # as in `--profile phone`: performance cores only
TIERS = ("i8mm", "dotprod", "neon")  # of kernels, the best first
MANY, ONE = "many tokens", "one token"


@dataclass(frozen=True)
class Cores:
    """`count` equal cores.

    name: "Cortex-X4".
    count: how many.
    ghz: their greatest clock.
    mac_cycle: 8-bit multiply-adds a cycle and core, by tier.
    sources: where those rates stand.
    predicted_as: the core of predicted.json that stands for it.
    """

    name: str
    count: int
    ghz: float
    mac_cycle: Mapping[str, int]
    sources: tuple[str, ...]
    predicted_as: str = ""

    def gmac_s(self, tier: str) -> float:
        """Of one core, in 10^9 a second."""
        return self.ghz * self.mac_cycle[tier]

    def share(self, tier: str, tokens: str, quant: str) -> float | None:
        """Of gmac_s that our inner loops are predicted to reach; None if nothing is predicted."""
        share = predicted().get(tokens, {}).get(tier, {})
        found: float | None = share.get(self.predicted_as or self.name, {}).get(quant)
        return found


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

    @property
    def tier(self) -> str:
        """The best tier that all its cores can run: threads move between them."""
        return next(t for t in TIERS if all(t in kind.mac_cycle for kind in self.cores))

    def fastest(self, n_threads: int = MAX_THREADS) -> tuple[Cores, ...]:
        """The fastest `n_threads` cores, or all of them if there are fewer."""
        chosen: list[Cores] = []
        for kind in sorted(self.cores, key=lambda c: -c.gmac_s(self.tier)):
            count = min(kind.count, n_threads - sum(c.count for c in chosen))
            if count > 0:
                chosen.append(dataclasses.replace(kind, count=count))
        return tuple(chosen)


@functools.cache
def predicted() -> dict[str, Any]:
    """predicted.json: {"many tokens" or "one token": {tier: {core: {type: share}}}} and notes."""
    found: dict[str, Any] = _read("predicted.json")
    return found


@functools.cache
def chips() -> tuple[Chip, ...]:
    """All chips of chips.json, in its order."""
    data = _read("chips.json")
    kinds = data["cores"]
    return tuple(
        Chip(
            name=chip["name"],
            cores=tuple(
                Cores(
                    name,
                    n,
                    ghz,
                    kinds[name]["mac_cycle"],
                    tuple(kinds[name]["sources"]),
                    kinds[name].get("predicted_as", ""),
                )
                for name, n, ghz in chip["cores"]
            ),
            memory=chip["memory"],
            read_gb_s=chip["read_gb_s"],
            sources=tuple(chip["sources"]),
        )
        for chip in data["chips"]
    )


def _read(name: str) -> Any:
    return json.loads(Path(__file__).with_name(name).read_text("utf-8"))
