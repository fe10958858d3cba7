"""What a section of the benchmark is: how it is measured and shown, beside its record's field."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .canvas import Plot
    from .limits import Limit
    from .machine import Machine
    from .plan import Plan
    from .results import Results
    from .run import Run
    from .subject import Subject
    from .table import Table
    from .timing import Times


@dataclass(frozen=True)
class Case:
    """One model and how it is to be measured.

    peer: the engine beside which it is measured, for the section of peers.
    """

    run: Run
    subject: Subject
    limit: Limit
    plan: Plan
    machine: Machine
    peer: str = ""


@dataclass(frozen=True)
class Section:
    """One part of the benchmark. The records' fields are its registry (results.py).

    name: of the field, for --only and in the results.
    weight: its share of a model's time, as in 28 of all; 0 is on top, where an option asks for it.
    measure: gives the field's record, or rows to add; None if it is of all models at once (suite).
    tables, plots: of all models, in reading order; without rows, a table is left out.
    apart: measured in processes of their own, after this one has freed the model.
    part: of another section's name: it shares the field and is wanted with it.
    standard: measured without a profile.
    asked: whether the plan wants it whatever sections it names.
    samples: of one record: what, which part of it, times.
    """

    name: str
    weight: float
    measure: Callable[[Case], Any] | None
    tables: Sequence[Callable[[Results], Table]] = ()
    plots: Sequence[Callable[[Results], Iterator[Plot]]] = ()
    apart: bool = False
    part: str = ""
    standard: bool = True
    asked: Callable[[Plan], bool] = lambda plan: False
    samples: Callable[[Any], Iterator[tuple[str, str, Times]]] = lambda record: iter(())

    @property
    def field(self) -> str:
        """Of ModelResult or Results, that holds what is measured."""
        return self.part or self.name


def sections_of(record: type) -> tuple[Section, ...]:
    """The sections that fill a dataclass's fields, `Annotated` with them, in its order."""
    hints = typing.get_type_hints(record, include_extras=True).values()
    return tuple(s for hint in hints for s in getattr(hint, "__metadata__", ()))
