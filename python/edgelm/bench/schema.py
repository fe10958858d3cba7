"""Dataclasses as a JSON Schema, and JSON as dataclasses again.

Field descriptions are the "name: text" lines of the classes' docstrings.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from typing import Any, TypeVar

Record = TypeVar("Record")

_SIMPLE = {int: "integer", float: "number", str: "string", bool: "boolean"}


def json_schema(root: type) -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of a dataclass and of all that it holds."""
    definitions: dict[str, Any] = {}
    reference = _type_schema(root, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"edgelm bench: {root.__name__.lower()}.json",
        **reference,
        "$defs": dict(sorted(definitions.items())),
    }


def _type_schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind in _SIMPLE:
        return {"type": _SIMPLE[kind]}
    if kind is type(None):
        return {"type": "null"}
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin is list:
        return {"type": "array", "items": _type_schema(arguments[0], definitions)}
    if origin is dict:
        return {
            "type": "object",
            "additionalProperties": _type_schema(arguments[1], definitions),
        }
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_type_schema(a, definitions) for a in arguments]}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = {}  # before its fields, which may hold it again
            definitions[kind.__name__] = _record_schema(kind, definitions)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    raise TypeError(f"{kind!r} has no JSON Schema here; expected numbers, text, lists, dataclasses")


def _record_schema(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    summary, described = descriptions(kind)
    hints = typing.get_type_hints(kind)
    properties = {}
    for f in dataclasses.fields(kind):
        properties[f.name] = _type_schema(hints[f.name], definitions)
        if f.name in described:
            properties[f.name] = {"description": described[f.name], **properties[f.name]}
    return {
        "description": summary,
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def descriptions(kind: type) -> tuple[str, dict[str, str]]:
    """The first paragraph of a class's docstring, and its "name: text" lines by name."""
    lines = (inspect.getdoc(kind) or "").splitlines()
    blank = lines.index("") if "" in lines else len(lines)
    described: dict[str, str] = {}
    name = ""
    for line in lines[blank:]:
        if found := re.match(r"(\w+): (.*)", line):
            name, described[found[1]] = found[1], found[2]
        elif name and line.startswith(" "):
            described[name] += " " + line.strip()
        else:
            name = ""
    return " ".join(lines[:blank]), described


def decode(kind: type[Record], value: Any) -> Record:
    """The dataclass that dataclasses.asdict made `value` from; ValueError says what does not fit.

    Fields with a default may be missing; derived ones (init=False) are computed anew.
    """
    return _decode(kind, value, kind.__name__)  # type: ignore[no-any-return]


def _decode(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (kind,) = (a for a in arguments if a is not type(None))
        return _decode(kind, value, where)
    if origin is list and isinstance(value, list):
        return [_decode(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {k: _decode(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if origin is typing.Literal and value in arguments:
        return value
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _decode_record(kind, value, where)  # type: ignore[arg-type]
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind in _SIMPLE and type(value) is kind:
        return value
    expected = arguments if origin is typing.Literal else getattr(kind, "__name__", kind)
    raise ValueError(f"{where} is {value!r:.60}; expected {expected}.")


def _decode_record(kind: type, value: dict[str, Any], where: str) -> Any:
    hints = typing.get_type_hints(kind)
    given = {}
    for f in dataclasses.fields(kind):
        if not f.init:
            continue
        if f.name in value:
            given[f.name] = _decode(hints[f.name], value[f.name], f"{where}.{f.name}")
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where} lacks {f.name}: this is no complete results.json.")
    return kind(**given)
