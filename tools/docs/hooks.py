"""What the pages of docs/ take from the code, in the place of `<!-- options -->` and such marks.

mkdocs.yml names this file. The pages then say what the signatures and the command line say.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import edgelm
from edgelm.cli import parser
from edgelm.options import Options, described


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for every page."""
    for name, made in PARTS.items():
        mark = f"<!-- {name} -->"
        if mark in markdown:
            markdown = markdown.replace(mark, made())
    if left := [line for line in markdown.splitlines() if line.startswith("<!-- ")]:
        raise ValueError(f"docs: {left[0]} is none of {', '.join(PARTS)}")
    return markdown


def options() -> str:
    """Options, with their defaults."""
    said = described(Options)
    rows = [f"| `{f.name}` | `{f.default!r}` | {said[f.name]} |" for f in fields(Options)]
    return "\n".join(["| option | default | |", "|---|---|---|", *rows])


def models() -> str:
    """The models known by name."""
    rows = [f"| `{m.name}` | {m.n_bytes / 1e6:,.0f} MB | {m.license} |" for m in edgelm.models()]
    return "\n".join(["| name | file | licence |", "|---|---|---|", *rows])


def commands() -> str:
    """Every command's --help."""
    os.environ["COLUMNS"] = "100"
    grammar = parser()
    (choices,) = (
        action.choices
        for action in grammar._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return "\n\n".join(
        f"## edgelm {name}\n\n```text\n{command.format_help().rstrip()}\n```"
        for name, command in choices.items()
    )


PARTS: dict[str, Callable[[], str]] = {
    "options": options,
    "models": models,
    "commands": commands,
}
