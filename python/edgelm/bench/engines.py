"""What a worker process times: edgelm, and each peer, by the same definitions.

Prompt caching is off, flash attention on where it is a choice, the KV cache f16. The ids are the
same for all; times are in milliseconds.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import time
from pathlib import Path
from typing import Any, Protocol

from ..memory import peak_bytes, resident_bytes

OPENVINO_TYPES = frozenset({"F32", "F16", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q6_K"})


class Engine(Protocol):
    """One engine with a loaded model."""

    version: str
    settings: dict[str, Any]

    def prefill(self, ids: list[int]) -> float:
        """From ids to the first token or its logits."""

    def decode(self, ids: list[int], n_tokens: int) -> float:
        """Per token, the first left out: mean of n_tokens behind the ids."""

    def first_token(self, text: str) -> float:
        """From a text to its first token: tokenization, prefill, sampling."""


class Edgelm:
    """Ourselves, by the public interface."""

    def __init__(
        self, path: Path, *, n_ctx: int, n_threads: int, n_batch: int, kv_type: str
    ) -> None:
        from ..api import Model
        from ..model import open_network
        from .subject import chooser

        self._network = open_network(
            path, n_ctx=n_ctx, n_parallel=2, n_threads=n_threads, n_batch=n_batch, kv_type=kv_type
        )
        self._model = Model(self._network)
        self._choose = chooser(self._network.tokenizer)
        plan = self._network.plan
        self.version = importlib.metadata.version("edgelm")
        self.settings = {
            "isa": plan.isa,
            "threads": plan.n_threads,
            "n_ctx": n_ctx,
            "n_batch": plan.n_batch,
            "kv": kv_type,
            "prompt caching": False,
        }

    def prefill(self, ids: list[int]) -> float:
        with self._model.session() as session:
            start = time.perf_counter()
            session.prefill(ids)
            return 1e3 * (time.perf_counter() - start)

    def decode(self, ids: list[int], n_tokens: int) -> float:
        done = self._model.generate(
            ids, max_tokens=n_tokens + 1, temperature=0, ignore_eos=True, cache_prompt=False
        )
        return 1e3 / done.timings.tok_s

    def first_token(self, text: str) -> float:
        start = time.perf_counter()
        self._model.generate(text, max_tokens=1, temperature=0, cache_prompt=False)
        return 1e3 * (time.perf_counter() - start)

    def first_token_parts(self, text: str) -> list[float]:
        """As `first_token.Parts`: tokenize, prefill, sample, total."""
        from .first_token import timed

        return list(timed(self._model, self._choose, text))

    def memory(self) -> dict[str, int | None]:
        """Bytes of this process and of the parts of the model."""
        plan, cache = self._network.plan, self._network.cache
        return {
            "rss": resident_bytes(),
            "peak": peak_bytes(),
            "weights": plan.weight_bytes,
            "arena": plan.arena_bytes,
            "kv_reserved": cache.reserved_bytes,
            "kv": cache.committed_bytes,
        }

    def fill(self, lengths: list[int]) -> list[dict[str, int | None]]:
        """Memory with a context of each length, rising: one session grows."""
        points = []
        with self._model.session() as session:
            for n in lengths:
                ids = [1 + i % 97 for i in range(len(session), n)]
                session.prefill(ids)
                points.append(self.memory() | {"n_tokens": n})
        return points


class LlamaCpp:
    """llama.cpp by xllamacpp's server, as llama-server would run it."""

    def __init__(
        self, path: Path, *, n_ctx: int, n_threads: int, n_batch: int, kv_type: str
    ) -> None:
        import xllamacpp

        p = xllamacpp.CommonParams()
        p.model.path = str(path)
        p.n_ctx = n_ctx
        p.n_ubatch = n_batch
        p.n_parallel = 1
        p.n_gpu_layers = 0
        p.warmup = False
        p.verbosity = 0
        p.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
        p.cache_prompt = False
        p.cpuparams.n_threads = p.cpuparams_batch.n_threads = n_threads
        self._server = xllamacpp.Server(p)
        self.version = f"xllamacpp {xllamacpp.__version__}"
        self.settings = {
            "threads": n_threads,
            "n_ctx": n_ctx,
            "n_batch": p.n_batch,
            "n_ubatch": p.n_ubatch,
            "flash attention": True,
            "kv": "f16",
            "prompt caching": False,
        }

    def _complete(self, prompt: list[int] | str, n_tokens: int) -> dict[str, Any]:
        answer = self._server.handle_completions(
            {
                "prompt": prompt,
                "max_tokens": n_tokens,
                "temperature": 0,
                "ignore_eos": True,
                "cache_prompt": False,
            }
        )
        timings: dict[str, Any] = answer["timings"]
        if timings["predicted_n"] != n_tokens:
            raise RuntimeError(
                f"llama.cpp made {timings['predicted_n']} tokens; expected {n_tokens}"
            )
        return timings

    def prefill(self, ids: list[int]) -> float:
        timings = self._complete(ids, 1)
        if timings["prompt_n"] != len(ids):
            raise RuntimeError(f"llama.cpp read {timings['prompt_n']} tokens of {len(ids)}")
        return float(timings["prompt_ms"])

    def decode(self, ids: list[int], n_tokens: int) -> float:
        # Its clock starts when the first token is sampled; predicted_n counts that token too.
        return float(self._complete(ids, n_tokens + 1)["predicted_ms"]) / n_tokens

    def first_token(self, text: str) -> float:
        start = time.perf_counter()
        self._complete(text, 1)
        return 1e3 * (time.perf_counter() - start)


class LlamaCppPython:
    """llama.cpp by llama-cpp-python: eval() on ids, greedy sampling."""

    def __init__(
        self, path: Path, *, n_ctx: int, n_threads: int, n_batch: int, kv_type: str
    ) -> None:
        import llama_cpp

        self._llm = llama_cpp.Llama(
            str(path),
            n_ctx=n_ctx,
            n_batch=n_batch,
            n_threads=n_threads,
            n_threads_batch=n_threads,
            n_gpu_layers=0,
            flash_attn=True,
            verbose=False,
        )
        self.version = f"llama-cpp-python {llama_cpp.__version__}"
        self.settings = {
            "threads": n_threads,
            "n_ctx": n_ctx,
            "n_batch": n_batch,
            "flash attention": True,
            "kv": "f16",
            "prompt caching": False,
        }

    def prefill(self, ids: list[int]) -> float:
        self._llm.reset()
        start = time.perf_counter()
        self._llm.eval(ids)
        return 1e3 * (time.perf_counter() - start)

    def decode(self, ids: list[int], n_tokens: int) -> float:
        self._llm.reset()
        self._llm.eval(ids)
        token = self._llm.sample(temp=0.0)
        start = time.perf_counter()
        for _ in range(n_tokens):
            self._llm.eval([token])
            token = self._llm.sample(temp=0.0)
        return 1e3 * (time.perf_counter() - start) / n_tokens

    def first_token(self, text: str) -> float:
        self._llm.reset()
        start = time.perf_counter()
        self._llm.eval(self._llm.tokenize(text.encode(), special=True))
        self._llm.sample(temp=0.0)
        return 1e3 * (time.perf_counter() - start)


class OpenVino:
    """OpenVINO GenAI's pipeline, by its own performance metrics."""

    def __init__(
        self, path: Path, *, n_ctx: int, n_threads: int, n_batch: int, kv_type: str
    ) -> None:
        import openvino_genai

        self._genai = openvino_genai
        # By default it caches prefixes; its own default for the rest is no limit on a step.
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.enable_prefix_caching = False
        scheduler.max_num_batched_tokens = 2**31 - 1
        try:
            self._pipe = openvino_genai.LLMPipeline(
                str(path),
                "CPU",
                scheduler_config=scheduler,
                INFERENCE_NUM_THREADS=n_threads,
                KV_CACHE_PRECISION="f16",
            )
        except RuntimeError as error:
            from ..gguf import open_gguf

            others = {tensor.type for tensor in open_gguf(path).tensors} - OPENVINO_TYPES
            if not others:
                raise
            raise ValueError(
                f"OpenVINO GenAI could not open the file, which has {', '.join(sorted(others))} "
                f"tensors; it is known to read {', '.join(sorted(OPENVINO_TYPES))} ({error})"
            ) from None
        self.version = f"openvino-genai {importlib.metadata.version('openvino-genai')}"
        self.settings = {
            "threads": n_threads,
            "kv": "f16",
            "prompt caching": False,
        }

    def _generate(self, ids: list[int], n_tokens: int) -> Any:
        import numpy as np
        import openvino

        tokens = openvino.Tensor(np.array([ids], np.int64))
        mask = openvino.Tensor(np.ones((1, len(ids)), np.int64))
        config = self._genai.GenerationConfig(
            max_new_tokens=n_tokens, min_new_tokens=n_tokens, ignore_eos=True, do_sample=False
        )
        done = self._pipe.generate(self._genai.TokenizedInputs(tokens, mask), config)
        if len(done.tokens[0]) != n_tokens:
            raise RuntimeError(f"OpenVINO made {len(done.tokens[0])} tokens; expected {n_tokens}")
        return done.perf_metrics

    def prefill(self, ids: list[int]) -> float:
        return float(self._generate(ids, 1).get_ttft().mean)

    def decode(self, ids: list[int], n_tokens: int) -> float:
        return float(self._generate(ids, n_tokens + 1).get_tpot().mean)

    def first_token(self, text: str) -> float:
        start = time.perf_counter()
        ids = self._pipe.get_tokenizer().encode(text).input_ids.data[0]
        self._generate([int(i) for i in ids], 1)
        return 1e3 * (time.perf_counter() - start)


ENGINES: dict[str, type] = {
    "edgelm": Edgelm,
    "llama.cpp": LlamaCpp,
    "llama-cpp-python": LlamaCppPython,
    "openvino": OpenVino,
}
# The module that a peer is, and what to install for it.
PEER_MODULES = {
    "llama.cpp": ("xllamacpp", "'edgelm[bench]'"),
    "llama-cpp-python": ("llama_cpp", "llama-cpp-python"),
    "openvino": ("openvino_genai", "openvino-genai"),
}


def check_installed(peer: str) -> None:
    """ValueError says what to install."""
    module, package = PEER_MODULES[peer]
    if importlib.util.find_spec(module) is None:
        raise ValueError(f"--against {peer} needs {module}: pip install {package}")
