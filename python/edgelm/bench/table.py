"""A table as plain text, and what all tables share; markdown.py and page.py give it its looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from .numbers import ABSENT, number, percent
from .timing import Bound

if TYPE_CHECKING:
    from .results import ModelResult, Results

Item = TypeVar("Item")
Row = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table and what its numbers mean.

    section: what it shows, as in Results: "first_token".
    title: its heading.
    note: definitions, in a sentence or two.
    columns: headings, with units.
    rows: cells, as many as columns.
    left: headings of the columns that hold words.
    unit: of the numbers whose heading names none; the note says so too.
    """

    section: str
    title: str
    note: str
    columns: Row
    rows: Sequence[Row]
    left: frozenset[str] = frozenset({"file"})
    unit: str = ""


def visible(text: str) -> str:
    """A stranger's text on one line, without control characters and changes of direction."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def label(results: Results, name: str) -> str:
    """A file's name, with a remark if its weights are random."""
    made_up = {
        *(result.model.name for result in results.models if result.model.random_weights),
        *(q.model for q in results.quantization if q.random_weights),
        *(peer.model for peer in results.peers if peer.random_weights),
    }
    return f"{name} (random weights)" if name in made_up else name


def per_model(
    results: Results, items: Callable[[ModelResult], Iterable[Item]], row: Callable[[Item], Row]
) -> list[Row]:
    """A row an item, the file's name before it."""
    return [
        (label(results, result.model.name), *row(item))
        for result in results.models
        for item in items(result)
    ]


def limit_cells(limit: Bound | None) -> Row:
    """Cells of limit, what binds, share."""
    if limit is None:
        return (ABSENT, ABSENT, ABSENT)
    return (number(limit.limit_ms), limit.by, percent(limit.share))
