"""How far each engine's arithmetic is from the float model, file by file.

    python tools/kl_table.py smollm2-q8_0.gguf smollm2-q4_k_m.gguf ...

Prints the mean KL divergence over 1,024 positions of edgelm/bench/prose.txt and all the vocabulary,
from transformers on the same file's dequantized weights: so it counts an engine's rounding, not
the file's. Needs what tools/oracles.py names, and edgelm installed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from oracles import LlamaCpp, kl, log_softmax, transformers_logits

import edgelm

PROSE = Path(__file__).parent.parent / "python" / "edgelm" / "bench" / "prose.txt"
N_POSITIONS = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    print("| file | edgelm, nats | llama.cpp, nats | ratio | best token as the float model's |")
    print("|---|---|---|---|---|")
    for path in parser.parse_args().files:
        llama = LlamaCpp(path, n_ctx=N_POSITIONS)
        ids = llama.tokenize(PROSE.read_text())[:N_POSITIONS]
        p = log_softmax(transformers_logits(path, ids))
        theirs = log_softmax(llama.logits(ids))
        with edgelm.load(path, n_ctx=N_POSITIONS, n_parallel=1) as model:
            ours = log_softmax(model.logits(ids))
        our_kl, their_kl = kl(p, ours).mean(), kl(p, theirs).mean()
        best = p.argmax(-1)
        agree = [f"{np.mean(q.argmax(-1) == best):.1%}" for q in (ours, theirs)]
        print(
            f"| {path.name} | {our_kl:.6f} | {their_kl:.6f} | {our_kl / their_kl:.2f} "
            f"| {agree[0]}, llama.cpp {agree[1]} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
