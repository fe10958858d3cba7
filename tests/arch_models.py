"""A tiny random model of each architecture, under its GGUF names: odd sizes, every branch.

Weights follow from a tensor's name, so that tools/make_arch_goldens.py can give the very same to
transformers, and the goldens need to hold logits only.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from tiny_models import SPECIALS, byte_symbols

Shape = tuple[int, ...]

D, H, G, C, F, V = 256, 4, 2, 64, 320, 300
WINDOW = 6
N_TOKENS = 24
N_CTX = 64
TOKENS = np.random.default_rng(11).integers(0, 250, N_TOKENS).astype(np.int32)


def qkv(c: int = C, bias: bool = False, fused: bool = False, kv_heads: int = G) -> dict[str, Shape]:
    """Attention's projections for heads of width c."""
    widths = {"attn_q": H * c, "attn_k": kv_heads * c, "attn_v": kv_heads * c}
    if fused:
        widths = {"attn_qkv": sum(widths.values())}
    shapes: dict[str, Shape] = {f"{n}.weight": (w, D) for n, w in widths.items()}
    if bias:
        shapes |= {f"{n}.bias": (w,) for n, w in widths.items()}
    return shapes | {"attn_output.weight": (D, H * c)}


def norms(*names: str, bias: bool = False, width: int = D) -> dict[str, Shape]:
    """Norm weights and, for LayerNorm, their biases."""
    shapes: dict[str, Shape] = {f"{n}.weight": (width,) for n in names}
    return shapes | ({f"{n}.bias": (width,) for n in names} if bias else {})


def glu() -> dict[str, Shape]:
    """Gate, up and down."""
    return {"ffn_gate.weight": (F, D), "ffn_up.weight": (F, D), "ffn_down.weight": (D, F)}


def mlp(bias: bool = True) -> dict[str, Shape]:
    """Up and down, with their biases."""
    shapes: dict[str, Shape] = {"ffn_up.weight": (F, D), "ffn_down.weight": (D, F)}
    return shapes | ({"ffn_up.bias": (F,), "ffn_down.bias": (D,)} if bias else {})


def experts(n: int = 4, width: int = 64) -> dict[str, Shape]:
    """A router and n experts."""
    return {
        "ffn_gate_inp.weight": (n, D),
        "ffn_gate_exps.weight": (n, width, D),
        "ffn_up_exps.weight": (n, width, D),
        "ffn_down_exps.weight": (n, D, width),
    }


def shared_expert(width: int = 96) -> dict[str, Shape]:
    """An expert that every token goes through."""
    return {
        "ffn_gate_shexp.weight": (width, D),
        "ffn_up_shexp.weight": (width, D),
        "ffn_down_shexp.weight": (D, width),
    }


PRE_NORMS = norms("attn_norm", "ffn_norm")
HEAD_NORMS = norms("attn_q_norm", "attn_k_norm", width=C)
LAYER_NORMS = norms("attn_norm", "ffn_norm", bias=True)
SANDWICH = norms("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")


@dataclass(frozen=True)
class ArchModel:
    """One test model; `metadata` keys lack the architecture's prefix."""

    architecture: str
    block: Mapping[str, Shape]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    n_layers: int = 3
    head: Mapping[str, Shape] = field(default_factory=lambda: {"output.weight": (V, D)})
    final: Mapping[str, Shape] = field(default_factory=lambda: norms("output_norm"))
    kv_heads: int = G
    c: int = C
    llama_cpp: bool = True  # which takes some branches by the number of layers only

    def shapes(self) -> dict[str, Shape]:
        """Every tensor's shape by its GGUF name."""
        shapes: dict[str, Shape] = {"token_embd.weight": (V, D)}
        for i in range(self.n_layers):
            shapes |= {f"blk.{i}.{name}": shape for name, shape in self.block.items()}
        return shapes | dict(self.final) | dict(self.head)

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Every tensor's values, drawn from a generator that its name seeds."""
        return {name: values(name, shape) for name, shape in self.shapes().items()}

    def write(
        self,
        path: Path,
        tensors: Mapping[str, NDArray[Any]] | None = None,
        types: Mapping[str, int] | None = None,
        prepare: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
        split_max_tensors: int = 0,
    ) -> Path:
        """Write the file and return its path; `types` holds those of tensors that are not float32.

        The latter are given as rows of bytes. `prepare` adds to the writer what it wants.
        """
        writer = gguf.GGUFWriter(path, self.architecture, split_max_tensors=split_max_tensors)
        prepare(writer)
        common = {
            "block_count": self.n_layers,
            "context_length": N_CTX,
            "embedding_length": D,
            "feed_forward_length": F,
            "attention.head_count": H,
            "attention.head_count_kv": self.kv_heads,
            "vocab_size": V,
        }
        for key, value in (common | dict(self.metadata)).items():
            kind = gguf.GGUFValueType.FLOAT32
            if isinstance(value, bool):
                kind = gguf.GGUFValueType.BOOL
            elif isinstance(value, int):
                kind = gguf.GGUFValueType.UINT32
            elif isinstance(value, str):
                kind = gguf.GGUFValueType.STRING
            writer.add_key_value(f"{self.architecture}.{key}", value, kind)
        tokens = [*byte_symbols(), "Ġt", *SPECIALS]
        tokens += [f"<unused{i}>" for i in range(V - len(tokens))]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("smollm")
        writer.add_token_list(tokens)
        control = V - 257
        writer.add_token_types([gguf.TokenType.NORMAL] * 257 + [gguf.TokenType.CONTROL] * control)
        writer.add_token_merges(["Ġ t"])
        writer.add_bos_token_id(257)
        writer.add_eos_token_id(259)
        writer.add_add_bos_token(False)
        for name, array in (self.tensors() if tensors is None else tensors).items():
            kind = (types or {}).get(name, gguf.GGMLQuantizationType.F32)
            writer.add_tensor(name, array, raw_dtype=gguf.GGMLQuantizationType(kind))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path


def values(name: str, shape: Shape) -> NDArray[np.float32]:
    """Weights that give attention something to choose from and biases that matter."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.startswith("rope_"):
        return np.linspace(1, 4 if "short" in name else 8, shape[0]).astype(np.float32)
    if "norm" in name:
        offset = 1.0 if name.endswith(".weight") else 0.0
        return (offset + rng.uniform(-0.5, 0.5, shape)).astype(np.float32)
    if len(shape) == 1:
        return rng.normal(0, 0.2, shape).astype(np.float32)
    gain = 2.0 if "attn_q." in name or "attn_k." in name or "_inp" in name else 1.0
    return (gain * rng.normal(0, shape[-1] ** -0.5, shape)).astype(np.float32)


def relative_rms(got: NDArray[np.float32], want: NDArray[np.float32]) -> float:
    """rms(got - want) / rms(want)."""
    return float(np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2)))


RMS = {"attention.layer_norm_rms_epsilon": 1e-5}
LN = {"attention.layer_norm_epsilon": 1e-5}
BASE = {"rope.freq_base": 10000.0}
TIED: dict[str, Shape] = {}
FINAL_LN = norms("output_norm", bias=True)
MOE = {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 64}

YARN = {
    "rope.scaling.type": "yarn",
    "rope.scaling.factor": 4.0,
    "rope.scaling.original_context_length": 16,
}
GRANITE = {
    "attention.scale": 0.05,
    "embedding_scale": 12.0,
    "residual_scale": 0.22,
    "logit_scale": 4.0,
    "rope.dimension_count": C,
}


def head_width(c: int) -> dict[str, int]:
    """Metadata of a head width that is not D / H."""
    return {"attention.key_length": c, "attention.value_length": c, "rope.dimension_count": c}


MODELS: dict[str, ArchModel] = {
    "llama": ArchModel("llama", qkv() | PRE_NORMS | glu(), RMS | BASE),
    "llama-biases": ArchModel(  # Granite Code
        "llama",
        qkv(bias=True)
        | PRE_NORMS
        | glu()
        | {"attn_output.bias": (D,), "ffn_gate.bias": (F,), "ffn_up.bias": (F,)}
        | {"ffn_down.bias": (D,)},
        RMS | BASE,
    ),
    "llama3-rope": ArchModel(
        "llama",
        qkv() | PRE_NORMS | glu(),
        RMS | BASE,
        head=TIED,
        final=norms("output_norm") | {"rope_freqs.weight": (C // 2,)},
    ),
    "mixtral": ArchModel("llama", qkv() | PRE_NORMS | experts(width=F), RMS | BASE | MOE),
    "llama-yarn": ArchModel(
        "llama", qkv(c=48) | PRE_NORMS | glu(), RMS | BASE | YARN | head_width(48), c=48
    ),
    "qwen2": ArchModel("qwen2", qkv(bias=True) | PRE_NORMS | glu(), RMS | BASE, head=TIED),
    "qwen2moe": ArchModel(
        "qwen2moe",
        qkv(bias=True)
        | PRE_NORMS
        | experts()
        | {"ffn_gate_inp_shexp.weight": (D,)}
        | shared_expert(),
        RMS | BASE | MOE | {"expert_shared_feed_forward_length": 96},
    ),
    "qwen3": ArchModel(
        "qwen3",
        qkv(c=48) | PRE_NORMS | norms("attn_q_norm", "attn_k_norm", width=48) | glu(),
        RMS | BASE | head_width(48),
        c=48,
    ),
    "qwen3moe": ArchModel(
        "qwen3moe", qkv() | PRE_NORMS | HEAD_NORMS | experts(), RMS | BASE | MOE | head_width(C)
    ),
    "olmoe": ArchModel(
        "olmoe",
        qkv(kv_heads=H) | PRE_NORMS | norms("attn_q_norm", "attn_k_norm") | experts(width=F),
        RMS | BASE | MOE,
        kv_heads=H,
    ),
    "gemma": ArchModel(
        "gemma", qkv(c=80) | PRE_NORMS | glu(), RMS | BASE | head_width(80), head=TIED, c=80
    ),
    "gemma2": ArchModel(
        "gemma2",
        qkv(c=80) | SANDWICH | glu(),
        RMS
        | BASE
        | head_width(80)
        | {
            "attention.sliding_window": WINDOW,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 3.0,
        },
        n_layers=4,
        head=TIED,
        c=80,
    ),
    "gemma3": ArchModel(
        "gemma3",
        qkv(c=80) | SANDWICH | norms("attn_q_norm", "attn_k_norm", width=80) | glu(),
        RMS
        | head_width(80)
        | {
            "rope.freq_base": 100000.0,
            "rope.scaling.type": "linear",
            "rope.scaling.factor": 8.0,
            "attention.sliding_window": WINDOW,
        },
        n_layers=7,
        head=TIED,
        c=80,
    ),
    "phi2": ArchModel(
        "phi2",
        qkv(bias=True) | {"attn_output.bias": (D,)} | norms("attn_norm", bias=True) | mlp(),
        LN | BASE | {"rope.dimension_count": 32},
        head={"output.weight": (V, D), "output.bias": (V,)},
        final=FINAL_LN,
    ),
    "phi3": ArchModel(
        "phi3",
        qkv(fused=True) | PRE_NORMS | {"ffn_up.weight": (2 * F, D), "ffn_down.weight": (D, F)},
        RMS | BASE | {"rope.dimension_count": C},
    ),
    "phi3-longrope": ArchModel(
        "phi3",
        qkv(fused=True) | PRE_NORMS | {"ffn_up.weight": (2 * F, D), "ffn_down.weight": (D, F)},
        RMS
        | BASE
        | {
            "rope.dimension_count": C,
            "rope.scaling.original_context_length": 16,
            "rope.scaling.attn_factor": 1.5**0.5,
        },
        final=norms("output_norm")
        | {f"rope_factors_{n}.weight": (C // 2,) for n in ("long", "short")},
    ),
    "phi3-partial": ArchModel(  # Phi 4 mini, within its short context
        "phi3",
        qkv(fused=True) | PRE_NORMS | {"ffn_up.weight": (2 * F, D), "ffn_down.weight": (D, F)},
        RMS | BASE | {"rope.dimension_count": 48, "rope.scaling.original_context_length": 256},
        head=TIED,
        final=norms("output_norm") | {f"rope_factors_{n}.weight": (24,) for n in ("long", "short")},
    ),
    "gpt2": ArchModel(
        "gpt2",
        qkv(fused=True, bias=True, kv_heads=H) | {"attn_output.bias": (D,)} | LAYER_NORMS | mlp(),
        LN,
        head=TIED,
        final=FINAL_LN | {"position_embd.weight": (N_CTX, D)},
        kv_heads=H,
    ),
    "starcoder2": ArchModel(
        "starcoder2",
        qkv(bias=True) | {"attn_output.bias": (D,)} | LAYER_NORMS | mlp(),
        LN | BASE,
        head=TIED,
        final=FINAL_LN,
    ),
    "stablelm": ArchModel(
        "stablelm",
        qkv(bias=True) | LAYER_NORMS | glu(),
        LN | BASE | {"rope.dimension_count": 16, "use_parallel_residual": False},
        final=FINAL_LN,
    ),
    "stablelm-parallel": ArchModel(
        "stablelm",
        qkv()
        | norms("attn_norm", bias=True)
        | {"attn_q_norm.weight": (H, C), "attn_k_norm.weight": (G, C)}
        | glu(),
        LN | BASE | {"rope.dimension_count": 16, "use_parallel_residual": True},
        final=FINAL_LN,
    ),
    "command-r": ArchModel(
        "command-r",
        qkv() | norms("attn_norm") | glu(),
        LN | BASE | {"logit_scale": 0.0625},
        head=TIED,
    ),
    "command-r-plus": ArchModel(
        "command-r",
        qkv()
        | norms("attn_norm")
        | {"attn_q_norm.weight": (H, C), "attn_k_norm.weight": (G, C)}
        | glu(),
        LN | BASE | {"logit_scale": 0.25},
        head=TIED,
        llama_cpp=False,
    ),
    "cohere2": ArchModel(
        "cohere2",
        qkv() | norms("attn_norm") | glu(),
        LN | BASE | head_width(C) | {"logit_scale": 0.25, "attention.sliding_window": WINDOW},
        n_layers=5,
        head=TIED,
    ),
    "granite": ArchModel(
        "granite",
        qkv() | PRE_NORMS | glu(),
        RMS | BASE | GRANITE,
        head=TIED,
    ),
    "granitemoe": ArchModel(
        "granitemoe", qkv() | PRE_NORMS | experts(width=F), RMS | BASE | MOE | GRANITE, head=TIED
    ),
    "granitemoe-shared": ArchModel(
        "granitemoe",
        qkv() | PRE_NORMS | experts(width=F) | shared_expert(),
        RMS | BASE | MOE | GRANITE | {"expert_shared_feed_forward_length": 96},
        n_layers=2,  # with 3 a token's experts are too near a tie
    ),
    "olmo2": ArchModel(
        "olmo2",
        qkv()
        | norms("post_attention_norm", "post_ffw_norm", "attn_q_norm")
        | norms("attn_k_norm", width=G * C)
        | glu(),
        RMS | BASE,
    ),
    "olmo3": ArchModel(
        "olmo2",
        qkv()
        | norms("post_attention_norm", "post_ffw_norm", "attn_q_norm")
        | norms("attn_k_norm", width=G * C)
        | glu(),
        RMS | BASE | YARN | {"attention.sliding_window": WINDOW},
        n_layers=5,
    ),
    "smollm3": ArchModel("smollm3", qkv() | PRE_NORMS | glu(), RMS | BASE, n_layers=5, head=TIED),
    "gptneox": ArchModel(
        "gptneox",
        qkv(fused=True, bias=True, kv_heads=H) | {"attn_output.bias": (D,)} | LAYER_NORMS | mlp(),
        LN | BASE | {"rope.dimension_count": 16, "use_parallel_residual": True},
        final=FINAL_LN,
        kv_heads=H,
    ),
    "gptneox-serial": ArchModel(
        "gptneox",
        qkv(fused=True, bias=True, kv_heads=H) | {"attn_output.bias": (D,)} | LAYER_NORMS | mlp(),
        LN | BASE | {"rope.dimension_count": 16, "use_parallel_residual": False},
        final=FINAL_LN,
        kv_heads=H,
    ),
    "falcon-7b": ArchModel(
        "falcon",
        qkv(fused=True, kv_heads=1) | norms("attn_norm", bias=True) | mlp(bias=False),
        LN | BASE,
        final=FINAL_LN,
        head=TIED,
        kv_heads=1,
    ),
    "falcon-40b": ArchModel(
        "falcon",
        qkv(fused=True) | norms("attn_norm", "attn_norm_2", bias=True) | mlp(bias=False),
        LN | BASE,
        final=FINAL_LN,
        head=TIED,
    ),
    "exaone": ArchModel(
        "exaone",
        qkv() | PRE_NORMS | glu(),
        RMS | BASE,
        final=norms("output_norm") | {"rope_freqs.weight": (C // 2,)},
    ),
    "glm4": ArchModel(
        "glm4",
        qkv(bias=True) | SANDWICH | {"ffn_up.weight": (2 * F, D), "ffn_down.weight": (D, F)},
        RMS | BASE | {"rope.dimension_count": 32},
    ),
}
