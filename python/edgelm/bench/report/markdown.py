"""A run as Markdown, aligned so that it reads well as plain text too."""

from __future__ import annotations

import re

from ..results import Results
from ..table import Table, visible
from .tables import run_facts, tables

# Names come from files and the system: nothing in them may start markup, end a cell or a line.
_MARKUP = re.compile(r"([\\`*_\[\]<>|])")


def render(results: Results) -> str:
    """The whole report but its plots."""
    parts = ["# edgelm bench"]
    parts += [f"> **Warning.** {plain(warning)}" for warning in results.warnings]
    parts += [one(table) for table in tables(results)]
    parts.append("## This run")
    parts.append("\n".join(f"- {plain(what)}: {plain(how)}" for what, how in run_facts(results)))
    return "\n\n".join(parts) + "\n"


def one(table: Table) -> str:
    """A heading, a note and the rows."""
    cells = [[plain(cell) for cell in row] for row in (table.columns, *table.rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    left = [heading in table.left for heading in table.columns]

    def line(row: list[str]) -> str:
        padded = (
            cell.ljust(width) if to_left else cell.rjust(width)
            for cell, width, to_left in zip(row, widths, left, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = (
        "-" * width if to_left else "-" * (width - 1) + ":"
        for width, to_left in zip(widths, left, strict=True)
    )
    lines = [line(cells[0]), f"| {' | '.join(rule)} |", *map(line, cells[1:])]
    return f"## {plain(table.title)}\n\n{plain(table.note)}\n\n" + "\n".join(lines)


def plain(text: str) -> str:
    """Text that Markdown shows as it is: on one line, without control characters."""
    return _MARKUP.sub(r"\\\1", visible(text))
