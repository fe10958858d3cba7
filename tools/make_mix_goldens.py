"""Writes tests/golden/mixes.npz: logits of models whose matrices are of all types in turn.

For each of arch_mixes.MIXES, NAME-TURN holds (T, V) float16 logits, transformers' own with the
dequantized weights, and NAME-TURN-llama_cpp_error how far llama.cpp is from
them on the file itself.
Wants what make_arch_goldens.py wants, and xllamacpp, whose quantizers write the files:

    PYTHONPATH=tests/support goldens/bin/python tools/make_mix_goldens.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import gguf
import numpy as np
from make_arch_goldens import llama_cpp_logits, start_llama_cpp, transformers_logits

from arch_mixes import MIXES, median_error, write_mix
from arch_models import MODELS

GOLDEN = Path(__file__).parent.parent / "tests" / "golden" / "mixes.npz"


def main() -> None:
    """Make the goldens of all mixes."""
    start_llama_cpp()
    made: dict[str, np.ndarray] = {}
    for name, turn in MIXES:
        with tempfile.TemporaryDirectory() as folder:
            path = write_mix(name, turn, Path(folder) / "mixed.gguf")
            found = gguf.GGUFReader(path).tensors
            tensors = {t.name: gguf.dequantize(t.data, t.tensor_type) for t in found}
            logits = transformers_logits(name, MODELS[name], tensors)
            error = median_error(llama_cpp_logits(path), logits)
        made[f"{name}-{turn}"] = logits.astype(np.float16)
        made[f"{name}-{turn}-llama_cpp_error"] = np.float32(error)
        print(f"{name:10} {turn:2} llama.cpp {error:.2e}", flush=True)
    np.savez_compressed(GOLDEN, **made)


if __name__ == "__main__":
    main()
