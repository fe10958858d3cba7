"""What edgelm offers: its public names and their docstrings, and the native API's stub."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import edgelm
from edgelm import _core

PACKAGE = Path(edgelm.__file__).parent

PUBLIC = {
    "load",
    "Model",
    "Session",
    "Stream",
    "Generation",
    "Usage",
    "Timings",
    "TokenLogprob",
    "Perplexity",
    "Options",
    "models",
    "KnownModel",
    "__version__",
    "EdgelmError",
    "EdgelmWarning",
    "ModelFormatError",
    "UnsupportedModelError",
    "TemplateError",
    "ContextFullError",
    "LogitsError",
    "CacheFullError",
    "Busy",
    "ClosedError",
    "DownloadError",
}


def documented_members(owner: Any) -> dict[str, Any]:
    """The public functions and properties that a class or module itself defines."""
    return {
        name: member
        for name, member in vars(owner).items()
        if not name.startswith("_") and (inspect.isroutine(member) or isinstance(member, property))
    }


def test_all_is_what_we_document() -> None:
    assert set(edgelm.__all__) == PUBLIC
    assert sorted(edgelm.__all__) == sorted(set(edgelm.__all__))
    assert all(hasattr(edgelm, name) for name in PUBLIC - {"__version__"})


def test_dir_offers_nothing_else() -> None:
    """What tab completion shows: public names, and the submodules that were imported."""
    others = {n for n in dir(edgelm) if n not in PUBLIC and not n.startswith("_")}
    assert all(isinstance(getattr(edgelm, name), ModuleType) for name in others)


def undocumented(names: set[str], module: Any) -> list[str]:
    faults = []
    for name in sorted(names):
        thing = getattr(module, name)
        if not (thing.__doc__ or "").strip():
            faults.append(name)
        if inspect.isclass(thing) and not issubclass(thing, Exception):
            for member_name, member in documented_members(thing).items():
                if not (inspect.getdoc(member) or "").strip():
                    faults.append(f"{name}.{member_name}")
    return faults


def test_public_names_have_docstrings() -> None:
    assert not undocumented(PUBLIC - {"__version__"}, edgelm)


OURS = {
    cls.__name__
    for module in ("api", "generate", "known", "options", "samplers", "scoring", "session")
    for cls in vars(importlib.import_module(f"edgelm.{module}")).values()
    if inspect.isclass(cls) and cls.__module__.startswith("edgelm.")
}


def types_of(thing: Any) -> list[str]:
    """Annotations of what a function returns; of a class's fields, properties and functions."""
    if not inspect.isclass(thing):
        return [str(thing.__annotations__["return"])]
    members = documented_members(thing).values()
    functions = [member.fget if isinstance(member, property) else member for member in members]
    returned = [getattr(f, "__annotations__", {}).get("return") for f in functions]
    return [str(t) for t in (*getattr(thing, "__annotations__", {}).values(), *returned)]


def test_what_comes_back_is_public() -> None:
    found, left = set[str](), [edgelm.load, edgelm.models, edgelm.Model]
    while left:
        named = set(re.findall(r"\b[A-Z]\w+", " ".join(types_of(left.pop())))) & OURS
        left += [getattr(edgelm, name) for name in named - found]  # AttributeError: not public
        found |= named
    assert {"Generation", "Stream", "Usage", "Timings", "TokenLogprob", "KnownModel"} <= found


def test_every_error_is_public() -> None:
    from edgelm import errors

    ours = {n for n, e in vars(errors).items() if inspect.isclass(e) and issubclass(e, Exception)}
    assert ours <= PUBLIC


class Stub:
    """What _core.pyi declares: constants, the parameters of functions, the members of classes."""

    def __init__(self, source: str) -> None:
        self.constants = set[str]()
        self.functions: dict[str, list[str]] = {}
        self.classes: dict[str, dict[str, list[str] | None]] = {}
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef):
                self.functions[node.name] = self._parameters(node)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                self.constants.add(node.target.id)
            elif isinstance(node, ast.ClassDef):
                self.classes[node.name] = members = {}
                for part in node.body:
                    if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                        members[part.target.id] = None
                    elif isinstance(part, ast.FunctionDef):
                        is_property = any(
                            isinstance(d, ast.Name) and d.id == "property"
                            for d in part.decorator_list
                        )
                        members[part.name] = None if is_property else self._parameters(part)

    @staticmethod
    def _parameters(node: ast.FunctionDef) -> list[str]:
        arguments = node.args
        names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        return [name for name in names if name != "self"]


def built_parameters(function: Any) -> list[str]:
    """Names from the signature line that pybind11 puts first in a docstring."""
    line = (function.__doc__ or "").partition("\n")[0]
    inside = line[line.index("(") + 1 : line.rindex(")")]
    while inside != (inner := re.sub(r"\[[^\[\]]*\]|\([^()]*\)", "", inside)):
        inside = inner
    names = [part.split(":")[0].split("=")[0].strip() for part in inside.split(",")]
    return [name for name in names if name not in ("", "self", "*", "/")]


def stub_faults(stub: Stub, module: Any) -> list[str]:
    faults = []
    built = {name for name in vars(module) if not name.startswith("_")}
    declared = set(stub.functions) | set(stub.classes) | stub.constants
    faults += [f"{name} is built but not in the stub" for name in sorted(built - declared)]
    faults += [f"{name} is in the stub but not built" for name in sorted(declared - built)]
    for name, wanted in stub.functions.items():
        if name in built and built_parameters(getattr(module, name)) != wanted:
            faults.append(f"{name}{built_parameters(getattr(module, name))}, stub {wanted}")
    for name, members in stub.classes.items():
        if name not in built:
            continue
        cls = getattr(module, name)
        public = {m for m in vars(cls) if not m.startswith("_")}
        faults += [f"{name}.{m} is not in the stub" for m in sorted(public - set(members))]
        for member, wanted_or_none in members.items():
            if not hasattr(cls, member):
                faults.append(f"{name}.{member} is in the stub but not built")
            elif wanted_or_none is not None:
                got = built_parameters(getattr(cls, member))
                if got != wanted_or_none:
                    faults.append(f"{name}.{member}{got}, stub {wanted_or_none}")
    return faults


def test_stub_matches_the_native_module() -> None:
    faults = stub_faults(Stub((PACKAGE / "_core.pyi").read_text()), _core)
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def usable_cores() -> int", "def usable_cores(n: int) -> int"),
        ("def usable_isas()", "def usable_isa()"),
        ("    version: int\n", ""),
        ("PAGE_TOKENS: int", "PAGE_BYTES: int"),
        ("    version: int\n", "    version: int\n    versions: int\n"),
    ],
)
def test_a_wrong_stub_is_caught(old: str, new: str) -> None:
    source = (PACKAGE / "_core.pyi").read_text()
    assert old in source
    assert stub_faults(Stub(source.replace(old, new)), _core)


def test_a_missing_docstring_is_caught() -> None:
    class Thing:
        """Has one."""

        def silent(self) -> None: ...

    class Holder:
        thing = Thing

    assert undocumented({"thing"}, Holder) == ["thing.silent"]
