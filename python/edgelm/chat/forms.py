"""The forms that a conversation can take, and which of them a template understands.

Templates disagree on what they are given: content as text or as a list of parts, the arguments of
a tool call as an object or as its JSON, no content as None or as "". A template that expects the
other form fails, writes Python's repr, or drops the text without a word. So each form is rendered
with marks in it, and the marks that come out tell what the template took.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Messages = list[dict[str, Any]]

_MARK = re.compile(r"edgelm(text|part|call)(\d+)q", re.IGNORECASE)
# What shows that a template wrote a dict as Python does, or JSON's text as JSON once more.
_REPR_PART = re.compile(r"'edgelmpart(\d+)q'")
_REPR_CALL = re.compile(r"'edgelmcall\d+q'")
_ESCAPED_CALL = re.compile(r"\\\"edgelmcall\d+q")


@dataclass(frozen=True)
class Form:
    """How the messages are put; "given" is as the caller did."""

    content: str = "given"  # or "text", "parts"
    arguments: str = "given"  # or "objects", "json"
    nothing: str = "given"  # or "empty"

    def of(self, messages: Messages) -> Messages:
        """The messages in this form."""
        messages = copy.deepcopy(messages)
        for message in messages:
            if self.nothing == "empty" and message.get("content") is None:
                message["content"] = ""
            content: Any = message.get("content")
            if self.content == "text" and _is_text(content):
                message["content"] = "\n".join(part["text"] for part in content)
            elif self.content == "parts" and isinstance(content, str):
                message["content"] = [{"type": "text", "text": content}]
            for function in _functions(message):
                arguments = function["arguments"]
                if self.arguments == "objects":
                    parsed = _object(arguments)
                    function["arguments"] = arguments if parsed is None else parsed
                elif self.arguments == "json" and isinstance(arguments, dict):
                    function["arguments"] = json.dumps(arguments, ensure_ascii=False)
        return messages


def forms(messages: Messages) -> list[Form]:
    """The forms in which these messages differ, as given first, then by how much they change."""
    contents, arguments, nothing = ["given"], ["given"], ["given"]
    if any(_is_text(m.get("content")) for m in messages):
        contents.append("text")
    if any(isinstance(m.get("content"), str) for m in messages):
        contents.append("parts")
    calls = [f["arguments"] for m in messages for f in _functions(m)]
    if any(isinstance(a, str) and _object(a) is not None for a in calls):
        arguments.append("objects")
    if any(isinstance(a, dict) for a in calls):
        arguments.append("json")
    if any(m.get("content") is None for m in messages):
        nothing.append("empty")
    every = [Form(*choice) for choice in itertools.product(contents, arguments, nothing)]
    return sorted(every, key=lambda f: -(f.content, f.arguments, f.nothing).count("given"))


def marked(messages: Messages) -> Messages:
    """The messages with a mark behind each text, in each part, and in each call's arguments."""
    messages = copy.deepcopy(messages)
    for i, message in enumerate(messages):
        content = message.get("content")
        if isinstance(content, str) and content.strip():
            message["content"] = f"{content}edgelmtext{i}q"
        elif isinstance(content, list):
            texts = [part for part in content if _has_text(part)]
            for part in texts:
                part["edgelm"] = f"edgelmpart{i}q"
            if texts:
                texts[-1]["text"] += f"edgelmtext{i}q"
        for function in _functions(message):
            arguments = function["arguments"]
            if isinstance(arguments, dict):
                arguments[f"edgelmcall{i}q"] = "x"
            elif (parsed := _object(arguments)) is not None:
                function["arguments"] = json.dumps({**parsed, f"edgelmcall{i}q": "x"})
    return messages


@dataclass(frozen=True)
class Verdict:
    """What a rendering with marks tells."""

    lost: tuple[int, ...]  # messages whose text is missing, or stands in a Python value
    garbled: int  # other things that were written as values, and calls that were not written

    @property
    def faults(self) -> int:
        """0 if all is well."""
        return len(self.lost) + self.garbled


def judge(given: Messages, text: str, *, has_none: bool) -> Verdict:
    """`given` is what was marked, `text` how it was rendered.

    `has_none`: some messages came without content, which a template may write as "None".
    """
    found: dict[str, set[int]] = {"text": set(), "part": set(), "call": set()}
    for kind, i in _MARK.findall(text):
        found[kind.lower()].add(int(i))
    called = {
        i for i, m in enumerate(given) for f in _functions(m) if _object(f["arguments"]) is not None
    }
    kept = found["text"] - set(map(int, _REPR_PART.findall(text)))
    lost = tuple(i for i in _texts(given) if i not in kept and i not in called)
    garbled = len(found["part"]) + len(called - found["call"])
    garbled += len(_REPR_CALL.findall(text)) + len(_ESCAPED_CALL.findall(text))
    if has_none:
        garbled += len(re.findall(r"\bNone\b", text))
    return Verdict(lost, garbled)


def _texts(messages: Messages) -> Iterator[int]:
    """The messages that have a text."""
    for i, message in enumerate(messages):
        content = message.get("content")
        if isinstance(content, str):
            if content.strip():
                yield i
        elif any(part["text"].strip() for part in content or () if _has_text(part)):
            yield i


def _is_text(content: Any) -> bool:
    return isinstance(content, list) and all(map(_has_text, content))


def _has_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part["text"], str)


def _functions(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a message's tool calls call, where they have arguments."""
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function", call) if isinstance(call, dict) else None
        if isinstance(function, dict) and isinstance(function.get("arguments"), (str, dict)):
            yield function


def _object(arguments: Any) -> dict[str, Any] | None:
    """The arguments of a call as an object, unless they are none."""
    try:
        value = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
