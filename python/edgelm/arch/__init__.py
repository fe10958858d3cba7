"""The architectures: one short file each, wiring a graph from a file's metadata and tensors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import ModelFormatError, UnsupportedModelError
from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Weights
from . import (
    arcee,
    cohere,
    exaone4,
    falcon,
    gemma,
    gemma2,
    gemma3,
    glm4,
    gpt2,
    gpt_oss,
    gptneox,
    granite,
    hunyuan,
    llama,
    mistral3,
    nemotron,
    olmo,
    olmo2,
    olmoe,
    phi2,
    phi3,
    qwen2,
    qwen2moe,
    qwen3,
    smollm3,
    stablelm,
    starcoder2,
)

Build = Callable[[Graph, Meta, Weights], Value]

# GGUF's general.architecture -> the function that writes the graph and returns the logits (R, V).
ARCHITECTURES: dict[str, Build] = {
    "arcee": arcee.build,
    "chatglm": glm4.build_chatglm,
    "cohere2": cohere.build_cohere2,
    "command-r": cohere.build_command_r,
    "ernie4_5": llama.build,
    "ernie4_5-moe": llama.build,
    "exaone": qwen2.build,
    "exaone4": exaone4.build,
    "falcon": falcon.build,
    "gemma": gemma.build,
    "gemma2": gemma2.build,
    "gemma3": gemma3.build,
    "glm4": glm4.build_glm4,
    "gpt-oss": gpt_oss.build,
    "gpt2": gpt2.build,
    "gptneox": gptneox.build,
    "granite": granite.build_granite,
    "granitemoe": granite.build_granite,
    "hunyuan-dense": hunyuan.build,
    "internlm2": llama.build,
    "llama": llama.build,
    "minicpm": granite.build_minicpm,
    "mistral3": mistral3.build,
    "nemotron": nemotron.build,
    "olmo": olmo.build,
    "olmo2": olmo2.build,
    "olmoe": olmoe.build,
    "phi2": phi2.build,
    "phi3": phi3.build,
    "qwen2": qwen2.build,
    "qwen2moe": qwen2moe.build,
    "qwen2vl": qwen2.build,
    "qwen3": qwen3.build,
    "qwen3moe": qwen3.build,
    "qwen3vl": qwen3.build,
    "qwen3vlmoe": qwen3.build,
    "seed_oss": qwen2.build_seed_oss,
    "smollm3": smollm3.build,
    "stablelm": stablelm.build,
    "starcoder2": starcoder2.build,
}


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """Write the graph of the file's architecture; UnsupportedModelError if it is unknown."""
    if m.architecture not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise UnsupportedModelError(
            f"{m.file.path}: architecture '{m.architecture}' is not supported. Known: {known}."
        )
    try:
        with np.errstate(all="ignore"):  # absurd constants are refused by what they lead to
            logits = ARCHITECTURES[m.architecture](g, m, w)
    except (ModelFormatError, UnsupportedModelError):
        raise
    except (ValueError, ArithmeticError) as error:  # of an op's shapes: its traceback has the line
        raise ModelFormatError(
            f"{m.file.path}: a tensor does not fit architecture '{m.architecture}': {error}"
        ) from error
    w.check_all_used()
    _check_shapes(g, m, w)
    return logits


def _check_shapes(g: Graph, m: Meta, w: Weights) -> None:
    """Tensors may fit each other and yet not what the metadata states."""
    stated = [("embedding_length", m.width, w["token_embd"].shape[-1])]
    stated += [("attention.head_count_kv", m.n_kv_heads, s.n_heads) for s in g.states if s.n_heads]
    for key, value, found in stated:
        if value != found:
            raise ModelFormatError(
                f"{m.file.path}: metadata key '{m.architecture}.{key}' is {value} but the tensors "
                f"have {found}. The file contradicts itself."
            )
