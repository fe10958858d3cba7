"""What the machine can do at best, and how a measured time stands to it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from .. import _core
from .subject import ModelInfo, Settings
from .timing import Bound

LOOKS = 3  # the best of these: a limit is what was possible once


@dataclass
class Limit:
    """Limits at one number of threads, by loops that do nothing else; the best of three.

    n_threads: threads that worked together.
    isa: the instruction set of the loops.
    read_gb_s: memory read, in 10^9 bytes a second.
    int8_gmac_s: 8-bit multiply-adds with operands in registers, 10^9 a second, all threads.
    f32_gmac_s: float multiply-adds likewise.
    clock_ghz: clock of one core while that ran.
    read_samples: every reading of read_gb_s.
    """

    n_threads: int
    isa: str
    read_gb_s: float
    int8_gmac_s: float
    f32_gmac_s: float
    clock_ghz: float
    read_samples: list[float]


def measure(n_threads: int, n_bytes: int = 1 << 28) -> Limit:
    """Measure one number of threads: about half a second."""
    isa = _core.active_isa()
    found = [_core.measure_peaks(isa, n_threads, n_bytes) for _ in range(LOOKS)]

    def gmac_s(form: str) -> float:
        return 1e-9 * n_threads * max(p[f"{form}_mac_cycle"] * p["clock_hz"] for p in found)

    reads = [p["read_gb_s"] for p in found]
    return Limit(
        n_threads=n_threads,
        isa=isa,
        read_gb_s=max(reads),
        int8_gmac_s=gmac_s("u8s8"),
        f32_gmac_s=gmac_s("f32"),
        clock_ghz=1e-9 * max(p["clock_hz"] for p in found),
        read_samples=reads,
    )


def inner_gmac_s(quant: str, settings: Settings) -> float:
    """10^9 multiply-adds a second of one type's matmul with all in caches; about 50 ms.

    quant: as in ModelInfo. 512 rows of 2048 zeros a thread, 128 tokens: what the weights are does
    not change the time.
    """
    n, k, n_tokens = 512 * settings.n_threads, 2048, 128
    name = quant.rstrip("+").lower()
    block, n_bytes = next((q[2], q[3]) for q in _core.quants() if q[0] == name)
    rows = np.zeros((n, k // block * n_bytes), np.uint8)
    matrix = _core.PackedMatrix(settings.isa, name, rows, k)
    x = np.ones((n_tokens, k), np.float32)
    times = []
    for _ in range(LOOKS + 1):  # the first one warms up
        start = time.perf_counter()
        matrix.matmul(x, n_threads=settings.n_threads)
        times.append(time.perf_counter() - start)
    return 1e-9 * n * k * n_tokens / min(times)


def prefill_bound(
    info: ModelInfo, limit: Limit, n_tokens: int, kv_bytes: int, measured_ms: float
) -> Bound:
    """Of n_tokens at once, one row of logits: all weights are read, every layer multiplies.

    kv_bytes: keys and values of a cached prefix. Attention's own multiply-adds are not counted.
    """
    macs = n_tokens * info.layer_macs + info.head_macs
    return bound(limit, info.bytes_per_token + kv_bytes, macs, measured_ms)


def decode_bound(info: ModelInfo, limit: Limit, kv_bytes: int, measured_ms: float) -> Bound:
    """Of one token that reads the weights and kv_bytes of keys and values."""
    return bound(
        limit, info.bytes_per_token + kv_bytes, info.layer_macs + info.head_macs, measured_ms
    )


def bound(limit: Limit, n_bytes: float, macs: float, measured_ms: float) -> Bound:
    """memory_ms = bytes / bandwidth; compute_ms = multiply-adds / rate; the greater one binds."""
    memory_ms = 1e-6 * n_bytes / limit.read_gb_s
    compute_ms = 1e-6 * macs / limit.int8_gmac_s
    limit_ms = max(memory_ms, compute_ms)
    return Bound(
        memory_ms=memory_ms,
        compute_ms=compute_ms,
        limit_ms=limit_ms,
        by="memory" if memory_ms >= compute_ms else "compute",
        share=limit_ms / measured_ms,
    )
