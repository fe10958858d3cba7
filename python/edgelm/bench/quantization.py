"""The quantization table: files of one model by size, accuracy and speed.

Each file scores the same tokens of the prose beside this module, as llama.cpp's perplexity tool
does: chunks of N tokens, of which the second half counts. The largest file is the reference of the
KL divergence, KL(reference || file) = sum_v p(v) (ln p(v) - ln q(v)), the mean over positions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from ..api import Model
from ..gguf import open_gguf
from ..model import open_network
from .canvas import (
    SERIES,
    Plot,
    canvas,
)
from .numbers import count, mib, number, percent
from .prompts import PROSE
from .run import Run, Task
from .section import Section
from .subject import RANDOM_KEY, main_type
from .table import Table, label

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .results import ModelResult, Results
    from .subject import Subject

CHUNK = 512
ROWS = 32  # rows of V log-probabilities handled at once
SPEED_PROMPT = 128
LOGIT_S = 4e-8  # of float64 arithmetic on one logit


@dataclass
class Quantization:
    """One file of the quantization table: the files of one run that share a vocabulary.

    model: name of the file.
    quant: as in its ModelInfo.
    random_weights: as in its ModelInfo; its accuracy then means nothing.
    file_bytes: size of the file.
    compression: bytes of the weights as float32 over the bytes that they take.
    text: what was scored.
    n_tokens: positions scored.
    perplexity: exp of the mean negative log-probability a token.
    bits_per_byte: the same by bytes of text, comparable across tokenizers.
    reference: the file that KL divergence is taken from, the largest; null for that one itself.
    kl_nats: mean KL divergence of this file's distribution from the reference's.
    kl_samples: of every position.
    top_agreement: share of positions at which the likeliest token is the reference's.
    first_token_ms: median, prompt of 128 or the longest below that was run; null if none was.
    token_ms: median per decoded token at the smallest depth; null if not run.
    """

    model: str
    quant: str
    random_weights: bool
    file_bytes: int
    compression: float
    text: str
    n_tokens: int
    perplexity: float
    bits_per_byte: float
    reference: str | None
    kl_nats: float | None
    kl_samples: list[float]
    top_agreement: float | None
    first_token_ms: float | None
    token_ms: float | None


@dataclass
class _Scores:
    """What one file makes of the text."""

    nats: list[float]
    n_bytes: int
    kl: list[float]
    agreement: float | None


def measure(
    run: Run,
    seconds: Mapping[Path, float],
    results: Sequence[ModelResult],
    *,
    n_threads: int,
    chunks: int,
) -> list[Quantization]:
    """A row a file, the largest first; files of another vocabulary than the largest get no KL.

    seconds: of each file, that scoring it is thought to take (see `expected_s`).
    """
    speeds = {result.model.name: result for result in results}
    with TemporaryDirectory(prefix="edgelm-bench-") as folder:
        reference = _Reference(Path(folder) / "log-probabilities")

        def once(path: Path) -> Quantization:
            scores = _score(path, n_threads, chunks, reference)
            return _row(path, scores, reference.name, speeds.get(path.name))

        tasks = [
            Task(path.name, seconds[path], partial(once, path))
            for path in sorted(seconds, key=lambda p: -p.stat().st_size)
        ]
        found = run.collect("quantization", 1, tasks)
    return [rows[0] for rows in found.values()]


def expected_s(subject: Subject, chunks: int) -> float:
    """About how long a file takes: loading, computing, and arithmetic on rows of logits."""
    rows_s = CHUNK / 2 * subject.tokenizer.vocab_size * LOGIT_S
    return subject.load_s + chunks * (CHUNK * subject.prefill_s + rows_s)


class _Reference:
    """Log-probabilities of the first file, on disk: 4 bytes a position and vocabulary entry."""

    def __init__(self, path: Path) -> None:
        self.name = ""
        self._path = path
        self._ids: list[list[int]] | None = None
        self._vocab_size = 0
        self._position = 0

    def begin(self, name: str, chunks: list[list[int]], vocab_size: int) -> bool:
        """Whether KL can be had: not for the first file, nor for another vocabulary."""
        self._position = 0
        if self._ids is None:
            self.name, self._ids, self._vocab_size = name, chunks, vocab_size
            return False
        return (chunks, vocab_size) == (self._ids, self._vocab_size)

    def write(self, rows: NDArray[np.float64]) -> None:
        """The next rows (R, V)."""
        with self._path.open("ab") as file:
            rows.astype(np.float32).tofile(file)

    def read(self, n: int) -> NDArray[np.float64]:
        """The next n rows (n, V)."""
        offset = 4 * self._position * self._vocab_size
        self._position += n
        flat = np.fromfile(self._path, np.float32, n * self._vocab_size, offset=offset)
        return flat.reshape(n, self._vocab_size).astype(np.float64)


def _score(path: Path, n_threads: int, n_chunks: int, reference: _Reference) -> _Scores:
    network = open_network(path, n_ctx=CHUNK, n_parallel=1, n_threads=n_threads)
    tokenizer = network.tokenizer
    with Model(network) as model:
        ids = tokenizer.encode(PROSE.read_text(encoding="utf-8"))
        size = min(CHUNK, len(ids), network.meta.n_ctx_train)
        chunks = [ids[i : i + size] for i in range(0, len(ids) - size + 1, size)][:n_chunks]
        compared = reference.begin(path.name, chunks, tokenizer.vocab_size)
        scores = _Scores([], 0, [], None)
        agreed = 0
        for chunk in chunks:
            targets = chunk[size // 2 + 1 :]
            scores.n_bytes += sum(len(tokenizer.token_bytes(t)) for t in targets)
            if tokenizer.add_bos and tokenizer.bos_id is not None:
                chunk = [tokenizer.bos_id, *chunk[1:]]
            for start, rows in _log_probabilities(model, chunk, tokenizer.vocab_size):
                some = targets[start : start + len(rows)]
                scores.nats += [-float(row[t]) for row, t in zip(rows, some, strict=True)]
                if compared:
                    theirs = reference.read(len(rows))
                    scores.kl += divergence(theirs, rows)
                    agreed += int((theirs.argmax(-1) == rows.argmax(-1)).sum())
                else:
                    reference.write(rows)
        if compared:
            scores.agreement = agreed / len(scores.nats)
    return scores


def _log_probabilities(
    model: Model, chunk: list[int], vocab_size: int
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Log-softmax (R, V) of the positions of the second half, ROWS at a time, the last left out."""
    half = len(chunk) // 2
    with model.session() as session:
        session.prefill(chunk[:half])
        for start in range(half, len(chunk) - 1, ROWS):
            some = chunk[start : min(start + ROWS, len(chunk) - 1)]
            rows = session.prefill(some, all_logits=True)[:, :vocab_size].astype(np.float64)
            yield start - half, log_softmax(rows)


def log_softmax(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row of (R, V)."""
    shifted = rows - rows.max(-1, keepdims=True)
    out: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return out


def divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> list[float]:
    """KL(p || q) in nats of each row of log-probabilities (R, V)."""
    return [float(x) for x in (np.exp(p) * (p - q)).sum(-1)]


def _row(path: Path, scores: _Scores, reference: str, speed: ModelResult | None) -> Quantization:
    file = open_gguf(path)
    n_weights = sum(math.prod(t.shape) for t in file.tensors)
    nats = math.fsum(scores.nats)
    return Quantization(
        model=path.name,
        quant=main_type(file.tensors),
        random_weights=bool(file.get(RANDOM_KEY)),
        file_bytes=file.n_bytes,
        compression=4 * n_weights / sum(t.n_bytes for t in file.tensors),
        text=PROSE.name,
        n_tokens=len(scores.nats),
        perplexity=math.exp(nats / len(scores.nats)),
        bits_per_byte=nats / math.log(2) / scores.n_bytes,
        reference=reference if scores.kl else None,
        kl_nats=math.fsum(scores.kl) / len(scores.kl) if scores.kl else None,
        kl_samples=scores.kl,
        top_agreement=scores.agreement,
        first_token_ms=first_token_ms(speed),
        token_ms=speed.decode[0].token.median_ms if speed and speed.decode else None,
    )


def first_token_ms(speed: ModelResult | None) -> float | None:
    """Median first-token latency at a prompt of 128, or at the longest below."""
    rows = [
        row
        for row in (speed.first_token if speed else ())
        if row.state == "warm" and not row.n_cached and row.n_tokens <= SPEED_PROMPT
    ]
    return max(rows, key=lambda row: row.n_tokens).total.median_ms if rows else None


def _table(results: Results) -> Table:
    """Size, accuracy and speed of files of one model."""
    rows = [
        (
            label(results, q.model),
            q.quant,
            mib(q.file_bytes),
            f"{q.compression:.2f}",
            number(q.perplexity),
            number(q.bits_per_byte),
            "reference" if q.kl_nats is None else f"{q.kl_nats:.4f}",
            percent(q.top_agreement),
            number(q.first_token_ms),
            number(q.token_ms),
        )
        for q in results.quantization
    ]
    texts = ", ".join(
        sorted({f"{q.text} ({count(q.n_tokens)} positions)" for q in results.quantization})
    )
    return Table(
        "quantization",
        "Quantization",
        f"Scored on {texts}. Ratio: float32 weights over the file's. KL: mean divergence of the "
        "next token's distribution from the largest file's, in nats; agreement: positions at which "
        "the likeliest token is the same. Times are medians.",
        (
            *("file", "type", "MiB", "ratio", "perplexity", "bits/byte", "KL", "agreement"),
            *("first token ms", "token ms"),
        ),
        rows,
        frozenset({"file", "type"}),
    )


def _plot(results: Results) -> Iterator[Plot]:
    """What a smaller file costs."""
    files = [q for q in results.quantization if not q.random_weights]
    if len(files) < 2:
        return
    panels = [
        ("KL, nats", [(q, 0.0 if q.kl_nats is None else q.kl_nats) for q in files]),
        ("a token, ms", [(q, q.token_ms) for q in files if q.token_ms is not None]),
    ]
    panels = [panel for panel in panels if panel[1]]
    with canvas(len(panels), 1.9 * len(panels), sharex=True) as c:
        for ax, (text, values) in zip(c.axes, panels, strict=True):
            for i, (q, y) in enumerate(values):
                x = q.file_bytes / 2**20
                ax.plot([x], [y], "os^Dvp"[i % 6], color=SERIES[i % 6], markersize=6)
                ax.annotate(f" {q.quant}", (x, y), xytext=(5, 3), textcoords="offset points")
            ax.set_ylabel(text)
            ax.margins(x=0.2)
            ax.set_ylim(0, 1.3 * max(y for _, y in values) or 1)
        c.axes[-1].set_xlabel("file, MiB")
        yield c.plot(
            "quantization",
            "Size, accuracy and speed of the files",
            "KL: mean divergence from the largest file. Lower and further left is better.",
        )


QUANTIZATION = Section("quantization", 6, None, (_table,), (_plot,))
