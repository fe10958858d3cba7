"""Many at once, as ratios of one run: `python bench/batching.py [--rounds 5] [--without peer]`.

Eight replies against one, and against llama.cpp's server with as many slots; four tokens in a step
against one; a short prompt that comes while others decode; what the scheduler itself costs. Medians
of rounds in which the sides take turns, each engine in a process of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import edgelm
from edgelm import hub
from edgelm.bench.prompts import random_ids
from edgelm.bench.shapes import file_of
from edgelm.engine import scheduler

N_REPLIES, N_TOKENS, N_PROMPT, N_CTX = 8, 64, 16, 512
OPTIONS: dict[str, Any] = {"temperature": 0, "ignore_eos": True, "cache_prompt": False}
PARTS = ("replies", "peer", "step", "arrival", "scheduler")
# part, what is printed, the bar, and whether it is a ceiling
BARS = {
    "replies": ("8 replies at once over one, tokens per second", 2.4, False),
    "peer": ("8 replies over llama.cpp's server, tokens per second", 1.5, False),
    "step": ("a step of 4 tokens over one, time", 1.45, True),
    "arrival": ("first token beside 4 replies, less a step, over alone", 1.5, True),
    "scheduler": ("the scheduler's share of a SmolLM2 step", 0.02, True),
}


def prompts(n: int, n_tokens: int, seed: int) -> list[list[int]]:
    """Random ids, none of which was asked before."""
    return [random_ids(32_000, n_tokens, 1000 * seed + i) for i in range(n)]


# --- engines in processes of their own -----------------------------------------------------------


def serve_edgelm(pipe: Connection, path: str) -> None:
    """Answer (n, seed) with the seconds that n replies take."""
    model = edgelm.load(path, n_ctx=N_CTX, n_parallel=N_REPLIES)
    for n, seed in iter(pipe.recv, None):
        asked = prompts(n, N_PROMPT, seed)
        began = time.perf_counter()
        replies = model.generate(asked, max_tokens=N_TOKENS, **OPTIONS)
        pipe.send(time.perf_counter() - began)
        assert [len(reply.tokens) for reply in replies] == [N_TOKENS] * n


def serve_llama_cpp(pipe: Connection, path: str) -> None:
    """The same by llama.cpp's server, continuous batching on, a client's thread a reply."""
    import xllamacpp

    p = xllamacpp.CommonParams()
    p.model.path = path
    p.n_ctx = N_CTX * N_REPLIES
    p.n_parallel = N_REPLIES
    p.cont_batching = True
    p.n_gpu_layers = 0
    p.warmup = False
    p.verbosity = 0
    p.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    p.cache_prompt = False
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = edgelm._core.usable_cores()
    server = xllamacpp.Server(p)

    def complete(prompt: list[int]) -> None:
        answer = server.handle_completions(
            {
                "prompt": prompt,
                "max_tokens": N_TOKENS,
                "temperature": 0,
                "ignore_eos": True,
                "cache_prompt": False,
            }
        )
        assert answer["timings"]["predicted_n"] == N_TOKENS

    for n, seed in iter(pipe.recv, None):
        threads = [
            threading.Thread(target=complete, args=(prompt,))
            for prompt in prompts(n, N_PROMPT, seed)
        ]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        pipe.send(time.perf_counter() - began)


@contextmanager
def process(serve: Callable[[Connection, str], None], path: Path) -> Iterator[Connection]:
    """A process that serves; its pipe takes (n, seed) and gives seconds."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(target=serve, args=(theirs, str(path)), daemon=True)
    worker.start()
    try:
        yield ours
        ours.send(None)
        worker.join(30)
    finally:
        worker.kill()


# --- measurements --------------------------------------------------------------------------------


def replies(path: Path, rounds: int, parts: list[str]) -> dict[str, list[float]]:
    """Ratios of tokens per second, round by round."""
    ratios: dict[str, list[float]] = {part: [] for part in ("replies", "peer") if part in parts}
    if not ratios:
        return {}
    with ExitStack() as stack:
        ours = stack.enter_context(process(serve_edgelm, path))
        peer = stack.enter_context(process(serve_llama_cpp, path)) if "peer" in parts else None

        def seconds(pipe: Connection, n: int, seed: int) -> float:
            pipe.send((n, seed))
            taken: float = pipe.recv()
            return taken

        for i in range(rounds + 1):
            one = seconds(ours, 1, 3 * i)
            eight = seconds(ours, N_REPLIES, 3 * i + 1)
            theirs = seconds(peer, N_REPLIES, 3 * i + 2) if peer else None
            if i == 0:  # warm now
                continue
            if "replies" in ratios:
                ratios["replies"].append(N_REPLIES * one / eight)
            if theirs is not None:
                ratios["peer"].append(theirs / eight)
    return ratios


def step(model: edgelm.Model, rounds: int) -> list[float]:
    """Time of decode_batch of four over one's."""
    ratios = []
    with ExitStack() as stack:
        sessions = [stack.enter_context(model.session()) for _ in range(4)]
        for i, session in enumerate(sessions):
            session.prefill(prompts(1, N_PROMPT, 70 + i)[0])
        for _ in range(rounds):
            times: dict[int, list[float]] = {1: [], 4: []}
            for i in range(12):
                for n in times:
                    began = time.perf_counter()
                    model.decode_batch(sessions[:n], [10 + i] * n)
                    times[n].append(time.perf_counter() - began)
            ratios.append(statistics.median(times[4]) / statistics.median(times[1]))
    return ratios


def arrival(model: edgelm.Model, rounds: int) -> list[float]:
    """(First token of a short prompt beside four replies - one step) / first token alone."""
    ratios = []
    for i in range(rounds):
        short = prompts(2, N_PROMPT, 90 + i)
        alone = first_token(model, short[0])
        others: list[edgelm.Generation] = []
        asked = prompts(4, N_PROMPT, 190 + i)

        def decode(asked: list[list[int]] = asked, others: list[Any] = others) -> None:
            others += model.generate(asked, max_tokens=N_TOKENS, **OPTIONS)

        thread = threading.Thread(target=decode)
        thread.start()
        time.sleep(4 * alone + 0.2)  # their prompts are done
        beside = first_token(model, short[1])
        assert thread.is_alive(), "the others had ended"
        thread.join()
        one_step = 1e-3 * statistics.median(others[0].timings.token_ms)
        ratios.append((beside - one_step) / alone)
    return ratios


def first_token(model: edgelm.Model, prompt: list[int]) -> float:
    """Seconds from the call to the first token."""
    return 1e-3 * model.generate(prompt, max_tokens=1, **OPTIONS).timings.first_token_ms


def own_cost(model: edgelm.Model, rounds: int) -> list[float]:
    """The share of a reply's time that is neither the run nor the choice of a token."""
    network, within = model._network, [0.0]

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            result = function(*arguments, **options)
            within[0] += time.perf_counter() - began
            return result

        return call

    run, choose = network.run, scheduler.choose
    shares = []
    try:
        network.run, scheduler.choose = timed(run), timed(choose)  # type: ignore[method-assign]
        for i in range(rounds + 1):
            within[0] = 0.0
            began = time.perf_counter()
            model.generate(prompts(1, N_PROMPT, 300 + i)[0], max_tokens=128, **OPTIONS)
            if i > 0:
                shares.append(1 - within[0] / (time.perf_counter() - began))
    finally:
        network.run, scheduler.choose = run, choose  # type: ignore[method-assign]
    return shares


def main() -> None:
    """Print a line a bar."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", default="llama-3.2-1b:q4_k_m")
    parser.add_argument("--without", nargs="*", default=[], choices=PARTS)
    arguments = parser.parse_args()
    parts = [part for part in PARTS if part not in arguments.without]
    found: dict[str, list[float]] = {}
    if set(parts) != {"scheduler"}:
        path = file_of(arguments.shape, lambda step: None)
        found = replies(path, arguments.rounds, parts)
    if "step" in parts or "arrival" in parts:
        with edgelm.load(path, n_ctx=N_CTX, n_parallel=N_REPLIES) as model:
            if "step" in parts:
                found["step"] = step(model, arguments.rounds)
            if "arrival" in parts:
                found["arrival"] = arrival(model, arguments.rounds)
    if "scheduler" in parts:
        with edgelm.load(hub.resolve("smollm2-135m-instruct"), n_ctx=N_CTX) as model:
            found["scheduler"] = own_cost(model, arguments.rounds)
    print(f"{arguments.shape}, medians of {arguments.rounds} rounds (least to greatest)")
    for part, values in found.items():
        what, bar, ceiling = BARS[part]
        middle = statistics.median(values)
        verdict = "ok" if (middle <= bar) == ceiling else "MISSED"
        limit = f"at {'most' if ceiling else 'least'} {bar:g}"
        print(
            f"{what:56} {middle:7.3f}  ({min(values):.3f} to {max(values):.3f})  {limit:14} "
            f"{verdict}"
        )


if __name__ == "__main__":
    main()
