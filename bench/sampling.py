"""What choosing a token costs, at three vocabularies: `pytest bench/sampling.py`.

The default chain is meant to cost less than 2 % of a decode step. llama.cpp's own samplers, called
through xllamacpp on the same logits, are timed beside ours.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np
import pytest

from edgelm import _core
from edgelm.options import Options
from edgelm.samplers import Sampler, token_logprob

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import make_sampler_goldens as llama_cpp

VOCABULARIES = {"smollm2": 49_152, "qwen2": 151_936, "gemma3": 262_144}
CHAINS = {
    "default": {},
    "greedy": {"temperature": 0},
    "penalties": {"repeat_penalty": 1.1, "frequency_penalty": 0.1},
    "typical": {"typical_p": 0.9},
    "min_p only": {"top_k": 0, "top_p": 1.0},
    "whole vocabulary": {"top_k": 0, "min_p": 0.0},
}


@pytest.fixture(params=VOCABULARIES.values(), ids=VOCABULARIES)
def row(request):
    """Logits of a real model's spread: most far below the few that matter."""
    random = np.random.default_rng(0)
    logits = random.normal(-5, 3, request.param)
    logits[random.integers(0, request.param, 200)] += 12
    return logits.astype(np.float32)


@pytest.mark.parametrize("chain", CHAINS)
def test_sampler(benchmark, row, chain):
    sampler = Sampler(Options(seed=1, **CHAINS[chain]), vocab_size=len(row))
    history = np.random.default_rng(1).integers(0, len(row), 500).tolist()
    benchmark(sampler.choose, row, history)


@pytest.mark.parametrize("chain", ["default", "whole vocabulary"])
def test_llama_cpp(benchmark, row, chain):
    """As its common_sampler_sample: list the candidates, then apply the chain."""
    lib = llama_cpp.library()
    samplers = llama_cpp.new_chain(lib, llama_cpp.DEFAULTS | CHAINS[chain], [], len(row))
    listed = np.zeros(len(row), [("id", np.int32), ("logit", np.float32), ("p", np.float32)])
    data = listed.ctypes.data_as(ctypes.POINTER(llama_cpp.TokenData))

    def choose():
        listed["id"] = np.arange(len(row), dtype=np.int32)
        listed["logit"] = row
        tokens = llama_cpp.TokenDataArray(data, len(row), -1, False)
        for sampler in samplers:
            lib.llama_sampler_apply(sampler, ctypes.byref(tokens))

    benchmark(choose)


def test_select_top_40(benchmark, row):
    benchmark(_core.top, row, 40)


def test_log_sum_exp(benchmark, row):
    benchmark(_core.log_sum_exp, row[None])


def test_logprobs(benchmark, row):
    benchmark(token_logprob, row, 7, 5)


def test_numpy_argmax(benchmark, row):
    """The floor: one pass over the row by NumPy's SIMD code."""
    benchmark(row.argmax)
