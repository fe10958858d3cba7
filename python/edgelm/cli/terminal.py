"""What the commands draw: progress bars, tables, numbers with units."""

from __future__ import annotations

import codecs
import contextlib
import os
import shutil
import sys
import time
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from .. import hub
from ..hub import Step

REDRAW_S = 0.1
BAR_WIDTH = 32


_lacking: list[str] = []  # what the standard streams' encodings could not hold


def _as_question_marks(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    if not error.encoding.startswith("utf"):  # those lack nothing but lone surrogates
        _lacking.append(error.object[error.start : error.end])
    return "?" * (error.end - error.start), error.end


codecs.register_error("edgelm.replace", _as_question_marks)


def take_any_text(stream: TextIO) -> None:
    """No text fails on a standard stream: what its encoding lacks becomes "?", see `lacking`.

    UTF-8 on Windows, whose code pages for pipes and files lack most of what a model writes.
    """
    with contextlib.suppress(AttributeError):  # replaced by something simpler, as tests do
        encoding = "utf-8" if sys.platform == "win32" else None
        stream.reconfigure(encoding=encoding, errors="edgelm.replace")  # type: ignore[attr-defined]


def lacking() -> str:
    """What to say, once, if characters could not be shown since it was asked last; else ""."""
    lacked = bool(_lacking)
    _lacking.clear()
    if not lacked:
        return ""
    name = sys.stdout.encoding
    return f"? stands for characters that the locale's {name} lacks; LC_ALL=C.UTF-8 shows them."


def open_closed_streams() -> None:
    """What the shell closed leads nowhere, so that no file that is opened takes its number."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (to the end)


def printable(text: str) -> str:
    """Control characters, which could steer the terminal, become U+FFFD; line breaks stay."""
    return "".join(
        c
        if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs")
        else "\N{REPLACEMENT CHARACTER}"
        for c in text
    )


def size(n_bytes: float) -> str:
    """12.3 MB, by powers of 1000."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(n_bytes) < 999.5 or unit == "GB":
            digits = 0 if unit == "bytes" or n_bytes >= 99.95 else 1
            return f"{n_bytes:,.{digits}f} {unit}"
        n_bytes /= 1000
    raise AssertionError("unreachable")


def table(rows: Sequence[Sequence[str]], align: str = "<") -> str:
    """Rows of equal length in columns: `align` has < or > for each, > for the rest."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = align.ljust(len(widths), ">")
    lines = (
        "  ".join(f"{cell:{side}{n}}" for cell, side, n in zip(row, sides, widths, strict=True))
        for row in rows
    )
    return "\n".join(f"  {line}".rstrip() for line in lines)


def resolve(source: str) -> Path:
    """The file of a model, pulled if need be, with a bar."""
    bar = ProgressBar()
    try:
        return hub.resolve(source, bar)
    finally:
        bar.close()


class ProgressBar:
    """Names each step of a task on a line; on a terminal, draws how far it is on the next.

    `amount` writes a number of what is counted, bytes if nothing else is said.
    """

    def __init__(self, stream: TextIO | None = None, amount: Callable[[float], str] = size) -> None:
        self._stream = stream or sys.stderr
        self._amount = amount
        self._live = self._stream.isatty()
        self._what = ""
        self._began = self._drawn = 0.0
        self._first = 0
        self._width = 0  # of what stands on the line

    def __call__(self, step: Step) -> None:
        """Draw a step, at most ten times a second."""
        now = time.monotonic()
        if step.what != self._what:
            self.close()
            self._what, self._began, self._drawn, self._first = step.what, now, 0.0, step.done
            total = f" ({self._amount(step.total)})" if step.total else ""
            print(printable(step.what) + total, file=self._stream, flush=True)
        last = step.done == step.total
        if self._live and step.total and (last or now - self._drawn >= REDRAW_S):
            self._drawn = now
            line = self._line(step, now)
            self._stream.write("\r" + line.ljust(self._width))
            self._stream.flush()
            self._width = len(line)

    def close(self) -> None:
        """Leave the line."""
        if self._width:
            print(file=self._stream, flush=True)
            self._width = 0

    def _line(self, step: Step, now: float) -> str:
        share = min(1.0, step.done / step.total)
        seconds = now - self._began
        speed = (step.done - self._first) / seconds if seconds > 0.5 else 0.0
        text = f"{share:4.0%}  {self._amount(step.done)}"
        if speed > 0:
            text += f"  {self._amount(speed)}/s"
            if step.done < step.total:
                left = round((step.total - step.done) / speed)
                text += f"  {left // 60}:{left % 60:02} left"
        columns = shutil.get_terminal_size().columns - 1  # the last column would wrap
        width = min(BAR_WIDTH, columns - len(text) - 3)
        bar = f"[{'=' * round(share * width):{width}}] " if width >= 4 else ""
        return (bar + text)[:columns]
