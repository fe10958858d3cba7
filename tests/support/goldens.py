"""Reads tests/golden, and measures logits against it. tools/make_goldens.py writes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).parents[1] / "golden"
PROSE = Path(__file__).parents[2] / "python" / "edgelm" / "bench" / "prose.txt"
N_TOP = 128

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


def log_softmax(logits: Floats | Doubles) -> Doubles:
    """Log-probabilities in nats over the last axis."""
    x = logits.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


@dataclass(frozen=True)
class Reference:
    """The float model's distributions at T positions: its best tokens, and the others lumped.

    KL over this partition is a lower bound of the full one (data-processing inequality) and is
    taken the same way for every engine.
    """

    ids: NDArray[np.int32]  # (T,) the text
    top: NDArray[np.int64]  # (T, N_TOP) the most probable next tokens, best first
    log_probs: Doubles  # (T, N_TOP) of them, in nats
    log_tail: Doubles  # (T,) of all others together
    llama_cpp_kl: Doubles  # (T,) llama.cpp's KL from this reference, over the same partition
    llama_cpp_full_kl: Doubles  # (T,) and over the whole vocabulary

    def kl(self, logits: Floats) -> Doubles:
        """(T,) KL(reference || softmax(logits)) in nats; logits are (T, V)."""
        return np.array([self._kl_at(i, row) for i, row in enumerate(logits)])

    def _kl_at(self, i: int, logits: Floats) -> float:
        q = log_softmax(logits)
        log_q = np.append(q[self.top[i]], 0)
        q[self.top[i]] = -np.inf
        log_q[-1] = np.log(np.exp(q).sum())
        log_p = np.append(self.log_probs[i], self.log_tail[i])
        return float((np.exp(log_p) * (log_p - log_q)).sum())


@cache
def reference(model: str = "smollm2") -> Reference:
    """The goldens of a model's file on python/edgelm/bench/prose.txt."""
    with np.load(FOLDER / f"{model}_positions.npz") as f:
        return Reference(
            ids=f["ids"],
            top=f["top"].astype(np.int64),
            log_probs=f["log_probs"].astype(np.float64),
            log_tail=f["log_tail"].astype(np.float64),
            llama_cpp_kl=f["llama_cpp_kl"].astype(np.float64),
            llama_cpp_full_kl=f["llama_cpp_full_kl"].astype(np.float64),
        )


@cache
def continuations(model: str = "smollm2") -> list[dict[str, Any]]:
    """llama.cpp's greedy continuations: prompt, prompt_ids, ids, and top_two log-probabilities."""
    return json.loads((FOLDER / f"{model}_continuations.json").read_text())


@cache
def tokenizations(model: str = "smollm2") -> list[dict[str, Any]]:
    """llama.cpp's token ids without BOS: text, parse_special, ids."""
    return json.loads((FOLDER / f"{model}_tokens.json").read_text())
