"""What a model's KV cache costs, whether the machine can hold it, what this process holds."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .graph import KvLayer

KV_PAGE = 64  # tokens
SCALE_WIDTH = 32  # values of a q8_0 cache that share a 2-byte scale


def kv_bytes(layers: Sequence[KvLayer], n_tokens: int, kv_type: str) -> int:
    """Bytes of the KV cache for one sequence: whole pages of 64 tokens, K and V.

    A layer with a window keeps that and a page on each side, to roll back and to begin in.
    """
    total = 0
    for layer in layers:
        kept = min(n_tokens, layer.window + 2 * KV_PAGE) if layer.window else n_tokens
        pages = -(-kept // KV_PAGE)
        value_bytes = 2 * layer.head_width
        if kv_type == "q8_0":
            value_bytes = layer.head_width + 2 * -(-layer.head_width // SCALE_WIDTH)
        total += 2 * pages * KV_PAGE * layer.n_kv_heads * value_bytes
    return total


def check_activations_fit(
    arena_bytes: int, n_batch: int, weight_bytes: int, memory_bytes: int
) -> None:
    """MemoryError unless memory holds the weights and what n_batch tokens need while they run."""
    if arena_bytes > memory_bytes - weight_bytes:
        raise MemoryError(
            f"A batch of n_batch={n_batch:,} tokens takes {arena_bytes:,} bytes of activations "
            f"({arena_bytes / n_batch:,.0f} a token), and the weights take {weight_bytes:,}; "
            f"the machine has {memory_bytes:,}. Use a smaller n_batch."
        )


def check_cache_fits(
    layers: Sequence[KvLayer], n_ctx: int, kv_type: str, weight_bytes: int, memory_bytes: int
) -> None:
    """MemoryError unless memory holds the weights and one sequence of n_ctx tokens.

    Other sequences are only promised addresses: they may well stay short.
    """
    needed = kv_bytes(layers, n_ctx, kv_type)
    room = memory_bytes - weight_bytes
    if needed <= room:
        return
    fits = 0
    step = 1 << 27
    while step >= KV_PAGE:  # the longest context of whole pages that fits
        if kv_bytes(layers, fits + step, kv_type) <= room:
            fits += step
        step //= 2
    if fits:
        advice = f"Use n_ctx={fits} or less" + (", or kv_type='q8_0'." if kv_type == "f16" else ".")
    else:
        advice = "The weights alone do not leave room: use a smaller model."
    raise MemoryError(
        f"A context of n_ctx={n_ctx:,} tokens takes {needed:,} bytes of {kv_type} KV cache "
        f"({needed / n_ctx:,.0f} a token), and the weights take {weight_bytes:,}; "
        f"the machine has {memory_bytes:,}. {advice}"
    )


def resident_bytes() -> int | None:
    """Physical memory that this process has now; None where nothing tells."""
    return _status("VmRSS")


def peak_bytes() -> int | None:
    """Physical memory that this process had at most; None where nothing tells."""
    if (peak := _status("VmHWM")) is not None:
        return peak
    try:
        import resource
    except ImportError:
        return None
    # On Linux this peak begins with that of the process that started this one.
    kib_or_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kib_or_bytes if sys.platform == "darwin" else 1024 * kib_or_bytes


def _status(key: str) -> int | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return 1024 * int(line.split()[1])
    return None
