"""Writes tests/golden/samplers.json: what llama.cpp's sampler chain keeps of random logits.

    pip install --no-deps xllamacpp==2026.10.11549 && python tools/make_sampler_goldens.py

xllamacpp's extension exports llama.cpp's C API, which ctypes calls here: no code of ours takes
part. The order is that of common/sampling.cpp: logit_bias, penalties, top_k, typ_p, top_p, min_p,
temperature.
"""

import ctypes
import json
from pathlib import Path

import numpy as np
import xllamacpp

V = 48
NEUTRAL = {
    "logit_bias": [],
    "repeat_last_n": 64,
    "repeat_penalty": 1.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "top_k": 0,
    "typical_p": 1.0,
    "top_p": 1.0,
    "min_p": 0.0,
    "temperature": 1.0,
}
DEFAULTS = NEUTRAL | {"top_k": 40, "top_p": 0.95, "min_p": 0.05, "temperature": 0.8}


class TokenData(ctypes.Structure):
    _fields_ = [("id", ctypes.c_int32), ("logit", ctypes.c_float), ("p", ctypes.c_float)]


class TokenDataArray(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.POINTER(TokenData)),
        ("size", ctypes.c_size_t),
        ("selected", ctypes.c_int64),
        ("sorted", ctypes.c_bool),
    ]


class LogitBias(ctypes.Structure):
    _fields_ = [("token", ctypes.c_int32), ("bias", ctypes.c_float)]


def library():
    path = next(Path(xllamacpp.__file__).parent.glob("xllamacpp*.so"))
    lib = ctypes.CDLL(str(path))
    real, count, pointer = ctypes.c_float, ctypes.c_size_t, ctypes.c_void_p
    for name, arguments in {
        "logit_bias": [ctypes.c_int32, ctypes.c_int32, ctypes.POINTER(LogitBias)],
        "penalties": [ctypes.c_int32, ctypes.c_int32, real, real, real],
        "top_k": [ctypes.c_int32],
        "typical": [real, count],
        "top_p": [real, count],
        "min_p": [real, count],
        "temp": [real],
    }.items():
        function = getattr(lib, f"llama_sampler_init_{name}")
        function.argtypes, function.restype = arguments, pointer
    lib.llama_sampler_accept.argtypes = [pointer, ctypes.c_int32]
    lib.llama_sampler_apply.argtypes = [pointer, ctypes.POINTER(TokenDataArray)]
    lib.llama_sampler_apply.restype = lib.llama_sampler_accept.restype = None
    return lib


def new_chain(lib, o, history, n_vocab):
    """llama.cpp's samplers in their order, the penalties knowing the history."""
    bias = (LogitBias * len(o["logit_bias"]))(*[LogitBias(int(t), b) for t, b in o["logit_bias"]])
    penalties = lib.llama_sampler_init_penalties(
        n_vocab,
        o["repeat_last_n"],
        o["repeat_penalty"],
        o["frequency_penalty"],
        o["presence_penalty"],
    )
    for token in history:
        lib.llama_sampler_accept(penalties, token)
    return [
        lib.llama_sampler_init_logit_bias(n_vocab, len(bias), bias),
        penalties,
        lib.llama_sampler_init_top_k(o["top_k"]),
        lib.llama_sampler_init_typical(o["typical_p"], 0),
        lib.llama_sampler_init_top_p(o["top_p"], 0),
        lib.llama_sampler_init_min_p(o["min_p"], 0),
        lib.llama_sampler_init_temp(o["temperature"]),
    ]


def llama_cpp(lib, logits, history, o):
    """Ids, ascending, and probabilities of the tokens that the chain keeps."""
    data = (TokenData * V)(*[TokenData(i, float(x), 0) for i, x in enumerate(logits)])
    tokens = TokenDataArray(data, V, -1, False)
    for sampler in new_chain(lib, o, history, V):
        lib.llama_sampler_apply(sampler, ctypes.byref(tokens))
    kept = sorted((tokens.data[i].id, tokens.data[i].logit) for i in range(tokens.size))
    logits = np.array([x for _, x in kept], np.float64)
    odds = np.exp(logits - logits.max())
    return [i for i, _ in kept], [float(f"{p:.9g}") for p in odds / odds.sum()]


def cases(rng):
    for base in (NEUTRAL, DEFAULTS):
        for change in (
            {},
            {"top_k": 1},
            {"top_k": 7},
            {"typical_p": 0.2},
            {"typical_p": 0.9},
            {"top_p": 0.0},
            {"top_p": 0.5},
            {"top_p": 0.999},
            {"min_p": 0.3},
            {"min_p": 1.0},
            {"temperature": 0.1},
            {"temperature": 3.0},
            {"repeat_penalty": 1.3},
            {"repeat_penalty": 1.3, "repeat_last_n": 5},
            {"repeat_penalty": 0.7, "repeat_last_n": 0},
            {"presence_penalty": 0.9},
            {"frequency_penalty": 0.6},
            {"repeat_penalty": 1.1, "presence_penalty": 0.3, "frequency_penalty": -0.4},
            {"logit_bias": [[3, 2.5], [7, -1.0], [11, -1e9]]},
            {"logit_bias": [[5, 4.0]], "typical_p": 0.5, "top_p": 0.8, "repeat_penalty": 1.2},
        ):
            spread = float(rng.choice([0.5, 2, 5]))
            logits = np.round(rng.normal(size=V) * spread, 4).astype(np.float32)
            history = rng.integers(0, V, 20).tolist()
            yield [float(f"{x:.6g}") for x in logits], history, base | change


def main():
    lib, written = library(), []
    for logits, history, options in cases(np.random.default_rng(2)):
        ids, probabilities = llama_cpp(lib, logits, history, options)
        written.append(
            {
                "logits": logits,
                "history": history,
                "options": options,
                "ids": ids,
                "probabilities": probabilities,
            }
        )
    path = Path(__file__).parent.parent / "tests" / "golden" / "samplers.json"
    path.write_text("[\n" + ",\n".join(json.dumps(w) for w in written) + "\n]\n")


if __name__ == "__main__":
    main()
