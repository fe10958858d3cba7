"""The models that load() knows by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .hub import MODELS, cache_folder


@dataclass(frozen=True)
class KnownModel:
    """A model that load() fetches by its name.

    n_bytes: of the file. license: as its authors name it. path: where the cache holds it, or None.
    """

    name: str
    n_bytes: int
    license: str
    path: Path | None


def models() -> list[KnownModel]:
    """The models known by name, the smallest first. Fetches nothing."""
    known = []
    for model in MODELS.values():
        assert model.n_bytes is not None  # each is pinned to exact bytes
        path = cache_folder() / model.file_name
        held = path.is_file() and path.stat().st_size == model.n_bytes
        known.append(KnownModel(model.name, model.n_bytes, model.license, path if held else None))
    return sorted(known, key=lambda model: model.n_bytes)
