"""What a KV cache costs, by arithmetic, and what is refused before anything is loaded."""

from __future__ import annotations

import re

import pytest

from edgelm import memory
from edgelm.graph import KvLayer
from edgelm.model import open_network
from tiny_models import TinyLlama

LAYERS = [KvLayer(i, 8, 128, 0) for i in range(32)]  # Llama 3 8B: 128 KiB a token in float16


def test_a_context_that_fits_is_allowed():
    memory.check_cache_fits(LAYERS, 8192, "f16", 5 << 30, 6 << 30)


@pytest.mark.parametrize(("kv_type", "bytes_a_token"), [("f16", 131072), ("q8_0", 69632)])
def test_a_context_that_does_not_fit_is_refused_with_the_arithmetic(kv_type, bytes_a_token):
    with pytest.raises(MemoryError) as refused:
        memory.check_cache_fits(LAYERS, 131072, kv_type, 5 << 30, 6 << 30)
    text = str(refused.value)
    assert f"{131072 * bytes_a_token:,} bytes" in text
    assert f"{bytes_a_token:,} a token" in text
    (fits,) = map(int, re.findall(r"Use n_ctx=(\d+)", text))
    memory.check_cache_fits(LAYERS, fits, kv_type, 5 << 30, 6 << 30)
    with pytest.raises(MemoryError):
        memory.check_cache_fits(LAYERS, fits + memory.KV_PAGE, kv_type, 5 << 30, 6 << 30)
    assert ("q8_0" in text.split("Use n_ctx")[1]) == (kv_type == "f16")


def test_weights_that_fill_the_memory_leave_no_context():
    with pytest.raises(MemoryError, match="smaller model"):
        memory.check_cache_fits(LAYERS, 512, "f16", 6 << 30, 6 << 30)


def test_load_refuses_before_it_reads_the_weights(tmp_path, monkeypatch):
    path = TinyLlama(n_ctx=1 << 20).write(tmp_path / "model.gguf")
    monkeypatch.setattr("edgelm.model.physical_bytes", lambda: 64 << 20)
    with pytest.raises(MemoryError, match=r"n_ctx=1,048,576 .* machine has 67,108,864"):
        open_network(path, n_ctx=1 << 20)
    open_network(path, n_ctx=4096)
