"""From what a caller gives, a text, ids or messages, to what the model reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .chat import ChatTemplate
from .engine import checked_ids
from .errors import TemplateError

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

    Prompt = str | Sequence[int]
    Prompts = Sequence[str] | Sequence[Sequence[int]]
    Messages = Sequence[Mapping[str, Any]]


def ids_of(
    tokenizer: Tokenizer, name: str, given: Prompt, *, parse_special: bool = True
) -> list[int]:
    """Token ids of a text, or checked ones."""
    if not isinstance(given, str):
        if isinstance(given, (bytes, bytearray)):
            raise TypeError(f"{name} is {type(given).__name__}; decode it to a str first.")
        return checked_ids(given, tokenizer.vocab_size)
    ids = tokenizer.encode(given, parse_special=parse_special)
    if tokenizer.add_bos and ids[:2] == [tokenizer.bos_id] * 2:
        del ids[0]  # a chat template wrote BOS too
    if not ids:
        raise ValueError(f"{name} is empty and the model has no BOS to begin with; give some text.")
    return ids


def are_several(prompt: object) -> bool:
    """Whether it is a list of prompts: of texts, or of sequences of ids."""
    return (
        isinstance(prompt, (list, tuple))
        and len(prompt) > 0
        and isinstance(prompt[0], (str, bytes, list, tuple, range, np.ndarray))
    )


class ChatTemplates:
    """A model's template, and the one for chats with tools: mostly the same, or none."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        bos, eos = (
            "" if token is None else tokenizer.token_bytes(token).decode(errors="replace")
            for token in (tokenizer.bos_id, tokenizer.eos_id)
        )
        self._plain, with_tools = (
            None if source is None else ChatTemplate(source, bos_token=bos, eos_token=eos)
            for source in (tokenizer.chat_template, tokenizer.tool_template)
        )
        self._with_tools = with_tools or self._plain

    def render(
        self,
        messages: Messages,
        *,
        add_generation_prompt: bool,
        tools: Sequence[Mapping[str, Any]] | None,
        variables: Mapping[str, Any] | None,
    ) -> str:
        """The messages as one text. Raises TemplateError, TypeError, ValueError."""
        template = self._with_tools if tools else self._plain
        if template is None:
            raise TemplateError(
                "The model has no chat template: it is not made for chats. Use generate()."
            )
        return template.render(
            messages,
            add_generation_prompt=add_generation_prompt,
            tools=tools,
            **_checked_variables(variables),
        )


def _checked_variables(variables: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """What a template may be given beside the arguments of apply_chat_template."""
    if variables is None:
        return {}
    if not isinstance(variables, Mapping) or not all(isinstance(name, str) for name in variables):
        raise TypeError(
            f'variables is {variables!r:.60}; expected a dict such as {{"enable_thinking": False}}.'
        )
    if taken := {"self", "messages", "tools", "add_generation_prompt"} & variables.keys():
        raise ValueError(f"variables holds {min(taken)!r}, which is an argument of its own.")
    return variables
