"""What a chat template is given on the command line."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import texts

if TYPE_CHECKING:
    from ..api import Model

# How templates call the switch.
THINKING = ("enable_thinking", "thinking")
Messages = list[dict[str, Any]]


def add_chat_options(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    chatting = parser.add_argument_group("chat")
    chatting.add_argument(
        "--system", "-sys", "--system-prompt", metavar="TEXT", type=texts.argument,
        help="a system message before all others",
    )  # fmt: skip
    chatting.add_argument(
        "--chat-template", "--chat-template-file", metavar="FILE",
        help="a Jinja template instead of the model's, or a name of several that it has",
    )  # fmt: skip
    chatting.add_argument(
        "--template-var", metavar="NAME=VALUE", action="append", default=[], type=_variable,
        help="what the template reads, as JSON or as text; may be repeated",
    )  # fmt: skip
    chatting.add_argument(
        "--chat-template-kwargs", metavar="JSON", type=_variables, default={},
        help="the same as an object",
    )  # fmt: skip
    chatting.add_argument(
        "--think", action=argparse.BooleanOptionalAction, default=None,
        help="whether to reason first, where the template has a switch for it",
    )  # fmt: skip


class Conversation:
    """How messages become a prompt: the template, and what it reads besides."""

    def __init__(self, arguments: argparse.Namespace, model: Path) -> None:
        """ValueError for what cannot be meant."""
        from ..gguf import open_gguf
        from ..metadata import Metadata, chat_templates

        of_file = chat_templates(Metadata(open_gguf(model)))
        self.template: str | None = arguments.chat_template
        if self.template is not None and self.template not in of_file:
            self.template = _template(self.template, list(of_file))
        self.exists = self.template is not None or bool(of_file)
        self.variables = {**arguments.chat_template_kwargs, **dict(arguments.template_var)}
        if arguments.think is not None:
            sources = [self.template or "", *of_file.values()]
            if not any(name in source for name in THINKING for source in sources):
                raise ValueError(
                    f"--{'' if arguments.think else 'no-'}think: the chat template has no switch "
                    f"for it ({' or '.join(THINKING)}). Another may be set by --template-var."
                )
            self.variables |= dict.fromkeys(THINKING, arguments.think)

    def prompt(self, model: Model, messages: Messages, prefill: str | None = None) -> str:
        """The text that the model is to continue; `prefill` begins its answer."""
        if prefill:
            messages = [*messages, {"role": "assistant", "content": prefill}]
        return model.apply_chat_template(
            messages,
            variables=self.variables,
            chat_template=self.template,
            continue_final_message=bool(prefill),
        )


def _template(given: str, names: list[str]) -> str:
    """A template's text, from a file unless it is one itself."""
    if "{{" in given or "{%" in given:
        return given
    if not Path(given).expanduser().is_file():
        has = f", nor a name that the model has: {', '.join(names)}" if names else ""
        raise ValueError(f"--chat-template {given}: no such file{has}. Give a file of Jinja.")
    return texts.read_text(given)


def _variable(value: str) -> tuple[str, Any]:
    name, equals, text = texts.argument(value).partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(
            f"{value!r:.40}: expected NAME=VALUE, as enable_thinking=false"
        )
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text


def _variables(value: str) -> dict[str, Any]:
    try:
        found = json.loads(texts.argument(value))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f"{value!r:.40}: expected a JSON object")
    return found
