"""The quantization table: files of one model by size, accuracy and speed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Quantization:
    """One file of the quantization table: the files of one run that share a vocabulary.

    model: name of the file.
    quant: as in its ModelInfo.
    random_weights: as in its ModelInfo; its accuracy then means nothing.
    file_bytes: size of the file.
    compression: bytes of the weights as float32 over the bytes that they take.
    text: what was scored.
    n_tokens: positions scored.
    perplexity: exp of the mean negative log-probability a token.
    bits_per_byte: the same by bytes of text, comparable across tokenizers.
    reference: the file that KL divergence is taken from, the largest; null for that one itself.
    kl_nats: mean KL divergence of this file's distribution from the reference's.
    kl_samples: of every position.
    top_agreement: share of positions at which the likeliest token is the reference's.
    first_token_ms: median, prompt of 128 (or the longest measured below), warm; null if not run.
    token_ms: median per decoded token at the smallest depth; null if not run.
    """

    model: str
    quant: str
    random_weights: bool
    file_bytes: int
    compression: float
    text: str
    n_tokens: int
    perplexity: float
    bits_per_byte: float
    reference: str | None
    kl_nats: float | None
    kl_samples: list[float]
    top_agreement: float | None
    first_token_ms: float | None
    token_ms: float | None
