"""Opening GGUF files, and saying what a file that is none really is."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from ._core import GgufFile, TensorInfo
from .errors import ModelFormatError, UnsupportedModelError, warn

__all__ = ["GgufFile", "TensorInfo", "check_is_model", "open_gguf"]

_CONVERT = "edgelm reads GGUF only: fetch the model's GGUF file, or convert it with llama.cpp."
_AGAIN = "Fetch the .gguf file itself, by its download link."

# What people give in place of a GGUF file: how it begins, what it is, what to do.
_LOOKALIKES = (
    (b"version https://git-lfs", "a Git LFS pointer, not the model", "Run `git lfs pull` there."),
    (b"PK\x03\x04", "a zip archive or a PyTorch checkpoint", _CONVERT),
    (b"\x80", "a Python pickle", _CONVERT),
    (b"\x89HDF", "an HDF5 file", _CONVERT),
    (b"\x1f\x8b", "a gzip archive", "Unpack it first."),
    (b"lmgg", "a GGML file, of whisper.cpp or from before GGUF", _CONVERT),
    (b"fmgg", "a GGML file from before GGUF", _CONVERT),
    (b"tjgg", "a GGML file from before GGUF", _CONVERT),
)

# GGUF files that hold something else, by general.architecture: what it is, what to do.
_MODEL = "Give the language model's own .gguf file."
_IMAGES = "edgelm runs language models only."
_NO_DECODER = "edgelm runs models that write text from left to right."
_OTHERS = {
    **dict.fromkeys(
        ("clip", "mmproj"),
        ("the projector of a model that sees or hears (mmproj), not the model itself", _MODEL),
    ),
    "controlvector": ("a control vector, which changes a model, not the model itself", _MODEL),
    "imatrix": ("an importance matrix, made to quantize a model, not the model itself", _MODEL),
    "adapter": (
        "a LoRA adapter, which changes a model, not the model itself",
        "Merge it into its model with llama.cpp's llama-export-lora, and give that file.",
    ),
    **dict.fromkeys(
        (
            *("flux", "sd1", "sdxl", "sd3", "aura", "hidream", "chroma", "lumina2", "qwen_image"),
            *("pixart", "z_image", "cosmos", "hyvid", "ltxv", "wan", "diffusion"),
        ),
        ("a diffusion model, which makes images or videos", _IMAGES),
    ),
    "whisper": ("a Whisper model, which recognizes speech", _IMAGES),
    "wavtokenizer-dec": ("a decoder of speech", _IMAGES),
    **dict.fromkeys(
        ("dream", "llada", "llada-moe", "rnd1"),
        ("a language model that writes by diffusion, all of the text at once", _NO_DECODER),
    ),
    **dict.fromkeys(
        (
            *("bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "eurobert"),
            *("jina-bert-v2", "jina-bert-v3", "gemma-embedding", "llama-embed", "t5encoder"),
        ),
        ("an encoder, for embeddings of texts", _NO_DECODER),
    ),
}
# And by the tensors that only such files have.
_OTHER_TENSORS = (
    (re.compile(r".*\.(in_sum2|counts)"), "imatrix"),
    (re.compile(r".*\.lora_[ab]"), "adapter"),
    (re.compile(r"(v|mm|a)\.(patch_embd|blk|enc|input_proj|model)\b.*"), "mmproj"),
    (re.compile(r"(model\.diffusion_model|double_blocks|joint_blocks)\..*"), "diffusion"),
    (re.compile(r"(encoder|decoder)\.(conv1|blocks\.0\.cross_attn)\b.*"), "whisper"),
)
_LONE_EXPERT = re.compile(r"blk\.\d+\.ffn_(gate|up|down)\.\d+\.weight")
# Names of files that were cut into pieces by bytes, or are on their way.
_PIECE = re.compile(
    r"(?P<whole>.+\.gguf)[._-]?(part[-_.]?\w+|split[-_.]?\w+|\d{2,5}|[a-z]{2})", re.IGNORECASE
)
_UNFINISHED = re.compile(r".+\.(part|partial|incomplete|crdownload|download|aria2|tmp)", re.I)


def open_gguf(path: str | os.PathLike[str]) -> GgufFile:
    """Open a GGUF file, or the first part of a split one. Reads the header only: milliseconds.

    Raises FileNotFoundError, IsADirectoryError or another OSError if it can't be read,
    ModelFormatError if it is damaged or no GGUF file, UnsupportedModelError if edgelm can't run it.
    """
    path = Path(path).expanduser()
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such file.") from None
    if stat.S_ISDIR(mode):
        path = _model_in(path)
        mode = path.stat().st_mode
    try:
        if stat.S_ISREG(mode):
            _check_magic(path)
        file = GgufFile(path)
    except ModelFormatError as error:
        if advice := _incomplete(path):
            raise ModelFormatError(f"{path.name} {advice}") from error
        raise
    for remark in file.remarks:
        warn(remark)
    return file


def check_is_model(file: GgufFile) -> None:
    """UnsupportedModelError saying what the file is, if it is none that could write text."""
    names = [t.name for t in file.tensors]
    values = [file.get(key) for key in ("general.architecture", "general.type", "adapter.type")]
    kinds = ["adapter" if value == "lora" else value for value in values]
    kinds += [kind for pattern, kind in _OTHER_TENSORS if any(map(pattern.fullmatch, names))]
    what = next(
        (_OTHERS[kind] for kind in kinds if isinstance(kind, str) and kind in _OTHERS), None
    )
    if what is None and not names:
        what = "a vocabulary without a model: it holds no tensors", _MODEL
    if what is None and any(map(_LONE_EXPERT.fullmatch, names)):
        what = (
            "a mixture of experts that stores each expert as a tensor of its own, as converters "
            "did before April 2024",
            "edgelm reads files with all experts of a layer in one tensor (ffn_gate_exps): fetch a "
            "newer file, or convert the model again.",
        )
    if what is not None:
        raise UnsupportedModelError(f"{file.path} is {what[0]}. {what[1]}")


# Where a folder's models lie: in it, in folders by owner or repository, or in the hub's cache.
_PLACES = ("*", "*/*", "snapshots/*/*", "snapshots/*/*/*")
_NOT_FIRST = re.compile(r".*-(?!00001)\d{5}-of-\d{5}\.gguf|mmproj.*|.*[._-]mmproj.*", re.IGNORECASE)


def _model_in(directory: Path) -> Path:
    """The one model of a folder; IsADirectoryError naming what it holds if there are more."""
    files = {
        path.resolve(): path
        for place in _PLACES
        for path in sorted(directory.glob(place))
        if path.suffix.lower() == ".gguf" and path.is_file()
    }
    models = [p for p in files.values() if not _NOT_FIRST.fullmatch(p.name)] or [*files.values()]
    if len(models) == 1:
        return models[0]
    if not models:
        raise IsADirectoryError(f"{directory} is a directory that holds no .gguf file.")
    names = ", ".join(str(p.relative_to(directory)) for p in models[:4])
    raise IsADirectoryError(
        f"{directory} is a directory of {len(models)} models. Give the path of one file: {names}"
        + (", ..." if len(models) > 4 else ".")
    )


def _incomplete(path: Path) -> str:
    """What to do if the name says that this is only a piece of a file."""
    if _UNFINISHED.fullmatch(path.name):
        return "is a download that did not end. Fetch the file again."
    if (piece := _PIECE.fullmatch(path.name)) is None:
        return ""
    whole = piece["whole"]
    return (
        "is one of several pieces that a file was cut into. Join them all in their order: "
        f"`cat {whole}[.-]* > {whole}`, or on Windows `copy /b PIECE1 + PIECE2 {whole}`."
    )


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
