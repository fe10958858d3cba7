"""Every matmul kernel by type, shape and tokens, beside the peaks measured in the same run.

    python -m pytest bench/kernels.py [-k q4_k] [--benchmark-json out.json]

GB/s count packed weight bytes; MAC per cycle is that of one core. Cycles come from a chain of
dependent adds, and the read bandwidth from four streams a thread, both timed before and after each
kernel, for clock and memory of a shared machine wander. The gates of the summary hold on a quiet
machine only, so they are printed, not asserted.
"""

import time

import numpy as np
import pytest

from edgelm import _core as core

ISA = core.active_isa()
QUANTS = {name: (block, n_bytes) for name, _, block, n_bytes in core.quants()}
STREAM_BYTES = 1 << 30  # far beyond any cache
N_THREADS = min(2, core.usable_cores())

# Which peak bounds a type's arithmetic.
FORM = dict.fromkeys(QUANTS, "u8s8")
NARROW = ISA in ("avx2", "scalar")  # where weights of 8 bits multiply activations of 16
FORM |= dict.fromkeys(("q8_0", "iq4_nl", "iq4_xs"), "i16" if NARROW else "u8s8")
FORM |= dict.fromkeys(("f32", "f16", "bf16"), "f32")

# MAC per cycle of a GEMM whose panel stays in cache, one core.
GEMM_GATES = dict.fromkeys(("q3_k", "q5_k", "q6_k", "q4_0", "q4_1", "q5_0"), 32)
GEMM_GATES |= {"q4_k": 35, "q8_0": 21}
if ISA == "avx512vnni":
    GEMM_GATES |= {"q4_k": 47, "q6_k": 40, "q8_0": 48, "q3_k": 44}
# Share of the read bandwidth of a GEMV over 1 GiB on two threads.
GEMV_GATES = dict.fromkeys(("q4_k", "q6_k", "q8_0", "q5_0", "q4_1"), 0.88) | {"q3_k": 0.75}


def parameters(kind, n_tokens):
    return [
        pytest.param(quant, t, id=f"{kind}-{quant}-{ISA}-T{t}")
        for quant in QUANTS
        for t in n_tokens
    ]


@pytest.fixture(scope="session")
def peaks():
    """Of one core."""
    return core.measure_peaks(ISA, 1, STREAM_BYTES // 4)


def read_gb_s(n_threads):
    """What the memory of the moment gives n_threads, in 10^9 bytes a second."""
    return core.measure_peaks(ISA, n_threads, STREAM_BYTES // 4)["read_gb_s"]


@pytest.fixture(scope="module")
def matrix():
    """PackedMatrix of a type and shape; the last one is kept, for neighbours share it."""
    kept = {}

    def get(quant, n, k):
        if (quant, n, k) not in kept:
            kept.clear()
            block, n_bytes = QUANTS[quant]
            row_bytes = k // block * n_bytes
            some = np.random.default_rng(0).integers(0, 120, (256, row_bytes), dtype=np.uint8)
            rows = np.tile(some, (-(-n // 256), 1))[:n]
            kept[quant, n, k] = core.PackedMatrix(ISA, quant, rows, k)
        return kept[quant, n, k]

    return get


def measure(benchmark, peaks, matrix, n_tokens, n_threads, rounds, **details):
    """Best of the rounds, with its speed and its share of the peaks in extra_info."""
    x = np.random.default_rng(1).standard_normal((n_tokens, matrix.k)).astype(np.float32)
    before, read_before = core.clock_hz(), read_gb_s(n_threads)
    benchmark.pedantic(
        matrix.matmul, (x,), {"n_threads": n_threads}, rounds=rounds, warmup_rounds=1
    )
    hz, read = (before + core.clock_hz()) / 2, max(read_before, read_gb_s(n_threads))
    seconds = benchmark.stats.stats.min
    gb_s = matrix.n_bytes / seconds / 1e9
    mac_cycle = matrix.n * matrix.k * n_tokens / (seconds * hz * n_threads)
    benchmark.extra_info.update(
        details,
        n=matrix.n,
        k=matrix.k,
        n_tokens=n_tokens,
        n_threads=n_threads,
        clock_ghz=hz / 1e9,
        gb_s=gb_s,
        mac_cycle=mac_cycle,
        share_of_mac_peak=mac_cycle / peaks[f"{FORM[details['quant']]}_mac_cycle"],
        read_gb_s=read,
        share_of_read=gb_s / read,
        peaks=peaks,
    )


@pytest.mark.parametrize(("quant", "n_tokens"), parameters("gemv", (1, 2, 3, 4, 8, 16)))
def test_gemv(benchmark, peaks, matrix, quant, n_tokens):
    """Few tokens over weights that stream from memory, on all threads."""
    k = 8192
    block, n_bytes = QUANTS[quant]
    n = STREAM_BYTES // (k // block * n_bytes) // 16 * 16
    measure(benchmark, peaks, matrix(quant, n, k), n_tokens, N_THREADS, 5, kind="gemv", quant=quant)


@pytest.mark.benchmark(timer=time.thread_time)  # what others run meanwhile does not count
@pytest.mark.parametrize(("quant", "n_tokens"), parameters("gemm", (8, 16, 32, 128, 512)))
def test_gemm(benchmark, peaks, matrix, quant, n_tokens):
    """One core, weights within its caches' reach: arithmetic decides."""
    measure(benchmark, peaks, matrix(quant, 2048, 2048), n_tokens, 1, 15, kind="gemm", quant=quant)


def summary(rows):
    """Lines for the end of the run: the peaks, a table a kind, the gates."""
    peaks = rows[0]["peaks"]
    yield f"{ISA}, {peaks['clock_hz'] / 1e9:.2f} GHz"
    if reads := [r["read_gb_s"] for r in rows if r["kind"] == "gemv"]:
        yield f"read GB/s beside each gemv: {min(reads):.1f} to {max(reads):.1f}"
    yield "peak MAC/cycle: " + ", ".join(
        f"{form} {peaks[f'{form}_mac_cycle']:.1f}" for form in ("u8s8", "i16", "f32")
    )
    by = {(r["kind"], r["quant"], r["n_tokens"]): r for r in rows}
    for kind, unit in (("gemv", "GB/s"), ("gemm", "mac_cycle")):
        tokens = sorted({t for k, _, t in by if k == kind})
        if not tokens:
            continue
        field = {"GB/s": "gb_s"}.get(unit, unit)
        yield f"\n{kind}: {unit}" + "".join(f"{f'T={t}':>9}" for t in tokens)
        for quant in QUANTS:
            found = [by.get((kind, quant, t)) for t in tokens]
            if any(found):
                cells = (f"{r[field]:9.1f}" if r else " " * 9 for r in found)
                yield f"{quant:<{len(kind) + 2 + len(unit)}}" + "".join(cells)
    yield ""
    for quant, least in GEMM_GATES.items():
        reached = [r["mac_cycle"] for key, r in by.items() if key[:2] == ("gemm", quant)]
        if reached:
            got = max(reached)
            yield gate(got >= least, f"gemm-{quant}-{ISA}", f"{got:.1f} MAC/cycle", f"{least}")
    for quant, least in GEMV_GATES.items():
        if row := by.get(("gemv", quant, 1)):
            got = row["share_of_read"]
            yield gate(got >= least, f"gemv-{quant}-{ISA}", f"{got:.0%} of read", f"{least:.0%}")


def gate(passed, kernel, got, least):
    return f"{'pass' if passed else 'FAIL'}  {kernel}: {got}, gate {least}"
