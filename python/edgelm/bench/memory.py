"""Memory of a process that loads a model and fills its context."""

from __future__ import annotations

from dataclasses import dataclass

from ..memory import resident_bytes
from .run import CannotMeasure, Run, Task
from .subject import Subject

LENGTHS = (1, 64, 128, 256, 512, 1024, 1536, 2048, 4096, 8192, 16384, 32768)
FILL_S = 15.0


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
    rss_steady_bytes: resident at the end, the context filled.
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


def measure(run: Run, subject: Subject, *, longest: int) -> Memory | None:
    """Fill a context of up to `longest` tokens, or of as many as FILL_S seconds allow."""
    longest = min(longest, subject.settings.n_ctx, max(64, int(FILL_S / subject.prefill_s)))
    lengths = [n for n in LENGTHS if n <= longest]

    def fill() -> Memory:
        if resident_bytes() is None:
            raise CannotMeasure("the system does not show resident memory in /proc/self/status")
        with subject.worker() as worker:
            return _memory(worker.hello["rss_bytes"], worker.ask("fill", lengths))

    seconds = 1.0 + subject.load_s + longest * subject.prefill_s
    found = run.collect("memory", 1, [Task("memory", seconds, fill)])
    return found["memory"][0] if found else None


def _memory(rss_start_bytes: int, points: list[dict[str, int]]) -> Memory:
    last = points[-1]
    return Memory(
        weight_bytes=last["weights"],
        arena_bytes=last["arena"],
        kv_reserved_bytes=last["kv_reserved"],
        kv_used_bytes=last["kv"],
        rss_start_bytes=rss_start_bytes,
        rss_steady_bytes=last["rss"],
        rss_peak_bytes=last["peak"],
        points=[MemoryPoint(p["n_tokens"], p["rss"], p["kv"]) for p in points],
    )
