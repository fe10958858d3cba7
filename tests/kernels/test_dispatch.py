"""Which kernels run: the choice of an ISA, and proof from the code that was really executed.

A subprocess overwrites the start of chosen kernels with a trap instruction, then runs a model.
It dies of the trap if one of them is called, whatever the labels say.
"""

import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgelm import _core as core
from tiny_models import TinyLlama

ISAS = core.usable_isas()
# An early processor, as qemu names it, and the ISAs that it can have.
OLD_CPU, OLD_ISAS = {
    "x86_64": ("Nehalem", {"scalar", "scalar_wide"}),
    "aarch64": ("cortex-a53", {"neon", "scalar", "scalar_wide"}),
}.get(platform.machine(), (None, set()))

RUN = """
import ctypes, mmap, sys
import edgelm
from edgelm import _core as core

TRAP = {"x86_64": b"\\xcc", "aarch64": b"\\x00\\x00\\x20\\xd4"}[sys.argv[2]]
libc = ctypes.CDLL(None, use_errno=True)
for isa in core.usable_isas():
    for name, address in core.kernel_addresses(isa).items():
        if name in sys.argv[3:]:
            page = address // mmap.PAGESIZE * mmap.PAGESIZE
            span = ctypes.c_size_t(address + len(TRAP) - page)
            # Writable, then executable again: only so does Linux flush an ARM's instruction cache.
            for access in (mmap.PROT_READ | mmap.PROT_WRITE, mmap.PROT_READ | mmap.PROT_EXEC):
                if libc.mprotect(ctypes.c_void_p(page), span, access):
                    raise OSError(ctypes.get_errno(), "mprotect")
                if access & mmap.PROT_WRITE:
                    ctypes.memmove(address, TRAP, len(TRAP))
with edgelm.load(sys.argv[1], n_ctx=64) as model:
    print(core.active_isa(), model.generate([1, 2, 3] * 11, max_tokens=3, temperature=0).tokens)
"""

ASK_FOR_EACH = f"""
import os
from edgelm import _core
print(*_core.usable_isas())
for isa in {ISAS}:
    if isa not in _core.usable_isas():
        os.environ["EDGELM_ISA"] = isa
        try:
            _core.active_isa()
        except ValueError as error:
            print(error)
os.environ.pop("EDGELM_ISA", None)
"""


def find_emulator():
    """What starts sys.executable in qemu: nothing if that is a script which does (tools/arm64)."""
    if Path(sys.executable).read_bytes()[:2] == b"#!":
        return []
    names = (f"qemu-{platform.machine()}-static", f"qemu-{platform.machine()}")
    found = next(filter(None, map(shutil.which, names)), None)
    return None if found is None else [found]


EMULATOR = find_emulator()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return TinyLlama(quant="Q4_0").write(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


def run(model, isa, trapped=(), *, script=RUN, emulator=(), cpu=None):
    """Generate with EDGELM_ISA=isa (None: unset) while the trapped kernels are deadly."""
    environment = {k: v for k, v in os.environ.items() if k != "EDGELM_ISA"}
    if isa is not None:
        environment["EDGELM_ISA"] = isa
    if cpu is not None:
        environment["QEMU_CPU"] = cpu
    command = [*emulator, sys.executable, "-c", script, str(model), platform.machine(), *trapped]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def others(isa):
    """Every kernel of every other usable ISA."""
    return [name for other in ISAS if other != isa for name in core.kernel_addresses(other)]


@pytest.mark.parametrize("isa", ISAS)
def test_the_override_runs_that_isas_kernels_only(tiny, isa):
    done = run(tiny, isa, others(isa))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == isa


def test_without_an_override_the_best_runs(tiny):
    done = run(tiny, None, others(ISAS[0]))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == ISAS[0]


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["matmul-q4_0", "quantize", "rms_norm", "rope", "attention"])
@pytest.mark.parametrize("isa", ISAS)
def test_a_trap_in_a_kernel_that_runs_is_deadly(tiny, isa, kernel):
    """Seeded fault: the proof above could not pass if the wrong kernels ran."""
    done = run(tiny, isa, [f"{kernel}-{isa}"])
    assert done.returncode == -signal.SIGTRAP, done.stderr


@pytest.mark.parametrize("isa", ISAS)
def test_kernels_of_other_types_do_not_run(tiny, isa):
    used = {f"{op}-{quant}-{isa}" for op in ("matmul", "unpack_row") for quant in ("q4_0", "f32")}
    unused = [
        name
        for name in core.kernel_addresses(isa)
        if name.startswith(("matmul", "unpack_row")) and name not in used
    ]
    done = run(tiny, isa, unused)
    assert done.returncode == 0, done.stderr


def test_kernel_names_are_the_grammars():
    for isa in ISAS:
        addresses = core.kernel_addresses(isa)
        assert all(addresses.values())
        assert all(name.endswith(f"-{isa}") for name in addresses)
        assert {f"matmul-{quant}-{isa}" for quant, *_ in core.quants()} <= set(addresses)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mmx", "AVX2", "avx2 ", "best"])
def test_an_unknown_override_is_an_error(tiny, name):
    done = run(tiny, name)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ValueError: EDGELM_ISA: unknown ISA '{name}'; usable here: ")
    assert last.endswith(", ".join(ISAS))


def test_an_empty_override_is_none(tiny):
    done = run(tiny, "")
    assert done.stdout.split()[0] == ISAS[0], done.stderr


@pytest.mark.slow
@pytest.mark.skipif(
    EMULATOR is None or OLD_CPU is None, reason="needs qemu-user-static, on x86-64 or aarch64"
)
def test_an_older_processor(tiny):
    """Independent source: an emulator of one where the newer instructions are illegal.

    Asking for an ISA that it lacks is an error there; not asking runs its best one.
    """
    done = run(tiny, None, script=ASK_FOR_EACH + RUN, emulator=EMULATOR, cpu=OLD_CPU)
    assert done.returncode == 0, done.stderr
    usable, *refusals, answer = done.stdout.splitlines()
    usable = usable.split()
    assert set(usable) <= OLD_ISAS
    assert refusals == [
        f"EDGELM_ISA: this processor cannot run the kernels of ISA '{isa}'; "
        f"usable here: {', '.join(usable)}"
        for isa in ISAS
        if isa not in usable
    ]
    assert answer == run(tiny, usable[0]).stdout.strip()
