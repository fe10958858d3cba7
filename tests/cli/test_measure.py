"""edgelm tokenize and edgelm perplexity."""

import io
import os
import pty
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import edgelm
from edgelm import cli
from tiny_models import TinyLlama

TEXT = "The quick brown fox, öl 🦙. " * 30


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return TinyLlama(n_ctx=512).write(tmp_path_factory.mktemp("measure") / "tiny.gguf")


def printed(capsys, *arguments: object, code: int = 0) -> str:
    assert cli.main([str(a) for a in arguments]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


# --- tokenize ---


def test_tokenize_shows_ids_and_pieces(capsys, tiny):
    out = printed(capsys, "tokenize", tiny, " té\x1b")
    with edgelm.load(tiny) as model:
        ids = model.tokenize(" té\x1b")
    rows = [line.split(None, 1) for line in out.splitlines()]
    assert [int(id) for id, _ in rows] == ids
    assert [piece for _, piece in rows] == [
        "' t'", r"b'\xc3'", r"b'\xa9'", "'\N{REPLACEMENT CHARACTER}'"
    ]  # fmt: skip


def test_tokenize_ids_and_back(capsys, tiny):
    ids = printed(capsys, "tokenize", tiny, "--ids", TEXT)
    assert len(ids.split()) > 100
    assert printed(capsys, "tokenize", tiny, "--decode", ids) == TEXT


def test_tokenize_special_names(capsys, tiny):
    named = ("tokenize", tiny, "--ids", "<|im_end|>")
    assert len(printed(capsys, *named).split()) > 5
    assert printed(capsys, *named, "--parse-special") == "259\n"
    assert printed(capsys, "tokenize", tiny, "--decode", "259") == "<|im_end|>"


def test_tokenize_adds_bos_where_the_model_does(capsys, tmp_path):
    path = TinyLlama(metadata={"tokenizer.ggml.add_eos_token": True}).write(tmp_path / "m.gguf")
    assert printed(capsys, "tokenize", path, "--ids", "") == "259\n"
    assert printed(capsys, "tokenize", path, "--ids", "--no-special", "") == "\n"


def test_tokenize_reads_stdin(capsys, tiny, monkeypatch):
    expected = printed(capsys, "tokenize", tiny, "from stdin\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("from stdin\n"))
    assert printed(capsys, "tokenize", tiny, "-") == expected


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("1 two", "'two' is no token id"),
        ("1 260", "token id 260 at index 1 is not in the model's vocabulary"),
        ("5 -1", "token id -1 at index 1"),
        ("9" * 5000, "is no token id"),
        ("1.5", "'1.5' is no token id"),
        (f"1 {2**64}", "18446744073709551616"),
    ],
)
def test_bad_ids_are_one_line(capsys, tiny, ids, message):
    err = printed(capsys, "tokenize", tiny, "--decode", ids, code=2)
    assert message in err
    assert err.count("\n") == 1


# --- perplexity ---


def test_perplexity_prints_what_the_model_returns(capsys, tiny, tmp_path):
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    out = printed(capsys, "perplexity", tiny, file, "--n-ctx", 64, "-t", 1)
    with edgelm.load(tiny) as model:
        seen: list[tuple[int, int]] = []
        result = model.perplexity(TEXT, 64, progress=lambda *step: seen.append(step))
    assert re.search(rf"perplexity +{re.escape(f'{result.perplexity:,.4f}')}\n", out)
    assert re.search(rf"bits per byte +{result.bits_per_byte:.4f}\n", out)
    assert f"{result.tokens:,} scored, in {result.chunks} chunks of 64" in out
    total = 64 * result.chunks
    assert seen == [(done, total) for done in range(0, total + 1, 64)]


def test_perplexity_reads_stdin(capsys, tiny, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(TEXT.encode())))
    assert "bits per byte" in printed(capsys, "perplexity", tiny, "-", "-c", 32)


def test_perplexity_draws_a_bar(tiny, tmp_path):
    file = tmp_path / "text\x1b.txt"
    file.write_text(TEXT)
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(COLUMNS="80", TERM="xterm")
        arguments = ["-m", "edgelm", "perplexity", str(tiny), str(file), "-c", "64"]
        os.execv(sys.executable, [sys.executable, *arguments])
    screen = b""
    while True:
        try:
            screen += os.read(terminal, 65536)
        except OSError:  # the other side is closed
            break
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    label, bar, *_ = screen.decode().split("\r\n")
    assert re.fullmatch(r"text�\.txt \([\d,]+ tokens\)", label)
    assert re.match(r"\[=+\] 100%  [\d,]+ tokens", bar.split("\r")[-1])
    assert b"bits per byte" in screen


@pytest.mark.parametrize(
    ("content", "option", "message"),
    [
        (b"too short", (), "The text has"),
        (b"", (), "The text has 0 tokens"),
        (b"abc\xff", (), "is not UTF-8 at byte 3"),
        (b"x" * 99, ("-c", 2), "n_ctx is 2"),
        (b"x" * 99, ("-c", -1), "n_ctx is -1"),
        (None, (), "No such file"),
    ],
)
def test_perplexity_errors_are_one_line(capsys, tiny, tmp_path, content, option, message):
    file = tmp_path / "text.txt"
    if content is not None:
        file.write_bytes(content)
    err = printed(capsys, "perplexity", tiny, file, *option, code=2)
    assert message in err
    assert err.count("\n") == 1
