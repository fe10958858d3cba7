"""Tables of the whole run: at a glance, the machine and its limits, what was left out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from ..numbers import ABSENT, count, mib, number, percent
from ..results import Results
from ..run import NO_TIME
from ..table import Row, Table, label


def overview(results: Results) -> Table:
    """The few numbers that people ask for first."""

    def rows() -> Iterator[Row]:
        for result in results.models:
            whole = [r for r in result.first_token if r.state == "warm" and not r.n_cached]
            near = min(whole, key=lambda r: abs(r.n_tokens - 128), default=None)
            shallow = min(result.decode, key=lambda r: r.depth, default=None)
            memory = result.memory
            if not (near or shallow):
                continue
            yield (
                label(results, result.model.name),
                result.model.quant,
                mib(result.model.file_bytes),
                f"{number(near.total.median_ms)} ({near.n_tokens})" if near else ABSENT,
                number(shallow.tok_s) if shallow else ABSENT,
                percent(shallow.limit.share) if shallow and shallow.limit else ABSENT,
                mib(memory.rss_peak_bytes) if memory else ABSENT,
            )

    return Table(
        "overview",
        "At a glance",
        "First token: tokenization, prefill and sampling of a warm prompt near 128 tokens (its "
        "length in brackets), median. tok/s: decoded tokens a second without the first. Limit: "
        "the least time that the measured memory bandwidth and int8 peak allow.",
        ("file", "type", "MiB", "first token ms", "tok/s", "of the limit", "peak RSS MiB"),
        list(rows()),
        frozenset({"file", "type"}),
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
