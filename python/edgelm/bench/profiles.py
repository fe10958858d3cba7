"""The measurements that others publish, under their own conditions."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .first_token import text_of
from .run import Run, Task
from .timing import Times

if TYPE_CHECKING:
    from .subject import Subject

PHONE_THREADS = 4
PHONE_N_CTX = 2048


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


class Shape(NamedTuple):
    """Tokens of the prompt and of the reply."""

    prompt: int
    generate: int

    def __str__(self) -> str:
        return f"prompt of {self.prompt}, reply of {self.generate}"


# phone: what ExecuTorch, LiteRT-LM and MLPerf Mobile report; survey: arXiv:2409.15790.
SCENARIOS = {
    "phone": [Shape(n, m) for n in (64, 256, 1024) for m in (128, 256)],
    "survey": [Shape(50, 50)],
}


class _Reply(NamedTuple):
    first_token_ms: float
    prefill_ms: float
    token_ms: list[float]
    total_ms: float


def measure(run: Run, subject: Subject, profile: str, rounds: int) -> list[Scenario]:
    """The profile's prompts and replies, by generate(), greedily, to the full length."""

    def seconds(shape: Shape) -> float:
        return shape.prompt * subject.prefill_s + shape.generate * subject.decode_s

    todo = []
    for shape in SCENARIOS[profile]:
        if run.fits("scenarios", shape, sum(shape), subject.settings.n_ctx):
            todo.append(Task(shape, seconds(shape), lambda s=shape: once(subject, s)))  # type: ignore[misc]
    found = run.collect("scenarios", rounds, todo)
    return [_row(profile, shape, replies) for shape, replies in found.items()]


def once(subject: Subject, shape: Shape) -> _Reply:
    """One reply."""
    text = text_of(subject.tokenizer, shape.prompt)
    start = time.perf_counter()
    done = subject.model.generate(
        text, max_tokens=shape.generate, temperature=0, ignore_eos=True, cache_prompt=False
    )
    total_ms = 1e3 * (time.perf_counter() - start)
    times = done.timings
    return _Reply(times.first_token_ms, times.prefill_ms, list(times.token_ms), total_ms)


def _row(profile: str, shape: Shape, replies: list[_Reply]) -> Scenario:
    token = Times([ms for reply in replies for ms in reply.token_ms])
    prefill = Times([reply.prefill_ms for reply in replies])
    return Scenario(
        profile=profile,
        prompt_tokens=shape.prompt,
        generated_tokens=shape.generate,
        first_token=Times([reply.first_token_ms for reply in replies]),
        prefill_tok_s=1e3 * shape.prompt / prefill.median_ms,
        token=token,
        tok_s=token.tok_s,
        total=Times([reply.total_ms for reply in replies]),
    )
