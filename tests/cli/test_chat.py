"""edgelm chat, mostly as a person meets it: on a terminal."""

import contextlib
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgelm import cli
from tiny_models import TinyLlama

TEMPLATE = (
    "{% for m in messages %}{% if m['content'] == 'refuse' %}{{ raise_exception('no') }}{% endif %}"
    "{{ m['role'] }}:{{ m['content'] }}\n{% endfor %}"
)
GREEDY = ("--temp", 0, "--ignore-eos", "-t", 1)


@pytest.fixture(scope="module")
def chatty(tmp_path_factory) -> Path:
    model = TinyLlama(n_ctx=4096, metadata={"tokenizer.chat_template": TEMPLATE})
    return model.write(tmp_path_factory.mktemp("chat") / "chatty.gguf")


class Terminal:
    """A chat on a pseudo-terminal: type into it, wait for what it shows."""

    def __init__(self, *arguments: object) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.environ.update(COLUMNS="500", TERM="xterm", INPUTRC="/dev/null")
            os.execv(sys.executable, [sys.executable, "-m", "edgelm", "chat", *map(str, arguments)])
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def read(self, pattern: str, seconds: float = 20) -> str:
        """Everything up to and with the pattern, which must come in time."""
        end = time.monotonic() + seconds
        while (match := re.search(pattern, self.shown)) is None:
            ready, _, _ = select.select([self._fd], [], [], max(0, end - time.monotonic()))
            assert ready, f"no {pattern!r} in {self.shown[-500:]!r}"
            try:
                self.shown += os.read(self._fd, 65536).decode(errors="replace")
            except OSError:  # it has left
                raise AssertionError(f"no {pattern!r} in {self.shown[-500:]!r}") from None
        text, self.shown = self.shown[: match.end()], self.shown[match.end() :]
        return text

    def interrupt(self) -> None:
        """Ctrl-C at a prompt: again if CPython missed it, as it may just before readline waits."""
        for seconds in (2, 2, 20):
            self.type("\x03")
            with contextlib.suppress(AssertionError):
                self.read(r"\n.*> $", seconds)
                return
        raise AssertionError("no prompt came back")

    def ask(self, text: str, then: str = r"> $") -> str:
        """Type a line; what is shown from there to the next prompt."""
        self.type(text + "\r")
        return self.read(then)

    def leave(self) -> int:
        """The exit code, after everything that was still shown."""
        try:
            while chunk := os.read(self._fd, 65536):
                self.shown += chunk.decode(errors="replace")
        except OSError:
            pass  # the other side is closed
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def open_chat(*arguments: object) -> Terminal:
    terminal = Terminal(*arguments)
    terminal.read(r"Ctrl-D leaves\.\r\n.*> $")
    return terminal


def plain(shown: str) -> str:
    """What is left without readline's own control sequences."""
    return re.sub(r"\x1b\[\?2004[hl]\r?", "", shown)


def piped(*arguments: object, text: str) -> tuple[str, str, int]:
    command = [sys.executable, "-m", "edgelm", "chat", *map(str, arguments)]
    done = subprocess.run(
        command, input=text.encode(), capture_output=True, timeout=60, check=False
    )
    return done.stdout.decode(errors="replace"), done.stderr.decode(), done.returncode


def test_the_conversation_is_the_templates(chatty):
    """Each answer continues all that was said, as the template writes it."""
    import edgelm

    out, err, code = piped(chatty, *GREEDY, "-n", 6, "--system", "be brief", text="one\ntwo\n")
    expected, messages = "", [{"role": "system", "content": "be brief"}]
    with edgelm.load(chatty) as model:
        for question in ("one", "two"):
            messages.append({"role": "user", "content": question})
            answer = model.chat(messages, temperature=0, ignore_eos=True, max_tokens=6).text
            messages.append({"role": "assistant", "content": answer})
            expected += answer + "\n"
        alone = model.chat(
            [messages[0], messages[3]], temperature=0, ignore_eos=True, max_tokens=6
        ).text
    assert out == expected.encode(errors="replace").decode(errors="replace")
    assert alone != messages[4]["content"]  # the seeded fault: a chat that forgets would say this
    assert err == "Cut at --max-tokens, 6.\n" * 2
    assert code == 0


def test_the_second_turn_computes_only_what_is_new(chatty):
    _, err, _ = piped(chatty, *GREEDY, "-n", 6, text=f"{'long ' * 100}\ntwo\n/stats\n")
    prompt, reused = map(int, re.search(r"(\d+) prompt tokens \((\d+) of them", err).groups())
    assert prompt > 400
    assert prompt - reused < 40


def test_commands(chatty):
    text = "/help\n/stats\n/walk\n/system be kind\n/clear\n/system\n/quit\nnever\n"
    out, err, code = piped(chatty, text=text)
    assert (out, code) == ("", 0)
    for line in (
        "/system TEXT", "There is no answer yet.", "There is no command /walk; /help lists them.",
        "The model will read that first.", "The conversation is forgotten.", "No system message.",
    ):  # fmt: skip
        assert line in err


@pytest.mark.slow
def test_clear_forgets(chatty):
    options = (chatty, *GREEDY, "-n", 6)
    fresh = piped(*options, text="two\n")[0]
    assert piped(*options, text="one\n/clear\ntwo\n")[0].endswith(fresh)
    assert not piped(*options, text="one\ntwo\n")[0].endswith(fresh)


@pytest.mark.slow
def test_a_backslash_joins_lines(chatty):
    options = (chatty, *GREEDY, "-n", 6)
    joined = piped(*options, text="one\\\n/two\n")[0]
    assert joined.count("\n") == 1
    assert joined != piped(*options, text="one /two\n")[0]


def test_a_full_context_is_a_clear_line(chatty):
    out, err, code = piped(
        chatty, *GREEDY, "-c", 64, text=f"one\ntwo\n/clear\n{'x' * 99}\n/clear\none\n"
    )
    assert code == 0
    assert err.count("The context is full. /clear forgets the conversation") == 2
    assert re.search(r"The prompt has \d+ tokens but the context holds 64\. .*/clear forgets", err)
    assert out[: len(out) // 2] == out[len(out) // 2 :] != ""


def test_what_the_template_refuses_is_a_line(chatty):
    out, err, code = piped(chatty, *GREEDY, "-n", 3, text="refuse\none\n")
    assert err.startswith("the chat template refuses: no\n")
    assert out
    assert code == 0


def test_a_model_without_a_template(tmp_path, capsys):
    path = TinyLlama().write(tmp_path / "plain.gguf")
    assert cli.main(["chat", str(path)]) == 2
    assert "plain.gguf has no chat template" in capsys.readouterr().err


def test_input_that_is_no_utf8(chatty):
    command = [sys.executable, "-m", "edgelm", "chat", str(chatty), "-n", "2"]
    done = subprocess.run(
        command, input=b"\xff\xfe\x00\n", capture_output=True, timeout=60, check=True
    )
    assert b"Traceback" not in done.stderr


# --- on a terminal ---


def test_ctrl_c_stops_the_answer_and_ctrl_d_leaves(chatty):
    chat = open_chat(chatty, *GREEDY)
    chat.type("tell me\r")
    chat.read(r"tell me\r\n.*\r?.{20}")
    began = time.monotonic()
    chat.type("\x03")
    chat.read(r"Stopped\.\r\n.*> $")
    assert time.monotonic() - began < 3  # 4,000 tokens take longer
    assert "first token" in chat.ask("/stats")
    chat.type("\x04")
    assert chat.leave() == 0


def test_ctrl_c_at_the_prompt_drops_the_line(chatty):
    chat = open_chat(chatty, *GREEDY, "-n", 3)
    for typed in ("half a line", "one\\\rhalf of two"):
        chat.type(typed)
        chat.read(typed[-8:])
        chat.interrupt()
    assert "There is no answer yet." in chat.ask("/stats")
    assert "Cut at" in chat.ask("two")
    assert chat.ask("/quit", then=r"/quit\r\n") is not None
    assert chat.leave() == 0


def test_pasted_lines_are_one_message(chatty):
    chat = open_chat(chatty, *GREEDY, "-n", 3)
    chat.type("\x1b[200~/clear\rline two\x1b[201~")
    chat.read("line two")
    assert chat.ask("").count("Cut at") == 1
    chat.type("\x04")
    assert chat.leave() == 0


def test_the_terminal_gets_no_control_characters(chatty):
    chat = open_chat(chatty, "--temp", 5, "--seed", 1, "--ignore-eos", "-n", 300)
    shown = plain(chat.ask("hi"))
    assert "\N{REPLACEMENT CHARACTER}" in shown
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", shown)
    assert not re.search(r"\r(?!\n)", shown)
    chat.type("\x04")
    assert chat.leave() == 0


def test_a_scrambled_command_is_shown_harmless(chatty):
    _, err, _ = piped(chatty, text="/\x1b[31m\n")
    assert "\x1b" not in err
