"""Measure how well a model foretells a text: perplexity, as llama.cpp has it, and bits per byte.

FILE is UTF-8 text; - reads stdin. The second half of each chunk of --n-ctx tokens is scored.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..hub import Step
from .options import LOAD_OPTIONS, add_either, add_load_options, add_model, given
from .terminal import ProgressBar, printable, resolve, table
from .texts import read_text

HELP = "measure how well a model foretells a text"

CHUNK = 512


def add_arguments(parser: argparse.ArgumentParser, argv: tuple[str, ...]) -> None:
    """Define the options: the keyword arguments of load()."""
    add_model(parser, argv)
    add_either(parser, argv, "file", {"file": ("-f", "--file")})
    add_load_options(parser, n_ctx=f"tokens of a chunk ({CHUNK})")


def main(arguments: argparse.Namespace) -> None:
    """Print the perplexity, and what it was taken over."""
    from .. import load

    text = read_text(arguments.file)
    n_ctx = CHUNK if arguments.n_ctx is None else arguments.n_ctx
    options = given(arguments, LOAD_OPTIONS) | {"n_ctx": n_ctx}
    label = printable("stdin" if arguments.file == "-" else Path(arguments.file).name)
    bar = ProgressBar(amount=lambda n: f"{n:,.0f} tokens")
    with load(resolve(arguments.model), n_parallel=1, **options) as model:
        try:
            result = model.perplexity(
                text, n_ctx, progress=lambda done, total: bar(Step(label, done, total))
            )
        finally:
            bar.close()
    rows = [
        ("perplexity", f"{result.perplexity:,.4f}"),
        ("bits per byte", f"{result.bits_per_byte:.4f}"),
        ("tokens", f"{result.tokens:,} scored, in {result.chunks:,} chunks of {n_ctx:,}"),
    ]
    print(table(rows, "<<"))
