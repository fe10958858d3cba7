"""The `edgelm` command.

Exit codes: 0; 1 for a regression found by `bench --compare`; 2 for an error, which is one line on
stderr; 130 for Ctrl-C; 141 for a closed pipe.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from . import bench, chat, info, perplexity, pull, run, tokenize
from .options import FOREIGN, before_dashes
from .terminal import lacking, open_closed_streams, printable, take_any_text

ERROR, INTERRUPTED, CLOSED_PIPE = 2, 130, 141
COMMANDS = {
    module.__name__.rpartition(".")[2]: module
    for module in (run, chat, info, pull, tokenize, perplexity, bench)
}


WITH_TEXT = {"run", "tokenize"}  # commands that take one, which may begin with -
_UNKNOWN = "unrecognized arguments: "
_NO_OPTION = re.compile(f"^{_UNKNOWN}|^the following arguments are required|ignored explicit argu")
_NONE = re.compile(r", or None\b[^.;]*")  # which the command line has not


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    argv: tuple[str, ...] = ()

    def error(self, message: str) -> NoReturn:
        unknown = message.startswith(_UNKNOWN)
        words = message.removeprefix(_UNKNOWN).split() if unknown else before_dashes(self.argv)
        names = [word.partition("=")[0] for word in words if word.startswith("-")]
        names = [name for name in names if name not in self._option_string_actions]
        foreign = next((name for name in names if name in FOREIGN), None)
        if foreign:
            message = f"there is no {foreign}: {FOREIGN[foreign]}"
        elif message.endswith("expected one argument"):
            message += "; if that begins with -, write --option=-value"
        elif names and _NO_OPTION.search(message) and WITH_TEXT & {*self.argv[:1]}:
            message += "; a text that begins with - goes to the end, behind --"
        self.exit(ERROR, f"{self.prog}: {printable(message)} (see {self.prog} --help)\n")


def _format_help(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=38)


def parser(argv: tuple[str, ...] = ()) -> argparse.ArgumentParser:
    """The command line's grammar; `argv` tells which arguments options stand in for."""
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
    top.argv = argv
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
        command.argv = argv
        module.add_arguments(command, argv)
        command.set_defaults(command=module.main)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    open_closed_streams()
    if sys.stdout is None:
        print("edgelm: stdout is closed, so that nothing can be shown.", file=sys.stderr)
        return ERROR
    for stream in (sys.stdout, sys.stderr):
        take_any_text(stream)
    lacking()  # of an earlier call
    words = tuple(sys.argv[1:] if argv is None else argv)
    grammar = parser(words)
    if words and words[0].startswith(("-m", "--model", "-p", "--prompt")):
        grammar.error(f"which command? edgelm run {words[0]} ..., say")
    arguments = grammar.parse_args(words)
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
    finally:
        if note := lacking():
            print(f"edgelm: {note}", file=sys.stderr)
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
    text = _NONE.sub("", text)
    if isinstance(error, (ValueError, OSError, TypeError)) and text:
        return text
    from ..errors import EdgelmError

    if isinstance(error, EdgelmError) and text:
        return text
    return f"{type(error).__name__}: {text}".rstrip(": ") + " (--debug shows where)"
