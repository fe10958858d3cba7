"""A plan's promises: the same bits however it is run, clear errors, cancellation, profiles."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from edgelm import _core
from edgelm.errors import Busy, CacheFullError
from edgelm.graph import Graph, Plan
from plans import SUPPORT, all_logits, cache_of, compiled, run
from tiny_models import TinyLlama

N_TOKENS, VOCAB = 70, 260


@pytest.fixture(scope="module")
def ids() -> np.ndarray:
    return np.random.default_rng(5).integers(0, VOCAB, N_TOKENS).astype(np.int32)


@pytest.fixture(scope="module", params=["F32", "F16", "Q8_0", "Q4_0", "Q5_1"])
def model(request, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("plan") / f"{request.param}.gguf"
    # 64 is no multiple of 3 threads x 16 columns, 96 is: both kinds of split.
    return TinyLlama(quant=request.param, tied=request.param == "Q8_0").write(path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Plan:
    return compiled(TinyLlama().write(tmp_path_factory.mktemp("plan") / "plain.gguf"))


# --- the same bits --------------------------------------------------------------------------------


def test_bits_do_not_depend_on_chunks_or_threads(model, ids):
    want = all_logits(compiled(model, 1), ids, N_TOKENS)
    assert np.isfinite(want).all()
    for n_threads in (1, 2, 3, 4):
        plan = compiled(model, n_threads)
        for chunk in (1, 7, 8, 9, 64, N_TOKENS):
            got = all_logits(plan, ids, chunk)
            assert np.array_equal(got.view(np.int32), want.view(np.int32)), (n_threads, chunk)


def test_bits_do_not_depend_on_who_takes_which_chunk(tmp_path, ids):
    # Parts of many chunks, and neighbours that read x in different formats.
    model = TinyLlama(
        n_layers=2, width=256, ff_width=3072, quants={"gate": "Q4_0", "up": "Q8_0", "down": "F16"}
    ).write(tmp_path / "wide.gguf")
    want = all_logits(compiled(model, 1), ids[:24], 1)
    for n_threads in (2, 3, 5):
        plan = compiled(model, n_threads)
        for chunk in (1, 3, 8):
            got = all_logits(plan, ids[:24], chunk)
            assert np.array_equal(got.view(np.int32), want.view(np.int32)), (n_threads, chunk)


def test_bits_do_not_depend_on_batch_mates(model, ids):
    plan = compiled(model)
    want = all_logits(plan, ids, N_TOKENS)
    cache = cache_of(plan)
    a, b, c = (cache.create() for _ in range(3))
    run(plan, cache, ids[:40], np.full(40, a, np.int32))
    run(plan, cache, ids[::-1][:9].copy(), np.full(9, b, np.int32))
    # a goes on with 5 tokens, b with 1, c starts with 20, all in one batch.
    mixed = np.concatenate([ids[40:45], ids[:1], ids[:20]])
    owners = np.repeat(np.array([a, b, c], np.int32), (5, 1, 20))
    got = run(plan, cache, mixed, owners)
    assert np.array_equal(got[:5], want[40:45])
    assert np.array_equal(got[6:], want[:20])
    # Decode of two sequences at once.
    got = run(plan, cache, np.array([ids[45], ids[20]]), np.array([a, c], np.int32))
    assert np.array_equal(got, want[[45, 20]])
    # The seeded fault: another token in the prefix changes the bits.
    other = ids.copy()
    other[0] ^= 1
    assert not np.array_equal(all_logits(plan, other, N_TOKENS)[45], want[45])


def test_wanted_rows_are_those_of_all(plain, ids):
    want = all_logits(plain, ids, N_TOKENS)
    for wanted in ([], [0], [69], [3, 8, 40], list(range(60, 70))):
        cache = cache_of(plain)
        owners = np.full(N_TOKENS, cache.create(), np.int32)
        got = run(plain, cache, ids, owners, np.array(wanted, np.int32))
        assert got.shape == (len(wanted), VOCAB)
        assert np.array_equal(got, want[wanted])


def test_trace_ends_with_the_logits_of_run(plain, ids):
    want = all_logits(plain, ids, N_TOKENS)
    for n in (3, N_TOKENS):
        cache = cache_of(plain)
        owners = np.full(n, cache.create(), np.int32)
        trace = plain.trace(cache, ids[:n], owners, np.arange(n, dtype=np.int32))
        assert np.array_equal(trace[-1], want[:n])


# --- bad arguments --------------------------------------------------------------------------------


def test_bad_batches_are_rejected_before_any_compute(plain):
    cache = cache_of(plain, n_parallel=1)
    s = cache.create()

    def attempt(message, tokens=(1, 2), sequences=(s, s), wanted=(1,), **options):
        arrays = [np.array(a, np.int32) for a in (tokens, sequences, wanted)]
        options = {name: np.array(value) for name, value in options.items()}
        with pytest.raises(ValueError, match=message):
            plain.run(cache, *arrays, **options)
        assert cache.length(s) == 0
        assert cache.committed_bytes == 0

    def int32(*values):
        return np.array(values, np.int32)

    attempt("token id -1 at index 1", tokens=(0, -1))
    attempt(f"token id {VOCAB} at index 0.*{VOCAB} tokens", tokens=(VOCAB, 0))
    attempt("position -1 is negative", positions=int32(5, -1))
    attempt(f"position {-(2**31)} is negative", positions=int32([5, 5], [5, -(2**31)]))
    for wrong in (int32(0), int32(), int32([1, 2]), int32([], []), int32([[1]], [[2]])):
        attempt(r"positions must have the shape \(2,\) or \(2, P\)", positions=wrong)
    attempt("3 numbers a token; the model's rope takes 1", positions=int32([0] * 3, [1] * 3))
    row = np.zeros((1, 64), np.float32)
    attempt("1 rows of embeddings for 0 tokens", embeddings=row)
    attempt("1 rows of embeddings for 2 tokens", (-1, -1), embeddings=row)
    attempt("0 rows of embeddings for 1 tokens", (1, -1), embeddings=row[:0])
    attempt("63 values a row, expected 64", (-1, 1), embeddings=row[:, :63].copy())
    attempt("token id -2 at index 1", (-1, -2), embeddings=row)
    attempt("row 0 of the embeddings is not finite", (-1, 1), embeddings=row * np.float32("nan"))
    attempt(r"embeddings must have the shape \(n, D\)", (-1, 1), embeddings=row[0])
    attempt(r"embeddings must have the shape \(n, D\)", embeddings=row[:, :0])
    attempt("there is no adapter 1", adapters=int32(1))
    attempt("there is no adapter -1", adapters=int32(-1))
    attempt("2 adapters for 1 sequences", adapters=int32(0, 0))
    attempt("adapters are none", adapters=int32())
    attempt("3 sequences for 2 tokens", sequences=(s, s, s))
    attempt("sequence", sequences=(s + 1, s + 1))
    attempt("wanted index 2 is outside", wanted=(2,))
    attempt("wanted index -1", wanted=(-1,))
    attempt("must rise, got 0 after 1", wanted=(1, 0))
    attempt("must rise, got 1 after 1", wanted=(1, 1))
    attempt("a batch of 0 tokens", (), (), ())
    many = np.zeros(129, np.int32)
    attempt("a batch of 129 tokens, expected 1 to 128", many, many + s)
    with pytest.raises(ValueError, match="KV cache"):
        plain.run(None, *(np.zeros(1, np.int32),) * 3)
    with pytest.raises(TypeError):
        plain.run(cache, *(np.zeros(1, np.int64),) * 3)
    with pytest.raises(ValueError, match="one-dimensional"):
        plain.run(cache, *(np.zeros((1, 1), np.int32),) * 3)


def test_a_full_cache_is_an_error_and_leaves_it_as_it_was(plain, ids):
    cache = plain.kv_cache(n_ctx=64, n_parallel=1, kv_type="f16")
    owners = np.full(N_TOKENS, cache.create(), np.int32)
    with pytest.raises(CacheFullError):
        run(plain, cache, ids, owners)
    assert cache.length(owners[0]) == 0
    run(plain, cache, ids[:64], owners[:64])
    with pytest.raises(CacheFullError):
        run(plain, cache, ids[:1], owners[:1])
    assert cache.length(owners[0]) == 64


def test_a_file_that_shrinks_after_load_is_an_error(tmp_path, ids):
    """An untied table is read while running; then nothing was computed for the batch."""
    path = TinyLlama().write(tmp_path / "tiny.gguf")
    plan = compiled(path)
    cache = cache_of(plan)
    owners = np.full(N_TOKENS, cache.create(), np.int32)
    with path.open("r+b") as file:
        file.truncate(3000)
    with pytest.raises(OSError, match=r"tiny\.gguf"):
        run(plan, cache, ids, owners)
    assert cache.length(owners[0]) == 0


def test_a_file_that_changes_after_load_is_an_error(tmp_path, ids):
    """Rows of another model would be read for the table, at the same size of the file."""
    path = TinyLlama().write(tmp_path / "tiny.gguf")
    plan = compiled(path)
    want = all_logits(plan, ids, 64)
    before = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    with pytest.raises(OSError, match=r"tiny\.gguf"):
        all_logits(plan, ids, 64)
    tied = compiled(TinyLlama(tied=True).write(path))
    path.unlink()
    assert all_logits(tied, ids, 64).shape == want.shape


# --- one run at a time, and its end ---------------------------------------------------------------


@pytest.fixture(scope="module")
def slow() -> Plan:
    """Takes a good part of a second: 512 tokens through 40 matmuls of one big weight."""
    graph = Graph()
    rng = np.random.default_rng(1)
    weight = graph.constant("w", rng.normal(0, 1 / 32, (1024, 1024)).astype(np.float32))
    x = graph.embed(weight)
    for _ in range(40):
        x = graph.rms_norm(graph.linear(x, weight), None, 1e-5)
    graph.output("x", graph.rows(x))
    return graph.compile(n_batch=512, max_rows=1, n_threads=2)


def start_slow(plan: Plan, cancel: _core.CancelFlag | None = None):
    ids = np.arange(512, dtype=np.int32)
    return plan.run(None, ids, ids * 0, ids[-1:], cancel=cancel)


def test_a_run_is_cancelled_within_50_ms(slow):
    start = time.perf_counter()
    want = start_slow(slow)["x"]
    whole = time.perf_counter() - start
    flag = _core.CancelFlag()
    set_at = []

    def set_flag() -> None:
        set_at.append(time.perf_counter())
        flag.set()

    timer = threading.Timer(whole / 4, set_flag)
    timer.start()
    assert start_slow(slow, flag) is None
    delay = time.perf_counter() - set_at[0]
    assert delay < min(0.25, whole / 2)  # 50 ms on a machine that does nothing else
    assert np.array_equal(start_slow(slow)["x"], want)


def test_a_second_run_at_once_is_busy(slow):
    flag = _core.CancelFlag()
    thread = threading.Thread(target=start_slow, args=(slow, flag))
    thread.start()
    time.sleep(0.05)
    with pytest.raises(Busy, match="running on another thread"):
        start_slow(slow)
    with pytest.raises(Busy):
        slow.profile()
    flag.set()
    thread.join()


def test_a_signal_handler_stops_a_run(slow):
    class Stop(Exception):  # noqa: N818
        pass

    def handler(*_: object) -> None:
        raise Stop

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(Stop):
            start_slow(slow)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert start_slow(slow) is not None


def test_cancelling_before_a_run_does_nothing_to_the_cache(plain, ids):
    flag = _core.CancelFlag()
    flag.set()
    cache = cache_of(plain)
    owners = np.full(N_TOKENS, cache.create(), np.int32)
    assert run(plain, cache, ids, owners, cancel=flag) is None
    assert cache.length(owners[0]) == 0
    assert np.array_equal(run(plain, cache, ids, owners), all_logits(plain, ids, 64))


def test_plans_run_side_by_side(plain, ids, tmp_path):
    other = compiled(TinyLlama(seed=8).write(tmp_path / "other.gguf"), n_threads=3)
    want = {p: all_logits(p, ids, 64) for p in (plain, other)}
    wrong = []

    def work(plan: Plan) -> None:
        wrong.extend(
            n for n in range(20) if not np.array_equal(all_logits(plan, ids, 16), want[plan])
        )

    threads = [threading.Thread(target=work, args=(p,)) for p in want]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_a_forked_child_computes_too(plain, ids):
    want = all_logits(plain, ids, 64)
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # a hang must not outlive the test
        os._exit(0 if np.array_equal(all_logits(plain, ids, 64), want) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_idle_threads_burn_nothing(plain, ids):
    all_logits(plain, ids, 64)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.05


# --- what a plan says of itself -------------------------------------------------------------------


def test_profile_counts_every_multiply_and_byte(tmp_path, ids):
    plan = compiled(TinyLlama(quant="Q8_0").write(tmp_path / "tiny.gguf"))
    assert plan.profile() == []
    all_logits(plan, ids, N_TOKENS)
    steps = plan.profile()
    matmuls = [s for s in steps if s["name"] == f"matmul-q8_0-{plan.isa}"]
    per_layer = 64 * 64 * 2 + 32 * 64 * 2 + 3 * 96 * 64
    assert sum(s["macs"] for s in matmuls) == N_TOKENS * (3 * per_layer + VOCAB * 64)
    assert all(s["ns"] > 0 and s["runs"] == 1 for s in matmuls)
    # Packed, q8_0 takes at least the file's 34 bytes for 32 weights.
    packed = sum(s["bytes"] for s in matmuls)
    assert packed >= (3 * per_layer + VOCAB * 64) * 34 / 32
    assert packed <= plan.weight_bytes
    assert plan.profile() == []


def test_decode_has_few_barriers(plain, ids):
    plain.profile()
    all_logits(plain, ids[:3], 1)
    steps = plain.profile()
    assert all(s["runs"] == 3 for s in steps)
    assert sum(s["barrier"] for s in steps) <= 3 * 6 + 3  # a layer: 6; the whole: 3


def test_what_a_plan_holds(plain):
    assert plain.isa == _core.active_isa()
    assert (plain.n_threads, plain.n_batch, plain.max_rows) == (2, 128, 128)
    weights = 3 * (64 * 64 * 2 + 32 * 64 * 2 + 3 * 96 * 64 + 2 * 64) + VOCAB * 64 + 64
    assert 4 * weights <= plain.weight_bytes <= 4.2 * weights
    # Every buffer of every layer apart would be three times this.
    assert plain.arena_bytes < 128 * 4 * (10 * 64 + 4 * 96) + 2 * 2**20


def test_running_allocates_nothing(tmp_path):
    """Hundreds of decode steps leave the process as big as it was."""
    script = f"""
        import resource, sys
        import numpy as np
        sys.path.insert(0, {str(SUPPORT)!r})
        from pathlib import Path
        from plans import cache_of, compiled, run
        plan = compiled(Path(sys.argv[1]))
        cache = cache_of(plan)
        owner = np.array([cache.create()], np.int32)
        def decode(n):
            for i in range(n):
                if cache.length(owner[0]) == 200:
                    cache.truncate(owner[0], 0)
                run(plan, cache, np.array([i % 200], np.int32), owner)
        decode(300)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        decode(600)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    path = TinyLlama().write(tmp_path / "tiny.gguf")
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(out.stdout) < 512  # KiB
