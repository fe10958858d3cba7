"""The edgelm command: what it prints, its exit codes, and how it behaves on a terminal."""

import io
import os
import pty
import re
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest

from edgelm import cli, hub
from edgelm.cli import info
from edgelm.cli.options import GENERATE_OPTIONS, NUMBERS
from edgelm.cli.terminal import ProgressBar, printable, size, take_any_text
from edgelm.graph import Graph, StateSpec, state_bytes
from edgelm.hub import Step
from edgelm.options import Options
from gguf_bytes import STRING, U32, Gguf, array, string, tensor, value
from http_server import Server
from tiny_models import TinyLlama

TEMPLATE = "{% for m in messages %}{{ m['role'] }}:{{ m['content'] }}\n{% endfor %}"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return TinyLlama(n_ctx=4096).write(tmp_path_factory.mktemp("cli") / "tiny.gguf")


@pytest.fixture(scope="module")
def chatty(tmp_path_factory) -> Path:
    model = TinyLlama(metadata={"tokenizer.chat_template": TEMPLATE})
    return model.write(tmp_path_factory.mktemp("cli") / "chatty.gguf")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("EDGELM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: refuses
    return tmp_path / "cache"


def start(*arguments: object, **rest) -> subprocess.Popen:
    command = [sys.executable, "-m", "edgelm", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **rest)


def fails(capsys, *arguments: object) -> str:
    """Runs a command that must end with code 2 and one line on stderr; returns the line."""
    try:
        code = cli.main([str(a) for a in arguments])
    except SystemExit as exit_:
        code = exit_.code
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.count("\n") == 1
    return captured.err.rstrip("\n")


# --- the command line ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "edgelm: which command? run, chat, info, pull, tokenize, perplexity"),
        (["-m", "x", "-p", "y"], "edgelm: which command? edgelm run -m ..., say"),
        (["walk"], "edgelm: argument COMMAND: invalid choice: 'walk'"),
        (["run"], "edgelm run: the following arguments are required: MODEL, PROMPT"),
        (["run", "m", "p", "-n", "x"], "argument --max-tokens/-n/--n-predict/--predict: invalid"),
        (["run", "m", "p", "-ngl", "9"], "there is no -ngl: all is computed here; leave it out"),
        (["tokenize", "m", "-hello"], "a text that begins with - goes to the end, behind --"),
        (["run", "m", "-x"], "a text that begins with - goes to the end, behind --"),
        (["run", "m", "p", "--stop", "-x"], "if that begins with -, write --option=-value"),
        (["run", "m", "p", "--logit-bias", "5"], "'5' is no bias; expected a token's id and a num"),
        (["run", "m", "p", "--template-var", "5"], "'5': expected NAME=VALUE"),
        (["run", "m", "p", "--chat-template-kwargs", "[]"], "'[]': expected a JSON object"),
        (["info", "m", "--al"], "unrecognized arguments: --al"),
        (["run", "m", "p", "--kv-type", "f32"], "invalid choice: 'f32'"),
    ],
)
def test_usage_errors_are_one_line(capsys, arguments, message):
    assert message in fails(capsys, *arguments)


def test_the_help_states_the_real_defaults():
    """generate() and load() hold the defaults; what is printed about them must not drift."""
    defaults = {f.name: f.default for f in fields(Options)}
    for names, default, _ in NUMBERS:
        assert defaults[names[0][2:].replace("-", "_")] == default
    assert {f.name for f in fields(Options)} - set(GENERATE_OPTIONS) == {
        "logits_processors", "cache_prompt", "min_tokens", "stop_token_ids", "echo",
    }  # fmt: skip


def test_help_and_import_stay_light():
    code = (
        "import sys; from edgelm import cli\n"
        "try: cli.main(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'jinja2', 'regex', 'ssl', 'urllib.request', 'edgelm._core'}\n"
        "print(heavy & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "set()\n"
    assert "--temperature" in done.stdout


# --- errors ---


def test_errors_name_the_file(capsys, tmp_path):
    damaged = tmp_path / "m.gguf"
    damaged.write_bytes(bytes(Gguf(tensors=[tensor("t", [8])], data=bytes(32)))[:-1])
    assert "no such file" in fails(capsys, "info", tmp_path / "absent.gguf")
    (tmp_path / "empty").mkdir()
    assert "is a directory" in fails(capsys, "info", tmp_path / "empty")
    assert "m.gguf: tensor 't' of 32 bytes" in fails(capsys, "info", damaged)
    assert "m.gguf: tensor 't' of 32 bytes" in fails(capsys, "run", damaged, "hi")
    assert "Did you mean smollm2-135m-instruct?" in fails(capsys, "run", "smollm2", "hi")
    assert "There is no model named 'x'" in fails(capsys, "pull", "x")


def test_debug_shows_the_traceback(tmp_path):
    for arguments in (["--debug", "info"], ["info", "--debug"]):
        done = start(*arguments, tmp_path / "absent.gguf")
        _, err = done.communicate()
        assert done.returncode == 1
        assert b"Traceback" in err
        assert b"FileNotFoundError" in err


def test_an_unforeseen_error_says_its_kind(capsys, monkeypatch):
    def broken(arguments):
        raise KeyError("x\x1b[31m")

    monkeypatch.setattr(info, "main", broken)
    line = fails(capsys, "info", "m")
    assert line == "edgelm: KeyError: 'x\\x1b[31m' (--debug shows where)"


# --- info ---


def test_info(capsys, tmp_path):
    path = TinyLlama(quant="Q8_0").write(tmp_path / "tiny.gguf")
    assert cli.main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    matrices = 3 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64) + 2 * 260 * 64
    vectors = 7 * 64
    n_bytes = matrices * 34 // 32 + 4 * vectors
    assert f"{matrices + vectors:,} in 30 tensors" in out
    assert f"{4 * (matrices + vectors) / n_bytes:.2f} times smaller than float32" in out
    assert re.search(rf"Q8_0 +23 +{matrices:,} +{matrices * 34 // 32:,} +8\.50", out)
    assert re.search(rf"F32 +7 +{vectors:,} +{4 * vectors:,} +32\.00", out)
    assert re.search(r"\n +256 +98\.3 kB", out)  # 2 * 3 layers * 256 tokens * 2 heads * 16 * 2 B
    assert "tokenizer.ggml.merges = ['Ġ t'] (1)" in out
    assert "llama.rope.freq_base = 10000\n" in out
    assert "blk.0.attn_q" not in out
    assert cli.main(["info", "--all", str(path)]) == 0
    assert re.search(r"blk\.0\.attn_k\.weight +Q8_0 +32 x 64 +2,176", capsys.readouterr().out)


def test_info_of_a_file_that_cannot_run(capsys, tmp_path):
    path = tmp_path / "m.gguf"
    values = [
        value("general.architecture", STRING, "mamba"),
        value("general.name", STRING, "\x1b[2Jname"),
        value("mamba.context_length", U32, 512),
        array("list", STRING, [string("\x9b31m"), string("b" * 500)]),
    ]
    path.write_bytes(bytes(Gguf(values, tensors=[tensor("t", [8])], data=bytes(32))))
    assert cli.main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "edgelm cannot run this file: architecture 'mamba' is not supported. Known: " in out
    assert "\N{REPLACEMENT CHARACTER}[2Jname" in out
    assert "\x1b" not in out
    assert "\x9b" not in out
    assert "b" * 60 not in out


def test_info_of_shapes_that_do_not_fit(capsys, tmp_path):
    path = TinyLlama().write(tmp_path / "m.gguf")
    key = b"llama.embedding_length" + (4).to_bytes(4, "little")
    assert path.read_bytes().count(key) == 1
    path.write_bytes(path.read_bytes().replace(key + b"\x40", key + b"\x80"))
    assert cli.main(["info", str(path)]) == 0
    assert "edgelm cannot run this file: " in capsys.readouterr().out
    assert "m.gguf" in fails(capsys, "run", path, "hi")


def test_kv_bytes_are_what_the_cache_takes(tiny):
    """Independent source: arithmetic, and what the cache commits."""
    from edgelm.arch import build
    from edgelm.gguf import open_gguf
    from edgelm.meta import Meta
    from edgelm.weights import Weights

    file, graph = open_gguf(tiny), Graph()
    graph.output("logits", build(graph, Meta(file), Weights(file, graph)))
    plan = graph.compile(n_batch=32, max_rows=1, n_threads=1)
    width = sum(state.n_heads * state.k_width for state in graph.states)
    assert state_bytes(graph.states, 640, "f16") == 640 * 2 * 2 * width
    for kv_type in ("f16", "q8_0"):
        cache = plan.kv_cache(n_ctx=640, n_parallel=1, kv_type=kv_type)
        assert 0 <= cache.reserved_bytes - state_bytes(graph.states, 640, kv_type) < 10 * 65536
    with pytest.raises(ValueError, match="kv_type is 'f64'; expected one of f16, q8_0"):
        state_bytes(graph.states, 640, "f64")


def test_a_windowed_layer_stops_growing():
    layers = [StateSpec(n_heads=1, k_width=256, v_width=256, window=512)]
    assert state_bytes(layers, 256, "f16") == 2 * 256 * 256 * 2
    # Its window and what marks keep, three more, each of 9 pages wherever it begins; and a page.
    assert state_bytes(layers, 1 << 20, "f16") == 2 * (4 * 9 + 1) * 64 * 256 * 2
    narrow = StateSpec(n_heads=2, k_width=80, v_width=80)
    assert state_bytes([narrow], 1, "q8_0") == 2 * 64 * 2 * (80 + 2 * 3)


# --- run ---


def reply(capsys, *arguments: object) -> tuple[str, str]:
    assert cli.main(["run", *map(str, arguments)]) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_run_prints_what_generate_returns(capsys, tiny):
    import edgelm

    with edgelm.load(tiny) as model:
        expected = model.generate("hello", max_tokens=12, temperature=0.7, seed=3, ignore_eos=True)
    options = ("--max-tokens", 12, "--temp", 0.7, "-s", 3, "--ignore-eos")
    out, err = reply(capsys, tiny, "hello", *options, "-t", 1, "--ctx-size", 512)
    assert out.encode(errors="replace") == f"{expected.text}\n".encode(errors="replace")
    for label in ("load", "first token", "per token", "memory", "seed 3"):
        assert label in err
    assert reply(capsys, tiny, "hello", *options, "--no-stats") == (out, "")


def test_run_uses_the_chat_template(capsys, chatty, tiny):
    options = ("--temp", 0, "-n", 8, "--no-stats", "--ignore-eos")
    chat, _ = reply(capsys, chatty, "hello", "--system", "be brief", *options)
    assert (chat, "") == reply(capsys, chatty, "system:be brief\nuser:hello\n", "--raw", *options)
    raw, _ = reply(capsys, chatty, "hello", "--raw", *options)
    assert (raw, "") == reply(capsys, tiny, "hello", *options)  # the same weights
    assert chat != raw
    assert "--system needs" in fails(capsys, "run", tiny, "hello", "--system", "x")


def test_run_reads_stdin(tiny, capsys, monkeypatch):
    options = ("--temp", 0, "-n", 4, "--no-stats")
    expected = reply(capsys, tiny, "from stdin", *options)
    monkeypatch.setattr(sys, "stdin", io.StringIO("from stdin"))
    assert reply(capsys, tiny, "-", *options) == expected


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("-n", -3), "max_tokens is -3"),
        (("--temp", "nan"), "temperature is nan"),
        (("-c", -1), "n_ctx is -1"),
        (("-t", 0), "n_threads is 0; expected an integer from 1 to 1,024."),
        (("-c", 2), "The prompt has"),
        (("--stop", ""), "stop holds an empty string"),
    ],
)
def test_bad_values_are_one_line(capsys, tiny, option, message):
    assert message in fails(capsys, "run", tiny, "a prompt of some length", *option)


def test_an_empty_prompt_is_one_line(capsys, tiny):
    assert "prompt is empty" in fails(capsys, "run", tiny, "")


def test_ctrl_c_stops_at_once(tiny):
    running = start("run", tiny, "hi", "-n", 4000, "--ignore-eos", "--temp", 0)
    assert running.stdout.read(1)
    began = time.perf_counter()
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=10)
    assert running.returncode == 130
    assert b"Traceback" not in err
    assert time.perf_counter() - began < 3


def test_a_closed_pipe_is_quiet(tiny):
    running = start("run", tiny, "hi", "-n", 4000, "--ignore-eos", "--temp", 0)
    running.stdout.read(1)
    running.stdout.close()
    assert running.stderr.read() == b""
    assert running.wait(10) == 141


# --- on a terminal ---


def on_a_terminal(*arguments: object, columns: int = 80, **environment: str) -> tuple[str, int]:
    """All that a command writes to a pseudo-terminal, and its exit code."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(environment, COLUMNS=str(columns), TERM="xterm")
        os.execv(sys.executable, [sys.executable, "-m", "edgelm", *map(str, arguments)])
    written = b""
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # the other side is closed
            break
        if not chunk:
            break
        written += chunk
    os.close(terminal)
    return written.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.slow
@pytest.mark.parametrize("columns", [120, 80, 40, 10])
def test_pull_draws_a_bar(cache, columns):
    server = Server({"/o/r/resolve/main/tiny.gguf": bytes(3_000_000)})
    screen, code = on_a_terminal(
        "pull", "hf:o/r/tiny.gguf", columns=columns, HF_ENDPOINT=server.url
    )
    server.http.shutdown()
    assert code == 0
    label, drawn, *_ = screen.split("\r\n")
    assert re.fullmatch(r"tiny\.gguf from 127\.0\.0\.1:\d+ \(3\.0 MB\)", label)
    frames = drawn.split("\r")
    assert all(len(frame) < columns for frame in frames)
    if columns >= 40:
        assert re.match(r"\[=+\] 100%  3\.0 MB", frames[-1])
    assert str(cache / "hf/o/r/main/tiny.gguf") in screen.replace("\r\n", "")


def test_pull_lists_what_is_known(capsys, cache):
    assert cli.main(["pull"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(hub.MODELS)
    assert any(re.search(r"smollm2-135m-instruct +98\.4 MB +Apache-2\.0", line) for line in lines)


def test_pull_off_a_terminal_prints_a_line_a_step(cache):
    server = Server({"/o/r/resolve/main/tiny.gguf": bytes(300_000)})
    running = start("pull", "hf:o/r/tiny.gguf", env=os.environ | {"HF_ENDPOINT": server.url})
    out, err = running.communicate(timeout=20)
    server.http.shutdown()
    assert out.decode() == f"{cache / 'hf/o/r/main/tiny.gguf'}\n"
    host = server.url.removeprefix("http://")
    assert err.decode() == f"tiny.gguf from {host} (300 kB)\n{hub.UNVERIFIED.what}\n"


def test_the_terminal_gets_no_control_characters(tiny):
    screen, code = on_a_terminal("run", tiny, "hi", "-n", "200", "--ignore-eos", "--temp", "5")
    assert code == 0
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", screen)
    assert "first token" in screen


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_bar_frames(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setenv("COLUMNS", "100")
    screen = Terminal()
    bar = ProgressBar(screen)
    bar(Step("could not reach\x07 it"))
    for done in (0, 25_000_000, 50_000_000, 100_000_000):
        bar(Step("m.gguf from here", done, 100_000_000))
    bar.close()
    remark, label, *frames = re.split(r"[\r\n]+", screen.getvalue().strip())
    assert remark == "could not reach\N{REPLACEMENT CHARACTER} it"
    assert label == "m.gguf from here (100 MB)"
    assert frames[1].rstrip() == f"[{'=' * 8}{' ' * 24}]  25%  25.0 MB  25.0 MB/s  0:03 left"
    assert frames[-1].rstrip() == f"[{'=' * 32}] 100%  100 MB  33.3 MB/s"
    assert screen.getvalue().endswith("\n")


def test_sizes():
    assert [size(n) for n in (0, 999, 1000, 99_950, 123_456, 98_362_432, 1.25e9, 5e12)] == [
        "0 bytes", "999 bytes", "1.0 kB", "100 kB", "123 kB", "98.4 MB", "1.2 GB", "5,000 GB"
    ]  # fmt: skip


def test_printable():
    assert printable("a\nb\tc\x1b[31mé\x85\ud800") == "a\nb\tc�[31mé��"


@pytest.mark.parametrize(("system", "written"), [("win32", "é→"), ("linux", "é?")])
def test_a_stream_of_a_code_page_takes_any_text(monkeypatch, system, written):
    monkeypatch.setattr(sys, "platform", system)
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    with pytest.raises(UnicodeEncodeError):
        stream.write("é→")
    take_any_text(stream)
    stream.write("é→")
    stream.flush()
    assert stream.buffer.getvalue().decode(stream.encoding) == written
    assert stream.encoding == ("utf-8" if system == "win32" else "cp1252")
