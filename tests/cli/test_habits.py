"""edgelm as llama.cpp's users type it, and fed with what their shells and editors make."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

import edgelm
from edgelm import cli
from edgelm.cli import texts
from tiny_models import TinyLlama

TEMPLATE = "{% for m in messages %}{{ m['role'] }}:{{ m['content'] }}\n{% endfor %}"
GREEDY = ("--temp", 0, "--no-stats", "--ignore-eos", "-t", 1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return TinyLlama(n_ctx=9000).write(tmp_path_factory.mktemp("habits") / "tiny.gguf")


@pytest.fixture(scope="module")
def chatty(tmp_path_factory) -> Path:
    model = TinyLlama(n_ctx=512, metadata={"tokenizer.chat_template": TEMPLATE})
    return model.write(tmp_path_factory.mktemp("habits") / "chatty.gguf")


def run(capsys, *arguments: object) -> tuple[str, str]:
    assert cli.main(list(map(str, arguments))) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err


def fails(capsys, *arguments: object) -> str:
    try:
        code = cli.main(list(map(str, arguments)))
    except SystemExit as exit_:
        code = exit_.code
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    return captured.err


def process(*arguments: object, shell: str = "", **more) -> subprocess.CompletedProcess:
    """The command, as a shell starts it: `shell` redirects its streams."""
    command = [sys.executable, "-m", "edgelm", *map(str, arguments)]
    script = f'exec "$@" {shell}'
    return subprocess.run(
        ["sh", "-c", script, "sh", *command], capture_output=True, timeout=60, check=False, **more
    )


# --- llama.cpp's options ---


def test_a_model_and_a_prompt_by_options(capsys, tiny, tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_bytes(b"hello\n")
    wanted = run(capsys, "run", tiny, "hello", *GREEDY, "-n", 6)
    for arguments in (
        ("-m", tiny, "-p", "hello"),
        (f"--model={tiny}", "hello"),
        (f"-m{tiny}", "-n", 6, "hello"),
        (tiny, "-f", file),
        (tiny, "--file", file),
        ("--prompt", "hello", tiny),
    ):
        assert run(capsys, "run", *arguments, *GREEDY, "-n", 6) == wanted
    assert "required: PROMPT" in fails(capsys, "run", "-m", tiny)
    assert "unrecognized arguments: again" in fails(capsys, "run", tiny, "-p", "hello", "again")
    assert "give one of them" in fails(capsys, "run", tiny, "-p", "x", "-f", file)
    assert "cannot be read: No such file" in fails(capsys, "run", tiny, "-f", tmp_path / "no.txt")


def test_the_other_commands_take_them_too(capsys, tiny, tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("hello " * 40)
    assert run(capsys, "info", "-m", tiny) == run(capsys, "info", tiny)
    assert run(capsys, "tokenize", "-m", tiny, "-p", "hi", "--ids") == ("104 105\n", "")
    by_name = run(capsys, "perplexity", "-m", tiny, "-f", file, "-c", 32)
    assert by_name == run(capsys, "perplexity", tiny, file, "-c", 32)


def test_a_prompt_that_begins_with_a_dash(capsys, tiny):
    assert run(capsys, "tokenize", tiny, "--ids", "--", "-h")[0] == "45 104\n"
    assert run(capsys, "tokenize", "-m", tiny, "--ids", "--", "-m")[0] == "45 109\n"
    assert run(capsys, "tokenize", tiny, "--ids", "--prompt=-h")[0] == "45 104\n"


def test_no_limit_ends_where_the_context_does(capsys, tiny):
    out, err = run(capsys, "run", tiny, "hello", *GREEDY, "-n", -1, "-c", 64)
    with edgelm.load(tiny, n_ctx=64) as model:
        whole = model.generate("hello", temperature=0, ignore_eos=True, max_tokens=1000)
    assert out.encode(errors="replace") == f"{whole.text}\n".encode(errors="replace")
    assert whole.usage.completion_tokens == 64 - 5 + 1
    assert err == "The context is full. --n-ctx makes room.\n"
    assert run(capsys, "run", tiny, "hello", *GREEDY, "-n", 9)[1] == ""


@pytest.mark.parametrize(
    ("limits", "says"),
    [(("-n", 4), "cut at --max-tokens"), (("-c", 16, "-n", 99), "the context is full")],
)
def test_the_end_of_a_reply_is_named(capsys, tiny, limits, says):
    _, err = run(capsys, "run", tiny, "hello", "--temp", 0, "--ignore-eos", *limits)
    assert says in err


def test_a_context_of_0_is_all_that_the_model_has(capsys, tiny, monkeypatch):
    loaded = []
    load = edgelm.load
    monkeypatch.setattr(edgelm, "load", lambda *a, **k: loaded.append(k) or load(*a, **k))
    run(capsys, "run", tiny, "hello", *GREEDY, "-n", 1, "-c", 0)
    assert loaded[0]["n_ctx"] == 9000  # and not 8192, the default


def test_logit_bias(capsys, tiny):
    first = edgelm.load(tiny).generate("hello", temperature=0, max_tokens=1).tokens[0]
    for form in (f"{first}-inf", f"{first}-1e9", f"{first}=-1e9"):
        out, _ = run(
            capsys, "run", tiny, "hello", *GREEDY, "-n", 1, "--logit-bias", form, "-l", "7+0"
        )
        assert out != run(capsys, "run", tiny, "hello", *GREEDY, "-n", 1)[0]
    out, _ = run(capsys, "run", tiny, "hello", *GREEDY, "-n", 3, "-l", f"{ord('A')}+1000")
    assert out == "AAA\n"  # the first 256 tokens are the bytes


def test_logprobs(capsys, tiny):
    out, _ = run(capsys, "run", tiny, "hello", *GREEDY, "-n", 2, "--logprobs", 2)
    with edgelm.load(tiny) as model:
        reply = model.generate("hello", temperature=0, max_tokens=2, ignore_eos=True, logprobs=2)
    head, *rows = out.splitlines()[-3:]
    assert head.split() == ["token", "logprob", "likeliest"]
    for row, token in zip(rows, reply.logprobs, strict=True):
        assert f"{token.logprob:.3f}" in row
        assert all(f"{logprob:.3f}" in row for _, logprob in token.top)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (r"a\nb", "a\nb"), (r"\t\r\'\"\\n", "\t\r'\"\\n"), (r"\xc3\xa9", "é"), (r"\x41g", "Ag"),
        (r"\q\z", "\\q\\z"), ("é", "é"),
    ],
)  # fmt: skip
def test_escapes_are_llama_cpps(typed, meant):
    assert texts.unescaped(typed) == meant


def test_escapes_only_where_asked_for(capsys, tiny):
    ids = "97 10 98\n"
    assert run(capsys, "tokenize", tiny, r"a\nb", "-e", "--ids")[0] == ids
    assert run(capsys, "tokenize", tiny, r"a\nb", "--ids")[0] == "97 92 110 98\n"
    assert "not UTF-8" in fails(capsys, "tokenize", tiny, r"\xff", "-e")
    text, _ = run(capsys, "run", tiny, "hello", *GREEDY, "-n", 40)
    stop = next(c for c in text if text.isprintable() or c.isascii())
    code = f"\\x{ord(stop):02x}"
    out, _ = run(capsys, "run", tiny, "hello", *GREEDY, "-n", 40, "-e", "--stop", code)
    assert out == text[: text.index(stop)] + "\n"


# --- templates ---


def test_another_template_and_what_it_reads(capsys, tiny, chatty, tmp_path):
    template = tmp_path / "other.jinja"
    template.write_text("{{ mood }}|{{ n + 1 }}|{{ messages[0].content }}")
    options = (*GREEDY, "-n", 5)
    wanted = run(capsys, "run", tiny, "glad|3|hello", *options)
    for source in (template, template.read_text()):
        given = ("--chat-template", source, "--template-var", "mood=glad", "--template-var", "n=2")
        assert run(capsys, "run", tiny, "hello", *options, *given) == wanted
        assert run(capsys, "run", chatty, "hello", *options, *given) == wanted
    given = ("--chat-template", template, "--chat-template-kwargs", '{"mood": "glad", "n": 2}')
    assert run(capsys, "run", chatty, "hello", *options, *given) == wanted
    missing = fails(capsys, "run", chatty, "hello", "--chat-template", "chatml")
    assert "no such file, nor a name that the model has: default" in missing


def test_a_switch_for_thinking(capsys, tiny, chatty, tmp_path):
    template = tmp_path / "thinks.jinja"
    template.write_text("{{ enable_thinking }}{{ messages[0].content }}")
    options = ("--chat-template", template, *GREEDY, "-n", 5)
    for option, shown in (("--think", "True"), ("--no-think", "False")):
        out = run(capsys, "run", chatty, "hello", *options, option)
        assert out == run(capsys, "run", tiny, f"{shown}hello", *GREEDY, "-n", 5)
    assert "has no switch for it" in fails(capsys, "run", chatty, "hello", "--no-think")


def test_a_prefilled_answer(capsys, tiny, chatty):
    out, _ = run(capsys, "run", chatty, "hello", *GREEDY, "-n", 5, "--prefill", "So:")
    rest, _ = run(capsys, "run", tiny, "user:hello\nassistant:So:", *GREEDY, "-n", 5)
    assert out == "So:" + rest
    assert "--prefill needs" in fails(capsys, "run", tiny, "hello", "--prefill", "x")


def test_what_a_broken_template_leaves_to_do(capsys, chatty):
    line = fails(capsys, "run", chatty, "x", "--chat-template", "{% if .System %}")
    assert "is no Jinja" in line
    assert "--raw does without it" in line


# --- what comes from outside ---


UTF16 = "hi\n".encode("utf-16")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"hi", "hi"), (b"a\r\nb\r\n", "a\nb\n"), (b"a\rb", "a\nb"), (b"\xef\xbb\xbfhi", "hi"),
        (UTF16, "hi\n"), ("\ufeffhi".encode("utf-16-be"), "hi"), (b"a\0b", "a\0b"), (b"", ""),
    ],
)  # fmt: skip
def test_texts_of_editors_and_shells(raw, text):
    assert texts.decoded(raw, "x") == text


@pytest.mark.parametrize("raw", [b"caf\xe9", UTF16[:-1]])
def test_bytes_that_are_no_text(raw):
    with pytest.raises(ValueError, match=r"x is not UTF-(8|16, as it begins,) at byte 3|byte 6"):
        texts.decoded(raw, "x")


def test_the_locales_own_encoding(monkeypatch):
    monkeypatch.setattr("locale.getpreferredencoding", lambda _: "ISO-8859-15")
    assert texts.decoded(b"\xa4 caf\xe9", "x") == "€ café"
    assert texts.decoded("€".encode(), "x") == "€"  # UTF-8 before all


def test_a_piped_prompt_loses_the_newline_of_echo(capsys, tiny, monkeypatch):
    wanted = run(capsys, "run", tiny, "hi", *GREEDY, "-n", 5)
    for raw in (b"hi\n", b"hi\r\n", b"hi", b"\xef\xbb\xbfhi\n", UTF16):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
        assert run(capsys, "run", tiny, "-", *GREEDY, "-n", 5) == wanted


@pytest.mark.slow
def test_a_piped_chat_from_windows(chatty):
    command = ("chat", chatty, "--temp", 0, "--ignore-eos", "-n", 3)
    wanted = process(*command, input=b"hi\nthere\n").stdout
    assert process(*command, input=b"\xef\xbb\xbfhi\r\nthere\r\n").stdout == wanted
    joined = process(*command, input=b"hi\\\nthere\n").stdout
    assert process(*command, input=b"hi\\\r\nthere\r\n").stdout == joined
    assert joined.count(b"\n") < wanted.count(b"\n")
    assert process(*command, input=b"\xef\xbb\xbf/stats\r\n").stderr == b"There is no answer yet.\n"
    bad = process(*command, input=b"hi\ncaf\xe9\n")
    assert bad.returncode == 2
    assert b"line 2 of stdin is not UTF-8 at byte 3 (0xe9)" in bad.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
@pytest.mark.parametrize("command", ["run", "chat", "tokenize"])
@pytest.mark.slow
def test_closed_streams(chatty, command, closed):
    text = {"run": ["-", "-n", "2"], "chat": ["-n", "2"], "tokenize": ["-", "--ids"]}[command]
    done = process(command, chatty, *text, shell=closed, input=b"hi\n")
    if closed == "2>&-":  # and nothing of what goes there comes to stdout
        assert done.returncode == 0
        assert b"first token" not in done.stdout
        assert b"Cut at" not in done.stdout
    else:
        assert done.returncode == 2
        assert done.stderr.startswith(b"edgelm: std")
        assert b"is closed" in done.stderr
        assert done.stderr.count(b"\n") == 1


def test_a_locale_of_ascii(tiny, tmp_path):
    ascii_only = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    wanted = process("tokenize", tiny, "é→", "--ids").stdout
    assert process("tokenize", tiny, "é→", "--ids", env=ascii_only).stdout == wanted
    done = process("tokenize", tiny, "--decode", "195 169 10 195 169", env=ascii_only)
    assert done.returncode == 0
    decoded = process("tokenize", tiny, "--decode", "195 169 10 195 169").stdout.decode()
    assert done.stdout.decode() == decoded.encode("ascii", "replace").decode()
    lacks = b"edgelm: ? stands for characters that the locale's ascii lacks; LC_ALL=C.UTF-8"
    assert (done.stderr.count(lacks), done.stderr.count(b"\n")) == (1, 1)


def test_an_argument_that_is_no_utf8(tiny):
    done = process("run", tiny, os.fsdecode(b"caf\xe9"))
    assert done.returncode == 2
    assert b"argument PROMPT: the text is not UTF-8" in done.stderr
