"""The layers of the design: what may import or include what (HACKING.md draws them)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python" / "edgelm"
# Lowest first. A module imports from lower layers and from its own package only.
PYTHON_LAYERS = (
    {"errors"},
    {"metadata", "options", "pretokenizers", "stops"},
    {"gguf", "graph", "rope", "tokenizer", "samplers", "chat", "hub"},
    {"memory", "meta", "weights", "reference"},
    {"arch"},
    {"model"},
    {"about", "engine"},
    {"generate", "prompts", "scoring", "session"},
    {"api", "known"},
    {"__init__"},
    {"bench", "server"},
    {"cli"},
    {"__main__"},
)
MODULES = {"_core"}.union(*PYTHON_LAYERS)
# Where the native engine is visible at all; everyone else goes through these.
NATIVE_IMPORTERS = {"graph", "gguf", "tokenizer", "samplers", "model", "bench"}

# Lower layers that are none of a package's business.
UNKNOWN = {"engine": {"options", "tokenizer", "chat", "hub", "gguf"}}

# What each folder of csrc may include from, besides itself.
CPP_LAYERS = {
    "core": set(),
    "quant": {"core"},
    "isa": {"core", "quant"},
    "kernels": {"core", "quant", "isa"},
    "gguf": {"core", "quant"},
    "tokenize": {"core"},
    "select": {"core"},
    "plan": {"core", "quant", "kernels"},
    "bind": {"core", "quant", "kernels", "gguf", "tokenize", "select", "plan"},
}
CPP_SUFFIXES = {".h", ".cc", ".inl", ".def", ".inc"}
PYBIND = re.compile(r'#\s*include\s*[<"](pybind11/|Python\.h)|\bpy::|\bPyObject\b')
INTRINSICS = re.compile(
    r"#\s*include\s*<(\w*mmintrin|x86intrin|arm_\w+|riscv_vector)\.h>|\b_mm\d*_\w+\s*\(|\b__m\d{3}"
)
# What tells systems apart, or is one system's alone: core/ has the portable forms.
SYSTEMS = re.compile(
    r"\b(_WIN32|_MSC_VER|__(linux|gnu_linux|APPLE|ANDROID|unix|GLIBC|MINGW32)_*)\b"
    r"|#\s*include\s*<(sys/\w+|unistd|fcntl|sched|pthread|windows|malloc)\.h>"
)


def imports_of(source: str, package: str = "") -> Iterator[str]:
    """Dotted names below edgelm that a module's text imports, type-only and nested ones included.

    `package` is the dotted folder of the module below edgelm. A name that the package's top offers
    counts as an import of `__init__`.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = ["edgelm", *filter(None, package.split("."))]
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            top, _, below = name.partition(".")
            if top == "edgelm":
                yield below if below.split(".")[0] in MODULES else "__init__"


def layer_of(module: str) -> int:
    top = module.split(".")[0]
    ranks = [rank for rank, names in enumerate(PYTHON_LAYERS) if top in names]
    assert ranks, f"edgelm.{module} has no layer; give it one in PYTHON_LAYERS"
    return ranks[0]


def python_faults(module: str, source: str, package: str = "") -> list[str]:
    faults = []
    top = module.split(".")[0]
    for imported in imports_of(source, package):
        target = imported.split(".")[0]
        if target == "_core":
            if top not in NATIVE_IMPORTERS:
                faults.append(f"{module} imports _core; only {sorted(NATIVE_IMPORTERS)} may")
        elif target != top and layer_of(target) >= layer_of(module):
            faults.append(f"{module} imports {imported}, which is not below it")
        elif target in UNKNOWN.get(top, ()):
            faults.append(f"{module} imports {imported}; {top} is to know nothing of it")
    return faults


def needs(module: str, source: str, modules: Mapping[str, str]) -> set[str]:
    """Those of `modules` that one imports, at its top or while it works.

    An import within a function counts: it only hides a circle. What stands under TYPE_CHECKING does
    not run, and a class may be named where its user is known; nor does a module need the package
    that it lies in, but for what it takes from there by name.
    """
    package = module.removesuffix(".__init__").split(".")[: None if "__init__" in module else -1]
    found = set()
    todo: list[ast.AST] = [ast.parse(source)]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            todo += node.orelse
            continue
        todo += ast.iter_child_nodes(node)
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base += node.module.split(".") if node.module else []
            names = [".".join([*base, alias.name]) for alias in node.names]
        for name in names:
            above = name.rpartition(".")[0]
            candidates = (name, f"{name}.__init__", above, f"{above}.__init__")
            found.update([c for c in candidates if c in modules][:1])
    return found - {module}


def circle(modules: Mapping[str, str]) -> list[str]:
    """Names of modules that need each other in a circle, the first again as the last; or none."""
    try:
        TopologicalSorter({m: needs(m, text, modules) for m, text in modules.items()}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def cpp_faults(path: str, source: str) -> list[str]:
    """`path` is relative to csrc."""
    folder = path.split("/")[0]
    assert folder in CPP_LAYERS, f"csrc/{folder} has no layer; give it one in CPP_LAYERS"
    code = re.sub(r"//.*", "", source)
    faults = []
    for included in re.findall(r'#\s*include\s*"([^"]+)"', code):
        target = included.split("/")[0]
        if "/" not in included or ".." in included:
            faults.append(f"{path} includes {included}; give its path from csrc")
        elif target != folder and target not in CPP_LAYERS[folder]:
            faults.append(f"{path} includes {included}; {folder} may not see {target}")
    if folder != "bind" and (found := PYBIND.search(code)):
        faults.append(f"{path} sees Python: {found.group()}")
    if folder not in ("isa", "kernels") and (found := INTRINSICS.search(code)):
        faults.append(f"{path} uses intrinsics: {found.group()}")
    if folder != "core" and (found := SYSTEMS.search(code)):
        faults.append(f"{path} names a system: {found.group()}; give core/ a form for all")
    return faults


def python_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def cpp_files() -> list[Path]:
    return sorted(p for p in (ROOT / "csrc").rglob("*") if p.suffix in CPP_SUFFIXES)


def test_python_imports_point_downwards() -> None:
    faults = []
    for path in python_files():
        relative = path.relative_to(PACKAGE)
        package = ".".join(relative.parent.parts)
        module = ".".join(relative.with_suffix("").parts)
        faults += python_faults(module, path.read_text(), package)
    assert not faults, "\n".join(faults)


def test_no_modules_import_each_other() -> None:
    found = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path.read_text()
        for path in python_files()
    }
    found["edgelm._core"] = ""  # the extension
    assert "edgelm.graph" in needs("edgelm.model", found["edgelm.model"], found)
    assert not circle(found), " imports ".join(reversed(circle(found)))


@pytest.mark.parametrize(
    "back",
    [
        "from .a import f",
        "from . import a",
        "import p.a",
        "def g():\n    from .a import f",
        "if __name__ == '__main__':\n    from p.a import f",
        "from .c import h",
    ],
)
def test_a_circle_is_caught(back: str) -> None:
    modules = {"p.__init__": "", "p.a": "from .b import g", "p.b": back, "p.c": "from .a import f"}
    assert {"p.a", "p.b"} <= set(circle(modules))


@pytest.mark.parametrize(
    "apart",
    [
        "if TYPE_CHECKING:\n    from .a import f",
        "if typing.TYPE_CHECKING:\n    from .a import f",
        "from .c import h\nimport numpy.a",
    ],
)
def test_what_is_no_circle_is_taken(apart: str) -> None:
    modules = {"p.__init__": "from .a import f", "p.a": "from .b import g", "p.b": apart, "p.c": ""}
    assert not circle(modules)


def test_cpp_includes_point_downwards() -> None:
    faults = []
    for path in cpp_files():
        faults += cpp_faults(path.relative_to(ROOT / "csrc").as_posix(), path.read_text())
    assert not faults, "\n".join(faults)


def test_there_is_something_to_check() -> None:
    assert len(python_files()) > 5
    assert len(cpp_files()) > 20


@pytest.mark.parametrize(
    ("module", "package", "source"),
    [
        ("graph", "", "from .engine import Engine"),
        ("errors", "", "from . import graph"),
        ("engine.turns", "engine", "from .. import _core"),
        ("engine.scheduler", "engine", "from ..options import Options"),
        ("arch.llama", "arch", "from .._core import Graph"),
        ("arch.llama", "arch", "def f():\n    from ..generate import generate"),
        ("generate", "", "import edgelm.cli"),
        ("engine", "", "from edgelm import load"),
    ],
)
def test_a_wrong_import_is_caught(module: str, package: str, source: str) -> None:
    assert python_faults(module, source, package)


@pytest.mark.parametrize(
    ("module", "package", "source"),
    [
        ("graph", "", "from . import _core"),
        ("arch.llama", "arch", "from . import block\nfrom ..rope import plain_rope"),
        ("cli", "", "from . import load\nimport numpy.linalg"),
    ],
)
def test_a_right_import_is_taken(module: str, package: str, source: str) -> None:
    assert not python_faults(module, source, package)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core/a.cc", '#include "plan/graph.h"'),
        ("kernels/table.h", '#include "plan/graph.h"'),
        ("tokenize/a.cc", '#include "gguf/reader.h"'),
        ("plan/ops/a.cc", '#include "../graph.h"'),
        ("plan/a.cc", "#include <pybind11/pybind11.h>"),
        ("plan/a.cc", "void f(py::object x);"),
        ("plan/a.cc", "#include <immintrin.h>"),
        ("select/a.cc", "auto x = _mm256_loadu_ps(p);"),
        ("plan/a.cc", "#ifdef __linux__"),
        ("kernels/a.cc", "#if defined(_WIN32)"),
        ("bind/a.cc", "#include <sys/mman.h>"),
        ("gguf/a.cc", "#include <unistd.h>"),
    ],
)
def test_a_wrong_include_is_caught(path: str, source: str) -> None:
    assert cpp_faults(path, source)
