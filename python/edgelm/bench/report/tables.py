"""All tables of a report, in reading order."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ..numbers import duration
from ..results import ORDER, Results
from ..table import Table, label
from . import whole

PARTS: tuple[Callable[[Results], Table], ...] = (
    whole.overview,
    *(table for section in ORDER for table in section.tables),
    *(whole.limits, whole.machine, whole.skipped),
)


def tables(results: Results) -> list[Table]:
    """All tables that have rows, in reading order."""
    found = (part(results) for part in PARTS)
    return [_without_lone_file(table, results) for table in found if table.rows]


def _without_lone_file(table: Table, results: Results) -> Table:
    """A column that says the same in every row says nothing; the page's head names the file."""
    if table.columns[0] != "file" or len(results.models) > 1 or len({r[0] for r in table.rows}) > 1:
        return table
    return dataclasses.replace(
        table, columns=table.columns[1:], rows=[row[1:] for row in table.rows]
    )


def run_facts(results: Results) -> list[tuple[str, str]]:
    """What a reader must know of the run before quoting a number: (what, how)."""
    facts = [
        ("command", " ".join(["edgelm", *results.command])),
        ("when", results.created),
        ("took", duration(results.seconds) + (", interrupted" if results.interrupted else "")),
        ("versions", ", ".join(f"{name} {v}" for name, v in results.versions.items())),
        ("seed", str(results.seed)),
    ]
    for result in results.models:
        s = result.settings
        name, cpus = label(results, result.model.name), s.cpus
        bound_to = "" if cpus is None else f" on processors {', '.join(map(str, cpus))}"
        how = f"{s.n_threads} threads{bound_to}, n_ctx {s.n_ctx:,}, n_batch {s.n_batch}"
        facts.append((name, f"{how}, KV cache {s.kv_type}, kernels {s.isa}"))
    return facts
