"""Expected latency on named phone chips: a projection, never a measurement."""

from __future__ import annotations

from dataclasses import dataclass


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
