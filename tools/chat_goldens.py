"""Write how transformers renders chat templates: tests/golden/chat.json and real_chat.json.

The first holds the texts that our own templates, tests/golden/chat, make of the conversations of
tests/support/chat_cases.py; the second only hashes of what real models' templates make of them,
which llama_cpp_sdist.py beside it fetches. A case that transformers refuses is null. Needs
transformers and jinja2, not torch, and edgelm for its cache folder only.

    python tools/chat_goldens.py
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

from transformers import __version__
from transformers.utils import chat_template_utils

TESTS = Path(__file__).parent.parent / "tests"
sys.path.insert(0, str(TESTS / "support"))
from chat_cases import CASES, TODAY, digest  # noqa: E402
from llama_cpp_sdist import REQUIREMENT, templates  # noqa: E402

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


class _Today(datetime):
    """A clock that stands still, for templates that write the date."""

    @classmethod
    def now(cls, tz: object = None) -> datetime:
        return TODAY


def renders(template: str, name: str) -> dict[str, str | None]:
    """What transformers makes of every case."""
    found: dict[str, str | None] = {}
    for case_name, case in CASES.items():
        arguments = {"add_generation_prompt": True, **TOKENS, **case}
        messages = arguments.pop("messages")
        try:
            texts, _ = chat_template_utils.render_jinja_template(
                [messages], chat_template=template, **arguments
            )
            found[case_name] = texts[0]
        except Exception as error:
            print(f"{name}, {case_name}: {type(error).__name__}: {error}", file=sys.stderr)
            found[case_name] = None
    return found


def main() -> None:
    """Render all and write the files."""
    chat_template_utils.datetime = _Today
    ours = {p.name: renders(p.read_text(), p.name) for p in (TESTS / "golden/chat").glob("*.jinja")}
    text = json.dumps(
        {"transformers": __version__, "renders": dict(sorted(ours.items()))},
        ensure_ascii=False,
        indent=1,
    )
    (TESTS / "golden" / "chat.json").write_text(text + "\n")

    real = {
        name: [None if text is None else digest(text) for text in renders(template, name).values()]
        for name, template in templates().items()
    }
    lines = [f"{json.dumps(name)}: {json.dumps(row)}" for name, row in real.items()]
    head = {"transformers": __version__, "templates": REQUIREMENT, "cases": list(CASES)}
    text = json.dumps(head)[:-1] + ', "renders": {\n' + ",\n".join(lines) + "\n}}\n"
    (TESTS / "golden" / "real_chat.json").write_text(text)


if __name__ == "__main__":
    main()
