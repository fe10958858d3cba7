"""Show the tokens of a text: ids and pieces. No weights are loaded.

TEXT - reads stdin. With --decode it is ids, separated by blanks or commas, and their text is
printed.
"""

from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING

from .options import add_model, add_text, text_of
from .terminal import printable, resolve, table

if TYPE_CHECKING:
    from ..tokenizer import Tokenizer

HELP = "show the tokens of a text"


def add_arguments(parser: argparse.ArgumentParser, argv: tuple[str, ...]) -> None:
    """Define the options."""
    add_model(parser, argv)
    add_text(parser, argv, "text")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--ids", action="store_true", help="plain ids on one line")
    shown.add_argument("--decode", action="store_true", help="from ids to text")
    parser.add_argument(
        "--no-special", action="store_true", help="without the BOS or EOS that the model wants"
    )
    parser.add_argument(
        "--parse-special", action="store_true", help="names of special tokens become those tokens"
    )


def main(arguments: argparse.Namespace) -> None:
    """Print ids and pieces, ids, or a text."""
    text = text_of(arguments, "text")
    from ..gguf import open_gguf
    from ..tokenizer import Tokenizer

    tokenizer = Tokenizer(open_gguf(resolve(arguments.model)))
    if arguments.decode:
        decoded = tokenizer.decode(_ids(text, tokenizer.vocab_size), special=True)
        sys.stdout.write(printable(decoded) if sys.stdout.isatty() else decoded)
        if sys.stdout.isatty():
            print()
        return
    ids = tokenizer.encode(
        text, add_special=not arguments.no_special, parse_special=arguments.parse_special
    )
    if arguments.ids:
        print(*ids)
    elif ids:
        print(table([(str(id), _piece(tokenizer, id)) for id in ids], "><"))


def _ids(text: str, vocab_size: int) -> list[int]:
    """Token ids as people write them."""
    from ..engine import checked_ids

    words = re.split(r"[\s,\[\]]+", text)
    try:
        ids = [int(word) for word in words if word]
    except ValueError:
        wrong = next(word for word in words if word and not re.fullmatch(r"[+-]?\d{1,9}", word))
        raise ValueError(
            f"{wrong[:40]!r} is no token id; expected integers, as in 1, 2, 3."
        ) from None
    return checked_ids(ids, vocab_size) if ids else []


def _piece(tokenizer: Tokenizer, id: int) -> str:
    """What a token stands for, quoted; as bytes where it is a part of a character."""
    piece = tokenizer.token_bytes(id)
    try:
        return repr(printable(piece.decode()))
    except UnicodeDecodeError:
        return repr(piece)
