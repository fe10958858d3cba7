"""Conversations that chat templates are rendered with: our own, and those of real models."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

TODAY = datetime(2024, 7, 26, 12, 34, 56)  # for templates that write the date

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
# With all that strict templates ask for.
SEARCH = {
    "type": "function",
    "function": {
        "name": "search_flights",
        "description": "Finds flights.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {
                "to": {"type": "string", "description": "An airport's code"},
                "passengers": {"type": "integer", "description": "How many", "minimum": 1},
                "nonstop": {"type": "boolean", "description": "No changes", "nullable": True},
                "airlines": {
                    "type": "array",
                    "description": "Any of them",
                    "items": {"type": "string", "description": "A code"},
                },
            },
            "required": ["to", "passengers"],
            "additionalProperties": False,
        },
        "return": {"type": "string", "description": "JSON"},
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


def _texts(*texts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


_FLIGHT = {"to": "LIS", "passengers": 2, "nonstop": True, "airlines": ["TP", "LH"]}
# Mistral's templates want ids of nine letters and digits, others an id in the answer.
_FLOWN: list[dict[str, Any]] = [
    {"role": "system", "content": "You book flights."},
    _user("Two to Lisbon, please."),
    _assistant("", tool_calls=[{**_call("search_flights", _FLIGHT), "id": "flight001"}]),
    {
        "role": "tool",
        "name": "search_flights",
        "tool_call_id": "flight001",
        "content": '{"price": 129.5}',
    },
]
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
        "messages": [_user("First things"), _assistant(" Second thoughts ")],
        "add_generation_prompt": False,
    },
    "tools": {"messages": [_user("Wetter?")], "tools": [WEATHER, NOW]},
    "tools and system": {
        "messages": [{"role": "system", "content": "Sei kurz."}, _user("Wetter?")],
        "tools": [WEATHER],
    },
    "called": {"messages": _CALLED, "tools": [WEATHER]},
    "called twice": {"messages": _CALLED_TWICE, "tools": [NOW, WEATHER]},
    "called without tools": {"messages": _CALLED},
    "strict tools": {"messages": _FLOWN[:2], "tools": [SEARCH]},
    "strict call": {"messages": _FLOWN, "tools": [SEARCH]},
    "strict call answered": {
        "messages": [*_FLOWN, _assistant("129.50 euros."), _user("Take it.")],
        "tools": [SEARCH],
    },
    "strict call alone": {"messages": _FLOWN[1:], "add_generation_prompt": False},
    "long": {
        "messages": [
            message
            for i in range(12)
            for message in (_user(f"Question {i}?"), _assistant(f"Answer\n\n{i}."))
        ]
        + [_user("The last?")]
    },
    "documents": {
        "messages": [_user("Which is taller?")],
        "documents": [{"doc_id": 1, "title": "Peaks", "text": "K2 has 8,611 m.", "contents": "K2"}],
    },
    "other variables": {
        "messages": [_user("Hi")],
        "functions": "none",
        "datetime": "noon",
        "additional_special_tokens": [f"<|{i}|>" for i in range(8)],
    },
    "thought": {
        "messages": [
            _user("Why so?"),
            _assistant("Therefore.", reasoning_content="because"),
            _user("Really?"),
        ],
        "enable_thinking": False,
    },
    "thought aloud": {
        "messages": [_user("Why so?"), _assistant("<think>\nhm\n</think>\n\nAnyway.")],
        "enable_thinking": True,
    },
    "thinking": {"messages": [_user("Why so?"), _assistant("Therefore.", thinking="hm")]},
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
    "text parts": {
        "messages": [
            {"role": "system", "content": _texts("Sei kurz.", "Sei nett.")},
            {"role": "user", "content": _texts("Wetter in", "Köln?")},
        ]
    },
    "a part": {"messages": [{"role": "user", "content": _texts("Wetter in Köln?")}]},
    "two users": {"messages": [_user("First things"), _user("Second thoughts")]},
    "nobody": {"messages": []},
    "unknown role": {"messages": [{"role": "wizard", "content": "Abracadabra"}]},
    "called by JSON": {
        "messages": [
            _user("Wetter in Köln?"),
            {"role": "assistant", "tool_calls": [_call("weather", '{"city": "Köln"}')]},
            {"role": "tool", "name": "weather", "content": '{"temp": 12}'},
        ],
        "tools": [WEATHER],
    },
    "continued": {
        "messages": [_user("Wetter?"), _assistant("Es regnet, ")],
        "continue_final_message": True,
        "add_generation_prompt": False,
    },
    "continued parts": {
        "messages": [_user("Wetter?"), {"role": "assistant", "content": _texts("Es regnet")}],
        "continue_final_message": True,
        "add_generation_prompt": False,
    },
}


def digest(text: str) -> str:
    """What stands for a rendering in tests/golden/real_chat.json."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
