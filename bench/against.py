"""Times edgelm against llama.cpp (xllamacpp), end to end, on one file.

    python bench/against.py MODEL [--threads 2] [--rounds 5] [--json results.json] [--only ROW ...]

Each engine lives in its own process. They get the same token ids and take turns, so that a noisy
moment hits both; a time is the best of all rounds, a ratio is llama.cpp's best over ours, and its
spread is the least and the greatest ratio of one round. Prompt caching is off in both.

The limit of decode is the machine's read bandwidth over the bytes of the weights that a token
reads; that of prefill is the int8 peak over its multiply-adds. Both are measured in the same run.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

PREFILLS = (16, 128, 512)
DECODES = (32, 64)
DECODE_PROMPT = 16
QUESTION = "What is the capital of France, and what river runs through it?"
N_CTX = 1024
ENGINES = ("edgelm", "llama.cpp")


class Engine(Protocol):
    """What a worker process times; results in milliseconds."""

    settings: dict[str, Any]

    def prefill(self, ids: list[int]) -> float: ...
    def decode(self, ids: list[int], n: int) -> float:
        """Per token, the first one left out."""

    def first_token(self, text: str) -> float:
        """From the call to the first token: tokenization, prefill, sampling."""


class Edgelm:
    def __init__(self, path: str, n_threads: int, warm: bool) -> None:
        import edgelm
        from edgelm import _core

        self._model = edgelm.load(path, n_ctx=N_CTX, n_parallel=1, n_threads=n_threads)
        self.settings = {
            "version": importlib.metadata.version("edgelm"),
            "isa": _core.active_isa(),
            "threads": n_threads,
            "kv": "f16",
            "prompt caching": False,
        }
        if warm:
            self._model.generate([1, 2, 3], max_tokens=2, temperature=0, cache_prompt=False)

    def prefill(self, ids: list[int]) -> float:
        with self._model.session() as session:
            start = time.perf_counter()
            session.prefill(ids)
            return 1000 * (time.perf_counter() - start)

    def decode(self, ids: list[int], n: int) -> float:
        done = self._model.generate(
            ids, max_tokens=n + 1, temperature=0, ignore_eos=True, cache_prompt=False
        )
        return 1000 / done.timings.tok_s

    def first_token(self, text: str) -> float:
        start = time.perf_counter()
        self._model.generate(text, max_tokens=1, temperature=0, cache_prompt=False)
        return 1000 * (time.perf_counter() - start)


class LlamaCpp:
    def __init__(self, path: str, n_threads: int, warm: bool) -> None:
        import xllamacpp

        p = xllamacpp.CommonParams()
        p.model.path = path
        p.n_ctx = N_CTX
        p.n_parallel = 1
        p.n_gpu_layers = 0
        p.warmup = warm
        p.verbosity = 0
        p.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
        p.cache_prompt = False
        p.cpuparams.n_threads = p.cpuparams_batch.n_threads = n_threads
        self._server = xllamacpp.Server(p)
        self.settings = {
            "version": f"xllamacpp {xllamacpp.__version__}",
            "threads": n_threads,
            "flash attention": True,
            "kv": "f16",
            "n_batch": p.n_batch,
            "n_ubatch": p.n_ubatch,
            "warm-up": warm,
            "prompt caching": False,
        }

    def _complete(self, prompt: list[int] | str, n: int) -> dict[str, Any]:
        answer = self._server.handle_completions(
            {
                "prompt": prompt,
                "max_tokens": n,
                "temperature": 0,
                "ignore_eos": True,
                "cache_prompt": False,
            }
        )
        timings: dict[str, Any] = answer["timings"]
        if timings["predicted_n"] != n:
            raise RuntimeError(f"llama.cpp made {timings['predicted_n']} tokens; expected {n}")
        return timings

    def prefill(self, ids: list[int]) -> float:
        timings = self._complete(ids, 1)
        if timings["prompt_n"] != len(ids):
            raise RuntimeError(f"llama.cpp read {timings['prompt_n']} tokens of {len(ids)}")
        return float(timings["prompt_ms"])

    def decode(self, ids: list[int], n: int) -> float:
        # Its clock starts when the first token is sampled; predicted_n counts that token too.
        return float(self._complete(ids, n + 1)["predicted_ms"]) / n

    def first_token(self, text: str) -> float:
        start = time.perf_counter()
        self._complete(text, 1)
        return 1000 * (time.perf_counter() - start)


def work(name: str, path: str, n_threads: int, warm: bool) -> None:
    """A worker: load, say how long it took, then answer one JSON line per line of input."""
    start = time.perf_counter()
    engine: Engine = (Edgelm if name == "edgelm" else LlamaCpp)(path, n_threads, warm)
    load_ms = 1000 * (time.perf_counter() - start)
    print(json.dumps({"load_ms": load_ms, "settings": engine.settings}), flush=True)
    for line in sys.stdin:
        method, arguments = json.loads(line)
        print(json.dumps(getattr(engine, method)(*arguments)), flush=True)


class Worker:
    """The other end of `work`."""

    def __init__(self, name: str, path: Path, n_threads: int, *, warm: bool) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(path), "--threads", str(n_threads), "--worker", name]
            + (["--warm"] if warm else []),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if name == "llama.cpp" else None,
            text=True,
        )
        hello = self._answer()
        self.load_ms: float = hello["load_ms"]
        self.settings: dict[str, Any] = hello["settings"]

    def ask(self, method: str, *arguments: object) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([method, arguments]) + "\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(("{", "[")) or line[:1].isdigit():  # engines may print, too
                return json.loads(line)
        raise RuntimeError(f"a worker ended with exit code {self._process.wait()}")


@dataclass
class Row:
    """One measurement of both engines; every sample is kept."""

    name: str
    unit: str  # "tok/s" or "ms"
    tokens: int  # per sample: what a rate divides by
    samples_ms: dict[str, list[float]]
    limit_ms: float | None = None

    def best(self, engine: str) -> float:
        return min(self.samples_ms[engine])

    @property
    def ratio(self) -> float:
        return self.best("llama.cpp") / self.best("edgelm")

    @property
    def spread(self) -> tuple[float, float]:
        pairs = zip(self.samples_ms["llama.cpp"], self.samples_ms["edgelm"], strict=True)
        ratios = [theirs / ours for theirs, ours in pairs]
        return min(ratios), max(ratios)

    def shown(self, engine: str) -> str:
        best = self.best(engine)
        return f"{1000 * self.tokens / best:.1f}" if self.unit == "tok/s" else f"{best:.1f}"

    def share(self, engine: str) -> str:
        return "" if self.limit_ms is None else f"{self.limit_ms / self.best(engine):.0%}"


def measure(path: Path, n_threads: int, rounds: int, only: list[str]) -> Iterator[Row]:
    """All rows, each as soon as its rounds are done."""
    rng = np.random.default_rng(0)

    def random_ids(n: int) -> list[int]:
        return [int(i) for i in rng.integers(1000, 40_000, n)]

    def wanted(name: str) -> bool:
        return not only or any(name.startswith(prefix) for prefix in only)

    if wanted("load"):
        samples: dict[str, list[float]] = {engine: [] for engine in ENGINES}
        for _ in range(rounds):
            for engine in ENGINES:
                worker = Worker(engine, path, n_threads, warm=False)
                samples[engine].append(worker.load_ms)
                worker.close()
        yield Row("load", "ms", 1, samples)

    workers = {engine: Worker(engine, path, n_threads, warm=True) for engine in ENGINES}
    for engine, worker in workers.items():
        print(f"{engine}: {json.dumps(worker.settings)}", file=sys.stderr)

    def rounds_of(name: str, unit: str, tokens: int, method: str, *arguments: object) -> Row:
        samples: dict[str, list[float]] = {engine: [] for engine in ENGINES}
        for round_ in range(rounds):
            # Who goes first alternates, too.
            for engine in ENGINES if round_ % 2 == 0 else reversed(ENGINES):
                time.sleep(0.1)  # the other's idle threads spin for a moment
                samples[engine].append(workers[engine].ask(method, *arguments))
        return Row(name, unit, tokens, samples)

    for n in PREFILLS:
        if wanted(f"prefill {n}"):
            yield rounds_of(f"prefill {n}", "tok/s", n, "prefill", random_ids(n))
    for n in DECODES:
        if wanted(f"decode {n}"):
            yield rounds_of(f"decode {n}", "tok/s", 1, "decode", random_ids(DECODE_PROMPT), n)
    if wanted("first token"):
        yield rounds_of("first token", "ms", 1, "first_token", QUESTION)
    for worker in workers.values():
        worker.close()


@dataclass
class Work:
    """What the model's matrices cost: bytes read per decoded token, multiply-adds per token."""

    bytes_per_token: int
    layer_macs: int
    head_macs: int

    @classmethod
    def of(cls, path: Path) -> Work:
        from edgelm.gguf import open_gguf

        tensors = {t.name: t for t in open_gguf(path).tensors}
        head = tensors.get("output.weight", tensors["token_embd.weight"])
        layers = [t for t in tensors.values() if t.name.startswith("blk.")]
        return cls(
            bytes_per_token=head.n_bytes + sum(t.n_bytes for t in layers),
            layer_macs=sum(int(np.prod(t.shape)) for t in layers if len(t.shape) == 2),
            head_macs=int(np.prod(head.shape)),
        )

    def limit_ms(self, row: Row, peaks: dict[str, float]) -> float | None:
        """The least time that the machine allows: by bandwidth or arithmetic, the greater."""
        if row.name.startswith("decode"):
            return 1e-6 * self.bytes_per_token / peaks["read_gb_s"]
        if row.name.startswith("prefill"):
            macs = row.tokens * self.layer_macs + self.head_macs  # one row of logits
            return max(
                1e-6 * macs / peaks["int8_gmac_s"], 1e-6 * self.bytes_per_token / peaks["read_gb_s"]
            )
        return None


def measured_peaks(n_threads: int) -> dict[str, float]:
    """Read bandwidth, and int8 multiply-adds in registers, of all threads; best of five."""
    from edgelm import _core

    found = [_core.measure_peaks(_core.active_isa(), n_threads) for _ in range(5)]
    macs_s = max(peaks["u8s8_mac_cycle"] * peaks["clock_hz"] for peaks in found) * n_threads
    read_gb_s = max(peaks["read_gb_s"] for peaks in found)
    return {"read_gb_s": round(read_gb_s, 2), "int8_gmac_s": round(1e-9 * macs_s, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a name that edgelm knows, or a GGUF file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="rows by their start")
    parser.add_argument("--json", type=Path, help="where all samples go")
    parser.add_argument("--worker", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--warm", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker, args.model, args.threads, args.warm)
        return
    from edgelm import hub

    path = hub.resolve(args.model)
    peaks = measured_peaks(args.threads)
    work_of = Work.of(path)
    print(f"{path.name}, {args.threads} threads, best of {args.rounds}; limits: {peaks}")
    heads = ("", "unit", *ENGINES, "ratio", "(least to greatest)", "our share of limit", "theirs")
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    rows = []
    for row in measure(path, args.threads, args.rounds, args.only):
        row.limit_ms = work_of.limit_ms(row, peaks)
        rows.append(row)
        low, high = row.spread
        cells = [row.name, row.unit, *(row.shown(e) for e in ENGINES), f"{row.ratio:.2f}"]
        cells += [f"{low:.2f} to {high:.2f}", *(row.share(e) for e in ENGINES)]
        print("| " + " | ".join(cells) + " |", flush=True)
    if args.json:
        result = {
            "model": path.name,
            "model_bytes": path.stat().st_size,
            "threads": args.threads,
            "peaks": peaks,
            "rows": [asdict(row) | {"ratio": row.ratio} for row in rows],
        }
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
