"""Test models whose matrices are of all types in turn, quantized by llama.cpp's own code."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from arch_model import ArchModel
from arch_models import MODELS
from ggml_oracle import quantize

Quant = gguf.GGMLQuantizationType
# Rows of 256 columns take any of these; rows of 320 only those with blocks of 32.
SMALL_BLOCKS = [
    *(Quant.F32, Quant.F16, Quant.BF16, Quant.Q8_0, Quant.Q4_0),
    *(Quant.Q4_1, Quant.Q5_0, Quant.Q5_1, Quant.IQ4_NL, Quant.MXFP4),
]
LARGE_BLOCKS = [Quant.Q2_K, Quant.Q3_K, Quant.Q4_K, Quant.Q5_K, Quant.Q6_K, Quant.IQ4_XS]
# Phi 3's fused projections and Mixtral's experts get types unlike their neighbours' too.
MIXES = [(name, turn) for name in ("llama", "mixtral", "phi3") for turn in (0, 5, 11)]


def median_error(got: NDArray[np.float32], want: NDArray[np.float32]) -> float:
    """rms(got - want) / rms(want) of the middle row.

    A rounding may send a token to another expert, after which its row says nothing.
    """
    return float(np.median(np.sqrt(np.mean((got - want) ** 2, axis=-1) / np.mean(want**2))))


def mixed(model: ArchModel, turn: int) -> dict[str, int]:
    """A type for each matrix, all in turn, so that neighbours differ."""
    types: dict[str, int] = {}
    for name, shape in model.shapes().items():
        if len(shape) > 1:
            fitting = SMALL_BLOCKS + (LARGE_BLOCKS if shape[-1] % 256 == 0 else [])
            types[name] = fitting[(len(types) + turn) % len(fitting)]
    return types


def write_mix(name: str, turn: int, path: Path) -> Path:
    """The file of one mix."""
    model, types = MODELS[name], mixed(MODELS[name], turn)
    stored = {n: quantize(types[n], w) if types.get(n) else w for n, w in model.tensors().items()}
    return model.write(path, stored, types)
