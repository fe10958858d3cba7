"""Prompts of an exact number of tokens, from the public-domain prose beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..tokenizer import Tokenizer

PROSE = Path(__file__).parent / "prose.txt"
STARTS = 200  # places in the prose to try


def prompt(tokenizer: Tokenizer, n_tokens: int) -> str:
    """A text that the tokenizer makes n_tokens of, its BOS included.

    ValueError if none is found, as for fewer tokens than the model adds to every text.
    """
    prose = PROSE.read_text(encoding="utf-8")
    ids = tokenizer.encode(prose, add_special=False)
    n = n_tokens - len(tokenizer.encode(""))
    if n >= 0:
        ids *= -(-(n + STARTS) // len(ids))
        for start in range(STARTS):
            # A cut may merge otherwise than the whole did; then begin elsewhere.
            text = tokenizer.decode(ids[start : start + n])
            if len(tokenizer.encode(text)) == n_tokens:
                return text
    raise ValueError(f"no text of the prose has exactly {n_tokens} tokens in this vocabulary")


def random_ids(vocab_size: int, n_tokens: int, seed: int) -> list[int]:
    """Token ids as llama-bench draws them: any of the vocabulary."""
    return [int(i) for i in np.random.default_rng(seed).integers(0, vocab_size, n_tokens)]
