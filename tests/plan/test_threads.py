"""Threads that come and go: the same bits, whoever does the work."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from edgelm.graph import Plan
from plans import SUPPORT, all_logits, cache_of, compiled, run
from tiny_models import TinyLlama

N_PROMPT, N_TOKENS = 40, 70


@pytest.fixture(scope="module")
def ids() -> np.ndarray:
    return np.random.default_rng(6).integers(0, 260, N_TOKENS).astype(np.int32)


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> Path:
    """Phases long enough for helpers to come; neighbours that read x in different formats."""
    model = TinyLlama(
        n_layers=2, width=256, ff_width=3072, quants={"gate": "Q4_0", "up": "Q8_0", "down": "F16"}
    )
    return model.write(tmp_path_factory.mktemp("threads") / "wide.gguf")


def reply(plan: Plan, ids: np.ndarray, patterns: list[list[int]]) -> np.ndarray:
    """Logits of a prompt and of the tokens behind it; each run with the next pattern of threads."""
    cache = cache_of(plan)
    owner = cache.create()
    parts = [ids[:N_PROMPT], *(ids[i : i + 1] for i in range(N_PROMPT, len(ids)))]
    logits = []
    for i, part in enumerate(parts):
        plan.force_threads(patterns[i % len(patterns)])
        logits.append(run(plan, cache, part, np.full(len(part), owner, np.int32)))
    return np.concatenate(logits)


@pytest.mark.parametrize(
    "patterns",
    [
        [[1], [3]],  # from token to token
        [[1, 2, 3], [3, 1], [2]],  # from phase to phase
        [[4, 4, 4, 1, 1, 2, 2, 3], []],
    ],
)
def test_bits_do_not_depend_on_threads_that_change_in_the_middle(wide, ids, patterns):
    want = all_logits(compiled(wide, 1), ids, N_TOKENS)
    plan = compiled(wide, 4)
    for _ in range(3):
        got = reply(plan, ids, patterns)
        assert np.array_equal(got.view(np.int32), want.view(np.int32))


def test_a_number_of_threads_must_be_one_of_the_plans(wide):
    plan = compiled(wide, 2)
    for wrong in ([0], [1, 3], [-1]):
        with pytest.raises(ValueError, match="expected 1 to the plan's 2"):
            plan.force_threads(wrong)
    plan.force_threads([2, 1])
    plan.force_threads([])


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a system without CPU affinity")
def test_two_threads_on_one_cpu_give_the_same_bits(wide, ids, tmp_path):
    script = f"""
        import os, sys
        os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
        sys.path.insert(0, {str(SUPPORT)!r})
        import numpy as np
        from pathlib import Path
        from plans import all_logits, compiled
        plan = compiled(Path(sys.argv[1]), 2)
        ids = np.load(sys.argv[2])
        np.save(sys.argv[3], np.stack([all_logits(plan, ids, chunk) for chunk in (1, 64)]))
    """
    np.save(tmp_path / "ids.npy", ids)
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), wide, tmp_path / "ids.npy", tmp_path / "x"],
        check=True,
    )
    want = all_logits(compiled(wide, 1), ids, N_TOKENS)
    for got in np.load(tmp_path / "x.npy"):
        assert np.array_equal(got.view(np.int32), want.view(np.int32))
