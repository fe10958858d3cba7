"""Writes one plot of a results.json as an SVG file of its own, for the README.

    python tools/make_picture.py results.json first_token docs/first_token.svg

It follows the reader's light or dark scheme, as the report does. Needs edgelm[bench].
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from edgelm.bench import report, results
from edgelm.bench.report import plots


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("section", help="the first plot of this one: first_token, peers, ...")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    drawn = {p.section: p for p in reversed(plots.plots(results.read(args.results)))}
    if args.section not in drawn:
        parser.error(f"no plot of {args.section}; there are {', '.join(sorted(drawn))}")
    css = (Path(report.__file__).parent / "page.css").read_text("utf-8")
    # The colours, as the page has them, and a background: the picture stands on any page.
    schemes = re.findall(r"^:root \{.*?^\}|^@media \(prefers-color.*?^\}", css, re.S | re.M)
    style = "\n".join((*schemes, "svg { background: var(--paper); font-family: sans-serif; }"))
    start, rest = drawn[args.section].svg.split(">", 1)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(f"{start}>\n<style>\n{style}\n</style>\n{rest}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
