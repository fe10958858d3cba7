"""Opening, encoding and decoding: `python -m pytest bench/tokenizer.py`. MB/s are in extra_info."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgelm import hub
from edgelm.gguf import open_gguf
from edgelm.tokenizer import Tokenizer

MODELS = ("smollm2-135m-instruct", "gemma-3-270m")
PROSE = (Path(__file__).parent.parent / "python" / "edgelm" / "bench" / "prose.txt").read_text()
TEXTS = {
    "prose": PROSE * (1_000_000 // len(PROSE)),
    "mixed": "Привет, мир! 你好世界。 Das ist ein Test: naïve café 12345. " * 10_000,
    "one letter": "a" * 1_000_000,
}


@pytest.fixture(scope="module", params=MODELS)
def path(request: pytest.FixtureRequest) -> Path:
    return hub.resolve(request.param)


def test_open(benchmark: Any, path: Path) -> None:
    benchmark(lambda: Tokenizer(open_gguf(path)))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("direction", ["encode", "decode"])
def test_speed(benchmark: Any, path: Path, direction: str, text: str) -> None:
    tokenizer = Tokenizer(open_gguf(path))
    ids = tokenizer.encode(TEXTS[text], add_special=False)
    if direction == "encode":
        benchmark(tokenizer.encode, TEXTS[text])
    else:
        benchmark(tokenizer.decode, ids)
    megabytes = len(TEXTS[text].encode()) / 1e6
    benchmark.extra_info["MB/s"] = round(megabytes / benchmark.stats["min"], 1)
