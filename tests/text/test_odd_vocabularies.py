"""Vocabularies as fine-tunes and old converters leave them, against llama.cpp's reading of them."""

from __future__ import annotations

import random
import shutil
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import gguf
import pytest
from gguf import TokenType

from edgelm import EdgelmWarning, ModelFormatError, _core
from edgelm.pretokenizers import PRETOKENIZERS
from edgelm.tokenizer import Tokenizer
from llama_cpp_vocab import LlamaCppVocab
from tiny_models import byte_symbols
from vocabularies import write_vocabulary

CONTROL, USER, UNKNOWN = TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN
WORDS = ["Ġt", "Ġth", "Ġthe", "in", "com", "co", "incom", "income"]
MERGES = ["Ġ t", "Ġt h", "Ġth e", "i n", "c o", "co m", "in com", "incom e"]
TEXT = "the income of the! income, in the <|im_end|> com"


def vocabulary(types: dict[str, int] | None = None, **more: Any) -> dict[str, Any]:
    """Metadata of a small byte-level vocabulary; `more` stands below tokenizer.ggml."""
    tokens = [*byte_symbols(), *WORDS, "<|im_end|>"]
    kinds = {"<|im_end|>": CONTROL, **(types or {})}
    return {
        "ggml.model": "gpt2",
        "ggml.pre": "smollm",
        "ggml.tokens": tokens,
        "ggml.token_type": [int(kinds.get(t, TokenType.NORMAL)) for t in tokens],
        "ggml.merges": MERGES,
        "ggml.add_bos_token": False,
        **{key if key == "chat_template" else f"ggml.{key}": value for key, value in more.items()},
    }


def opened(path: Path, metadata: dict[str, Any]) -> Tokenizer:
    return Tokenizer(_core.GgufFile(write_vocabulary(path, metadata)))


@contextmanager
def both(path: Path, metadata: dict[str, Any]) -> Iterator[tuple[Tokenizer, LlamaCppVocab]]:
    ours = opened(path, metadata)
    with closing(LlamaCppVocab(path)) as theirs:
        yield ours, theirs


MARKED = [
    *(("income", kind) for kind in (CONTROL, USER, UNKNOWN)),
    *(("Ġthe", kind) for kind in (CONTROL, USER, UNKNOWN)),
    *(("Ġth", kind) for kind in (CONTROL, USER)),
    *(("!", kind) for kind in (CONTROL, USER, UNKNOWN, TokenType.UNUSED)),
    *(("e", kind) for kind in (CONTROL, USER)),
    ("Ġ", CONTROL),
]


@pytest.mark.parametrize(("word", "kind"), MARKED)
def test_a_word_of_a_special_type_stays_a_word(word: str, kind: int, tmp_path: Path) -> None:
    with both(tmp_path / "v.gguf", vocabulary({word: kind})) as (ours, theirs):
        for parse in (False, True):
            ids = ours.encode(TEXT, parse_special=parse)
            assert ids == theirs.encode(TEXT, parse_special=parse)
        plain = ours.encode(TEXT)
        assert ours.decode(plain) == TEXT  # llama.cpp drops the control tokens of it
        assert b"".join(map(ours.token_bytes, plain)).decode() == TEXT
    if kind != USER or word.startswith("Ġ"):  # others are looked for before the text is split
        assert plain == opened(tmp_path / "plain.gguf", vocabulary()).encode(TEXT)


def test_a_swallowed_character_is_caught(tmp_path: Path) -> None:
    """The seeded fault: without its byte's own token the text loses a letter."""
    metadata = vocabulary()
    metadata["ggml.tokens"][metadata["ggml.tokens"].index("!")] = "<!>"
    with both(tmp_path / "v.gguf", vocabulary({"!": CONTROL})) as (_, theirs):
        assert opened(tmp_path / "w.gguf", metadata).encode(TEXT) != theirs.encode(TEXT)


@pytest.mark.parametrize(
    ("word", "kind"), [("Ġincome", 3), ("Ġincome", 4), ("Ġincome", 2), ("!", 3), ("!", 2)]
)
@pytest.mark.slow
def test_smollm2_with_one_type_changed(
    word: str, kind: int, smollm2_path: Path, tmp_path: Path
) -> None:
    """Gives the ids that it gives unchanged, and llama.cpp's."""
    text = "The income! Two incomes, an income!! <|im_start|>income"
    path = tmp_path / "smollm2.gguf"
    shutil.copy(smollm2_path, path)
    file = gguf.GGUFReader(path, "r+")
    types = file.fields["tokenizer.ggml.token_type"]
    names = _core.GgufFile(path).get("tokenizer.ggml.tokens")
    types.parts[types.data[names.index(word)]][0] = kind
    file.data.flush()
    del file
    ours = Tokenizer(_core.GgufFile(path))
    with closing(LlamaCppVocab(path)) as theirs:
        assert ours.encode(text) == theirs.encode(text, add_special=True)
    assert ours.encode(text) == Tokenizer(_core.GgufFile(smollm2_path)).encode(text)
    assert ours.decode(ours.encode(text)) == text


ENDS = ["<|im_end|>", "<|eot_id|>", "<end_of_turn>", "</s>", "[EOS]", "<｜end▁of▁sentence｜>"]
ENDS += [
    "<|ifm|im_end|>",
    "<|fim_pad|>",
    "<PAD>",
    "[PAD]",
    "<|repo_name|>",
    "<|file_sep|>",
    "_<EOT>",
    "<|user|>",
]


@pytest.mark.parametrize("kind", [TokenType.NORMAL, CONTROL, USER, TokenType.UNUSED])
@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("model", ["gpt2", "llama"])
def test_replies_end_by_name_whatever_the_type(
    model: str, name: str, kind: int, tmp_path: Path
) -> None:
    metadata = vocabulary(eos_token_id=0)
    metadata["ggml.tokens"][-1] = name
    metadata["ggml.token_type"][-1] = int(kind)
    if model == "llama":
        scores = [0.0] * len(metadata["ggml.tokens"])
        metadata |= {"ggml.model": "llama", "ggml.scores": scores, "ggml.add_space_prefix": False}
        metadata |= {"ggml.bos_token_id": 1, "ggml.unknown_token_id": 2}
        metadata["ggml.tokens"][10] = "<0x0A>"
    with both(tmp_path / "v.gguf", metadata) as (ours, theirs):
        assert ours.eog == theirs.end_of_generation()
        assert (len(metadata["ggml.tokens"]) - 1 in ours.eog) == (name != "<|user|>")


TEMPLATE = "<start_of_speech>user\n{{ messages[0].content }}<end_of_turn>\n[ASK]<｜Asker｜>"


def test_markers_of_the_template_are_one_id_each(tmp_path: Path) -> None:
    names = ["<start_of_speech>", "[ASK]", "<｜Asker｜>", "<start_of_image>"]
    for chat_template, expected in ((TEMPLATE, 3), (None, 0)):
        metadata = vocabulary()
        metadata["ggml.tokens"] += names
        metadata["ggml.token_type"] += [int(TokenType.NORMAL)] * len(names)
        if chat_template:
            metadata["chat_template"] = chat_template
        ours = opened(tmp_path / "v.gguf", metadata)
        ids = [len(metadata["ggml.tokens"]) - 4 + i for i in range(expected)]
        text = "".join(names)
        found = [id for id in ours.encode(text, parse_special=True) if id >= len(WORDS) + 257]
        assert found == ids
        assert not set(ids) & {*ours.encode(text)}  # text stays text
        assert ours.decode(ours.encode(text, parse_special=True)) == text


@pytest.mark.parametrize("kind", [TokenType.NORMAL, CONTROL])
@pytest.mark.slow
def test_gemmas_markers(kind: int, gemma3_path: Path, tmp_path: Path) -> None:
    """Marked normal, as a fine-tuning tool's export has them: the ids that the marked ones give."""
    path = tmp_path / "gemma.gguf"
    shutil.copy(gemma3_path, path)
    file = gguf.GGUFReader(path, "r+")
    types = file.fields["tokenizer.ggml.token_type"]
    for id in (105, 106):
        types.parts[types.data[id]][0] = int(kind)
    file.data.flush()
    del file
    text = "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n"
    ids = Tokenizer(_core.GgufFile(path)).encode(text, parse_special=True)
    right = Tokenizer(_core.GgufFile(gemma3_path)).encode(text, parse_special=True)
    assert ids == right
    assert right.count(105) == 2


ODD_IDS = [
    *(f"{kind}_token_id" for kind in ("bos", "eos", "eot", "eom", "unknown", "fim_pad", "fim_rep")),
]


@pytest.mark.parametrize("key", ODD_IDS)
@pytest.mark.parametrize("id", [266, 2**32 - 1])
def test_an_id_that_no_token_has_is_warned_of(key: str, id: int, tmp_path: Path) -> None:
    with pytest.warns(
        EdgelmWarning, match=rf"v\.gguf: tokenizer\.ggml\.{key} is {id}, which no"
    ) as w:
        ours = opened(tmp_path / "v.gguf", vocabulary(**{key: id}))
    assert len(w) == 1
    with closing(LlamaCppVocab(tmp_path / "v.gguf")) as theirs:
        assert ours.encode(TEXT) == theirs.encode(TEXT)
        # llama.cpp's own defaults of BOS and EOS are token 11: Falcon's, a comma in others.
        assert ours.eog == theirs.end_of_generation() - {11}


HARMLESS: dict[str, tuple[dict[str, Any], str]] = {
    "a BOS to add that is none": ({"add_bos_token": True}, "bos_token_id; none is added"),
    "an EOS to add that is none": ({"add_eos_token": True}, "eos_token_id; none is added"),
    "scores of NaN": ({"scores": [float("nan")] * 266}, ""),
    "more scores": ({"scores": [0.5] * 269}, "scores has 269 elements for 265 tokens"),
    "more types": ({"token_type": [1] * 264 + [3] * 4}, "token_type has 268 elements for 265"),
    "a type of later": ({"token_type": [7] + [1] * 263 + [3]}, r"token_type\[0\] is 7, which"),
    "no pre-tokenizer": ({"pre": ""}, "pre is missing, as in files from before May 2024"),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_what_does_no_harm_is_warned_of(case: str, tmp_path: Path) -> None:
    change, says = HARMLESS[case]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ours = opened(tmp_path / "v.gguf", vocabulary(**change))
    ours_says = [str(w.message) for w in caught if issubclass(w.category, EdgelmWarning)]
    if says:
        with pytest.warns(EdgelmWarning, match=says):
            opened(tmp_path / "v.gguf", vocabulary(**change))
        assert all(str(tmp_path / "v.gguf") in text for text in ours_says)
    with closing(LlamaCppVocab(tmp_path / "v.gguf")) as theirs:
        assert ours.encode(TEXT, add_special=False) == theirs.encode(TEXT)


def test_a_sound_vocabulary_warns_of_nothing(smollm2_path: Path, gemma3_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in (smollm2_path, gemma3_path):
            Tokenizer(_core.GgufFile(path))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"token_type": [1]}, "token_type has 1 elements, but"),
        ({"eos_token_id": "<|im_end|>"}, "eos_token_id' is '<|im_end|>'; expected an integer"),
        ({"add_bos_token": "yes"}, "expected true or false"),
        ({"merges": ["a b"]}, r"merges[0] 'a b' names a token"),
        ({"tokens": ["a", "b" * 5000]}, "tokens[1] has 5000 bytes"),
    ],
)
def test_errors_name_the_file(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError) as caught:
        opened(tmp_path / "v.gguf", vocabulary(**change))
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'v.gguf'}: ")


def test_scores_matter_to_sentencepiece(tmp_path: Path) -> None:
    """What makes answers wrong stays an error."""
    metadata = {
        "ggml.model": "llama",
        "ggml.tokens": ["<unk>", "<s>", "</s>", "a", "b"],
        "ggml.token_type": [2, 3, 3, 1, 1],
    }
    for scores in ([0.0] * 4, [float("nan")] * 5):
        with pytest.raises(ModelFormatError, match=r"v\.gguf: tokenizer\.ggml\.scores"):
            opened(tmp_path / "v.gguf", {**metadata, "ggml.scores": scores})


@pytest.mark.parametrize("kind", [CONTROL, USER, UNKNOWN])
def test_a_character_of_a_special_type_in_sentencepiece(kind: int, tmp_path: Path) -> None:
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))]
    types = [2, 3, 3, *[6] * 256]
    words = ["!", "▁", "h", "i", "hi", "▁hi"]
    metadata = {
        "ggml.model": "llama",
        "ggml.tokens": tokens + words,
        "ggml.token_type": [*types, int(kind), *([1] * 5)],
        "ggml.scores": [0.0] * 259 + [-5.0, -1.0, -2.0, -3.0, -4.0, -3.5],
        "ggml.add_bos_token": False,
    }
    with both(tmp_path / "v.gguf", metadata) as (ours, theirs):
        for text in ("hi! hi", "!", "</s>", "hi<s>!"):
            assert ours.encode(text) == theirs.encode(text), text
            # A user-defined token begins another text, in llama.cpp too, with a blank before it.
            assert ours.decode(ours.encode(text)) == text or kind == USER


# --- pre-tokenizers ---------------------------------------------------------------------------

# Where a family's own tokenizer.json says otherwise than llama.cpp's approximation of it: texts
# with capitals amid letters or contractions after them, marks, and numbers before letters.
PRE_TEXTS = [
    *("In 2024, 1234567 people's   names", "x = 12345678;\n\n  y += 3.14", "a\r\n\r\nb\t\tc"),
    *("你好世界 and 日本語カタカナ", "한국어 텍스트", "http://a.b/c?d=e&f", "    four  blanks   "),
    *("it'll, we've, I'M, they're", "!!! ... ###", "0 12 345 6789 01234 567890", "\n \n\n x"),
    *("привет мир, ελληνικά", "“quoted” — and…", "$100 + 5% = £20", " " * 40 + "x", "a" * 40),
]
# Those over characters want another vocabulary; of DeepSeek LLM and Falcon llama.cpp approximates
# how digits go, and test_real_vocabularies.py compares theirs.
OVER_CHARACTERS = {name for name, family in PRETOKENIZERS.items() if family.over_characters}
NOT_COMPARED = OVER_CHARACTERS | {"deepseek-llm", "falcon"}


def crossing(seed: int) -> tuple[list[str], list[str]]:
    """A vocabulary whose merges cross every border, so that ids tell where a text was cut.

    Any two bytes that stand side by side in the texts may join, and any two of such pairs, in an
    order that the seed chooses.
    """
    alphabet = byte_symbols()
    merges: dict[str, str] = {}
    for size in (1, 2):
        level = {}
        for text in PRE_TEXTS:
            letters = "".join(alphabet[byte] for byte in text.encode())
            for at in range(size, len(letters) - size + 1):
                left, right = letters[at - size : at], letters[at : at + size]
                level[left + right] = f"{left} {right}"
        merges |= dict(random.Random(seed).sample(sorted(level.items()), len(level)))
    return [*alphabet, *merges], [*merges.values()]


def faults(pre: str, path: Path, ours_as: str = "") -> list[str]:
    """Texts that are cut otherwise than llama.cpp cuts them."""
    wrong = set()
    for seed in range(4):
        tokens, merges = crossing(seed)
        metadata = {"ggml.model": "gpt2", "ggml.tokens": tokens, "ggml.merges": merges}
        metadata |= {"ggml.token_type": [1] * len(tokens), "ggml.add_bos_token": False}
        ours = opened(path, {**metadata, "ggml.pre": ours_as or pre})
        write_vocabulary(path, {**metadata, "ggml.pre": pre})
        with closing(LlamaCppVocab(path)) as theirs:
            wrong |= {t for t in PRE_TEXTS if ours.encode(t) != theirs.encode(t)}
    return sorted(wrong)


@pytest.mark.parametrize("pre", sorted(set(PRETOKENIZERS) - NOT_COMPARED))
@pytest.mark.slow
def test_text_is_cut_as_in_llama_cpp(pre: str, tmp_path: Path) -> None:
    assert faults(pre, tmp_path / "v.gguf") == []


@pytest.mark.parametrize("pre", sorted(OVER_CHARACTERS))
def test_merges_over_characters_are_llama_cpps(pre: str, tmp_path: Path) -> None:
    texts = [text.replace(" ", "▁") for text in PRE_TEXTS]
    pairs = sorted({text[i : i + 2] for text in texts for i in range(len(text) - 1)})
    pairs = [pair for pair in pairs if "\n" not in pair]
    random.Random(8).shuffle(pairs)
    known = sorted({*"".join(texts)} - {"£"})  # which is left to its bytes
    tokens = ["<pad>", *(f"<0x{byte:02X}>" for byte in range(256)), *known]
    pairs = [pair for pair in pairs if "£" not in pair]
    metadata = {"ggml.model": "gpt2", "ggml.pre": pre, "ggml.tokens": tokens + pairs}
    metadata |= {"ggml.merges": [" ".join(pair) for pair in pairs], "ggml.bos_token_id": 0}
    metadata |= {"ggml.token_type": [3, *([6] * 256), *([1] * len(known + pairs))]}
    with both(tmp_path / "v.gguf", metadata) as (ours, theirs):
        for text in PRE_TEXTS:
            assert ours.encode(text) == theirs.encode(text, add_special=True), text


@pytest.mark.parametrize(
    ("pre", "other"),
    [
        ("tiny_aya", "gpt-4o"),
        ("superbpe", "gpt-2"),
        ("jais-2", "llama3"),
        ("youtu", "gpt-4o"),
        ("kimi-k2", "gpt-4o"),
        ("afmoe", "deepseek-v3"),
        ("laguna", "gpt-2"),
        ("spark2_5", "deepseek-v3"),
        ("chameleon", "smollm"),
    ],
)
@pytest.mark.slow
def test_the_rule_of_another_family_is_caught(pre: str, other: str, tmp_path: Path) -> None:
    assert faults(pre, tmp_path / "v.gguf", ours_as=other)


# Those that llama-vocab.cpp compares tokenizer.ggml.pre with, of October 2026. Left out are
# "whitespace" and "mmbert", each of an embedding model whose architecture is refused.
OF_LLAMA_CPP = """
    a.x-4.0 afmoe bailingmoe bailingmoe2 bloom chameleon chatglm-bpe codeshell cohere2moe
    command-r dbrx deepseek-coder deepseek-llm deepseek-r1-qwen deepseek-v3 default exaone
    exaone-moe exaone4 f2llmv2 falcon falcon-h1 falcon3 gemma4 gigachat glm4 glm5 gpt-2
    gpt-4o gpt3-finnish granite-docling granite-embed-multi-311m granite-embed-multi-97m
    grok-2 hunyuan hunyuan-dense hy_v4 jais jais-2 jina-de jina-es jina-v1-en jina-v2-code
    jina-v2-de jina-v2-es jina-v5-nano joyai-llm kanana2 kimi-k2 kormo laguna lfm2
    llada-moe llama-bpe llama-v3 llama3 llama4 megrez mellum mellum2 midm-2.0 minerva-7b
    minicpm5 minimax-m2 modern-bert mpt olmo phi-2 pixtral poro-chat qwen2 qwen35 refact
    roberta-bpe sarvam-moe seed-coder smaug-bpe smollm solar-open spark2_5 stablelm2
    starcoder superbpe talkie tekken tiny_aya trillion ufakzeka viking youtu
"""


def test_every_pretokenizer_of_llama_cpp_is_known() -> None:
    assert set(PRETOKENIZERS) >= set(OF_LLAMA_CPP.split())
