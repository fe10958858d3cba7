"""Options of load() and generate() on the command line."""

from __future__ import annotations

import argparse
from typing import Any

LOAD_OPTIONS = ("n_ctx", "n_threads", "n_batch", "kv_type", "activations")
# Keyword arguments of generate(): the names that llama.cpp's users know, the default, a remark.
NUMBERS = (
    (("--max-tokens", "-n", "--n-predict"), 256, "tokens at most"),
    (("--temperature", "--temp"), 0.8, "0 is greedy"),
    (("--top-k",), 40, "keep the k likeliest; 0 keeps all"),
    (("--top-p",), 0.95, "keep the likeliest that make up p"),
    (("--min-p",), 0.05, "keep those at least p times as likely as the best"),
    (("--typical-p", "--typical"), 1.0, "keep the most typical that make up p"),
    (("--repeat-penalty",), 1.0, "on tokens that occurred"),
    (("--repeat-last-n",), 64, "tokens that penalties look at; -1 is all"),
    (("--presence-penalty",), 0.0, "on tokens that occurred, once"),
    (("--frequency-penalty",), 0.0, "on tokens that occurred, each time"),
)
GENERATE_OPTIONS = (
    *(names[0].lstrip("-").replace("-", "_") for names, _, _ in NUMBERS),
    *("seed", "stop", "ignore_eos"),
)


def add_load_options(
    parser: argparse.ArgumentParser,
    n_ctx: str = "tokens of context (the model's, at most 8192)",
) -> None:
    """Define the keyword arguments of load(); `n_ctx` says what that one means to the command."""
    loading = parser.add_argument_group("loading")
    loading.add_argument("-c", "--n-ctx", "--ctx-size", metavar="N", type=int, help=n_ctx)
    loading.add_argument(
        "-t",
        "--n-threads",
        "--threads",
        metavar="N",
        type=int,
        help="threads (as many as usable cores)",
    )
    loading.add_argument(
        "-b",
        "--n-batch",
        "--batch-size",
        metavar="N",
        type=int,
        help="prompt tokens computed together (512)",
    )
    loading.add_argument("--kv-type", choices=("f16", "q8_0"), help="of the KV cache (f16)")
    loading.add_argument(
        "--activations",
        choices=("auto", "int8", "int16"),
        help="what Q8_0 and IQ4 weights are multiplied with (auto)",
    )


def add_generate_options(parser: argparse.ArgumentParser) -> None:
    """Define the keyword arguments of generate()."""
    choosing = parser.add_argument_group("generation")
    for names, default, remark in NUMBERS:
        metavar = "N" if isinstance(default, int) else "X"
        choosing.add_argument(
            *names, metavar=metavar, type=type(default), help=f"{remark} ({default})"
        )
    choosing.add_argument(
        "-s", "--seed", metavar="N", type=int, help="the same gives the same text (a fresh one)"
    )
    choosing.add_argument(
        "--stop", action="append", metavar="TEXT", help="end before this text; may be repeated"
    )
    choosing.add_argument(
        "--ignore-eos", action="store_true", default=None, help="go on to --max-tokens"
    )


def given(arguments: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    """The options that were given; load() and generate() know the defaults."""
    return {n: getattr(arguments, n) for n in names if getattr(arguments, n) is not None}
