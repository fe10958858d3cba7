"""On-device LLM inference: loads llama.cpp GGUF files and generates text on a CPU."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Model, load
    from .errors import (
        Busy,
        CacheFullError,
        ClosedError,
        ContextFullError,
        DownloadError,
        EdgelmError,
        LogitsError,
        ModelFormatError,
        TemplateError,
        UnsupportedModelError,
    )
    from .generate import Generation, Stream
    from .scoring import Perplexity
    from .session import Session

    __version__: str

__all__ = [
    "Busy",
    "CacheFullError",
    "ClosedError",
    "ContextFullError",
    "DownloadError",
    "EdgelmError",
    "Generation",
    "LogitsError",
    "Model",
    "ModelFormatError",
    "Perplexity",
    "Session",
    "Stream",
    "TemplateError",
    "UnsupportedModelError",
    "__version__",
    "load",
]

_HOMES = {
    "load": "api",
    "Model": "api",
    "Generation": "generate",
    "Stream": "generate",
    "Perplexity": "scoring",
    "Session": "session",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: `import edgelm` alone costs nothing."""
    if name == "__version__":
        value: Any = import_module("importlib.metadata").version("edgelm")
    elif name in __all__:
        value = getattr(import_module(f".{_HOMES.get(name, 'errors')}", __name__), name)
    else:
        raise AttributeError(f"module 'edgelm' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
