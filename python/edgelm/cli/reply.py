"""A reply on the screen, as it comes: the reasoning dimmed, apart from the answer."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from ..chat import Reasoning
from .terminal import printable

DIM, PLAIN = "\x1b[2m", "\x1b[0m"


class Screen:
    """A stream that a model's text goes to. A terminal gets no control characters."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._held = ""  # a carriage return, which may begin the end of a line
        styled = not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") not in ("", "dumb")
        self._dims = self._live and styled
        self._dimmed = False
        self.ends_line = True

    def write(self, text: str, *, dim: bool = False) -> None:
        """Show it now."""
        if not text:
            return
        if self._live:
            text = (self._held + text).replace("\r\n", "\n")
            self._held = "\r" if text.endswith("\r") else ""
            text = printable(text.removesuffix("\r"))
        if self._dims and dim != self._dimmed:
            self._stream.write(DIM if dim else PLAIN)
            self._dimmed = dim
        self._stream.write(text)
        self._stream.flush()
        if text:
            self.ends_line = text.endswith("\n")

    def close(self) -> None:
        """Leave the style."""
        held, self._held = self._held, ""
        self._stream.write(printable(held))
        if self._dimmed:
            self._stream.write(PLAIN)
            self._dimmed = False
        self._stream.flush()


class ShownReply:
    """Writes the answer to stdout. Reasoning goes there too on a terminal, else to stderr."""

    def __init__(self, prompt: str, *, chats: bool = True) -> None:
        """`prompt` is what the reply continues; of a text that is no chat nothing is reasoning."""
        self._out = Screen(sys.stdout)
        self._aside = self._out if sys.stdout.isatty() else Screen(sys.stderr)
        self._parts = Reasoning(prompt) if chats else None
        self._reasons = False
        self.reasoning = ""
        self.answer = ""

    def write(self, chunk: str) -> None:
        """Show a chunk of the reply."""
        if self._parts is None:
            self._show(chunk, reasons=False)
            return
        for part in self._parts.push(chunk):
            self._show(part.text, reasons=part.reasons)

    def close(self) -> None:
        """Show what was held back, and end the line."""
        for part in self._parts.flush() if self._parts is not None else ():
            self._show(part.text, reasons=part.reasons)
        if self._reasons:
            self._leave_reasoning()
        self._out.close()
        if sys.stdout.isatty() or not self.answer.endswith("\n"):
            print(flush=True)

    def _show(self, text: str, *, reasons: bool) -> None:
        if self._reasons and not reasons:
            self._leave_reasoning()
        self._reasons = reasons
        if reasons:
            self.reasoning += text
            self._aside.write(text, dim=True)
        else:
            self.answer += text
            self._out.write(text)

    def _leave_reasoning(self) -> None:
        self._aside.close()
        self._aside.write("\n\n" if self._aside is self._out else "\n")
        self._reasons = False
