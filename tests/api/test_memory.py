"""What a KV cache costs, by arithmetic, what is refused before anything is loaded, and peaks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cgroups import groups
from edgelm import memory
from edgelm.graph import PAGE_TOKENS, StateSpec, state_bytes
from edgelm.model import open_network
from tiny_models import TinyLlama


def heads(n: int, width: int, **options: int) -> StateSpec:
    return StateSpec(n_heads=n, k_width=width, v_width=width, **options)


def room(n_bytes: int) -> SimpleNamespace:
    return SimpleNamespace(bytes=n_bytes, limit="free on this machine")


LAYERS = [heads(8, 128) for _ in range(32)]  # Llama 3 8B: 128 KiB a token in float16


def test_a_context_that_fits_is_allowed():
    memory.check_cache_fits(LAYERS, 8192, "f16", 5 << 30, room(6 << 30))


@pytest.mark.parametrize(("kv_type", "bytes_a_token"), [("f16", 131072), ("q8_0", 69632)])
def test_a_context_that_does_not_fit_is_refused_with_the_arithmetic(kv_type, bytes_a_token):
    with pytest.raises(MemoryError) as refused:
        memory.check_cache_fits(LAYERS, 131072, kv_type, 5 << 30, room(6 << 30))
    text = str(refused.value)
    assert f"{131072 * bytes_a_token:,} bytes" in text
    assert f"{bytes_a_token:,} a token" in text
    (fits,) = map(int, re.findall(r"Use n_ctx=(\d+)", text))
    memory.check_cache_fits(LAYERS, fits, kv_type, 5 << 30, room(6 << 30))
    with pytest.raises(MemoryError):
        memory.check_cache_fits(LAYERS, fits + PAGE_TOKENS, kv_type, 5 << 30, room(6 << 30))
    assert ("q8_0" in text.split("Use n_ctx")[1]) == (kv_type == "f16")


def test_weights_that_fill_the_memory_leave_no_context():
    with pytest.raises(MemoryError, match="smaller model"):
        memory.check_cache_fits(LAYERS, 512, "f16", 6 << 30, room(6 << 30))


def test_load_refuses_before_it_reads_the_weights(tmp_path, monkeypatch):
    path = TinyLlama(n_ctx=1 << 20).write(tmp_path / "model.gguf")
    monkeypatch.setattr("edgelm.model._core.memory_room", lambda: room(64 << 20))
    with pytest.raises(MemoryError, match=r"n_ctx=1,048,576 .* there are 67,108,864 free on"):
        open_network(path, n_ctx=1 << 20)
    open_network(path, n_ctx=4096)


def test_activations_beyond_memory_are_refused_with_the_arithmetic(tmp_path, monkeypatch):
    path = TinyLlama(n_ctx=1 << 16).write(tmp_path / "model.gguf")
    monkeypatch.setattr("edgelm.model._core.memory_room", lambda: room(24 << 20))
    with pytest.raises(MemoryError, match=r"n_batch=32,768 tokens takes .* there are 25,165,824"):
        open_network(path, n_ctx=1 << 15, n_batch=1 << 15)
    open_network(path, n_ctx=1 << 15, n_batch=512)


def test_tables_of_pages_are_bounded(tmp_path):
    """Addresses are free, but the tables that name them are not."""
    path = TinyLlama(n_layers=1, n_ctx=1 << 24).write(tmp_path / "model.gguf")
    with pytest.raises(MemoryError, match=r"17179869184 pages .* use a smaller n_ctx"):
        open_network(path, n_ctx=1 << 24, n_parallel=1 << 16)


# --- peak memory, measured in a process of its own ---

MEASURE = """
import sys, edgelm
from pathlib import Path

def kilobytes(name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])

path, n_ctx, n_tokens = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
model = edgelm.load(path, n_ctx=n_ctx)
if n_tokens:
    model.generate("Once upon a time", max_tokens=n_tokens, ignore_eos=True, temperature=0)
print(1024 * kilobytes("VmHWM"))
"""

LLAMA_CPP = """
import sys, xllamacpp
from pathlib import Path
p = xllamacpp.CommonParams()
p.model.path, p.n_ctx, p.n_parallel, p.n_gpu_layers = sys.argv[1], int(sys.argv[2]), 1, 0
p.verbosity, p.warmup = 0, False
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
p.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
answer = xllamacpp.Server(p).handle_completions(
    {"prompt": "Once upon a time", "max_tokens": int(sys.argv[3]), "ignore_eos": True})
assert answer["timings"]["predicted_n"] == int(sys.argv[3])
for line in Path("/proc/self/status").read_text().splitlines():
    if line.startswith("VmHWM:"):
        print("peak", 1024 * int(line.split()[1]))
"""


def peak_rss(script: str, *arguments: object) -> int:
    """Bytes; the last number that the script prints."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return int(done.stdout.split()[-1])


def test_peak_memory_of_a_short_reply(smollm2_path):
    """At most the file and what the cache holds, with 15 % and 120 MB for all else."""
    layers = [heads(3, 64) for _ in range(30)]  # SmolLM2-135M
    used = state_bytes(layers, 4 + 32, "f16")
    ours = peak_rss(MEASURE, smollm2_path, 8192, 32)
    assert ours <= 1.15 * (smollm2_path.stat().st_size + used) + 120e6
    assert ours > smollm2_path.stat().st_size / 2  # what is measured holds the weights


@pytest.mark.slow
def test_no_more_memory_than_llama_cpp(smollm2_path):
    """Independent source: llama.cpp's own peak, for the same file, context and tokens."""
    ours = peak_rss(MEASURE, smollm2_path, 2048, 32)
    assert ours <= peak_rss(LLAMA_CPP, smollm2_path, 2048, 32)


def test_a_long_context_costs_nothing_before_its_tokens_come(smollm2_path):
    short = peak_rss(MEASURE, smollm2_path, 512, 0)
    long = peak_rss(MEASURE, smollm2_path, 8192, 0)
    assert abs(long - short) < 10e6
    # The seeded fault: a cache that is committed at load would cost this.
    assert state_bytes([heads(3, 64) for _ in range(30)], 8192, "f16") > 100e6


LEAKS = """
import gc, mmap, sys, edgelm
from pathlib import Path

def resident():
    gc.collect()
    return mmap.PAGESIZE * int(Path("/proc/self/statm").read_text().split()[1])

def reply(model, i):
    model.generate(f"Item {i} is", max_tokens=4, seed=i, logprobs=2)

path, kept = sys.argv[1], []
leak = sys.argv[2] == "leak"
with edgelm.load(path, n_ctx=256, n_threads=1) as model:
    for i in range(50):
        reply(model, i)
    before = resident()
    for i in range(1000):
        reply(model, i)
        if leak:
            kept.append(bytearray(b"x" * 4_000))
    calls = resident() - before
for _ in range(5):
    edgelm.load(path, n_ctx=256, n_threads=1).close()
before = resident()
for _ in range(100):
    with edgelm.load(path, n_ctx=256, n_threads=1) as model:
        reply(model, 1)
    if leak:
        kept.append(bytearray(b"x" * 40_000))
print(calls, resident() - before)
"""


def growth(path: Path, how: str) -> list[int]:
    """Bytes that 1,000 replies, then 100 loads and closes, have added."""
    command = [sys.executable, "-c", LEAKS, str(path), how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return [int(n) for n in done.stdout.split()]


@pytest.mark.slow
def test_nothing_leaks(tmp_path):
    """2 kB a call and 20 kB a load would be seen; a tiny model's weights are more than that."""
    path = TinyLlama(n_layers=4, width=128, ff_width=256).write(tmp_path / "tiny.gguf")
    calls, loads = growth(path, "clean")
    assert calls < 2e6
    assert loads < 2e6
    leaked = growth(path, "leak")  # the seeded fault
    assert leaked[0] > 3.5e6
    assert leaked[1] > 3.5e6


# --- a real limit: a control group's --------------------------------------------------------------

LIMITED = """
import sys
open(sys.argv[1], "w").write("0")
import edgelm
try:
    model = edgelm.load(sys.argv[2], n_ctx=4096)
except MemoryError as error:
    sys.exit(f"load: {error}")
print("loaded", flush=True)
sessions = []
try:
    for i in range(4):
        sessions.append(model.session())
        sessions[-1].prefill(range(100, 4000))
except MemoryError as error:
    print("session", len(sessions), error, flush=True)
sessions.pop().close()
print(len(sessions[0].decode(5)), flush=True)  # those that had room go on
"""
HIERARCHIES = [
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
    ("/sys/fs/cgroup", "memory.max"),
]


@pytest.mark.parametrize(("hierarchy", "file"), HIERARCHIES, ids=["v1", "v2"])
@pytest.mark.slow
def test_a_control_groups_limit_is_an_error_and_no_kill(hierarchy, file, smollm2_path):
    """Independent source: the kernel, which would end the process (the status is then -9)."""
    if not (Path(hierarchy) / "cgroup.procs").exists():
        pytest.skip(f"no real limit by {file} tested: this machine has no such hierarchy")

    def limited(n_bytes: int) -> subprocess.CompletedProcess:
        (outer / file).write_text(str(n_bytes))
        command = [sys.executable, "-c", LIMITED, inner / "cgroup.procs", smollm2_path]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    with groups(Path(hierarchy), "memory", file) as (outer, inner):
        done = limited(120 << 20)
        assert done.returncode == 1
        assert re.match(rf"load: .* control group {outer} \({file}\)", done.stderr), done.stderr
        done = limited(330 << 20)
        assert done.returncode == 0, done
        loaded, refused, decoded = done.stdout.splitlines()
        assert loaded == "loaded"
        assert re.match(rf"session [23] .*{outer} \({file}\); end other sessions", refused)
        assert int(decoded) == 49_152
