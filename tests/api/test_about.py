"""What a model says of itself, and that rows of logits end where its vocabulary does."""

import dataclasses

import numpy as np
import pytest

import edgelm
from edgelm.hub import MODELS
from tiny_models import TinyLlama


class Padded(TinyLlama):
    """Its matrices have rows for tokens that do not exist, and those are the likeliest."""

    def tensors(self):
        tensors = super().tensors()
        for name in ("token_embd.weight", "output.weight"):
            padding = 9 * np.ones((7, self.width), np.float32)
            tensors[name] = np.concatenate([tensors[name], padding])
        return tensors


@pytest.fixture
def model(tmp_path):
    path = Padded(n_layers=2).write(tmp_path / "padded.gguf")
    with edgelm.load(path, n_ctx=64, n_parallel=3, n_batch=16, n_threads=1, kv_type="q8_0") as m:
        yield m


def test_a_model_says_what_it_is(model, tmp_path):
    tiny = Padded(n_layers=2)
    n_weights = sum(tensor.size for tensor in tiny.tensors().values())
    vocab_size = len(tiny.tokens)
    assert model.path == tmp_path / "padded.gguf"
    assert (model.architecture, model.name) == ("llama", "tiny")
    assert (model.n_ctx, model.n_parallel, model.n_batch, model.n_threads) == (64, 3, 16, 1)
    assert (model.kv_type, model.parameters) == ("q8_0", n_weights)
    assert (model.vocab_size, model.bos_id) == (vocab_size, vocab_size - 3)
    assert vocab_size - 1 in model.eos_ids
    assert model.isa
    table = (vocab_size + 7) * tiny.width  # of embeddings, which stay in the file
    assert model.weight_bytes >= 4 * (n_weights - table)
    before = model.memory_bytes
    with model.session() as session:
        session.prefill([1, 2, 3])
        assert model.memory_bytes > before > model.weight_bytes
    said = repr(model)
    assert "padded.gguf" in said
    assert "\n" not in said
    model.close()
    assert repr(model) == "<edgelm.Model, closed>"
    with pytest.raises(edgelm.ClosedError):
        _ = model.n_ctx


def test_a_session_says_how_full_it_is(model):
    session = model.session()
    session.prefill([1, 2, 3])
    assert repr(session) == "<edgelm.Session: 3 of 64 tokens>"
    session.close()
    assert repr(session) == "<edgelm.Session, closed>"


def test_known_models_say_size_licence_and_place(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGELM_CACHE", str(tmp_path))
    known = edgelm.models()
    assert {model.name for model in known} == set(MODELS)
    for model in known:
        assert model.n_bytes == MODELS[model.name].n_bytes
        assert model.license
        assert model.path is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        known[0].name = "x"
    smallest = tmp_path / MODELS[known[0].name].file_name
    smallest.write_bytes(b"cut off")
    assert edgelm.models()[0].path is None
    with smallest.open("r+b") as file:
        file.truncate(known[0].n_bytes)
    assert edgelm.models()[0].path == smallest


def test_rows_have_the_vocabulary_and_no_padding(model):
    n = model.vocab_size
    with model.session() as session:
        assert session.prefill([1, 2]).shape == (n,)
        rows = session.prefill([3, 4, 5], all_logits=True)
        assert rows.shape == (3, n)
        assert session.decode(6).shape == (n,)
        assert model.decode_batch([session], [7]).shape == (1, n)
    all_rows = model.logits([1, 2, 3, 4, 5, 6, 7])
    assert all_rows.shape == (7, n)
    np.testing.assert_array_equal(all_rows[2:5], rows)
    assert model.score([1, 2, 3]).shape == (2,)
    reply = model.generate([1, 2], temperature=0, max_tokens=20, ignore_eos=True, logprobs=300)
    assert max(reply.tokens) < n
    assert len(reply.logprobs[0].top) == n
    for use in (model.generate, model.logits):
        with pytest.raises(ValueError, match=f"vocabulary, 0 to {n - 1}"):
            use([n])
