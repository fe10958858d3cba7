"""The hub as its own client knows it: huggingface_hub itself on the same loopback server."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from edgelm import hub
from edgelm.errors import DownloadError
from http_server import Server

BYTES = bytes(range(256)) * 1024
SHA256 = hashlib.sha256(BYTES).hexdigest()
COMMIT = "0123456789" * 4
NAMES = ["dir/m-00001-of-00002.gguf", "dir/m-00002-of-00002.gguf"]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A hub that redirects to storage, as the real one does, and that its own client accepts."""
    made, storage = Server({}), Server({})
    for name in NAMES:
        for revision in ("main", COMMIT):
            path = f"/owner/repo/resolve/{revision}/{name}"
            storage.contents[f"/blob{path}"] = BYTES
            stated = {"X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(BYTES))}
            stated["X-Linked-Etag"] = f'"{SHA256}"'
            made.redirects[path] = (f"{storage.url}/blob{path}", stated)
    monkeypatch.setenv("EDGELM_CACHE", str(tmp_path / "edgelm"))
    for name in ("HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    yield made
    made.http.shutdown()
    storage.http.shutdown()


def fetch_by_its_own_client(server: Server, home: Path, name: str, revision: str = "main") -> Path:
    path = huggingface_hub.hf_hub_download(
        "owner/repo", name, revision=revision, endpoint=server.url, cache_dir=home / "hub"
    )
    return Path(path)


@pytest.fixture
def fetched(server: Server, tmp_path: Path) -> list[Path]:
    paths = [fetch_by_its_own_client(server, tmp_path / "huggingface", name) for name in NAMES]
    server.requests.clear()
    return paths


def test_both_clients_get_the_same_bytes(server: Server, tmp_path: Path) -> None:
    theirs = fetch_by_its_own_client(server, tmp_path / "elsewhere", NAMES[0])
    ours = hub.pull(f"hf:owner/repo/{NAMES[0]}")
    assert theirs.read_bytes() == ours.read_bytes() == BYTES
    assert ours.is_relative_to(tmp_path / "edgelm")


@pytest.mark.parametrize("revision", ["", "@main", f"@{COMMIT}"])
def test_what_it_has_fetched_is_used(
    revision: str, server: Server, fetched: list[Path], tmp_path: Path
) -> None:
    steps: list[hub.Step] = []
    assert hub.pull(f"hf:owner/repo{revision}/{NAMES[0]}", steps.append) == fetched[0]
    assert "huggingface_hub's cache" in steps[-1].what
    assert server.requests == []
    assert not (tmp_path / "edgelm").exists()


def test_what_it_has_in_part_is_fetched_whole(server: Server, fetched: list[Path]) -> None:
    fetched[1].unlink()
    path = hub.resolve(f"hf:owner/repo/{NAMES[0]}")
    assert path not in fetched
    assert [p.name for p in sorted(path.parent.glob("*.gguf"))] == [Path(n).name for n in NAMES]


def test_what_it_has_of_another_revision_is_not_used(server: Server, fetched: list[Path]) -> None:
    with pytest.raises(DownloadError, match="404"):
        hub.resolve(f"hf:owner/repo@other/{NAMES[0]}")


def test_damaged_bytes_are_fetched_again(server: Server, fetched: list[Path]) -> None:
    fetched[0].resolve().write_bytes(BYTES[:-1] + b"x")
    steps: list[hub.Step] = []
    path = hub.pull(f"hf:owner/repo/{NAMES[0]}", steps.append)
    assert any("is damaged" in step.what for step in steps)
    assert path.read_bytes() == BYTES


def test_its_token_is_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "huggingface").mkdir()
    (tmp_path / "huggingface" / "token").write_text("stored\n")
    hub.pull(f"hf:owner/repo/{NAMES[0]}")
    assert {headers["Authorization"] for _, _, headers in server.requests} == {"Bearer stored"}
