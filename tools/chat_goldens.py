"""Write how transformers renders chat templates: tests/golden/chat.json and real_chat.json.

Each case is rendered in the first form in which transformers loses and garbles nothing of it:
content as text or as parts, the arguments of calls as objects or as JSON, no content as None or "".
What that is, is judged by looking for the case's own words. What loses a text in all forms is null.

The first holds the texts that our own templates, tests/golden/chat, make of the conversations of
tests/support/chat_cases.py; the second only hashes of what real models' templates make of them,
which llama_cpp_sdist.py beside it fetches. A case that transformers refuses is null, too. Needs
transformers and jinja2, not torch, and edgelm for its cache folder only.

    python tools/chat_goldens.py
"""

from __future__ import annotations

import copy
import itertools
import json
import re
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from transformers import __version__
from transformers.utils import chat_template_utils

TESTS = Path(__file__).parent.parent / "tests"
sys.path.insert(0, str(TESTS / "support"))
from chat_cases import CASES, TODAY, digest  # noqa: E402
from llama_cpp_sdist import REQUIREMENT, templates  # noqa: E402

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


class _Today(datetime):
    """A clock that stands still, for templates that write the date."""

    @classmethod
    def now(cls, tz: object = None) -> datetime:
        return TODAY


def renders(template: str, name: str) -> dict[str, str | None]:
    """What transformers makes of every case."""
    found: dict[str, str | None] = {}
    # One that reads content in conditions alone is not made to write it.
    writes = "content" in re.sub(r"\{%-? *(if|elif) (.|\n)*?%\}", "", template)
    for case_name, case in CASES.items():
        arguments = {"add_generation_prompt": True, **TOKENS, **case}
        given = arguments.pop("messages")
        texts = []
        for messages in forms(given):
            try:
                rendered, _ = chat_template_utils.render_jinja_template(
                    [messages], chat_template=template, **arguments
                )
            except Exception as error:
                print(f"{name}, {case_name}: {type(error).__name__}: {error}", file=sys.stderr)
                continue
            if not writes or has_all(given, rendered[0]):
                if "'type': 'text'" in rendered[0]:  # Python's repr of the parts
                    continue
                texts.append(rendered[0])
        found[case_name] = min(texts, key=lambda t: len(GARBLED.findall(t)), default=None)
    return found


# Parts as JSON, Python's repr of arguments, JSON as a string of JSON, Python's nothing.
GARBLED = re.compile(r""""type": ?"text"|\{'city'|\{\\"city\\"|\bNone\b""")


def forms(given: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The messages as they are, then with one of their habits changed, then with two, ..."""
    changes = (as_text, as_parts, as_objects, as_json, without_none)
    for n in range(len(changes)):
        for some in itertools.combinations(changes, n):
            messages = copy.deepcopy(given)
            for message in messages:
                for change in some:
                    change(message)
            yield messages


def as_text(message: dict[str, Any]) -> None:
    """As llama.cpp joins them."""
    content = message.get("content")
    if isinstance(content, list) and all(part["type"] == "text" for part in content):
        message["content"] = "\n".join(part["text"] for part in content)


def as_parts(message: dict[str, Any]) -> None:
    """A part of text."""
    if isinstance(message.get("content"), str):
        message["content"] = [{"type": "text", "text": message["content"]}]


def as_objects(message: dict[str, Any]) -> None:
    """What the JSON of arguments says."""
    for call in message.get("tool_calls", ()):
        if isinstance(call["function"]["arguments"], str):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])


def as_json(message: dict[str, Any]) -> None:
    """As transformers' tojson writes it."""
    for call in message.get("tool_calls", ()):
        if not isinstance(call["function"]["arguments"], str):
            text = json.dumps(call["function"]["arguments"], ensure_ascii=False)
            call["function"]["arguments"] = text


def without_none(message: dict[str, Any]) -> None:
    """No content is an empty one."""
    message["content"] = message.get("content") or ""


def has_all(messages: list[dict[str, Any]], text: str) -> bool:
    """Whether the words of all messages are there, but of those that call tools."""
    squeezed = letters(text)
    for message in messages:
        content = message.get("content") or ""
        parts = [content] if isinstance(content, str) else [p.get("text", "") for p in content]
        for part in [] if "tool_calls" in message else parts:
            said = letters(part.rpartition("</think>")[2])
            quoted = letters(json.dumps(part.strip(), ensure_ascii=False))
            if said not in squeezed and quoted not in squeezed:
                return False
    return True


def letters(text: str) -> str:
    """Without what templates change in titles and lists."""
    return "".join(c for c in text.casefold() if c.isalnum())


def main() -> None:
    """Render all and write the files."""
    chat_template_utils.datetime = _Today
    ours = {p.name: renders(p.read_text(), p.name) for p in (TESTS / "golden/chat").glob("*.jinja")}
    text = json.dumps(
        {"transformers": __version__, "renders": dict(sorted(ours.items()))},
        ensure_ascii=False,
        indent=1,
    )
    (TESTS / "golden" / "chat.json").write_text(text + "\n")

    real = {
        name: [None if text is None else digest(text) for text in renders(template, name).values()]
        for name, template in templates().items()
    }
    lines = [f"{json.dumps(name)}: {json.dumps(row)}" for name, row in real.items()]
    head = {"transformers": __version__, "templates": REQUIREMENT, "cases": list(CASES)}
    text = json.dumps(head)[:-1] + ', "renders": {\n' + ",\n".join(lines) + "\n}}\n"
    (TESTS / "golden" / "real_chat.json").write_text(text)


if __name__ == "__main__":
    main()
