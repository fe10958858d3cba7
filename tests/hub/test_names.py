"""Which names mean which models, and where fetched ones are kept."""

import sys
from pathlib import Path

import pytest

from edgelm import hub
from edgelm.errors import DownloadError
from edgelm.hub import names
from edgelm.hub.transfer import hub_url


def test_resolve_takes_paths_as_they_are(tmp_path):
    assert hub.resolve(tmp_path) == tmp_path
    assert hub.resolve("absent.gguf") == Path("absent.gguf")
    assert hub.resolve("./some/dir") == Path("some/dir")
    assert hub.resolve("/absent/dir") == Path("/absent/dir")
    assert hub.resolve("m.GGUF") == Path("m.GGUF")
    (tmp_path / "model").write_text("")
    assert hub.resolve(str(tmp_path / "model")) == tmp_path / "model"


def test_resolve_knows_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hub.resolve("~/m.gguf") == hub.resolve(Path("~/m.gguf")) == tmp_path / "m.gguf"
    assert hub.resolve((tmp_path / "a b.gguf").as_uri()) == tmp_path / "a b.gguf"


WAYS = {
    "hf:o/r/m.gguf": ("o/r", "main", "m.gguf"),
    "HF:o/r/m.GGUF": ("o/r", "main", "m.GGUF"),
    "hf://o/r/dir/m.gguf": ("o/r", "main", "dir/m.gguf"),
    "hf:o/r@refs/pr/1/m.gguf": ("o/r", "refs/pr/1", "m.gguf"),
    "hf:o/r@v1.0/dir/m.gguf": ("o/r", "v1.0", "dir/m.gguf"),
    "hf:o/r/m (1) [x], y&z.gguf": ("o/r", "main", "m (1) [x], y&z.gguf"),
    "https://huggingface.co/o/r/resolve/main/m%20(1).gguf?download=true": (
        *("o/r", "main", "m (1).gguf"),
    ),
    "https://huggingface.co/o/r/blob/main/m.gguf": ("o/r", "main", "m.gguf"),
    "http://hf.co/o/r/resolve/refs%2Fpr%2F1/d/m.gguf": ("o/r", "refs/pr/1", "d/m.gguf"),
    "https://mirror.example/o/r/resolve/v2/m.gguf": ("o/r", "v2", "m.gguf"),
    "hf.co/o/r/m.gguf": ("o/r", "main", "m.gguf"),
}


@pytest.mark.parametrize("source", WAYS)
def test_a_file_of_the_hub_in_every_form(source, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    name = names.hub_source(source)
    assert name is not None
    (file,) = names.hub_files(name)
    assert (file.hub.repo, file.hub.revision, file.hub.path) == WAYS[source]


def test_revisions_are_one_part_of_the_address(monkeypatch):
    """As huggingface_hub writes them."""
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    (file,) = names.hub_files("hf:o/r@refs/pr/1/a (b).gguf")
    assert hub_url(file.hub).endswith("/o/r/resolve/refs%2Fpr%2F1/a%20%28b%29.gguf")


def test_parts_keep_the_case_of_their_ending():
    files = names.hub_files("hf:o/r/m-00001-of-00002.GGUF")
    assert [f.hub.path for f in files] == ["m-00001-of-00002.GGUF", "m-00002-of-00002.GGUF"]


ASIDE = {
    "owner/repo": "name one, as hf:owner/repo/FILE.gguf",
    "owner/repo:Q4_K_M": "name one, as hf:owner/repo/FILE-Q4_K_M.gguf",
    "hf:owner/repo": "name one, as hf:owner/repo/FILE.gguf",
    "hf:owner/repo:Q4_K_M": "name one, as hf:owner/repo/FILE-Q4_K_M.gguf",
    "hf.co/owner/repo:Q8_0": "name one, as hf:owner/repo/FILE-Q8_0.gguf",
    "https://huggingface.co/owner/repo": "name one, as hf:owner/repo/FILE.gguf",
    "https://huggingface.co/owner/repo/tree/main": "expected hf:OWNER/REPO/FILE.gguf",
    "owner/repo/m.gguf": "A file of the hub is named hf:owner/repo/m.gguf",
    "hf:owner/repo/m.gguf.part1of2": "a piece of a file that was cut",
    "hf:owner/repo/m.safetensors": "expected hf:OWNER/REPO/FILE.gguf",
    "https://example.com/m.gguf": "edgelm fetches from the Hugging Face hub only",
    "llama3:8b": "Known: gemma-3-270m",
}


@pytest.mark.parametrize("source", ASIDE)
def test_other_forms_are_told_the_right_one(source, monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    with pytest.raises((DownloadError, FileNotFoundError)) as caught:
        hub.resolve(source)
    assert ASIDE[source] in str(caught.value)


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
