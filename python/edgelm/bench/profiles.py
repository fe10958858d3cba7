"""The measurements that others publish, under their own conditions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .first_token import text_of
from .numbers import count, number
from .run import Task
from .section import Case, Section
from .table import Table, per_model
from .timing import Times

if TYPE_CHECKING:
    from .results import Results
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
SHAPES = {
    "phone": [Shape(n, m) for n in (64, 256, 1024) for m in (128, 256)],
    "survey": [Shape(50, 50)],
}


class _Reply(NamedTuple):
    first_token_ms: float
    prefill_ms: float
    token_ms: list[float]
    total_ms: float


def measure(case: Case) -> list[Scenario]:
    """The profile's prompts and replies, by generate(), greedily, to the full length."""
    run, subject, profile = case.run, case.subject, case.plan.profile
    if profile is None:
        return []

    def seconds(shape: Shape) -> float:
        return shape.prompt * subject.prefill_s + shape.generate * subject.decode_s

    todo = []
    for shape in SHAPES[profile]:
        if run.fits("scenarios", shape, sum(shape), subject.settings.n_ctx):
            todo.append(Task(shape, seconds(shape), lambda s=shape: once(subject, s)))  # type: ignore[misc]
    found = run.collect("scenarios", 1 if case.plan.quick else 3, todo)
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


def _table(results: Results) -> Table:
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


def _samples(row: Scenario) -> Iterator[tuple[str, str, Times]]:
    what = f"{row.profile}: prompt of {row.prompt_tokens}, reply of {row.generated_tokens}"
    for part in ("first_token", "token", "total"):
        yield what, part, getattr(row, part)


SCENARIOS = Section("scenarios", 70, measure, (_table,), standard=False, samples=_samples)
