"""Every op of csrc/plan/ops.def against its NumPy twin, on both regimes and 1 to 3 threads."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from edgelm import _core
from edgelm.graph import Graph, Value
from edgelm.reference import Reference, first_difference, weights_by_name

OPS_DEF = Path(__file__).parents[2] / "csrc" / "plan" / "ops.def"
D, HEADS, C, F, EXPERTS, VOCAB = 96, 4, 24, 80, 6, 50


class Builder:
    """A graph with named random constants; matmuls keep them as float32."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.graph = Graph()
        self.tables = {}

    def constant(self, name: str, *shape: int) -> _core.Weight:
        scale = shape[-1] ** -0.5 if len(shape) > 1 else 1.0
        self.tables[name] = self.rng.normal(0, scale, shape).astype(np.float32)
        return self.graph.constant(name, self.tables[name])

    def embedded(self) -> Value:
        return self.graph.embed(self.constant("table", VOCAB, D))


def embed(b: Builder) -> Value:
    by_position = b.graph.embed(b.constant("positions", 64, D), b.graph.positions)
    return b.graph.add(b.embedded(), by_position)


def linear(b: Builder) -> Value:
    x = b.embedded()
    y, z = b.graph.linears(
        x, b.constant("w", 70, D), b.constant("v", 70, D), biases=(b.constant("bias", 70), None)
    )
    return b.graph.mul(y, z)


def moe(b: Builder, **options: object) -> Value:
    weights = (
        b.constant("router", EXPERTS, D),
        b.constant("gate", EXPERTS, F, D),
        b.constant("up", EXPERTS, F, D),
        b.constant("down", EXPERTS, D, F),
    )
    return b.graph.moe(b.embedded(), *weights, top_k=2, **options)


def moe_sigmoid(b: Builder) -> Value:
    bias = b.constant("choice_bias", EXPERTS)
    return moe(b, score="sigmoid", normalize=False, scale=2.5, kind="gelu", choice_bias=bias)


def moe_biases(b: Builder) -> Value:
    shapes = {"router": (EXPERTS,), "gate": (EXPERTS, F), "up": (EXPERTS, F), "down": (EXPERTS, D)}
    biases = tuple(b.constant(f"{name}_bias", *shape) for name, shape in shapes.items())
    return moe(b, kind="quick_gelu", limit=0.5, offset=1.0, biases=biases)


def rms_norm(b: Builder) -> Value:
    x = b.graph.rms_norm(b.embedded(), b.constant("w", D), 1e-5)
    (y,) = b.graph.heads(C, x)
    return b.graph.rms_norm(y, b.constant("head_w", C), 1e-5)


def layer_norm(b: Builder) -> Value:
    x = b.graph.layer_norm(b.embedded(), b.constant("w", D), b.constant("bias", D), 1e-5)
    return b.graph.layer_norm(x, None, None, 1e-3)


def l2_norm(b: Builder) -> Value:
    (y,) = b.graph.heads(C, b.embedded())
    return b.graph.l2_norm(y)


def add(b: Builder) -> Value:
    x = b.embedded()
    column = b.graph.slice(x, 7, 1)
    return b.graph.add(b.graph.add(b.graph.add(x, x), b.constant("row", D)), column)


def mul(b: Builder) -> Value:
    (x,) = b.graph.heads(C, b.embedded())
    y = b.graph.mul(b.graph.mul(x, x), b.constant("row", C))
    flat = b.graph.linear(y, b.constant("w", D, D))
    return b.graph.mul(flat, b.graph.slice(flat, 7, 1))


def scale(b: Builder) -> Value:
    return b.graph.scale(b.embedded(), -1.7)


def softcap(b: Builder) -> Value:
    return b.graph.softcap(b.graph.scale(b.embedded(), 40), 2.5)


def activation(b: Builder) -> Value:
    x = table = b.embedded()
    for kind in ("silu", "gelu", "gelu_tanh", "relu", "relu2", "sigmoid", "tanh", "quick_gelu"):
        x = b.graph.add(b.graph.activation(x, kind), table)
    return x


def gated(b: Builder) -> Value:
    gate = b.embedded()
    up = b.graph.scale(gate, 3)
    return b.graph.gated(b.graph.gated(gate, up, "silu"), up, "gelu_tanh", limit=0.7)


def heads(b: Builder) -> Value:
    (x,) = b.graph.heads(C, b.embedded())
    return b.graph.scale(x, 2)


def slice(b: Builder) -> Value:
    fused = b.graph.linear(b.embedded(), b.constant("w", 3 * 40, D))
    q, k, v = b.graph.split(fused, 40, 40, 40)
    return b.graph.linear(b.graph.add(b.graph.mul(q, k), v), b.constant("o", D, 40))


def rope(b: Builder) -> Value:
    freq = b.graph.constant("freq", np.float32(100.0) ** -np.linspace(0, 1, 8, dtype=np.float32))
    (x,) = b.graph.heads(C, b.embedded())
    x = b.graph.rope(x, freq, mscale=1.25)
    return b.graph.rope(x, freq, interleaved=True)


def rows(b: Builder) -> Value:
    (x,) = b.graph.heads(C, b.graph.rows(b.embedded()))
    freq = b.graph.constant("freq", np.ones(4, np.float32))
    return b.graph.add(x, b.graph.rope(x, freq))


def pool(b: Builder) -> Value:
    x = b.embedded()
    return b.graph.add(b.graph.pool(x, "mean"), b.graph.pool(x, "first"))


BUILDERS = {
    f.__name__: f
    for f in (
        embed, linear, moe, moe_sigmoid, moe_biases, rms_norm, layer_norm, l2_norm, add, mul, scale,
        softcap, activation, gated, heads, slice, rope, rows, pool,
    )
}  # fmt: skip


def test_every_op_is_covered():
    ops = set(re.findall(r"^X\((\w+)\)", OPS_DEF.read_text(), re.MULTILINE))
    assert ops - set(BUILDERS) == {"kv", "attention"}  # test_attention.py, test_reference.py


def run_both(name: str, n_tokens: int, n_threads: int, fault: bool = False) -> str | None:
    rng = np.random.default_rng(3)
    builder = Builder(rng)
    graph = builder.graph
    graph.output("out", BUILDERS[name](builder))
    plan = graph.compile(n_batch=64, max_rows=64, n_threads=n_threads)
    tokens = rng.integers(0, VOCAB, n_tokens).astype(np.int32)
    wanted = np.unique([0, n_tokens // 2, n_tokens - 1]).astype(np.int32)
    sequences = np.zeros(n_tokens, np.int32)
    tables = dict(builder.tables)
    if fault:
        graph.constants["table"] = tables["table"] * np.float32(1.01)
    want = Reference(graph, weights_by_name(tables)).trace(tokens, wanted)
    got = plan.trace(None, tokens, sequences, wanted)
    results = plan.run(None, tokens, sequences, wanted)
    out = got[graph.outputs["out"]]
    assert np.array_equal(results["out"], out.reshape(len(out), -1))
    return first_difference(graph, got, want, tolerance=2e-5)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("n_tokens", [1, 5, 40])
@pytest.mark.parametrize("name", BUILDERS)
def test_op_matches_its_numpy_twin(name, n_tokens, n_threads):
    assert run_both(name, n_tokens, n_threads) is None


@pytest.mark.parametrize("name", BUILDERS)
def test_a_table_off_by_a_hundredth_is_seen(name):
    """The seeded fault of the test above."""
    assert "embed" in (run_both(name, 5, 2, fault=True) or "")


def test_moe_does_not_depend_on_its_batch():
    """A token's row has the same bits alone and among others, and with any threads."""
    results = []
    tokens = np.arange(30, dtype=np.int32)
    for n_threads in (1, 2, 3):
        builder = Builder(np.random.default_rng(3))
        builder.graph.output("out", moe(builder))
        plan = builder.graph.compile(n_batch=64, max_rows=1, n_threads=n_threads)
        zero, none = np.zeros(30, np.int32), np.zeros(0, np.int32)
        results.append(plan.run(None, tokens, zero, none)["out"])
        one = [plan.run(None, t, zero[:1], none)["out"][0] for t in tokens[:, None]]
        results.append(np.stack(one))
    assert all(np.array_equal(r, results[0]) for r in results)


# --- errors at the call that is wrong -----------------------------------------------------------


def test_wrong_shapes_name_what_got_and_expected(rng):
    b = Builder(rng)
    x = b.embedded()
    with pytest.raises(ValueError, match=r"linear.*'w' \(8, 7\) have 7.*\(T, 96\) have 96"):
        b.graph.linear(x, b.constant("w", 8, 7))
    with pytest.raises(ValueError, match=r"add.*\(T, 96\) and \(R, 96\)"):
        b.graph.add(x, b.graph.rows(x))
    with pytest.raises(ValueError, match=r"'kind' is 'swish', expected one of silu, gelu"):
        b.graph.activation(x, "swish")
    with pytest.raises(ValueError, match="no op 'attend'; the ops are embed"):
        b.graph._native.add("attend", [], [], {})
    with pytest.raises(ValueError, match="unknown attribute 'epsilon'"):
        b.graph._native.add("rms_norm", [x.native], [None], {"eps": 1e-5, "epsilon": 1.0})
    with pytest.raises(ValueError, match="'eps' must be a number"):
        b.graph._native.add("rms_norm", [x.native], [None], {"eps": [1]})
    with pytest.raises(ValueError, match="belongs to another graph"):
        b.graph.add(x, Builder(rng).embedded())
    with pytest.raises(ValueError, match=r"top_k.*is 7, expected 1 to 6"):
        b.graph.moe(
            x,
            b.constant("r", EXPERTS, D),
            b.constant("g", EXPERTS, F, D),
            b.constant("u", EXPERTS, F, D),
            b.constant("d", EXPERTS, D, F),
            top_k=7,
        )


def test_bad_limits_are_rejected(rng):
    b = Builder(rng)
    with pytest.raises(ValueError, match="no output"):
        b.graph.compile(n_batch=1, max_rows=1, n_threads=1)
    b.graph.output("out", b.embedded())
    for name in ("n_batch", "max_rows", "n_threads"):
        limits = {"n_batch": 1, "max_rows": 1, "n_threads": 1, name: 0}
        with pytest.raises(ValueError, match=f"{name} is 0"):
            b.graph.compile(**limits)


def test_a_graph_can_be_compiled_twice_and_grow(rng):
    b = Builder(rng)
    x = b.embedded()
    b.graph.output("x", x)
    first = b.graph.compile(n_batch=4, max_rows=4, n_threads=1)
    b.graph.output("twice", b.graph.scale(x, 2))
    second = b.graph.compile(n_batch=4, max_rows=4, n_threads=2)
    ids = np.arange(3, dtype=np.int32)
    args = (None, ids, np.zeros(3, np.int32), ids)
    assert list(first.run(*args)) == ["x"]
    results = second.run(*args)
    assert np.array_equal(2 * results["x"], results["twice"])


def test_one_value_may_be_several_outputs_and_a_view(rng):
    b = Builder(rng)
    x = b.graph.rms_norm(b.embedded(), None, 1e-5)
    b.graph.output("a", x)
    b.graph.output("b", x)
    b.graph.output("part", b.graph.slice(x, 5, 20))
    for n_threads in (1, 3):
        plan = b.graph.compile(n_batch=20, max_rows=1, n_threads=n_threads)
        for n in (2, 20):
            ids = np.arange(n, dtype=np.int32)
            results = plan.run(None, ids, ids * 0, ids[:0])
            assert np.array_equal(results["a"], results["b"])
            assert np.array_equal(results["a"][:, 5:25], results["part"])
