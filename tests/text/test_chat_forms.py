"""What a template is given: the form that it takes, special tokens, one of several templates.

That the forms are right on 106 real templates is in test_chat.py: transformers' renders of the form
that loses nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import edgelm
from edgelm.chat import ChatTemplate
from edgelm.errors import TemplateError
from scripted_model import write

HELLO = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
# Written for this test: what kinds of templates there are, and what "Hello" becomes.
TAKES_TEXT = {
    "+": "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}{% endfor %}",
    "~": "{% for m in messages %}{{ m.role ~ ': ' ~ m.content }}{% endfor %}",
    "by itself": "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}",
    "trim": "{% for m in messages %}{{ m.role }}: {{ m.content | trim }}{% endfor %}",
    "else nothing": "{% for m in messages %}{{ m.role }}: "
    "{% if m.content is string %}{{ m.content }}{% endif %}{% endfor %}",
}
TAKES_PARTS = {
    "loop": "{% for m in messages %}{{ m.role }}: {% for part in m.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}",
    "first": "{% for m in messages %}{{ m.role }}{% if m['content'][0]['type'] == 'image' %}!"
    "{% endif %}: {% for p in m['content'] %}{{ p['text'] }}{% endfor %}{% endfor %}",
}


@pytest.mark.parametrize("name", TAKES_TEXT)
def test_a_template_of_text_gets_text(name: str) -> None:
    template = ChatTemplate(TAKES_TEXT[name])
    assert template.render([{"role": "user", "content": "Hello"}]) == "user: Hello"
    # llama.cpp joins parts by a line break: its prompt of HELLO is one token longer than "Hello".
    assert template.render([{"role": "user", "content": HELLO}]) == "user: Hel\nlo"
    assert template.render([{"role": "user", "content": HELLO[:1]}]) == "user: Hel"
    assert template.render([{"role": "user", "content": []}]) == "user: "
    image = [{"type": "image"}, *HELLO]
    with pytest.raises(TemplateError, match=r"leaves out the text of messages\[0\]|failed"):
        template.render([{"role": "user", "content": image}])


@pytest.mark.parametrize("name", TAKES_PARTS)
def test_a_template_of_parts_gets_parts(name: str) -> None:
    template = ChatTemplate(TAKES_PARTS[name])
    assert template.render([{"role": "user", "content": "Hello"}]) == "user: Hello"
    assert template.render([{"role": "user", "content": HELLO}]) == "user: Hello"


def test_each_message_is_looked_for() -> None:
    drops = ChatTemplate(
        "{% for m in messages %}{% if m.role != 'tool' %}{{ m.content }}{% endif %}{% endfor %}"
    )
    said: list[dict[str, Any]] = [{"role": "user", "content": "a"}]
    assert drops.render(said) == "a"
    with pytest.raises(TemplateError, match=r"messages\[1\], whose role is 'tool'"):
        drops.render([*said, {"role": "tool", "content": "a"}])  # though an "a" is there
    assert drops.render([*said, {"role": "tool", "content": " "}]) == "a"
    images = "{% for p in messages[0].content %}{% if p.type == 'image' %}!{% endif %}{% endfor %}"
    with pytest.raises(TemplateError, match="leaves out the text"):
        ChatTemplate(images).render(said)
    with pytest.raises(TemplateError, match="leaves out the text"):
        ChatTemplate("chatml").render(said)  # llama.cpp's name of a template
    by_length = "{% if messages[0].content | length > 3 %}long{% else %}short{% endif %}"
    assert ChatTemplate(by_length).render(said) == "short"  # never meant to write it


CALL = {"city": "Köln", "days": 2}
CALL_TEXT = '{"city": "Köln", "days": 2}'


def called(arguments: Any, **more: Any) -> list[dict[str, Any]]:
    function = {"name": "weather", "arguments": arguments}
    message = {"role": "assistant", "tool_calls": [{"type": "function", "function": function}]}
    return [{"role": "user", "content": "Wetter?"}, message | more]


EACH = "{% for m in messages %}{% for c in m.tool_calls or [] %}"
END = "{% endfor %}{% endfor %}"


@pytest.mark.parametrize("arguments", [CALL, CALL_TEXT])
@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ c.function.arguments | tojson }}", CALL_TEXT),
        ("{{ '<' + c.function.arguments + '>' }}", f"<{CALL_TEXT}>"),
        ("{{ c.function.arguments }}", CALL_TEXT),
        ("{% for k, v in c.function.arguments.items() %}{{ k }}={{ v }};{% endfor %}",
         "city=Köln;days=2;"),
        ("{% if c.function.arguments is mapping %}{{ c.function.arguments.city }}"
         "{{ c.function.arguments.keys() | list | length > 1 }}"
         "{{ c.function.arguments.items() | list | tojson }}{% endif %}",
         'KölnTrue[["city", "Köln"], ["days", 2]]'),
        ("{% set a = c.function.arguments %}{{ a if a is string else a | tojson }}", CALL_TEXT),
    ],
)  # fmt: skip
def test_arguments_of_calls(source: str, text: str, arguments: Any) -> None:
    assert ChatTemplate(EACH + source + END).render(called(arguments)) == text


@pytest.mark.parametrize("none", [{}, {"content": None}])
@pytest.mark.parametrize(
    "source", ["{{ m.role + ': ' + m.content }}", "{{ m.role }}: {{ m.content }}"]
)
def test_no_content(source: str, none: dict[str, Any]) -> None:
    template = ChatTemplate("{% for m in messages %}" + source + "\n{% endfor %}")
    assert template.render(called(CALL, **none)) == "user: Wetter?\nassistant: \n"
    said = [{"role": "user", "content": "None"}, *called(CALL, **none)]
    assert template.render(said) == "user: None\nuser: Wetter?\nassistant: \n"


def test_several_habits_at_once() -> None:
    source = (
        "{% for m in messages %}{{ m.role + ': ' + m.content }}{% for c in m.tool_calls or [] %}"
        "{% for k, v in c.function.arguments.items() %}{{ k }}={{ v }};{% endfor %}{% endfor %};"
        "{% endfor %}"
    )
    messages = called('{"a": 1}', content=None)
    messages[0]["content"] = HELLO
    assert ChatTemplate(source).render(messages) == "user: Hel\nlo;assistant: a=1;;"
    assert messages[0]["content"] is HELLO  # the caller's stay as they are


def test_a_reply_of_channels_is_parted_for_the_template() -> None:
    template = ChatTemplate("{{ messages[0].thinking }}|{{ messages[0].content }}")
    reply = "<|channel|>analysis<|message|>hm<|start|>assistant<|channel|>final<|message|>Yes."
    assert template.render([{"role": "assistant", "content": reply}]) == "hm|Yes."
    with pytest.raises(TemplateError, match="leaves out"):
        ChatTemplate("{{ messages[0].thinking or messages[0].content }}").render(
            [{"role": "assistant", "content": reply}]
        )


def test_what_cannot_be_continued() -> None:
    with pytest.raises(ValueError, match="no text that could be continued"):
        ChatTemplate("{{ messages[0].role }}").render(
            [{"role": "assistant"}], continue_final_message=True
        )
    with pytest.raises(TemplateError, match="cannot be continued"):
        ChatTemplate("{{ messages[0].content[:3] if 0 else '' }}{{ messages[1].role }}").render(
            [{"role": "user", "content": " "}, {"role": "assistant", "content": " "}],
            continue_final_message=True,
        )


# --- which template, and its tokens ---

CONTROL = ("<s>", "</s>", "<pad>", "<sep>")


def model(path: Path, **metadata: Any) -> edgelm.Model:
    keys = {f"tokenizer.{key.replace('__', '.')}": value for key, value in metadata.items()}
    return edgelm.load(write(path, {}, control=CONTROL, end="</s>", metadata=keys), n_threads=1)


USER = [{"role": "user", "content": "Hi"}]


def test_special_tokens_are_bound_as_by_transformers(tmp_path: Path) -> None:
    source = "{{ bos_token + pad_token + sep_token + unk_token + cls_token + mask_token }}"
    ids = {
        "ggml__bos_token_id": 257,
        "ggml__padding_token_id": 259,
        "ggml__seperator_token_id": 260,
    }
    with model(tmp_path / "m.gguf", chat_template=source + "{{ eos_token }}", **ids) as chatty:
        assert chatty.apply_chat_template(USER) == "<s><pad><sep></s>"


@pytest.mark.parametrize(
    ("templates", "tools", "text"),
    [
        ({"chat_template": "plain"}, False, "plain"),
        ({"chat_template": "plain", "chat_template__tool_use": "tools"}, False, "plain"),
        ({"chat_template": "plain", "chat_template__tool_use": "tools"}, True, "tools"),
        ({"chat_template__default": "named"}, True, "named"),
        ({"chat_template": " \n", "chat_template__default": "named"}, False, "named"),
        ({"chat_template": "plain", "chat_template__default": "named"}, False, "plain"),
    ],
)
def test_which_of_several_templates(
    tmp_path: Path, templates: dict[str, str], tools: bool, text: str
) -> None:
    marked = {key: value + "{{ '' }}" for key, value in templates.items() if value.strip()}
    with model(tmp_path / "m.gguf", **(templates | marked)) as chatty:
        given = [{"type": "function"}] if tools else None
        assert chatty.apply_chat_template(USER, tools=given) == text


def test_a_template_by_name_or_text(tmp_path: Path) -> None:
    rag = "{{ 'rag' }}"
    with model(tmp_path / "m.gguf", chat_template__rag=rag) as chatty:
        assert chatty.apply_chat_template(USER, chat_template="rag") == "rag"
        assert chatty.apply_chat_template(USER, chat_template="{{ 1 + 1 }}") == "2"
        with pytest.raises(TemplateError, match="no default chat template, only rag"):
            chatty.apply_chat_template(USER)
        with pytest.raises(TemplateError, match="expected the text of a Jinja template, or a name"):
            chatty.apply_chat_template(USER, chat_template="chatml")
        reply = chatty.chat(USER, chat_template="{{ messages[0].content }}", max_tokens=1)
        assert reply.usage.prompt_tokens == 2


@pytest.mark.parametrize("blank", ["", "  \n"])
def test_a_blank_template_is_none(tmp_path: Path, blank: str) -> None:
    with (
        model(tmp_path / "m.gguf", chat_template=blank) as plain,
        pytest.raises(TemplateError, match="has no chat template"),
    ):
        plain.apply_chat_template(USER)


def test_a_go_template_is_called_one(tmp_path: Path) -> None:
    go = "{{ if .System }}{{ .System }}{{ end }}{{ .Prompt }}"
    with (
        model(tmp_path / "m.gguf", chat_template=go) as ollamas,
        pytest.raises(TemplateError, match=r"no Jinja, line 1: .* Go template, as Ollama has them"),
    ):
        ollamas.apply_chat_template(USER)


def test_a_prompt_ends_where_the_reply_begins(tmp_path: Path) -> None:
    """add_eos_token is for training; transformers adds none to a rendered chat."""
    with model(
        tmp_path / "m.gguf", ggml__add_eos_token=True, chat_template="{{ messages[0].content }}"
    ) as trained:
        assert trained.tokenize("Hi")[-1] == trained.eos_ids[0]
        for usage in (
            trained.generate("Hi", max_tokens=1).usage,
            trained.chat(USER, max_tokens=1).usage,
            trained.stream("Hi", max_tokens=0).generation.usage,
        ):
            assert usage.prompt_tokens == 2
        assert len(trained.score("Hi")) == 2  # a text that is judged is whole
