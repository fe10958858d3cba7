"""Answer a prompt, printing the text as it comes, then what it cost (on stderr).

MODEL is a known name (fetched once), hf:OWNER/REPO/FILE.gguf, or the path of a .gguf file. PROMPT
is a message to the model if the file has a chat template, else a text to continue; - reads stdin.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import hub
from .terminal import ProgressBar, printable, size

if TYPE_CHECKING:
    from ..generate import Generation

HELP = "answer a prompt"

LOAD_OPTIONS = ("n_ctx", "n_threads", "n_batch", "kv_type")
# Keyword arguments of generate(): the names that llama.cpp's users know, the default, a remark.
NUMBERS = (
    (("--max-tokens", "-n", "--n-predict"), 256, "tokens at most"),
    (("--temperature", "--temp"), 0.8, "0 is greedy"),
    (("--top-k",), 40, "keep the k likeliest; 0 keeps all"),
    (("--top-p",), 0.95, "keep the likeliest that make up p"),
    (("--min-p",), 0.05, "keep those at least p times as likely as the best"),
    (("--typical-p", "--typical"), 1.0, "keep the most typical that make up p"),
    (("--repeat-penalty",), 1.0, "on tokens that occurred"),
    (("--repeat-last-n",), 64, "tokens that penalties look at; -1 is all"),
    (("--presence-penalty",), 0.0, "on tokens that occurred, once"),
    (("--frequency-penalty",), 0.0, "on tokens that occurred, each time"),
)
GENERATE_OPTIONS = (
    *(names[0].lstrip("-").replace("-", "_") for names, _, _ in NUMBERS),
    *("seed", "stop", "ignore_eos"),
)


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
    loading = parser.add_argument_group("loading")
    loading.add_argument(
        "-c",
        "--n-ctx",
        "--ctx-size",
        metavar="N",
        type=int,
        help="tokens of context (the model's, at most 8192)",
    )
    loading.add_argument(
        "-t",
        "--n-threads",
        "--threads",
        metavar="N",
        type=int,
        help="threads (as many as usable cores)",
    )
    loading.add_argument(
        "-b",
        "--n-batch",
        "--batch-size",
        metavar="N",
        type=int,
        help="prompt tokens computed together (512)",
    )
    loading.add_argument("--kv-type", choices=("f16", "q8_0"), help="of the KV cache (f16)")
    choosing = parser.add_argument_group("generation")
    for names, default, remark in NUMBERS:
        metavar = "N" if isinstance(default, int) else "X"
        choosing.add_argument(
            *names, metavar=metavar, type=type(default), help=f"{remark} ({default})"
        )
    choosing.add_argument(
        "-s", "--seed", metavar="N", type=int, help="the same gives the same text (a fresh one)"
    )
    choosing.add_argument(
        "--stop", action="append", metavar="TEXT", help="end before this text; may be repeated"
    )
    choosing.add_argument(
        "--ignore-eos", action="store_true", default=None, help="go on to --max-tokens"
    )


def main(arguments: argparse.Namespace) -> None:
    """Load, stream, report."""
    prompt = sys.stdin.read() if arguments.prompt == "-" else arguments.prompt
    bar = ProgressBar()
    try:
        path = hub.resolve(arguments.model, bar)
    finally:
        bar.close()
    from .. import load
    from ..gguf import open_gguf

    chats = not arguments.raw and open_gguf(path).get("tokenizer.chat_template") is not None
    if arguments.system is not None and not chats:
        raise ValueError("--system needs a model with a chat template, and no --raw.")
    began = time.perf_counter()
    with load(path, **_given(arguments, LOAD_OPTIONS)) as model:
        load_s = time.perf_counter() - began
        if chats:
            messages = [{"role": "user", "content": prompt}]
            if arguments.system is not None:
                messages.insert(0, {"role": "system", "content": arguments.system})
            prompt = model.apply_chat_template(messages)
        with model.stream(prompt, **_given(arguments, GENERATE_OPTIONS)) as stream:
            for chunk in stream:
                sys.stdout.write(printable(chunk) if sys.stdout.isatty() else chunk)
                sys.stdout.flush()
            generation = stream.generation
        if sys.stdout.isatty() or not generation.text.endswith("\n"):
            print(flush=True)
        if arguments.stats:
            print(f"\n{_statistics(load_s, generation)}", file=sys.stderr)


def _given(arguments: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    """The options that were given; load() and generate() know the defaults."""
    return {n: getattr(arguments, n) for n in names if getattr(arguments, n) is not None}


def _statistics(load_s: float, generation: Generation) -> str:
    times, usage = generation.timings, generation.usage
    rows = [("load", _ms(1e3 * load_s), "")]
    prompt = f"{usage.prompt_tokens} prompt tokens, {times.prefill_tok_s:,.0f} a second"
    rows.append(("first token", _ms(times.first_token_ms), prompt))
    if times.token_ms:
        spread = (
            f"{times.tok_s:,.1f} a second; median {statistics.median(times.token_ms):.1f} ms, "
            f"slowest {max(times.token_ms):.1f} ms of {len(times.token_ms)}"
        )
        rows.append(("per token", _ms(1e3 / times.tok_s), spread))
    if peak := peak_memory():
        rows.append(("memory", size(peak), "at most"))
    reason = {"stop": "the model ended it", "length": "cut at the limit"}
    end = reason.get(generation.finish_reason or "", generation.finish_reason or "")
    rows.append(("reply", f"{usage.completion_tokens} tokens", f"{end}; seed {generation.seed}"))
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    return "\n".join(f"{a:{widths[0]}}  {b:>{widths[1]}}  {c}".rstrip() for a, b, c in rows)


def _ms(milliseconds: float) -> str:
    if math.isnan(milliseconds):
        return "-"
    return f"{milliseconds:,.0f} ms" if milliseconds >= 100 else f"{milliseconds:.1f} ms"


def peak_memory() -> int | None:
    """Bytes of physical memory that this process had at most; None where nothing tells."""
    with contextlib.suppress(OSError):
        # Not getrusage: on Linux its peak begins with that of the process that started this one.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
