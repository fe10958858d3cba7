"""Runs pytest on an extension built with ASan and UBSan: sanitized.py BUILD_FOLDER [argument ...].

The sanitizers' runtime must be the process's first library, so this starts itself anew with that.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STARTED = "EDGELM_SANITIZED"
OPTIONS = {
    # Python never frees some of its memory; a size that no machine has must be a bad_alloc.
    "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
}


def start_anew() -> None:
    compiler = os.environ.get("CXX", "c++").split()
    libraries = [
        subprocess.check_output([*compiler, f"-print-file-name={name}"], text=True).strip()
        for name in ("libasan.so", "libubsan.so", "libstdc++.so.6")
    ]
    environment = {**os.environ, **OPTIONS, "LD_PRELOAD": " ".join(libraries), STARTED: "1"}
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)


def package(build: Path) -> Path:
    """A folder with the package's Python files and the extension of `build`."""
    (core,) = build.glob("_core.*.so")
    folder = build / "package" / "edgelm"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for path in (ROOT / "python" / "edgelm").iterdir():
        if path.suffix != ".so" and path.name != "__pycache__":
            (folder / path.name).symlink_to(path)
    (folder / core.name).symlink_to(core)
    return folder.parent


def main() -> int:
    if STARTED not in os.environ:
        start_anew()
    for name in ("LD_PRELOAD", *OPTIONS):  # processes that the tests start are plain ones
        del os.environ[name]
    # The finder of an editable install would put its own extension first.
    sys.meta_path = [f for f in sys.meta_path if "Redirecting" not in type(f).__name__]
    sys.path.insert(0, str(package(Path(sys.argv[1]).resolve())))
    import pytest

    from edgelm import _core

    print(f"sanitized: {_core.__file__}", flush=True)
    # A report goes to the true stderr before the process dies: pytest must not keep it.
    return pytest.main(["--capture=sys", *sys.argv[2:]])


if __name__ == "__main__":
    sys.exit(main())
