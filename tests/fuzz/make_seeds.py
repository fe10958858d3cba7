"""Writes the fuzz targets' seed inputs and their list of patterns: make_seeds.py FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "python" / "edgelm")]

import pretokenizers  # noqa: E402  (alone, without the extension)

import gguf_bytes as g  # noqa: E402
from tokenizer_texts import PIECES, texts  # noqa: E402

PATTERNS = sorted({p for pre in pretokenizers.PRETOKENIZERS.values() for p in pre.patterns})


def gguf_seeds() -> list[bytes]:
    """One file of every kind of value, a split one, and a real-looking model's header."""
    kinds = [g.U8, g.I8, g.U16, g.I16, g.U32, g.I32, g.F32, g.BOOL, g.U64, g.I64, g.F64]
    values = [g.value("general.architecture", g.STRING, "llama")]
    values += [g.value(f"k{kind}", kind, 1) for kind in kinds]
    values += [g.array(f"a{kind}", kind, [g.number(kind, 1)] * 3) for kind in kinds]
    values += [g.array("strings", g.STRING, [g.string(t) for t in ("a", "", "über")])]
    values += [g.array("empty", g.I32, []), g.value("general.alignment", g.U32, 8)]
    tensors = [
        g.tensor("a", [8]),
        g.tensor("b", [32, 3], g.TENSOR_Q4_0, offset=32),
        g.tensor("c", [256, 1, 2], g.TENSOR_Q4_K, offset=88),
    ]
    whole = bytes(g.Gguf(values, tensors, bytes(376), alignment=8))
    parts = []
    for i in range(2):
        split = [g.value("split.no", g.U16, i), g.value("split.count", g.U16, 2)]
        split.append(g.value("split.tensors.count", g.I32, 2))
        parts.append(bytes(g.Gguf(split, [g.tensor(f"t{i}", [8])], bytes(32))))
    big_endian = bytes(g.Gguf(version=3 << 24))
    single = [whole, big_endian, bytes(g.Gguf()), bytes(g.Gguf(version=2))]
    first_length = len(parts[0]).to_bytes(2, "little")
    return [*(b"\0\0" + file for file in single), first_length + parts[0] + parts[1]]


def short(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return bytes([len(data)]) + data


# One replacement: the letter a by bb. Unit 0 leads to 'a' at 1 ^ 97 = 96, whose leaf is 97.
def charsmap() -> bytes:
    units = [0] * 104
    units[0] = 1 << 10
    units[96] = (1 << 10) | (1 << 8) | 97
    units[97] = 1 << 31
    table = b"".join(u.to_bytes(4, "little") for u in units)
    whole = len(table).to_bytes(4, "little") + table + b"bb\0"
    return bytes([-(-len(whole) // 8)]) + whole + bytes(-len(whole) % 8)


def tokenizer_seeds() -> list[bytes]:
    """Every kind of model over a small vocabulary, each pattern, and texts that are hard."""
    words = ["<unk>", "<s>", "Ġthe", "th", "e", "he", "t", "h", "▁the", "▁", " the", "Ġ", "a", "b"]
    words += ["ab", "abb", "<0x0A>", "<0xE4>", "é", "你", "好", "你好", " a", "##b", "1", "'s", "s"]
    kinds = [2, 3, *[1] * 14, 6, 6, *[1] * 6, 4, 5, 1]
    merges = ["a b", "ab b", "t h", "th e", "Ġ the", "你 好"]
    tail = short("<s>") + short("<extra>")  # a control token's name, and a marker's
    hard = texts()
    seeds = []
    for kind in range(5):
        for flags in (0b11110011, 0b01111100, 0b00010000, 0b10100001, 0):
            vocabulary = b""
            for i, word in enumerate(words):
                vocabulary += short(word)
                vocabulary += bytes([256 - i - 1]) if flags & 16 else b""
                # A type of a byte needs a byte's spelling.
                vocabulary += bytes([kinds[i]]) if flags & 32 else b""
            extra = b""
            if kind < 2:
                extra = bytes([len(merges)]) + b"".join(map(short, merges))
            elif kind < 4:
                extra = charsmap() if flags & 1 else b"\0"
            head = bytes([flags, kind, 0, len(words)]) + vocabulary + tail + extra
            for text in ("the abb<s> the 你好\n", "".join(PIECES)[:300]):
                seeds.append(head + text.encode())
    # Bytes as GPT-2 spells them, so that each pattern sees its text through to the ids.
    letters = [*map(chr, range(33, 127)), "Ġ", "Ċ"]
    alphabet = (
        bytes([0, 0, 0, len(letters)]) + b"".join(map(short, letters)) + short("") * 2 + b"\0"
    )
    for i in range(len(PATTERNS)):
        for text in hard[i :: len(PATTERNS)]:
            seeds.append(alphabet[:2] + bytes([i]) + alphabet[3:] + text.encode())
    return seeds


def main() -> None:
    folder = Path(sys.argv[1])
    literals = ("".join(f"\\{byte:03o}" for byte in p.encode()) for p in PATTERNS)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "patterns.inc").write_text("".join(f'"{text}",\n' for text in literals))
    for name, seeds in (("gguf", gguf_seeds()), ("tokenizer", tokenizer_seeds())):
        corpus = folder / "seeds" / name
        corpus.mkdir(parents=True, exist_ok=True)
        for i, seed in enumerate(seeds):
            (corpus / f"{i:03}").write_bytes(seed)


main()
