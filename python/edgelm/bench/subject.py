"""The model under test: what its file holds, and how it was loaded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class ModelInfo:
    """A model file.

    name: the file's name without its folder.
    title: what the file calls the model.
    architecture: GGUF's general.architecture.
    file_bytes: of all parts.
    quant: the type that most weights have, "Q4_K" say, with "+" if there are others.
    tensor_types: number of tensors by type.
    n_weights: parameters.
    bits_per_weight: of all tensors.
    n_layers: transformer blocks.
    vocab_size: rows of the output layer.
    n_ctx_train: the context that the model was made for.
    random_weights: made by --shape or for tests: its speed means something, its text nothing.
    bytes_per_token: bytes of the weights that one decoded token reads.
    layer_macs: multiply-adds of all layers' matrices for one token.
    head_macs: multiply-adds of the output layer for one row of logits.
    kv_bytes_per_token: bytes that one token adds to the KV cache, and each later token reads.
    """

    name: str
    title: str
    architecture: str
    file_bytes: int
    quant: str
    tensor_types: dict[str, int]
    n_weights: int
    bits_per_weight: float
    n_layers: int
    vocab_size: int
    n_ctx_train: int
    random_weights: bool
    bytes_per_token: int
    layer_macs: int
    head_macs: int
    kv_bytes_per_token: int


@dataclass
class Settings:
    """How the model was loaded.

    n_ctx: tokens of one sequence.
    n_threads: threads that share a step.
    n_batch: prompt tokens computed together.
    kv_type: of the KV cache.
    isa: the instruction set that the kernels were chosen for.
    cpus: the processors that the run was bound to; null if to none.
    """

    n_ctx: int
    n_threads: int
    n_batch: int
    kv_type: str
    isa: str
    cpus: list[int] | None
