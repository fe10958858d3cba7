"""A sound GGUF file taken apart, to change one thing in it and put it together again."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import gguf_bytes as g

_SIZES = {kind: struct.calcsize("<" + code) for kind, code in g._FORMATS.items()}


@dataclass
class GgufParts:
    """values: key to its type and payload; tensors: [name, dims in file order, type, offset]."""

    values: dict[str, bytes]
    tensors: list[list]
    data: bytes

    @classmethod
    def of(cls, file: bytes) -> GgufParts:
        """The parts of a file of version 3 with alignment 32."""
        at = 8

        def take(code: str) -> int:
            nonlocal at
            (number,) = struct.unpack_from("<" + code, file, at)
            at += struct.calcsize("<" + code)
            return number

        def text() -> bytes:
            nonlocal at
            length = take("Q")
            at += length
            return file[at - length : at]

        def skip(kind: int) -> None:
            nonlocal at
            if kind == g.STRING:
                text()
            elif kind == g.ARRAY:
                inner, length = take("I"), take("Q")
                for _ in range(length):
                    skip(inner)
            else:
                at += _SIZES[kind]

        n_tensors, n_values = take("Q"), take("Q")
        values = {}
        for _ in range(n_values):
            key, start = text().decode(), at
            skip(take("I"))
            values[key] = file[start:at]
        tensors = []
        for _ in range(n_tensors):
            name, n_dims = text().decode(), take("I")
            dims = [take("Q") for _ in range(n_dims)]
            tensors.append([name, dims, take("I"), take("Q")])
        return cls(values, tensors, file[-(-at // 32) * 32 :])

    def copy(self) -> GgufParts:
        """Parts that may be changed while these stay."""
        return GgufParts(
            dict(self.values), [[n, d[:], k, o] for n, d, k, o in self.tensors], self.data
        )

    def __bytes__(self) -> bytes:
        values = [g.string(key) + payload for key, payload in self.values.items()]
        return bytes(
            g.Gguf(values, [g.tensor(n, d, k, o) for n, d, k, o in self.tensors], self.data)
        )
