"""Memory of a process that loads a model and fills its context."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..memory import resident_bytes
from .canvas import (
    SERIES,
    Plot,
    canvas,
    short,
)
from .numbers import count, mib
from .run import CannotMeasure, Task
from .section import Case, Section
from .table import Table, label, per_model

if TYPE_CHECKING:
    from .results import Results

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


def measure(case: Case) -> Memory | None:
    """Fill a context, up to its end with --full, or as far as FILL_S seconds allow."""
    run, subject = case.run, case.subject
    n_ctx = subject.settings.n_ctx
    longest = n_ctx if case.plan.full else min(n_ctx, 512 if case.plan.quick else 2048)
    longest = min(longest, max(64, int(FILL_S / subject.prefill_s)))
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


def _table(results: Results) -> Table:
    """Resident memory and what it goes to."""
    rows = [
        (
            label(results, result.model.name),
            mib(m.weight_bytes),
            mib(m.arena_bytes),
            mib(m.kv_used_bytes),
            mib(m.kv_reserved_bytes),
            mib(m.rss_start_bytes),
            mib(m.rss_steady_bytes),
            mib(m.rss_peak_bytes),
        )
        for result in results.models
        if (m := result.memory)
    ]
    return Table(
        "memory",
        "Memory",
        "MiB, of a process of its own that loads the model and fills its context. Reserved "
        "addresses of the KV cache cost nothing until used. RSS is resident memory: before "
        "loading, at the end, and the most at any moment.",
        (
            *("file", "weights", "activations", "KV used", "KV reserved", "RSS before"),
            *("RSS at the end", "peak RSS"),
        ),
        rows,
        unit="MiB",
    )


def _context_table(results: Results) -> Table:
    """Memory over the length of the context."""
    return Table(
        "memory",
        "Memory over context",
        "MiB with so many tokens in the KV cache.",
        ("file", "tokens", "RSS", "KV cache"),
        per_model(
            results,
            lambda result: result.memory.points if result.memory else (),
            lambda p: (count(p.n_tokens), mib(p.rss_bytes), mib(p.kv_bytes)),
        ),
        unit="MiB",
    )


def _plot(results: Results) -> Iterator[Plot]:
    """Resident memory over context."""
    rows = [(label(results, r.model.name), r.memory.points) for r in results.models if r.memory]
    rows = [(name, points) for name, points in rows if points]
    if not rows:
        return
    with canvas() as c:
        for i, (name, points) in enumerate(rows):
            c.ax.plot(
                [p.n_tokens for p in points],
                [p.rss_bytes / 2**20 for p in points],
                color=SERIES[i % len(SERIES)],
                marker="os^Dvp"[i % 6],
                label=short(name),
            )
        c.ax.set(xlabel="context, tokens", ylabel="resident memory, MiB")
        c.ax.xaxis.set_major_formatter("{x:,.0f}")
        c.ax.set_ylim(bottom=0)
        subject = c.legend([name for name, _ in rows])
        caption = "Resident memory of a process as its context fills."
        yield c.plot("memory", "Memory over context", caption, subject)


MEMORY = Section("memory", 7, measure, (_table, _context_table), (_plot,), apart=True)
