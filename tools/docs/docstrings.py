"""Docstrings as Markdown: `name: what it is` at a line's beginning becomes a list's entry.

A griffe extension, which mkdocs.yml names.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_ENTRY = re.compile(r"(?m)^(\w+(?:, \w+)*): (?=\S)")


class Entries(griffe.Extension):
    """Rewrites the docstring of every object that griffe has loaded."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called once for each."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(docstring: str) -> str:
    """The text with lists: a blank line before the first of several entries, a dash before each."""
    lines: list[str] = []
    in_list = False
    for line in docstring.splitlines():
        entry = _ENTRY.match(line)
        if entry and not in_list:
            lines.append("")
        in_list = bool(line) and (in_list or bool(entry))  # till a blank line
        names = ", ".join(f"`{name}`" for name in entry[1].split(", ")) if entry else ""
        lines.append(f"- {names}: {line[entry.end() :]}" if entry else line)
    return "\n".join(lines)
