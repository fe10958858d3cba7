"""Load time, and the time from starting a process to its first token."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .first_token import text_of
from .numbers import number, percent
from .run import CannotMeasure, Task
from .section import Case, Section
from .subject import Subject
from .table import Table, per_model
from .timing import Times

if TYPE_CHECKING:
    from .results import Results

PROMPT = 16  # tokens of the first prompt
STILL_CACHED = 0.1  # share of the file that may be
FileCache = Literal["cold", "warm"]
STATES: tuple[FileCache, ...] = ("cold", "warm")


@dataclass
class Load:
    """Loading in a fresh process.

    file_cache: "cold": the file's pages were dropped before; "warm": they were read before.
    cached_share: of the file, in the page cache before each load; null where it can't be told.
    load: edgelm.load() alone.
    to_first_token: from starting the process to the first token of a 16-token prompt.
    interpreter: the part of that before Python runs its first line.
    imports: the part that `import edgelm` takes.
    first_token: the part that the first prompt takes.
    """

    file_cache: Literal["cold", "warm"]
    cached_share: list[float | None]
    load: Times
    to_first_token: Times
    interpreter: Times
    imports: Times
    first_token: Times


@dataclass(frozen=True)
class _Start:
    """One process."""

    cached_share: float | None
    load: float
    to_first_token: float
    interpreter: float
    imports: float
    first_token: float


def measure(case: Case) -> list[Load]:
    """Cold and warm in turns; a cold one that finds its file still cached is left out."""
    run, subject = case.run, case.subject
    rounds = 1 if case.plan.quick else 3
    text = text_of(subject.tokenizer, PROMPT)
    seconds = 1.0 + 2 * subject.load_s
    tasks = [Task(state, seconds, partial(once, subject, text, state)) for state in STATES]
    return [_row(state, starts) for state, starts in run.collect("load", rounds, tasks).items()]


def once(subject: Subject, text: str, state: FileCache) -> _Start:
    """One process, from its start to its first token."""
    path = subject.path
    if state == "cold":
        drop_cached(path)
        share = cached_share(path)
        if share is None or share > STILL_CACHED:
            held = "can't be told" if share is None else f"still holds {share:.0%} of the file"
            raise CannotMeasure(f"the file cache could not be emptied: it {held}")
    else:
        read_whole(path)
        share = cached_share(path)
    with subject.worker() as worker:
        first_token = float(worker.ask("first_token", text))
        hello = worker.hello
    parts = [hello["interpreter_ms"], hello["imports_ms"], hello["load_ms"]]
    return _Start(share, parts[2], sum(parts) + first_token, parts[0], parts[1], first_token)


def _row(state: FileCache, starts: list[_Start]) -> Load:
    def times(name: str) -> Times:
        return Times([getattr(s, name) for s in starts])

    return Load(
        file_cache=state,
        cached_share=[s.cached_share for s in starts],
        load=times("load"),
        to_first_token=times("to_first_token"),
        interpreter=times("interpreter"),
        imports=times("imports"),
        first_token=times("first_token"),
    )


def drop_cached(path: Path) -> None:
    """Ask the system to forget the file's pages; needs no privilege, and may be ignored."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            with contextlib.suppress(OSError):
                os.fsync(file.fileno())  # only clean pages can be dropped
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_whole(path: Path) -> None:
    """Have the file in the page cache, if it fits."""
    buffer = bytearray(1 << 22)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def cached_share(path: Path) -> float | None:
    """Share of the file's pages in the page cache, by mincore(); None where it can't be told."""
    size = path.stat().st_size
    mincore = getattr(ctypes.CDLL(None), "mincore", None) if os.name == "posix" else None
    if mincore is None or size == 0:
        return None
    n_pages = -(-size // mmap.PAGESIZE)
    resident = (ctypes.c_ubyte * n_pages)()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as pages:
        first = ctypes.c_char.from_buffer(pages)  # its address is what mincore wants
        failed = mincore(ctypes.byref(first), ctypes.c_size_t(size), resident)
        del first
    return None if failed else sum(page & 1 for page in resident) / n_pages


def _table(results: Results) -> Table:
    """Load time."""
    return Table(
        "load",
        "Loading",
        "In fresh processes, medians in milliseconds. File cache cold: the file's pages were "
        "dropped before; the share of them that stayed tells whether that worked. To the first "
        "token: from starting the process, with a prompt of 16.",
        (
            *("file", "file cache", "pages in it", "load", "interpreter", "imports"),
            *("first prompt", "to the first token"),
        ),
        per_model(
            results,
            lambda result: result.load,
            lambda r: (
                r.file_cache,
                percent(max((s for s in r.cached_share if s is not None), default=None)),
                number(r.load.median_ms),
                number(r.interpreter.median_ms),
                number(r.imports.median_ms),
                number(r.first_token.median_ms),
                number(r.to_first_token.median_ms),
            ),
        ),
        frozenset({"file", "file cache"}),
        "ms",
    )


def _samples(row: Load) -> Iterator[tuple[str, str, Times]]:
    for part in ("load", "to_first_token", "interpreter", "imports", "first_token"):
        yield row.file_cache, part, getattr(row, part)


LOAD = Section("load", 10, measure, (_table,), apart=True, samples=_samples)
