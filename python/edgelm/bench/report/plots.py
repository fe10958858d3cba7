"""All plots of a report, in reading order."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..results import ModelResult, Results
from . import resource_plots, speed_plots
from .canvas import Plot
from .table import label


def plots(results: Results) -> list[Plot]:
    """All plots that there is something for. Needs matplotlib."""
    return [plot for part in PARTS for plot in part(results)]


def _each(
    draw: Callable[[ModelResult, str], Iterator[Plot]],
) -> Callable[[Results], Iterator[Plot]]:
    """A plot a model, with the model's name in its title."""

    def all_of(results: Results) -> Iterator[Plot]:
        for result in results.models:
            yield from draw(result, label(results, result.model.name))

    return all_of


PARTS: tuple[Callable[[Results], Iterator[Plot]], ...] = (
    *(speed_plots.peers, _each(speed_plots.first_token), speed_plots.speed),
    *(_each(speed_plots.decode), resource_plots.memory, _each(resource_plots.sustain)),
    *(_each(resource_plots.threads), resource_plots.quantization, resource_plots.projection),
)
