"""Options of load() and generate() on the command line."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import texts

LOAD_OPTIONS = ("n_ctx", "n_threads", "n_batch", "kv_type", "activations")
# Keyword arguments of generate(): the names that llama.cpp's users know, the default, a remark.
NUMBERS = (
    (("--max-tokens", "-n", "--n-predict", "--predict"), 256, "tokens at most; -1 is no limit"),
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
    *("seed", "stop", "ignore_eos", "logit_bias", "logprobs"),
)
# Options of llama.cpp that edgelm has no use for, or has by another name.
_LEAVE_OUT = "leave it out"
FOREIGN = {
    **dict.fromkeys(
        ("-ngl", "--gpu-layers", "--n-gpu-layers"), f"all is computed here; {_LEAVE_OUT}"
    ),
    **dict.fromkeys(("-fa", "--flash-attn", "--mlock", "--no-mmap", "--jinja"), _LEAVE_OUT),
    **dict.fromkeys(("-cnv", "--conversation", "-i", "--interactive"), "use edgelm chat"),
    **dict.fromkeys(("-no-cnv", "--no-conversation"), "use --raw"),
    **dict.fromkeys(("-ctk", "-ctv", "--cache-type-k", "--cache-type-v"), "use --kv-type"),
    **dict.fromkeys(("-hf", "-hfr", "--hf-repo"), "give hf:OWNER/REPO/FILE.gguf as MODEL"),
    "--no-display-prompt": f"the prompt is not shown; {_LEAVE_OUT}",
    "--reasoning-budget": "use --no-think",
}


def before_dashes(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The arguments that may be options."""
    return argv[: argv.index("--")] if "--" in argv else argv


def add_either(
    parser: argparse.ArgumentParser,
    argv: tuple[str, ...],
    name: str,
    options: Mapping[str, tuple[str, ...]],
    type: Callable[[str], Any] = str,
    **rest: Any,
) -> None:
    """An argument that options may stand in for, as llama.cpp's users give it.

    `options`: their names, by where their value goes.
    """
    named = False
    for dest, names in options.items():
        metavar = "FILE" if dest in ("model", "file") else "TEXT"
        parser.add_argument(
            *names, dest=dest, metavar=metavar, type=type, default=None,
            help=f"the same as {name.upper()}" if dest == name else f"{name.upper()}, from a file",
        )  # fmt: skip
        named |= any(_is_option(word, names) for word in before_dashes(argv))
    if not named:
        parser.add_argument(name, metavar=name.upper(), type=type, **rest)


def _is_option(word: str, names: tuple[str, ...]) -> bool:
    """Whether it is one of these options, alone or with its value: -m, -mFILE, --model=FILE."""
    return word.partition("=")[0] in names or (word[:2] in names and len(word) > 2)


def add_model(parser: argparse.ArgumentParser, argv: tuple[str, ...], **rest: Any) -> None:
    """The model, as MODEL or by -m."""
    add_either(parser, argv, "model", {"model": ("-m", "--model")}, **rest)


def add_text(parser: argparse.ArgumentParser, argv: tuple[str, ...], name: str) -> None:
    """A text, as an argument, by -p, or from a file by -f."""
    options = {name: ("-p", "--prompt"), "file": ("-f", "--file")}
    add_either(parser, argv, name, options, type=texts.argument)
    parser.add_argument(
        "-e",
        "--escape",
        action="store_true",
        help=r"\n, \t, \\ and the like stand for what they name",
    )


def text_of(arguments: argparse.Namespace, name: str) -> str:
    """What `add_text` defined."""
    given: str | None = getattr(arguments, name)
    if arguments.file is not None:
        if given is not None:
            raise ValueError(f"-f names the {name}, and so does -p: give one of them.")
        return texts.read_text(arguments.file)
    assert given is not None
    if given == "-":
        return texts.read_text("-")
    return texts.unescaped(given) if arguments.escape else given


def _bias(value: str) -> tuple[int, float]:
    """A token's id and what is added to its logit, as 15043+1, 15043-inf or 15043=-2."""
    match = re.fullmatch(r"(\d+)(?:=([+-]?[\w.]+)|([+-][\w.+-]+))", value.strip())
    try:
        assert match is not None
        return int(match[1]), float(match[2] or match[3])
    except (AssertionError, ValueError):
        raise argparse.ArgumentTypeError(
            f"{value!r:.40} is no bias; expected a token's id and a number, as 15043+1 or 15043-inf"
        ) from None


def add_load_options(
    parser: argparse.ArgumentParser,
    n_ctx: str = "tokens of context (the model's, at most 8192; 0 is all of them)",
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
        "--stop", "-r", "--reverse-prompt", action="append", metavar="TEXT", type=texts.argument,
        help="end before this text; may be repeated",
    )  # fmt: skip
    choosing.add_argument(
        "--logit-bias", "-l", action="append", metavar="ID+X", type=_bias,
        help="add X to a token's logit, as 15043-1 or 15043-inf; may be repeated",
    )  # fmt: skip
    choosing.add_argument(
        "--ignore-eos", action="store_true", default=None, help="go on to --max-tokens"
    )


def load_options(arguments: argparse.Namespace, model: Path) -> dict[str, Any]:
    """What load() is to be given; a context of 0 is all that the model was trained for."""
    options = given(arguments, LOAD_OPTIONS)
    if options.get("n_ctx") == 0:
        from ..gguf import open_gguf

        file = open_gguf(model)
        options["n_ctx"] = file.get(f"{file.get('general.architecture')}.context_length")
    return options


def generate_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What generate() is to be given; -n -1 is as many tokens as the context holds."""
    options = given(arguments, GENERATE_OPTIONS)
    if options.get("max_tokens") in (-1, -2):
        options["max_tokens"] = sys.maxsize
    if "logit_bias" in options:
        options["logit_bias"] = dict(options["logit_bias"])
    if "stop" in options and getattr(arguments, "escape", False):
        options["stop"] = [texts.unescaped(text) for text in options["stop"]]
    return options


def given(arguments: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    """The options that were given; load() and generate() know the defaults."""
    found = {n: getattr(arguments, n, None) for n in names}
    return {n: value for n, value in found.items() if value is not None}
