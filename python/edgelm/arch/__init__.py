"""The architectures: one short file each, wiring a graph from a file's metadata and tensors."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import UnsupportedModelError
from ..graph import Graph, Value
from ..meta import Meta
from ..weights import Weights
from . import llama

Build = Callable[[Graph, Meta, Weights], Value]

# GGUF's general.architecture -> the function that writes the graph and returns the logits (R, V).
ARCHITECTURES: dict[str, Build] = {
    "llama": llama.build,
}


def build(g: Graph, m: Meta, w: Weights) -> Value:
    """Write the graph of the file's architecture; UnsupportedModelError if it is unknown."""
    if m.architecture not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise UnsupportedModelError(
            f"{m.file.path}: architecture '{m.architecture}' is not supported. Known: {known}."
        )
    logits = ARCHITECTURES[m.architecture](g, m, w)
    w.check_all_used()
    return logits
