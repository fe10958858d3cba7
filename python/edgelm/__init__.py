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
        EdgelmWarning,
        LogitsError,
        ModelFormatError,
        TemplateError,
        UnsupportedModelError,
    )
    from .generate import Generation, Stream, Timings, Usage
    from .known import KnownModel, models
    from .options import Options
    from .samplers import TokenLogprob
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
    "EdgelmWarning",
    "Generation",
    "KnownModel",
    "LogitsError",
    "Model",
    "ModelFormatError",
    "Options",
    "Perplexity",
    "Session",
    "Stream",
    "TemplateError",
    "Timings",
    "TokenLogprob",
    "UnsupportedModelError",
    "Usage",
    "__version__",
    "load",
    "models",
]

_HOMES = {
    "load": "api",
    "Model": "api",
    "Generation": "generate",
    "Stream": "generate",
    "Timings": "generate",
    "Usage": "generate",
    "KnownModel": "known",
    "models": "known",
    "Options": "options",
    "TokenLogprob": "samplers",
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
