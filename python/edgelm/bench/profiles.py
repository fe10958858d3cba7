"""The measurements that others publish, under their own conditions."""

from __future__ import annotations

from dataclasses import dataclass

from .timing import Times


@dataclass
class Scenario:
    """One prompt and its reply, as a profile prescribes.

    profile: "phone" or "survey".
    prompt_tokens: length of the prompt.
    generated_tokens: length of the reply.
    first_token: total first-token latency, warm.
    prefill_tok_s: prompt tokens over the median time of prefill.
    token: of every token after the first.
    tok_s: tokens a second without the first.
    total: from the call to the last token.
    """

    profile: str
    prompt_tokens: int
    generated_tokens: int
    first_token: Times
    prefill_tok_s: float
    token: Times
    tok_s: float
    total: Times
