"""Speed by number of threads and kind of core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..graph import state_bytes
from .canvas import (
    SERIES,
    Plot,
    canvas,
    each_model,
    rows_height,
    short,
    write_inside,
)
from .numbers import ABSENT, number
from .run import Task
from .section import Case, Section
from .table import Row, Table, label
from .timing import Times
from .topology import Core, fast_cpus, physical

if TYPE_CHECKING:
    from .results import ModelResult, Results
    from .subject import Subject

N_PROMPT = 128
N_DECODE = 32
ROUNDS = 3
EVERY = 8  # up to so many threads each number is tried, beyond only the powers of two
WORTH = 0.97  # of the best time: a setting with fewer threads that is as good wins


@dataclass
class ThreadSetting:
    """Speed with one choice of threads and processors, in a process of its own.

    label: "2 threads", "big cores", "all cores".
    n_threads: threads.
    cpus: processors that it was bound to; null if to none.
    prefill: a prompt of n_prompt tokens.
    n_prompt: its length.
    token: mean per token of 32 decoded ones, a sample a round.
    """

    label: str
    n_threads: int
    cpus: list[int] | None
    prefill: Times
    n_prompt: int
    token: Times


@dataclass(frozen=True)
class Choice:
    """Threads and processors to try."""

    label: str
    n_threads: int
    cpus: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return self.label


def choices(cores: Sequence[Core], n_all: int) -> list[Choice]:
    """1 to n_all threads, fast cores only, hardware threads; n_all: physical cores to use."""
    counts = [n for n in range(1, n_all + 1) if n <= EVERY or n & (n - 1) == 0 or n == n_all]
    found = [
        Choice("all cores" if n == n_all and n > 1 else f"{n} thread{'s' * (n > 1)}", n)
        for n in counts
    ]
    if (fast := fast_cpus(cores)) and len(fast) < n_all:
        found.append(Choice("big cores", len(fast), tuple(sorted(fast))))
    hardware = [core.cpu for core in cores if core.usable]
    if len(hardware) > n_all == len(physical(cores)):
        found.append(Choice("all hardware threads", len(hardware)))
    return found


def measure(case: Case) -> list[ThreadSetting]:
    """A process a choice."""
    run, subject, machine = case.run, case.subject, case.machine
    n_all = machine.usable_cores
    if machine.cpu_quota is None:  # else more threads than the quota feeds only wait
        n_all = max(n_all, len(physical(machine.cores)))
    todo = choices(machine.cores, n_all)
    slow = ROUNDS * (N_PROMPT * subject.prefill_s + N_DECODE * subject.decode_s)

    def task(choice: Choice) -> Task[Choice, ThreadSetting]:
        slower = max(1.0, subject.settings.n_threads / choice.n_threads)
        seconds = 1.0 + subject.load_s + slower * slow
        return Task(choice, seconds, lambda: once(subject, choice, run.seed))

    found = run.collect("threads", 1, [task(choice) for choice in todo])
    return [settings[0] for settings in found.values()]


def once(subject: Subject, choice: Choice, seed: int) -> ThreadSetting:
    """One choice."""
    n_prompt = min(N_PROMPT, subject.settings.n_ctx - 1)
    n_decode = min(N_DECODE, subject.settings.n_ctx - 17)
    ids = subject.ids(n_prompt, seed)
    with subject.worker(n_threads=choice.n_threads, cpus=choice.cpus) as worker:
        worker.ask("decode", ids[:16], 2)  # warms up
        prefill = [float(worker.ask("prefill", ids)) for _ in range(ROUNDS)]
        token = [float(worker.ask("decode", ids[:16], n_decode)) for _ in range(ROUNDS)]
    return ThreadSetting(
        label=choice.label,
        n_threads=choice.n_threads,
        cpus=None if choice.cpus is None else list(choice.cpus),
        prefill=Times(prefill),
        n_prompt=n_prompt,
        token=Times(token),
    )


def best(settings: Sequence[ThreadSetting]) -> ThreadSetting:
    """The fastest per token; of those within 3 % of it the one with the fewest threads."""
    fastest = min(s.token.median_ms for s in settings)
    good = [s for s in settings if s.token.median_ms * WORTH <= fastest]
    return min(good, key=lambda s: (s.n_threads, s.token.median_ms))


def suggestion(settings: Sequence[ThreadSetting], subject: Subject, memory_bytes: int) -> str:
    """The best setting as arguments of load(), with the longest context that memory allows.

    A quarter of the memory is left to others; the KV cache becomes q8_0 only if that doubles a
    context that would else be shorter than the model's.
    """
    chosen = best(settings)
    room = 0.75 * memory_bytes - subject.weight_bytes
    contexts = {}
    for kv_type in ("f16", "q8_0"):
        n_ctx = min(subject.info.n_ctx_train, 8192)
        while n_ctx > 64 and state_bytes(subject.states, n_ctx, kv_type) > room:
            n_ctx //= 2
        contexts[kv_type] = n_ctx
    arguments = [f"n_threads={chosen.n_threads}"]
    kv_type = "q8_0" if contexts["q8_0"] >= 2 * contexts["f16"] else "f16"
    arguments += [f"n_ctx={contexts[kv_type]}", f"kv_type={kv_type!r}"]
    line = f"load({str(subject.path)!r}, {', '.join(arguments)})"
    if chosen.cpus is not None:
        cpus = ",".join(map(str, chosen.cpus))
        line += f"  # in a process started by: taskset -c {cpus}"
    return line


def _table(results: Results) -> Table:
    """Speed by number of threads."""

    def rows() -> Iterator[Row]:
        for result in results.models:
            for s in result.threads:
                yield (
                    label(results, result.model.name),
                    s.label,
                    ABSENT if s.cpus is None else ", ".join(map(str, s.cpus)),
                    f"{number(1e3 * s.n_prompt / s.prefill.median_ms)}",
                    number(s.token.median_ms),
                    number(1e3 / s.token.median_ms),
                    result.suggestion or ABSENT,
                )

    found = list(rows())
    keep = 7 if any(row[6] != ABSENT for row in found) else 6
    columns = ("file", "setting", "processors", "prefill tok/s", "token ms", "tok/s", "suggested")
    return Table(
        "threads",
        "Threads",
        "Medians, each setting in a process of its own.",
        columns[:keep],
        [row[:keep] for row in found],
        frozenset({"file", "setting", "suggested"}),
    )


def _plot(result: ModelResult, name: str) -> Iterator[Plot]:
    """Speed by setting."""
    rows = result.threads
    if not rows:
        return
    panels = (
        (
            f"prefill, tok/s ({rows[0].n_prompt} tokens)",
            SERIES[0],
            [1e3 * r.n_prompt / r.prefill.median_ms for r in rows],
        ),
        ("decode, tok/s", SERIES[2], [1e3 / r.token.median_ms for r in rows]),
    )
    with canvas(2, 2 * rows_height(len(rows), 0.6)) as c:
        for ax, (text, colour, values) in zip(c.axes, panels, strict=True):
            ax.barh(range(len(rows)), values, 0.5, color=colour)
            for i, value in enumerate(values):
                write_inside(ax, value, i)
            ax.set(xlabel=text)
            ax.set_xlim(left=0)
            ax.set_yticks(range(len(rows)), [short(r.label) for r in rows])
            ax.invert_yaxis()
            ax.grid(visible=False, axis="y")
        yield c.plot("threads", "Threads", "Prompt above, decoding below; longer is faster.", name)


def _samples(row: ThreadSetting) -> Iterator[tuple[str, str, Times]]:
    yield row.label, "prefill", row.prefill
    yield row.label, "token", row.token


THREADS = Section(
    "threads", 10, measure, (_table,), (each_model(_plot),), apart=True,
    asked=lambda plan: plan.suggest, samples=_samples,
)  # fmt: skip
