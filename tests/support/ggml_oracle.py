"""llama.cpp's own block code, called through the shared object of the xllamacpp package."""

import ctypes
import importlib.util
from functools import cache
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Activation blocks: weights a block, and the record that holds them.
_ACTS = {
    "q8_0": (32, np.dtype([("d", "<f2"), ("qs", "i1", 32)])),
    "q8_1": (32, np.dtype([("d", "<f2"), ("s", "<f2"), ("qs", "i1", 32)])),
    "q8_K": (256, np.dtype([("d", "<f4"), ("qs", "i1", 256), ("bsums", "<i2", 16)])),
}


def library_path() -> Path:
    """llama.cpp inside the package, which a Python that has no wheel of it cannot import."""
    package = importlib.util.find_spec("xllamacpp")
    assert package is not None, "the tests need xllamacpp: make .venv/with-test"
    (path,) = Path(str(package.origin)).parent.glob("xllamacpp*.so")
    return path


@cache
def ggml() -> ctypes.CDLL:
    """The library, its CPU tables initialised."""
    library = ctypes.CDLL(str(library_path()))
    library.ggml_cpu_init()
    return library


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


def dequantize(quant: str, rows: NDArray[np.uint8], k: int) -> Floats:
    """dequantize_row_<type> of file rows: (N, row bytes) to (N, k)."""
    name = f"dequantize_row_{quant.replace('_k', '_K')}"
    rows = np.ascontiguousarray(rows)
    out = np.empty((len(rows), k), np.float32)
    getattr(ggml(), name)(_pointer(rows), _pointer(out), ctypes.c_int64(out.size))
    return out


def quantize(kind: int, weights: Floats) -> NDArray[np.uint8]:
    """ggml_quantize_chunk to a GGML type by its number: (..., k) to (..., row bytes)."""
    call = ggml().ggml_quantize_chunk
    call.restype = ctypes.c_size_t
    weights = np.ascontiguousarray(weights, np.float32)
    *shape, k = weights.shape
    block, n_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]
    out = np.empty((*shape, k // block * n_bytes), np.uint8)
    sizes = (ctypes.c_int64(n) for n in (0, weights.size // k, k))
    assert call(kind, _pointer(weights), _pointer(out), *sizes, None) == out.nbytes
    return out


def activation_type(quant: str) -> str:
    """What llama.cpp's dot products of that weight type quantize activations to."""
    if quant in ("q4_1", "q5_1"):
        return "q8_1"
    return "q8_K" if quant.endswith(("_k", "_xs")) else "q8_0"


def quantize_activations(kind: str, x: Floats) -> Floats:
    """x as llama.cpp's dot products see it: quantize_row_<kind>, then decoded again."""
    block, record = _ACTS[kind]
    x = np.ascontiguousarray(x, np.float32)
    out = np.empty(x.size // block, record)
    getattr(ggml(), f"quantize_row_{kind}")(_pointer(x), _pointer(out), ctypes.c_int64(x.size))
    return (out["d"].astype(np.float32)[:, None] * out["qs"]).reshape(x.shape)
