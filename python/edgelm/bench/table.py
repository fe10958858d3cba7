"""Results as tables: for the terminal, for results.md, and one row a sample for results.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .results import ModelResult, Results
from .timing import Bound, Times


@dataclass(frozen=True)
class Table:
    """A title, a header, rows of text, and a remark or none."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    remark: str = ""


def tables(results: Results) -> Iterator[Table]:
    """Every section that was measured."""
    yield _machine(results)
    for model in results.models:
        yield from _model(model)
    if results.quantization:
        yield _quantization(results)
    for peer in results.peers:
        yield _peer(results, peer.model, peer.peer)
    if results.projection:
        yield _projection(results)
    if results.skipped:
        yield Table(
            "Not measured",
            ("file", "what", "why"),
            [(s.model or "", f"{s.section}: {s.what}", s.reason) for s in results.skipped],
        )


def markdown(results: Results) -> str:
    """results.md."""
    lines = ["# edgelm bench", ""]
    lines += [f"- **{warning}**" for warning in results.warnings]
    for table in tables(results):
        lines += ["", f"## {table.title}", ""]
        lines += ["| " + " | ".join(table.header) + " |", "|" + "---|" * len(table.header)]
        lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in table.rows]
        if table.remark:
            lines += ["", table.remark]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


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


# --- sections ------------------------------------------------------------------------------------


def _machine(results: Results) -> Table:
    m = results.machine
    rows = [
        (str(x.n_threads), f"{x.read_gb_s:.1f}", f"{x.int8_gmac_s:,.0f}", f"{x.f32_gmac_s:,.0f}")
        for x in results.limits
    ]
    kinds = ", ".join(f"{len(c.cpus)} {c.name}" for c in m.clusters)
    remark = f"{m.usable_cores} usable cores ({kinds}), {m.memory_bytes / 1e9:.1f} GB, {m.system}"
    header = ("threads", "read GB/s", "int8 GMAC/s", "f32 GMAC/s")
    return Table(f"{m.processor}: measured limits", header, rows, remark)


def _model(m: ModelResult) -> Iterator[Table]:
    name = label(m.model.name, m.model.random_weights)
    threads = f"{m.settings.n_threads} thread{'s' * (m.settings.n_threads > 1)}"
    if m.first_token:
        rows = [
            (
                f"{f.n_tokens}" + (f" ({f.n_cached} cached)" if f.n_cached else ""),
                f.state,
                *(ms(getattr(f, p).median_ms) for p in ("tokenize", "prefill", "sample", "total")),
                f"{ms(f.total.min_ms)} to {ms(f.total.max_ms)}",
                share(f.limit),
            )
            for f in m.first_token
        ]
        header = ("prompt", "", "tokenize", "prefill", "sample", "first token", "range", "of limit")
        yield Table(f"{name}: first token, ms, {threads}", header, rows)
    if m.decode:
        rows = [
            (
                str(d.depth),
                *(ms(getattr(d.token, f"{p}_ms")) for p in ("median", "p90", "p99", "max")),
                ms(d.token.jitter_ms),
                f"{d.tok_s:.1f}",
                share(d.limit),
            )
            for d in m.decode
        ]
        header = ("depth", "median", "p90", "p99", "max", "jitter", "tok/s", "of limit")
        yield Table(f"{name}: per token, ms, {threads}", header, rows)
    if m.llama_bench:
        yield Table(
            f"{name}: as llama-bench, {threads}",
            ("test", "t/s", "of limit"),
            [
                (b.test, f"{b.tok_s:.2f} ± {b.tok_s_std or 0:.2f}", share(b.limit))
                for b in m.llama_bench
            ],
        )
    if m.scenarios:
        yield Table(
            f"{name}: {m.scenarios[0].profile} profile, {threads}",
            ("prompt + reply", "first token, ms", "prefill tok/s", "decode tok/s", "total, ms"),
            [
                (
                    f"{s.prompt_tokens} + {s.generated_tokens}",
                    ms(s.first_token.median_ms),
                    f"{s.prefill_tok_s:,.1f}",
                    f"{s.tok_s:.1f}",
                    ms(s.total.median_ms),
                )
                for s in m.scenarios
            ],
        )
    yield from _resources(m, name)


def _resources(m: ModelResult, name: str) -> Iterator[Table]:
    if m.load:
        yield Table(
            f"{name}: loading, ms",
            ("file cache", "load", "process start to first token"),
            [(x.file_cache, ms(x.load.median_ms), ms(x.to_first_token.median_ms)) for x in m.load],
        )
    if m.memory:
        x = m.memory
        parts = (x.weight_bytes, x.arena_bytes, x.kv_used_bytes, x.kv_reserved_bytes)
        peak = "?" if x.rss_peak_bytes is None else mb(x.rss_peak_bytes)
        yield Table(
            f"{name}: memory, MB, {x.points[-1].n_tokens} tokens",
            ("weights", "activations", "KV used", "KV reserved", "RSS steady", "RSS peak"),
            [(*map(mb, (*parts, x.rss_steady_bytes)), peak)],
        )
    if m.cost:
        yield Table(
            f"{name}: cost",
            ("phase", "CPU ms a token", "joules a token"),
            [
                (
                    c.phase,
                    ms(1e3 * c.cpu_s_per_token),
                    "not readable" if c.joules_per_token is None else f"{c.joules_per_token:.3g}",
                )
                for c in m.cost
            ],
            f"Energy: {m.cost[0].energy_source or m.cost[0].energy_unavailable}.",
        )
    if m.sustain:
        s = m.sustain
        kept = f"{s.last_tok_s / s.first_tok_s:.0%}"
        yield Table(
            f"{name}: {s.seconds:g} s of decoding",
            ("first tenth tok/s", "last tenth tok/s", "kept"),
            [(f"{s.first_tok_s:.1f}", f"{s.last_tok_s:.1f}", kept)],
        )
    if m.threads:
        yield Table(
            f"{name}: threads",
            ("threads", "prefill tok/s", "decode tok/s"),
            [
                (t.label, f"{1e3 * t.n_prompt / t.prefill.median_ms:,.1f}", f"{t.token.tok_s:.1f}")
                for t in m.threads
            ],
            m.suggestion or "",
        )


def _quantization(results: Results) -> Table:
    rows = [
        (
            label(q.model, q.random_weights),
            mb(q.file_bytes),
            f"{q.compression:.2f}",
            f"{q.perplexity:.3f}",
            f"{q.bits_per_byte:.4f}",
            "reference" if q.kl_nats is None else f"{q.kl_nats:.5f}",
            optional(q.first_token_ms),
            optional(q.token_ms),
        )
        for q in results.quantization
    ]
    header = ("file", "MB", "compression", "perplexity", "bits/byte", "KL, nats")
    q = results.quantization[0]
    remark = f"{q.n_tokens} positions of {q.text}; KL from the largest file."
    return Table("Quantization", (*header, "first token, ms", "per token, ms"), rows, remark)


def _peer(results: Results, model: str, name: str) -> Table:
    peer = next(p for p in results.peers if (p.model, p.peer) == (model, name))
    rows = [
        (
            row.name,
            row.unit,
            *(rate(times, row.unit, row.n_tokens) for times in (row.ours, row.theirs)),
            f"{row.ratio:.2f}",
            f"{row.ratio_low:.2f} to {row.ratio_high:.2f}",
            row.verdict,
            *(share(row.limit), "" if row.their_share is None else f"{row.their_share:.0%}"),
        )
        for row in peer.rows
    ]
    header = ("", "unit", "edgelm", name, "ratio", "spread", "edgelm is", "of limit", "theirs")
    ours, theirs = (
        ", ".join(f"{k} {v}" for k, v in settings.items())
        for settings in (peer.our_settings, peer.their_settings)
    )
    remark = peer.unavailable or f"edgelm: {ours}. {peer.version}: {theirs}."
    return Table(f"{label(model, peer.random_weights)}: against {name}", header, rows, remark)


def _projection(results: Results) -> Table:
    rows = [
        (p.model, p.chip, f"{p.tok_s:.1f}", *(ms(p.first_token_ms.get(n)) for n in ("64", "512")))
        for p in results.projection
    ]
    header = ("file", "chip", "decode tok/s", "first token of 64, ms", "of 512, ms")
    return Table("Projection, not measured", header, rows, results.projection[0].formula)


# --- cells ---------------------------------------------------------------------------------------


def label(name: str, random_weights: bool) -> str:
    """A file's name; random weights are named as such."""
    return f"{name} (random weights)" if random_weights else name


def ms(value: float | None) -> str:
    """Milliseconds to three digits."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def optional(value: float | None) -> str:
    """Milliseconds, or that there are none."""
    return "not measured" if value is None else ms(value)


def mb(n_bytes: int) -> str:
    """10^6 bytes."""
    return f"{n_bytes / 1e6:,.1f}"


def share(limit: Bound | None) -> str:
    """Share of the limit."""
    return "" if limit is None else f"{limit.share:.0%}"


def rate(times: Times, unit: str, n_tokens: int) -> str:
    """The median, in the unit that people quote."""
    return ms(times.median_ms) if unit == "ms" else f"{1e3 * n_tokens / times.median_ms:,.1f}"
