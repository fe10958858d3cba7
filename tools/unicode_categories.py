"""Write csrc/tokenize/unicode_categories.inc: the general category of every code point, as runs.

The source is the `regex` package (its Unicode version follows its release), so that the C++
pre-tokenizer splits as `regex` does; tests/text/test_pretokenizers.py compares the two. Control
characters that are white space get a category of their own ("Cw"): \\s is a set of categories.

    python tools/unicode_categories.py > csrc/tokenize/unicode_categories.inc
"""

from __future__ import annotations

import importlib.metadata

import regex

# The order of csrc/tokenize/unicode.h.
CATEGORIES = (
    *("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe"),
    *("Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cw", "Cf", "Cs", "Co"),
    "Cn",
)
MAX_RUN = 1 << 11  # a run is (length - 1) * 32 + category in 16 bits


def categories() -> list[int]:
    """The index into CATEGORIES of every code point."""
    everything = "".join(map(chr, range(0x110000)))
    found = [CATEGORIES.index("Cn")] * 0x110000
    for index, name in enumerate(CATEGORIES):
        if name in ("Cn", "Cw"):
            continue
        for match in regex.finditer(rf"\p{{{name}}}+", everything):
            found[match.start() : match.end()] = [index] * (match.end() - match.start())
    for match in regex.finditer(r"[\s&&\p{Cc}]", everything, flags=regex.V1):
        found[match.start()] = CATEGORIES.index("Cw")
    return found


def main() -> None:
    """Print the table."""
    found = categories()
    runs: list[int] = []
    start = 0
    for cp in range(1, len(found) + 1):
        if cp == len(found) or found[cp] != found[start] or cp - start == MAX_RUN:
            runs.append((cp - start - 1) << 5 | found[start])
            start = cp
    print(f"// By tools/unicode_categories.py from regex {importlib.metadata.version('regex')}.")
    for i in range(0, len(runs), 12):
        print(" ".join(f"{run:#06x}," for run in runs[i : i + 12]))


if __name__ == "__main__":
    main()
