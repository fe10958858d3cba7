"""The cores to predict, each by the scheduling model of LLVM 19 that fits it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Core:
    """A core, LLVM's model for it, and how many operations it takes in a cycle.

    LLVM 19 gives Cortex-A72 to X1 the A57's model and X2 to X4 the N2's, and its models' own widths
    ignore decoding; 0 leaves that of an in-order model as it is.
    """

    name: str
    model: str
    dispatch: int


A53 = Core("Cortex-A53", "cortex-a53", 0)
A72 = Core("Cortex-A72", "cortex-a72", 3)
A55 = Core("Cortex-A55", "cortex-a55", 0)
A76 = Core("Cortex-A76", "neoverse-n1", 4)  # and A78
X1 = Core("Cortex-X1", "neoverse-v1", 8)
A510 = Core("Cortex-A510", "cortex-a510", 0)
A710 = Core("Cortex-A710", "neoverse-n2", 5)
X3 = Core("Cortex-X3", "neoverse-v2", 8)

TIERS = {"neon": (A53, A72), "dotprod": (A55, A76, X1), "i8mm": (A510, A710, X3)}
CORES = {core.name: core for cores in TIERS.values() for core in cores}

# What bounds a tier: its widest multiply-add of int8, and how many it does at once.
_PEAK = {
    "neon": ("smlal\tv{0}.8h, v30.8b, v31.8b", 8),
    "dotprod": ("sdot\tv{0}.4s, v30.16b, v31.16b", 16),
    "i8mm": ("smmla\tv{0}.4s, v30.16b, v31.16b", 32),
}
_PEAK["scalar"] = _PEAK["scalar_wide"] = _PEAK["neon"]


def peak_trace(tier: str) -> tuple[list[str], int]:
    """Instructions that do nothing but multiply and add, and how many multiply-adds they do."""
    text, macs = _PEAK[tier]
    trace = [text.format(register) for _ in range(64) for register in range(28)]
    return trace, macs * len(trace)
