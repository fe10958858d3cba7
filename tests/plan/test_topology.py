"""The machine's cores and what limits them, for real: affinity masks and cgroups' quotas.

Machines laid out as folders are read in tests/cpp/test_topology.cc.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cgroups import groups
from edgelm import _core

ASK = "from edgelm import _core; t = _core.read_topology(); print(t.n_threads, t.quota)"
V1, V2 = "cpu.cfs_quota_us", "cpu.max"


def asked(group: Path | None = None) -> tuple[int, float]:
    """Threads and quota that a new process sees, in that group."""
    enter = "" if group is None else f"open({str(group / 'cgroup.procs')!r}, 'w').write('0'); "
    command = [sys.executable, "-c", enter + ASK]
    out = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    threads, quota = out.split()
    return int(threads), float(quota)


def set_quota(group: Path, file: str, cpus: float) -> None:
    quota = "max" if math.isinf(cpus) else str(round(100_000 * cpus))
    if file == V2:
        (group / V2).write_text(f"{quota} 100000")
    else:
        (group / "cpu.cfs_period_us").write_text("100000")
        (group / V1).write_text("-1" if quota == "max" else quota)


@pytest.mark.parametrize(
    ("file", "places"),
    [
        (V1, ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct")),
        (V2, ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")),
    ],
    ids=["v1", "v2"],
)
def test_a_real_quota_at_every_level(file: str, places: tuple[str, ...]) -> None:
    marker = "cgroup.procs" if file == V1 else "cgroup.controllers"
    found = [place for place in map(Path, places) if (place / marker).exists()]
    if not found:
        pytest.skip(f"no real quota of {file} tested: this machine has no such hierarchy")
    free, before = asked()
    with groups(found[0], "cpu", file) as (outer, inner):
        for cpus, threads in ((1.0, 1), (0.5, 1), (1.5, 2)):
            set_quota(inner, file, cpus)
            assert asked(inner) == (min(free, threads), min(cpus, before))
        set_quota(inner, file, math.inf)
        set_quota(outer, file, 1.0)  # the group's own is none: its parent's holds
        assert asked(inner) == (1, min(1.0, before))
    assert asked() == (free, before)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity masks here")
def test_the_affinity_mask_counts_at_once() -> None:
    allowed = os.sched_getaffinity(0)
    topology = _core.read_topology()
    assert {cpu.cpu for cpu in topology.cpus if cpu.usable} == allowed
    assert sorted(cpu for core in topology.cores for cpu in core.cpus) == sorted(allowed)
    assert topology.n_threads == _core.usable_cores() <= len(allowed)
    try:
        os.sched_setaffinity(0, {max(allowed)})
        assert [core.cpus for core in _core.read_topology().cores] == [[max(allowed)]]
        assert _core.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert _core.usable_cores() == topology.n_threads


def test_a_folder_stands_for_the_machine(tmp_path: Path) -> None:
    assert _core.read_topology(str(tmp_path)).cpus == []
    assert _core.read_topology(str(tmp_path)).n_threads >= 1
    own = tmp_path / "sys/devices/system/cpu/cpu3"
    own.mkdir(parents=True)
    (own / "cpu_capacity").write_text("512\n")
    (own.parent / "online").write_text("3\n")
    (only,) = _core.read_topology(str(tmp_path)).cpus
    assert (only.cpu, only.core, only.capacity, only.speed, only.fast) == (3, 3, 512, 1.0, True)
