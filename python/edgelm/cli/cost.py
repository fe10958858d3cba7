"""What a reply cost, as a table."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from ..memory import peak_bytes
from .terminal import size

if TYPE_CHECKING:
    from ..generate import Generation


CONTEXT_FULL = "The context is full. --n-ctx makes room."


def is_full(generation: Generation, max_tokens: int) -> bool:
    """Whether it was the context that cut the reply, and not --max-tokens."""
    cut = generation.finish_reason == "length"
    return cut and generation.usage.completion_tokens < max_tokens


def cost(load_s: float, generation: Generation, max_tokens: int) -> str:
    """Times, memory and the end of a reply, a row each."""
    times, usage = generation.timings, generation.usage
    rows = [("load", _ms(1e3 * load_s), "")]
    reused = f" ({usage.cached_tokens} of them reused)" if usage.cached_tokens else ""
    prompt = f"{usage.prompt_tokens} prompt tokens{reused}, {times.prefill_tok_s:,.0f} a second"
    rows.append(("first token", _ms(times.first_token_ms), prompt))
    if times.token_ms:
        spread = (
            f"{times.tok_s:,.1f} a second; median {statistics.median(times.token_ms):.1f} ms, "
            f"slowest {max(times.token_ms):.1f} ms of {len(times.token_ms)}"
        )
        rows.append(("per token", _ms(1e3 / times.tok_s), spread))
    if peak := peak_bytes():
        rows.append(("memory", size(peak), "at most"))
    cut = "the context is full" if is_full(generation, max_tokens) else "cut at --max-tokens"
    reason = {"stop": "the model ended it", "length": cut}
    end = reason.get(generation.finish_reason or "", generation.finish_reason or "")
    rows.append(("reply", f"{usage.completion_tokens} tokens", f"{end}; seed {generation.seed}"))
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    return "\n".join(f"{a:{widths[0]}}  {b:>{widths[1]}}  {c}".rstrip() for a, b, c in rows)


def _ms(milliseconds: float) -> str:
    if math.isnan(milliseconds):
        return "-"
    return f"{milliseconds:,.0f} ms" if milliseconds >= 100 else f"{milliseconds:.1f} ms"
