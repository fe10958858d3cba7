"""What Python code or another thread may change while the native engine reads it."""

from __future__ import annotations

import itertools
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edgelm import _core
from edgelm.gguf import open_gguf
from edgelm.graph import Graph
from edgelm.tokenizer import Tokenizer
from tiny_models import TinyLlama

VOCAB, D = 50, 32


class Meddling:
    """A number that does something while it is read."""

    def __init__(self, number, action):
        self.number = number
        self.action = action

    def __index__(self):
        self.action()
        return self.number


@pytest.fixture
def hasty():
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Tokenizer:
    return Tokenizer(open_gguf(TinyLlama().write(tmp_path_factory.mktemp("shared") / "tiny.gguf")))


def embedded(graph: Graph, rng: np.random.Generator):
    table = rng.normal(size=(VOCAB, D)).astype(np.float32)
    return table, graph.embed(graph.constant("table", table))


def test_a_list_that_empties_itself_is_read_as_it_was(tokenizer):
    plain = [int(id) for id in tokenizer.encode("one two three four", add_special=False)] * 500
    ids: list[object] = list(plain)
    ids[0] = Meddling(plain[0], ids.clear)
    assert tokenizer.decode(ids) == tokenizer.decode(plain)
    assert not ids


def test_attributes_that_change_themselves_are_read_as_they_were(rng):
    graph = _core.Graph()
    table = graph.constant("table", rng.normal(size=(VOCAB, D)).astype(np.float32))
    x = graph.add("embed", [graph.input("tokens")], [table], {})
    attrs: dict[str, object] = {}

    def grow():
        attrs.update({f"extra{i}": i for i in range(1000)})

    attrs["factor"] = Meddling(3, grow)
    assert graph.add("scale", [x], [], attrs).shape == ("T", D)
    assert len(attrs) == 1001


def test_threads_may_build_one_graph_while_others_compile_it(rng, hasty):
    graph = Graph()
    table, x = embedded(graph, rng)
    graph.output("x", x)
    ids = np.arange(3, dtype=np.int32)

    def grow(number: int) -> None:
        for i in range(60):
            weight = graph.constant(f"w {number} {i}", np.ones((number + 1, D), np.float32))
            y = graph.linear(x, weight)
            assert y.shape == ("T", number + 1)
            graph.output(f"y {number} {i}", y)

    def compile(_: int) -> None:
        for _ in range(10):
            plan = graph.compile(n_batch=4, max_rows=4, n_threads=1)
            results = plan.run(None, ids, np.zeros(3, np.int32), ids)
            assert np.array_equal(results["x"], table[:3])

    with ThreadPoolExecutor(6) as pool:
        made = [*(pool.submit(grow, n) for n in range(4)), pool.submit(compile, 0)]
        for future in made:
            future.result()
    plan = graph.compile(n_batch=4, max_rows=4, n_threads=1)
    results = plan.run(None, ids, np.zeros(3, np.int32), ids)
    assert len(results) == 1 + 4 * 60


def test_threads_get_one_weight_of_a_file(tmp_path: Path, hasty):
    file = open_gguf(TinyLlama().write(tmp_path / "tiny.gguf"))
    names = [tensor.name for tensor in file.tensors]
    for _ in range(20):
        graph = Graph()
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(graph.weight, [file] * 8 * len(names), names * 8))
        assert len({id(weight) for weight in found}) == len(names)


def test_ids_that_change_during_a_run_do_no_harm(rng, hasty):
    """What was checked is what is read: an id far outside the table never reaches it."""
    graph = Graph()
    table, x = embedded(graph, rng)
    graph.output("x", x)
    n = 512
    plan = graph.compile(n_batch=n, max_rows=n, n_threads=1)
    tokens, ids = np.zeros(n, np.int32), np.arange(n, dtype=np.int32)
    done = threading.Event()

    def flip() -> None:
        for id in itertools.cycle((2**30, 7)):
            tokens[-1] = id
            if done.is_set():
                break

    flipping = threading.Thread(target=flip)
    flipping.start()
    good, outcomes = {table[0].tobytes(), table[7].tobytes()}, set()
    try:
        for _ in range(2000):
            try:
                rows = plan.run(None, tokens, np.zeros(n, np.int32), ids)["x"]
                outcomes.add("run" if rows[-1].tobytes() in good else "wrong")
            except ValueError as error:
                outcomes.add("refused" if str(2**30) in str(error) else str(error))
    finally:
        done.set()
        flipping.join()
    assert outcomes == {"run", "refused"}
