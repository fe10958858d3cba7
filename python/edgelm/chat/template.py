"""Chat templates: from a list of messages to the text that a model was trained on."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import TemplateError
from .meter import Meter

if TYPE_CHECKING:
    from jinja2 import Template

    from .sandbox import LimitedEnvironment

MAX_NESTING = 48  # of a message's or tool's values
_REASONING = ("reasoning_content", "thinking", "reasoning")


class ChatTemplate:
    """A model's Jinja template, rendered as the transformers library renders it.

    The template is untrusted: it runs in a sandbox with limits on steps, time and text, and
    whatever goes wrong in it is a TemplateError. Threads may share one.
    """

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "") -> None:
        self.source = source
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        # Each render takes one and puts it back. No lock: a fork could leave that held for ever.
        self._compiled: list[tuple[LimitedEnvironment, Template]] = []

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> str:
        """The prompt for `messages`, each with a "role" and mostly a "content".

        `tools` are JSON schemas of functions; `variables` reach the template by their names, as in
        enable_thinking=False. Raises ValueError or TypeError for malformed messages, naming the
        message and its key; TemplateError if the template fails, refuses or exceeds its limits.
        """
        context: dict[str, Any] = {
            **self._tokens,
            "documents": None,
            **{name: _plain(value, name) for name, value in variables.items()},
            "messages": _checked_messages(messages),
            "tools": _checked_tools(tools),
            "add_generation_prompt": bool(add_generation_prompt),
        }
        return self._render(context)

    def _render(self, context: dict[str, Any]) -> str:
        try:
            environment, template = self._take()
            environment.meter = Meter()
            chunks = template.root_render_func(template.new_context(context))
            text = environment.join_chunks(chunks)
            self._compiled.append((environment, template))
            return text
        except TemplateError:
            raise
        # The template is a program of somebody else's: any exception is one of its failures.
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise TemplateError(f"the chat template failed: {what}") from error

    def _take(self) -> tuple[LimitedEnvironment, Template]:
        from . import sandbox  # late: jinja2 takes 40 ms to import

        with contextlib.suppress(IndexError):
            return self._compiled.pop()
        if len(self.source) > sandbox.MAX_SOURCE:
            raise TemplateError(
                f"the chat template has {len(self.source):,} characters; at most "
                f"{sandbox.MAX_SOURCE:,} are taken"
            )
        environment = sandbox.LimitedEnvironment()
        return environment, environment.from_string(self.source)


def _checked_messages(messages: Any) -> list[dict[str, Any]]:
    if isinstance(messages, (str, Mapping)) or not isinstance(messages, Sequence):
        raise TypeError(
            f'messages is a {type(messages).__name__}; expected a list such as [{{"role": "user", '
            '"content": "Hello"}]'
        )
    checked = []
    for i, message in enumerate(messages):
        where = f"messages[{i}]"
        if not isinstance(message, Mapping):
            raise TypeError(f'{where} is a {type(message).__name__}; expected a dict with a "role"')
        if not isinstance(message.get("role"), str):
            raise ValueError(f'{where}["role"] is {message.get("role")!r}; expected a string')
        plain: dict[str, Any] = _plain(message, where)
        content = plain.get("content")
        if content is not None and not isinstance(content, (str, list)):
            raise ValueError(
                f'{where}["content"] is a {type(content).__name__}; expected a string or a list of '
                "parts"
            )
        # Templates disagree on the name of what a model thought; transformers offers these too.
        for name in _REASONING:
            if plain.get(name) is not None:
                plain = {"thinking": plain[name], **plain, "reasoning_content": plain[name]}
                break
        checked.append(plain)
    return checked


def _checked_tools(tools: Any) -> list[Any] | None:
    if tools is None:
        return None
    if isinstance(tools, (str, Mapping)) or not isinstance(tools, Sequence):
        raise TypeError(f"tools is a {type(tools).__name__}; expected a list of JSON schemas")
    for i, tool in enumerate(tools):
        if not isinstance(tool, Mapping):
            raise TypeError(
                f"tools[{i}] is a {type(tool).__name__}; expected a JSON schema, a dict"
            )
    return [_plain(tool, f"tools[{i}]") for i, tool in enumerate(tools)]


def _plain(value: Any, where: str, depth: int = 0) -> Any:
    """A copy of JSON-like data without subclasses, whose methods no sandbox could judge."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if depth > MAX_NESTING:
        raise ValueError(f"{where} nests more than {MAX_NESTING} levels deep")
    for plain_type in (str, int, float):
        if isinstance(value, plain_type):
            return plain_type(value)
    if isinstance(value, Mapping):
        items = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{where} has the key {key!r}; expected strings")
            items[str(key)] = _plain(item, f"{where}[{key!r}]".replace("'", '"'), depth + 1)
        return items
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    raise TypeError(
        f"{where} is a {type(value).__name__}; chat templates take strings, numbers, booleans, "
        "None, lists and dicts"
    )
