"""First-token latency by prompt length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .timing import Bound, Times


@dataclass
class FirstToken:
    """First-token latency at one prompt length.

    n_tokens: length of the prompt.
    n_cached: of these, how many the KV cache held already: a prefix shared with an earlier prompt.
    state: "cold": the first prompt after load; "warm": any later one.
    tokenize: from the text to its ids, the whole prompt.
    prefill: from the ids to the last one's logits, with taking a sequence of the cache.
    sample: from the logits to the token, greedily.
    total: all three, measured as one.
    limit: of prefill; null for a part of a prompt.
    """

    n_tokens: int
    n_cached: int
    state: Literal["cold", "warm"]
    tokenize: Times
    prefill: Times
    sample: Times
    total: Times
    limit: Bound | None
