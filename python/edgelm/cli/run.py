"""Answer a prompt, printing the text as it comes, then what it cost (on stderr).

MODEL is a known name (fetched once), hf:OWNER/REPO/FILE.gguf, or the path of a .gguf file. PROMPT
is a message to the model if the file has a chat template, else a text to continue; - reads stdin.
"""

from __future__ import annotations

import argparse
import sys
import time

from .cost import cost
from .options import (
    GENERATE_OPTIONS,
    LOAD_OPTIONS,
    add_generate_options,
    add_load_options,
    given,
)
from .terminal import printable, resolve

HELP = "answer a prompt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options: the keyword arguments of load() and generate()."""
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("prompt", metavar="PROMPT")
    parser.add_argument("--raw", action="store_true", help="continue PROMPT, whatever the template")
    parser.add_argument("--system", metavar="TEXT", help="a system message before the prompt")
    parser.add_argument(
        "--stats",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="print times and memory at the end (default: yes)",
    )
    add_load_options(parser)
    add_generate_options(parser)


def main(arguments: argparse.Namespace) -> None:
    """Load, stream, report."""
    prompt = sys.stdin.read() if arguments.prompt == "-" else arguments.prompt
    path = resolve(arguments.model)
    from .. import load
    from ..gguf import open_gguf

    chats = not arguments.raw and open_gguf(path).get("tokenizer.chat_template") is not None
    if arguments.system is not None and not chats:
        raise ValueError("--system needs a model with a chat template, and no --raw.")
    began = time.perf_counter()
    with load(path, **given(arguments, LOAD_OPTIONS)) as model:
        load_s = time.perf_counter() - began
        if chats:
            messages = [{"role": "user", "content": prompt}]
            if arguments.system is not None:
                messages.insert(0, {"role": "system", "content": arguments.system})
            prompt = model.apply_chat_template(messages)
        with model.stream(prompt, **given(arguments, GENERATE_OPTIONS)) as stream:
            for chunk in stream:
                sys.stdout.write(printable(chunk) if sys.stdout.isatty() else chunk)
                sys.stdout.flush()
            generation = stream.generation
        if sys.stdout.isatty() or not generation.text.endswith("\n"):
            print(flush=True)
        if arguments.stats:
            print(f"\n{cost(load_s, generation)}", file=sys.stderr)
