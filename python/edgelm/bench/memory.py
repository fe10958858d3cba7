"""Memory of a process that loads a model and fills its context."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class MemoryPoint:
    """Memory at one length of the context.

    n_tokens: tokens in the KV cache.
    rss_bytes: resident memory of the process.
    kv_bytes: committed by the KV cache.
    """

    n_tokens: int
    rss_bytes: int
    kv_bytes: int


@dataclass
class Memory:
    """Memory of a process of its own that loads the model and fills its context.

    weight_bytes: packed weights.
    arena_bytes: activations.
    kv_reserved_bytes: addresses that the KV cache reserves; they cost no memory until used.
    kv_used_bytes: what it had committed at the end.
    rss_start_bytes: before load: Python and NumPy.
    rss_steady_bytes: at the end, all contexts filled.
    rss_peak_bytes: the most at any moment, loading included; null where the system won't tell.
    points: as the context grows.
    """

    weight_bytes: int
    arena_bytes: int
    kv_reserved_bytes: int
    kv_used_bytes: int
    rss_start_bytes: int
    rss_steady_bytes: int
    rss_peak_bytes: int | None
    points: list[MemoryPoint]
