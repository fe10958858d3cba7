"""A deterministic stand-in for a Network in pure NumPy, strict about the contract that it fakes.

The logits of a token are a fixed function of all ids up to it, so text that is reused, forked or
replayed wrongly shows at once. Its tokens are bytes, plus a few that span or split characters.
"""

import codecs
import threading
import time
import zlib
from types import SimpleNamespace

import numpy as np

from edgelm.errors import Busy, CacheFullError
from edgelm.graph import Graph

BOS, EOS = 256, 257
WORDS = {258: b"ab", 259: b"abc", 260: b" STOP ", 261: b"", 262: "é".encode()}
VOCAB = 263
PADDING = 5  # logits of no token, behind the others


class FakeCache:
    """Holds ids where the real one holds keys and values; a `window` forgets what is behind it."""

    def __init__(self, n_ctx, n_parallel, window=None):
        self.n_ctx, self.n_parallel, self.window = n_ctx, n_parallel, window
        self.texts = {}
        self._next = 0

    @property
    def sequences(self):
        return list(self.texts)

    @property
    def context_bytes(self):  # a byte a token
        return self.n_ctx

    @property
    def committed_bytes(self):
        return sum(map(len, self.texts.values()))

    def create(self):
        if len(self.texts) >= self.n_parallel:
            raise CacheFullError("no sequence is left")
        self._next += 1
        self.texts[self._next] = []
        return self._next

    def fork(self, sequence):
        copy = self.create()
        self.texts[copy] = self.texts[sequence][:]
        return copy

    def drop(self, sequence):
        del self.texts[sequence]

    def length(self, sequence):
        return len(self.texts[sequence])

    def truncate(self, sequence, n):
        text = self.texts[sequence]
        assert 0 <= n <= len(text)
        if self.window and n < len(text):
            n = n // self.window * self.window  # what lies behind the window is gone
        del text[n:]
        return n


class FakeTokenizer:
    vocab_size = VOCAB
    bos_id = BOS
    eos_id = EOS
    chat_template = None
    tool_template = None
    eog = frozenset({EOS})

    def __init__(self, add_bos=True):
        self.add_bos = add_bos

    def encode(self, text, *, add_special=True, parse_special=False):
        ids = list(text.encode())
        return [BOS, *ids] if add_special and self.add_bos else ids

    def token_bytes(self, token):
        return bytes([token]) if token < 256 else WORDS.get(token, b"")

    def decode(self, ids, *, special=False):
        return b"".join(map(self.token_bytes, ids)).decode(errors="replace")

    def decoder(self, special=False, *, continues=False):
        incremental = codecs.getincrementaldecoder("utf-8")("replace")
        return SimpleNamespace(
            push=lambda token: incremental.decode(self.token_bytes(token)),
            flush=lambda: incremental.decode(b"", True),
        )


class FakeNetwork:
    """`script` makes greedy replies: the ids that follow each other once the prompt is over.

    `step_s` is how long a run takes; it polls its cancel flag every millisecond of it.
    """

    def __init__(
        self, *, n_ctx=64, n_parallel=4, n_batch=8, max_rows=3, window=None, script=(), step_s=0.0
    ):
        self.n_ctx, self.n_parallel = n_ctx, n_parallel
        self.vocab_size, self.row_width = VOCAB, VOCAB + PADDING
        self.n_batch, self.max_rows, self.n_threads = n_batch, max_rows, 1
        self.cache = FakeCache(n_ctx, n_parallel, window)
        self.tokenizer = FakeTokenizer()
        self.script, self.step_s = list(script), step_s
        self.computed = 0  # tokens so far
        self.batches = []  # tokens of every run
        self.broken = None  # a value to put among the logits
        self.before_run = lambda: None
        self._running = threading.Lock()
        graph = Graph()
        graph.output("x", graph.embed(graph.constant("one", np.ones((1, 1)))))
        self._plan = graph.compile(n_batch=1, max_rows=1, n_threads=1)

    def _is_set(self, cancel):
        """Only a run can tell: a real one, of one id."""
        one = np.zeros(1, np.int32)
        return self._plan.run(None, one, one, one[:0], cancel=cancel) is None

    def logits_of(self, text):
        """The logits that follow a text, (V,) float32."""
        seed = zlib.crc32(np.array(text, np.int32).tobytes())
        row = np.random.default_rng(seed).normal(size=VOCAB).astype(np.float32)
        if self.script:
            row[EOS] -= 50
        follower = self._scripted(text)
        if follower is not None:
            row[follower] += 100
        if self.broken is not None:
            row[5] = self.broken
        return row

    def _scripted(self, text):
        """The script begins after the id 0, so that a prompt says where it ends."""
        if not self.script or 0 not in text:
            return None
        at = len(text) - 1 - text[::-1].index(0)
        said = len(text) - 1 - at
        return self.script[said] if said < len(self.script) else EOS

    def run(
        self, tokens, sequences, wanted, *, embeddings=None, adapters=None, cancel=None, out=None
    ):
        if not self._running.acquire(blocking=False):
            raise Busy("the network is running")
        try:
            tokens = self._seen(tokens, sequences, embeddings, adapters)
            rows = self._run(tokens, sequences, wanted, cancel)
            if rows is None or out is None:
                return rows
            assert out.shape == rows.shape
            out[:] = rows
            return out
        finally:
            self._running.release()

    def _seen(self, tokens, sequences, embeddings, adapters):
        """Ids that stand for what else decides their keys and values."""
        assert (tokens == -1).sum() == (0 if embeddings is None else len(embeddings))
        seen = tokens.copy()
        if embeddings is not None:
            assert embeddings.dtype == np.float32
            seen[tokens == -1] = [zlib.crc32(row.tobytes()) >> 1 for row in embeddings]
        starts = np.flatnonzero(np.diff(sequences, prepend=-1))
        if adapters is not None:
            assert len(adapters) == len(starts)
            seen ^= np.repeat(adapters, np.diff(starts, append=len(tokens))).astype(np.int32) << 20
        return seen

    def _run(self, tokens, sequences, wanted, cancel):
        self.before_run()
        for array in (tokens, sequences, wanted):
            assert array.dtype == np.int32
            assert array.ndim == 1
        assert 1 <= len(tokens) <= self.n_batch
        assert len(wanted) <= self.max_rows
        assert len(tokens) == len(sequences)
        groups = [s for i, s in enumerate(sequences) if i == 0 or s != sequences[i - 1]]
        assert len(groups) == len(set(groups)), "not grouped by sequence"
        texts = {s: self.cache.texts[s][:] for s in groups}
        rows = []
        for i, (token, s) in enumerate(zip(tokens, sequences, strict=True)):
            assert len(texts[s]) < self.n_ctx, "no room"
            texts[s].append(int(token))
            if i in wanted:
                rows.append(np.append(self.logits_of(texts[s]), [np.float32(1e9)] * PADDING))
        end = time.perf_counter() + self.step_s
        while True:
            if cancel is not None and self._is_set(cancel):
                return None
            if time.perf_counter() >= end:
                break
            time.sleep(0.001)
        self.cache.texts.update(texts)
        self.computed += len(tokens)
        self.batches.append(len(tokens))
        return np.array(rows, np.float32).reshape(len(rows), VOCAB + PADDING)
