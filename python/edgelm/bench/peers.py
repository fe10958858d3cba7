"""Other engines on the same file, in the same run, in turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .timing import Bound, Times


@dataclass
class PeerRow:
    """One measurement of edgelm and a peer in turns, same file, same ids.

    name: "prefill 128", "decode 64", "first token", "load".
    unit: how it is usually quoted: "tok/s" (n_tokens over a time) or "ms".
    n_tokens: what a rate divides by.
    depth: tokens before the first timed one, for decode.
    ours: edgelm's times, round by round.
    theirs: the peer's, in the same rounds.
    ratios: round by round, their time over ours: above 1 edgelm is the faster.
    ratio: their median.
    ratio_low: least value of the median's interval (stats.median_interval).
    ratio_high: greatest value of it.
    verdict: "faster", "slower", or why there is none.
    limit: with our share of it.
    their_share: the peer's share of the limit.
    """

    name: str
    unit: Literal["tok/s", "ms"]
    n_tokens: int
    depth: int
    ours: Times
    theirs: Times
    ratios: list[float]
    ratio: float
    ratio_low: float
    ratio_high: float
    verdict: Literal["faster", "slower", "no difference beyond the noise", "too few rounds"]
    limit: Bound | None
    their_share: float | None


@dataclass
class Peer:
    """edgelm against another engine on one file, each in a process of its own.

    model: name of the file.
    random_weights: as in its ModelInfo.
    peer: "llama.cpp", "llama-cpp-python" or "openvino".
    version: of the peer.
    our_settings: as our process states them.
    their_settings: as the peer's process states them.
    unavailable: why the peer could not run the file; null if it did.
    """

    model: str
    random_weights: bool
    peer: str
    version: str
    our_settings: dict[str, str]
    their_settings: dict[str, str]
    unavailable: str | None
    rows: list[PeerRow]
