"""What idle texts may hold of the cache, and what happens when memory is short."""

from __future__ import annotations

import numpy as np
import pytest

from edgelm.engine import Engine, Request
from edgelm.options import Options
from edgelm.samplers import Sampler
from fake_network import VOCAB, FakeNetwork


def ask(engine, ids, n=1):
    """The ids that follow, of a text that is kept for others to begin with."""
    request = Request(
        ids,
        key=(),
        keep=True,
        sampler=Sampler(Options(temperature=0), vocab_size=VOCAB),
        limit=n,
        ahead=n,
    )
    engine.wait([request])
    return request


def test_idle_texts_take_one_whole_context_at_most():
    network = FakeNetwork(n_ctx=1024, n_parallel=8, n_batch=64)
    engine = Engine(network)
    for i in range(8):
        ask(engine, [i] * 900)
        assert network.cache.committed_bytes <= 2 * 1024
    # The seeded fault: without bounds, all eight would be there.
    assert 8 * 900 > 2 * 1024
    assert ask(engine, [7] * 901).cached == 900


def test_memory_that_runs_short_costs_idle_texts_first():
    network = FakeNetwork(n_ctx=1024, n_parallel=4, n_batch=64)
    engine = Engine(network)
    for i in range(3):
        ask(engine, [i] * 100)
    asked = []

    def short():
        asked.append(len(network.cache.texts))
        if len(network.cache.texts) > 2:
            raise MemoryError("seeded")

    network.before_run = short
    alone = FakeNetwork(n_ctx=1024).logits_of([9] * 20).argmax()
    assert ask(engine, [9] * 20).choices[0][0].token == alone
    assert asked == [4, 3, 2]


def test_memory_that_is_short_for_one_request_alone_ends_it():
    network = FakeNetwork()
    engine = Engine(network)

    def short():
        raise MemoryError("seeded")

    network.before_run = short
    with pytest.raises(MemoryError, match="seeded"):
        ask(engine, [9] * 20)
    network.before_run = lambda: None
    assert np.isfinite(ask(engine, [9] * 20).prefill_s)


def test_a_sequence_that_a_signal_kept_from_being_listed_is_had_again():
    network = FakeNetwork(n_parallel=2)
    engine = Engine(network)
    for _ in range(2):
        network.cache.create()  # seeded: in the cache, and in no list
    assert ask(engine, [1, 2, 3]).done
    assert len(network.cache.sequences) == 1
