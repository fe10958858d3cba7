"""What a reply cost, as a table."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from ..memory import peak_bytes
from .terminal import size

if TYPE_CHECKING:
    from ..generate import Generation


def cost(load_s: float, generation: Generation) -> str:
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
    reason = {"stop": "the model ended it", "length": "cut at the limit"}
    end = reason.get(generation.finish_reason or "", generation.finish_reason or "")
    rows.append(("reply", f"{usage.completion_tokens} tokens", f"{end}; seed {generation.seed}"))
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    return "\n".join(f"{a:{widths[0]}}  {b:>{widths[1]}}  {c}".rstrip() for a, b, c in rows)


def _ms(milliseconds: float) -> str:
    if math.isnan(milliseconds):
        return "-"
    return f"{milliseconds:,.0f} ms" if milliseconds >= 100 else f"{milliseconds:.1f} ms"
