"""A model's tensors under the short names that the architecture files use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn, overload

import numpy as np

from .errors import ModelFormatError, UnsupportedModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .gguf import GgufFile
    from .graph import Graph, Weight

# Tensors that no answer depends on: RoPE's frequencies as old converters stored them, which follow
# from the metadata, and the heads that classify or rank a text beside foretelling its next token.
_IGNORED = re.compile(r"blk\.\d+\.attn_rot_embd\.weight|cls(\.output|\.norm)?\.(weight|bias)")


# By load()'s `activations`, the tensors of Q8_0 and IQ4 that activations of 16 bits are multiplied
# with where 8 bits are faster. SmolLM2 in Q8_0, nats of KL divergence: 0.0025 with none; 0.0018
# with the output layer, which prefill computes for one row; 0.0014 with attn_v too, a thirtieth of
# the work. After that knee the price rises: 0.0011 with all of attention, 0.0010 with ffn_down
# instead, each a quarter of the work or more.
EXACT = {
    "int8": re.compile(r"(?!)"),
    "auto": re.compile(r"(output|token_embd|blk\.\d+\.attn_v)\.weight"),
    "int16": re.compile(r""),
}


class Block:
    """The tensors of one layer: `b["attn_q"]` is tensor blk.<i>.attn_q.weight."""

    def __init__(self, weights: Weights, prefix: str) -> None:
        self._weights = weights
        self._prefix = prefix

    def __getitem__(self, name: str) -> Weight:
        return self._weights[self._prefix + name]

    def get(self, name: str) -> Weight | None:
        """The tensor `name`.weight, or None if the file has none."""
        return self._weights.get(self._prefix + name)

    def bias(self, name: str) -> Weight | None:
        """The tensor `name`.bias, or None if the file has none."""
        return self._weights.bias(self._prefix + name)


class Weights:
    """The tensors of a file. A name without a suffix means `<name>.weight`.

    Remembers what was used: a tensor that no op reads means that edgelm does not know this variant,
    and running on without it would answer wrongly.
    """

    def __init__(self, file: GgufFile, graph: Graph, activations: str = "auto") -> None:
        self._file = file
        self._exact = EXACT[activations]
        self._graph = graph
        self._names = {t.name for t in file.tensors}
        self._used: set[str] = set()

    def __getitem__(self, name: str) -> Weight:
        weight = self._find(f"{name}.weight")
        if weight is None:
            raise ModelFormatError(
                f"{self._file.path}: tensor '{name}.weight' is missing. "
                "The file is incomplete, or not of the architecture that it names."
            )
        return weight

    @overload
    def get(self, name: str) -> Weight | None: ...
    @overload
    def get(self, name: str, default: Weight) -> Weight: ...
    def get(self, name: str, default: Weight | None = None) -> Weight | None:
        """The tensor `name`.weight, or the default if the file has none."""
        return self._find(f"{name}.weight") or default

    def bias(self, name: str) -> Weight | None:
        """The tensor `name`.bias, or None if the file has none."""
        return self._find(f"{name}.bias")

    def vector(self, name: str, width: int) -> NDArray[np.float32] | None:
        """`name`.weight as positive float32 values (width,), for Python; None if there is none."""
        tensor = next((t for t in self._file.tensors if t.name == f"{name}.weight"), None)
        if tensor is None:
            return None
        self._used.add(tensor.name)
        if tensor.type != "F32" or tensor.shape[-1] != width or tensor.n_bytes != 4 * width:
            self._bad(tensor.name, f"{tensor.type} {tensor.shape}", f"F32 ({width},)")
        values = self._file.read(tensor).view(np.float32)
        if not np.all(np.isfinite(values) & (values > 0)):
            self._bad(tensor.name, "values that are not", "positive numbers")
        return values

    def blocks(self, n_layers: int) -> Iterator[tuple[int, Block]]:
        """Each layer's number and tensors."""
        for i in range(n_layers):
            yield i, Block(self, f"blk.{i}.")

    def check_all_used(self) -> None:
        """UnsupportedModelError if a tensor was left unread that changes what the model answers."""
        unused = sorted(n for n in self._names - self._used if not _IGNORED.fullmatch(n))
        if unused:
            shown = ", ".join(unused[:4]) + (", ..." if len(unused) > 4 else "")
            raise UnsupportedModelError(
                f"{self._file.path}: {len(unused)} tensors are of no use to this architecture "
                f"({shown}). edgelm does not know this variant of the model."
            )

    def _find(self, name: str) -> Weight | None:
        if name not in self._names:
            return None
        self._used.add(name)
        return self._graph.weight(self._file, name, self._exact.match(name) is not None)

    def _bad(self, name: str, got: str, expected: str) -> NoReturn:
        raise ModelFormatError(
            f"{self._file.path}: tensor '{name}' holds {got}; expected {expected}."
        )
