"""Every sample of a run in one flat list, and as results.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any, NamedTuple

from .results import SECTIONS, ModelResult, Results
from .section import Section
from .timing import Times


class Samples(NamedTuple):
    """Times, and what they are of."""

    model: str
    random_weights: bool
    section: str
    what: str
    part: str
    times: Times


def samples(results: Results) -> Iterator[Samples]:
    """All times of all sections."""
    for m in results.models:
        for section in SECTIONS:
            for record in records(m, section):
                for what, part, times in section.samples(record):
                    model = (m.model.name, m.model.random_weights)
                    yield Samples(*model, section.name, what, part, times)
    for peer in results.peers:
        for row in peer.rows:
            name = (peer.model, peer.random_weights, "peers", row.name)
            yield Samples(*name, "edgelm", row.ours)
            yield Samples(*name, peer.peer, row.theirs)


def records(result: ModelResult, section: Section) -> list[Any]:
    """What a section measured, one or many."""
    found = getattr(result, section.field)
    return found if isinstance(found, list) else [found] if found is not None else []


def csv_text(results: Results) -> str:
    """results.csv: one row a sample, times in milliseconds."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("model", "random_weights", "section", "what", "part", "sample", "ms"))
    for sample in samples(results):
        row = (sample.model, int(sample.random_weights), sample.section, sample.what, sample.part)
        for i, ms in enumerate(sample.times.samples_ms):
            writer.writerow((*row, i, f"{ms:.6g}"))
    return out.getvalue()
