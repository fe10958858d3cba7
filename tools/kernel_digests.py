"""Digests of what an ISA's kernels give, a line each, to compare two builds of the same kernels.

PYTHONPATH=tests/support python tools/kernel_digests.py ISA
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

import quant_reference as reference
from edgelm import _core as core

KINDS = ("silu", "gelu", "gelu_tanh", "relu", "relu2", "sigmoid", "tanh", "quick_gelu")
Result = tuple[str, NDArray[np.float32]]


def floats(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return (3 * rng.standard_normal(shape)).astype(np.float32)


def matmuls(isa: str, rng: np.random.Generator) -> Iterator[Result]:
    k = 1024
    for quant, *_ in core.quants():
        rows, x = reference.random_rows(rng, quant, 33, k), floats(rng, 17, k)
        for exact in (False, True):
            name = f"{quant}{'-exact' if exact else ''}"
            yield f"quantize-{name}", core.quantize(isa, quant, x, exact=exact)
            matrix = core.PackedMatrix(isa, quant, rows, k, exact=exact)
            for form in ("fused", "panel"):
                yield f"matmul-{name}-{form}", matrix.matmul(x, form)


def rows(isa: str, rng: np.random.Generator) -> Iterator[Result]:
    kernels, width = core.RowKernels(isa), 577
    x, y, w = floats(rng, 3, width), floats(rng, 3, width), floats(rng, width)
    yield "rms_norm", kernels.rms_norm(x, w, 1e-5)
    yield "layer_norm", kernels.layer_norm(x, w, w, 1e-5)
    yield "softcap", kernels.softcap(x, 1.5)
    for name in ("add", "mul"):
        yield name, getattr(kernels, name)(x, y)
    for kind in KINDS:
        yield kind, kernels.activation(kind, x)
        yield f"gated-{kind}", kernels.gated(kind, x, y)
    for interleaved in (False, True):
        yield f"rope-{interleaved}", kernels.rope(x[:, :80].copy(), y[:, :80].copy(), interleaved)


def attentions(isa: str, rng: np.random.Generator) -> Iterator[Result]:
    for heads, width in ((1, 256), (3, 64), (4, 80), (7, 8)):
        q, k, v = floats(rng, 19, heads, width), floats(rng, 601, width), floats(rng, 601, width)
        positions = np.arange(582, 601, dtype=np.int32)
        for kv_type in ("f16", "q8_0"):
            for chunk in (1, 16):
                options = {"kv_type": kv_type, "scale": width**-0.5, "chunk": chunk}
                name = f"attention-{heads}x{width}-{kv_type}-{chunk}"
                yield name, core.attention(isa, q, k, v, positions, **options)


def main() -> None:
    isa = sys.argv[1]
    for part in (matmuls, rows, attentions):
        for name, result in part(isa, np.random.default_rng(0)):
            print(name, hashlib.sha256(result.tobytes()).hexdigest()[:16])


if __name__ == "__main__":
    main()
