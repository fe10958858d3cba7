"""Every vocabulary of llama.cpp's own tests, and those of real models, against llama.cpp itself.

Where llama.cpp departs from a model's own tokenizer, we follow the model; expected() says how. Then
llama.cpp must agree on a text that is already in the form that the model's tokenizer brings it to.
"""

from __future__ import annotations

import random
import re
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgelm import _core
from edgelm.pretokenizers import PRETOKENIZERS
from edgelm.tokenizer import Tokenizer
from llama_cpp_sdist import vocabularies
from llama_cpp_vocab import LlamaCppVocab
from tokenizer_texts import PIECES, texts

pytestmark = pytest.mark.slow
FAMILIES = [
    *("aquila", "baichuan", "bert-bge", "command-r", "deepseek-coder", "deepseek-llm", "falcon"),
    *("gemma-4", "gpt-2", "gpt-neox", "llama-bpe", "llama-spm", "mpt", "nomic-bert-moe", "phi-3"),
    *("qwen2", "qwen35", "refact", "starcoder", "smollm2", "gemma3"),
]
# Their tokenizers begin with Unicode's form NFC (transformers: GPTNeoXTokenizer, Qwen2Tokenizer,
# Qwen3_5Tokenizer, CohereTokenizer); llama.cpp leaves text as it is.
COMPOSING = {"command-r", "mpt", "qwen2", "qwen35"}
LOSSY = {"bert-bge", "nomic-bert-moe"}


def letters() -> list[str]:
    """Characters of all scripts, with marks, joiners and controls."""
    return [
        chr(c)
        for c in range(0x30000)
        if not 0xD800 <= c < 0xE000
        and (c < 0x600 or c % 7 == 0)
        and unicodedata.category(chr(c)) != "Cn"
    ]


def mixed_texts() -> list[str]:
    """The hard strings, and random mixes of them with characters of all scripts."""
    rng, sample = random.Random(4), letters()
    mixes = [
        "".join(rng.choice(sample) if rng.random() < 0.3 else rng.choice(PIECES) for _ in range(n))
        for n in [3, 8, 20] * 50
    ]
    return [*texts(), *mixes]


TEXTS = mixed_texts()


def expected(family: str, text: str) -> str | None:
    """The text of which llama.cpp makes the model's ids; None if there is none."""
    if family in COMPOSING:
        return unicodedata.normalize("NFC", text)
    if family == "bert-bge":
        # The model drops marks of category Mn, llama.cpp all; it decomposes Hangul wrongly, ends
        # words at controls that the model drops, and loses U+2581, its sign of a word's beginning.
        decomposed = unicodedata.normalize("NFD", text)
        kept = "".join(c for c in decomposed if unicodedata.category(c) != "Mn")
        lost = {"\u2581", *"\v\f\x1c\x1d\x1e\x1f\x85"}.intersection(text)
        return None if lost or any(unicodedata.category(c)[0] == "M" for c in kept) else kept
    if family == "deepseek-llm" and re.search(r"\s\u3000", text):
        return None  # a mark of its third pattern, which llama.cpp mistakes for a vertical tab
    if family == "gemma3" and ("\u2581 " in text or " \u2581" in text):
        return None  # SentencePiece finds its tokens of blanks after blanks became marks
    return text


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def path(family: str, request: pytest.FixtureRequest) -> Path:
    if family in ("smollm2", "gemma3"):
        return request.getfixturevalue(f"{family}_path")
    return vocabularies()[family]


@pytest.fixture(scope="module")
def ours(path: Path) -> Tokenizer:
    return Tokenizer(_core.GgufFile(path))


@pytest.fixture(scope="module")
def theirs(path: Path) -> Iterator[LlamaCppVocab]:
    vocabulary = LlamaCppVocab(path)
    yield vocabulary
    vocabulary.close()


def differing(family: str, ours: Tokenizer, theirs: LlamaCppVocab, parse_special: bool) -> int:
    faults = 0
    for text in TEXTS:
        wanted = expected(family, text)
        if wanted is not None:
            faults += ours.encode(text, parse_special=parse_special) != theirs.encode(
                wanted, add_special=True, parse_special=parse_special
            )
    return faults


@pytest.mark.parametrize("parse_special", [False, True])
def test_ids_are_llama_cpps(
    family: str, ours: Tokenizer, theirs: LlamaCppVocab, parse_special: bool
) -> None:
    assert differing(family, ours, theirs, parse_special) == 0
    assert sum(expected(family, text) is not None for text in TEXTS) > 0.7 * len(TEXTS)


def test_tokens_are_llama_cpps(ours: Tokenizer, theirs: LlamaCppVocab) -> None:
    assert ours.vocab_size == theirs.size
    for id in random.Random(5).sample(range(theirs.size), 2000):
        piece = theirs.piece(id)
        if not piece.startswith(b"[UNK_BYTE"):  # letters that stand for no byte, but themselves
            assert ours.token_bytes(id) == piece, id
    assert ours.eog == theirs.end_of_generation()


def test_text_comes_back(family: str, ours: Tokenizer) -> None:
    for text in TEXTS:
        back = ours.decode(ours.encode(text, add_special=False))
        if family in COMPOSING:
            text = unicodedata.normalize("NFC", text)
        elif family == "falcon":
            text = text.replace("\v", "")  # has no token for it
        if family not in LOSSY:
            assert back in (text, text.replace("\u2581", " "))
        else:  # what is lost, is lost at once
            ids = ours.encode(back, add_special=False)
            assert ours.encode(ours.decode(ids), add_special=False) == ids


def test_one_letter_takes_linear_time(ours: Tokenizer) -> None:
    for letter in "a \n":
        start = time.thread_time()
        ours.encode(letter * 200_000)
        assert time.thread_time() - start < 1.0  # quadratic would be minutes


def test_a_wrong_pattern_is_caught(
    family: str, path: Path, theirs: LlamaCppVocab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seeded fault: letters go by fives."""
    pre = _core.GgufFile(path).get("tokenizer.ggml.pre")
    if pre not in PRETOKENIZERS or _core.GgufFile(path).get("tokenizer.ggml.model") != "gpt2":
        return
    right = PRETOKENIZERS[pre]
    wrong = replace(right, patterns=(r"\p{L}{5}", *right.patterns), whole_words=False)
    monkeypatch.setitem(PRETOKENIZERS, pre, wrong)
    faulty = Tokenizer(_core.GgufFile(path))
    assert differing(family, faulty, theirs, False) > 10


def test_opening_takes_no_longer_than_in_llama_cpp(gemma3_path: Path) -> None:
    """262,144 tokens; about a tenth of llama.cpp's time."""

    def seconds(opener: Callable[[], object]) -> float:
        start = time.thread_time()
        opener()
        return time.thread_time() - start

    ours = min(seconds(lambda: Tokenizer(_core.GgufFile(gemma3_path))) for _ in range(2))
    assert ours < seconds(lambda: LlamaCppVocab(gemma3_path).close())
