"""Reasoning apart from the answer: the splitter, against llama.cpp's, and the commands."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import xllamacpp

import edgelm
from edgelm.chat import reasoning, split
from edgelm.chat.reasoning import BLOCKS, REASONING_MARKS, Reasoning
from llama_cpp_sdist import templates
from scripted_model import speech, write

HARMONY = (
    "<|channel|>analysis<|message|>It rains.<|start|>assistant<|channel|>final<|message|>Take it."
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
)
OSS_CONTROL = (
    *("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>"),
    *("<|call|>", "<|endoftext|>"),
)


@pytest.mark.parametrize(
    ("reply", "prompt", "parts"),
    [
        ("<think>\nhm\n\n</think>\n\nAnswer", "", ("hm", "Answer")),
        ("hm\n</think>\n\nAnswer", "assistant\n<think>\n", ("hm", "Answer")),
        ("Answer", "assistant\n<think>\n\n</think>\n\n", ("", "Answer")),
        ("It is <think>x</think>.", "", ("", "It is <think>x</think>.")),
        ("  Answer\n", "", ("", "  Answer\n")),
        ("<think>cut off", "", ("cut off", "")),
        ("\n<think>a</think>b</think>", "", ("a", "b</think>")),
        ("[THINK]hm[/THINK]Answer", "", ("hm", "Answer")),
        ("<|channel>thought\nhm\n<channel|>Answer", "", ("hm", "Answer")),
        ("<thi", "", ("", "<thi")),
        (HARMONY, "<|start|>assistant", ("It rains.", "Take it.")),
        ("<|channel|>final<|message|>Take it.", "", ("", "Take it.")),
        ("<|channel|>final <|constrain|>json<|message|>{}", "", ("", "{}")),
        ("<|channel|>analysis<|message|>cut", "", ("cut", "")),
        ("<|channel|>anal", "", ("", "")),
        (
            "<|channel|>analysis<|message|>a<|start|>assistant<|channel|>commentary to=f "
            "<|constrain|>json<|message|>{}",
            "",
            ("a\n\n{}", ""),
        ),
        ("go on", "<|start|>assistant<|channel|>final<|message|>Please ", ("", "go on")),
    ],
)
def test_the_parts_of_a_reply(reply: str, prompt: str, parts: tuple[str, str]) -> None:
    assert split(reply, prompt) == parts
    for n in (1, 2, 3, 7):  # however it comes
        pieces = Reasoning(prompt)
        shown = [p for at in range(0, len(reply), n) for p in pieces.push(reply[at : at + n])]
        shown += pieces.flush()
        both = ["".join(p.text for p in shown if p.reasons is reasons) for reasons in (True, False)]
        assert tuple(both) == parts


def test_the_marks_are_those_of_real_templates() -> None:
    """A mark that no template writes is a mistake, but for models that llama.cpp has none of."""
    sources = "".join(templates().values())
    unknown = {mark for mark in BLOCKS if mark.removesuffix("thought") not in sources}
    assert unknown <= {"<thought>", "\u25c1think\u25b7"}
    assert all(end in sources for mark, end in BLOCKS.items() if mark not in unknown)


# --- against llama.cpp ---


def models(folder: Path) -> dict[str, tuple[Path, tuple[str, str]]]:
    """Models that reason in several ways, and what llama.cpp's server makes of their replies."""
    im = ("<|im_start|>", "<|im_end|>")
    words = ("hm", "Answer", "<think>", "</think>", "analysis", "final", "assistant")
    harmony, opens = templates()["openai-gpt-oss-120b"], templates()["llama-cpp-deepseek-r1"]

    def chatml(name: str, said: dict[str, str], template: str) -> Path:
        metadata = {"tokenizer.chat_template": template}
        path = folder / f"{name}.gguf"
        return write(path, said, words=words, control=im, end="<|im_end|>", metadata=metadata)

    def oss(name: str, channel: str, text: str) -> Path:
        said = speech("t", "<|channel|>", channel, "<|message|>", text, "<|return|>")
        return write(
            folder / f"{name}.gguf", said, words=words, control=OSS_CONTROL, end="<|return|>",
            metadata={"tokenizer.chat_template": harmony},
        )  # fmt: skip

    opened = speech("Ċ", "hm", "</think>", "Answer", "<|im_end|>")
    paths = {
        "opened by the template": chatml("opened", opened, opens),
        "only reasoning": chatml("cut", speech("Ċ", "hm", "<|im_end|>"), opens),
        "no reasoning": chatml(
            "plain", speech("Ċ", "Answer", "<|im_end|>"), CHATML + "{% endif %}"
        ),
        "final channel": oss("final", "final", "Answer"),
        "analysis channel": oss("analysis", "analysis", "hm"),
    }
    return {name: (path, by_llama_cpp(path)) for name, path in paths.items()}


def by_llama_cpp(path: Path) -> tuple[str, str]:
    """Reasoning and answer; in a process of its own, since its servers stay."""
    code = """
import json, sys, xllamacpp as x
p = x.CommonParams()
p.model.path, p.n_ctx, p.n_parallel, p.n_gpu_layers = sys.argv[1], 512, 1, 0
p.warmup, p.use_jinja, p.verbosity = False, True, 0
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
messages = [{"role": "user", "content": "hi"}]
r = x.Server(p).handle_chat_completions(
    {"messages": messages, "max_tokens": 12, "temperature": 0}
)
print("RESULT", json.dumps(r["choices"][0]["message"]), flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, timeout=120, check=False
    )
    line = next(row for row in done.stdout.splitlines() if row.startswith("RESULT "))
    message = json.loads(line.removeprefix("RESULT "))
    return (message.get("reasoning_content") or "").strip(), message["content"]


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, tuple[str, str]]]:
    assert xllamacpp.__version__
    return models(tmp_path_factory.mktemp("reasoning"))


NAMES = (
    *("opened by the template", "only reasoning", "no reasoning"),
    *("final channel", "analysis channel"),
)


def parts_of(path: Path) -> tuple[str, str]:
    with edgelm.load(path, n_threads=1) as model:
        prompt = model.apply_chat_template([{"role": "user", "content": "hi"}])
        return split(model.generate(prompt, temperature=0, max_tokens=12).text, prompt)


@pytest.mark.parametrize("name", NAMES)
def test_replies_are_parted_as_by_llama_cpp(name: str, scripted: dict) -> None:
    path, wanted = scripted[name]
    assert parts_of(path) == wanted


def test_llama_cpp_catches_a_wrong_mark(scripted: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasoning, "BLOCKS", {"<think>": "</thought>"})
    monkeypatch.setattr(reasoning, "_FINAL", "analysis")
    wrong = [name for name in NAMES if parts_of(scripted[name][0]) != scripted[name][1]]
    assert wrong == ["opened by the template", "final channel", "analysis channel"]


def test_control_tokens_that_tell_them_apart_are_in_the_text(tmp_path: Path) -> None:
    said = speech("x", "[THINK]", "hm", "[/THINK]", "<other>", "Answer", "<end>")
    control = ("[THINK]", "[/THINK]", "<other>", "<end>")
    path = write(tmp_path / "m.gguf", said, words=("hm", "Answer"), control=control, end="<end>")
    with edgelm.load(path, n_threads=1) as model:
        text = model.generate("x", temperature=0, max_tokens=9).text
    assert text == "[THINK]hm[/THINK]Answer"
    assert "<other>" not in REASONING_MARKS
    assert split(text) == ("hm", "Answer")


# --- the commands ---


def edgelm_command(*arguments: object, text: bytes = b"") -> tuple[str, str]:
    command = [sys.executable, "-m", "edgelm", *map(str, arguments)]
    done = subprocess.run(command, input=text, capture_output=True, timeout=60, check=True)
    return done.stdout.decode(), done.stderr.decode()


def test_a_pipe_gets_the_answer_alone(scripted: dict) -> None:
    path, _ = scripted["opened by the template"]
    assert edgelm_command("run", path, "hi", "--temp", 0, "--no-stats") == ("Answer\n", "hm\n")
    raw = edgelm_command("run", path, "a\n", "--raw", "--temp", 0, "--no-stats")
    assert raw == ("hm</think>Answer\n", "")


def on_a_terminal(*arguments: object, **environment: str) -> str:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update({"TERM": "xterm", **environment})
        os.execv(sys.executable, [sys.executable, "-m", "edgelm", *map(str, arguments)])
    written = b""
    try:
        while chunk := os.read(terminal, 65536):
            written += chunk
    except OSError:
        pass  # the other side is closed
    os.close(terminal)
    os.waitpid(pid, 0)
    return written.decode().replace("\r\n", "\n")


@pytest.mark.slow
def test_reasoning_is_dimmed_on_a_terminal(scripted: dict) -> None:
    command = ("run", scripted["opened by the template"][0], "hi", "--temp", 0, "--no-stats")
    assert on_a_terminal(*command) == "\x1b[2mhm\x1b[0m\n\nAnswer\n"
    assert on_a_terminal(*command, NO_COLOR="1") == "hm\n\nAnswer\n"
    assert on_a_terminal(*command, TERM="dumb") == "hm\n\nAnswer\n"


def test_windows_line_ends_in_replies(tmp_path: Path) -> None:
    said = speech("x", "one", "č", "Ċ", "two", "<end>")  # CR and LF, a token each
    path = write(tmp_path / "m.gguf", said, words=("one", "two"), control=("<end>",), end="<end>")
    command = ("run", path, "x", "--temp", 0, "--no-stats")
    assert on_a_terminal(*command) == "one\ntwo\n"
    assert edgelm_command(*command)[0] == "one\r\ntwo\n"


def test_the_template_gets_back_what_it_wants(scripted: dict) -> None:
    """gpt-oss's own template refuses replies as they come."""
    path, _ = scripted["final channel"]
    out, err = edgelm_command("chat", path, "--temp", 0, text=b"hi\nand?\nso?\n")
    assert (out, err) == ("Answer\n" * 3, "")
    with edgelm.load(path, n_threads=1) as model:
        messages: list[dict[str, str]] = [{"role": "user", "content": "hi"}]
        apart = [*messages, {"role": "assistant", "content": "Take it.", "thinking": "It rains."}]
        as_it_came = [*messages, {"role": "assistant", "content": HARMONY}]
        for more in ([], [{"role": "user", "content": "and?"}]):
            rendered = model.apply_chat_template([*apart, *more], add_generation_prompt=bool(more))
            again = model.apply_chat_template(
                [*as_it_came, *more], add_generation_prompt=bool(more)
            )
            assert rendered == again
