"""Expected latency on named phone chips: a projection, never a measurement.

It supposes that on the chip the engine reaches the shares of the limits that it reached here. That
is kind to the chip: its limits are the makers' figures, ours are measured; its kernels, caches and
heat are another matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .chips import Chip, chips
from .decode import Decode
from .first_token import FirstToken
from .subject import ModelInfo

FORMULA = (
    "milliseconds = 1e-6 * max(bytes / (read_gb_s * memory_share), MACs / (int8_gmac_s * "
    "compute_share)), where bytes = weights that a token reads, MACs = tokens * layer_macs + "
    "head_macs, memory_share = share of the measured read bandwidth that decode reached here at "
    "the least depth, compute_share = share of the measured int8 peak that the longest prompt "
    "reached here"
)


@dataclass
class Projection:
    """Expected latency on a named chip. A projection from this machine's shares, not measured.

    model: name of the file.
    chip: name of the chip, as in the data file.
    n_threads: cores that the projection uses.
    read_gb_s: the chip's bandwidth, from its source.
    int8_gmac_s: the chip's int8 rate on these cores, from its source.
    memory_share: share of the bandwidth reached here in decode, assumed there too.
    compute_share: share of the int8 peak reached here in prefill, assumed there too.
    first_token_ms: by prompt length, as text.
    token_ms: per decoded token at depth 0.
    tok_s: tokens a second.
    formula: how the numbers follow, in words and symbols.
    sources: where the chip's rates stand.
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


def project(
    info: ModelInfo, first_token: Sequence[FirstToken], decode: Sequence[Decode]
) -> list[Projection]:
    """The model on every chip; [] unless a token and a prompt bound by arithmetic were measured."""
    whole = [row for row in first_token if row.state == "warm" and not row.n_cached]
    compute = [
        (row.n_tokens, row.limit.compute_ms / row.prefill.median_ms)
        for row in whole
        if row.limit and row.limit.by == "compute"
    ]
    memory = [(r.depth, r.limit.memory_ms / r.token.median_ms) for r in decode if r.limit]
    if not compute or not memory:
        return []
    # At most all of it: a limit and a time are measured apart, and both are noisy.
    memory_share, compute_share = min(1.0, min(memory)[1]), min(1.0, max(compute)[1])
    lengths = sorted({row.n_tokens for row in whole})
    return [on_chip(chip, info, lengths, memory_share, compute_share) for chip in chips()]


def on_chip(
    chip: Chip,
    info: ModelInfo,
    lengths: Sequence[int],
    memory_share: float,
    compute_share: float,
) -> Projection:
    """FORMULA for one chip, on its fastest cores; `lengths` in tokens."""
    cores = chip.fastest()
    int8_gmac_s = sum(kind.count * kind.gmac_s for kind in cores)

    def ms(n_tokens: int) -> float:
        macs = n_tokens * info.layer_macs + info.head_macs
        memory = info.bytes_per_token / (chip.read_gb_s * memory_share)
        return 1e-6 * max(memory, macs / (int8_gmac_s * compute_share))

    return Projection(
        model=info.name,
        chip=chip.name,
        n_threads=sum(kind.count for kind in cores),
        read_gb_s=chip.read_gb_s,
        int8_gmac_s=int8_gmac_s,
        memory_share=memory_share,
        compute_share=compute_share,
        first_token_ms={str(n): ms(n) for n in lengths},
        token_ms=ms(1),
        tok_s=1e3 / ms(1),
        formula=FORMULA,
        sources=sorted({*chip.sources, *(s for kind in cores for s in kind.sources)}),
    )
