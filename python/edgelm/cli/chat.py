"""Talk with a model, which remembers what was said.

A line is a message; one that ends in a backslash goes on, and pasted text may have several lines.
Ctrl-C stops an answer, Ctrl-D leaves, /help lists the commands.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ContextFullError
from .cost import cost
from .options import (
    GENERATE_OPTIONS,
    LOAD_OPTIONS,
    add_generate_options,
    add_load_options,
    given,
)
from .terminal import printable, resolve, take_any_text

if TYPE_CHECKING:
    from ..api import Model
    from ..generate import Generation, Stream

HELP = "talk with a model"

PROMPT, CONTINUED = "> ", ". "
COMMANDS = """\
/help          this list
/clear         forget the conversation
/system TEXT   what the model is told before the conversation; without TEXT, nothing
/stats         what the last answer cost
/quit          leave, as Ctrl-D does
A line that ends in a backslash goes on in the next one. Ctrl-C stops an answer."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options: the keyword arguments of load() and generate()."""
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--system", metavar="TEXT", help="a system message before the conversation")
    add_load_options(parser)
    add_generate_options(parser)


def main(arguments: argparse.Namespace) -> None:
    """Load, then answer until the input ends."""
    path = resolve(arguments.model)
    from .. import load
    from ..gguf import open_gguf

    if open_gguf(path).get("tokenizer.chat_template") is None:
        raise ValueError(
            f"{Path(path).name} has no chat template: it is not made for chats. "
            "Let it continue a text with: edgelm run MODEL PROMPT"
        )
    began = time.perf_counter()
    with load(path, **given(arguments, LOAD_OPTIONS)) as model:
        load_s = time.perf_counter() - began
        chat = Chat(model, given(arguments, GENERATE_OPTIONS), arguments.system, load_s)
        lines = Lines()
        if lines.interactive:
            print(f"{printable(Path(path).name)}. /help lists the commands, Ctrl-D leaves.")
        while True:
            try:
                message = lines.message()
                if message is None or not chat.take(message):
                    return
            except KeyboardInterrupt:
                print(flush=True)


class Lines:
    """Messages from stdin; on a terminal, with a prompt and the line editing of readline."""

    def __init__(self) -> None:
        self.interactive = sys.stdin.isatty() and sys.stdout.isatty()
        take_any_text(sys.stdin)
        if self.interactive:
            with contextlib.suppress(ImportError):  # without it input() still reads lines
                import readline

                # A pasted text is one message, whatever lines it has.
                readline.parse_and_bind("set enable-bracketed-paste on")

    def message(self) -> str | None:
        """The next message, None at the end of the input. A Ctrl-C drops what was typed of it."""
        parts: list[str] = []
        while (line := self._line(CONTINUED if parts else PROMPT)) is not None:
            if not line.endswith("\\"):
                return "\n".join([*parts, line])
            parts.append(line[:-1])
        return "\n".join(parts) if parts else None

    def _line(self, prompt: str) -> str | None:
        if self.interactive:
            try:
                return input(prompt)
            except EOFError:
                print()
                return None
        line = sys.stdin.readline()
        return line.removesuffix("\n") if line else None


class Chat:
    """A conversation: its messages so far, and the commands that change it."""

    def __init__(
        self, model: Model, options: dict[str, Any], system: str | None, load_s: float
    ) -> None:
        self._model = model
        self._options = {"max_tokens": sys.maxsize, **options}  # an answer may fill the context
        self._system = system
        self._load_s = load_s
        self._messages: list[dict[str, str]] = []
        self._last: Generation | None = None

    def take(self, message: str) -> bool:
        """Answer a message or obey a command; False to leave."""
        word, _, rest = message.strip().partition(" ")
        if "\n" in message or not word.startswith("/"):
            if message.strip():
                self._answer(message)
            return True
        if word == "/quit":
            return False
        if word == "/help":
            _note(COMMANDS)
        elif word == "/clear":
            self._messages.clear()
            _note("The conversation is forgotten.")
        elif word == "/system":
            self._system = rest.strip() or None
            _note("The model will read that first." if self._system else "No system message.")
        elif word == "/stats":
            _note(cost(self._load_s, self._last) if self._last else "There is no answer yet.")
        else:
            _note(f"There is no command {printable(word)}; /help lists them.")
        return True

    def _answer(self, message: str) -> None:
        """Print an answer as it comes; both join the conversation unless it could not begin."""
        said = [*self._messages, {"role": "user", "content": message}]
        system = [{"role": "system", "content": self._system}] if self._system else []
        try:
            prompt = self._model.apply_chat_template([*system, *said])
            with self._model.stream(prompt, **self._options) as stream, _ctrl_c_closes(stream):
                for chunk in stream:
                    sys.stdout.write(printable(chunk) if sys.stdout.isatty() else chunk)
                    sys.stdout.flush()
                generation = stream.generation
        except ContextFullError as error:
            _note(f"{error} /clear forgets the conversation.")
            return
        except ValueError as error:  # the template refuses it, say
            _note(printable(str(error)))
            return
        print(flush=True)
        if generation.text or generation.finish_reason != "cancelled":
            self._messages = [*said, {"role": "assistant", "content": generation.text}]
            self._last = generation
        if generation.finish_reason == "cancelled":
            _note("Stopped.")
        elif generation.finish_reason == "length":
            n = generation.usage.completion_tokens
            _note(
                f"Cut at --max-tokens, {n:,}."
                if n == self._options["max_tokens"]
                else "The context is full. /clear forgets the conversation; --n-ctx makes room."
            )


@contextlib.contextmanager
def _ctrl_c_closes(stream: Stream) -> Iterator[None]:
    """Within, Ctrl-C ends the stream's answer instead of raising KeyboardInterrupt anywhere."""
    before = signal.signal(signal.SIGINT, lambda *_: stream.close())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _note(text: str) -> None:
    """Say something that is not the model's."""
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)
