"""The C++ pattern engine against the `regex` package: same patterns, same pieces."""

from __future__ import annotations

import random
import time
import unicodedata

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelm import _core
from edgelm.pretokenizers import DEFAULT, LINES, PRETOKENIZERS, PreTokenizer
from tokenizer_texts import PIECES, texts

FAMILIES = {family: name for name, family in [*PRETOKENIZERS.items(), ("lines", LINES)]}
SAMPLE = [
    chr(c)
    for c in range(0x30000)
    if not 0xD800 <= c < 0xE000
    and (c < 0x600 or c % 7 == 0)
    and unicodedata.category(chr(c)) != "Cn"
]


def split(patterns: tuple[str, ...], text: str) -> list[str]:
    """What the patterns mean, by the regex package: matches and gaps, pattern after pattern."""
    pieces = [text] if text else []
    for pattern in patterns:
        finer = []
        for piece in pieces:
            start = 0
            for match in regex.finditer(pattern, piece):
                if match.start() == match.end():
                    continue
                finer += [piece[start : match.start()], match.group()]
                start = match.end()
            finer.append(piece[start:])
        pieces = [piece for piece in finer if piece]
    return pieces


@pytest.mark.parametrize("family", FAMILIES, ids=FAMILIES.values())
def test_splits_as_regex_does(family: PreTokenizer) -> None:
    rng = random.Random(1)
    random_texts = [
        "".join(rng.choice(SAMPLE) if rng.random() < 0.3 else rng.choice(PIECES) for _ in range(n))
        for n in [5, 20, 60] * 40
    ]
    for text in [*texts(), *random_texts]:
        assert _core.split(family.patterns, text) == split(family.patterns, text), text


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet=st.sampled_from("aB1'sS \n\r\té中\u0301½!<_/\u3000ſ")))
def test_splits_short_texts_as_regex_does(text: str) -> None:
    for family in FAMILIES:
        assert _core.split(family.patterns, text) == split(family.patterns, text)


def test_deepseeks_rewritten_pattern_means_the_same() -> None:
    patterns = PRETOKENIZERS["deepseek-llm"].patterns
    original = tuple(r"\s+$" if "++" in pattern else pattern for pattern in patterns)
    assert original != patterns
    for text in [*texts(), "a  \n ", " ", "  x  ", "\n\n", "a \u3000"]:
        assert split(original, text) == split(patterns, text)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("gpt-2", r"\s+(?!\S)|\s+", r"\s+"),
        ("llama-bpe", "{1,3}", ""),
        ("qwen2", "(?i:", "(?:"),
        ("gpt-4o", r"\p{Lu}", ""),
        ("deepseek-v3", r"\p{M}", ""),
    ],
)
def test_a_wrong_pattern_is_caught(name: str, right: str, wrong: str) -> None:
    patterns = PRETOKENIZERS[name].patterns
    faulty = tuple(pattern.replace(right, wrong) for pattern in patterns)
    assert faulty != patterns
    assert any(_core.split(faulty, text) != split(patterns, text) for text in texts())


CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf"
SETS = [rf"\p{{{name}}}+" for name in [*CATEGORIES.split(), "L", "M", "N", "P", "S"]]


@pytest.mark.slow
@pytest.mark.parametrize("pattern", [*SETS, r"\s+", r"\S+", r"\d+", r"\P{L}+", r"[^\s\p{L}]+"])
def test_categories_are_unicodes(pattern: str) -> None:
    """Over every character that Python's own Unicode knows; regex's may be a newer one."""
    known = "".join(
        chr(c)
        for c in range(0x110000)
        if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c)) not in ("Cn", "Co")
    )
    assert _core.split([pattern], known) == split((pattern,), known)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=FAMILIES.values())
def test_long_runs_take_linear_time(family: PreTokenizer) -> None:
    for letter in ("a", "A", " ", "\n", " \n", "1", "!", "é", "中", "a ", "'s", "\u0301"):
        start = time.thread_time()
        pieces = _core.split(family.patterns, letter * (300_000 // len(letter)) + "x")
        assert time.thread_time() - start < 3.0, letter
        assert "".join(pieces)[-1] == "x"


@pytest.mark.parametrize(
    "pattern",
    [
        *("(a", "a)", "[a", "a{2,1}", "a{", "a{x}", "a{9999}", "*a", "(a*)*", "(a|)+", "(?:ab)++"),
        *(r"\q", "\\", r"\p{Xx}", r"\p{L", "[z-a]", "(?<!ab)", "(?P<x>a)"),
    ],
)
def test_malformed_patterns_are_errors(pattern: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (the text varies)
        _core.split([pattern], "text")


def test_default_is_a_known_name() -> None:
    assert PRETOKENIZERS["default"] is DEFAULT
