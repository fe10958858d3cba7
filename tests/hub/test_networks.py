"""Hubs behind proxies and mirrors, homes that do not exist, caches that nobody may write."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from edgelm import cli, hub
from edgelm.errors import DownloadError
from edgelm.hub import files, transfer
from edgelm.hub.models import HubFile, ModelFile
from http_server import Server

BYTES = bytes(range(256)) * 64
SHA256 = hashlib.sha256(BYTES).hexdigest()
PATH = "/o/r/resolve/main/m.gguf"
SOURCE = "hf:o/r/m.gguf"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (*PROXIES, *map(str.upper, PROXIES), "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EDGELM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.setattr(transfer, "FIRST_PAUSE_S", 0.01)
    return tmp_path / "cache"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server({PATH: BYTES})
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    yield made
    made.http.shutdown()


def refuse_heads(server: Server, code: int) -> None:
    answer = server.answer

    def refusing(request, body):  # type: ignore[no-untyped-def]
        if body:
            answer(request, body)
        else:
            server.requests.append((request.command, request.path, dict(request.headers)))
            request.send_error(code)

    server.answer = refusing  # type: ignore[method-assign]


@pytest.mark.parametrize("code", [400, 403, 405, 500, 501])
def test_a_hub_that_refuses_head(server: Server, code: int) -> None:
    storage = Server({f"/blob{PATH}": BYTES})
    stated = {"X-Linked-Etag": f'"{SHA256}"', "X-Linked-Size": str(len(BYTES))}
    server.redirects[PATH] = (f"{storage.url}/blob{PATH}", stated)
    refuse_heads(server, code)
    steps: list[hub.Step] = []
    assert hub.pull(SOURCE, steps.append).read_bytes() == BYTES
    assert steps[-1] == hub.VERIFIED  # what it states is heard all the same
    storage.contents[f"/blob{PATH}"] = BYTES[:-1] + b"x"
    files.discard(hub.resolve(SOURCE))
    with pytest.raises(DownloadError, match=f"expected {SHA256}"):
        hub.pull(SOURCE)
    storage.http.shutdown()


@pytest.mark.parametrize(("code", "asks"), [(401, 1), (404, 1), (403, 2)])
def test_what_the_hub_refuses_altogether(server: Server, code: int, asks: int) -> None:
    server.answer = lambda request, body: (  # type: ignore[method-assign]
        server.requests.append((request.command, request.path, {})), request.send_error(code)
    )  # fmt: skip
    with pytest.raises(DownloadError, match=rf": {code} .*resolve/main/m.gguf. "):
        hub.pull(SOURCE)
    assert len(server.requests) == asks


# --- proxies ---


@pytest.mark.parametrize(
    "named",
    ["http_proxy", "HTTP_PROXY" if os.name != "nt" else "http_proxy", "all_proxy", "ALL_PROXY"],
)
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxy_is_used(
    server: Server, monkeypatch: pytest.MonkeyPatch, named: str, scheme: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    monkeypatch.setenv(named, scheme + server.url.removeprefix("http://"))
    server.contents = {f"http://hub.invalid{PATH}": BYTES}  # what a proxy is asked for
    assert hub.pull(SOURCE).read_bytes() == BYTES


def test_a_schemes_own_proxy_comes_before_all_proxy(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    server.contents = {f"http://hub.invalid{PATH}": BYTES}
    assert hub.pull(SOURCE).read_bytes() == BYTES


@pytest.mark.parametrize("kind", ["socks5", "socks5h", "socks4", "ftp"])
@pytest.mark.parametrize("named", ["http_proxy", "ALL_PROXY"])
def test_a_proxy_of_another_kind_is_named(
    server: Server, monkeypatch: pytest.MonkeyPatch, named: str, kind: str
) -> None:
    monkeypatch.setenv(named, f"{kind}://127.0.0.1:9")
    with pytest.raises(
        DownloadError, match=rf"names a proxy of the kind {kind}, which edgelm cannot"
    ):
        hub.pull(SOURCE)
    assert server.requests == []
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert urllib.request.proxy_bypass("127.0.0.1")
    assert hub.pull(SOURCE).read_bytes() == BYTES


def test_a_proxy_that_wants_a_password(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answer = lambda request, body: request.send_error(407)  # type: ignore[method-assign]
    for endpoint, named in (("http", "http_proxy"), ("https", "https_proxy")):
        monkeypatch.setenv("HF_ENDPOINT", f"{endpoint}://hub.invalid")
        monkeypatch.setenv(named, server.url)
        with pytest.raises(DownloadError, match=r"407 .*http://USER:PASSWORD@HOST:PORT"):
            hub.pull(SOURCE)


def test_an_endpoint_that_is_no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "hub.example:8080")
    with pytest.raises(DownloadError, match=r"HF_ENDPOINT is 'hub.example:8080'; expected a URL"):
        hub.pull(SOURCE)


# --- offline ---


@pytest.mark.parametrize("value", ["1", "true", "YES", "On", "0", "no", ""])
def test_offline_as_huggingface_hub_understands_it(
    server: Server, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """Its own reading of the variable is the source."""
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    if huggingface_hub.constants._is_true(value):
        monkeypatch.setitem(
            hub.MODELS, "tiny", ModelFile("tiny", "t.gguf", 1, SHA256, hub=HubFile("o/r", "m.gguf"))
        )
        for name in (SOURCE, "tiny"):
            with pytest.raises(DownloadError, match="not in the cache, and HF_HUB_OFFLINE forbids"):
                hub.pull(name)
        assert server.requests == []
        monkeypatch.delenv("HF_HUB_OFFLINE")
        path = hub.pull(SOURCE)
        monkeypatch.setenv("HF_HUB_OFFLINE", value)
        server.requests.clear()
        assert hub.pull(SOURCE) == hub.resolve(SOURCE) == path
        assert server.requests == []
    else:
        assert hub.pull(SOURCE).read_bytes() == BYTES


# --- folders ---


def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a user without an entry among the users."""
    expanded = Path.expanduser

    def nowhere(path: Path) -> Path:
        if path.parts[0] == "~":
            raise RuntimeError("Could not determine home directory.")
        return expanded(path)

    for name in ("EDGELM_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "expanduser", nowhere)


def test_no_home_says_what_to_set(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    no_home(monkeypatch)
    with pytest.raises(DownloadError, match=r"HOME is not set. Set EDGELM_CACHE to a folder"):
        hub.pull(SOURCE)
    assert cli.main(["pull"]) == 0  # the list needs no folder
    assert "smollm2" in capsys.readouterr().out
    assert cli.main(["pull", SOURCE]) == 2


def test_no_home_but_a_cache(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_home(monkeypatch)
    monkeypatch.setenv("EDGELM_CACHE", str(cache))
    assert hub.pull(SOURCE) == cache / "hf/o/r/main/m.gguf"


def read_only(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Even for root."""
    opened = Path.open

    def refusing(path: Path, mode: str = "r", *rest, **more):  # type: ignore[no-untyped-def]
        if mode[0] in "wa" and path.is_relative_to(folder):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, mode, *rest, **more)

    monkeypatch.setattr(Path, "open", refusing)


@pytest.mark.parametrize("verify", [False, True])
def test_a_read_only_cache_that_holds_the_file(
    cache: Path, monkeypatch: pytest.MonkeyPatch, verify: bool
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    known = ModelFile("tiny", "tiny.gguf", len(BYTES), SHA256, hub=HubFile("o/r", "m.gguf"))
    monkeypatch.setitem(hub.MODELS, "tiny", known)
    for path in (cache / "tiny.gguf", cache / "hf/o/r/main/m.gguf"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(BYTES)  # by hand: no seal beside it
    read_only(monkeypatch, cache)
    assert hub.pull(SOURCE, verify=verify) == cache / "hf/o/r/main/m.gguf"
    steps: list[hub.Step] = []
    assert hub.pull("tiny", steps.append, verify=verify) == cache / "tiny.gguf"
    assert steps[-1] == hub.VERIFIED
    monkeypatch.undo()
    monkeypatch.setenv("EDGELM_CACHE", str(cache))
    monkeypatch.setitem(hub.MODELS, "tiny", known)
    (cache / "tiny.gguf").write_bytes(BYTES[:-1] + b"x")
    read_only(monkeypatch, cache)
    with pytest.raises(DownloadError, match=r"Cannot use the cache folder .*Permission denied"):
        hub.pull("tiny", steps.append, verify=verify)
    assert "is damaged" in steps[-1].what


def test_a_read_only_cache_without_the_file(
    cache: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    cache.mkdir()
    read_only(monkeypatch, cache)
    with pytest.raises(DownloadError, match=r"Cannot use the cache folder .*Set EDGELM_CACHE"):
        hub.pull(SOURCE)
