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
from .conversation import Conversation, Messages, add_chat_options
from .cost import cost, is_full
from .options import (
    add_generate_options,
    add_load_options,
    add_model,
    generate_options,
    load_options,
)
from .reply import ShownReply
from .terminal import printable, resolve
from .texts import decoded, stdin_or_error

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


def add_arguments(parser: argparse.ArgumentParser, argv: tuple[str, ...]) -> None:
    """Define the options: the keyword arguments of load() and generate()."""
    add_model(parser, argv)
    add_chat_options(parser)
    add_load_options(parser)
    add_generate_options(parser)


def main(arguments: argparse.Namespace) -> None:
    """Load, then answer until the input ends."""
    stdin_or_error()
    path = resolve(arguments.model)
    from .. import load

    conversation = Conversation(arguments, path)
    if not conversation.exists:
        raise ValueError(
            f"{Path(path).name} has no chat template: it is not made for chats. Let it continue a "
            "text with: edgelm run MODEL PROMPT, or give a template by --chat-template FILE."
        )
    began = time.perf_counter()
    with load(path, **load_options(arguments, path)) as model:
        load_s = time.perf_counter() - began
        options = generate_options(arguments)
        chat = Chat(model, conversation, options, arguments.system, load_s)
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
        self._n = 0  # lines read
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
            except UnicodeDecodeError:
                _note("That was not UTF-8, which the terminal should write (LC_ALL=C.UTF-8).")
                return ""
        buffer = getattr(sys.stdin, "buffer", sys.stdin)
        line = buffer.readline()
        if not line:
            return None
        self._n += 1
        if isinstance(line, bytes):
            line = decoded(line, f"line {self._n} of stdin")
        return str(line).removesuffix("\n")


class Chat:
    """A conversation: its messages so far, and the commands that change it."""

    def __init__(
        self,
        model: Model,
        conversation: Conversation,
        options: dict[str, Any],
        system: str | None,
        load_s: float,
    ) -> None:
        self._model = model
        self._conversation = conversation
        self._options = {"max_tokens": sys.maxsize, **options}  # an answer may fill the context
        self._system = system
        self._load_s = load_s
        self._messages: Messages = []
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
            max_tokens = self._options["max_tokens"]
            last = self._last
            _note(cost(self._load_s, last, max_tokens) if last else "There is no answer yet.")
        else:
            _note(f"There is no command {printable(word)}; /help lists them.")
        return True

    def _answer(self, message: str) -> None:
        """Print an answer as it comes; both join the conversation unless it could not begin."""
        said = [*self._messages, {"role": "user", "content": message}]
        system = [{"role": "system", "content": self._system}] if self._system else []
        try:
            prompt = self._conversation.prompt(self._model, [*system, *said])
            with self._model.stream(prompt, **self._options) as stream, _ctrl_c_closes(stream):
                shown = ShownReply(prompt)
                try:
                    for chunk in stream:
                        shown.write(chunk)
                finally:
                    shown.close()
                generation = stream.generation
        except ContextFullError as error:
            _note(f"{error} /clear forgets the conversation.")
            return
        except ValueError as error:  # the template refuses it, say
            _note(printable(str(error)))
            return
        if generation.text or generation.finish_reason != "cancelled":
            thought = {"reasoning_content": shown.reasoning} if shown.reasoning else {}
            answer = {"role": "assistant", "content": shown.answer, **thought}
            self._messages = [*said, answer]
            self._last = generation
        if generation.finish_reason == "cancelled":
            _note("Stopped.")
        elif is_full(generation, self._options["max_tokens"]):
            _note("The context is full. /clear forgets the conversation; --n-ctx makes room.")
        elif generation.finish_reason == "length":
            _note(f"Cut at --max-tokens, {generation.usage.completion_tokens:,}.")


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
