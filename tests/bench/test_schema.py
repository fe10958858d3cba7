"""results.json: its schema, and its way to JSON and back."""

from __future__ import annotations

import dataclasses
import json
import typing
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgelm import bench
from edgelm.bench import schema
from edgelm.bench.results import Results
from edgelm.bench.timing import Times

SCHEMA = Path(bench.__file__).parent / "schema.json"


def records(kind: Any, found: dict[str, type]) -> dict[str, type]:
    """Every dataclass that a type holds, by name."""
    for inner in typing.get_args(kind):
        records(inner, found)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type) and kind.__name__ not in found:
        found[kind.__name__] = kind
        for hint in typing.get_type_hints(kind).values():
            records(hint, found)
    return found


def test_the_schema_file_is_that_of_the_classes() -> None:
    made = json.dumps(schema.json_schema(Results), indent=1, ensure_ascii=False) + "\n"
    assert SCHEMA.read_text() == made, "run python -m edgelm.bench.results > .../schema.json"


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(SCHEMA.read_text()))


# What names itself: a reader needs no more than the class's own line.
PLAIN = {
    "ModelResult": {
        *("model", "first_token", "decode", "llama_bench", "scenarios", "load", "memory"),
        *("cost", "sustain", "threads"),
    },
    "Results": {"machine", "models", "quantization", "peers", "projection", "skipped"},
    "Peer": {"rows"},
}


def test_every_field_is_documented() -> None:
    for name, kind in records(Results, {}).items():
        summary, described = schema.descriptions(kind)
        fields = {f.name for f in dataclasses.fields(kind)}
        assert summary, name
        assert set(described) == fields - PLAIN.get(name, set()), name


def test_decode_recomputes_what_is_derived() -> None:
    times = Times([3.0, 1.0, 2.0])
    value = dataclasses.asdict(times)
    assert value["median_ms"] == 2.0
    value["median_ms"] = 99.0
    assert schema.decode(Times, value) == times


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "Times lacks samples_ms"),
        ({"samples_ms": "fast"}, "Times.samples_ms is 'fast'"),
        ({"samples_ms": [1.0, None]}, r"Times.samples_ms\[1\] is None; expected float"),
        ({"samples_ms": []}, "no samples"),
        ([], r"Times is \[\]"),
    ],
)
def test_decode_says_what_does_not_fit(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        schema.decode(Times, value)
