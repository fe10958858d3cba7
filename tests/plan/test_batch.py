"""What a batch may hold beside ids: positions of its own, of several numbers, and embeddings."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgelm.arch import build
from edgelm.gguf import open_gguf
from edgelm.graph import Graph
from edgelm.meta import Meta
from edgelm.reference import Reference, first_difference, weights_by_name
from edgelm.rope import plain_rope
from edgelm.weights import Weights
from plans import all_logits, cache_of, compiled, run
from tiny_models import TinyLlama, decode

N_TOKENS, VOCAB = 40, 260


@pytest.fixture(scope="module")
def ids() -> np.ndarray:
    return np.random.default_rng(5).integers(0, VOCAB, N_TOKENS).astype(np.int32)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return TinyLlama().write(tmp_path_factory.mktemp("batch") / "tiny.gguf")


@pytest.fixture(scope="module")
def plan(path):
    return compiled(path, n_batch=64)


def logits_at(plan, ids, positions, chunk=N_TOKENS):
    cache = cache_of(plan)
    owner = cache.create()
    parts = [slice(i, i + chunk) for i in range(0, len(ids), chunk)]
    rows = [
        run(plan, cache, ids[part], np.full(len(ids[part]), owner, np.int32),
            positions=positions[part])
        for part in parts
    ]  # fmt: skip
    return np.concatenate(rows)


# --- positions ------------------------------------------------------------------------------------


def test_positions_are_the_places_in_a_sequence_unless_given(plan, ids):
    want = all_logits(plan, ids, N_TOKENS)
    own = np.arange(N_TOKENS, dtype=np.int32)
    for chunk in (1, 7, N_TOKENS):
        assert np.array_equal(logits_at(plan, ids, own, chunk), want)
        assert np.array_equal(logits_at(plan, ids, own[:, None], chunk), want)


@pytest.mark.parametrize("shift", [1, 1000, 1 << 20])
def test_rope_sees_only_how_far_apart_tokens_are(plan, ids, shift):
    want = all_logits(plan, ids, N_TOKENS)
    shifted = np.arange(shift, shift + N_TOKENS, dtype=np.int32)
    got = logits_at(plan, ids, shifted)
    # A sharp score makes more of a key that rounds to the other float16, at most so much.
    assert np.abs(got - want).max() < 2e-2 * want.std()
    assert not np.array_equal(got, want)
    for chunk in (1, 7):
        assert np.array_equal(logits_at(plan, ids, shifted, chunk), got)
    # The seeded fault: tokens twice as far apart.
    stretched = logits_at(plan, ids, shifted * 2 - shift)
    assert np.abs(stretched - want).max() > 0.3 * want.std()


def test_shifted_positions_match_the_reference(path, ids):
    file, graph = open_gguf(path), Graph()
    graph.output("logits", build(graph, Meta(file), Weights(file, graph, "int16")))
    plan = graph.compile(n_batch=64, max_rows=64, n_threads=2)
    cache = cache_of(plan)
    positions = np.sort(np.random.default_rng(6).integers(0, 5000, N_TOKENS)).astype(np.int32)
    wanted = np.array([3, N_TOKENS - 1], np.int32)
    owners = np.full(N_TOKENS, cache.create(), np.int32)
    got = plan.trace(cache, ids, owners, wanted, positions=positions)
    reference = Reference(graph, weights_by_name(decode(path)))
    want = reference.trace(ids, wanted, positions)
    assert first_difference(graph, got, want, tolerance=5e-3) is None
    # The seeded fault: positions that go on without gaps.
    wrong = first_difference(graph, got, reference.trace(ids, wanted), tolerance=5e-3)
    assert "rope" in (wrong or "")


def multimodal_rope(x, positions, sections):
    """Source: Qwen2-VL's published code: cosines of an axis each for its section of the pairs.

    x (T, H, C), positions (T, 3); pairs are (i, i + C / 2).
    """
    n = x.shape[-1] // 2
    angles = positions.T[:, :, None] * plain_rope(2 * n, 1e4).inv_freq  # (3, T, C / 2)
    angles = np.concatenate([angles, angles], axis=-1)
    starts = np.cumsum([0, *sections, *sections])
    parts = [angles[i % 3, :, a:b] for i, (a, b) in enumerate(itertools.pairwise(starts))]
    angle = np.concatenate(parts, axis=-1)[:, None]
    half = np.concatenate([-x[..., n:], x[..., :n]], axis=-1)
    return x * np.cos(angle) + half * np.sin(angle)


@pytest.mark.parametrize("n_tokens", [3, N_TOKENS])
def test_positions_of_three_numbers(n_tokens):
    """As images have them: each number turns the pairs of its section."""
    rng = np.random.default_rng(4)
    sections, n = (2, 3, 3), 8
    table = rng.standard_normal((64, 3 * 2 * n)).astype(np.float32)
    freq = plain_rope(2 * n, 1e4).inv_freq
    axis = np.repeat(np.arange(3), sections)
    split = np.where(np.arange(3)[:, None] == axis, freq, 0).astype(np.float32)
    graph = Graph()
    (x,) = graph.heads(2 * n, graph.embed(graph.constant("table", table)))
    graph.output("three", graph.rope(x, graph.constant("split", split)))
    graph.output("rows", graph.rope(graph.rows(x), graph.constant("split", split)))
    plan = graph.compile(n_batch=64, max_rows=64, n_threads=2)
    tokens = np.arange(n_tokens, dtype=np.int32)
    positions = rng.integers(0, 300, (n_tokens, 3)).astype(np.int32)
    wanted = np.array([1, n_tokens - 1], np.int32)
    zero = np.zeros(n_tokens, np.int32)
    got = plan.run(None, tokens, zero, wanted, positions=positions)
    want = multimodal_rope(
        table[tokens].reshape(n_tokens, 3, -1).astype(float), positions, sections
    )
    want = want.reshape(n_tokens, -1)
    np.testing.assert_allclose(got["three"], want, atol=3e-5)
    assert np.array_equal(got["rows"], got["three"][wanted])
    reference = Reference(graph, weights_by_name({})).run(tokens, wanted, positions)
    np.testing.assert_allclose(reference["three"].reshape(n_tokens, -1), want, atol=1e-5)
    wrong = multimodal_rope(
        table[tokens].reshape(n_tokens, 3, -1), positions[:, [0, 2, 1]], sections
    )
    assert np.abs(got["three"] - wrong.reshape(n_tokens, -1)).max() > 0.1  # axes are told apart
    # A text has one number, which stands for three: the bits of plain rope.
    plain = Graph()
    (x,) = plain.heads(2 * n, plain.embed(plain.constant("table", table)))
    plain.output("one", plain.rope(x, plain.constant("freq", freq.astype(np.float32))))
    one = plain.compile(n_batch=64, max_rows=64, n_threads=2)
    text = one.run(None, tokens, zero, wanted, positions=positions[:, 0].copy())["one"]
    for same in (positions[:, 0].copy(), np.repeat(positions[:, :1], 3, axis=1)):
        assert np.array_equal(plan.run(None, tokens, zero, wanted, positions=same)["three"], text)
    with pytest.raises(ValueError, match="2 numbers a token; the model's rope takes 3"):
        plan.run(None, tokens, zero, wanted, positions=positions[:, :2].copy())


def test_positions_beyond_what_the_model_has_are_refused(ids):
    graph, table = Graph(), np.arange(64, dtype=np.float32).reshape(16, 4)
    graph.output("x", graph.embed(graph.constant("positions", table), graph.positions))
    plan = graph.compile(n_batch=64, max_rows=1, n_threads=1)
    zero, none = np.zeros(3, np.int32), np.zeros(0, np.int32)

    def rows(*positions):
        return plan.run(None, zero, zero, none, positions=np.array(positions, np.int32))["x"]

    assert np.array_equal(rows(15, 0, 3), table[[15, 0, 3]])
    assert np.array_equal(plan.run(None, zero, np.array([4, 4, 9], np.int32), none)["x"],
                          table[[0, 1, 0]])  # fmt: skip
    for bad in (16, 2**31 - 1):
        with pytest.raises(ValueError, match=f"position {bad} at index 1 .* has 16 positions"):
            rows(0, bad, 0)
    with pytest.raises(ValueError, match="position -1 is negative"):
        rows(0, -1, 0)
    with pytest.raises(ValueError, match="2 numbers a token; the model's table takes 1"):
        rows((0, 0), (1, 1), (2, 2))
    many = np.zeros(17, np.int32)
    with pytest.raises(ValueError, match="position 16 at index 16"):
        plan.run(None, many, many, none)


def test_rope_bears_any_position(plan, ids):
    """The last of 2^31 is as finite as the first."""
    last = np.full(N_TOKENS, 2**31 - 1, np.int32)
    assert np.isfinite(logits_at(plan, ids, last)).all()


# --- embeddings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("quant", ["F32", "Q8_0"])
def test_rows_of_embeddings_give_what_their_ids_give(tmp_path, ids, tied, quant):
    path = TinyLlama(quant=quant, tied=tied).write(tmp_path / "tiny.gguf")
    file, graph = open_gguf(path), Graph()
    graph.output("logits", build(graph, Meta(file), Weights(file, graph)))
    (embed,) = (i for i, node in enumerate(graph.nodes) if node.op == "embed")
    want = None
    for n_threads in (1, 3):
        plan = graph.compile(n_batch=64, max_rows=64, n_threads=n_threads)
        want = all_logits(plan, ids, N_TOKENS) if want is None else want
        cache = cache_of(plan)
        owners = np.full(N_TOKENS, cache.create(), np.int32)
        table = plan.trace(cache, ids, owners, owners[:0])[embed]
        hidden = np.zeros(N_TOKENS, bool)
        hidden[[0, 2, 3, 11, 12, 13, N_TOKENS - 1]] = True
        given = np.where(hidden, -1, ids).astype(np.int32)
        for chunk in (1, 3, 8, 16, N_TOKENS):
            owner = cache.create()
            rows = []
            for part in (slice(i, i + chunk) for i in range(0, N_TOKENS, chunk)):
                owners = np.full(len(ids[part]), owner, np.int32)
                rows.append(
                    run(plan, cache, given[part], owners, embeddings=table[part][hidden[part]])
                )
            cache.drop(owner)
            assert np.array_equal(np.concatenate(rows), want), (n_threads, chunk)
        # The seeded fault: two rows changed places.
        owners = np.full(N_TOKENS, cache.create(), np.int32)
        other = table[hidden][[1, 0, *range(2, 7)]]
        assert not np.array_equal(run(plan, cache, given, owners, embeddings=other), want)


def test_embeddings_belong_to_the_tokens_of_their_order(plan, ids):
    """Beside another sequence, and with an adapter of 0 for each."""
    table = np.random.default_rng(8).standard_normal((3, 64)).astype(np.float32)
    alone = []
    for row in table:
        cache = cache_of(plan)
        owner = np.array([cache.create()], np.int32)
        alone.append(run(plan, cache, np.array([-1], np.int32), owner, embeddings=row[None])[0])
    cache = cache_of(plan)
    owners = np.array([cache.create() for _ in range(4)], np.int32)
    tokens = np.array([-1, 7, -1, -1], np.int32)
    zeros = np.zeros(4, np.int32)
    got = run(plan, cache, tokens, owners, embeddings=table, adapters=zeros)
    assert np.array_equal(got[[0, 2, 3]], np.stack(alone))


# --- one layer's keys and values for another ------------------------------------------------------


@pytest.mark.parametrize("n_tokens", [5, N_TOKENS])
def test_a_layer_may_read_what_another_keeps(rng, n_tokens):
    def graph_of(*, shares: bool) -> Graph:
        g = Graph()
        x = g.embed(g.constant("table", tables["table"]))
        for layer in range(2):
            q, k, v = g.heads(16, *(g.linear(x, g.constant(f"{n}{layer}", tables[f"{n}{layer}"]))
                                    for n in "qkv"))  # fmt: skip
            own = () if shares and layer > 0 else (k, v)
            source = 0 if shares else layer
            x = g.add(x, g.attention(q, *own, layer=source, scale=0.25, window=8 * layer))
        g.output("x", x)
        return g

    shape = {"q": (64, 64), "k": (32, 64), "v": (32, 64)}
    tables = {"table": rng.standard_normal((VOCAB, 64)).astype(np.float32)}
    for layer in range(2):
        for n in "qkv":
            tables[f"{n}{layer}"] = rng.normal(0, 1 / 8, shape[n]).astype(np.float32)
    graph = graph_of(shares=True)
    assert [(s.layer, s.n_heads, s.k_width, s.window) for s in graph.states] == [(0, 2, 16, 0)]
    plan = graph.compile(n_batch=64, max_rows=1, n_threads=2)
    tokens = rng.integers(0, VOCAB, n_tokens).astype(np.int32)
    cache = cache_of(plan)
    owners = np.full(n_tokens, cache.create(), np.int32)
    got = plan.run(cache, tokens, owners, owners[:0])["x"]
    want = Reference(graph, weights_by_name(tables)).run(tokens)["x"]
    assert np.abs(got - want).max() < 2e-3
    apart = Reference(graph_of(shares=False), weights_by_name(tables)).run(tokens)["x"]
    assert np.abs(got - apart).max() > 0.1  # its own keys and values would be others
    with pytest.raises(ValueError, match="layer 7 has no keys and values yet"):
        graph.attention(graph.heads(16, graph.embed(graph.constant("t", tables["table"])))[0],
                        layer=7, scale=1.0)  # fmt: skip
