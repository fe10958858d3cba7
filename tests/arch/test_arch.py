"""Every architecture against transformers' logits of the same weights (tests/golden/arch).

The goldens are made by tools/make_arch_goldens.py, which also runs each file through llama.cpp; how
far llama.cpp is from transformers bounds how far edgelm may be. For a quantized file transformers
gets the dequantized weights, so that what remains is the rounding of activations and of the cache.
"""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from arch_model import N_CTX, TOKENS, relative_rms
from arch_models import MODELS
from edgelm.arch import ARCHITECTURES, build
from edgelm.errors import ModelFormatError, UnsupportedModelError
from edgelm.gguf import open_gguf
from edgelm.graph import Graph
from edgelm.meta import Meta
from edgelm.weights import Weights
from ggml_oracle import quantize

GOLDEN = Path(__file__).parents[1] / "golden" / "arch"
# The cache holds keys and values as float16, which these sharp random models amplify; llama.cpp's
# own error is of the same making.
F32_TOLERANCE = 4e-3
# Our error on a quantized file as a multiple of llama.cpp's.
QUANTIZED_RATIO = 1.25
# Whose files always hold an output.weight, in llama.cpp too.
ALWAYS_UNTIED = {"gptneox", "nemotron", "phi2", "stablelm"}


def logits(path: Path) -> NDArray[np.float32]:
    file = open_gguf(path)
    graph = Graph()
    meta = Meta(file, Meta(file).n_ctx_train)  # for which LongRoPE has its long factors
    graph.output("logits", build(graph, meta, Weights(file, graph)))
    plan = graph.compile(n_batch=32, max_rows=32, n_threads=2)
    cache = plan.kv_cache(n_ctx=N_CTX, n_parallel=1, kv_type="f16")
    sequences = np.full(len(TOKENS), cache.create(), np.int32)
    results = plan.run(cache, TOKENS, sequences, np.arange(len(TOKENS), dtype=np.int32))
    assert results is not None
    return results["logits"]


@pytest.mark.parametrize("name", MODELS)
def test_logits_equal_those_of_transformers(name, tmp_path):
    golden = np.load(GOLDEN / f"{name}.npz")
    path = MODELS[name].write(tmp_path / "model.gguf")
    error = relative_rms(logits(path), golden["logits"])
    assert error <= max(F32_TOLERANCE, 1.5 * float(golden["llama_cpp_rms"]))


def quantized(name: str, row: int, path: Path) -> Path:
    """The file that llama.cpp makes of the model; the golden holds its hash."""
    golden = np.load(GOLDEN / f"{name}.npz")
    tensors = MODELS[name].tensors()
    types = dict(zip(tensors, golden["types"][row].tolist(), strict=True))
    with ThreadPoolExecutor(2) as pool:
        arrays = pool.map(
            lambda n: quantize(types[n], tensors[n]) if types[n] else tensors[n], types
        )
        stored = dict(zip(types, arrays, strict=True))
    digest = hashlib.sha256(b"".join(array.tobytes() for array in stored.values())).hexdigest()
    assert digest == golden["sha256"][row], "not the file that the golden was made of"
    return MODELS[name].write(path, stored, types)


@pytest.mark.slow
@pytest.mark.parametrize("row", range(3), ids=["q8_0", "q4_k_m", "q3_k_m"])
@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.llama_cpp])
def test_quantized_logits_are_as_close_as_those_of_llama_cpp(name, row, tmp_path):
    golden = np.load(GOLDEN / f"{name}.npz")
    path = quantized(name, row, tmp_path / "model.gguf")
    error = relative_rms(logits(path), golden["quantized"][row])
    assert error <= QUANTIZED_RATIO * golden["quantized_rms"][row]


def test_weights_rounded_otherwise_are_caught(tmp_path):
    """The seeded fault: the weights of Q5_K in place of Q4_K, which are closer to the float32."""
    tensors, golden = MODELS["llama"].tensors(), np.load(GOLDEN / "llama.npz")
    finer = {gguf.GGMLQuantizationType.Q4_K: gguf.GGMLQuantizationType.Q5_K}
    types = dict(zip(tensors, golden["types"][1].tolist(), strict=True))
    types = {name: int(finer.get(kind, kind)) for name, kind in types.items()}
    stored = {n: quantize(types[n], w) if types[n] else w for n, w in tensors.items()}
    path = MODELS["llama"].write(tmp_path / "model.gguf", stored, types)
    error = relative_rms(logits(path), golden["quantized"][1])
    assert error > 1.5 * QUANTIZED_RATIO * golden["quantized_rms"][1]


def test_a_wrong_wiring_is_caught(tmp_path):
    """The seeded fault: Gemma 2's windows hold one position more than they should."""
    model = MODELS["gemma2"]
    wrong = dict(model.metadata) | {"attention.sliding_window": 7}
    path = replace(model, metadata=wrong).write(tmp_path / "model.gguf")
    golden = np.load(GOLDEN / "gemma2.npz")
    assert relative_rms(logits(path), golden["logits"]) > 3 * F32_TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_tied_head_is_the_embedding(name, tmp_path):
    """Without output.weight every model answers as with a copy of its embedding for one."""
    model = MODELS[name]
    tensors = model.tensors()
    tied = {n: w for n, w in tensors.items() if n != "output.weight"}
    untied = tied | {"output.weight": tensors["token_embd.weight"]}
    want = logits(model.write(tmp_path / "untied.gguf", untied))
    if model.architecture in ALWAYS_UNTIED:
        with pytest.raises(ModelFormatError, match=r"output\.weight"):
            logits(model.write(tmp_path / "tied.gguf", tied))
    else:
        np.testing.assert_array_equal(logits(model.write(tmp_path / "tied.gguf", tied)), want)


def test_windows_may_be_stated_by_layer(tmp_path):
    """As a period, or as a flag a layer, which the file of OLMo 3 holds."""
    model = MODELS["olmo3"]
    path = model.write(tmp_path / "model.gguf")
    key = "olmo2.attention.sliding_window_pattern"
    for prepare in (
        lambda writer: writer.add_uint32(key, 4),
        lambda writer: writer.add_array(key, [True, True, True, False, True]),
    ):
        stated = model.write(tmp_path / "stated.gguf", prepare=prepare)
        np.testing.assert_array_equal(logits(stated), logits(path))
    other = model.write(tmp_path / "other.gguf", prepare=lambda w: w.add_uint32(key, 2))
    assert relative_rms(logits(other), logits(path)) > 3 * F32_TOLERANCE
    for wrong in ([True, False], ["a"] * 5):
        short = model.write(tmp_path / "short.gguf", prepare=lambda w, p=wrong: w.add_array(key, p))
        with pytest.raises(ModelFormatError, match="sliding_window_pattern"):
            logits(short)


def test_minicpms_first_files_leave_the_scales_unsaid(tmp_path):
    """Then they are those of its config.json: scale_emb, scale_depth and dim_model_base."""
    model = MODELS["minicpm"]
    unsaid = {k: v for k, v in model.metadata.items() if not k.endswith("_scale")}
    scales = {"embedding": 12.0, "residual": 1.4 / 3**0.5, "logit": 256 / 256}
    said = unsaid | {f"{name}_scale": value for name, value in scales.items()}
    got, want = (
        logits(replace(model, metadata=m).write(tmp_path / f"{len(m)}.gguf"))
        for m in (unsaid, said)
    )
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_clamped_queries_are_refused(tmp_path):
    model = MODELS["olmo"]
    clamped = replace(model, metadata=model.metadata | {"attention.clamp_kqv": 8.0})
    with pytest.raises(UnsupportedModelError, match="clamp_kqv"):
        logits(clamped.write(tmp_path / "model.gguf"))


def test_every_architecture_has_a_golden():
    assert {m.architecture for m in MODELS.values()} == set(ARCHITECTURES)
    assert {p.stem for p in GOLDEN.glob("*.npz")} == set(MODELS)


def test_the_readme_names_every_architecture():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    rows = [line for line in readme.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([a-z0-9_-]+)`", row)}
    assert named >= set(ARCHITECTURES)


def test_an_unknown_architecture_lists_the_known_ones(tmp_path):
    llama = MODELS["llama"]
    path = type(llama)("perceptron", llama.block, llama.metadata).write(tmp_path / "model.gguf")
    file = open_gguf(path)
    graph = Graph()
    with pytest.raises(UnsupportedModelError, match=r"perceptron.*Known: .*llama"):
        build(graph, Meta(file), Weights(file, graph))


def test_a_missing_tensor_is_named(tmp_path):
    tensors = MODELS["llama"].tensors()
    del tensors["blk.1.ffn_up.weight"]
    file = open_gguf(MODELS["llama"].write(tmp_path / "model.gguf", tensors))
    graph = Graph()
    with pytest.raises(ModelFormatError, match=r"blk\.1\.ffn_up\.weight"):
        build(graph, Meta(file), Weights(file, graph))


def test_a_tensor_that_nothing_reads_is_refused(tmp_path):
    tensors = MODELS["llama"].tensors()
    tensors["blk.0.attn_q_norm.weight"] = np.ones(64, np.float32)
    file = open_gguf(MODELS["llama"].write(tmp_path / "model.gguf", tensors))
    graph = Graph()
    with pytest.raises(UnsupportedModelError, match="attn_q_norm"):
        build(graph, Meta(file), Weights(file, graph))


def test_tensors_that_change_no_answer_are_ignored(tmp_path):
    golden, tensors = np.load(GOLDEN / "llama.npz"), MODELS["llama"].tensors()
    tensors["blk.0.attn_rot_embd.weight"] = np.ones(32, np.float32)
    tensors["cls.output.weight"] = np.ones((2, 256), np.float32)
    path = MODELS["llama"].write(tmp_path / "model.gguf", tensors)
    assert relative_rms(logits(path), golden["logits"]) <= F32_TOLERANCE


@pytest.mark.parametrize("name", ["blk.0.attn_q.scale", "blk.0.ffn_down.input_scale"])
def test_scales_that_change_answers_are_refused(name, tmp_path):
    tensors = MODELS["llama"].tensors() | {name: np.ones(1, np.float32)}
    file = open_gguf(MODELS["llama"].write(tmp_path / "model.gguf", tensors))
    graph = Graph()
    with pytest.raises(UnsupportedModelError, match=name):
        build(graph, Meta(file), Weights(file, graph))
