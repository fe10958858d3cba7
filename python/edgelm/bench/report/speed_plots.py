"""Plots of speed: against peers, first token, per token."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..first_token import FirstToken
from ..results import ModelResult, Results
from ..stats import percentile
from .canvas import (
    INK,
    MUTED,
    PAPER,
    SERIES,
    Plot,
    canvas,
    log_axis,
    rows_height,
    short,
    write_inside,
)
from .table import label

LENGTH_TICKS = (1, 4, 10, 32, 128, 512, 2048)


def peers(results: Results) -> Iterator[Plot]:
    """How many times as fast as a peer."""
    colours = {"faster": SERIES[0], "slower": SERIES[1]}
    for peer in results.peers:
        if not peer.rows:
            continue
        with canvas(height=rows_height(len(peer.rows), 1.1)) as c:
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
            c.name_rows([row.name for row in peer.rows])
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


def speed(results: Results) -> Iterator[Plot]:
    """Decoding speed beside the limit, all files."""
    rows = [
        (label(results, result.model.name), row)
        for result in results.models
        if result.decode and (row := min(result.decode, key=lambda r: r.depth)).limit
    ]
    if len(rows) < 2:  # of one file the plot by depth shows it
        return
    with canvas(height=rows_height(len(rows))) as c:
        ax = c.ax
        at = range(len(rows))
        ax.barh(at, [r.tok_s for _, r in rows], 0.5, color=SERIES[0], label="measured")
        for i, (_, row) in zip(at, rows, strict=True):
            if row.limit:
                limit = 1e3 / row.limit.limit_ms
                text = "limit" if i == 0 else None
                ax.plot([limit, limit], [i - 0.36, i + 0.36], ":", color=INK, label=text)
                write_inside(ax, row.tok_s, i)
        c.name_rows([name for name, _ in rows])
        ax.set(xlabel="decode, tok/s")
        ax.set_xlim(left=0)
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.25), ncols=2)
        yield c.plot(
            "decode",
            "Decoding speed and its limit",
            "At the least depth. The limit is the measured read bandwidth over the bytes that a "
            "token reads.",
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
