"""llama.cpp's own answers to token ids, by the xllamacpp package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xllamacpp


def top_logprobs(path: Path, ids: list[int], n: int = 6) -> dict[int, float]:
    """The n likeliest tokens after `ids`, with their log-probabilities."""
    params: Any = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = 256
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.warmup = False
    params.verbosity = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    answer = xllamacpp.Server(params).handle_completions(
        {"prompt": ids, "max_tokens": 1, "temperature": 0, "logprobs": n}
    )
    (token,) = answer["choices"][0]["logprobs"]["content"]
    return {t["id"]: t["logprob"] for t in token["top_logprobs"]}
