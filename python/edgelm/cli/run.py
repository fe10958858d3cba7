"""Answer a prompt, printing the text as it comes, then what it cost (on stderr).

MODEL is a known name (fetched once), hf:OWNER/REPO/FILE.gguf, or the path of a .gguf file. PROMPT
is a message to the model if the file has a chat template, else a text to continue; - reads stdin.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from . import texts
from .conversation import Conversation, add_chat_options
from .cost import CONTEXT_FULL, cost, is_full
from .options import (
    add_generate_options,
    add_load_options,
    add_model,
    add_text,
    generate_options,
    load_options,
    text_of,
)
from .terminal import printable, resolve, table

if TYPE_CHECKING:
    from ..api import Model
    from ..generate import Generation

HELP = "answer a prompt"
MAX_TOKENS = 256  # as generate() has it


def add_arguments(parser: argparse.ArgumentParser, argv: tuple[str, ...]) -> None:
    """Define the options: the keyword arguments of load() and generate()."""
    add_model(parser, argv)
    add_text(parser, argv, "prompt")
    parser.add_argument("--raw", action="store_true", help="continue PROMPT, whatever the template")
    parser.add_argument(
        "--stats",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="print times and memory at the end (default: yes)",
    )
    parser.add_argument(
        "--logprobs", metavar="N", type=int, help="list each token with its N likeliest rivals"
    )
    add_chat_options(parser)
    parser.add_argument(
        "--prefill", metavar="TEXT", type=texts.argument, help="what the answer begins with"
    )
    add_load_options(parser)
    add_generate_options(parser)


def main(arguments: argparse.Namespace) -> None:
    """Load, stream, report."""
    prompt = text_of(arguments, "prompt")
    if arguments.file is not None or arguments.prompt == "-":
        prompt = prompt.removesuffix("\n")  # of echo, and of editors
    path = resolve(arguments.model)
    from .. import load
    from ..errors import TemplateError

    conversation = Conversation(arguments, path)
    chats = not arguments.raw and conversation.exists
    for option in ("system", "prefill"):
        if getattr(arguments, option) is not None and not chats:
            raise ValueError(f"--{option} needs a model with a chat template, and no --raw.")
    options, prefill = generate_options(arguments), arguments.prefill or ""
    system = arguments.system
    if arguments.escape:
        prefill, system = texts.unescaped(prefill), system and texts.unescaped(system)
    began = time.perf_counter()
    with load(path, **load_options(arguments, path)) as model:
        load_s = time.perf_counter() - began
        if chats:
            messages = [{"role": "user", "content": prompt}]
            if system is not None:
                messages.insert(0, {"role": "system", "content": system})
            try:
                prompt = conversation.prompt(model, messages, prefill)
            except TemplateError as error:
                raise ValueError(
                    f"{str(error).rstrip('.')}. --raw does without it, --chat-template FILE takes "
                    "another."
                ) from error
        generation = _stream(model, prompt, options, prefill, chats=chats)
        if arguments.logprobs:
            print(f"\n{_logprobs(model, generation)}")
        max_tokens = options.get("max_tokens", MAX_TOKENS)
        if arguments.stats:
            print(f"\n{cost(load_s, generation, max_tokens)}", file=sys.stderr)
        elif is_full(generation, max_tokens):
            print(CONTEXT_FULL, file=sys.stderr)


def _stream(
    model: Model, prompt: str, options: dict[str, object], prefill: str, *, chats: bool
) -> Generation:
    """Print a reply as it comes."""
    from .reply import ShownReply

    with model.stream(prompt, **options) as stream:  # type: ignore[arg-type]
        at = prompt.rfind(prefill.rstrip()) if prefill else len(prompt)
        shown = ShownReply(prompt[:at], chats=chats)
        try:
            shown.write(prefill)
            for chunk in stream:
                shown.write(chunk)
        finally:
            shown.close()
        return stream.generation


def _logprobs(model: Model, generation: Generation) -> str:
    """A row for each token: log-probability, text, and the likeliest with theirs."""
    rows = [("token", "logprob", "likeliest")]
    for token in generation.logprobs or []:
        rivals = "  ".join(f"{_piece(model, id)} {logprob:.3f}" for id, logprob in token.top)
        rows.append((_piece(model, token.token), f"{token.logprob:.3f}", rivals))
    return table(rows, "<><")


def _piece(model: Model, id: int) -> str:
    return repr(printable(model.detokenize([id], special=True)))
