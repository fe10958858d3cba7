"""GGUF files written byte by byte, so that any field can lie."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_FORMATS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B"}
_FORMATS |= {U64: "Q", I64: "q", F64: "d"}

TENSOR_F32, TENSOR_Q4_0, TENSOR_Q4_K = 0, 2, 12


def string(text: str | bytes, length: int | None = None) -> bytes:
    """A length and the bytes; `length` may lie."""
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data) if length is None else length) + data


def number(kind: int, value: float) -> bytes:
    return struct.pack("<" + _FORMATS[kind], value)


def value(key: str | bytes, kind: int, payload: float | str | bytes) -> bytes:
    """One metadata value; a `bytes` payload is taken as it is."""
    if isinstance(payload, str):
        payload = string(payload)
    elif not isinstance(payload, bytes):
        payload = number(kind, payload)
    return string(key) + struct.pack("<I", kind) + payload


def array(key: str | bytes, kind: int, payloads: list[bytes], length: int | None = None) -> bytes:
    count = len(payloads) if length is None else length
    return value(key, ARRAY, struct.pack("<IQ", kind, count) + b"".join(payloads))


def tensor(
    name: str | bytes, dims: list[int], kind: int = TENSOR_F32, offset: int = 0, n_dims: int = -1
) -> bytes:
    """One row of the tensor table; dims in the file's order, the row's width first."""
    return (
        string(name)
        + struct.pack("<I", len(dims) if n_dims < 0 else n_dims)
        + b"".join(struct.pack("<Q", d % 2**64) for d in dims)
        + struct.pack("<IQ", kind, offset)
    )


@dataclass
class Gguf:
    """A whole file; the counts are right unless given."""

    values: list[bytes] = field(
        default_factory=lambda: [value("general.architecture", STRING, "x")]
    )
    tensors: list[bytes] = field(default_factory=list)
    data: bytes = b""
    magic: bytes = b"GGUF"
    version: int = 3
    n_values: int | None = None
    n_tensors: int | None = None
    alignment: int = 32

    def __bytes__(self) -> bytes:
        n_tensors = len(self.tensors) if self.n_tensors is None else self.n_tensors
        n_values = len(self.values) if self.n_values is None else self.n_values
        head = self.magic + struct.pack("<IQQ", self.version, n_tensors, n_values)
        head += b"".join(self.values) + b"".join(self.tensors)
        return head + bytes(-len(head) % self.alignment) + self.data if self.data else head
