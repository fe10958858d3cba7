"""Every exception and warning that edgelm defines.

EdgelmError
├── ModelFormatError (ValueError)        the file is damaged or contradicts itself
├── UnsupportedModelError (ValueError)   a sound file that edgelm cannot run
├── TemplateError (ValueError)           a chat template failed, or asked for too much
├── ContextFullError (ValueError)        the prompt does not fit the context
├── CacheFullError (RuntimeError)        every sequence of the KV cache is in use
├── Busy (RuntimeError)                  two threads used one session, stream or plan at once, or
│                                        too many calls wait for a sequence
├── LogitsError (RuntimeError)           NaN or infinity where a token is chosen
├── ClosedError (RuntimeError)           the model or session was closed
└── DownloadError (OSError)              a model could not be fetched or verified

EdgelmWarning (UserWarning)              a file is odd in what does not matter here

Bad arguments are plain ValueError and TypeError; unreadable files are OSError.
"""

from __future__ import annotations

import sys
import warnings


class EdgelmError(Exception):
    """The base of every exception that edgelm defines."""


class ModelFormatError(EdgelmError, ValueError):
    """The model file is damaged, incomplete or contradicts itself."""


class UnsupportedModelError(EdgelmError, ValueError):
    """The model file is sound, but edgelm cannot run what it holds."""


class TemplateError(EdgelmError, ValueError):
    """A chat template failed, or exceeded its limits on steps or output."""


class ContextFullError(EdgelmError, ValueError):
    """The prompt and the reply do not fit into the context."""


class CacheFullError(EdgelmError, RuntimeError):
    """Every sequence of the KV cache is in use."""


class Busy(EdgelmError, RuntimeError):  # noqa: N818  (the name says the state, as BlockingIOError does)
    """One session, stream or plan was used from two threads at once, or the queue is full."""


class LogitsError(EdgelmError, RuntimeError):
    """The logits hold NaN or infinity, or no token that may be chosen: broken weights, say."""


class ClosedError(EdgelmError, RuntimeError):
    """The model or session was already closed."""


class DownloadError(EdgelmError, OSError):
    """A model could not be fetched, or what came did not match its SHA-256."""


class EdgelmWarning(UserWarning):
    """The model file is odd in something that edgelm can do without, and is used all the same."""


def warn(message: str) -> None:
    """Issue an EdgelmWarning at the line outside of edgelm that led here."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] == "edgelm":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, EdgelmWarning, stacklevel=level)
