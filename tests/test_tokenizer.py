"""Tokenizers against llama.cpp and the `tokenizers` library, and what they promise themselves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgelm import _core
from edgelm.tokenizer import Tokenizer

MODELS = Path(os.environ.get("EDGELM_TEST_MODELS", "/tmp/edgelm-models"))


@pytest.fixture(scope="module")
def smollm2() -> Tokenizer:
    return Tokenizer(_core.GgufFile(MODELS / "SmolLM2-135M-Instruct.Q4_1.gguf"))


def test_the_known_prompt(smollm2: Tokenizer) -> None:
    assert smollm2.encode("The capital of France is") == [504, 3575, 282, 4649, 314]
