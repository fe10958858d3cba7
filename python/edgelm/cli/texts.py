"""Texts that come from outside: arguments, files, pipes."""

from __future__ import annotations

import argparse
import codecs
import locale
import os
import re
import sys
from pathlib import Path
from typing import TextIO

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "'": "'", '"': '"', "\\": "\\"}
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def argument(value: str) -> str:
    """The type of an argument that is text, which Python may have got as bytes of another kind."""
    try:
        value.encode()
    except UnicodeEncodeError:
        pass
    else:
        return value
    try:  # a locale of ASCII: Python kept the bytes
        return os.fsencode(value).decode()
    except UnicodeError:
        raise argparse.ArgumentTypeError(
            "the text is not UTF-8. Use a terminal and a locale of UTF-8 (LC_ALL=C.UTF-8), or put "
            "the text into a file of UTF-8 and name that"
        ) from None


def read_text(source: str) -> str:
    """What a file holds, or stdin for "-". ValueError if it is no text."""
    if source != "-":
        try:
            return decoded(Path(source).expanduser().read_bytes(), source)
        except OSError as error:
            raise ValueError(f"{source} cannot be read: {error.strerror or error}.") from None
    stdin = stdin_or_error()
    buffer = getattr(stdin, "buffer", None)  # a simple replacement has none
    return stdin.read() if buffer is None else decoded(buffer.read(), "stdin")


def stdin_or_error() -> TextIO:
    """ValueError if the shell closed it."""
    if sys.stdin is None:
        raise ValueError("stdin is closed. Give the text as an argument, or name a file with it.")
    return sys.stdin


def decoded(raw: bytes, name: str) -> str:
    """The text of UTF-8, of UTF-16 that begins with its mark, or of the locale; lines end in \\n.

    A mark at the beginning is no part of it.
    """
    encodings = ["utf-16"] if raw.startswith(_UTF16) else ["utf-8-sig"]
    of_locale = codecs.lookup(locale.getpreferredencoding(False)).name
    if of_locale not in ("utf-8", "ascii") and encodings != ["utf-16"]:
        encodings.append(of_locale)
    for encoding in encodings:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError as error:
            at = error.start
            continue
        return text.replace("\r\n", "\n").replace("\r", "\n")
    what = "UTF-16, as it begins," if encodings == ["utf-16"] else "UTF-8"
    raise ValueError(
        f"{name} is not {what} at byte {at:,} (0x{raw[at]:02x}). Convert it first: "
        "iconv -f LATIN1 -t UTF-8, say."
    )


def unescaped(text: str) -> str:
    """With llama.cpp's escapes replaced: \\n, \\r, \\t, \\', \\", \\\\ and \\xHH, a byte."""

    def one(match: re.Match[bytes]) -> bytes:
        code = match[1].decode()
        return bytes([int(code[1:], 16)]) if code[0] == "x" else _ESCAPES[code].encode()

    raw = re.sub(rb"""\\([nrt'"\\]|x[0-9A-Fa-f]{1,2})""", one, text.encode())
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"the escapes of {text!r:.60} make bytes that are not UTF-8, at {error.start}."
        ) from None
