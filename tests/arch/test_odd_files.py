"""Files of other writers and other years: what llama.cpp reads in them, edgelm reads the same."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import xllamacpp

import edgelm
from arch_models import MODELS
from edgelm import EdgelmWarning, ModelFormatError, UnsupportedModelError
from edgelm.gguf import open_gguf
from edgelm.meta import Meta
from goldens import log_softmax
from llama_cpp_server import top_logprobs
from tiny_models import TinyLlama

IDS = [(7 * i * i + 3) % 250 for i in range(60)]
# Between two engines with caches of float16; a stretched RoPE moves these models by 0.4.
TOLERANCE = 0.02


def differs(path: Path, ids: list[int] = IDS) -> float:
    """How far edgelm's log-probabilities are from llama.cpp's, in nats, at its likeliest tokens."""
    with edgelm.load(path) as model:
        ours = log_softmax(model.logits(ids)[-1])
    return max(abs(float(ours[id]) - theirs) for id, theirs in top_logprobs(path, ids).items())


SCALINGS: dict[str, dict[str, Any]] = {
    "the name of 2023": {"llama.rope.scale_linear": 4.0},
    "a factor without a type": {"llama.rope.scaling.factor": 4.0},
    "the factor before the old name": {
        "llama.rope.scale_linear": 2.0,
        "llama.rope.scaling.factor": 4.0,
    },
    "a type without a factor": {"llama.rope.scaling.type": "linear"},
    "a factor of 0": {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 0.0},
    "none with a factor": {"llama.rope.scaling.type": "none", "llama.rope.scaling.factor": 4.0},
    "YaRN without a factor": {"llama.rope.scaling.type": "yarn"},
    "LongRoPE without its tensors": {
        "llama.rope.scaling.type": "longrope",
        "llama.rope.scaling.factor": 2.0,
    },
    "an attention factor": {
        "llama.rope.scaling.type": "linear",
        "llama.rope.scaling.factor": 2.0,
        "llama.rope.scaling.attn_factor": 1.25,
    },
}


@pytest.mark.parametrize("case", SCALINGS)
def test_rope_is_stretched_as_in_llama_cpp(case: str, tmp_path: Path) -> None:
    assert differs(TinyLlama(metadata=SCALINGS[case]).write(tmp_path / "m.gguf")) < TOLERANCE


def test_another_stretch_is_caught(tmp_path: Path) -> None:
    plain = TinyLlama().write(tmp_path / "plain.gguf")
    stretched = TinyLlama(metadata=SCALINGS["the name of 2023"]).write(tmp_path / "m.gguf")
    with edgelm.load(plain) as model:
        ours = log_softmax(model.logits(IDS)[-1])
    theirs = top_logprobs(stretched, IDS)
    assert max(abs(float(ours[id]) - value) for id, value in theirs.items()) > 5 * TOLERANCE


def rewritten(
    source: Path, target: Path, change: Callable[[str, Any], dict[str, Any]], drop: str = ""
) -> Path:
    """The file with other tensors: `change` gives those that stand for one."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", drop):
            continue
        sub = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub)
    for tensor in reader.tensors:
        for name, values in change(tensor.name, np.array(tensor.data)).items():
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


AXES: dict[str, Callable[[str, Any], Any]] = {
    "norms (1, D)": lambda n, a: a[None] if "norm" in n else a,
    "norms (1, 1, 1, D)": lambda n, a: a[None, None, None] if "norm" in n else a,
    "matrices (1, N, K)": lambda n, a: a if "norm" in n else a[None],
    "matrices (1, 1, N, K)": lambda n, a: a if "norm" in n else a[None, None],
}


@pytest.mark.parametrize("case", AXES)
def test_axes_of_one_in_front_change_nothing(case: str, tmp_path: Path) -> None:
    source = TinyLlama().write(tmp_path / "plain.gguf")
    path = rewritten(source, tmp_path / "m.gguf", lambda n, a: {n: AXES[case](n, a)})
    with edgelm.load(source) as plain, edgelm.load(path) as model:
        np.testing.assert_array_equal(model.logits(IDS), plain.logits(IDS))
    assert differs(path) < TOLERANCE


def test_an_axis_of_one_behind_is_refused(tmp_path: Path) -> None:
    source = TinyLlama().write(tmp_path / "plain.gguf")
    path = rewritten(
        source, tmp_path / "m.gguf", lambda n, a: {n: a[:, None] if "attn_norm" in n else a}
    )
    with pytest.raises(ModelFormatError, match=r"attn_norm\.weight' \(64, 1\)"):
        edgelm.load(path)


def test_one_expert_is_a_mixture_all_the_same(tmp_path: Path) -> None:
    """Its tensors (1, F, D) lose the axis in front, and the router (1, D), too."""
    source = MODELS["mixtral"].write(tmp_path / "moe.gguf")
    first = lambda n, a: {n: a[:1] if re.search("_exps|ffn_gate_inp", n) else a}  # noqa: E731
    single = rewritten(source, tmp_path / "one.gguf", first)
    for key in ("expert_count", "expert_used_count"):
        reader = gguf.GGUFReader(single, "r+")
        reader.fields[f"llama.{key}"].parts[-1][0] = 1
        reader.data.flush()
        del reader
    dense = rewritten(
        single,
        tmp_path / "dense.gguf",
        lambda n, a: {} if "ffn_gate_inp" in n else {n.replace("_exps", ""): a},
    )
    ids = list(range(20, 40))
    with edgelm.load(single) as one, edgelm.load(dense) as other:
        np.testing.assert_allclose(one.logits(ids), other.logits(ids), atol=1e-4)


def test_an_expert_a_tensor_is_called_what_it_is(tmp_path: Path) -> None:
    source = MODELS["mixtral"].write(tmp_path / "moe.gguf")

    def alone(name: str, values: Any) -> dict[str, Any]:
        if "_exps" not in name:
            return {name: values}
        stem = name.removesuffix("_exps.weight")
        return {f"{stem}.{i}.weight": np.ascontiguousarray(v) for i, v in enumerate(values)}

    path = rewritten(source, tmp_path / "old.gguf", alone)
    with pytest.raises(UnsupportedModelError, match=r"each expert as a tensor of its own"):
        edgelm.load(path)


def test_positions_are_no_more_than_were_learned(tmp_path: Path) -> None:
    path = MODELS["gpt2"].write(tmp_path / "gpt2.gguf")
    n = next(t.shape[0] for t in open_gguf(path).tensors if t.name == "position_embd.weight")
    with edgelm.load(path) as model:
        assert model.n_ctx <= n
    with edgelm.load(path, n_ctx=n) as model:
        assert model.n_ctx == n
    with pytest.raises(ValueError, match=rf"n_ctx is {n + 1}, but .* positions for {n} tokens"):
        edgelm.load(path, n_ctx=n + 1)


def test_longrope_keeps_to_its_short_factors(tmp_path: Path) -> None:
    path = MODELS["phi3-longrope"].write(tmp_path / "m.gguf")
    meta = Meta(open_gguf(path))
    assert meta.n_ctx_original < meta.n_ctx_train
    assert meta.n_ctx == meta.n_ctx_original
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Meta(open_gguf(path), meta.n_ctx_train).n_ctx == meta.n_ctx_train


def test_a_context_beyond_the_trained_one_warns(tmp_path: Path) -> None:
    path = TinyLlama(n_ctx=256).write(tmp_path / "m.gguf")
    with pytest.warns(EdgelmWarning, match=r"n_ctx is 257, but the model was trained for 256"):
        edgelm.load(path, n_ctx=257).close()


# What llama.cpp reads of a file and edgelm does not. Left out are the hyperparameters of
# architectures that edgelm does not know: of those no file comes as far as this.
IGNORED = {
    "general.alignment": "of the reader in C++",
    "general.author": "for people; `info` shows it",
    "general.description": "for people",
    "general.file_type": "each tensor says its own type",
    "general.license": "for people; `info` shows it",
    "general.quantization_version": "1 and 2 differ in no block format of today",
    "general.sampling.": "defaults of llama.cpp's command; edgelm's options are its caller's",
    "general.source.": "for people",
    "general.tensor_extra.": "of a type of weights that edgelm does not have",
    "general.url": "for people",
    "general.version": "for people",
    "attention.causal": "false in encoders alone, which are refused by their architecture",
    "attention.key_length_swa": "layers of two head widths are of architectures not known here",
    "attention.value_length_swa": "the same",
    "rope.dimension_count_swa": "the same",
    "rope.dimension_sections": "M-RoPE: of a text all sections have the same position",
    "rope.scaling.alpha": "of Hunyuan's, whose converter has put it into freq_base",
    "rope.scaling.finetuned": "a remark; llama.cpp only prints it",
    "rope.scaling.yarn_attn_factor": "1 in all files; what YaRN adds follows from the factor",
    "rope.scaling.yarn_ext_factor": "1 in all files of type yarn",
    "vocab_size": "tokenizer.ggml.tokens says it",
    "feed_forward_length": "the tensors say it",
    "expert_feed_forward_length": "the tensors say it",
    "expert_shared_feed_forward_length": "the tensors say it",
    "expert_shared_count": "the tensors say it",
    "expert_group_count": "groups of experts are of DeepSeek's and Ling's architectures",
    "expert_group_used_count": "the same",
    "leading_dense_block_count": "the tensors say which layers are mixtures",
    "interleave_moe_layer_step": "the tensors say which layers are mixtures",
    "embedding_length_out": "of models whose output has another width: the tensors fit or not",
    "n_deepstack_layers": "of images; text takes no part in it",
    "deepstack_mapping": "of images",
    "nextn_predict_layers": "layers for drafts beyond block_count: their tensors are refused",
    "pooling_type": "of embeddings",
    "tensor_data_layout": "llama.cpp prints it",
    "classifier.": "of classifiers",
    "tokenizer.ggml.token_type_count": "of BERT's segments",
    "tokenizer.ggml.padding_token_id": "nothing is padded here",
    "tokenizer.ggml.mask_token_id": "of masked models",
    "tokenizer.ggml.add_sep_token": "between two texts that encoders compare",
    "tokenizer.ggml.fim_pre_token_id": "who fills in writes the names into the prompt",
    "tokenizer.ggml.fim_suf_token_id": "the same",
    "tokenizer.ggml.fim_mid_token_id": "the same",
    "tokenizer.ggml.prefix_token_id": "the same, as it was called before",
    "tokenizer.ggml.suffix_token_id": "the same",
    "tokenizer.ggml.middle_token_id": "the same",
    "tokenizer.ggml.suppress_tokens": "of Whisper-like models",
    "tokenizer.huggingface.json": "a copy for other programs",
    "tokenizer.rwkv.world": "of RWKV's tokenizer, which is refused",
    "adapter.": "of LoRA adapters, which are refused",
    "split.no": "of the reader in C++",
    "split.count": "of the reader in C++",
    "split.tensors.count": "of the reader in C++",
}
# Architectures' own: states, latent attention, images, speech, drafts, indexers, tables of n-grams.
OF_OTHERS = re.compile(
    r"(ssm|kda|wkv|shortconv|hrm|hyper_connection|ple|posnet|convnext|xielu|attn_res|activation"
    r"|adapters|decision|attention\.value_expert|proj_query|dense_[23]_feat_(in|out)|clip|diffusion|imatrix|quantize|token_shift_count"
    r"|attention\.(indexer|.*lora_rank|.*_mla|.*_mla_swa|.*lora_rank_swa|compress_|shared_kv"
    r"|recurrent|relative_buckets|group_norm|output_group|temperature_length|output_scale|value_scale"
    r"|rope_pattern|max_alibi)).*"
    r"|(expert_(group_scale|latent_length|chunk_feed_forward_length|gating_func|weights_norm)"
    r"|experts_per_group|moe_(every_n_layers|latent_size)|swiglu_clamp_(exp|shexp)|swin_norm"
    r"|rescale_every_n_layers|time_(mix|decay)_extra_dim|decoder_(start_token_id|block_count)"
    r"|router_logit_softcapping|features_length|hash_layer_count|full_attention_interval|num_loops"
    r"|skip_loop_final_norm|target_(layers|hidden_size)|norm_before_(residual|fc)|block_size"
    r"|conv_(kernel|group)_size|selector_(rank|top_k)|embedding_length_per_layer_input"
    r"|hidden_activation)"
)


def llama_cpp_keys() -> set[str]:
    """Every key that stands in llama.cpp's library, without "%s." of the architecture."""
    (library,) = Path(xllamacpp.__file__).parent.glob("*.so")
    found = re.findall(
        rb"\0(%s\.[a-z][a-z0-9_.]*|(?:general|tokenizer|split|adapter)\.[a-z0-9_.]+)\0",
        re.sub(rb"\0", b"\0\0", library.read_bytes()),
    )
    return {key.decode().removeprefix("%s.") for key in found}


def edgelm_keys() -> set[str]:
    """Every string of the modules that read metadata, and what the tokenizer puts together."""
    package = Path(edgelm.__file__).parent
    names = ["metadata.py", "meta.py", "gguf.py", "tokenizer.py", "chat/template.py"]
    keys = {f"tokenizer.ggml.{kind}_token_id" for kind in ("fim_pad", "fim_rep", "fim_sep")}
    for path in [*(package / name for name in names), *(package / "arch").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Constant(value=str(text)):
                    keys.add(text)
                case ast.Call(
                    func=ast.Attribute(attr=reader), args=[ast.Constant(value=str(name)), *_]
                ) if reader in ("_flag", "_special_id", "_adds"):
                    keys.add(f"tokenizer.ggml.{name}")
                    keys |= {f"tokenizer.ggml.{name}_token_id", f"tokenizer.ggml.add_{name}_token"}
    native = (package.parents[1] / "csrc" / "bind" / "bind_tokenize.cc").read_text()
    return keys | set(re.findall(r'"(tokenizer\.ggml\.\w+)"', native))


def unaccounted(read: set[str]) -> set[str]:
    def known(key: str) -> bool:
        parts = any(key.startswith(k) for k in IGNORED if k.endswith("."))
        return key in read or key in IGNORED or parts or bool(OF_OTHERS.fullmatch(key))

    return {key for key in llama_cpp_keys() if not known(key)}


@pytest.mark.slow
def test_no_key_is_ignored_in_silence() -> None:
    keys, read = llama_cpp_keys(), edgelm_keys()
    assert {"rope.scale_linear", "tokenizer.ggml.eot_token_id", "general.name"} <= keys & read
    assert len(keys) > 150
    assert not unaccounted(read)
    assert not {key for key in keys & read if key in IGNORED or OF_OTHERS.fullmatch(key)}


@pytest.mark.slow
def test_a_key_that_nobody_reads_is_caught() -> None:
    assert unaccounted(edgelm_keys() - {"rope.scale_linear"}) == {"rope.scale_linear"}
