"""What `edgelm bench` writes: results.json, as plain dataclasses.

`schema.json` beside this file is made from these classes and their docstrings (`schema.py`), and a
test holds the two together:

    python -m edgelm.bench.results > python/edgelm/bench/schema.json

Times are in milliseconds, sizes in bytes, rates in tokens a second.
null stands for what could not be had, and `skipped`, `warnings` or a field beside it says why;
an absent number is never zero. Every sample is kept, in the order in which it was taken.

SCHEMA_VERSION grows when a reader of the old files would go wrong; a new optional field is no
reason. Files of another version are refused.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from .cost import COST, Cost
from .decode import DECODE, LLAMA_BENCH, Decode, LlamaBench
from .first_token import COLD, FIRST_TOKEN, FirstToken
from .limits import Limit
from .loading import LOAD, Load
from .machine import Machine
from .memory import MEMORY, Memory
from .peers import PEERS, Peer
from .plan import Effort
from .profiles import SCENARIOS, Scenario
from .projection import PROJECTION, Projection
from .quantization import QUANTIZATION, Quantization
from .run import Skipped
from .schema import decode, json_schema
from .section import sections_of
from .subject import ModelInfo, Settings
from .sustain import SUSTAIN, Sustain
from .threads import THREADS, ThreadSetting

SCHEMA_VERSION = 1


@dataclass
class ModelResult:
    """All that was measured of one file.

    settings: how it was loaded for most sections; threads and peers state their own.
    suggestion: the fastest way here to load it, as Python; null if not asked for.
    """

    model: ModelInfo
    settings: Settings
    first_token: Annotated[list[FirstToken], FIRST_TOKEN, COLD] = field(default_factory=list)
    decode: Annotated[list[Decode], DECODE] = field(default_factory=list)
    llama_bench: Annotated[list[LlamaBench], LLAMA_BENCH] = field(default_factory=list)
    scenarios: Annotated[list[Scenario], SCENARIOS] = field(default_factory=list)
    load: Annotated[list[Load], LOAD] = field(default_factory=list)
    memory: Annotated[Memory | None, MEMORY] = None
    cost: Annotated[list[Cost], COST] = field(default_factory=list)
    sustain: Annotated[Sustain | None, SUSTAIN] = None
    threads: Annotated[list[ThreadSetting], THREADS] = field(default_factory=list)
    suggestion: str | None = None


@dataclass
class Results:
    """One run of `edgelm bench`.

    schema_version: SCHEMA_VERSION.
    created: when it began, UTC, ISO 8601.
    seconds: how long it took.
    interrupted: it was stopped early; what was measured until then is here.
    command: the arguments.
    effort: "quick", "default" or "full".
    profile: "phone", "survey", "llama-bench", or null for the standard suite.
    seed: of the random ids and weights.
    versions: of edgelm, Python, NumPy; "commit" where the package lies in a git checkout.
    limits: of the machine, by number of threads.
    warnings: what a reader must know before quoting a number.
    """

    schema_version: int
    created: str
    seconds: float
    interrupted: bool
    command: list[str]
    effort: Effort
    profile: str | None
    seed: int
    versions: dict[str, str]
    machine: Machine
    limits: list[Limit]
    models: list[ModelResult] = field(default_factory=list)
    quantization: Annotated[list[Quantization], QUANTIZATION] = field(default_factory=list)
    peers: Annotated[list[Peer], PEERS] = field(default_factory=list)
    projection: Annotated[list[Projection], PROJECTION] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def as_json(self) -> str:
        """The text of results.json."""
        return json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False) + "\n"


SECTIONS = sections_of(ModelResult)  # the registry: what is measured of a model
ORDER = (PEERS, *SECTIONS, QUANTIZATION, PROJECTION)  # in which a report shows them


def read(path: Path) -> Results:
    """The results in a file; ValueError says what is wrong with it."""
    try:
        value: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not UTF-8, or no JSON
        raise ValueError(f"{path} is no JSON file: {error}") from None
    version = value.get("schema_version") if isinstance(value, dict) else None
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{path} is no results.json of schema version {SCHEMA_VERSION} but of {version!r}; "
            "make it anew with this edgelm."
        )
    try:
        return decode(Results, value)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


if __name__ == "__main__":
    print(json.dumps(json_schema(Results), indent=1, ensure_ascii=False))
