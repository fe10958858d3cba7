"""Chat templates: equal to transformers' renders, and no template gets out or goes on for long.

tests/golden/chat.json and, for the templates of real models, real_chat.json come from transformers,
by tools/chat_goldens.py.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from chat_cases import CASES, TODAY, digest
from edgelm.chat import ChatTemplate, meter, sandbox
from edgelm.chat import template as chat_template
from edgelm.chat.forms import Form, Verdict
from edgelm.errors import TemplateError
from llama_cpp_sdist import templates

GOLDEN = Path(__file__).parents[1] / "golden"
RENDERS: dict[str, dict[str, str | None]] = json.loads((GOLDEN / "chat.json").read_text())[
    "renders"
]
REAL: dict[str, Any] = json.loads((GOLDEN / "real_chat.json").read_text())
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
USER = [{"role": "user", "content": "Hello"}]
MAX_CPU_S = 1.0


class Today(datetime):
    @classmethod
    def now(cls, tz: object = None) -> datetime:
        return TODAY


def template(name: str) -> ChatTemplate:
    return ChatTemplate((GOLDEN / "chat" / name).read_text(), **TOKENS)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", sorted(RENDERS))
def test_renders_as_transformers(name: str, case: str) -> None:
    wanted = RENDERS[name][case]
    if wanted is None:  # transformers refuses, and so must we
        with pytest.raises(TemplateError):
            template(name).render(**CASES[case])
    else:
        assert template(name).render(**CASES[case]) == wanted


def test_goldens_are_complete() -> None:
    assert sorted(RENDERS) == sorted(path.name for path in (GOLDEN / "chat").glob("*.jinja"))
    assert all(renders.keys() == CASES.keys() for renders in RENDERS.values())


@pytest.mark.slow
@pytest.mark.parametrize("option", ["trim_blocks", "lstrip_blocks"])
def test_the_goldens_catch_another_whitespace_rule(
    option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jinja2.sandbox import ImmutableSandboxedEnvironment as Base

    start = Base.__init__
    monkeypatch.setattr(Base, "__init__", lambda s, **k: start(s, **{**k, option: False}))
    faults = 0
    for name, renders in RENDERS.items():
        for case, wanted in renders.items():
            if wanted is not None:
                faults += template(name).render(**CASES[case]) != wanted
    assert faults


def test_variables_reach_the_template() -> None:
    source = "{{ enable_thinking }} {{ bos_token }} {{ extra.a[1] }} {{ documents is none }}"
    text = ChatTemplate(source, **TOKENS).render(USER, enable_thinking=False, extra={"a": (1, 2)})
    assert text == "False <s> 2 True"


def test_dates_and_refusals() -> None:
    text = ChatTemplate("{{ strftime_now('%Y-%m') }}").render(USER)
    assert text == time.strftime("%Y-%m")
    with pytest.raises(TemplateError, match="only user and assistant"):
        ChatTemplate("{{ raise_exception('only user and assistant') }}").render(USER)


def test_json_keeps_its_letters() -> None:
    messages = [{"role": "user", "content": '<ü> & \'"北京" \u2028'}]
    text = ChatTemplate("{{ messages[0].content | tojson }}").render(messages)
    assert text == json.dumps(messages[0]["content"], ensure_ascii=False)


@pytest.mark.parametrize(
    ("messages", "error", "says"),
    [
        ("Hello", TypeError, "messages is a str"),
        ({"role": "user"}, TypeError, "messages is a dict"),
        (None, TypeError, "messages is a NoneType"),
        (["Hello"], TypeError, r"messages\[0\] is a str"),
        ([USER[0], {"content": "x"}], ValueError, r'messages\[1\]\["role"\] is None'),
        ([{"role": 5, "content": "x"}], ValueError, r'messages\[0\]\["role"\] is 5'),
        ([{"role": "user", "content": 5}], ValueError, r'messages\[0\]\["content"\] is a int'),
        (
            [USER[0], {"role": "user", "content": [{"type": "image", "image": b"png"}]}],
            TypeError,
            r'messages\[1\]\["content"\]\[0\]\["image"\] is a bytes',
        ),
        ([{"role": "user", 5: "x"}], TypeError, r"messages\[0\] has the key 5"),
    ],
)
def test_malformed_messages_are_named(messages: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        ChatTemplate("x").render(messages)


def test_malformed_tools_are_named() -> None:
    with pytest.raises(TypeError, match=r"tools\[1\] is a str"):
        ChatTemplate("x").render(USER, tools=[{}, "weather"])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="tools is a dict"):
        ChatTemplate("x").render(USER, tools={})  # type: ignore[arg-type]


def test_messages_that_hold_themselves_are_refused() -> None:
    message: dict[str, Any] = {"role": "user", "content": "x"}
    message["again"] = [message]
    with pytest.raises(ValueError, match="nests more than"):
        ChatTemplate("x").render([message])


def grown(step: str, start: str = "'aaaaaaaa'", show: str = "ns.x") -> str:
    """A template that applies `step` to ns.x sixty times."""
    turn = "{% for i in range(60) %}{% set ns.x = " + step + " %}{% endfor %}"
    return "{% set ns = namespace(x=" + start + ") %}" + turn + "{{ " + show + " }}"


BIG = "{% set a = 'a' * 1000000 %}"
NESTED = "{% for i in range(100000) %}{% for j in range(100000) %}"
HOSTILE = {
    "empty loops": NESTED + "{% endfor %}{% endfor %}",
    "loops that write": NESTED + "x{% endfor %}{% endfor %}",
    "loops whose filter never holds": "{% for i in range(100000) if i < 0 %}{% endfor %}" * 100,
    "a recursive loop": "{% for x in range(9) recursive %}{{ loop(range(9)) }}{% endfor %}",
    "a macro in itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a tree of macros": "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}"
    "{% endmacro %}{{ m(40) }}",
    "calls in calls": "{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}"
    + "{% call m() %}" * 25
    + "{% endcall %}" * 25,
    "a huge range": "{{ range(10**9) | list }}",
    "text times a number": "{{ 'a' * 10**9 }}",
    "a number times text": "{{ 10**9 * 'a' }}",
    "a list times a number": "{{ [1] * 10**9 }}",
    "long text times a number": BIG + "{{ a * 1000000 }}",
    "doubling by ~": grown("ns.x ~ ns.x"),
    "doubling by +": grown("ns.x + ns.x"),
    "doubling by a set block": "{% set x = 'aa' %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 40,
    "doubling lists": grown("ns.x + ns.x", "[1]"),
    "lists in lists": grown("[ns.x, ns.x]", "[1]"),
    "tuples in tuples": grown("(ns.x, ns.x)", "[1]"),
    "dicts in dicts": grown("{'a': ns.x, 'b': ns.x}", "[1]", "ns.x | tojson"),
    "dicts by dict()": grown("dict(a=ns.x, b=ns.x)", "[1]", "ns.x | string"),
    "chains of lists": "{% set ns = namespace(x=[]) %}{% for i in range(5000) %}"
    "{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
    "growing numbers": grown("ns.x * ns.x", "7"),
    "huge powers": "{{ 10 ** (10 ** 8) }}",
    "growing by join": grown("ns.x.split(',') | join(ns.x)", "'a,b'"),
    "growing by replace": grown("ns.x | replace('a', ns.x)"),
    "padding": "{{ 'a'.ljust(10**9) }}",
    "zeros": "{{ 'a'.zfill(10**9) }}",
    "centering": "{{ 'a' | center(10**9) }}",
    "tabs": "{{ ('\t' * 100000).expandtabs(10**6) }}",
    "%-format": "{{ '%1000000000d' % 1 }}",
    "%-format with a star": "{{ '%*d' % (10**9, 1) }}",
    "the format filter": "{{ '%1000000000d' | format(1) }}",
    "format()": "{{ '{:>1000000000}'.format(1) }}",
    "format() of a field": "{{ '{:>{}}'.format(1, 10**9) }}",
    "format() of a precision": "{{ '{:.{p}f}'.format(1.0, p=10**9) }}",
    "format() often": BIG + "{{ ('{0}' * 100000).format(a) }}",
    "format_map()": "{{ '{a:>{b}}'.format_map({'a': 1, 'b': 10**9}) }}",
    "replace()": BIG + "{{ a.replace('a', a) }}",
    "replace() of nothing": BIG + "{{ a.replace('', a) }}",
    "the replace filter": BIG + "{{ a | replace('a', a) }}",
    "join()": BIG + "{{ a.join(a) }}",
    "join() of a generator": BIG + "{{ a.join(range(100000) | map('string')) }}",
    "the join filter": BIG + "{{ range(100000) | join(a) }}",
    "indenting": "{{ ('\n' * 100000) | indent(100000) }}",
    "indenting by text": "{{ ('\n' * 100000) | indent('x' * 100000) }}",
    "indenting JSON": "{{ [1, [2]] | tojson(indent=10**9) }}",
    "rounding": "{{ 1.5 | round(10**9, 'floor') }}",
    "bytes of a number": "{{ (1).to_bytes(10**9, 'big') }}",
    "translating": BIG + "{{ a.translate({97: a}) }}",
    "batches": "{{ [1] | batch(10**9, 'x') | list }}",
    "slices": "{{ [1] | slice(10**9) | list }}",
    "sums of lists": "{{ [[1] * 1000] * 1000 | sum(start=[]) }}",
    "lipsum": "{{ lipsum(10**6) }}",
    "sorting often": "{% for i in range(100000) %}{{ range(100000) | sort }}{% endfor %}",
    "grouping": "{{ range(100000) | groupby('real') | list | length }}",
    "sorting letters": "{{ ('ab' * 4000000) | sort | length }}",
    "searching often": "{% set l = range(100000) | list %}{% for i in range(100000) %}"
    "{{ -1 in l }}{% endfor %}",
    "copying often": BIG + "{% for i in range(100000) %}{{ a | upper | length }}{% endfor %}",
    "titles": "{{ ('a-' * 4000000) | title }}",
    "keeping slices": BIG + "{% set ns = namespace(l=[]) %}{% for i in range(1000) %}"
    "{% set ns.l = ns.l + [a[i:]] %}{% endfor %}",
    "deep parentheses": "{{ " + "(" * 50000 + "1" + ")" * 50000 + " }}",
    "deep negation": "{{ " + "not " * 30000 + "1 }}",
    "a long sum": "{{ 1" + "+1" * 60000 + " }}",
    "a long path": "{{ a" + ".b" * 60000 + " }}",
    "a long choice": "{% if 0 %}" + "{% elif 0 %}x" * 9000 + "{% endif %}",
    "deep conditions": "{% if 1 %}" * 5000 + "{% endif %}" * 5000,
    "deep loops": "{% for a in [1] %}" * 30 + "{% endfor %}" * 30,
    "a long list": "{{ [" + "1," * 60000 + "] }}",
    "a long template": "x" * 200000,
    "syntax": "{% if %}",
    "undefined": "{{ a.b.c }}",
    "division by zero": "{{ 1 // 0 }}",
    "another template": "{% include 'x' %}",
    "changing the messages": "{{ messages.append(1) }}",
    "internals of text": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "internals of the template": "{{ self.__init__.__globals__ }}",
    "internals of a function": "{{ raise_exception.__globals__['os'] }}",
    "internals of a class": "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "internals by a filter": "{{ (''|attr('__class__')).__mro__ }}",
    "internals by format()": "{{ '{0.__class__.__mro__}'.format(1).x.y }}",
    "names with underscores": "{% set ns = namespace() %}{% set ns._x = 1 %}{% set ns.__y = 1 %}",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_templates_end_soon(name: str) -> None:
    start = time.thread_time()
    with pytest.raises(TemplateError):
        ChatTemplate(HOSTILE[name]).render(USER)
    assert time.thread_time() - start < MAX_CPU_S * meter.slowness()


@pytest.mark.parametrize("limit", ["MAX_STEPS", "MAX_CPU_S", "MAX_BUILT"])
def test_the_meter_is_what_stops_them(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same template passes or not by each limit alone: the refusals above are the meter's."""
    source = ChatTemplate("{% for i in range(1000) %}{% set x = 'a' * i %}{% endfor %}x")
    assert source.render(USER) == "x"
    monkeypatch.setattr(meter, limit, getattr(meter, limit) / 10000)
    with pytest.raises(TemplateError, match=r"the chat template (took|computed|built)"):
        source.render(USER)


def test_a_long_chat_is_within_the_limits() -> None:
    messages = [
        {"role": role, "content": f"{i} " + "word " * 200}
        for i in range(1000)
        for role in ("user", "assistant")
    ]
    text = template("tools.jinja").render(messages)
    assert text.count("<|im_start|>") == 2001


def test_a_failure_leaves_the_template_usable() -> None:
    shared = ChatTemplate("{{ messages[0].content * n }}")
    with pytest.raises(TemplateError):
        shared.render(USER, n=10**9)
    assert shared.render(USER, n=2) == "HelloHello"


def test_threads_may_share_a_template() -> None:
    shared = template("chatml.jinja")
    texts: dict[int, str] = {}

    def work(i: int) -> None:
        for _ in range(20):
            texts[i] = shared.render([{"role": "user", "content": str(i)}])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(f"user\n{i}<|im_end|>" in texts[i] for i in range(4))


@pytest.mark.slow
def test_a_fork_while_another_thread_renders() -> None:
    """The child has no thread that would ever let go of a lock."""
    shared = ChatTemplate("{% for i in range(20000) %}{% endfor %}{{ messages[0].content }}")
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            shared.render(USER)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(8):
            time.sleep(0.005)
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)  # ends a child that waits
                os._exit(shared.render(USER) != "Hello")
            assert os.waitpid(pid, 0)[1] == 0
    finally:
        done.set()
        thread.join()


def test_jinja_is_imported_late() -> None:
    import subprocess

    code = "import sys, edgelm.chat; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture(scope="module")
def real_templates() -> dict[str, str]:
    found = templates()
    assert list(found) == list(REAL["renders"])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL["renders"])
def test_real_templates_render_as_transformers(
    name: str, real_templates: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "datetime", Today)
    shared = ChatTemplate(real_templates[name], **TOKENS)
    assert REAL["cases"] == list(CASES)
    for (case, arguments), wanted in zip(CASES.items(), REAL["renders"][name], strict=True):
        if wanted is None:
            with pytest.raises(
                TemplateError, match=r"refuses|failed|leaves out|continued"
            ):  # but not: took too long
                shared.render(**arguments)
        else:
            assert digest(shared.render(**arguments)) == wanted, case


@pytest.mark.slow
def test_every_real_template_renders_something() -> None:
    rendered = [sum(text is not None for text in row) for row in REAL["renders"].values()]
    assert len(rendered) > 100
    assert min(rendered) > 0
    assert sum(rendered) > 0.75 * len(rendered) * len(CASES)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["trim_blocks", "ensure_ascii", "bos"])
def test_the_hashes_catch_another_rule(
    fault: str, real_templates: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seeded faults change many templates, not one."""
    monkeypatch.setattr(sandbox, "datetime", Today)
    if fault == "trim_blocks":
        start = ImmutableSandboxedEnvironment.__init__
        monkeypatch.setattr(
            ImmutableSandboxedEnvironment,
            "__init__",
            lambda self, **options: start(self, **{**options, "trim_blocks": False}),
        )
    elif fault == "ensure_ascii":
        monkeypatch.setattr(sandbox, "_to_json", lambda x, **options: json.dumps(x))
    faults = 0
    for name, row in [*REAL["renders"].items()][::3]:
        shared = ChatTemplate(real_templates[name], **(TOKENS if fault != "bos" else {}))
        wanted = dict(zip(CASES, row, strict=True))["tools and system"]
        if wanted is not None:
            faults += digest(shared.render(**CASES["tools and system"])) != wanted
    assert faults > 3


def faults_of(case: str, real_templates: dict[str, str]) -> int:
    """How many of some real templates render a case otherwise than transformers' goldens."""
    at, faults = list(CASES).index(case), 0
    for name, row in [*REAL["renders"].items()][::3]:
        try:
            text = ChatTemplate(real_templates[name], **TOKENS).render(**CASES[case])
        except TemplateError:
            faults += row[at] is not None
        else:
            faults += digest(text) != row[at]
    return faults


@pytest.mark.parametrize("case", ["text parts", "called by JSON", "called"])
@pytest.mark.slow
def test_the_hashes_catch_a_template_that_gets_what_was_given(
    case: str, real_templates: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "datetime", Today)
    assert faults_of(case, real_templates) == 0
    monkeypatch.setattr(chat_template, "forms", lambda messages: [Form()])
    assert faults_of(case, real_templates) > 3


@pytest.mark.slow
def test_the_hashes_catch_a_text_that_is_lost(
    real_templates: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "datetime", Today)
    assert faults_of("unknown role", real_templates) == 0
    monkeypatch.setattr(chat_template, "judge", lambda given, text, **_: Verdict((), 0))
    assert faults_of("unknown role", real_templates) > 3
