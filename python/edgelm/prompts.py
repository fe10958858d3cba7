"""From what a caller gives, a text, ids or messages, to what the model reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .engine import checked_ids

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

    Prompt = str | Sequence[int]
    Prompts = Sequence[str] | Sequence[Sequence[int]]
    Messages = Sequence[Mapping[str, Any]]


def ids_of(
    tokenizer: Tokenizer, name: str, given: Prompt, *, parse_special: bool = True
) -> list[int]:
    """Token ids of a text, or checked ones."""
    if not isinstance(given, str):
        if isinstance(given, (bytes, bytearray)):
            raise TypeError(f"{name} is {type(given).__name__}; decode it to a str first.")
        return checked_ids(given, tokenizer.vocab_size)
    ids = tokenizer.encode(given, parse_special=parse_special)
    if tokenizer.add_bos and ids[:2] == [tokenizer.bos_id] * 2:
        del ids[0]  # a chat template wrote BOS too
    if parse_special and tokenizer.add_eos and ids[-1:] == [tokenizer.eos_id]:
        del ids[-1]  # a reply goes on from here
    if not ids:
        raise ValueError(f"{name} is empty and the model has no BOS to begin with; give some text.")
    return ids


def are_several(prompt: object) -> bool:
    """Whether it is a list of prompts: of texts, or of sequences of ids."""
    return (
        isinstance(prompt, (list, tuple))
        and len(prompt) > 0
        and isinstance(prompt[0], (str, bytes, list, tuple, range, np.ndarray))
    )
