"""The whole engine against llama.cpp and a float reference, on SmolLM2's and Gemma 3's files.

Independent sources, none of them ours: llama.cpp b9190, and transformers on the weights that the
gguf package dequantizes. tests/golden/README.md says how the goldens are made.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import edgelm
from goldens import PROSE, Reference, continuations, reference, tokenizations

# Our mean KL divergence from the float model, as a multiple of llama.cpp's own.
MAX_KL_RATIO = 1.10
# Greedy tokens must agree where llama.cpp's best token is ahead by more than this, in nats.
CLEAR_LEAD = 1.0
# The seeded faults need one model only.
on_smollm2 = pytest.mark.parametrize("name", ["smollm2"], indirect=True)


@pytest.fixture(scope="module", params=["smollm2", "gemma3"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name: str, request: pytest.FixtureRequest) -> Iterator[edgelm.Model]:
    path = request.getfixturevalue(f"{name}_path")
    with edgelm.load(path, n_ctx=2048, n_parallel=2) as model:
        yield model


def kl_ratio(logits: NDArray[np.float32], golden: Reference) -> float:
    return float(golden.kl(logits).mean() / golden.llama_cpp_kl.mean())


@pytest.fixture(scope="module")
def prose_logits(model: edgelm.Model, name: str) -> NDArray[np.float32]:
    return model.logits(reference(name).ids)


def test_golden_is_what_it_claims(name: str) -> None:
    golden = reference(name)
    assert len(golden.ids) == 1024
    total = np.exp(golden.log_probs).sum(-1) + np.exp(golden.log_tail)
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert np.all(golden.llama_cpp_kl <= golden.llama_cpp_full_kl + 1e-6)
    assert golden.llama_cpp_kl.mean() > 0.85 * golden.llama_cpp_full_kl.mean()


@pytest.mark.slow
def test_kl_from_float_reference(prose_logits: NDArray[np.float32], name: str) -> None:
    golden = reference(name)
    ratio = kl_ratio(prose_logits, golden)
    print(f"mean KL {ratio * golden.llama_cpp_kl.mean():.6f} nats, {ratio:.3f} of llama.cpp's")
    assert ratio <= MAX_KL_RATIO


@pytest.mark.slow
@on_smollm2
def test_kl_catches_a_wrong_token(model: edgelm.Model, name: str) -> None:
    golden = reference(name)
    ids = golden.ids.copy()
    ids[512] = golden.ids[513]
    assert kl_ratio(model.logits(ids), golden) > MAX_KL_RATIO


@pytest.mark.slow
@on_smollm2
def test_kl_catches_rows_off_by_one(prose_logits: NDArray[np.float32], name: str) -> None:
    assert kl_ratio(np.roll(prose_logits, 1, axis=0), reference(name)) > MAX_KL_RATIO


@pytest.mark.slow
def test_kl_catches_a_changed_weight(smollm2_path: Path, tmp_path: Path) -> None:
    """One of 61 norm vectors, off by 10 %."""
    from edgelm.gguf import open_gguf

    damaged = tmp_path / "damaged.gguf"
    shutil.copyfile(smollm2_path, damaged)
    file = open_gguf(damaged)
    norm = next(t for t in file.tensors if t.name == "blk.15.attn_norm.weight")
    values = (np.float32(1.1) * file.read(norm).view(np.float32)).astype(np.float32)
    with damaged.open("r+b") as f:
        f.seek(norm.offset)
        f.write(values.tobytes())
    golden = reference()
    with edgelm.load(damaged, n_ctx=1024, n_parallel=1) as model:
        assert kl_ratio(model.logits(golden.ids), golden) > MAX_KL_RATIO


def disagreements(model: edgelm.Model, name: str, shift: int = 0) -> tuple[list[str], int]:
    """Where our best token is not llama.cpp's clear one, and how many clear ones there were."""
    faults, clear = [], 0
    for row in continuations(name):
        ids, n = row["ids"], len(row["prompt_ids"])
        logits = model.logits([*row["prompt_ids"], *ids[:-1]])[n - 1 :]
        best = np.roll(logits.argmax(-1), shift)
        for i, (first, second) in enumerate(row["top_two"]):
            if first - second > CLEAR_LEAD:
                clear += 1
                if best[i] != ids[i]:
                    faults.append(f"{row['prompt']!r} token {i}: {best[i]}, llama.cpp {ids[i]}")
    return faults, clear


@pytest.mark.slow
def test_greedy_tokens_agree(model: edgelm.Model, name: str) -> None:
    faults, clear = disagreements(model, name)
    assert len(continuations(name)) == 20
    assert clear > 300
    assert not faults, "\n".join(faults)


@pytest.mark.slow
@on_smollm2
def test_greedy_catches_positions_off_by_one(model: edgelm.Model, name: str) -> None:
    faults, _ = disagreements(model, name, shift=1)
    assert len(faults) > 100


def test_generate_follows_llama_cpp(model: edgelm.Model, name: str) -> None:
    """Greedy generation gives llama.cpp's tokens up to its first unclear one."""
    for row in continuations(name):
        leads = [first - second for first, second in row["top_two"]]
        clear = next((i for i, lead in enumerate(leads) if lead <= CLEAR_LEAD), len(leads))
        if clear:
            ours = model.generate(
                row["prompt_ids"], max_tokens=clear, temperature=0, ignore_eos=True
            )
            assert ours.tokens == row["ids"][:clear], row["prompt"]


def test_token_ids_are_equal(model: edgelm.Model, name: str) -> None:
    for row in tokenizations(name):
        ours = model.tokenize(row["text"], add_special=False, parse_special=row["parse_special"])
        assert list(ours) == row["ids"], row["text"]
    prose = model.tokenize(PROSE.read_text())  # with BOS, if the file adds one
    assert list(prose)[:1024] == list(reference(name).ids)


def test_token_ids_round_trip(model: edgelm.Model, name: str) -> None:
    for row in tokenizations(name):
        assert model.detokenize(row["ids"], special=True) == row["text"]


@on_smollm2
def test_tokens_catch_a_changed_text(model: edgelm.Model, name: str) -> None:
    for row in tokenizations(name):
        if row["text"].strip():
            ours = model.tokenize(
                row["text"] + "!", add_special=False, parse_special=row["parse_special"]
            )
            assert list(ours) != row["ids"]
