"""Control groups of a test's own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def groups(hierarchy: Path, controller: str, file: str) -> Iterator[tuple[Path, Path]]:
    """A group with that file, and one within it; skips, saying why, where none can be made."""
    outer = hierarchy / f"edgelm-test-{os.getpid()}"
    inner = outer / "inner"
    try:
        outer.mkdir()
        if (outer / "cgroup.subtree_control").exists():  # v2: inner groups get it from here
            (outer / "cgroup.subtree_control").write_text(f"+{controller}")
        inner.mkdir()
        if not (outer / file).exists():
            raise FileNotFoundError(f"{outer / file}: no {controller} controller in this hierarchy")
    except OSError as error:
        for group in (inner, outer):
            with contextlib.suppress(FileNotFoundError):
                group.rmdir()
        pytest.skip(f"no real limit by {file} tested: cgroups can't be made here: {error}")
    try:
        yield outer, inner
    finally:
        inner.rmdir()
        outer.rmdir()
