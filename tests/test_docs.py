"""What the pages of docs/ and the README show is true: their Python runs, their commands exist.

The blocks of a page run in order, in one namespace and a folder that holds a story.txt.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

import edgelm
from edgelm import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = re.MULTILINE | re.DOTALL
FENCE = re.compile(r"^```(.*?)\n(.*?)^```$", TEXT)
LANGUAGES = {"python", "sh", "text"}  # of which the first two are checked

sys.path.insert(0, str(ROOT / "tools" / "docs"))
import hooks  # noqa: E402


def run_python(page: Path) -> int:
    """Run a page's blocks of Python; how many there are.

    A block of text right behind one is what it prints.
    """
    examples = list(Sybil([PythonCodeBlockParser()]).parse(page).examples())
    text = page.read_text()
    for example in examples:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            example.evaluate()
        if shown := re.match(r"\s*```text\n(.*?)^```$", text[example.region.end :], TEXT):
            assert printed.getvalue() == shown[1]
    return len(examples)


def blocks(page: Path) -> list[tuple[str, str]]:
    """The language and the text of a page's blocks."""
    return FENCE.findall(page.read_text())


def fault(line: str) -> str:
    """What is wrong with a command: a program, option, target, extra or file that there is not."""
    words = shlex.split(line, comments=True)
    if not words:
        return ""
    program, *arguments = words
    if program == "edgelm":
        try:
            cli.parser().parse_args(arguments)
        except SystemExit as end:
            return f"edgelm refuses it with {end.code}"
        return ""
    if program == "make":
        makefile = (ROOT / "Makefile").read_text()
        targets = [word for word in arguments if "=" not in word]
        wrong = [t for t in targets if not re.search(rf"(?m)^{re.escape(t)}:", makefile)]
        variables = [word.split("=")[0] for word in arguments if "=" in word]
        wrong += [v for v in variables if not re.search(rf"\$\((value )?{v}\)", makefile)]
        return f"make knows no {wrong[0]}" if wrong else ""
    if (program, arguments[:1]) == ("pip", ["install"]):
        extras = re.findall(r"(?m)^(\w+) = \[", (ROOT / "pyproject.toml").read_text())
        wrong = [e for e in re.findall(r"\[(\w+)\]", line) if e not in extras]
        return f"there is no extra {wrong[0]}" if wrong else ""
    if program == "python" and (ROOT / arguments[0]).exists():
        return ""
    return f"{program} is no program that a page may show, or its file does not exist"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "story.txt").write_text((ROOT / "HACKING.md").read_text()[:3200])
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_pages_code_runs(page):
    assert run_python(page) == sum(language == "python" for language, _ in blocks(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_pages_commands_exist(page):
    assert page.read_text().count("```") == 2 * len(blocks(page))
    assert {language for language, _ in blocks(page)} <= LANGUAGES
    lines = [
        line for language, text in blocks(page) if language == "sh" for line in text.split("\n")
    ]
    faults = [f"{line}: {wrong}" for line in lines if (wrong := fault(line))]
    assert not faults, "\n".join(faults)


def test_the_pages_have_code_and_commands():
    languages = [language for page in PAGES for language, _ in blocks(page)]
    assert languages.count("python") > 30
    assert languages.count("sh") > 10


def test_the_reference_has_every_public_name():
    shown = re.findall(r"(?m)^::: edgelm\.(\w+)$", (ROOT / "docs" / "reference.md").read_text())
    assert sorted([*shown, "__version__"]) == sorted(edgelm.__all__)


def test_tables_come_from_the_code():
    text = hooks.on_page_markdown("".join(f"<!-- {name} -->\n" for name in hooks.PARTS))
    assert "| `min_p` | `0.05` | keep those at least p times as likely" in text
    assert "| `smollm2-135m-instruct` | 98 MB | Apache-2.0 |" in text
    assert "## edgelm perplexity\n" in text
    with pytest.raises(ValueError, match="no such part"):
        hooks.on_page_markdown("<!-- no such part -->")


def test_a_wrong_block_is_caught(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 2\n```\nand then\n\n```python\nassert x == 2\n```\n")
    assert run_python(page) == 2
    page.write_text(page.read_text().replace("x = 2", "x = 3"))
    with pytest.raises(AssertionError):
        run_python(page)
    page.write_text("```python\nprint(2)\n```\n\n```text\n2\n```\n")
    assert run_python(page) == 1
    page.write_text(page.read_text().replace("print(2)", "print(3)"))
    with pytest.raises(AssertionError, match="3"):
        run_python(page)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("edgelm run smollm2-135m-instruct Hi --max-tokens 3  # a remark", ""),
        ("edgelm run smollm2-135m-instruct Hi --max-token 3", "refuses"),
        ("edgelm sing", "refuses"),
        ("make test ARGS='-k x'", ""),
        ("make coffee", "no coffee"),
        ("make test ARG=-x", "no ARG"),
        ("pip install 'edgelm[bench]'", ""),
        ("pip install 'edgelm[gpu]'", "no extra gpu"),
        ("python tools/cross.py wheel", ""),
        ("python tools/no_such.py", "does not exist"),
        ("curl x", "no program"),
    ],
)
def test_a_wrong_command_is_caught(line, wrong):
    assert wrong in fault(line)
    assert bool(wrong) == bool(fault(line))
