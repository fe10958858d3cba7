"""What a model's KV cache costs, whether there is memory for it, what this process holds."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .graph import MemoryRoom, StateSpec


def check_weights_fit(weight_bytes: int, room: MemoryRoom) -> None:
    """MemoryError unless there is memory for the weights."""
    if weight_bytes > room.bytes:
        raise MemoryError(
            f"The weights take {weight_bytes:,} bytes; there are {room.bytes:,} {room.limit}. "
            "Use a smaller model or a smaller quantization, or leave it more memory."
        )


def check_activations_fit(
    arena_bytes: int, n_batch: int, weight_bytes: int, room: MemoryRoom
) -> None:
    """MemoryError unless memory holds the weights and what n_batch tokens need while they run."""
    if arena_bytes > room.bytes - weight_bytes:
        raise MemoryError(
            f"A batch of n_batch={n_batch:,} tokens takes {arena_bytes:,} bytes of activations "
            f"({arena_bytes / n_batch:,.0f} a token), and the weights take {weight_bytes:,}; "
            f"there are {room.bytes:,} {room.limit}. Use a smaller n_batch."
        )


def check_cache_fits(
    states: Sequence[StateSpec], n_ctx: int, kv_type: str, weight_bytes: int, room: MemoryRoom
) -> None:
    """MemoryError unless memory holds the weights and one sequence of n_ctx tokens.

    Other sequences are only promised addresses: they may well stay short.
    """
    from .graph import PAGE_TOKENS, state_bytes  # costs NumPy, which the command line may not need

    needed = state_bytes(states, n_ctx, kv_type)
    left = room.bytes - weight_bytes
    if needed <= left:
        return
    fits = 0
    step = 1 << 27
    while step >= PAGE_TOKENS:  # the longest context of whole pages that fits
        if state_bytes(states, fits + step, kv_type) <= left:
            fits += step
        step //= 2
    if fits:
        advice = f"Use n_ctx={fits} or less" + (", or kv_type='q8_0'." if kv_type == "f16" else ".")
    else:
        advice = "The weights alone do not leave room: use a smaller model."
    raise MemoryError(
        f"A context of n_ctx={n_ctx:,} tokens takes {needed:,} bytes of {kv_type} KV cache "
        f"({needed / n_ctx:,.0f} a token), and the weights take {weight_bytes:,}; "
        f"there are {room.bytes:,} {room.limit}. {advice}"
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
