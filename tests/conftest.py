"""Fixtures that several test files share."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest

from edgelm import _core, hub

# A runner in the background ignores Ctrl-C, and processes inherit that; the tests of it need it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--isa",
        action="append",
        metavar="NAME",
        help="of tests that run once per ISA, only those of NAME, or of the `active` one; "
        "may be given again",
    )
    parser.addoption(
        "--tiny",
        action="store_true",
        help="test_bitwise.py on a tiny random model, where the real one takes hours: an emulator",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    usable, active = _core.usable_isas(), _core.active_isa()
    wanted = {active if name == "active" else name for name in config.getoption("--isa") or ()}
    if not wanted:
        return
    unusable = wanted.difference(usable)
    if unusable:
        raise pytest.UsageError(f"--isa: this processor cannot run {', '.join(sorted(unusable))}")
    others = set(usable) - wanted
    kept, left_out = [], []
    for item in items:
        case = getattr(item, "callspec", None)
        values = [v for v in case.params.values() if isinstance(v, str)] if case else []
        (left_out if others.intersection(values) else kept).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


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
