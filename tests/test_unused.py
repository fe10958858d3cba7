"""Nothing in the package is there for its tests alone."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import edgelm

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python" / "edgelm"
# What the package's source does not call by name, and who does.
CALLERS = {
    "first_difference": "whoever looks for a wrong step (HACKING.md)",
    "visit_Concat": "jinja2's code generator",
}


def public_names() -> set[str]:
    """What users call: all that the package exports, and what its classes offer."""
    exported = [getattr(edgelm, name) for name in edgelm.__all__]
    return {*edgelm.__all__}.union(*(dir(thing) for thing in exported if isinstance(thing, type)))


def mentioned(tree: ast.AST) -> Iterator[str]:
    """Identifiers that a module uses, as strings, too; the beginnings of those made as it runs."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
                yield name
            case ast.alias(name=name):
                yield name.rpartition(".")[2]
            case ast.JoinedStr(values=[ast.Constant(value=str(name)), *_]) if name.isidentifier():
                yield f"{name}*"
            case ast.Constant(value=str(name)) if name.isidentifier():
                yield name


def defined(tree: ast.AST) -> Iterator[str]:
    """Functions, methods and classes, but for those that a decorator hands to somebody."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not any(
            ast.unparse(d).split("(")[0].endswith((".register", ".setter"))
            for d in node.decorator_list
        ):
            yield node.name


def unused(package: Iterable[str], others: Iterable[str] = ()) -> set[str]:
    """Names that sources of the package define and that neither they nor the others mention."""
    trees = [ast.parse(source) for source in package]
    uses = {name for tree in trees for name in mentioned(tree)}
    uses |= {name for source in others for name in mentioned(ast.parse(source))}
    beginnings = tuple(name[:-1] for name in uses if name.endswith("*"))
    return {
        name
        for tree in trees
        for name in defined(tree)
        if name not in uses and not name.startswith(("__", *beginnings))
    }


def test_no_function_is_for_tests_alone() -> None:
    package = [path.read_text() for path in PACKAGE.rglob("*.py")]
    others = [p.read_text() for folder in ("bench", "tools") for p in (ROOT / folder).rglob("*.py")]
    found = unused(package, others) - public_names()
    assert found >= CALLERS.keys(), "CALLERS names what is called within"
    found -= CALLERS.keys()
    assert not found, f"nobody calls {', '.join(sorted(found))}: delete it, or say in CALLERS who"


def test_an_unused_function_is_caught() -> None:
    package = """
def used(): ...
def unused(): ...
class Reader:
    def _op_add(self): ...
    def of(self, name): return getattr(self, f"_op_{name}")
    def method(self): ...
@atexit.register
def at_exit(): ...
"""
    assert unused([package], ["used(Reader)"]) == {"unused", "of", "method"}
    assert unused([package], ["used(Reader).of('unused').method"]) == set()
