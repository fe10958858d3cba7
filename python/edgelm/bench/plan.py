"""What a run is asked to measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Effort = Literal["quick", "default", "full"]
# Of a model; what is not in it is the start, the look at the noise and the report.
SECONDS: dict[Effort, float | None] = {"quick": 52.0, "default": 280.0, "full": None}


@dataclass
class Plan:
    """What to measure, and how.

    only: names of sections; all of the profile's if empty.
    rows: of peers, by the start of their names; all if empty.
    rounds: of peers, however long they take; None is as many as there is time for.
    command: as it goes into the results.
    """

    paths: Sequence[Path]
    effort: Effort = "default"
    profile: str | None = None
    sustain_s: float | None = None
    suggest: bool = False
    n_ctx: int | None = None
    n_threads: int | None = None
    n_batch: int = 512
    kv_type: str = "f16"
    seed: int = 0
    against: Sequence[str] = ()
    only: Sequence[str] = ()
    rows: Sequence[str] = ()
    rounds: int | None = None
    command: Sequence[str] = ()

    @property
    def seconds(self) -> float | None:
        """For one model, `sustain_s` and given `rounds` aside; None is as long as it takes."""
        return SECONDS[self.effort]

    @property
    def full(self) -> bool:
        """Whether every row is measured, however long it takes."""
        return self.effort == "full"

    @property
    def quick(self) -> bool:
        """Whether there is less than a minute."""
        return self.effort == "quick"
