"""The machine that the numbers belong to."""

from __future__ import annotations

import math
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from .. import _core
from . import noise
from .noise import Noise
from .topology import ARM_PARTS, Cluster, Core, read_cores, text_of


@dataclass
class Machine:
    """The machine, as the system describes it.

    processor: its name.
    board: of a phone or board; null if not shown.
    architecture: "x86_64", "aarch64".
    system: operating system and version.
    virtual: a virtual machine; clocks, topology and energy may then be hidden.
    features: of the processor that the kernels ask for.
    isas: sets of kernels that can run here.
    cores: every online processor.
    clusters: kinds of cores, the fastest first.
    usable_cores: threads by default: the fast cores that this process may use, fewer by a quota.
    memory_bytes: of the machine.
    load_average: over the minute before the run; null if not shown.
    before: what else ran before the measurements.
    after: and after them; null if interrupted.
    cpu_quota: processors' worth of time that cgroups allow; null if they set no limit.
    """

    processor: str
    board: str | None
    architecture: str
    system: str
    virtual: bool
    features: list[str]
    isas: list[str]
    cores: list[Core]
    clusters: list[Cluster]
    usable_cores: int
    memory_bytes: int
    load_average: float | None
    before: Noise
    after: Noise | None
    cpu_quota: float | None = None


def describe(root: Path = Path("/")) -> Machine:
    """Read all of it; takes about a second, for the look at the noise."""
    cpuinfo = text_of(root / "proc/cpuinfo") or ""
    cores, clusters = read_cores(root)
    quota = _core.read_topology(str(root)).quota
    return Machine(
        processor=processor_name(cpuinfo) or platform.processor() or platform.machine(),
        board=board_name(root),
        architecture=platform.machine(),
        system=f"{platform.system()} {platform.release()}",
        virtual=bool(re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, re.M)),
        features=_core.cpu_features(),
        isas=_core.usable_isas(),
        cores=cores,
        clusters=clusters,
        usable_cores=_core.usable_cores(),
        memory_bytes=_core.physical_bytes(),
        load_average=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        before=noise.look(root=root),
        after=None,
        cpu_quota=None if math.isinf(quota) else quota,
    )


def processor_name(cpuinfo: str) -> str | None:
    """From /proc/cpuinfo: "model name" on x86, "Hardware" or the cores' part numbers on ARM."""
    for key in ("model name", "Hardware", "Model"):
        if found := re.search(rf"^{key}\s*:\s*(.+)$", cpuinfo, re.M):
            return found[1].strip()
    parts = re.findall(r"^CPU part\s*:\s*(0x[0-9a-f]+)$", cpuinfo, re.M | re.I)
    named = [ARM_PARTS.get(int(part, 16), f"part {part}") for part in parts]
    return ", ".join(f"{named.count(name)} x {name}" for name in dict.fromkeys(named)) or None


def board_name(root: Path) -> str | None:
    """What the device tree, or a PC's firmware, calls the board."""
    for path in ("proc/device-tree/model", "sys/class/dmi/id/product_name"):
        if name := (text_of(root / path) or "").strip("\0 "):
            return name
    return None
