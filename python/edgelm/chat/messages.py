"""The messages and tools of a chat: checked, and copied to plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .reasoning import CHANNEL, MESSAGE, START, split

Messages = Sequence[Mapping[str, Any]]

MAX_NESTING = 48  # of a message's or tool's values
_REASONING = ("reasoning_content", "thinking", "reasoning")


def checked_messages(messages: Any) -> list[dict[str, Any]]:
    """Plain copies; TypeError or ValueError naming the message and its key."""
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
        copy: dict[str, Any] = plain(message, where)
        content = copy.get("content")
        if content is not None and not isinstance(content, (str, list)):
            raise ValueError(
                f'{where}["content"] is a {type(content).__name__}; expected a string or a list of '
                "parts"
            )
        if content == []:
            copy["content"] = ""  # what a template of texts would write as "[]"
        checked.append(_with_reasoning(copy))
    return checked


def _with_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    """What a model thought under all names that templates have for it, as transformers does."""
    content = message.get("content")
    if message["role"] == "assistant" and isinstance(content, str) and _has_channels(content):
        # A reply as it came. The templates of such models refuse it: they take its parts.
        thinking, answer = split(content)
        message = {**message, "content": answer} | ({"thinking": thinking} if thinking else {})
    for name in _REASONING:
        if message.get(name) is not None:
            return {"thinking": message[name], **message, "reasoning_content": message[name]}
    return message


def _has_channels(content: str) -> bool:
    return content.lstrip().startswith((CHANNEL, START)) and MESSAGE in content


def checked_tools(tools: Any) -> list[Any] | None:
    """Plain copies; TypeError naming the tool."""
    if tools is None:
        return None
    if isinstance(tools, (str, Mapping)) or not isinstance(tools, Sequence):
        raise TypeError(f"tools is a {type(tools).__name__}; expected a list of JSON schemas")
    for i, tool in enumerate(tools):
        if not isinstance(tool, Mapping):
            raise TypeError(
                f"tools[{i}] is a {type(tool).__name__}; expected a JSON schema, a dict"
            )
    return [plain(tool, f"tools[{i}]") for i, tool in enumerate(tools)]


def plain(value: Any, where: str, depth: int = 0) -> Any:
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
            items[str(key)] = plain(item, f"{where}[{key!r}]".replace("'", '"'), depth + 1)
        return items
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    raise TypeError(
        f"{where} is a {type(value).__name__}; chat templates take strings, numbers, booleans, "
        "None, lists and dicts"
    )
