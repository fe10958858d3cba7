"""What the native engine offers to the Python layer. Not public: use the edgelm package."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
Floats = NDArray[np.float32]

# --- processor ---------------------------------------------------------------------------------

def usable_isas() -> list[str]: ...
def active_isa() -> str: ...
def cpu_features() -> list[str]: ...

class MemoryRoom:
    """Bytes that this process may still take, and whose limit that is, as a phrase."""

    @property
    def bytes(self) -> int: ...
    @property
    def limit(self) -> str: ...

def memory_room(root: str = "") -> MemoryRoom:
    """The least of what the machine, the control groups and the address space leave."""

def physical_bytes() -> int:
    """The machine's memory."""

class Cpu:
    """A processor as the system counts them, a hardware thread; what is not shown is 0."""

    cpu: int
    core: int  # number of the first processor of its physical core
    cluster: int  # which kind of core, the fastest 0
    capacity: int  # the scheduler's figure, the fastest 1024
    max_mhz: float
    midr: int  # on ARM implementer << 12 | part number
    speed: float  # beside the fastest, which is 1
    usable: bool  # affinity mask and cpuset let this thread run there
    fast: bool  # usable, and of a core that counts for the default number of threads

class Core:
    """A physical core that this thread may use."""

    cpus: list[int]  # its processors that this thread may use
    cluster: int
    speed: float
    fast: bool

class Topology:
    cpus: list[Cpu]  # online, by number; empty where the system shows none
    cores: list[Core]  # usable, the fastest first
    quota: (
        float  # CPUs' worth of time by the least cgroup quota of all levels; inf if there is none
    )
    n_threads: int  # the default: the fast cores, no more than the quota feeds; at least 1

def read_topology(root: str = "") -> Topology:
    """Read anew what /sys and /proc below `root` say; "" is this machine."""

def usable_cores() -> int:
    """The default number of threads: n_threads of this machine's topology, read anew."""

# --- gguf --------------------------------------------------------------------------------------

class TensorInfo:
    name: str
    type: str  # as in GGUF, upper case: "Q4_K"
    shape: tuple[int, ...]  # rows first: (N, K); the reverse of GGUF's dims
    offset: int  # bytes from the start of its file part
    n_bytes: int
    part: int  # which file of a split model

class GgufFile:
    """A parsed GGUF header; maps nothing.

    Raises ModelFormatError, UnsupportedModelError, OSError.
    """

    def __init__(self, path: str | PathLike[str]) -> None: ...
    path: str
    version: int
    alignment: int
    n_bytes: int  # of all parts
    n_parts: int
    tensors: list[TensorInfo]  # a new list at each access
    remarks: list[str]  # what is odd in the header, but does no harm
    def keys(self) -> list[str]: ...
    def get(self, key: str) -> Any:
        """A scalar, str, list of str, or NumPy array of numbers or bools; None if absent."""
    def array_length(self, key: str) -> int:
        """Length of an array value without building it; -1 if absent or no array."""
    def read(self, tensor: TensorInfo) -> NDArray[np.uint8]:
        """The tensor's raw bytes (for tests, `info` and small tables)."""

# --- tokenizer ---------------------------------------------------------------------------------

class Tokenizer:
    """The vocabulary of a file and the model that splits text into it. Immutable.

    Raises ModelFormatError for broken arrays, ValueError for a malformed pattern.
    """

    def __init__(
        self,
        file: GgufFile,
        *,
        model: str,  # "bpe", "character-bpe", "sentencepiece", "unigram" or "wordpiece"
        patterns: Sequence[str],  # of BPE's pre-tokenizer, applied one after the other
        whole_words: bool,  # a word that is a token is not merged
        space_prefix: bool,
        remove_extra_spaces: bool,
        strip_after: bool,  # blanks after a control token belong to it,
        keep_after: Sequence[str],  # but for these
        unknown: int,  # -1: none
        control: Sequence[str],  # names to be taken as control tokens, whatever the file says
        user_defined: Sequence[str],
        markers: Sequence[str],  # names that parse_special is to find, whatever their type
    ) -> None: ...
    def __len__(self) -> int: ...
    def find(self, name: str) -> int:
        """The id of the token of that name, special ones included; -1 if none."""
    def token_bytes(self, id: int) -> bytes: ...
    def partition(self, text: str, parse_special: bool) -> list[str | int]:
        """The text between special tokens, and their ids."""
    def encode(self, text: str, parse_special: bool) -> list[int]:
        """UnicodeEncodeError for an unpaired surrogate. Releases the GIL."""
    def encode_fragment(self, text: str, first: bool) -> list[int]:
        """A text of partition(); `first`: it begins the text or follows a special token."""
    def decode(self, ids: Sequence[int], special: bool) -> bytes: ...

def split(patterns: Sequence[str], text: str) -> list[str]:
    """The pieces that a pre-tokenizer cuts text into (for tests)."""

# --- graph and plan ----------------------------------------------------------------------------

class Weight:
    name: str
    type: str
    shape: tuple[int, ...]

class Value:
    shape: tuple[str | int, ...]  # the first axis is "T" (tokens) or "R" (wanted rows)

class Graph:
    """Ops in the order they were added. Shapes are checked by `add`, which raises ValueError."""

    def __init__(self) -> None: ...
    def weight(self, file: GgufFile, name: str, exact: bool = False) -> Weight: ...
    def constant(self, name: str, array: Floats) -> Weight: ...
    def input(self, name: str) -> Value:
        """ "tokens" or "positions"."""
    def states(self) -> list[StateSpec]:
        """What its ops keep of every sequence, in their order."""
    def add(
        self,
        op: str,
        inputs: Sequence[Value],
        weights: Sequence[Weight | None],
        attrs: Mapping[str, float | int | str | bool],
    ) -> Value:
        """Append one op of csrc/plan/ops.def and return its (only) result."""
    def output(self, name: str, value: Value) -> None: ...
    def compile(self, *, n_batch: int, max_rows: int, n_threads: int) -> Plan:
        """Load and pack the weights in parallel, lay out the arena, place the barriers."""

class CancelFlag:
    """Set from any thread to stop a run within 50 ms."""

    def set(self) -> None: ...

class Plan:
    isa: str
    n_threads: int
    n_batch: int
    max_rows: int
    weight_bytes: int  # packed
    arena_bytes: int
    def kv_cache(self, *, n_ctx: int, n_parallel: int, kv_type: str) -> KvCache: ...
    def run(
        self,
        cache: KvCache | None,
        tokens: Ids,
        sequences: Ids,
        wanted: Ids,
        *,
        positions: Ids | None = None,
        embeddings: Floats | None = None,
        adapters: Ids | None = None,
        cancel: CancelFlag | None = None,
        out: dict[str, Floats] = ...,
    ) -> dict[str, Floats] | None:
        """Run T <= n_batch tokens, grouped by sequence, each behind what the cache has of its own.

        positions: (T,) or (T, P), what rope and tables of positions see; by default each token's
        place in its sequence. embeddings: (n, D), rows of the token table for tokens of id -1, in
        their order. adapters: one a sequence, in their order; 0 is none, and the only one there is.

        Returns each output's (R, width) rows for the R <= max_rows wanted indices into the batch,
        in the array that `out` has for it or in a new one; or None if it was cancelled, the
        cache's lengths being then as before. Releases the GIL. Raises Busy if the plan is running,
        CacheFullError before any compute if a token has no room, ValueError for ids or positions
        out of range or arrays of the wrong form, and what a signal handler raises.
        """
    def trace(
        self,
        cache: KvCache | None,
        tokens: Ids,
        sequences: Ids,
        wanted: Ids,
        *,
        positions: Ids | None = None,
    ) -> list[Floats]:
        """Run, and return every value of the graph in order: its inputs (empty), then each op's.

        A value of shape ("T", 9, 64) comes as (T, 9, 64); a KV handle comes empty.
        """
    def force_threads(self, n_threads: list[int]) -> None: ...
    def profile(self) -> list[dict[str, Any]]:
        """Per step since the last call; the first call only starts the recording.

        {"name": the kernel, "node": index of its `Graph.add` or -1, "ns": on the caller's thread,
        "wait_ns": at the barrier before it, "barrier": whether it has one, "bytes": of weights,
        "macs", "runs"}.
        """

class StateSpec:
    """What an op keeps of every sequence: keys and values of its tokens, or plain bytes."""

    def __init__(
        self,
        *,
        layer: int = 0,
        n_heads: int = 0,
        k_width: int = 0,
        v_width: int = 0,
        window: int = 0,
        fixed_bytes: int = 0,
    ) -> None: ...
    layer: int  # a number of its own
    n_heads: int  # of keys (n_heads, k_width) and values (n_heads, v_width) of each token,
    k_width: int
    v_width: int
    window: int  # or of the last so many; 0 keeps all
    fixed_bytes: int  # or else: bytes that do not grow

KV_TYPES: tuple[str, ...]  # of keys and values
PAGE_TOKENS: int  # tokens of a page of the KV cache

def state_bytes(states: Sequence[StateSpec], n_tokens: int, kv_type: str) -> int:
    """What one sequence takes of the KV cache, in whole pages.

    A window keeps a page on each side of it, to roll back and to begin in.
    """

class KvCache:
    n_ctx: int
    n_parallel: int
    reserved_bytes: int
    @property
    def sequences(self) -> list[int]:
        """Handles of those that are alive."""
    @property
    def context_bytes(self) -> int:
        """Of one sequence of n_ctx tokens."""
    @property
    def committed_bytes(self) -> int: ...
    def create(self) -> int:
        """A new empty sequence; CacheFullError when n_parallel are alive."""
    def fork(self, sequence: int) -> int: ...
    def drop(self, sequence: int) -> None: ...
    def length(self, sequence: int) -> int: ...
    def truncate(self, sequence: int, n: int) -> int:
        """Forget all but the first n tokens; returns how many are kept (windows may keep fewer)."""

# --- select: reading a row of logits -------------------------------------------------------------
# Each raises LogitsError if the row holds NaN or +inf, or nothing above -inf.

def argmax(logits: Floats) -> int:
    """The largest logit's id in (V,); the lowest id of equal ones."""

def top(logits: Floats, k: int) -> tuple[Ids, Floats]:
    """Ids and logits of the min(k, V) largest in (V,), largest first, lower ids first; no -inf."""

def chain_names() -> list[str]:
    """The samplers that a Chain may hold, in llama.cpp's order."""

class Chain:
    def __init__(self, top_k: int, samplers: Sequence[tuple[str, float]]) -> None:
        """Take the top_k candidates, all if it is 0; apply each named sampler with its number."""

    def candidates(self, logits: Floats) -> tuple[Ids, NDArray[np.float64]]:
        """Of the row (V,), what is left: ids (n,) and logits (n,), highest first."""

    def choose(self, logits: Floats, u: float) -> int:
        """Of the row (V,), the candidate at which the cumulative probability passes u < 1."""

class Edits:
    """Bias, then penalties: what a request does to a row (V,) before its chain."""

    def __init__(
        self, biased: Ids, bias: Floats, repeat: float, presence: float, frequency: float
    ) -> None:
        """bias[i] is added to token biased[i]; 1, 0 and 0 penalize nothing."""
    empty: bool
    penalizes: bool
    def apply(self, row: Floats, recent: Ids) -> None:
        """Edit the row in place; the penalties are for the tokens of `recent`."""

def choose(rows: Sequence[tuple[Floats, Edits, Chain, Ids, float]]) -> list[int]:
    """The token of each row: its logits, edits, chain, recent tokens and 0 <= u < 1.

    The logits stay as they are. -1 for a row at which `Chain.choose` raises LogitsError. Releases
    the GIL once for all.
    """

def log_sum_exp(logits: Floats) -> NDArray[np.float64]:
    """log(sum(exp(row))) of every row of (R, V): (R,) in nats, error about 1e-7."""

# --- kernels, for tests and benches ------------------------------------------------------------

def quants() -> list[tuple[str, int, int, int]]:
    """(name, GGUF id, weights a block, bytes a block) of every weight type."""

def decode_rows(quant: str, rows: NDArray[np.uint8], k: int) -> Floats:
    """(N, row bytes) as in the file to (N, k) floats, exactly."""

class PackedMatrix:
    """N rows of K weights packed for one ISA."""

    def __init__(
        self, isa: str, quant: str, rows: NDArray[np.uint8], k: int, exact: bool = False
    ) -> None: ...
    n: int
    k: int
    n_bytes: int
    def unpack_row(self, row: int) -> Floats: ...
    def matmul(self, x: Floats, form: str = "auto", n_threads: int = 1) -> Floats:
        """(T, K) floats to (T, N); form is "auto", "fused" or "panel"."""

def kernel_addresses(isa: str) -> dict[str, int]:
    """Where the code of each of an ISA's kernels starts, by kernel name."""

def quantize(isa: str, quant: str, x: Floats, exact: bool = False) -> Floats:
    """x as the kernels of that weight type see it: quantized, then decoded to floats again."""

def clock_hz() -> float:
    """Core cycles a second now, from a chain of dependent adds; about a millisecond."""

def measure_peaks(isa: str, n_threads: int = 1, n_bytes: int = 1 << 28) -> dict[str, float]:
    """What the machine can do at best with that ISA's instructions; about 0.2 s.

    "clock_hz"; multiply-accumulates a cycle of one core, operands in registers and products not
    summed: "u8s8_mac_cycle", "i16_mac_cycle", "f32_mac_cycle" (summed); and "read_gb_s", n_bytes
    of memory read by n_threads together.
    """

class RowKernels:
    """One ISA's kernels on rows of floats, (T, D) in and out."""

    def __init__(self, isa: str) -> None: ...
    def rms_norm(self, x: Floats, w: Floats | None, eps: float) -> Floats: ...
    def layer_norm(self, x: Floats, w: Floats | None, b: Floats | None, eps: float) -> Floats: ...
    def add(self, a: Floats, b: Floats) -> Floats: ...
    def mul(self, a: Floats, b: Floats) -> Floats: ...
    def scale(self, x: Floats, s: float) -> Floats: ...
    def softcap(self, x: Floats, cap: float) -> Floats: ...
    def activation(self, kind: str, x: Floats) -> Floats: ...
    def gated(self, kind: str, gate: Floats, up: Floats) -> Floats: ...
    def rope(self, x: Floats, cos_sin: Floats, interleaved: bool) -> Floats:
        """Rotates heads x (T, C); cos_sin (T, 2 * pairs) holds the cosines, then the sines."""

def attention(
    isa: str,
    q: Floats,
    k: Floats,
    v: Floats,
    positions: Ids,
    *,
    kv_type: str = "f16",
    causal: bool = True,
    window: int = 0,
    scale: float = 1.0,
    softcap: float = 0.0,
    sinks: Floats | None = None,
    alibi: Floats | None = None,
    chunk: int = 1,
    split: bool = False,
) -> Floats:
    """q (T, H, C) over k and v (S, C) of one K/V head, by calls of `chunk` queries: (T, H, C).

    `split` sums every block of 256 slots by a call of its own and merges them.
    """
