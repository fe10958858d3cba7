"""Asserts that an installed wheel runs vector code where the machine has vectors.

A build that cannot see the processor's features runs scalar code, ten times as slow, in silence. So
the features are asked of the operating system here, not of edgelm.
"""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from pathlib import Path

from edgelm import _core as core

ROOT = Path(__file__).resolve().parents[1]
WINDOWS_AVX2 = 40  # PF_AVX2_INSTRUCTIONS_AVAILABLE


def has_avx2() -> bool:
    if sys.platform == "linux":
        return " avx2 " in Path("/proc/cpuinfo").read_text()
    if sys.platform == "darwin":
        names = subprocess.check_output(["sysctl", "-n", "machdep.cpu.leaf7_features"], text=True)
        return "AVX2" in names.split()
    if sys.platform == "win32":
        return bool(ctypes.windll.kernel32.IsProcessorFeaturePresent(WINDOWS_AVX2))
    raise SystemExit(f"check_wheel.py: how does {sys.platform} say what the processor has?")


def expects_vectors() -> bool:
    if platform.machine() in ("x86_64", "AMD64"):
        return has_avx2()
    return (ROOT / "csrc" / "isa" / "neon.h").exists()  # every arm64 has NEON: with its kernels


def main() -> None:
    chosen, usable = core.active_isa(), core.usable_isas()
    machine = f"{sys.platform} {platform.machine()}, Python {platform.python_version()}"
    print(f"{machine}: {chosen} of {', '.join(usable)}; {core.cpu_features()}; {core.__file__}")
    assert not Path(core.__file__).is_relative_to(ROOT / "python"), "this is not the wheel's"
    assert chosen == usable[0], f"{chosen} runs where {usable[0]} would"
    scalar = chosen.startswith("scalar")
    assert scalar != expects_vectors(), f"{chosen} runs; vectors expected: {expects_vectors()}"


if __name__ == "__main__":
    main()
