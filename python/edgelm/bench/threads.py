"""Speed by number of threads and kind of core."""

from __future__ import annotations

from dataclasses import dataclass

from .timing import Times


@dataclass
class ThreadSetting:
    """Speed with one choice of threads and processors, in a process of its own.

    label: "2 threads", "big cores", "all cores".
    n_threads: threads.
    cpus: processors that it was bound to; null if to none.
    prefill: a prompt of n_prompt tokens.
    n_prompt: its length.
    token: of decoded tokens.
    """

    label: str
    n_threads: int
    cpus: list[int] | None
    prefill: Times
    n_prompt: int
    token: Times
