"""Which chat template: a file may hold several, by name, and the caller another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import TemplateError
from .template import ChatTemplate

if TYPE_CHECKING:
    from .messages import Messages

    class Tokenizer(Protocol):
        """What a file's tokenizer knows of templates."""

        templates: dict[str, str]

        @property
        def special_texts(self) -> dict[str, str]:
            """By transformers' names."""


# Of apply_chat_template, which a template's variables may not be.
_ARGUMENTS = {
    *("self", "messages", "tools", "add_generation_prompt", "continue_final_message"),
    "chat_template",
}
MAX_OTHERS = 8  # templates of callers that are kept
DEFAULT, WITH_TOOLS = "default", "tool_use"


class ChatTemplates:
    """The templates of one model, each compiled once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._sources = dict(tokenizer.templates)
        self._tokens = dict(tokenizer.special_texts)
        self._compiled: dict[str, ChatTemplate] = {}

    def render(
        self,
        messages: Messages,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        chat_template: str | None = None,
        **rest: Any,
    ) -> str:
        """As ChatTemplate.render, by the template that transformers would choose.

        `chat_template`: another template's text, or the name of one that the file has.
        """
        source = self._source(bool(tools), chat_template)
        template = self._compiled.get(source)
        if template is None:
            if len(self._compiled) > len(self._sources) + MAX_OTHERS:
                self._compiled.clear()
            template = self._compiled[source] = ChatTemplate(source, **self._tokens)
        return template.render(messages, tools=tools, **rest, **_checked_variables(variables))

    def _source(self, has_tools: bool, chosen: str | None) -> str:
        names = ", ".join(sorted(self._sources))
        if chosen is not None:
            if chosen not in self._sources and "{" not in chosen:
                raise TemplateError(
                    f"chat_template is {chosen!r:.60}; expected the text of a Jinja template"
                    + (f", or a name that the file has: {names}" if names else "")
                )
            return self._sources.get(chosen, chosen)
        if has_tools and WITH_TOOLS in self._sources:
            return self._sources[WITH_TOOLS]
        if DEFAULT in self._sources:
            return self._sources[DEFAULT]
        if names:
            raise TemplateError(
                f"The model has no default chat template, only {names}: choose one by its name."
            )
        raise TemplateError(
            "The model has no chat template: it is not made for chats. Use generate()."
        )


def _checked_variables(variables: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """What a template may be given beside the arguments of apply_chat_template."""
    if variables is None:
        return {}
    if not isinstance(variables, Mapping) or not all(isinstance(name, str) for name in variables):
        raise TypeError(
            f'variables is {variables!r:.60}; expected a dict such as {{"enable_thinking": False}}.'
        )
    if taken := _ARGUMENTS & variables.keys():
        raise ValueError(f"variables holds {min(taken)!r}, which is an argument of its own.")
    return variables
