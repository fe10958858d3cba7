"""Opening GGUF files, and saying what a file that is none really is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ._core import GgufFile, TensorInfo
from .errors import ModelFormatError

__all__ = ["GgufFile", "TensorInfo", "open_gguf"]

_CONVERT = "edgelm reads GGUF only: fetch the model's GGUF file, or convert it with llama.cpp."
_AGAIN = "Fetch the .gguf file itself, by its download link."

# What people give in place of a GGUF file: how it begins, what it is, what to do.
_LOOKALIKES = (
    (b"version https://git-lfs", "a Git LFS pointer, not the model", "Run `git lfs pull` there."),
    (b"PK\x03\x04", "a zip archive or a PyTorch checkpoint", _CONVERT),
    (b"\x80", "a Python pickle", _CONVERT),
    (b"\x89HDF", "an HDF5 file", _CONVERT),
    (b"\x1f\x8b", "a gzip archive", "Unpack it first."),
    (b"lmgg", "a GGML file from before GGUF", _CONVERT),
    (b"fmgg", "a GGML file from before GGUF", _CONVERT),
    (b"tjgg", "a GGML file from before GGUF", _CONVERT),
)


def open_gguf(path: str | os.PathLike[str]) -> GgufFile:
    """Open a GGUF file, or the first part of a split one. Reads the header only: milliseconds.

    Raises FileNotFoundError, IsADirectoryError or another OSError if it can't be read,
    ModelFormatError if it is damaged or no GGUF file, UnsupportedModelError if edgelm can't run it.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such file.") from None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path} is a directory. {_models_in(path)}")
    if stat.S_ISREG(mode):
        _check_magic(path)
    return GgufFile(path)


def _models_in(directory: Path) -> str:
    names = sorted(p.name for p in directory.glob("*.gguf"))
    if not names:
        return "It holds no .gguf file; give the path of one."
    more = f" or one of {len(names) - 1} others" if len(names) > 1 else ""
    return f"Give the path of a file in it: {names[0]}{more}."


def _check_magic(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"GGUF"):
        return
    if not start:
        raise ModelFormatError(f"{path.name}: the file is empty. Fetch it again.")
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 40:
        raise ModelFormatError(f"{path.name} is a safetensors file. {_CONVERT}")
    for magic, what, advice in _LOOKALIKES:
        if start.startswith(magic):
            raise ModelFormatError(f"{path.name} is {what}. {advice}")
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith((b"<", b"{", b"[")):
        kind = "an HTML or XML page" if text.startswith(b"<") else "JSON text"
        raise ModelFormatError(f"{path.name} is {kind}, not a model. {_AGAIN}")
    raise ModelFormatError(
        f"{path.name} is not a GGUF file: it begins with {start[:4]!r}, not b'GGUF'. {_AGAIN}"
    )
