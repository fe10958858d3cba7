"""Write tests/golden/chat.json: every template of tests/golden/chat as transformers renders it.

Needs transformers and jinja2, not torch. A case that transformers refuses is stored as null.

    python tools/chat_goldens.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from transformers import __version__
from transformers.utils.chat_template_utils import render_jinja_template

TESTS = Path(__file__).parent.parent / "tests"
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def main() -> None:
    """Render all and write the file."""
    sys.path.insert(0, str(TESTS))
    from chat_cases import CASES

    goldens: dict[str, dict[str, str | None]] = {}
    for path in sorted((TESTS / "golden" / "chat").glob("*.jinja")):
        rendered = goldens[path.name] = {}
        for name, case in CASES.items():
            arguments = {"add_generation_prompt": True, **TOKENS, **case}
            messages = arguments.pop("messages")
            try:
                texts, _ = render_jinja_template(
                    [messages], chat_template=path.read_text(), **arguments
                )
                rendered[name] = texts[0]
            except Exception as error:
                print(f"{path.name}, {name}: {type(error).__name__}: {error}", file=sys.stderr)
                rendered[name] = None
    text = json.dumps(
        {"transformers": __version__, "renders": goldens}, ensure_ascii=False, indent=1
    )
    (TESTS / "golden" / "chat.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
