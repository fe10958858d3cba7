"""The page and the Markdown of a run: complete, well formed, safe from what a file is called."""

from __future__ import annotations

import dataclasses
import re
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import bench_example
from edgelm import cli
from edgelm.bench import canvas, peers
from edgelm.bench.numbers import ABSENT, duration, number, percent
from edgelm.bench.report import markdown, page, plots, tables
from edgelm.bench.report import page as page_module
from edgelm.bench.report.whole import enumeration
from edgelm.bench.results import Results

# Names that a file, a process or a peer's error may hold.
HOSTILE = (
    '"><script>alert(1)</script>',
    "</title></style><img src=x onerror=alert(1)>",
    r"$\frac{1}{$ & | `code` [a](http://x) <b>",
    "two\nlines\tand \x1b[31mred\x00 \N{RIGHT-TO-LEFT OVERRIDE}gnp",
)
VOID = {"meta", "br", "path", "use", "rect"}
RESULTS = bench_example.example()


@pytest.fixture(scope="module")
def html() -> str:
    return page(RESULTS)


class Checker(HTMLParser):
    """Collects what is wrong with a page, by the standard library's parser."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.look(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.look(tag, attrs)

    def look(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "img", "link", "base", "form", "image"):
            self.faults.append(f"<{tag}>")
        for name, value in attrs:
            if name.startswith("on") or name == "src":
                self.faults.append(f"{name} of <{tag}>")
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "xlink:href"):
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes something else")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def check(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    checker.close()
    checker.faults += [f"<{tag}> stays open" for tag in checker.open]
    checker.faults += [f"id {i} twice" for i in set(checker.ids) if checker.ids.count(i) > 1]
    for link in checker.links:
        if link.removeprefix("#") not in checker.ids:
            checker.faults.append(f"link to {link!r}")
    return checker


def hostile(name: str) -> Results:
    """The example, with a stranger's text wherever a stranger's text may come from."""
    results = bench_example.example(name, f"{name} 2")
    return dataclasses.replace(
        results,
        models=results.models[:1],
        machine=dataclasses.replace(results.machine, processor=name, board=name),
        warnings=[name],
        command=["bench", name],
        peers=[
            dataclasses.replace(peer, peer=name, unavailable=name and peer.unavailable)
            for peer in results.peers
        ],
    )


@pytest.mark.slow
def test_the_page_is_well_formed_and_asks_for_nothing(html: str) -> None:
    checker = check(html)
    assert checker.faults == []
    assert "Content-Security-Policy" in html
    outside = set(re.findall(r"https?://[^\s\"'<)]+", html))
    assert {u for u in outside if not u.startswith("http://www.w3.org/")} == set()


@pytest.mark.parametrize(
    "wrong",
    [
        "<p>open",
        "<b></i>",
        '<a href="#nowhere">x</a>',
        '<p id="a"></p><p id="a"></p>',
        "<script>x</script>",
        '<p onclick="x"></p>',
        '<img src="https://example.org/x.png">',
    ],
)
def test_a_wrong_page_is_caught(wrong: str) -> None:
    assert check(wrong).faults


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text(name: str) -> None:
    checker = check(page(hostile(name)))
    assert checker.faults == []
    shown = "".join(checker.text)
    assert "".join(c if c.isprintable() else " " for c in name)[:12].split()[0] in shown
    assert all(c.isprintable() or c == "\n" for c in shown)


def test_hostile_names_are_caught_where_nothing_escapes_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The seeded fault: without html.escape the check above must fail."""
    monkeypatch.setattr(sys.modules[page_module.__module__], "text_of", lambda text: text)
    monkeypatch.setattr(canvas, "available", lambda: False)
    assert "<script>" in check(page(hostile(HOSTILE[0]))).faults


def test_every_part_of_a_run_is_shown(html: str) -> None:
    """A section that nobody tabulates would be measured in vain."""
    sections = {table.section for table in tables.tables(RESULTS)}
    measured = {f.name for f in dataclasses.fields(RESULTS.models[0])} - {
        *("model", "settings", "suggestion")  # in the tables of others
    }
    measured |= {"quantization", "peers", "projection", "skipped", "limits", "machine"}
    assert measured <= sections
    for section in sections:
        assert f'<section id="{section}">' in html
    assert html.count("<svg") == html.count("<figure>") == 13, "a drawing is not shown"


def test_numbers_reach_the_reader(html: str) -> None:
    row = RESULTS.models[0].first_token[0]
    peer = RESULTS.peers[0].rows[0]
    ratio = f"{peer.ratio:.2f} ({peer.ratio_low:.2f} to {peer.ratio_high:.2f})"
    for text in (html, markdown(RESULTS)):
        assert number(row.total.median_ms) in text
        assert ratio in text
        assert "(random weights)" in text
        assert "not measured" in text  # of the projection
        assert "not read: no RAPL: not shown" in text  # energy: a reason, never zero
        assert RESULTS.warnings[0] in text


def test_a_table_has_as_many_cells_as_columns() -> None:
    for name in ("", HOSTILE[2]):
        for table in tables.tables(hostile(name) if name else RESULTS):
            assert {len(row) for row in table.rows} == {len(table.columns)}, table.title
            assert set(table.columns) >= table.left - {"file"}, table.title


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_rows_stay_rows(name: str) -> None:
    text = markdown(hostile(name))
    assert all(c.isprintable() or c == "\n" for c in text)
    assert not re.search(r"(?<!\\)<", text)
    columns = 0
    for line in text.splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line))
        assert not line.startswith("|") or columns in (0, cells), line
        columns = cells if line.startswith("|") else 0


@pytest.mark.slow
def test_drawings_are_xml_and_take_the_pages_colours() -> None:
    drawn = plots.plots(RESULTS)
    assert {plot.section for plot in drawn} == {
        *("peers", "first_token", "decode", "memory", "sustain", "threads", "quantization"),
        "projection",
    }
    for plot in drawn:
        root = ET.fromstring(plot.svg)
        assert root.attrib["viewBox"], plot.title
        text = [e.text or "" for e in root.iter("{http://www.w3.org/2000/svg}text")]
        assert len(text) > 3, plot.title  # axes have words and numbers
        colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", plot.svg))
        assert all(c == "none" or c.startswith("var(--") for c in colours), (plot.title, colours)


def test_a_drawing_is_the_same_every_time() -> None:
    first, second = (next(iter(peers.PEERS.plots[0](RESULTS))).svg for _ in range(2))
    assert first == second


def test_without_matplotlib_the_tables_remain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    text = page(RESULTS)
    assert check(text).faults == []
    assert "<svg" not in text
    assert "edgelm[bench]" in text
    for table in tables.tables(RESULTS):
        assert f'<section id="{table.section}">' in text


def test_an_empty_run_can_be_shown() -> None:
    """Interrupted at once: there is still a page that says so."""
    empty = dataclasses.replace(
        RESULTS,
        interrupted=True,
        **{name: [] for name in ("models", "quantization", "peers", "projection", "skipped")},
    )
    assert check(page(empty)).faults == []
    assert "interrupted" in page(empty)
    assert "interrupted" in markdown(empty)


def test_a_part_can_be_missing() -> None:
    """Whatever is left out of a run, the rest is shown."""
    one = RESULTS.models[0]
    for field in dataclasses.fields(one):
        if field.name in ("model", "settings"):
            continue
        gone: Any = [] if isinstance(getattr(one, field.name), list) else None
        less = dataclasses.replace(
            RESULTS, models=[dataclasses.replace(one, **{field.name: gone})], projection=[]
        )
        assert tables.tables(less)
        assert markdown(less)


def test_the_report_of_an_earlier_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canvas, "available", lambda: False)
    old = tmp_path / "old.json"
    old.write_text(RESULTS.as_json(), "utf-8")
    assert cli.main(["bench", "--report", str(old)]) == 0
    assert (tmp_path / "results.md").read_text("utf-8") == markdown(RESULTS)
    assert (tmp_path / "report.html").read_text("utf-8") == page(RESULTS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old.json", "report.html", "results.md"]
    old.write_text("{}")
    assert cli.main(["bench", "--report", str(old)]) == cli.ERROR
    assert "schema version" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (None, ABSENT),
        (float("nan"), ABSENT),
        (0, "0"),
        (0.01234, "0.0123"),
        (1.0, "1.00"),
        (9.999, "10.00"),
        (12.34, "12.3"),
        (123.4, "123"),
        (1234.5, "1,234"),
        (-1.5, "-1.50"),
    ],
)
def test_number(x: float | None, text: str) -> None:
    assert number(x) == text


def test_percent_and_duration() -> None:
    assert percent(0.774) == "77 %"
    assert percent(None) == ABSENT
    assert duration(45.2) == "45 s"
    assert duration(143) == "2 min 23 s"


def test_what_had_no_time_is_one_line() -> None:
    names = [
        "warm prompt of 1",
        "warm prompt of 2",
        "warm prompt of 64 (32 cached)",
        "pp512",
        "tg8",
    ]
    assert enumeration(names) == "warm prompt of 1, 2, warm prompt of 64 (32 cached), pp512, tg8"
    assert enumeration(["depth 512"]) == "depth 512"
