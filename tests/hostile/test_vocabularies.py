"""Vocabularies made to use up time, memory or stack: refused by name, or no worse than others."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from edgelm import _core
from edgelm.errors import ModelFormatError
from edgelm.tokenizer import Tokenizer
from vocabularies import write_vocabulary


def opened(folder: Path, tokens: list[str], **more: Any) -> Tokenizer:
    """A SentencePiece tokenizer; keys of `more` stand below tokenizer.ggml."""
    metadata = {
        "ggml.model": "llama",
        "ggml.tokens": tokens,
        "ggml.add_space_prefix": False,
        "ggml.add_bos_token": False,
        **{f"ggml.{key}": value for key, value in more.items()},
    }
    return Tokenizer(_core.GgufFile(write_vocabulary(folder / "vocabulary.gguf", metadata)))


SMALL = ["<unk>", "<s>", "</s>", "a", "b"]


def charsmap(units: list[int], strings: bytes) -> bytes:
    table = b"".join(unit.to_bytes(4, "little") for unit in units)
    return len(table).to_bytes(4, "little") + table + strings


def test_a_long_token_is_refused(tmp_path):
    opened(tmp_path, [*SMALL, "a" * 4096])
    with pytest.raises(
        ModelFormatError, match=r"tokens\[5\] has 4097 bytes; expected at most 4096"
    ):
        opened(tmp_path, [*SMALL, "a" * 4097])


def test_a_long_replacement_is_refused(tmp_path):
    opened(tmp_path, SMALL, precompiled_charsmap=charsmap([0], b"x" * 256 + b"\0"))
    with pytest.raises(ModelFormatError, match="a replacement of 257 bytes; expected at most 256"):
        opened(tmp_path, SMALL, precompiled_charsmap=charsmap([0], b"x" * 257 + b"\0"))


def test_a_charsmap_that_leads_in_circles_takes_linear_time(tmp_path):
    # From 97 the letter a, code 97, leads to unit 0 and on to its offset, 97. No leaf ever comes.
    circle = charsmap([97 << 10 | 97] + [0] * 127, b"b\0")
    tokenizer = opened(tmp_path, SMALL, precompiled_charsmap=circle)
    start = time.thread_time()
    assert set(tokenizer.encode("a" * 400_000)) == {3}
    # 10^11 steps if every position were followed to the end of the text
    assert time.thread_time() - start < 5


def test_unused_tokens_fall_apart_however_deep(tmp_path):
    """Each is the one before and an a: a thread with little stack must come through."""
    n = 3000
    tokens = ["<unk>", *("a" * i for i in range(1, n + 1))]
    types = [2, 1, *[5] * (n - 1)]
    scores = [0.0, *(float(i) for i in range(n))]
    tokenizer = opened(tmp_path, tokens, token_type=types, scores=scores)
    answers: list[list[int]] = []
    before = threading.stack_size(64 << 10)
    try:
        thread = threading.Thread(target=lambda: answers.append(tokenizer.encode("a" * n)))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert answers == [[1] * n]


def test_special_tokens_cost_no_more_than_they_hold(tmp_path):
    """A tree of 4 million different bytes is built with no more than its leaves in the queue."""
    tokens = [*SMALL, *(f"{i:05d}" * 800 for i in range(1000))]
    types = [2, 3, 3, 1, 1, *[4] * 1000]
    start = time.thread_time()
    tokenizer = opened(tmp_path, tokens, token_type=types)
    assert tokenizer.encode("a" + tokens[-1] + "b") == [3, len(tokens) - 1, 4]
    assert time.thread_time() - start < 10


def test_a_text_beyond_32_bits_is_refused(tmp_path):
    tokenizer = opened(tmp_path, SMALL)
    with pytest.raises(ValueError, match="has 268435457 bytes; at most 268435456 are tokenized"):
        tokenizer.encode("a" * (2**28 + 1))


@pytest.mark.parametrize("spelling", ["<0xGG>", "<0x100>", "0x41", "", "<0x4>"])
def test_byte_tokens_must_be_bytes(tmp_path, spelling):
    opened(tmp_path, [*SMALL, "<0xFF>"], token_type=[2, 3, 3, 1, 1, 6])
    with pytest.raises(ModelFormatError, match=r"tokens\[5\] .* is not written <0x00> to <0xFF>"):
        opened(tmp_path, [*SMALL, spelling], token_type=[2, 3, 3, 1, 1, 6])
