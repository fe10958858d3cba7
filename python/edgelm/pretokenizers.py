r"""Pre-tokenizers: how text is cut into words before byte-pair merging, by their names in GGUF.

Each is a list of regular expressions that cut one after the other; the matches and what lies
between them become pieces. They are those of the models' own tokenizer.json. Where llama.cpp
approximates one (its std::regex knows neither \p{Lu} nor (?i:...)), the model's is kept. The
dialect is that of csrc/tokenize/pattern.h, a part of what the `regex` package understands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class PreTokenizer:
    """The patterns of one family, and what its files leave unsaid."""

    patterns: tuple[str, ...]
    whole_words: bool = False  # a word that is a token is not merged ("ignore_merges")
    add_bos: bool = False  # unless the file says
    nfc: bool = False  # text is brought to Unicode's composed form first
    over_characters: bool = False  # merges join characters, as SentencePiece spells them, not bytes


_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_MARKS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_LINES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+",
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*",
)
# Letters with case, as DeepSeek LLM lists them.
_CASED_LETTERS = (
    "A-Za-z\xb5\xc0-\xd6\xd8-\xf6\xf8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373"
    "\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5"
    "\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba"
    "\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45"
    "\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe"
    "\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc"
    "\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134"
    "\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee"
    "\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf"
    "\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f"
    "\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2"
    "\U000118a0-\U000118df\U0001e900-\U0001e943"
)
_HAN = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_PUNCTUATION = r"[\p{P}$+<=>^`|~]+"  # what the tokenizers library calls punctuation

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}{{1,3}}|{_MARKS}|{_LINES}"
_QWEN2 = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}|{_MARKS}|{_LINES}"
_MINICPM5 = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}+|{_MARKS}|{_LINES}"
_QWEN35 = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_LINES}"
)
_TEKKEN = rf"{_CASED[0]}|{_CASED[1]}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_LINES}"
_GPT4O = (
    rf"{_CASED[0]}{_CONTRACTIONS}?|{_CASED[1]}{_CONTRACTIONS}?|\p{{N}}{{1,3}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_LINES}"
)
_DEEPSEEK3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"""
    r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|" + _LINES
)
_BAILING = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)
_SEED = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_LINES}"
_EXAONE_MOE = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
)
_JAIS2 = "|".join(
    (
        *(_CONTRACTIONS, _WORD, r"\p{N}{1,3}", _MARKS, r"\s*[\r\n]+"),
        *(rf"\s{{{n}}}(?!\S)" for n in (512, 256, 128, 64, 32, 16, 8, 4, "1,2")),
        r"\s{1}",
    )
)
_SPARK = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"""
    r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"
)
_CJK = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_YOUTU = (
    "[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c"
    "\u3001-\u303f\ufe30-\ufe4f]+|[\u3105-\u312f]+|" + _CJK
)
# Afmoe's: CJK and scripts of Asia that put no blanks between words.
_ASIAN = (
    "[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf"
    "\u0e00-\u0e7f\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af"
    "\u1100-\u11ff]+"
)


def _threes(digit: str) -> str:
    """Runs of digits in threes from their end; what is left over comes first.

    The models' own count at every third digit how many follow, which takes quadratic time.
    """
    return rf"(?<!{digit}){digit}{{1,3}}(?=(?:{digit}{{3}})*(?!{digit}))|{digit}{{3}}"


# \d{1,3}(?=(?:\d{3})*\b): only of runs that end a word, which the first step sets apart.
_TINY_AYA = (
    r"(?<!\d)\d++\b",
    rf"(?<!\d)\d*+[^\d](?:[^\d]|\d)*|{_threes(chr(92) + 'd')}",
    _GPT4O,
)
# Script Han, which Kimi takes out of the letters that make words.
_HAN_SCRIPT = (
    "\u2e80-\u2e99\u2e9b-\u2ef3\u2f00-\u2fd5\u3005\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufa6d\ufa70-\ufad9\U00016fe2\U00016fe3\U00016ff0-\U00016ff6"
    "\U00020000-\U0002a6df\U0002a700-\U0002b81e\U0002b820-\U0002cead\U0002ceb0-\U0002ebe0"
    "\U0002ebf0-\U0002ee5d\U0002f800-\U0002fa1d\U00030000-\U0003134a\U00031350-\U00033479"
)
_KIMI_UPPER, _KIMI_LOWER = (rf"(?:(?![{_HAN_SCRIPT}]){c})" for c in (_UPPER, _LOWER))
_KIMI = (
    rf"[{_HAN_SCRIPT}]+"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_KIMI_UPPER}*{_KIMI_LOWER}+{_CONTRACTIONS}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_KIMI_UPPER}+{_KIMI_LOWER}*{_CONTRACTIONS}?"
    rf"|\p{{N}}{{1,3}}|{_MARKS}|{_LINES}"
)
_CHAMELEON = (
    *("<sentinel:[0-9]+>", "IMGIMG[A-I]{1,4}Z", r"[\t\n]|    |  ", r"\p{N}"),
    *(r"[\p{P}!-/:-@\[-`{-~]", _GPT2),
)
_BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"

_gpt2 = PreTokenizer((_GPT2,))
_digits = PreTokenizer((r"\p{N}", _GPT2))
_llama3 = PreTokenizer((_LLAMA3,))
_qwen2 = PreTokenizer((_QWEN2,))

# Of Gemma 4, whose merges may cross words but no line.
LINES = PreTokenizer((r"[^\n]+|\n+",), add_bos=True, over_characters=True)
# llama.cpp's for files that name none.
DEFAULT = PreTokenizer((r"[\p{P}$+<=>^|~]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"))

_FAMILIES: dict[PreTokenizer, str] = {
    DEFAULT: "default",
    _gpt2: """gpt-2 phi-2 exaone4 jais trillion granite-docling mellum gigachat a.x-4.0 modern-bert
        roberta-bpe jina-es jina-de jina-v1-en jina-v2-es jina-v2-de jina-v2-code""",
    replace(_gpt2, nfc=True): "mpt olmo",
    _digits: "smollm starcoder refact codeshell exaone minerva-7b mellum2",
    replace(_digits, nfc=True): "command-r",
    replace(_llama3, whole_words=True, add_bos=True): """llama-bpe llama3 llama-v3 falcon3 falcon-h1
        pixtral midm-2.0 lfm2 jina-v5-nano""",
    replace(_llama3, whole_words=True): "glm4 glm5",
    _llama3: "dbrx smaug-bpe chatglm-bpe",
    replace(_qwen2, nfc=True): """qwen2 deepseek-r1-qwen stablelm2 megrez hunyuan kormo f2llmv2""",
    PreTokenizer((_QWEN35,), nfc=True): "qwen35",
    _qwen2: "grok-2 solar-open",
    PreTokenizer((_QWEN2.removeprefix(f"{_CONTRACTIONS}|"),)): "ufakzeka",
    PreTokenizer((r"\p{N}{1,3}", _MINICPM5), whole_words=True): "minicpm5",
    PreTokenizer(
        (
            r"[\r\n]",
            rf"\s?[{_CASED_LETTERS}]+",
            "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
            r"(?<!\s)\s++$",  # the model's is \s+$, which takes quadratic time in long runs
            _HAN,
            r"\p{N}",
        )
    ): "deepseek-llm",
    PreTokenizer((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _HAN, r"\p{N}")): "deepseek-coder",
    PreTokenizer((r"\p{N}{1,3}", _CJK, _DEEPSEEK3)): "deepseek-v3 hunyuan-dense joyai-llm hy_v4",
    # Its third step sees bytes, of which only ASCII digits matter to its vocabulary.
    PreTokenizer((_PUNCTUATION, _GPT2, "[0-9]+", "[0-9][0-9][0-9]")): "falcon",
    PreTokenizer((_TEKKEN,), whole_words=True, add_bos=True): "tekken",
    PreTokenizer((_GPT4O,), whole_words=True): "granite-embed-multi-97m",
    PreTokenizer((_GPT4O,)): "gpt-4o llama4 kanana2 talkie minimax-m2",
    PreTokenizer((_BAILING,)): "bailingmoe bailingmoe2 llada-moe",
    PreTokenizer((_SEED,)): "seed-coder",
    PreTokenizer((_EXAONE_MOE,)): "exaone-moe",
    PreTokenizer((_BLOOM,)): "bloom poro-chat gpt3-finnish",
    PreTokenizer((_BLOOM, r"\p{N}")): "viking",
    PreTokenizer((_JAIS2,)): "jais-2",
    PreTokenizer((r"\p{N}{1,3}", _CJK, _SPARK, r"\p{N}")): "spark2_5",
    PreTokenizer((_YOUTU, _GPT4O.replace(r"\p{N}{1,3}", r"\p{N}")), whole_words=True): "youtu",
    PreTokenizer(_TINY_AYA): "tiny_aya cohere2moe",
    PreTokenizer((r"\p{N}+", _threes(r"\d"))): "superbpe",
    PreTokenizer((_KIMI,)): "kimi-k2",
    PreTokenizer((_threes(r"\p{N}"), _ASIAN, _DEEPSEEK3)): "afmoe",
    PreTokenizer((r"[^\n]+|\n+", _QWEN2)): "laguna",
    PreTokenizer(_CHAMELEON, add_bos=True): "chameleon",
    LINES: "gemma4 granite-embed-multi-311m",
    replace(LINES, add_bos=False): "sarvam-moe",
}

PRETOKENIZERS = {name: family for family, names in _FAMILIES.items() for name in names.split()}
