"""Fixtures that several test files share."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest

from edgelm import hub

# A runner in the background ignores Ctrl-C, and processes inherit that; the tests of it need it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rng() -> np.random.Generator:
    """The same numbers in every run; a test that wants others seeds its own."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """SmolLM2-135M-Instruct in Q4_1, from the cache folder, fetched if it is not there.

    Fails where the model cannot be had: a test that needs it is never skipped.
    """
    return hub.resolve("smollm2-135m-instruct")


@pytest.fixture(scope="session")
def gemma3_path() -> Path:
    """Gemma 3 270M in Q4_K_M, a mix of Q4_K, Q5_0, Q6_K and Q8_0; likewise."""
    return hub.resolve("gemma-3-270m")
