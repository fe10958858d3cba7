"""Plots of what it takes: memory, heat, threads, accuracy; and of phone chips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..results import ModelResult, Results
from .canvas import SERIES, Plot, canvas, rows_height, short, write_inside
from .table import label


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
        c.ax.xaxis.set_major_formatter("{x:,.0f}")
        c.ax.set_ylim(bottom=0)
        subject = c.legend([name for name, _ in rows])
        caption = "Resident memory of a process as its context fills."
        yield c.plot("memory", "Memory over context", caption, subject)


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
    with canvas(2, 2 * rows_height(len(rows), 0.6)) as c:
        for ax, (text, colour, values) in zip(c.axes, panels, strict=True):
            ax.barh(range(len(rows)), values, 0.5, color=colour)
            for i, value in enumerate(values):
                write_inside(ax, value, i)
            ax.set(xlabel=text)
            ax.set_xlim(left=0)
            ax.set_yticks(range(len(rows)), [short(r.label) for r in rows])
            ax.invert_yaxis()
            ax.grid(visible=False, axis="y")
        yield c.plot("threads", "Threads", "Prompt above, decoding below; longer is faster.", name)


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


def projection(results: Results) -> Iterator[Plot]:
    """Projected speed on phone chips."""
    if not results.projection:
        return
    chips = list(dict.fromkeys(p.chip for p in results.projection))
    models = list(dict.fromkeys(p.model for p in results.projection))
    with canvas(height=rows_height(len(chips), 1.2)) as c:
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
        c.name_rows(chips)
        c.ax.set_xlim(left=0)
        c.ax.set(xlabel="projected tokens a second (not measured)")
        subject = c.legend([label(results, model) for model in models])
        yield c.plot(
            "projection",
            "Projected decoding speed on phone chips",
            "A projection, not a measurement: the share of the bandwidth reached here, of the "
            "bandwidth that each chip's maker states.",
            subject,
        )
