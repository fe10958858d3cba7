"""Hyperparameters: defaults, types and ranges."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgelm.errors import ModelFormatError
from edgelm.meta import Meta

GOOD: dict[str, Any] = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.embedding_length": 64,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.context_length": 128,
}


class File:
    """What Meta needs of a GgufFile."""

    path = "model.gguf"
    tensors = (SimpleNamespace(name="token_embd.weight", shape=(8, 64)),)

    def __init__(self, **changes: Any) -> None:
        self.values = GOOD | {k.replace("__", "."): v for k, v in changes.items()}

    def get(self, key: str) -> Any:
        return self.values.get(key)


def meta(**changes: Any) -> Meta:
    return Meta(File(**changes))  # type: ignore[arg-type]


def test_reads_and_derives():
    m = meta()
    assert (m.n_layers, m.width, m.n_heads, m.n_kv_heads, m.head_width) == (2, 64, 4, 2, 16)
    assert (m.n_rot, m.rope_base, m.rms_eps, m.n_ctx_train) == (16, 10000.0, 1e-5, 128)
    assert m.name == "llama"


@pytest.mark.parametrize(
    ("attribute", "changes"),
    [
        ("n_layers", {"llama__block_count": 0}),
        ("n_layers", {"llama__block_count": 10**6}),
        ("n_layers", {"llama__block_count": "two"}),
        ("n_layers", {"llama__block_count": True}),
        ("n_layers", {"llama__block_count": None}),
        ("width", {"llama__embedding_length": -1}),
        ("n_heads", {"llama__attention__head_count": 1 << 31}),
        ("n_kv_heads", {"llama__attention__head_count_kv": 3}),
        ("n_kv_heads", {"llama__attention__head_count_kv": np.array([2, 4], np.int32)}),
        ("head_width", {"llama__attention__value_length": 8}),
        ("n_rot", {"llama__rope__dimension_count": 17}),
        ("n_rot", {"llama__rope__dimension_count": 3}),
        ("rms_eps", {"llama__attention__layer_norm_rms_epsilon": math.nan}),
        ("rms_eps", {"llama__attention__layer_norm_rms_epsilon": 0.0}),
        ("rms_eps", {"llama__attention__layer_norm_rms_epsilon": math.inf}),
        ("rope_base", {"llama__rope__freq_base": -1.0}),
        ("rope_base", {"llama__rope__freq_base": 0.0}),
        ("rope_base", {"llama__rope__freq_base": math.nan}),
        ("rope_base", {"llama__rope__freq_base": math.inf}),
        ("n_ctx_train", {"llama__context_length": 1 << 40}),
    ],
)
def test_bad_values_name_their_key(attribute: str, changes: dict[str, Any]):
    (key,) = changes
    with pytest.raises(ModelFormatError, match=key.replace("__", ".")):
        getattr(meta(**changes), attribute)


def test_architecture_must_be_a_string():
    with pytest.raises(ModelFormatError, match=r"general\.architecture"):
        meta(general__architecture=7)


def test_a_uniform_array_counts_as_one_value():
    assert meta(llama__attention__head_count_kv=np.array([2, 2], np.int32)).n_kv_heads == 2


def test_integers_gives_one_a_layer():
    m = meta(llama__feed_forward_length=np.array([128, 256], np.int32))
    assert m.integers("feed_forward_length") == [128, 256]
    assert meta(llama__feed_forward_length=96).integers("feed_forward_length") == [96, 96]
    with pytest.raises(ModelFormatError, match="feed_forward_length"):
        meta(llama__feed_forward_length=np.array([1], np.int32)).integers("feed_forward_length")
