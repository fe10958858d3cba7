"""Real vocabularies and chat templates: those in llama.cpp's own test data.

They travel in the source distribution of llama-cpp-python, which pip fetches once, by its SHA-256,
into the cache folder that real models live in. Nothing of it is built or run.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgelm import hub
from edgelm.hub.files import locked

REQUIREMENT = "llama-cpp-python==0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
_WANTED = re.compile(
    r"[^/]+/vendor/llama\.cpp/(models/(?:templates/)?[\w.-]+\.(?:gguf|jinja)|tests/[\w-]+\.cpp)"
)
_NAME = re.compile(r'\.name= \*/ "([^"]+)"')
_LITERAL = re.compile(r'\s*(?:U8C\()?"((?:[^"\\]|\\.)*)"')
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def folder() -> Path:
    """Where llama.cpp's models/ and tests/ are; fetched at the first call, 76 MB."""
    target = hub.cache_folder() / REQUIREMENT.replace("==", "-")
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name(target.name + ".lock"), lambda step: None):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".sdist-") as scratch:
                _extract(download(Path(scratch)), Path(scratch) / "wanted")
                (Path(scratch) / "wanted").rename(target)
    return target


def download(scratch: Path) -> Path:
    """The source distribution, fetched into this folder; pip checks its SHA-256."""
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{REQUIREMENT} --hash=sha256:{SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    command += ["--no-binary", "llama-cpp-python", "--require-hashes", "-r", str(requirements)]
    subprocess.run([*command, "--dest", str(scratch)], check=True, stdin=subprocess.DEVNULL)
    return next(scratch.glob("*.tar.gz"))


def _extract(archive: Path, target: Path) -> None:
    with tarfile.open(archive) as contents:
        for member in contents:
            if member.isfile() and (match := _WANTED.fullmatch(member.name)):
                path = target / match[1]
                path.parent.mkdir(parents=True, exist_ok=True)
                file = contents.extractfile(member)
                assert file is not None
                path.write_bytes(file.read())


def vocabularies() -> dict[str, Path]:
    """GGUF files without weights, by the name of the model family."""
    paths = sorted((folder() / "models").glob("ggml-vocab-*.gguf"))
    return {path.stem.removeprefix("ggml-vocab-"): path for path in paths}


def templates() -> dict[str, str]:
    """Chat templates by model: files, and those that stand in llama.cpp's test of templates."""
    found = {p.stem: p.read_text() for p in (folder() / "models" / "templates").glob("*.jinja")}
    found |= _inline((folder() / "tests" / "test-chat-template.cpp").read_text())
    return dict(sorted(found.items()))


def _inline(source: str) -> Iterator[tuple[str, str]]:
    names = list(_NAME.finditer(source))
    for name, following in zip(names, [*names[1:], None], strict=True):
        entry = source[name.end() : following.start() if following else len(source)]
        at = re.search(r"\.template_str ?=? ?\*/", entry)
        assert at is not None, name[1]
        text, end = "", at.end()
        while literal := _LITERAL.match(entry, end):
            text += re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), literal[1])
            end = literal.end()
        yield name[1], text
