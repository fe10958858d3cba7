"""The model under test: what its file holds, and how it was loaded."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..api import Model
from ..gguf import open_gguf
from ..graph import state_bytes
from ..model import Network, open_network
from ..options import Options
from ..samplers import Sampler
from .prompts import random_ids
from .worker import Worker

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..gguf import GgufFile, TensorInfo
    from ..session import Session
    from ..tokenizer import Tokenizer

RANDOM_KEY = "edgelm.random_weights"  # metadata of files whose weights mean nothing
WARM_TOKENS = 32


@dataclass
class ModelInfo:
    """A model file.

    name: the file's name without its folder.
    title: what the file calls the model.
    architecture: GGUF's general.architecture.
    file_bytes: of all parts.
    quant: the type that most weights have, "Q4_K" say, with "+" if there are others.
    tensor_types: number of tensors by type.
    n_weights: parameters.
    bits_per_weight: of all tensors.
    n_layers: transformer blocks.
    vocab_size: rows of the output layer.
    n_ctx_train: the context that the model was made for.
    random_weights: made by --shape or for tests: its speed means something, its text nothing.
    bytes_per_token: bytes of the weights that one decoded token reads.
    layer_macs: multiply-adds of all layers' matrices for one token.
    head_macs: multiply-adds of the output layer for one row of logits.
    kv_bytes_per_token: bytes that one token adds to the KV cache, and each later token reads.
    """

    name: str
    title: str
    architecture: str
    file_bytes: int
    quant: str
    tensor_types: dict[str, int]
    n_weights: int
    bits_per_weight: float
    n_layers: int
    vocab_size: int
    n_ctx_train: int
    random_weights: bool
    bytes_per_token: int
    layer_macs: int
    head_macs: int
    kv_bytes_per_token: int


@dataclass
class Settings:
    """How the model was loaded.

    n_ctx: tokens of one sequence.
    n_threads: threads that share a step.
    n_batch: prompt tokens computed together.
    kv_type: of the KV cache.
    isa: the instruction set that the kernels were chosen for.
    cpus: the processors that the run was bound to; null if to none.
    """

    n_ctx: int
    n_threads: int
    n_batch: int
    kv_type: str
    isa: str
    cpus: list[int] | None


Chooser = Callable[["NDArray[np.float32]", "list[int]"], int]


def chooser(tokenizer: Tokenizer) -> Chooser:
    """Greedy choice from a row of logits (V,), by the sampler that generate() uses."""
    sampler = Sampler(Options(temperature=0), vocab_size=tokenizer.vocab_size)
    return sampler.choose


class Subject:
    """A loaded model, and how fast it is, roughly. Leaving its `with` block frees the weights."""

    def __init__(
        self,
        path: Path,
        *,
        n_ctx: int,
        n_threads: int | None = None,
        n_batch: int = 512,
        kv_type: str = "f16",
        cpus: list[int] | None = None,
    ) -> None:
        """Loads and warms up. Raises what edgelm.load raises."""
        self.path = path
        start = time.perf_counter()
        network = open_network(
            path, n_ctx=n_ctx, n_parallel=2, n_threads=n_threads, n_batch=n_batch, kv_type=kv_type
        )
        self.load_s = time.perf_counter() - start
        self.model = Model(network)
        self.tokenizer = network.tokenizer
        self.choose = chooser(network.tokenizer)
        self.info = describe(open_gguf(path), network, kv_type)
        self.settings = Settings(
            n_ctx=n_ctx,
            n_threads=network.n_threads,
            n_batch=network.n_batch,
            kv_type=kv_type,
            isa=network.plan.isa,
            cpus=cpus,
        )
        self.weight_bytes = network.plan.weight_bytes
        self.states = network.graph.states
        self.prefill_s, self.decode_s = self._pilot()

    def __enter__(self) -> Subject:
        return self

    def __exit__(self, *_: object) -> None:
        self.model.close()

    def worker(self, **other: Any) -> Worker:
        """A process of its own with this model, loaded alike but for `other`."""
        settings: dict[str, Any] = {
            "engine": "edgelm",
            "n_ctx": self.settings.n_ctx,
            "n_threads": self.settings.n_threads,
            "n_batch": self.settings.n_batch,
            "kv_type": self.settings.kv_type,
            "cpus": self.settings.cpus,
        }
        return Worker(path=self.path, **(settings | other))

    def ids(self, n_tokens: int, seed: int = 0) -> list[int]:
        """Random token ids."""
        return random_ids(self.tokenizer.vocab_size, n_tokens, seed)

    def decode_times(self, session: Session, token: int, n_tokens: int) -> list[float]:
        """Milliseconds of each of n_tokens decoded behind `token`: a step and a choice."""
        times = []
        history = session.tokens
        before = time.perf_counter()
        for _ in range(n_tokens):
            row = session.decode(token)
            history.append(token)
            token = self.choose(row, history)
            now = time.perf_counter()
            times.append(1e3 * (now - before))
            before = now
        return times

    def kv_read_bytes(self, depth: int) -> int:
        """Bytes of keys and values that a token behind `depth` others reads; windows are heeded."""
        return state_bytes(self.states, depth, self.settings.kv_type)

    def _pilot(self) -> tuple[float, float]:
        """Seconds of a prompt token and of a decoded token, after a first run that warms up."""
        ids = self.ids(min(WARM_TOKENS, self.settings.n_ctx - 4))
        for _ in range(2):
            with self.model.session() as session:
                start = time.perf_counter()
                row = session.prefill(ids)
                prefill_s = (time.perf_counter() - start) / len(ids)
                decode = self.decode_times(session, self.choose(row, ids), 3)
        return prefill_s, 1e-3 * min(decode)


def describe(file: GgufFile, network: Network, kv_type: str) -> ModelInfo:
    """From the header; what a token costs, from the shapes of the matrices."""
    tensors = {t.name: t for t in file.tensors}
    head = tensors.get("output.weight", tensors["token_embd.weight"])
    layers = [t for t in tensors.values() if t.name.startswith("blk.")]
    used = _expert_share(file)
    n_weights = sum(math.prod(t.shape) for t in tensors.values())
    n_bytes = sum(t.n_bytes for t in tensors.values())
    return ModelInfo(
        name=Path(file.path).name,
        title=network.meta.name,
        architecture=network.meta.architecture,
        file_bytes=file.n_bytes,
        quant=main_type(list(tensors.values())),
        tensor_types=dict(Counter(t.type for t in tensors.values())),
        n_weights=n_weights,
        bits_per_weight=8 * n_bytes / n_weights,
        n_layers=network.meta.n_layers,
        vocab_size=network.row_width,
        n_ctx_train=network.meta.n_ctx_train,
        random_weights=bool(file.get(RANDOM_KEY)),
        bytes_per_token=head.n_bytes + sum(int(t.n_bytes * used(t)) for t in layers),
        layer_macs=sum(int(math.prod(t.shape) * used(t)) for t in layers if len(t.shape) > 1),
        head_macs=math.prod(head.shape),
        kv_bytes_per_token=state_bytes(network.graph.states, 64, kv_type) // 64,
    )


def main_type(tensors: list[TensorInfo]) -> str:
    """The type that holds most weights, with "+" if matrices have others, too."""
    weights: Counter[str] = Counter()
    for t in tensors:
        if len(t.shape) > 1:
            weights[t.type] += math.prod(t.shape)
    (most, _), *others = weights.most_common()
    return most + ("+" if others else "")


def _expert_share(file: GgufFile) -> Callable[[TensorInfo], float]:
    """A function of a tensor: the share of it that one token uses."""
    architecture = file.get("general.architecture")
    n = file.get(f"{architecture}.expert_count") or 1
    share = (file.get(f"{architecture}.expert_used_count") or n) / n
    return lambda tensor: share if "_exps" in tensor.name else 1.0
