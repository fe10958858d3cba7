"""The plots of a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..first_token import FirstToken
from ..results import ModelResult, Results
from ..stats import percentile
from .canvas import INK, MUTED, PAPER, SERIES, Canvas, Plot, canvas, log_axis
from .numbers import number
from .table import label, visible

LENGTH_TICKS = (1, 4, 10, 32, 128, 512, 2048)


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


def first_token(result: ModelResult, name: str) -> Iterator[Plot]:
    """Latency over prompt length, on the limits: a climb from 1 to 10 tokens tells of compute."""
    kinds: tuple[tuple[str, str, str, Callable[[FirstToken], bool]], ...] = (
        ("first prompt after load", "^", SERIES[1], lambda r: r.state == "cold"),
        ("warm", "o", SERIES[0], lambda r: r.state == "warm" and not r.n_cached),
        ("warm, half of it cached", "s", SERIES[2], lambda r: r.state == "warm" and r.n_cached > 0),
    )
    limits = {r.n_tokens: r.limit for r in result.first_token if r.limit and not r.n_cached}
    if not result.first_token:
        return
    with canvas() as c:
        ax = c.ax
        ax.set(xscale="log", yscale="log", xlabel="prompt, tokens", ylabel="first token, ms")
        for text, marker, colour, wanted in kinds:
            rows = sorted(filter(wanted, result.first_token), key=lambda r: r.n_tokens)
            if not rows:
                continue
            lengths = [r.n_tokens for r in rows]
            ax.plot(
                lengths, [r.total.median_ms for r in rows], color=colour, marker=marker, label=text
            )
            least, most = ([getattr(r.total, end) for r in rows] for end in ("min_ms", "max_ms"))
            ax.fill_between(lengths, least, most, color=colour, alpha=0.18, linewidth=0)
        for text, style, key in (
            ("memory limit", ":", "memory_ms"),
            ("compute limit", "--", "compute_ms"),
        ):
            ax.plot(
                sorted(limits),
                [getattr(limits[n], key) for n in sorted(limits)],
                color=MUTED,
                linestyle=style,
                linewidth=1.1,
                label=text,
            )
        if limits:
            ax.set_ylim(bottom=0.5 * min(limit.memory_ms for limit in limits.values()))
        log_axis(ax.xaxis, LENGTH_TICKS)
        log_axis(ax.yaxis)
        ax.legend(loc="upper left")
        yield c.plot(
            "first_token",
            "First token by prompt length",
            "Medians, the band from the least to the greatest sample. No engine can read a whole "
            "prompt faster than the greater of the two limits, which this run measured.",
            subject=name,
        )


def decode(result: ModelResult, name: str) -> Iterator[Plot]:
    """How long tokens took, at each depth."""
    rows = sorted(result.decode, key=lambda r: r.depth)
    if not rows:
        return
    with canvas() as c:
        ax = c.ax
        at = range(len(rows))
        boxes = [
            {
                "med": r.token.median_ms,
                "q1": percentile(r.token.samples_ms, 0.25),
                "q3": percentile(r.token.samples_ms, 0.75),
                "whislo": r.token.min_ms,
                "whishi": percentile(r.token.samples_ms, 0.9),
                "fliers": [t for t in r.token.samples_ms if t > r.token.p90_ms],
            }
            for r in rows
        ]
        line = {"color": SERIES[0], "linewidth": 1.1}
        ax.bxp(
            boxes,
            positions=at,
            widths=0.5,
            patch_artist=True,
            boxprops={"facecolor": PAPER, "edgecolor": SERIES[0], "linewidth": 1.1},
            medianprops={"color": SERIES[0], "linewidth": 2.2},
            whiskerprops=line,
            capprops=line,
            flierprops={
                "marker": "o",
                "markersize": 2.5,
                "markerfacecolor": SERIES[0],
                "markeredgewidth": 0,
                "alpha": 0.5,
            },
        )
        for i, row in zip(at, rows, strict=True):
            if row.limit:
                text = "limit" if i == 0 else None
                ax.plot(
                    [i - 0.36, i + 0.36], [row.limit.limit_ms] * 2, ":", color=MUTED, label=text
                )
        ax.set(xlabel="depth, tokens of context before", ylabel="time of a token, ms")
        ax.set_xticks(at, [f"{r.depth:,}" for r in rows])
        ax.set_ylim(bottom=0)
        ax.grid(visible=False, axis="x")
        if any(r.limit for r in rows):
            ax.legend(loc="lower right")
        yield c.plot(
            "decode",
            "Per-token latency by depth",
            "Box: the middle half of all tokens and their median; whiskers: least and p90; dots: "
            "every slower token.",
            subject=name,
        )


def speed(results: Results) -> Iterator[Plot]:
    """Decoding speed beside the limit, all files."""
    rows = [
        (label(results, result.model.name), row)
        for result in results.models
        if result.decode and (row := min(result.decode, key=lambda r: r.depth)).limit
    ]
    if not rows:
        return
    with canvas(height=_rows_height(len(rows))) as c:
        ax = c.ax
        at = range(len(rows))
        ax.barh(at, [r.tok_s for _, r in rows], 0.5, color=SERIES[0], label="measured")
        for i, (_, row) in zip(at, rows, strict=True):
            if row.limit:
                limit = 1e3 / row.limit.limit_ms
                text = "limit" if i == 0 else None
                ax.plot([limit, limit], [i - 0.36, i + 0.36], ":", color=INK, label=text)
                _inside(ax, row.tok_s, i)
        _named_rows(c, [name for name, _ in rows])
        ax.set(xlabel="decode, tok/s")
        ax.set_xlim(left=0)
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.25), ncols=2)
        yield c.plot(
            "decode",
            "Decoding speed and its limit",
            "At the least depth. The limit is the measured read bandwidth over the bytes that a "
            "token reads.",
        )


def memory(results: Results) -> Iterator[Plot]:
    """Resident memory over context."""
    rows = [(label(results, r.model.name), r.memory.points) for r in results.models if r.memory]
    rows = [(name, points) for name, points in rows if points]
    if not rows:
        return
    with canvas() as c:
        for i, (name, points) in enumerate(rows):
            c.ax.plot(
                [p.n_tokens for p in points],
                [p.rss_bytes / 2**20 for p in points],
                color=SERIES[i % len(SERIES)],
                marker="os^Dvp"[i % 6],
                label=short(name),
            )
        c.ax.set(xlabel="context, tokens", ylabel="resident memory, MiB")
        c.ax.set_ylim(bottom=0)
        c.ax.legend(loc="lower right")
        yield c.plot(
            "memory", "Memory over context", "Resident memory of a process as its context fills."
        )


def quantization(results: Results) -> Iterator[Plot]:
    """What a smaller file costs."""
    files = [q for q in results.quantization if not q.random_weights]
    if len(files) < 2:
        return
    panels = [
        ("KL, nats", [(q, 0.0 if q.kl_nats is None else q.kl_nats) for q in files]),
        ("a token, ms", [(q, q.token_ms) for q in files if q.token_ms is not None]),
    ]
    panels = [panel for panel in panels if panel[1]]
    with canvas(len(panels), 1.9 * len(panels), sharex=True) as c:
        for ax, (text, values) in zip(c.axes, panels, strict=True):
            for i, (q, y) in enumerate(values):
                x = q.file_bytes / 2**20
                ax.plot([x], [y], "os^Dvp"[i % 6], color=SERIES[i % 6], markersize=6)
                ax.annotate(f" {q.quant}", (x, y), xytext=(5, 3), textcoords="offset points")
            ax.set_ylabel(text)
            ax.margins(x=0.2)
            ax.set_ylim(0, 1.3 * max(y for _, y in values) or 1)
        c.axes[-1].set_xlabel("file, MiB")
        yield c.plot(
            "quantization",
            "Size, accuracy and speed of the files",
            "KL: mean divergence from the largest file. Lower and further left is better.",
        )


def sustain(result: ModelResult, name: str) -> Iterator[Plot]:
    """Speed, clock and heat over time."""
    if not (run := result.sustain) or not run.points:
        return
    seconds = [p.t_s for p in run.points]
    panels = [
        ("tok/s", {"": [p.tok_s for p in run.points]}),
        ("MHz", _over_time([p.mhz for p in run.points])),
        ("\N{DEGREE SIGN}C", _over_time([p.celsius for p in run.points])),
    ]
    if not panels[1][1]:
        panels[1] = ("MHz, timed", {"": [p.core_mhz for p in run.points]})
    panels = [(text, lines) for text, lines in panels if lines]
    with canvas(len(panels), 1.0 + 0.85 * len(panels), sharex=True) as c:
        for ax, (text, lines) in zip(c.axes, panels, strict=True):
            for i, values in enumerate(lines.values()):
                ax.plot(seconds, values, color=SERIES[i % 6], linewidth=1.2)
            ax.set_ylabel(text)
            ax.margins(y=0.15)
        c.axes[0].set_ylim(bottom=0)
        c.axes[-1].set_xlabel("seconds")
        yield c.plot(
            "sustain",
            "Sustained decoding",
            "Speed, clock of each processor and temperature of each zone over time, as far as the "
            "system shows them.",
            subject=name,
        )


def _over_time(looks: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Readings by name, of those that are there at every look."""
    names = set(looks[0]).intersection(*looks) if looks else set()
    return {name: [look[name] for look in looks] for name in sorted(names)}


def threads(result: ModelResult, name: str) -> Iterator[Plot]:
    """Speed by setting."""
    rows = result.threads
    if not rows:
        return
    panels = (
        (
            f"prefill, tok/s ({rows[0].n_prompt} tokens)",
            SERIES[0],
            [1e3 * r.n_prompt / r.prefill.median_ms for r in rows],
        ),
        ("decode, tok/s", SERIES[2], [1e3 / r.token.median_ms for r in rows]),
    )
    with canvas(2, 2 * _rows_height(len(rows), 0.6)) as c:
        for ax, (text, colour, values) in zip(c.axes, panels, strict=True):
            ax.barh(range(len(rows)), values, 0.5, color=colour)
            for i, value in enumerate(values):
                _inside(ax, value, i)
            ax.set(xlabel=text)
            ax.set_xlim(left=0)
            ax.set_yticks(range(len(rows)), [short(r.label) for r in rows])
            ax.invert_yaxis()
            ax.grid(visible=False, axis="y")
        yield c.plot("threads", "Threads", "Prompt above, decoding below; longer is faster.", name)


def peers(results: Results) -> Iterator[Plot]:
    """How many times as fast as a peer."""
    colours = {"faster": SERIES[0], "slower": SERIES[1]}
    for peer in results.peers:
        if not peer.rows:
            continue
        with canvas(height=_rows_height(len(peer.rows), 1.1)) as c:
            ax = c.ax
            ax.set_xscale("log")
            ax.axvline(1, color=INK, linewidth=0.9)
            for i, row in enumerate(peer.rows):
                colour = colours.get(row.verdict, MUTED)
                ax.plot(
                    [row.ratio_low, row.ratio_high], [i, i], color=colour, linewidth=5, alpha=0.3
                )
                ax.plot(
                    row.ratios,
                    [i] * len(row.ratios),
                    "|",
                    color=colour,
                    markersize=6,
                    markeredgewidth=0.8,
                )
                ax.plot([row.ratio], [i], "o", color=colour, markersize=6)
                ax.annotate(
                    f"{row.ratio:.2f}",
                    (row.ratio, i),
                    xytext=(0, 6),
                    textcoords="offset points",
                    ha="center",
                    fontsize=8,
                    bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.4},
                )
            _named_rows(c, [row.name for row in peer.rows])
            ends = [x for row in peer.rows for x in (row.ratio_low, row.ratio_high, *row.ratios)]
            ax.set_xlim(min(0.8, 0.9 * min(ends)), max(1.3, 1.15 * max(ends)))
            ax.set_ylim(len(peer.rows) - 0.4, -0.7)
            log_axis(ax.xaxis, (0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20, 50))
            ax.set_xlabel(f"times as fast as {short(peer.peer)}")
            yield c.plot(
                "peers",
                f"edgelm against {short(peer.peer)}",
                "Dot: median of the rounds' ratios; thick line: an interval that holds it with at "
                "least 90 %; ticks: every round. Right of 1 edgelm is the faster; grey: the spread "
                "allows no verdict.",
                label(results, peer.model),
            )


def projection(results: Results) -> Iterator[Plot]:
    """Projected speed on phone chips."""
    if not results.projection:
        return
    chips = list(dict.fromkeys(p.chip for p in results.projection))
    models = list(dict.fromkeys(p.model for p in results.projection))
    with canvas(height=_rows_height(len(chips), 1.2)) as c:
        for i, model in enumerate(models):
            rows = [p for p in results.projection if p.model == model]
            c.ax.plot(
                [p.tok_s for p in rows],
                [chips.index(p.chip) for p in rows],
                "os^Dvp"[i % 6],
                markerfacecolor="none",
                markeredgecolor=SERIES[i % 6],
                markeredgewidth=1.4,
                markersize=6,
                label=short(label(results, model)),
            )
        _named_rows(c, chips)
        c.ax.set_xlim(left=0)
        c.ax.set(xlabel="projected tokens a second (not measured)")
        c.ax.legend(loc="lower right")
        yield c.plot(
            "projection",
            "Projected decoding speed on phone chips",
            "A projection, not a measurement: the share of the bandwidth reached here, of the "
            "bandwidth that each chip's maker states.",
        )


def short(name: str, most: int = 34) -> str:
    """A name that leaves room for the plot: its middle left out."""
    name = visible(name)
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"


def _rows_height(n: int, besides: float = 0.9) -> float:
    return besides + 0.34 * n


def _named_rows(c: Canvas, names: Sequence[str]) -> None:
    c.ax.set_yticks(range(len(names)), [short(name, 24) for name in names])
    c.ax.set_ylim(len(names) - 0.5, -0.5)
    c.ax.grid(visible=False, axis="y")


def _inside(ax: Any, value: float, row: int) -> None:
    ax.annotate(
        number(value),
        (value, row),
        xytext=(-3, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        color=PAPER,
    )


PARTS: tuple[Callable[[Results], Iterator[Plot]], ...] = (
    *(peers, _each(first_token), speed, _each(decode), memory, _each(sustain)),
    *(_each(threads), quantization, projection),
)
