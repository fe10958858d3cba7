"""Writes tests/golden/smollm2_perplexity.json: llama.cpp's scores of python/edgelm/bench/prose.txt.

    python tools/make_perplexity_goldens.py SmolLM2-135M-Instruct.Q4_1.gguf

Runs in the environment of make_goldens.py. The logits are llama.cpp's; the chunks are those of its
tools/perplexity/perplexity.cpp: n_ctx tokens each, none shared, of which rows n_ctx / 2 to
n_ctx - 2 foretell the token behind them. This model adds no BOS.
"""

import json
import sys
from pathlib import Path

import numpy as np
from oracles import LlamaCpp, log_softmax

TESTS = Path(__file__).parent.parent / "tests"


def main(path: str) -> None:
    text = (TESTS.parent / "python" / "edgelm" / "bench" / "prose.txt").read_text()
    written = {}
    for n_ctx in (128, 512):
        llama_cpp = LlamaCpp(Path(path), n_ctx=n_ctx)
        ids = llama_cpp.tokenize(text)
        scores = []
        for start in range(0, len(ids) - n_ctx + 1, n_ctx):
            chunk = ids[start : start + n_ctx]
            foretold = log_softmax(llama_cpp.logits(chunk))
            scores += [float(foretold[i, chunk[i + 1]]) for i in range(n_ctx // 2, n_ctx - 1)]
        perplexity = float(np.exp(-np.mean(scores)))
        print(f"n_ctx {n_ctx}: perplexity {perplexity:.4f} of {len(scores)} tokens")
        written[n_ctx] = {
            "perplexity": perplexity,
            "log_probabilities": [round(score, 5) for score in scores],
        }
    (TESTS / "golden" / "smollm2_perplexity.json").write_text(json.dumps(written) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
