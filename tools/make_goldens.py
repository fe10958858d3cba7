"""Writes tests/golden: what other engines answer, for ours to be tested against.

    python tools/make_goldens.py smollm2 SmolLM2-135M-Instruct.Q4_1.gguf
    python tools/make_goldens.py gemma3 gemma-3-270m-Q4_K_M.gguf

Runs by hand, in an environment with what tools/oracles.py names; takes five minutes and 8 GB. It
never runs edgelm. tests/golden/README.md says what came out the last time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from oracles import LlamaCpp, kl, log_softmax, quantize, transformers_logits

TESTS = Path(__file__).parent.parent / "tests"
sys.path.insert(0, str(TESTS / "support"))
import goldens  # noqa: E402

N_POSITIONS = 1024
N_CONTINUED = 48

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a village by the sea,",
    "def fibonacci(n):\n    ",
    "Water boils at a temperature of",
    "The three primary colours are",
    "1, 2, 3, 5, 8, 13,",
    "Dear Sir or Madam,\n\nI am writing to",
    "<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nWrite a haiku about rain.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>system\nYou are terse.<|im_end|>\n<|im_start|>user\nName four planets.<|im_end|>\n"
    "<|im_start|>assistant\n",
    "In 1969, the first human being to walk on the Moon was",
    "import numpy as np\n\n# The mean of each row\n",
    "Q: What is 7 times 8?\nA:",
    "The mitochondrion is",
    "To make pancakes, you need the following ingredients:\n-",
    "Shakespeare wrote many plays, among them",
    "La capitale de l'Italie est",
    '{"name": "Ada", "born": 1815, "field": "',
    "If it rains tomorrow, then",
    "SELECT name, age FROM users WHERE",
]

TEXTS = [
    "",
    " ",
    "  ",
    "   leading spaces",
    "trailing spaces   ",
    "a\nb\r\nc\rd",
    "\n\n\n",
    "\t\tif x:\n\t\t\treturn\n",
    "Hello, world!",
    "hello HELLO HeLLo",
    "don't can't I'll we've they'd it's I'm you're DON'T I'LL",
    "0 1 12 123 1234 12345 3.14159 1,000,000 1e-9 0x1F",
    "x=1;y+=2//3**4!=5<=6&&7||8",
    "naïve café résumé Übergröße straße ĲſǅÅ",
    "cafe\u0301 vs caf\u00e9",
    "Привет, мир! Как дела?",
    "你好，世界。今天天气怎么样？",
    "こんにちは世界 カタカナ ﾊﾝｶｸ",
    "안녕하세요 세계",
    "مرحبا بالعالم ١٢٣",
    "שלום עולם",
    "नमस्ते दुनिया",
    "👋🌍 👨‍👩‍👧‍👦 🏳️‍🌈 🇫🇷",
    "²³¹ ½ ⅷ Ⅻ ①",
    "\u00a0nbsp\u2003em\u3000ideographic\u200bzero\u200d\ufeffbom",
    "…—–‘’“”«»",
    "a" * 100,
    "=" * 70,
    "ab " * 30,
    "<|im_start|>user\nHi<|im_end|>",
    "<|endoftext|>x<|endoftext|>",
    " <|im_start|> <|im_end|> ",
    "<|im_start|",
    "<repo_name>foo<file_sep>bar",
    "https://example.org/a/b?c=d&e=%20#f",
    "def f(x):\n    return [i**2 for i in range(x) if i % 2 == 0]  # squares\n",
    '{"a": [1, 2.5, null, true], "b": {"c": "\\u00e9"}}',
    "\x01\x02\x7f\x1b[31m",
    "\U0001d54f\U00010348\U000e0041",
    "ﬁ ﬂ ǆ İı ẞß",
    "word\u0301\u0302\u0303 stacked",
    "mixedКириллицаand漢字together123and😀",
]


def positions(path: Path, llama: LlamaCpp) -> dict[str, Any]:
    """The float reference at each position of the prose, and llama.cpp's distance from it."""
    ids = llama.tokenize(goldens.PROSE.read_text(), add_special=True)[:N_POSITIONS]
    assert len(ids) == N_POSITIONS, "python/edgelm/bench/prose.txt is too short"
    expected = transformers_logits(path, ids)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "f32.gguf"
        quantize(path, plain, "f32")
        other = LlamaCpp(plain, n_ctx=N_POSITIONS).logits(ids)
    both = rows_of(expected, other)
    other_kl = np.concatenate([kl(log_softmax(p), log_softmax(q)) for p, q in both])
    print(
        f"the two references differ by KL {other_kl.mean():.2e} nats, at most {other_kl.max():.2e}"
    )
    assert other_kl.mean() < 1e-5, "transformers and llama.cpp disagree about the float model"
    del both, other

    actual = llama.logits(ids)
    parts = [compared(np.array(ids), p, q) for p, q in rows_of(expected, actual)]
    made = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    coarse, full = made["llama_cpp_kl"].mean(), made["llama_cpp_full_kl"].mean()
    agree = np.mean(actual.argmax(-1) == made["top"][:, 0])
    print(
        f"llama.cpp: mean KL {full:.6f} nats over the vocabulary, {coarse:.6f} over the best "
        f"{goldens.N_TOP} and the rest; same best token at {agree:.1%} of {len(ids)} positions"
    )
    return {"ids": np.array(ids, np.int32)} | made


def rows_of(*arrays: Any) -> list[tuple[Any, ...]]:
    """The same few rows of each at a time: float64 of all would not fit."""
    return [tuple(a[i : i + 64] for a in arrays) for i in range(0, len(arrays[0]), 64)]


def compared(ids: Any, expected: Any, actual: Any) -> dict[str, Any]:
    """What a golden holds of a few positions: the float model's best tokens, llama.cpp's KL."""
    p = log_softmax(expected)
    top = np.argsort(-p, axis=-1, kind="stable")[:, : goldens.N_TOP]
    tail = p.copy()
    np.put_along_axis(tail, top, -np.inf, -1)
    made = goldens.Reference(
        ids=ids,
        top=top,
        log_probs=np.take_along_axis(p, top, -1),
        log_tail=np.log(np.exp(tail).sum(-1)),
        llama_cpp_kl=np.zeros(0),
        llama_cpp_full_kl=np.zeros(0),
    )
    return {
        "top": top.astype(np.min_scalar_type(p.shape[-1] - 1)),
        "log_probs": made.log_probs.astype(np.float32),
        "log_tail": made.log_tail.astype(np.float32),
        "llama_cpp_kl": made.kl(actual).astype(np.float32),
        "llama_cpp_full_kl": kl(p, log_softmax(actual)).astype(np.float32),
    }


def continuation(llama: LlamaCpp, prompt: str) -> dict[str, Any]:
    """llama.cpp's greedy tokens, one by one, until it ends its turn."""
    prompt_ids = llama.tokenize(prompt, add_special=True, parse_special=True)
    llama.clear()
    logits = llama.extend(prompt_ids)
    ids: list[int] = []
    top_two: list[list[float]] = []
    while len(ids) < N_CONTINUED:
        log_probs = log_softmax(logits)
        first, second = np.argsort(-log_probs)[:2]
        ids.append(int(first))
        top_two.append([round(float(log_probs[i]), 5) for i in (first, second)])
        if llama.ends(ids[-1]):
            break
        logits = llama.extend([ids[-1]])
    return {"prompt": prompt, "prompt_ids": prompt_ids, "ids": ids, "top_two": top_two}


def write_json(name: str, rows: list[dict[str, Any]]) -> None:
    """One row a line, so that a change shows where it is."""
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    (goldens.FOLDER / name).write_text(f"[\n{lines}\n]\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=["smollm2", "gemma3"], help="what the goldens are called")
    parser.add_argument("model", type=Path, help="the GGUF file")
    arguments = parser.parse_args()
    name, path = arguments.name, arguments.model
    print(f"{path.name}: SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}")
    goldens.FOLDER.mkdir(exist_ok=True)
    llama = LlamaCpp(path, n_ctx=N_POSITIONS)
    write_json(f"{name}_continuations.json", [continuation(llama, p) for p in PROMPTS])
    write_json(
        f"{name}_tokens.json",
        [
            {"text": t, "parse_special": special, "ids": llama.tokenize(t, parse_special=special)}
            for t in TEXTS
            for special in ([False, True] if "<" in t else [False])
        ],
    )
    np.savez_compressed(goldens.FOLDER / f"{name}_positions.npz", **positions(path, llama))


if __name__ == "__main__":
    main()
