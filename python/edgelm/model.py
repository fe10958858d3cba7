"""One loaded model: its weights, plan, KV cache and tokenizer."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import _core
from .arch import build
from .errors import ModelFormatError
from .gguf import open_gguf
from .graph import CancelFlag, Graph, KvCache, Plan
from .memory import check_activations_fit, check_cache_fits, check_weights_fit
from .meta import Meta
from .tokenizer import Tokenizer
from .weights import EXACT, Weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.int32]
    Floats = NDArray[np.float32]

MAX_LOGITS_BYTES = 32 << 20
KV_TYPES = _core.KV_TYPES


@dataclass
class Network:
    """Weights, plan and KV cache of one model. Not thread-safe: a second `run` raises Busy."""

    meta: Meta
    tokenizer: Tokenizer
    graph: Graph
    plan: Plan
    cache: KvCache
    n_ctx: int
    n_parallel: int
    kv_type: str
    parameters: int
    row_width: int  # floats of a row of logits: the first vocab_size are of tokens, others padding

    @property
    def vocab_size(self) -> int:
        """Tokens of the vocabulary."""
        return self.tokenizer.vocab_size

    @property
    def n_batch(self) -> int:
        """Tokens that one `run` takes."""
        return self.plan.n_batch

    @property
    def max_rows(self) -> int:
        """Rows of logits that one `run` gives."""
        return self.plan.max_rows

    @property
    def n_threads(self) -> int:
        """Threads that share a run."""
        return self.plan.n_threads

    def run(
        self,
        tokens: Ids,
        sequences: Ids,
        wanted: Ids,
        *,
        embeddings: Floats | None = None,
        adapters: Ids | None = None,
        cancel: CancelFlag | None = None,
        out: Floats | None = None,
    ) -> Floats | None:
        """Logits (R, row_width) of the wanted ones of T <= n_batch tokens.

        None if it was cancelled. They come in `out` if it is given. Tokens are grouped by sequence
        and continue it. See `_core.Plan.run` for the errors.
        """
        results = self.plan.run(
            self.cache,
            tokens,
            sequences,
            wanted,
            embeddings=embeddings,
            adapters=adapters,
            cancel=cancel,
            out={} if out is None else {"logits": out},
        )
        return None if results is None else results["logits"]


def open_network(
    path: str | os.PathLike[str],
    *,
    n_ctx: int | None = None,
    n_parallel: int = 4,
    n_threads: int | None = None,
    n_batch: int = 512,
    kv_type: str = "f16",
    activations: str = "auto",
) -> Network:
    """Load a GGUF file: read its header, write its graph, pack its weights.

    Costs about one read of the file. Raises ModelFormatError or UnsupportedModelError for the file,
    OSError if it can't be read, ValueError for the arguments, MemoryError if there is no memory for
    the weights and the KV cache of one whole context.
    """
    if activations not in EXACT:
        raise ValueError(f"activations is {activations!r}; expected one of {', '.join(EXACT)}.")
    file = open_gguf(Path(path))
    meta = Meta(file, n_ctx)
    tokenizer = Tokenizer(file)
    graph = Graph()
    logits = build(graph, meta, Weights(file, graph, activations))
    graph.output("logits", logits)
    row_width = logits.width
    if row_width < tokenizer.vocab_size:
        raise ModelFormatError(
            f"{file.path}: the tokenizer has {tokenizer.vocab_size:,} tokens but the output layer "
            f"only {row_width:,} rows."
        )
    weight_bytes = sum(t.n_bytes for t in file.tensors)
    room = _core.memory_room()
    check_weights_fit(weight_bytes, room)
    check_cache_fits(graph.states, meta.n_ctx, kv_type, weight_bytes, room)
    plan = graph.compile(
        n_batch=min(n_batch, meta.n_ctx),
        max_rows=max(1, min(n_batch, MAX_LOGITS_BYTES // (4 * row_width))),
        n_threads=n_threads or _core.usable_cores(),
    )
    check_activations_fit(plan.arena_bytes, plan.n_batch, weight_bytes, room)
    cache = plan.kv_cache(n_ctx=meta.n_ctx, n_parallel=n_parallel, kv_type=kv_type)
    return Network(
        meta,
        tokenizer,
        graph,
        plan,
        cache,
        n_ctx=meta.n_ctx,
        n_parallel=n_parallel,
        kv_type=kv_type,
        parameters=sum(math.prod(t.shape) for t in file.tensors),
        row_width=row_width,
    )
