"""Conversations that every template of tests/golden/chat is rendered with."""

from __future__ import annotations

from typing import Any

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": 'Wetter für <Ort> & "Zeit"',
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "enum": ["Köln", "北京"]},
                "days": {"type": "integer", "default": 1},
                "where": {
                    "type": "object",
                    "properties": {"at": {"type": "array", "items": {"type": "number"}}},
                },
            },
            "required": ["city"],
        },
    },
}
NOW = {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _assistant(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def _call(name: str, arguments: Any) -> dict[str, Any]:
    return {
        "id": f"call_{name}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


_CALLED = [
    _user("Wetter in Köln?"),
    {"role": "assistant", "content": None, "tool_calls": [_call("weather", {"city": "Köln"})]},
    {"role": "tool", "name": "weather", "content": '{"temp": 12}'},
    _assistant("12 Grad."),
    _user("Danke!"),
]
_CALLED_TWICE = [
    {"role": "system", "content": "Be brief."},
    _user("And now?"),
    _assistant(
        "Let me see.", tool_calls=[_call("now", "{}"), _call("weather", '{"city": "北京"}')]
    ),
    {"role": "tool", "content": "12:00"},
    {"role": "tool", "content": "rain"},
]

# name -> the arguments of render()
CASES: dict[str, dict[str, Any]] = {
    "one": {"messages": [_user("Hello  <b>&\n ")]},
    "no prompt": {"messages": [_user("Hello")], "add_generation_prompt": False},
    "system": {
        "messages": [
            {"role": "system", "content": " You are Ünïcode. "},
            _user("Hi"),
            _assistant("Hello!"),
            _user("Bye 👋🏽"),
        ]
    },
    "ends in a reply": {
        "messages": [_user("1"), _assistant(" 2 ")],
        "add_generation_prompt": False,
    },
    "tools": {"messages": [_user("Wetter?")], "tools": [WEATHER, NOW]},
    "tools and system": {
        "messages": [{"role": "system", "content": "S"}, _user("Wetter?")],
        "tools": [WEATHER],
    },
    "called": {"messages": _CALLED, "tools": [WEATHER]},
    "called twice": {"messages": _CALLED_TWICE, "tools": [NOW, WEATHER]},
    "called without tools": {"messages": _CALLED},
    "thought": {
        "messages": [_user("q"), _assistant("a", reasoning_content="because"), _user("r")],
        "enable_thinking": False,
    },
    "thought aloud": {
        "messages": [_user("q"), _assistant("<think>\nhm\n</think>\n\na")],
        "enable_thinking": True,
    },
    "thinking": {"messages": [_user("q"), _assistant("a", thinking="so")]},
    "parts": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "one "},
                    {"type": "image"},
                    {"type": "text", "text": "two"},
                ],
            }
        ]
    },
    "two users": {"messages": [_user("1"), _user("2")]},
    "nobody": {"messages": []},
    "unknown role": {"messages": [{"role": "wizard", "content": "x"}]},
}
