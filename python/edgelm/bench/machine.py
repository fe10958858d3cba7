"""The machine that the numbers belong to."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from .. import _core
from ..memory import physical_bytes
from . import noise
from .noise import Noise
from .topology import Cluster, Core, read_clusters, read_cores, text_of


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
    usable_cores: physical cores that this process may use.
    memory_bytes: of the machine.
    load_average: over the minute before the run; null if not shown.
    before: what else ran before the measurements.
    after: and after them; null if interrupted.
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


def describe(root: Path = Path("/")) -> Machine:
    """Read all of it; takes about a second, for the look at the noise."""
    cpuinfo = text_of(root / "proc/cpuinfo") or ""
    cores = read_cores(root, sorted(usable_cpus()))
    return Machine(
        processor=processor_name(cpuinfo) or platform.processor() or platform.machine(),
        board=board_name(root),
        architecture=platform.machine(),
        system=f"{platform.system()} {platform.release()}",
        virtual=bool(re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, re.M)),
        features=_core.cpu_features(),
        isas=_core.usable_isas(),
        cores=cores,
        clusters=read_clusters(root, cores),
        usable_cores=_core.usable_cores(),
        memory_bytes=physical_bytes(),
        load_average=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        before=noise.look(root=root),
        after=None,
    )


def usable_cpus() -> set[int]:
    """Processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


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


# Arm's own cores, by the MIDR part number (Arm's Technical Reference Manuals, "MIDR_EL1").
ARM_PARTS = {
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1",
    0xD0D: "Cortex-A77",
    0xD40: "Neoverse-V1",
    0xD41: "Cortex-A78",
    0xD44: "Cortex-X1",
    0xD46: "Cortex-A510",
    0xD47: "Cortex-A710",
    0xD48: "Cortex-X2",
    0xD49: "Neoverse-N2",
    0xD4D: "Cortex-A715",
    0xD4E: "Cortex-X3",
    0xD4F: "Neoverse-V2",
    0xD80: "Cortex-A520",
    0xD81: "Cortex-A720",
    0xD82: "Cortex-X4",
    0xD85: "Cortex-X925",
    0xD87: "Cortex-A725",
}
