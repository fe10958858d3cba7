"""What the environment says: folders, and whether the network may be asked."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import DownloadError


def expanded(path: str, name: str) -> Path:
    """A folder whose ~ is the user's; DownloadError if nobody knows what that is.

    `name` is the variable that can name another.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise DownloadError(
            f"There is no home folder for {path}: HOME is not set. Set {name} to a folder."
        ) from None


def is_offline() -> str:
    """The variable that forbids to ask the network, as for huggingface_hub; else ""."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE"):
            return name
    return ""
