"""Tables of speed: an overview, peers, first token, per token, profiles, loading."""

from __future__ import annotations

from collections.abc import Iterator

from ..results import Results
from .numbers import ABSENT, count, mib, number, percent
from .table import Row, Table, label, limit_cells, per_model


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


def peers(results: Results) -> Table:
    """Other engines in the same run."""

    def rows() -> Iterator[Row]:
        for peer in results.peers:
            name = f"{label(results, peer.model)}, {peer.peer}"
            for row in peer.rows:
                rate = row.unit == "tok/s"

                def shown(ms: float, rate: bool = rate, n: int = row.n_tokens) -> str:
                    return number(1e3 * n / ms if rate else ms)

                yield (
                    name,
                    f"{row.name} ({row.unit})",
                    shown(row.ours.median_ms),
                    shown(row.theirs.median_ms),
                    f"{row.ratio:.2f} ({row.ratio_low:.2f} to {row.ratio_high:.2f})",
                    f"{percent(row.limit.share if row.limit else None)}, "
                    f"{percent(row.their_share)}",
                    row.verdict,
                )

    return Table(
        "peers",
        "Against other engines",
        "Same file, same prompt ids, same threads, prompt caching off, in turns, each in a process "
        "of its own. Medians; ratio: their time over edgelm's, the median of the rounds and an "
        "interval that holds it with at least 90 % (of fewer than five, their range); above 1 "
        "edgelm is the faster. A verdict stands only where that interval leaves no doubt.",
        ("file, peer", "what", "edgelm", "peer", "ratio", "of the limit", "edgelm is"),
        list(rows()),
        frozenset({"file, peer", "what", "edgelm is"}),
    )


def first_token(results: Results) -> Table:
    """First-token latency by prompt length."""
    return Table(
        "first_token",
        "First-token latency",
        "From the text to the first token, medians in milliseconds. Cold: the first prompt after "
        "load; cached: leading tokens that the KV cache held already. Limit: of prefill, what "
        "binds it, and our share of it.",
        (
            *("file", "prompt", "cached", "state", "total", "p90", "tokenize", "prefill"),
            *("sample", "prefill tok/s", "limit", "by", "share"),
        ),
        per_model(
            results,
            lambda result: result.first_token,
            lambda r: (
                count(r.n_tokens),
                count(r.n_cached),
                r.state,
                number(r.total.median_ms),
                number(r.total.p90_ms),
                number(r.tokenize.median_ms),
                number(r.prefill.median_ms),
                number(r.sample.median_ms),
                number(1e3 * (r.n_tokens - r.n_cached) / r.prefill.median_ms),
                *limit_cells(r.limit),
            ),
        ),
        frozenset({"file", "state", "by"}),
        "ms",
    )


def decode(results: Results) -> Table:
    """Per-token latency."""
    return Table(
        "decode",
        "Per-token latency",
        "Every decoded token's time behind so many tokens of context, in milliseconds. Jitter: "
        "mean difference between one token and the next. tok/s: without the first token, as MLPerf "
        "Client counts.",
        (
            *("file", "depth", "tokens", "median", "p90", "p99", "max", "jitter", "tok/s"),
            *("limit", "by", "share"),
        ),
        per_model(
            results,
            lambda result: result.decode,
            lambda r: (
                count(r.depth),
                count(len(r.token.samples_ms)),
                number(r.token.median_ms),
                number(r.token.p90_ms),
                number(r.token.p99_ms),
                number(r.token.max_ms),
                number(r.token.jitter_ms),
                number(r.tok_s),
                *limit_cells(r.limit),
            ),
        ),
        frozenset({"file", "by"}),
        "ms",
    )


def llama_bench(results: Results) -> Table:
    """llama-bench's columns."""
    return Table(
        "llama_bench",
        "As llama-bench counts",
        "Random ids, no sampling: pp512 is 512 prompt tokens at once, tg128 is 128 tokens one by "
        "one on an empty cache; mean and standard deviation of the repetitions.",
        ("file", "test", "tok/s", "deviation", "limit tok/s", "share"),
        per_model(
            results,
            lambda result: result.llama_bench,
            lambda r: (
                r.test,
                number(r.tok_s),
                number(r.tok_s_std),
                number(1e3 * r.n_tokens / r.limit.limit_ms) if r.limit else ABSENT,
                percent(r.limit.share) if r.limit else ABSENT,
            ),
        ),
        frozenset({"file", "test"}),
    )


def scenarios(results: Results) -> Table:
    """What the profiles prescribe."""
    return Table(
        "scenarios",
        "Profiles",
        "One prompt and its reply, warm, medians. phone: what ExecuTorch, LiteRT-LM and MLPerf "
        "Mobile report; survey: prompt 50, reply 50.",
        (
            *("file", "profile", "prompt", "reply", "first token ms", "prefill tok/s"),
            *("token ms", "p99 ms", "tok/s", "total ms"),
        ),
        per_model(
            results,
            lambda result: result.scenarios,
            lambda r: (
                r.profile,
                count(r.prompt_tokens),
                count(r.generated_tokens),
                number(r.first_token.median_ms),
                number(r.prefill_tok_s),
                number(r.token.median_ms),
                number(r.token.p99_ms),
                number(r.tok_s),
                number(r.total.median_ms),
            ),
        ),
        frozenset({"file", "profile"}),
    )


def load(results: Results) -> Table:
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
