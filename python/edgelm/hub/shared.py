"""What other tools of the Hugging Face hub keep on this machine: fetched files and the token.

Source: huggingface_hub's documentation of its cache layout and environment variables.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import DownloadError
from .files import Progress, sha256_of
from .models import HubFile
from .settings import expanded


def home() -> Path:
    """The folder of huggingface_hub: $HF_HOME, or huggingface in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expanded(os.environ.get("HF_HOME") or f"{base}/huggingface", "HF_HOME")


def find(file: HubFile) -> Path | None:
    """The file in the cache that these tools share, if it is there; no network is asked."""
    cache = os.environ.get("HF_HUB_CACHE")
    try:
        root = expanded(cache, "HF_HUB_CACHE") if cache else home() / "hub"
    except DownloadError:  # no home folder, so none of its own either
        return None
    repo = root / f"models--{file.repo.replace('/', '--')}"
    commit = file.revision
    if not re.fullmatch("[0-9a-f]{40}", commit):
        try:
            commit = (repo / "refs" / commit).read_text().strip()
        except (OSError, UnicodeDecodeError):
            return None
    path = repo / "snapshots" / commit / file.path
    return path if commit and path.is_file() else None


def is_sound(path: Path, progress: Progress) -> bool:
    """Whether the file has the SHA-256 that its blob is named by; true if by none."""
    name = path.resolve().name
    return not re.fullmatch("[0-9a-f]{64}", name) or sha256_of(path, progress) == name


def token() -> str | None:
    """The user's access token for gated models: $HF_TOKEN, or what `hf auth login` stored."""
    if given := os.environ.get("HF_TOKEN"):
        return given
    try:
        chosen = os.environ.get("HF_TOKEN_PATH")
        path = expanded(chosen, "HF_TOKEN_PATH") if chosen else home() / "token"
        return path.read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None
