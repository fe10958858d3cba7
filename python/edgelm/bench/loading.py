"""Load time, and the time from starting a process to its first token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .timing import Times


@dataclass
class Load:
    """Loading in a fresh process.

    file_cache: "cold": the file's pages were dropped before; "warm": they were read before.
    cached_share: of the file, in the page cache before each load: tells whether dropping worked.
    load: edgelm.load() alone.
    to_first_token: from starting the process to its first token of a 16-token prompt.
    interpreter: the part of that before Python runs its first line.
    imports: the part that `import edgelm` takes.
    first_token: the part that the first prompt takes.
    """

    file_cache: Literal["cold", "warm"]
    cached_share: list[float | None]
    load: Times
    to_first_token: Times
    interpreter: Times
    imports: Times
    first_token: Times
