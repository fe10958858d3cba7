"""Expected latency on named phone chips: a projection, never a measurement.

Memory: it supposes that the engine reaches the share of the chip's bandwidth that it reached of the
measured one here. Arithmetic: that the kernels reach their predicted share of the chip's int8 rate
in its best tier, and that a whole prompt loses as much beside them (attention, norms, waits) as
here. That is kind to the chip: its limits are the makers' figures, and its heat is another matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .canvas import (
    SERIES,
    Plot,
    canvas,
    rows_height,
    short,
)
from .chips import MANY, ONE, Chip, chips
from .decode import Decode
from .first_token import FirstToken
from .numbers import ABSENT, count, number, percent
from .section import Section
from .subject import ModelInfo
from .table import Table, label

if TYPE_CHECKING:
    from .results import Results

FORMULA = (
    "milliseconds = 1e-6 * max(bytes / (read_gb_s * memory_share), MACs / (int8_gmac_s * "
    "compute_share)), where bytes = weights that a token reads, MACs = tokens * layer_macs + "
    "head_macs, memory_share = share of the measured read bandwidth that decode reached here at "
    "the least depth, compute_share = the share of the chip's int8 rate that our inner loops are "
    "predicted to reach in its best tier (llvm-mca; for one token another share) times "
    "whole_share = speed of the longest prompt here over that of the inner loops alone here; "
    "where a type has no prediction, compute_share = share of the int8 peak reached here"
)


@dataclass
class Projection:
    """Expected latency on a named chip. A projection, not measured.

    model: name of the file.
    chip: name of the chip, as in the data file.
    n_threads: cores that the projection uses.
    read_gb_s: the chip's bandwidth, from its source.
    int8_gmac_s: the chip's int8 rate on these cores in its tier, from its source.
    memory_share: share of the bandwidth reached here in decode, assumed there too.
    compute_share: share of the chip's int8 rate assumed for prompts.
    first_token_ms: by prompt length, as text.
    token_ms: per decoded token at depth 0.
    tok_s: tokens a second.
    formula: how the numbers follow, in words and symbols.
    sources: where the chip's rates stand.
    tier: the chip's best set of kernels; null in files from before there were several.
    whole_share: speed of a whole prompt over that of the inner loops alone, here.
    predicted: compute_share is from the kernels' predicted speed; else as reached here.
    """

    model: str
    chip: str
    n_threads: int
    read_gb_s: float
    int8_gmac_s: float
    memory_share: float
    compute_share: float
    first_token_ms: dict[str, float]
    token_ms: float
    tok_s: float
    formula: str
    sources: list[str]
    tier: str | None = None
    whole_share: float = 1.0
    predicted: bool = False


@dataclass(frozen=True)
class Shares:
    """What was reached here: of the bandwidth, of the int8 peak, and of the inner loops' speed."""

    memory: float
    compute: float
    whole: float


def project(
    info: ModelInfo,
    first_token: Sequence[FirstToken],
    decode: Sequence[Decode],
    inner_gmac_s: float,
) -> list[Projection]:
    """The model on every chip; [] unless a token and a prompt bound by arithmetic were measured.

    inner_gmac_s: multiply-adds of the inner loops alone here, by `limits.inner_gmac_s`.
    """
    rows = [row for row in first_token if row.state == "warm" and not row.n_cached]
    compute = [
        (row.n_tokens, row.limit.compute_ms / row.prefill.median_ms, row.prefill.median_ms)
        for row in rows
        if row.limit and row.limit.by == "compute"
    ]
    memory = [(r.depth, r.limit.memory_ms / r.token.median_ms) for r in decode if r.limit]
    if not compute or not memory:
        return []
    n_tokens, compute_share, ms = max(compute)
    gmac_s = 1e-6 * (n_tokens * info.layer_macs + info.head_macs) / ms
    # At most all of it: a limit and a time are measured apart, and both are noisy.
    shares = Shares(
        min(1.0, min(memory)[1]), min(1.0, compute_share), min(1.0, gmac_s / inner_gmac_s)
    )
    lengths = sorted({row.n_tokens for row in rows})
    return [on_chip(chip, info, lengths, shares) for chip in chips()]


def on_chip(chip: Chip, info: ModelInfo, lengths: Sequence[int], shares: Shares) -> Projection:
    """FORMULA for one chip, on its fastest cores; `lengths` in tokens."""
    cores, tier = chip.fastest(), chip.tier
    int8_gmac_s = sum(kind.count * kind.gmac_s(tier) for kind in cores)

    def predicted(tokens: str) -> float | None:
        """Of int8_gmac_s: the cores' shares, each by its part of the rate."""
        reached = 0.0
        for kind in cores:
            share = kind.share(tier, tokens, info.quant.rstrip("+"))
            if share is None:
                return None
            reached += kind.count * kind.gmac_s(tier) * share
        return reached / int8_gmac_s

    many = predicted(MANY)
    compute_share = shares.compute if many is None else many * shares.whole
    one = predicted(ONE)
    one_share = compute_share if one is None else one * shares.whole

    def ms(n_tokens: int) -> float:
        macs = n_tokens * info.layer_macs + info.head_macs
        memory = info.bytes_per_token / (chip.read_gb_s * shares.memory)
        share = one_share if n_tokens == 1 else compute_share
        return 1e-6 * max(memory, macs / (int8_gmac_s * share))

    return Projection(
        model=info.name,
        chip=chip.name,
        n_threads=sum(kind.count for kind in cores),
        read_gb_s=chip.read_gb_s,
        int8_gmac_s=int8_gmac_s,
        memory_share=shares.memory,
        compute_share=compute_share,
        first_token_ms={str(n): ms(n) for n in lengths},
        token_ms=ms(1),
        tok_s=1e3 / ms(1),
        formula=FORMULA,
        sources=sorted({*chip.sources, *(s for kind in cores for s in kind.sources)}),
        tier=tier,
        whole_share=shares.whole,
        predicted=many is not None,
    )


def _table(results: Results) -> Table:
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


def _plot(results: Results) -> Iterator[Plot]:
    """Projected speed on phone chips."""
    if not results.projection:
        return
    chips = list(dict.fromkeys(p.chip for p in results.projection))
    models = list(dict.fromkeys(p.model for p in results.projection))
    with canvas(height=rows_height(len(chips), 1.2)) as c:
        for i, model in enumerate(models):
            rows = [p for p in results.projection if p.model == model]
            c.ax.plot(
                [p.tok_s for p in rows],
                [chips.index(p.chip) for p in rows],
                "os^Dvp"[i % 6],
                markerfacecolor="none",
                markeredgecolor=SERIES[i % 6],
                markeredgewidth=1.4,
                markersize=6,
                label=short(label(results, model)),
            )
        c.name_rows(chips)
        c.ax.set_xlim(left=0)
        c.ax.set(xlabel="projected tokens a second (not measured)")
        subject = c.legend([label(results, model) for model in models])
        yield c.plot(
            "projection",
            "Projected decoding speed on phone chips",
            "A projection, not a measurement: the share of the bandwidth reached here, of the "
            "bandwidth that each chip's maker states.",
            subject,
        )


PROJECTION = Section("projection", 0, None, (_table,), (_plot,), standard=False)
