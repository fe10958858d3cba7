"""The models that the suite's tests measure."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiny_models import TinyLlama


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One model twice: as floats, and quantized."""
    folder = tmp_path_factory.mktemp("bench")
    random = {"edgelm.random_weights": True}
    return [
        TinyLlama(n_ctx=256, quant=quant, metadata=random).write(folder / f"tiny-{quant}.gguf")
        for quant in ("F32", "Q8_0")
    ]
