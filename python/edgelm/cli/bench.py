"""Measure first-token and per-token latency, beside the limits of the machine.

Writes results.json (its schema is edgelm/bench/schema.json), results.csv, results.md and a
report.html with plots. Takes at most five minutes for a model of 1B on two cores; Ctrl-C keeps
what was measured.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from ..options import integer, real
from .options import LOAD_OPTIONS, add_load_options, given
from .terminal import ProgressBar, printable, resolve, table

if TYPE_CHECKING:
    from ..bench.plan import Plan
    from ..bench.results import Results

HELP = "measure latency, memory and energy"
FILES = ("results.json", "results.csv", "results.md", "report.html")
WORSE = 1  # exit code of --compare

PROFILES = ("phone", "survey", "llama-bench")
PEERS = ("llama.cpp", "llama-cpp-python", "openvino")


def add_arguments(parser: argparse.ArgumentParser, argv: tuple[str, ...]) -> None:
    """Define the options."""
    parser.add_argument("models", metavar="MODEL", nargs="*", help="a path, a known name")
    effort = parser.add_mutually_exclusive_group()
    effort.add_argument("--quick", action="store_true", help="less than a minute")
    effort.add_argument("--full", action="store_true", help="every row, as long as it takes")
    parser.add_argument(
        "--profile", choices=PROFILES, help="what others publish, under their own conditions"
    )
    parser.add_argument(
        "--against", metavar="PEER", action="append", choices=PEERS, default=[],
        help=f"{', '.join(PEERS)}; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--rounds", metavar="N", type=int, help="with each peer, whatever time they take"
    )
    parser.add_argument(
        "--only", metavar="SECTION", nargs="+", default=[],
        help="as results.json names them: first_token, decode; a wrong name lists them all",
    )  # fmt: skip
    parser.add_argument(
        "--rows", metavar="ROW", nargs="+", default=[],
        help="rows against peers, by their beginning ('prefill 128'); implies --only peers",
    )  # fmt: skip
    parser.add_argument(
        "--sustain", metavar="SECONDS", type=float, help="decode for so long, to see it throttle"
    )
    parser.add_argument(
        "--suggest", action="store_true", help="print the fastest load(...) here, nothing else"
    )
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, default=Path("edgelm-bench"), help="(edgelm-bench)"
    )
    parser.add_argument(
        "--shape", metavar="NAME:TYPE", action="append", default=[],
        help="a model of random weights, 'llama-3.2-1b:q4_k_m' say; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--compare", metavar=("OLD", "NEW"), nargs=2, type=Path,
        help="two results.json: what changed; exit code 1 if something got worse beyond the noise",
    )  # fmt: skip
    parser.add_argument(
        "--report", metavar="RESULTS", type=Path,
        help="a results.json: write its results.md and report.html again, beside it",
    )  # fmt: skip
    parser.add_argument("-s", "--seed", metavar="N", type=int, default=0, help="of random ids (0)")
    add_load_options(parser, n_ctx="tokens of context (2304, or the model's)")


def main(arguments: argparse.Namespace) -> None:
    """Measure, write, print."""
    if arguments.compare:
        return _compare(*arguments.compare)
    if arguments.report:
        return _report(arguments.report)
    from ..bench import suite

    plan = _plan(arguments)
    out: Path = arguments.out
    _check_folder(out)
    bar = ProgressBar(amount=lambda n: f"{n:.0f}")
    try:
        results = suite.measure(plan, bar, lambda r: write(r, out))
    finally:
        bar.close()
    if arguments.suggest:
        for model in results.models:
            print(model.suggestion or f"{model.model.name}: there was no time to try")
    else:
        _show(results)
    for warning in results.warnings:
        print(f"warning: {printable(warning)}", file=sys.stderr)
    write(results, out, report=True)
    print(f"{printable(str(out))}: {', '.join(FILES)}", file=sys.stderr)
    if results.interrupted:
        raise KeyboardInterrupt
    return None


def _show(results: Results) -> None:
    from ..bench.report.tables import tables

    for t in tables(results):
        align = "".join("<" if column in t.left else ">" for column in t.columns)
        rows = [t.columns, *t.rows]
        title = f"{t.title}, {t.unit}" if t.unit else t.title
        print(f"{printable(title)}\n{table([list(map(printable, r)) for r in rows], align)}\n")


def _report(file: Path) -> None:
    """What people look at, from what was measured earlier."""
    from ..bench import results

    folder = file.parent
    _write(folder, _report_texts(results.read(file)))
    print(f"{printable(str(folder))}: {', '.join(FILES[2:])}", file=sys.stderr)


def _compare(old_file: Path, new_file: Path) -> None:
    """Print what changed; exit with 1 if something got worse."""
    from ..bench import compare, results

    old, new = results.read(old_file), results.read(new_file)
    changes = compare.compare(old, new)
    if not changes:
        raise ValueError(f"{old_file} and {new_file} have no measurement in common.")
    rows = [
        (
            c.direction,
            c.model,
            c.what,
            f"{c.old:.4g}",
            f"{c.new:.4g} {c.unit}",
            f"{c.ratio - 1:+.1%}",
        )
        for c in changes
        if c.direction != "same"
    ]
    if rows:
        print(
            table(
                [("", "file", "what", "old", "new", "change"), *sorted(rows, reverse=True)], "<<<"
            )
        )
    same = len(changes) - len(rows)
    print(f"{same} of {len(changes)} measurements differ by no more than the noise.")
    for remark in compare.remarks(old, new):
        print(f"warning: {printable(remark)}")
    if compare.regressions(changes):
        raise SystemExit(WORSE)


def _plan(arguments: argparse.Namespace) -> Plan:
    if not arguments.models and not arguments.shape:
        raise ValueError("which model? Give a path, a known name or a --shape.")
    from ..bench import shapes
    from ..bench.engines import check_installed
    from ..bench.plan import Plan
    from ..bench.suite import names as section_names

    _check(arguments)
    if unknown := set(arguments.only).difference(section_names()):
        known = ", ".join(section_names())
        raise ValueError(f"--only {min(unknown)}: there is no such section, but {known}.")
    for peer in arguments.against:
        check_installed(peer)
    only = arguments.only or (["peers"] if arguments.rows else [])
    if arguments.suggest and not only:
        only = ["threads"]
    if "peers" in only and not arguments.against:
        raise ValueError(f"peers: which? Give --against with {', '.join(PEERS)}.")
    bar = ProgressBar()
    paths = [shapes.file_of(shape, bar) for shape in arguments.shape]
    bar.close()
    paths += [resolve(model) for model in arguments.models]
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        raise ValueError(f"two files have the same name among {', '.join(names)}: rename one.")
    return Plan(
        paths=paths,
        effort="quick" if arguments.quick else "full" if arguments.full else "default",
        profile=arguments.profile,
        sustain_s=arguments.sustain,
        suggest=arguments.suggest,
        seed=arguments.seed,
        against=list(dict.fromkeys(arguments.against)),
        only=only,
        rows=arguments.rows,
        rounds=arguments.rounds,
        command=sys.argv[1:],
        **given(arguments, LOAD_OPTIONS),
    )


def _check(arguments: argparse.Namespace) -> None:
    """ValueError for a number that cannot be meant."""
    for name, low in (("rounds", 1), ("n_ctx", 8), ("n_threads", 1), ("n_batch", 1)):
        if (value := getattr(arguments, name)) is not None:
            integer(f"--{name.replace('_', '-')}", value, low)
    integer("--seed", arguments.seed, 0)
    if arguments.sustain is not None:
        real("--sustain", arguments.sustain, 0.1, 86_400)


def _check_folder(out: Path) -> None:
    """ValueError before anything is measured that could not be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise ValueError(
            f"--out {out}: it cannot be made, or nothing written there: {error.strerror}"
        ) from None


def write(results: Results, out: Path, *, report: bool = False) -> None:
    """The files, each replaced at once: a reader, or an interrupt, finds a whole one."""
    from ..bench.samples import csv_text

    texts = {"results.json": results.as_json(), "results.csv": csv_text(results)}
    if report:
        texts |= _report_texts(results)
    _write(out, texts)


def _report_texts(results: Results) -> dict[str, str]:
    from ..bench.report import markdown, page

    return {"results.md": markdown(results), "report.html": page(results)}


def _write(out: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        part = out / (name + ".part")
        try:
            part.write_text(text, encoding="utf-8")
            os.replace(part, out / name)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise ValueError(f"{out / name} could not be written: {error.strerror}") from None
