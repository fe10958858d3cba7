"""Tokenizers against the models' own libraries and llama.cpp, and what they promise by themselves.

tests/golden/tokenizers.json (tools/make_tokenizer_goldens.py) holds small vocabularies with the ids
of PyPI `tokenizers` and `sentencepiece`; tests/golden/smollm2_tokens.json holds llama.cpp's ids.
"""

from __future__ import annotations

import base64
import json
import time
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelm import _core
from edgelm.errors import EdgelmWarning, ModelFormatError, UnsupportedModelError
from edgelm.tokenizer import Tokenizer
from goldens import FOLDER
from tokenizer_texts import texts
from vocabularies import write_vocabulary

GOLDENS: dict[str, Any] = json.loads((FOLDER / "tokenizers.json").read_text())
TEXTS = texts()
SMOLLM2 = json.loads((FOLDER / "smollm2_tokens.json").read_text())
# Bytes that GPT-2's alphabet shows as ² ³ ¹ ¼ ½ ¾, which Falcon's third step takes for digits.
LATIN_DIGITS = set(b"\xb2\xb3\xb9\xbc\xbd\xbe")


def metadata_of(family: str) -> dict[str, Any]:
    stored = GOLDENS[family]["metadata"]
    return {
        key: base64.b64decode(value["base64"]) if isinstance(value, dict) else copy(value)
        for key, value in stored.items()
    }


def opened(folder: Path, metadata: dict[str, Any]) -> Tokenizer:
    return Tokenizer(_core.GgufFile(write_vocabulary(folder / "vocabulary.gguf", metadata)))


def changed(folder: Path, family: str = "bpe gpt-2", **changes: Any) -> Tokenizer:
    """Opens a family with other metadata; "__" stands for a dot, None takes a key away."""
    metadata = metadata_of(family)
    for key, value in changes.items():
        metadata[key.replace("__", ".")] = value
    return opened(folder, {key: value for key, value in metadata.items() if value is not None})


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    return {
        family: opened(tmp_path_factory.mktemp("vocabulary"), metadata_of(family))
        for family in GOLDENS
    }


@pytest.fixture(scope="module")
def smollm2(smollm2_path: Path) -> Tokenizer:
    return Tokenizer(_core.GgufFile(smollm2_path))


def departs(family: str, text: str) -> bool:
    """Where we differ from the model's own library on purpose, as llama.cpp does too.

    - Falcon cuts bytes that look like digits out of characters. No merge of its real vocabulary
      spans such a cut, so it makes no difference there.
    - SentencePiece finds user-defined tokens after blanks became marks, we before: a mark written
      in the text beside blanks.
    - Covers with equal scores: SentencePiece adds them up in float32, we in float64.
    """
    if family == "bpe falcon":
        return bool(LATIN_DIGITS & {*text.encode()})
    if family == "sentencepiece gemma":
        return "\u2581 " in text or " \u2581" in text
    return family == "sentencepiece unigram" and text == "1" * 40


@pytest.mark.parametrize("family", GOLDENS)
def test_ids_are_those_of_the_models_own_library(
    family: str, families: dict[str, Tokenizer]
) -> None:
    """llama.cpp differs from them, and from us, in these cases:

    - Text that is not in the form NFC ("e" and an accent): Qwen 2, Command-R and OLMo compose it.
    - Tekken and GPT-4o: marks (category M) belong to words; llama.cpp's patterns say letters only.
    - WordPiece: accents beyond Latin, Hangul's decomposition and U+2581 itself.
    - Unigram: a mark written in the text is a token of its own.
    """
    tokenizer, wanted = families[family], GOLDENS[family]["ids"]
    compared = 0
    for text, ids in zip(TEXTS, wanted, strict=True):
        if not departs(family, text):
            assert tokenizer.encode(text, add_special=False) == ids, text
            compared += 1
    assert compared > 150


@pytest.mark.parametrize(
    ("family", "fault"),
    [
        ("bpe smollm", {"ggml__pre": "gpt-2"}),
        ("bpe qwen2", {"ggml__pre": "llama-bpe"}),
        ("bpe gpt-4o", {"ggml__pre": "tekken"}),
        ("bpe command-r", {"ggml__pre": "smollm"}),
        ("sentencepiece llama", {"ggml__add_space_prefix": False}),
        ("sentencepiece tidy", {"ggml__remove_extra_whitespaces": False}),
        ("sentencepiece unigram", {"ggml__precompiled_charsmap": None}),
        ("wordpiece uncased", {"ggml__normalizer__lowercase": False}),
    ],
)
def test_the_goldens_catch_another_rule(family: str, fault: dict[str, Any], tmp_path: Path) -> None:
    wrong = changed(tmp_path, family, **fault)
    wanted = GOLDENS[family]["ids"]
    assert any(
        wrong.encode(text, add_special=False) != ids
        for text, ids in zip(TEXTS, wanted, strict=True)
    )


def test_smollm2_against_llama_cpp(smollm2: Tokenizer) -> None:
    assert len(SMOLLM2) > 20
    for case in SMOLLM2:
        ids = smollm2.encode(case["text"], parse_special=case["parse_special"])
        assert ids == case["ids"], case["text"]


def test_smollm2_itself(smollm2: Tokenizer) -> None:
    assert smollm2.encode("The capital of France is") == [504, 3575, 282, 4649, 314]
    assert smollm2.vocab_size == 49152
    assert (smollm2.bos_id, smollm2.eos_id, smollm2.eot_id) == (1, 2, 2)
    assert smollm2.eog == {0, 2, 4}  # <|endoftext|>, <|im_end|> and, as in llama.cpp, <reponame>
    assert not smollm2.add_bos
    assert smollm2.chat_template is not None
    assert "<|im_start|>" in smollm2.chat_template


def test_special_tokens_are_text_unless_asked_for(smollm2: Tokenizer) -> None:
    text = "<|im_start|>user\nHi<|im_end|>"
    as_text, parsed = smollm2.encode(text), smollm2.encode(text, parse_special=True)
    assert parsed[0] == 1
    assert parsed[-1] == 2
    assert not {1, 2} & {*as_text}
    assert smollm2.decode(as_text) == text == smollm2.decode(parsed, special=True)
    assert smollm2.decode(parsed) == "user\nHi"


def test_bos_and_eos_are_the_files(tmp_path: Path) -> None:
    family = "sentencepiece llama"
    plain = changed(tmp_path, family)
    both = changed(tmp_path, family, ggml__add_bos_token=True, ggml__add_eos_token=True)
    unsaid = changed(tmp_path, family, ggml__add_bos_token=None, ggml__add_eos_token=None)
    ids = plain.encode("Hello")
    assert both.encode("Hello") == [1, *ids, 2]
    assert unsaid.encode("Hello") == [1, *ids]  # as this tokenizer model's files leave it unsaid
    assert both.encode("Hello", add_special=False) == ids
    assert plain.encode("") == []


def test_sentencepiece_puts_and_takes_a_blank(families: dict[str, Tokenizer]) -> None:
    llama = families["sentencepiece llama"]
    ids = llama.encode("Hello world")
    assert llama.token_bytes(ids[0]).startswith(b" ")
    assert llama.decode(ids) == "Hello world"
    assert llama.decode(llama.encode(" Hello")) == " Hello"
    continuing = llama.decoder(continues=True)
    assert "".join(map(continuing.push, ids)) + continuing.flush() == " Hello world"


LOSSLESS = [
    family
    for family in GOLDENS
    if not family.startswith("wordpiece") and not family.endswith(("tidy", "unigram"))
]


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(text=st.text(alphabet=st.characters(exclude_categories=("Cs",))))
@pytest.mark.parametrize("family", LOSSLESS)
def test_text_comes_back(family: str, families: dict[str, Tokenizer], text: str) -> None:
    import unicodedata

    tokenizer = families[family]
    ids = tokenizer.encode(text, add_special=False)
    if family.startswith("sentencepiece"):
        text = text.replace("\u2581", " ")
    elif family.split()[1] in ("olmo", "command-r", "qwen2"):
        text = unicodedata.normalize("NFC", text)
    assert tokenizer.decode(ids) == text
    assert b"".join(map(tokenizer.token_bytes, ids)).decode().removeprefix(" ") in (
        text,
        text.removeprefix(" "),
    )


@settings(max_examples=100, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("special", [False, True])
def test_the_decoder_says_what_decode_says(
    special: bool, families: dict[str, Tokenizer], data: st.DataObject
) -> None:
    for family in ("bpe gpt-2", "sentencepiece llama", "wordpiece uncased"):
        tokenizer = families[family]
        ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=30))
        decoder = tokenizer.decoder(special)
        chunks = [decoder.push(id) for id in ids]
        assert "".join(chunks) + decoder.flush() == tokenizer.decode(ids, special=special)


def test_the_decoder_holds_back_half_characters(smollm2: Tokenizer) -> None:
    ids = smollm2.encode("👩‍👩‍👧")
    decoder = smollm2.decoder()
    chunks = [decoder.push(id) for id in ids]
    assert "" in chunks
    assert "\ufffd" not in "".join(chunks)
    decoder.push(ids[0])
    assert decoder.flush() == "\ufffd"


def test_surrogates_are_a_clear_error(smollm2: Tokenizer) -> None:
    with pytest.raises(ValueError, match=r"text\[2\] is the unpaired surrogate U\+D83D"):
        smollm2.encode("ab\ud83dc")


@pytest.mark.parametrize("id", [-1, 49152, 2**31, 2**70, -(2**70)])
def test_ids_out_of_range_are_errors(id: int, smollm2: Tokenizer) -> None:
    with pytest.raises(ValueError, match=r"0 to 49151"):
        smollm2.decode([1, id])
    with pytest.raises((ValueError, TypeError)):
        smollm2.token_bytes(id)


def test_ids_must_be_integers(smollm2: Tokenizer) -> None:
    with pytest.raises(TypeError):
        smollm2.decode(["504"])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        smollm2.decode(504)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ggml__model": None}, "tokenizer.ggml.model"),
        ({"ggml__model": 5}, "expected a string"),
        ({"ggml__tokens": None}, "no tokenizer.ggml.tokens"),
        ({"ggml__tokens": [1, 2]}, "tokenizer.ggml.tokens"),
        ({"ggml__merges": None}, "no tokenizer.ggml.merges"),
        ({"ggml__merges": ["a"]}, "not two tokens"),
        ({"ggml__merges": ["zzzz q"]}, r"merges\[0\] 'zzzz q' names a token"),
        ({"ggml__merges": [1]}, "tokenizer.ggml.merges"),
        ({"ggml__token_type": [1]}, "token_type has 1 elements, but"),
        ({"ggml__token_type": "x"}, "tokenizer.ggml.token_type"),
        ({"ggml__eos_token_id": "2"}, "tokenizer.ggml.eos_token_id"),
        ({"ggml__add_bos_token": "yes"}, "expected true or false"),
        ({"chat_template": 5}, "expected a string"),
    ],
)
def test_broken_vocabularies_are_named(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match=says):
        changed(tmp_path, **changes)


@pytest.mark.parametrize(
    ("charsmap", "says"),
    [
        (b"\x01", "claims"),
        (b"\xff\xff\xff\xff" + bytes(8), "claims"),
        (b"\x03\x00\x00\x00" + bytes(8), "claims"),
    ],
)
def test_broken_charsmaps_are_named(charsmap: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match=says):
        changed(tmp_path, "sentencepiece unigram", ggml__precompiled_charsmap=charsmap)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(min_size=8, max_size=200))
def test_hostile_charsmaps_never_crash(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    size = (len(data) // 2) & ~3
    charsmap = size.to_bytes(4, "little") + data
    folder = tmp_path_factory.mktemp("charsmap")
    tokenizer = changed(folder, "sentencepiece unigram", ggml__precompiled_charsmap=charsmap)
    for text in TEXTS:
        with suppress(ModelFormatError):  # a replacement outside its strings
            tokenizer.encode(text)


def test_unknown_kinds_list_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="'rwkv'; the known ones are bert, gemma4"):
        changed(tmp_path, ggml__model="rwkv")
    with pytest.raises(UnsupportedModelError, match=r"'klingon'; the known ones are .*smollm"):
        changed(tmp_path, ggml__pre="klingon")


def test_a_file_without_a_pretokenizer_gets_the_default(tmp_path: Path) -> None:
    with pytest.warns(EdgelmWarning, match="pre is missing"):
        assert changed(tmp_path, ggml__pre=None).encode("a 12345")


def test_phi3_swallows_blanks_after_its_tokens(tmp_path: Path) -> None:
    text = "<|end|>\n x<extra> y"
    plain = changed(tmp_path).encode(text, parse_special=True)
    path = tmp_path / "vocabulary.gguf"
    write_vocabulary(path, metadata_of("bpe gpt-2"), name="Phi-3-mini")
    phi3 = Tokenizer(_core.GgufFile(path))
    assert phi3.encode(text, parse_special=True) != plain
    assert phi3.encode(text, parse_special=True) == phi3.encode(
        text.replace("\n ", ""), parse_special=True
    )


@pytest.mark.parametrize(
    ("names", "eog"),
    [
        (["<|im_end|>", "<|eot_id|>"], {"<|im_end|>", "<|eot_id|>"}),
        (["<end_of_turn>", "</s>"], {"<end_of_turn>", "</s>"}),
        (["<|return|>", "<|call|>", "<|end|>"], {"<|return|>", "<|call|>"}),
        (["<|flush|>", "<|calls|>", "<|end|>"], {"<|flush|>", "<|calls|>"}),
        (["<|tool_response>", "</s>", "<eos>"], {"<|tool_response>", "<eos>"}),
        (["<|fim_pad|>", "<|fim_prefix|>", "<|repo_name|>"], {"<|fim_pad|>", "<|repo_name|>"}),
        (["<|eom_id|>", "<|python_tag|>"], {"<|eom_id|>"}),
    ],
)
def test_generation_ends_by_name(names: list[str], eog: set[str], tmp_path: Path) -> None:
    metadata = metadata_of("bpe gpt-2")
    metadata["ggml.tokens"] += names
    metadata["ggml.token_type"] += [3] * len(names)
    metadata["ggml.tokens"][-len(names) - 2] = "<|unnamed|>"  # instead of <|end|>
    tokenizer = opened(tmp_path, metadata)
    assert {tokenizer.token_bytes(id).decode() for id in tokenizer.eog} == eog


@pytest.mark.slow
@pytest.mark.parametrize("letter", ["a", " ", "\n", "é", "1", "'", "中"])
@pytest.mark.parametrize(
    "family", ["bpe gpt-2", "bpe gpt-4o", "bpe deepseek-v3", "sentencepiece llama"]
)
def test_a_long_run_takes_linear_time(
    family: str, letter: str, families: dict[str, Tokenizer]
) -> None:
    tokenizer = families[family]

    def seconds(n: int) -> float:
        start = time.thread_time()
        ids = tokenizer.encode(letter * n, add_special=False)
        spent = time.thread_time() - start
        assert tokenizer.decode(ids) == letter * n
        return spent

    assert seconds(1_000_000) < 3.0  # quadratic would be hours


def test_threads_may_share_a_tokenizer(families: dict[str, Tokenizer]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    tokenizer = families["bpe deepseek-v3"]
    wanted = [tokenizer.encode(text * 50) for text in TEXTS]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert list(pool.map(lambda text: tokenizer.encode(text * 50), TEXTS)) == wanted
