"""What people call a model: a path, a known name, a file of the Hugging Face hub, its address."""

from __future__ import annotations

import difflib
import os
import re
import urllib.parse
from pathlib import Path

from ..errors import DownloadError
from .models import MODELS, HubFile, ModelFile

HUB_FORM = "hf:OWNER/REPO/FILE.gguf, with @REVISION behind REPO if you want one"
_HOSTS = {"huggingface.co", "www.huggingface.co", "hf.co"}
_SPLIT = re.compile(r"-00001-of-(\d{5})\.gguf$", re.IGNORECASE)
_REPO = r"[\w.-]+/[\w.-]+"
_REVISION = r"refs/[\w.-]+/[\w.-]+|[\w.-]+"
# A path may hold anything that a folder of every system can.
_FILE = re.compile(
    rf"(?P<repo>{_REPO})(?:@(?P<revision>{_REVISION}))?/(?P<path>[^\\:*?\"<>|\0-\x1f]+\.gguf)",
    re.IGNORECASE,
)
_QUANT = re.compile(r"(?:UD-)?(?:I?Q\d\w*|F16|BF16|F32|MXFP4\w*|latest)", re.IGNORECASE)


def hub_source(source: str) -> str | None:
    """`source` in the form hf:..., if it is a file of the hub in whatever form; None if not.

    DownloadError for an address elsewhere.
    """
    if re.match(r"hf:", source, re.IGNORECASE):
        return "hf:" + source[3:].lstrip("/")
    if re.match(r"https?://", source, re.IGNORECASE):
        address = urllib.parse.urlsplit(source)
        mirror = urllib.parse.urlsplit(os.environ.get("HF_ENDPOINT", "")).hostname
        if address.hostname not in (_HOSTS | {mirror}):
            raise DownloadError(
                f"{source}: edgelm fetches from the Hugging Face hub only. Fetch the file yourself "
                f"and give its path, or name it as {HUB_FORM}."
            )
        return _of_address(urllib.parse.unquote(address.path))
    host, _, rest = source.partition("/")
    return _of_address(rest) if host.lower() in _HOSTS else None


def _of_address(path: str) -> str:
    """owner/repo/resolve/REVISION/FILE, as the hub's pages and links have it."""
    link = re.fullmatch(
        rf"/?({_REPO})/(?:resolve|blob|raw)/({_REVISION})/(.+)", path.rstrip("/"), re.IGNORECASE
    )
    if link is None:
        return "hf:" + path.strip("/")
    revision = "" if link[2] == "main" else f"@{link[2]}"
    return f"hf:{link[1]}{revision}/{link[3]}"


def local_path(source: str) -> Path | None:
    """The path that `source` is, there or not; None if it can only be a name."""
    if source.lower().startswith("file://"):
        from urllib.request import url2pathname  # with what it imports, only then

        return Path(url2pathname(urllib.parse.urlsplit(source).path))
    path = Path(source).expanduser()
    if path.exists():
        return path
    return None if _looks_like_a_repository(source) else path


def _looks_like_a_repository(source: str) -> bool:
    """A bare name, or owner/repo and more where no folder of the owner's name is."""
    plain = source.partition(":")[0]
    if "/" not in plain:
        return not re.search(r"\.gguf|\\", source, re.IGNORECASE)
    owned = re.fullmatch(rf"{_REPO}(@{_REVISION})?(/.*)?", plain) and plain[0] not in ".~"
    return bool(owned) and not Path(plain.partition("/")[0]).exists()


def unknown(source: str) -> str:
    """What to tell of a name that means nothing here."""
    if re.fullmatch(rf"{_REPO}.*", source) and not source.startswith("."):
        return f"{source}: no such file. {_hub_advice(source)}"
    close = difflib.get_close_matches(source.lower(), MODELS, 1, 0.4)
    hint = f"Did you mean {close[0]}? " if close else ""
    return (
        f"{source}: no such file, and no model of that name. {hint}"
        f"Known: {', '.join(sorted(MODELS))}; or {HUB_FORM}."
    )


def _hub_advice(name: str) -> str:
    """The right form of what is nearly a file of the hub: "owner/repo:Q4_K_M"."""
    repo, _, quant = name.partition(":")
    path = repo.rstrip("/").split("/")
    if path[-1].lower().endswith(".gguf") and len(path) > 2 and not quant:
        return f"A file of the hub is named hf:{repo}."
    file = f"FILE-{quant}.gguf" if _QUANT.fullmatch(quant) else "FILE.gguf"
    if len(path) != 2:
        return f"A file of the hub is named {HUB_FORM}."
    return (
        f"A repository holds several files: name one, as hf:{repo}/{file}. "
        f"https://huggingface.co/{repo.partition('@')[0]}/tree/main lists them."
    )


def hub_files(source: str) -> list[ModelFile]:
    """What an hf: source means; all parts if it names the first of a split model."""
    name = source.removeprefix("hf:")
    match = _FILE.fullmatch(name)
    if match is None or not {"", ".", ".."}.isdisjoint(re.split("[:/@]", source)):
        if re.search(r"\.gguf[._-]?(part|split)", name, re.IGNORECASE):
            raise DownloadError(
                f"{source}: a piece of a file that was cut. Fetch all pieces yourself, join them "
                "in their order (`cat PIECES > FILE.gguf`), and give the file's path."
            )
        advice = _hub_advice(name) if re.fullmatch(rf"{_REPO}(@[\w./-]+)?(:.*)?", name) else ""
        raise DownloadError(f"{source}: expected {HUB_FORM}. {advice}".rstrip())
    repo, revision, path = match["repo"], match["revision"] or "main", match["path"]
    paths = [path]
    if split := _SPLIT.search(path):
        count = int(split[1])
        end = path[-5:]
        paths = [f"{path[: split.start()]}-{i + 1:05}-of-{count:05}{end}" for i in range(count)]
    return [
        ModelFile(source, f"hf/{repo}/{revision}/{p}", None, None, hub=HubFile(repo, p, revision))
        for p in paths
    ]
