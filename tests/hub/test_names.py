"""Which names mean which models, and where fetched ones are kept."""

import sys
from pathlib import Path

import pytest

from edgelm import hub
from edgelm.errors import DownloadError


def test_resolve_takes_paths_as_they_are(tmp_path):
    assert hub.resolve(tmp_path) == tmp_path
    assert hub.resolve("absent.gguf") == Path("absent.gguf")
    assert hub.resolve("some/dir") == Path("some/dir")
    (tmp_path / "model").write_text("")
    assert hub.resolve(str(tmp_path / "model")) == tmp_path / "model"


def test_unknown_names_get_a_suggestion():
    with pytest.raises(FileNotFoundError, match="Did you mean smollm2-135m-instruct"):
        hub.resolve("smolm2-135m")
    with pytest.raises(DownloadError, match="Known: gemma-3-270m, smollm2"):
        hub.pull("gpt-5")


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/edgelm"),
        ("linux", {}, "/home/u/.cache/edgelm"),
        ("darwin", {"XDG_CACHE_HOME": "/x"}, "/home/u/Library/Caches/edgelm"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/edgelm"),
        ("linux", {"EDGELM_CACHE": "~/models"}, "/home/u/models"),
    ],
)
def test_cache_folder(monkeypatch, platform, environment, expected):
    for name in ("XDG_CACHE_HOME", "EDGELM_CACHE", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/u")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert hub.cache_folder() == Path(expected)


def test_known_models_are_pinned():
    for name, model in hub.MODELS.items():
        assert name == model.name == name.lower()
        assert model.n_bytes
        assert len(bytes.fromhex(model.sha256)) == 32
        assert model.hub or model.wheels
        assert all("==" in wheel.requirement for wheel in model.wheels)
