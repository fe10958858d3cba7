"""Files on disk: a partial file that is hashed as it grows, and a lock between processes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import DownloadError

CHUNK_BYTES = 1 << 18
LOCK_POLL_S = 0.1


@dataclass(frozen=True)
class Step:
    """What a pull is doing: `done` of `total` bytes, or just a remark if `total` is 0."""

    what: str
    done: int = 0
    total: int = 0


Progress = Callable[[Step], None]


class PartialFile:
    """A file being written under a name of its own, which becomes the real one when it is whole.

    Left behind when a transfer breaks off, so that the next one can go on from there. A full disk
    raises DownloadError, and leaves nothing.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self.n_bytes = 0
        self._hash = hashlib.sha256()
        self._file = self.path.open("ab+", buffering=0)  # so that close() has nothing to write
        self._file.seek(0)
        while chunk := self._file.read(CHUNK_BYTES):
            self._hash.update(chunk)
            self.n_bytes += len(chunk)

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or self.n_bytes == 0:
            self.path.unlink(missing_ok=True)
        if full:
            raise DownloadError(
                f"The disk is full: {self.target.name} does not fit into {self.target.parent}. "
                "Make room, or set EDGELM_CACHE to a folder elsewhere."
            ) from error

    def write(self, chunk: bytes) -> None:
        """Append."""
        rest = memoryview(chunk)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._hash.update(chunk)
        self.n_bytes += len(chunk)

    def restart(self) -> None:
        """Forget what was written."""
        self._file.truncate(0)  # the next write appends, wherever the position is
        self._hash = hashlib.sha256()
        self.n_bytes = 0

    @property
    def sha256(self) -> str:
        """Of what was written so far."""
        return self._hash.hexdigest()

    def finish(self) -> None:
        """Put the file in its place, whole or not at all."""
        os.fsync(self._file.fileno())
        self._file.close()
        self.path.replace(self.target)
        seal(self.target, self.sha256)


def sha256_of(path: Path, progress: Progress) -> str:
    """Read the whole file: about a second a gigabyte."""
    digest, total = hashlib.sha256(), path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            progress(Step(f"verifying {path.name}", file.tell(), total))
    return digest.hexdigest()


def seal(path: Path, sha256: str) -> None:
    """Note beside the file that it has this hash, and what it looks like now."""
    status = path.stat()
    record = {"sha256": sha256, "n_bytes": status.st_size, "modified_ns": status.st_mtime_ns}
    _seal_path(path).write_text(json.dumps(record))


def sealed_sha256(path: Path) -> str | None:
    """The hash that the file had when it was sealed."""
    record = _read_seal(path)
    return record["sha256"] if record and isinstance(record.get("sha256"), str) else None


def is_sealed(path: Path, sha256: str | None) -> bool:
    """Whether size and time are still those of the seal; its hash must be `sha256` unless None."""
    record = _read_seal(path)
    if record is None or not path.exists():
        return False
    status = path.stat()
    same = (record.get("n_bytes"), record.get("modified_ns")) == (
        status.st_size,
        status.st_mtime_ns,
    )
    return same and sha256 in (None, record.get("sha256"))


def discard(path: Path) -> None:
    """Remove a file and its seal."""
    path.unlink(missing_ok=True)
    _seal_path(path).unlink(missing_ok=True)


def _seal_path(path: Path) -> Path:
    return path.with_name(path.name + ".verified")


def _read_seal(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(_seal_path(path).read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def check_room(folder: Path, n_bytes: int) -> None:
    """DownloadError if the disk has no room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise DownloadError(
            f"{folder} has {free / 1e6:,.0f} MB free but {n_bytes / 1e6:,.0f} MB are needed. "
            "Make room, or set EDGELM_CACHE to a folder elsewhere."
        )


@contextlib.contextmanager
def locked(path: Path, progress: Progress) -> Iterator[None]:
    """Hold an advisory lock on a file. The system drops it when the process dies."""
    with path.open("ab") as file:
        waiting = False
        while not _try_lock(file.fileno()):
            if not waiting:
                progress(Step("waiting for another process that pulls the same file"))
                waiting = True
            time.sleep(LOCK_POLL_S)
        yield


if os.name == "nt":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
