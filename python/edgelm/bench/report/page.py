"""A run as one page: tables and plots, with nothing fetched from elsewhere and no scripts.

Model names, metadata, peers' errors and process names are a stranger's text: all of it goes through
html.escape, and the page's policy forbids scripts and loads besides.
"""

from __future__ import annotations

import html
from pathlib import Path

from .. import canvas
from ..canvas import Plot
from ..results import Results
from ..table import Table, label, visible
from .plots import plots
from .tables import run_facts, tables

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
LONG = 60  # characters: such cells may break
NO_PLOTS = (
    "This page has no plots, because matplotlib is not installed here. pip install "
    "'edgelm[bench]', then edgelm bench --report results.json makes it again, with plots."
)


def render(results: Results) -> str:
    """The page. Without matplotlib it has no plots and says how to get them."""
    drawn = plots(results) if canvas.available() else None
    found = tables(results)
    names = ", ".join(label(results, result.model.name) for result in results.models)
    title = f"edgelm bench: {names}" if names else "edgelm bench"
    sections = list(dict.fromkeys(table.section for table in found))
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{text_of(POLICY)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{text_of(title)}</title>",
        f"<style>\n{Path(__file__).with_name('page.css').read_text('utf-8')}</style>",
        "</head>",
        "<body>",
        "<header>",
        "<h1>edgelm bench</h1>",
        f'<p class="facts">{text_of(names)}<br>',
        f"{text_of(results.machine.processor)}, {text_of(results.created)}</p>",
        *(f'<p class="warning">{text_of(warning)}</p>' for warning in results.warnings),
        *([] if drawn is not None else [f'<p class="warning">{text_of(NO_PLOTS)}</p>']),
        "</header>",
        _navigation(found),
        "<main>",
        *(_section(section, found, drawn or []) for section in sections),
        "</main>",
        _footer(results),
        "</body>",
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def text_of(text: str) -> str:
    """Text, and the value of an attribute, as HTML."""
    return html.escape(visible(text))


def _navigation(found: list[Table]) -> str:
    first = {table.section: table.title for table in reversed(found)}
    links = (
        f'<a href="#{text_of(section)}">{text_of(first[section])}</a>'
        for section in dict.fromkeys(table.section for table in found)
    )
    return f"<nav>\n{chr(10).join(links)}\n</nav>"


def _section(section: str, found: list[Table], drawn: list[Plot]) -> str:
    """The plots, then the tables that hold their numbers."""
    own = [table for table in found if table.section == section]
    figures = [_figure(plot) for plot in drawn if plot.section == section]
    parts = [
        f'<section id="{text_of(section)}">',
        f"<h2>{text_of(own[0].title)}</h2>",
        *(['<div class="plots">', *figures, "</div>"] if figures else []),
        *(_table(table, heading=i > 0) for i, table in enumerate(own)),
        "</section>",
    ]
    return "\n".join(parts)


def _figure(plot: Plot) -> str:
    return (
        f"<figure><b>{text_of(plot.title)}</b>"
        + (f'<span class="note">{text_of(plot.subject)}</span>' if plot.subject else "")
        + f"\n{plot.svg}\n"
        f"<figcaption>{text_of(plot.caption)}</figcaption></figure>"
    )


def _table(table: Table, *, heading: bool) -> str:
    """A table with its heading (the first of a section goes without) and its note."""
    names = [row[0] for row in table.rows] if table.columns[0] in table.left else []
    grouped = len(names) > len(set(names))  # a name of several rows stands once, above them
    columns = table.columns[grouped:]

    def line(tag: str, cells: tuple[str, ...]) -> str:
        pairs = zip(cells, columns, strict=True)
        return (
            f"<tr>{''.join(_cell(tag, text, column in table.left) for text, column in pairs)}</tr>"
        )

    rows = []
    for i, row in enumerate(table.rows):
        if grouped and (i == 0 or names[i] != names[i - 1]):
            name = text_of(names[i])
            rows.append(f'<tr><th colspan="{len(columns)}" class="group">{name}</th></tr>')
        rows.append(line("td", row[grouped:]))
    parts = [
        *([f"<h3>{text_of(table.title)}</h3>"] if heading else []),
        f'<p class="note">{text_of(table.note)}</p>',
        '<div class="scroll" tabindex="0">',
        f"<table><thead>{line('th', columns)}</thead>",
        "<tbody>",
        *rows,
        "</tbody></table>",
        "</div>",
    ]
    return "\n".join(parts)


def _cell(tag: str, text: str, words: bool) -> str:
    kinds = [kind for kind, so in (("word", words), ("long", len(text) > LONG)) if so]
    attribute = f' class="{" ".join(kinds)}"' if kinds else ""
    scope = ' scope="col"' if tag == "th" else ""
    return f"<{tag}{scope}{attribute}>{text_of(text)}</{tag}>"


def _footer(results: Results) -> str:
    """How the run was made."""
    facts = (f"<dt>{text_of(what)}</dt><dd>{text_of(how)}</dd>" for what, how in run_facts(results))
    return "\n".join(("<footer>", "<h2>This run</h2>", "<dl>", *facts, "</dl>", "</footer>"))
