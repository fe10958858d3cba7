"""One small plot as inline SVG that takes its colours from the page.

Drawn with placeholder colours, which become CSS variables: so one drawing serves light, dark and
print. Text stays text. matplotlib is imported here only, and only when something is drawn.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .numbers import number
from .table import label, visible

if TYPE_CHECKING:
    from .results import ModelResult, Results

INK, MUTED, GRID, PAPER = "#010101", "#020202", "#030303", "#040404"
SERIES = ("#0a0001", "#0a0002", "#0a0003", "#0a0004", "#0a0005", "#0a0006")
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    PAPER: "var(--paper)",
    **{colour: f"var(--series-{i})" for i, colour in enumerate(SERIES, 1)},
}
WIDTH, HEIGHT = 4.4, 2.9  # inches; at 72 points each as wide as a phone

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "edgelm",  # the same drawing gives the same ids
    "text.parse_math": False,  # names may hold $
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
}


@dataclass(frozen=True)
class Plot:
    """A drawing.

    section: of the results, as in Table.
    title: what it shows; plain text.
    subject: of which file, or "" for all.
    caption: how to read it; plain text.
    svg: an <svg> element.
    """

    section: str
    title: str
    subject: str
    caption: str
    svg: str


def available() -> bool:
    """Whether matplotlib can be imported."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


class Canvas:
    """A figure being drawn.

    figure: matplotlib's.
    axes: its axes, from above.
    """

    def __init__(self, figure: Any, axes: list[Any]) -> None:
        self.figure, self.axes = figure, axes

    @property
    def ax(self) -> Any:
        """The first axes."""
        return self.axes[0]

    def legend(self, names: Sequence[str]) -> str:
        """A legend above the first axes; of a lone line the name, for the title."""
        if len(names) < 2:
            return names[0]
        self.ax.legend(loc="lower left", bbox_to_anchor=(0, 1))
        return ""

    def name_rows(self, names: Sequence[str]) -> None:
        """Names instead of numbers on the first axes' vertical axis, the first one above."""
        self.ax.set_yticks(range(len(names)), [short(name, 24) for name in names])
        self.ax.set_ylim(len(names) - 0.5, -0.5)
        self.ax.grid(visible=False, axis="y")

    def plot(self, section: str, title: str, caption: str, subject: str = "") -> Plot:
        """The drawing as it is now."""
        written = io.StringIO()
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        self.figure.savefig(written, format="svg", transparent=True, metadata=metadata)
        svg = themed(written.getvalue(), f"{section} {title} {subject}")
        return Plot(section, title, subject, caption, svg)


@contextmanager
def canvas(rows: int = 1, height: float = HEIGHT, **axes: Any) -> Iterator[Canvas]:
    """A figure of so many rows of axes; `axes` go to matplotlib's subplots()."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        yield Canvas(figure, list(figure.subplots(rows, squeeze=False, **axes)[:, 0]))


def write_inside(ax: Any, value: float, row: int) -> None:
    """The number at the end of a bar, within it."""
    ax.annotate(
        number(value),
        (value, row),
        xytext=(-3, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        color=PAPER,
    )


def rows_height(n: int, besides: float = 0.9) -> float:
    """Inches for n rows of bars or points, and for what stands around them."""
    return besides + 0.34 * n


def short(name: str, most: int = 34) -> str:
    """A name that leaves room for the plot: its middle left out."""
    name = visible(name)
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"


def themed(svg: str, label: str) -> str:
    """matplotlib's SVG file as an element of a page: variables for colours, ids of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.S)
    svg = re.sub(r"#[0-9a-f]{6}", lambda c: _VARIABLES.get(c[0], c[0]), svg)
    mark = f"p{zlib.crc32(label.encode()):08x}"
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{mark}-", svg)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    if size is None:
        raise RuntimeError("matplotlib wrote an SVG without a viewBox; is it older than 3.7?")
    start = f'<svg viewBox="0 0 {size[1]} {size[2]}" role="img" xmlns="http://www.w3.org/2000/svg" '
    start += 'xmlns:xlink="http://www.w3.org/1999/xlink">'
    return start + svg[svg.index(">") + 1 :].strip()


def log_axis(axis: Any, ticks: Iterable[float] | None = None) -> None:
    """A log axis with plain numbers, at 1, 2 and 5 times powers of ten or at `ticks`."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    locator = LogLocator(10, subs=(1, 2, 5)) if ticks is None else FixedLocator(list(ticks))
    axis.set_major_locator(locator)
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}" if x >= 1 else f"{x:g}"))


def each_model(
    draw: Callable[[ModelResult, str], Iterator[Plot]],
) -> Callable[[Results], Iterator[Plot]]:
    """A plot a model, with the model's name in its title."""

    def all_of(results: Results) -> Iterator[Plot]:
        for result in results.models:
            yield from draw(result, label(results, result.model.name))

    return all_of
