"""Strings that are hard to tokenize, for every tokenizer family and every oracle."""

from __future__ import annotations

import random

PIECES = (
    *("abcdefgXYZ", "Hello", " world", " the", "ing", " ", "  ", "   ", "\n", "\n\n", "\t", "\r\n"),
    *("0123456789", "12345", " 3.14", "½²³", "Ⅷ", "٣", "é", "e\u0301", "ñ", "ß", "ǅ", "ſ", "'ſ"),
    *("'s", "'T", "'ll", "'RE", "'d", "ʼ", "你好世界", "日本語カタカナ", "한국어", "привет"),
    *("مرحبا", "हिन्दी", "ไทย", "ქართული", "ελληνικά ΣΑΣ", "👩‍👩‍👧‍👦", "👍🏽", "🇩🇪", "\u200d"),
    *("\u00a0", "\u3000", "\u2028", "\u0085", "\v", "\x00", "\x01", "\x7f", "\ufeff", "\ufffd"),
    *("!?.,;:", "(){}[]", "==+-*/", "_", "…", "“”", "$€", "^`|~", "。、，！", "@#%&"),
    *("def f(x):\n    return x", "http://a.b/c?d=e&f", "#include <x>\r\n", "camelCaseHTTPServer"),
    *("<|end|>", "<s>", "</s>", "<extra>", "<0x0A>", "[CLS]", "[MASK]", "\u2581", "x\u2581y"),
)


def texts() -> list[str]:
    """Each piece by itself, runs, and random joins of pieces and of their characters."""
    rng = random.Random(0)
    mixes = []
    for _ in range(120):
        chosen = [rng.choice(PIECES) for _ in range(rng.randint(2, 12))]
        mixes.append("".join(rng.choice(p) if rng.random() < 0.4 else p for p in chosen))
    runs = [c * n for c in " \n\ta1é中'" for n in (7, 40)]
    prose = ["It is a truth universally acknowledged, that a single man isn't poor.", ""]
    return [*PIECES, *runs, *prose, *mixes]
