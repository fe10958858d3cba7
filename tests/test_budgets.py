"""Budgets: the size of a source file, and what `import edgelm` costs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("csrc", "python", "tests", "bench", "tools")
SUFFIXES = {".py", ".pyi", ".h", ".cc", ".inl", ".def"}
MAX_LINES = 600
# A file of the product that is over this many lines needs a reason here.
LINES = 400
PRODUCT = ("csrc/", "python/")
LONG_FILES: dict[str, str] = {}

# What may be imported with edgelm besides the standard library: chat templates load jinja2 when a
# chat is asked for.
ALLOWED_IMPORTS = {"edgelm", "numpy", "cython_runtime"}  # the last is in numpy.random
MAX_IMPORT_MS = 250  # of processor time beyond NumPy's own, with what load() needs; measured: 60


def size_faults(sizes: dict[str, int], reasons: dict[str, str]) -> list[str]:
    faults = [
        f"{path} has {n} lines, over {MAX_LINES}" for path, n in sizes.items() if n > MAX_LINES
    ]
    for path, n in sizes.items():
        product = path.startswith(PRODUCT)
        if product and LINES < n <= MAX_LINES and path not in reasons:
            faults.append(f"{path} has {n} lines; over {LINES} needs a reason in LONG_FILES")
    for path in reasons:
        if sizes.get(path, 0) <= LINES:
            faults.append(f"{path} is in LONG_FILES but not over {LINES} lines; take it out")
    return faults


def test_files_stay_readable() -> None:
    sizes = {
        path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines())
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in SUFFIXES
    }
    assert len(sizes) > 30
    faults = size_faults(sizes, LONG_FILES)
    assert not faults, "\n".join(faults)


def test_a_long_file_is_caught() -> None:
    sizes = {"csrc/a.cc": 401, "tests/b.py": 601, "csrc/c.h": 400, "python/d.py": 450}
    faults = size_faults(sizes | {"tests/e.py": 500}, {"csrc/c.h": "why", "python/d.py": "why"})
    assert [fault.split()[0] for fault in faults] == ["tests/b.py", "csrc/a.cc", "csrc/c.h"]


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_loads_only_numpy() -> None:
    code = """
import sys, json
before = set(sys.modules)
import edgelm
edgelm.load, edgelm.Model
print(json.dumps(sorted({m.split(".")[0] for m in set(sys.modules) - before})))
"""
    loaded = set(json.loads(run_python(code)))
    foreign = {
        name for name in loaded if name not in sys.stdlib_module_names and not name.startswith("_")
    }
    assert "edgelm" in loaded
    assert foreign <= ALLOWED_IMPORTS, foreign - ALLOWED_IMPORTS


def test_import_is_quick() -> None:
    code = """
import time
import numpy, numpy.typing
start = time.process_time()
import edgelm
edgelm.load, edgelm.Model
print(1000 * (time.process_time() - start))
"""
    best_ms = min(float(run_python(code)) for _ in range(3))
    assert best_ms < MAX_IMPORT_MS
