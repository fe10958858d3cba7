"""The `edgelm` command.

Exit codes: 0; 1 for a regression found by `bench --compare`; 2 for an error, which is one line on
stderr; 130 for Ctrl-C; 141 for a closed pipe.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from . import bench, chat, info, perplexity, pull, run, tokenize
from .terminal import printable, take_any_text

ERROR, INTERRUPTED, CLOSED_PIPE = 2, 130, 141
COMMANDS = {
    module.__name__.rpartition(".")[2]: module
    for module in (run, chat, info, pull, tokenize, perplexity, bench)
}


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(ERROR, f"{self.prog}: {printable(message)} (see {self.prog} --help)\n")


def _format_help(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=38)


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    debug = _Parser(add_help=False)
    debug.add_argument(
        "--debug",
        action="store_true",
        default=argparse.SUPPRESS,
        help="show the traceback of an error",
    )
    top = _Parser(
        prog="edgelm",
        description="Run GGUF language models on a CPU.",
        parents=[debug],
        allow_abbrev=False,
    )
    top.add_argument("--version", action="store_true", help="print the version")
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            parents=[debug],
            allow_abbrev=False,
            formatter_class=_format_help,
        )
        module.add_arguments(command)
        command.set_defaults(command=module.main)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        take_any_text(stream)
    grammar = parser()
    arguments = grammar.parse_args(argv)
    if not hasattr(arguments, "command"):
        if arguments.version:
            from .. import __version__

            print(f"edgelm {__version__}")
            return 0
        grammar.error(f"which command? {', '.join(COMMANDS)}")
    try:
        with _warnings_in_a_line():
            arguments.command(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except Exception as error:
        if getattr(arguments, "debug", False):
            raise
        print(f"edgelm: {_one_line(error)}", file=sys.stderr)
        return ERROR
    return 0


@contextlib.contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """What edgelm warns of, each once and in one line; other warnings as Python shows them."""
    from ..errors import EdgelmWarning

    with warnings.catch_warnings():
        shown, others = set(), warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            text = " ".join(printable(str(message)).split())
            if not issubclass(category, EdgelmWarning):
                others(message, category, *place, **more)
            elif text not in shown:
                shown.add(text)
                print(f"edgelm: warning: {text}", file=sys.stderr)

        warnings.showwarning = show
        warnings.simplefilter("always", EdgelmWarning)
        yield


def _one_line(error: Exception) -> str:
    """What happened, and for what is no clear message of ours, its type."""
    text = " ".join(printable(str(error)).split())
    if isinstance(error, (ValueError, OSError, TypeError)) and text:
        return text
    from ..errors import EdgelmError

    if isinstance(error, EdgelmError) and text:
        return text
    return f"{type(error).__name__}: {text}".rstrip(": ") + " (--debug shows where)"
