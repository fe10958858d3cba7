"""The processor's features, beside what the kernel says of the same processor."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from edgelm import _core as core

# Our name: Linux's in /proc/cpuinfo.
X86 = {
    "avx2": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512vl": "avx512vl",
    "avx512vbmi": "avx512vbmi",
    "avx512vnni": "avx512_vnni",
    "avx512bf16": "avx512_bf16",
    "avx512fp16": "avx512_fp16",
    "avxvnni": "avx_vnni",
}
ARM = {"neon": "asimd", "dotprod": "asimddp", "i8mm": "i8mm"}
FLAGS = {"x86_64": ("flags", X86), "aarch64": ("Features", ARM)}


def features_of(cpuinfo, field, names):
    """Ours, in the order of `names`, of the text's first processor."""
    lines = [line.split(":")[1].split() for line in cpuinfo.splitlines() if line.startswith(field)]
    if not lines:
        pytest.skip("/proc/cpuinfo is of another processor: an emulator shows its host's")
    return [ours for ours, linux in names.items() if linux in lines[0]]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/cpuinfo")
def test_features_are_what_the_kernel_says():
    """Independent source: Linux decodes CPUID itself and drops what it does not save."""
    field, names = FLAGS[platform.machine()]
    cpuinfo = Path("/proc/cpuinfo").read_text()
    assert core.cpu_features() == features_of(cpuinfo, field, names)
    # Seeded fault: a flag less is another answer, as long as this processor has any.
    seen = core.cpu_features()
    assert not seen or features_of(cpuinfo.replace(names[seen[-1]], "-"), field, names) != seen


def test_the_check_of_wheels_sees_a_wrong_choice():
    """Seeded fault: scalar code on a machine with vectors."""
    script = Path(__file__).parents[2] / "tools" / "check_wheel.py"
    for isa in core.usable_isas():
        environment = {**os.environ, "EDGELM_ISA": isa}
        command = [sys.executable, script]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == (isa == core.usable_isas()[0]), done.stderr
