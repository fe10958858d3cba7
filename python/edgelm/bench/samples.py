"""Every sample of a run in one flat list, and as results.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import NamedTuple

from .results import ModelResult, Results
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
        for section, what, part, times in _model_samples(m):
            yield Samples(m.model.name, m.model.random_weights, section, what, part, times)
    for peer in results.peers:
        for row in peer.rows:
            name = (peer.model, peer.random_weights, "peers", row.name)
            yield Samples(*name, "edgelm", row.ours)
            yield Samples(*name, peer.peer, row.theirs)


def _model_samples(m: ModelResult) -> Iterator[tuple[str, str, str, Times]]:
    for f in m.first_token:
        what = f"{f.state} prompt of {f.n_tokens}, {f.n_cached} cached"
        for part in ("tokenize", "prefill", "sample", "total"):
            yield "first_token", what, part, getattr(f, part)
    for d in m.decode:
        yield "decode", f"depth {d.depth}", "token", d.token
    for b in m.llama_bench:
        yield "llama_bench", b.test, "run", b.run
    for s in m.scenarios:
        what = f"{s.profile}: prompt of {s.prompt_tokens}, reply of {s.generated_tokens}"
        for part in ("first_token", "token", "total"):
            yield "scenarios", what, part, getattr(s, part)
    for load in m.load:
        for part in ("load", "to_first_token", "interpreter", "imports", "first_token"):
            yield "load", load.file_cache, part, getattr(load, part)
    if m.sustain:
        yield "sustain", f"{m.sustain.seconds:g} s", "token", m.sustain.token
    for t in m.threads:
        yield "threads", t.label, "prefill", t.prefill
        yield "threads", t.label, "token", t.token


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
