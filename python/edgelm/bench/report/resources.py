"""Tables of what it takes: memory, energy, heat, threads, accuracy; of the machine and of chips."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from ..projection import FORMULA
from ..results import Results
from ..run import NO_TIME
from ..sustain import SustainPoint
from .numbers import ABSENT, count, mib, number, percent
from .table import Row, Table, label, per_model


def memory(results: Results) -> Table:
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


def context(results: Results) -> Table:
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


def cost(results: Results) -> Table:
    """Processor time and energy."""
    return Table(
        "cost",
        "Processor time and energy",
        "Processor time is of all threads, waiting in a spin included; energy is of all that the "
        "source covers, idle power included.",
        (
            *("file", "phase", "tokens", "CPU ms/token", "joules/token", "watts", "idle watts"),
            "energy read from",
        ),
        per_model(
            results,
            lambda result: result.cost,
            lambda c: (
                c.phase,
                count(c.n_tokens),
                number(1e3 * c.cpu_s_per_token),
                number(c.joules_per_token),
                number(c.watts),
                number(c.idle_watts),
                c.energy_source or f"not read: {c.energy_unavailable}",
            ),
        ),
        frozenset({"file", "phase", "energy read from"}),
    )


def sustain(results: Results) -> Table:
    """A long run, at its two ends."""

    def ends(points: list[SustainPoint], kind: str) -> str:
        if not points:
            return ABSENT
        first, last = (getattr(points[i], kind) for i in (0, -1))
        if kind == "mhz" and not (first and last):
            return f"{number(points[0].core_mhz)} to {number(points[-1].core_mhz)}, timed"
        if not (first and last):
            return ABSENT
        return f"{number(max(first.values()))} to {number(max(last.values()))}"

    rows = [
        (
            label(results, result.model.name),
            number(s.seconds),
            number(s.first_tok_s),
            number(s.last_tok_s),
            percent(s.last_tok_s / s.first_tok_s) if s.first_tok_s else ABSENT,
            ends(s.points, "mhz"),
            ends(s.points, "celsius"),
            "; ".join(s.unavailable) or ABSENT,
        )
        for result in results.models
        if (s := result.sustain)
    ]
    return Table(
        "sustain",
        "Sustained decoding",
        "tok/s over the first and the last tenth; clock of the fastest processor (timed by "
        "additions where the system shows none) and warmest zone, at the first and last look.",
        (
            *("file", "seconds", "tok/s first", "tok/s last", "kept", "MHz", "\N{DEGREE SIGN}C"),
            "not read",
        ),
        rows,
        frozenset({"file", "not read"}),
    )


def threads(results: Results) -> Table:
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


def quantization(results: Results) -> Table:
    """Size, accuracy and speed of files of one model."""
    rows = [
        (
            label(results, q.model),
            q.quant,
            mib(q.file_bytes),
            f"{q.compression:.2f}",
            number(q.perplexity),
            number(q.bits_per_byte),
            "reference" if q.kl_nats is None else f"{q.kl_nats:.4f}",
            percent(q.top_agreement),
            number(q.first_token_ms),
            number(q.token_ms),
        )
        for q in results.quantization
    ]
    texts = ", ".join(
        sorted({f"{q.text} ({count(q.n_tokens)} positions)" for q in results.quantization})
    )
    return Table(
        "quantization",
        "Quantization",
        f"Scored on {texts}. Ratio: float32 weights over the file's. KL: mean divergence of the "
        "next token's distribution from the largest file's, in nats; agreement: positions at which "
        "the likeliest token is the same. Times are medians.",
        (
            *("file", "type", "MiB", "ratio", "perplexity", "bits/byte", "KL", "agreement"),
            *("first token ms", "token ms"),
        ),
        rows,
        frozenset({"file", "type"}),
    )


def projection(results: Results) -> Table:
    """Expected latency on phone chips."""
    wanted = ("10", "128", "1024")
    lengths = [n for n in wanted if any(n in p.first_token_ms for p in results.projection)]
    rows = [
        (
            label(results, p.model),
            p.chip,
            count(p.n_threads),
            p.tier or ABSENT,
            number(p.read_gb_s),
            number(p.int8_gmac_s),
            percent(p.compute_share) + ("" if p.predicted else " (as here)"),
            *(number(p.first_token_ms.get(n)) for n in lengths),
            number(p.token_ms),
            number(p.tok_s),
        )
        for p in results.projection
    ]
    shares = {
        f"{label(results, p.model)}: {percent(p.memory_share)} of the bandwidth, a whole prompt "
        f"at {percent(p.whole_share)} of the inner loops' speed"
        for p in results.projection
    }
    return Table(
        "projection",
        "Projection to phone chips (not measured)",
        "What these chips would do if our kernels ran there as predicted, and the rest as here "
        f"({'; '.join(sorted(shares))}): {FORMULA}. "
        "A chip's bandwidth and rate are what its sources state, which no program reaches in full, "
        "on its fastest cores, unthrottled; the sources stand in results.json. Times are to the "
        "first token of a prompt, and of a token.",
        (
            *("file", "chip", "cores", "tier", "GB/s", "int8 GMAC/s", "share of it"),
            *(f"prompt of {n}, ms" for n in lengths),
            *("a token, ms", "tok/s"),
        ),
        rows,
        frozenset({"file", "chip", "tier"}),
    )


def limits(results: Results) -> Table:
    """What the machine can do."""
    return Table(
        "limits",
        "The machine's limits",
        "Loops that do nothing else, the best of several: memory read, and 8-bit and float "
        "multiply-adds in registers.",
        ("threads", "kernels", "read GB/s", "int8 GMAC/s", "f32 GMAC/s", "clock GHz"),
        [
            (
                count(limit.n_threads),
                limit.isa,
                number(limit.read_gb_s),
                number(limit.int8_gmac_s),
                number(limit.f32_gmac_s),
                number(limit.clock_ghz),
            )
            for limit in results.limits
        ],
        frozenset({"kernels"}),
    )


def machine(results: Results) -> Table:
    """The machine."""
    m = results.machine

    def noise(name: str) -> str:
        look = getattr(m, name)
        if look is None:
            return ABSENT
        busy = ", ".join(f"{p.name} {number(p.cores)} cores" for p in look.processes)
        return (
            f"{'quiet' if look.quiet else 'NOT QUIET'}: others {percent(look.others)} of the "
            f"processors, we lost {percent(look.lost)}, stolen {percent(look.steal)}"
            + (f" ({busy})" if busy else "")
            + "".join(f", {kind} at {number(mhz)} MHz" for kind, mhz in look.mhz.items())
            + (f", hottest {number(max(look.celsius.values()))} °C" if look.celsius else "")
        )

    def clusters() -> Iterator[str]:
        for cluster in m.clusters:
            clock = "" if cluster.max_mhz is None else f" at {number(cluster.max_mhz)} MHz"
            yield f"{cluster.name}: {len(cluster.cpus)}{clock}"

    governors = sorted({core.governor for core in m.cores if core.governor}) or [ABSENT]
    rows = [
        ("processor", m.processor + (" (virtual machine)" if m.virtual else "")),
        ("board", m.board or ABSENT),
        ("system", f"{m.system}, {m.architecture}"),
        ("processors", "; ".join(clusters()) or ABSENT),
        ("cores by default", count(m.usable_cores)),
        ("quota of processors", number(m.cpu_quota)),
        ("governor", ", ".join(governors)),
        ("features", " ".join(m.features)),
        ("memory", f"{mib(m.memory_bytes)} MiB"),
        ("load average before", number(m.load_average)),
        ("noise before", noise("before")),
        ("noise after", noise("after")),
    ]
    return Table(
        "machine",
        "The machine",
        "As the system describes it, and how quiet it was.",
        ("what", "is"),
        rows,
        frozenset({"what", "is"}),
    )


def skipped(results: Results) -> Table:
    """What is not here, and why; what had no time is one row a section."""

    def rows() -> Iterator[Row]:
        for (model, section, late), some in itertools.groupby(
            results.skipped, lambda s: (s.model, s.section, s.reason.startswith(NO_TIME))
        ):
            name = label(results, model) if model else "all"
            left_out = list(some)
            if late and len(left_out) > 1:
                yield (name, section, enumeration([s.what for s in left_out]), NO_TIME)
            else:
                yield from ((name, section, s.what, s.reason) for s in left_out)
        for peer in results.peers:
            if peer.unavailable is not None:
                yield (label(results, peer.model), "peers", peer.peer, peer.unavailable)

    return Table(
        "skipped",
        "Left out",
        "What was not measured, and why. --full takes all the time that is needed.",
        ("file", "section", "what", "why"),
        list(rows()),
        frozenset({"file", "section", "what", "why"}),
    )


def enumeration(names: Sequence[str]) -> str:
    """ "depth 512, 1024" of "depth 512", "depth 1024": words that only repeat are left out."""
    beginnings = ["", *(name.rpartition(" ")[0] for name in names)]
    return ", ".join(
        name.removeprefix(f"{begin} ") if begin == before else name
        for name, begin, before in zip(names, beginnings[1:], beginnings, strict=False)
    )
