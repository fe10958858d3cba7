"""Speed beside busy neighbours: `python bench/contention.py MODEL [--seconds 160]`.

In each situation edgelm, as it chooses its threads, takes turns with itself on fixed numbers of
threads and with llama.cpp (if xllamacpp is installed): decode behind 8 tokens, prefill of 64.
Tokens per second, and the ratios that matter: to the best fixed number, and to llama.cpp's best.
The neighbours are loops that never sleep; they end with this process, or after the given time.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edgelm import _core, hub
from edgelm.model import open_network

PROMPT, BEHIND, N_CTX = 64, 8, 512
ROUNDS = 4
BUSY = """
import sys, time
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end: pass
"""

Run = Callable[[str], tuple[int, float]]  # what: tokens done, seconds


class Edgelm:
    def __init__(self, path: Path, n_threads: int) -> None:
        network = open_network(path, n_ctx=N_CTX, n_parallel=1, n_threads=n_threads)
        self.plan = network.plan
        self.cache = self.plan.kv_cache(n_ctx=N_CTX, n_parallel=1, kv_type="f16")
        self.sequence = self.cache.create()
        self.ids = np.random.default_rng(0).integers(100, 4000, N_CTX).astype(np.int32)

    def run(self, ids: np.ndarray) -> None:
        owner = np.full(len(ids), self.sequence, np.int32)
        self.plan.run(self.cache, ids, owner, np.array([len(ids) - 1], np.int32))

    def measure(self, what: str, forced: list[int], seconds: float) -> tuple[int, float]:
        """Tokens and seconds of as many runs as fit, at least one."""
        self.plan.force_threads(forced)
        self.cache.truncate(self.sequence, 0)
        if what == "decode":
            self.run(self.ids[:BEHIND])
        n, start = 0, time.perf_counter()
        while n == 0 or time.perf_counter() - start < seconds:
            if what == "prefill":
                self.cache.truncate(self.sequence, 0)
                self.run(self.ids[:PROMPT])
                n += PROMPT
            else:
                if self.cache.length(self.sequence) == N_CTX:
                    self.cache.truncate(self.sequence, BEHIND)
                self.run(self.ids[n % N_CTX :][:1])
                n += 1
        return n, time.perf_counter() - start


class LlamaCpp:
    def __init__(self, path: Path, n_threads: int) -> None:
        from edgelm.bench.engines import LlamaCpp as Engine

        self.engine = Engine(path, n_ctx=N_CTX, n_threads=n_threads, n_batch=N_CTX, kv_type="f16")
        self.ids = np.random.default_rng(0).integers(100, 4000, N_CTX).tolist()

    def measure(self, what: str, seconds: float) -> tuple[int, float]:
        n, spent, at_once = 0, 0.0, 1
        while n == 0 or spent < seconds:
            if what == "prefill":
                spent += self.engine.prefill(self.ids[:PROMPT]) / 1e3
                n += PROMPT
            else:
                # As many tokens as probably fit, since its prompt costs time that does not count.
                spent += self.engine.decode(self.ids[:BEHIND], at_once) / 1e3 * at_once
                n += at_once
                left = (seconds - spent) * n / spent
                at_once = int(min(max(left, 1), N_CTX - BEHIND - 2))
        return n, spent


@contextmanager
def neighbours(n: int, seconds: float) -> Iterator[None]:
    """n processes that do nothing but burn time, at most that long."""
    loops = [subprocess.Popen([sys.executable, "-c", BUSY, str(seconds)]) for _ in range(n)]
    try:
        time.sleep(0.3)  # until they run
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def fixed_numbers(n_cores: int) -> list[int]:
    """1, the powers of 2 between, all but one, all."""
    between = [2**i for i in range(1, 10) if 2**i < n_cores]
    return sorted({1, *between, max(1, n_cores - 1), n_cores})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="smollm2-135m-instruct")
    parser.add_argument("--seconds", type=float, default=160, help="about how long it may take")
    options = parser.parse_args()
    path = hub.resolve(options.model)
    cores = _core.usable_cores()
    numbers = fixed_numbers(cores)

    edgelm = Edgelm(path, cores)
    slice_s = 0.0

    def ours(forced: list[int]) -> Run:
        return lambda what: edgelm.measure(what, forced, slice_s)

    def theirs(engine: LlamaCpp) -> Run:
        return lambda what: engine.measure(what, slice_s)

    runs = {"edgelm": ours([])} | {f"fixed {n}": ours([n]) for n in numbers}
    if importlib.util.find_spec("xllamacpp"):
        for n in sorted({1, cores}):
            runs[f"llama.cpp {n}"] = theirs(LlamaCpp(path, n))
    situations = {"alone": 0, "1 busy loop": 1}
    situations |= {f"{k} a core": k * cores for k in (1, 2, 4) if k * cores > 1}
    # Starved runs overrun their slices: two thirds of the time are dealt.
    slice_s = options.seconds / 1.5 / (len(situations) * ROUNDS * 2 * len(runs))
    print(f"{path.name}, {cores} cores, tokens per second; slices of {slice_s:.2f} s")
    print(f"{'':12} {'':8}", *(f"{name:>12}" for name in runs), "  / fixed  / llama.cpp")
    for situation, loops in situations.items():
        done: dict[tuple[str, str], list[tuple[int, float]]] = {}
        with neighbours(loops, 4 * options.seconds):
            for turn in range(ROUNDS):
                for name in list(runs) if turn % 2 else reversed(runs):
                    for what in ("decode", "prefill"):
                        slices = done.setdefault((what, name), [])
                        # What has collapsed is not measured again: it would take minutes.
                        if all(seconds < 3 * slice_s for _, seconds in slices):
                            slices.append(runs[name](what))
        for what in ("decode", "prefill"):
            speed = {}
            for name in runs:
                slices = done[what, name]
                speed[name] = sum(n for n, _ in slices) / sum(s for _, s in slices)
            fixed = max(speed[f"fixed {n}"] for n in numbers)
            peers = [speed[name] for name in runs if name.startswith("llama.cpp")]
            against = f"{speed['edgelm'] / max(peers):9.2f}" if peers else ""
            print(
                f"{situation:12} {what:8}",
                *(f"{speed[name]:12.1f}" for name in runs),
                f"{speed['edgelm'] / fixed:9.2f} {against}",
                flush=True,
            )


if __name__ == "__main__":
    main()
