"""All plots of a report, in reading order."""

from __future__ import annotations

from ..canvas import Plot
from ..results import ORDER, Results


def plots(results: Results) -> list[Plot]:
    """All plots that there is something for. Needs matplotlib."""
    return [p for section in ORDER for plot in section.plots for p in plot(results)]
