"""Fetch a model into the cache folder and verify it; without a name, list the known ones.

NAME is a known name or hf:OWNER/REPO/FILE.gguf. An interrupted transfer goes on where it stopped.
The folder follows the platform's convention; EDGELM_CACHE names another. HF_TOKEN is sent to the
hub if set, HF_ENDPOINT names a mirror of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import hub
from ..errors import DownloadError
from .terminal import ProgressBar, size, table

HELP = "fetch a model and verify it"


def add_arguments(parser: argparse.ArgumentParser, argv: tuple[str, ...]) -> None:
    """Define the options."""
    parser.add_argument("name", metavar="NAME", nargs="?")


def main(arguments: argparse.Namespace) -> None:
    """Print the path of the file."""
    if arguments.name is None:
        print(_known())
        return
    bar = ProgressBar()
    try:
        path = hub.pull(arguments.name, bar)
    finally:
        bar.close()
    print(path)


def _known() -> str:
    folder: Path | None
    rows = [("name", "size", "license", "")]
    try:
        folder = hub.cache_folder()
    except DownloadError:  # nobody's home: nothing is there
        folder = None
    for model in hub.MODELS.values():
        cached = "cached" if folder and (folder / model.file_name).exists() else ""
        rows.append((model.name, size(model.n_bytes or 0), model.license, cached))
    return table(rows, "<><<")
