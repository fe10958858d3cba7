"""The engine's sequences and steps, on a network whose logits depend on the whole text."""

import threading
import time

import numpy as np
import pytest

import edgelm
from edgelm.engine import Engine, Request, checked_ids, common_prefix
from edgelm.errors import Busy, CacheFullError, ClosedError, ContextFullError
from edgelm.options import Options
from edgelm.samplers import Sampler
from edgelm.session import Session, decode_batch
from fake_network import VOCAB, FakeNetwork
from tiny_models import TinyLlama


def open_session(engine):
    return Session(engine, engine.open())


@pytest.fixture
def network():
    return FakeNetwork()


@pytest.fixture
def engine(network):
    return Engine(network)


def reply(engine, ids, keep=True):
    """What generate does with a prompt: the last row, and the tokens that were not computed."""
    request = Request(ids, key="prompts", keep=keep, rows_from=len(ids) - 1)
    engine.wait([request])
    return request.rows[-1][-1], request.cached


# --- the two phases ------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 9, 16, 17, 64])
def test_prefill_gives_every_row_and_the_last(network, engine, n):
    ids = list(range(1, n + 1))
    expected = [network.logits_of(ids[: i + 1]) for i in range(n)]
    with open_session(engine) as session:
        np.testing.assert_array_equal(session.prefill(ids, all_logits=True), expected)
    with open_session(engine) as session:
        last = session.prefill(ids)
        np.testing.assert_array_equal(last, expected[-1])
        assert last.shape == (VOCAB,)
        assert session.tokens == ids
        assert len(session) == n


def test_prefill_runs_in_full_chunks(network, engine):
    open_session(engine).prefill(range(20))
    assert network.batches == [8, 8, 4]  # n_batch
    network.batches.clear()
    open_session(engine).prefill(range(20), all_logits=True)
    assert network.batches == [3, 3, 3, 3, 3, 3, 2]  # max_rows


def test_prefill_appends_and_decode_goes_on(network, engine):
    with open_session(engine) as session:
        session.prefill([1, 2, 3])
        two = session.prefill([4, 5], all_logits=True)
        one = session.decode(6)
    np.testing.assert_array_equal(two[0], network.logits_of([1, 2, 3, 4]))
    np.testing.assert_array_equal(two[1], network.logits_of([1, 2, 3, 4, 5]))
    np.testing.assert_array_equal(one, network.logits_of([1, 2, 3, 4, 5, 6]))


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("n", [0, 1, 5, 9, 10])
def test_truncate_replays_what_a_window_forgot(n, window):
    network = FakeNetwork(window=window)
    with open_session(Engine(network)) as session:
        ids = list(range(10, 20))
        session.prefill(ids)
        session.truncate(n)
        assert session.tokens == ids[:n]
        rows = session.prefill([7, 8, 9, 10, 11], all_logits=True)
        for i, row in enumerate(rows):
            np.testing.assert_array_equal(
                row, network.logits_of(ids[:n] + [7, 8, 9, 10, 11][: i + 1])
            )
        session.truncate(n)
        np.testing.assert_array_equal(session.decode(3), network.logits_of([*ids[:n], 3]))


def test_fork_goes_its_own_way(network, engine):
    a = open_session(engine)
    a.prefill([1, 2, 3])
    b = a.fork()
    np.testing.assert_array_equal(a.decode(4), network.logits_of([1, 2, 3, 4]))
    np.testing.assert_array_equal(b.decode(5), network.logits_of([1, 2, 3, 5]))
    assert (a.tokens, b.tokens) == ([1, 2, 3, 4], [1, 2, 3, 5])
    a.close()
    b.decode(6)


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_decode_batch_is_each_alone(network, engine, batch):
    sessions = [open_session(engine) for _ in range(batch)]
    for i, session in enumerate(sessions):
        session.prefill([9] * (i + 1))
    rows = decode_batch(engine, sessions, list(range(batch)))
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(row, network.logits_of([9] * (i + 1) + [i]))


def test_decode_batch_refuses_nonsense(engine):
    a, b = open_session(engine), open_session(engine)
    stranger = open_session(Engine(FakeNetwork()))
    a.prefill([1])
    for sessions, ids, error, match in (
        ([a, a], [1, 2], ValueError, "twice"),
        ([a, b], [1], ValueError, "one id for each"),
        ([], [], ValueError, "no token ids"),
        ([a, stranger], [1, 2], ValueError, "another model"),
        ([a, None], [1, 2], TypeError, "sessions of this model"),
        ([a, b], [1, VOCAB], ValueError, "vocabulary"),
    ):
        with pytest.raises(error, match=match):
            decode_batch(engine, sessions, ids)
    assert a.tokens == [1]


def test_an_interrupted_prefill_leaves_no_trace(network, engine):
    session = open_session(engine)
    session.prefill([1, 2, 3])
    runs = iter([None, None, KeyboardInterrupt()])

    def interrupt():
        if (error := next(runs)) is not None:
            raise error

    network.before_run = interrupt
    with pytest.raises(KeyboardInterrupt):
        session.prefill(range(30))
    network.before_run = lambda: None
    assert session.tokens == [1, 2, 3]
    np.testing.assert_array_equal(session.decode(4), network.logits_of([1, 2, 3, 4]))


def test_an_interrupted_prefill_may_cost_what_a_window_forgot():
    network = FakeNetwork(n_batch=1, window=3)
    session = open_session(Engine(network))
    session.prefill([1, 2])
    runs = iter([None, KeyboardInterrupt()])

    def interrupt():
        if (error := next(runs)) is not None:
            raise error

    network.before_run = interrupt
    with pytest.raises(KeyboardInterrupt):
        session.prefill([3, 4])
    network.before_run = lambda: None
    np.testing.assert_array_equal(session.decode(5), network.logits_of([1, 2, 5]))


def test_an_interrupted_batch_leaves_no_trace(network, engine):
    sessions = [open_session(engine) for _ in range(4)]  # more than max_rows: two runs
    for session in sessions:
        session.prefill([1])
    runs = iter([None, KeyboardInterrupt()])

    def interrupt():
        if (error := next(runs)) is not None:
            raise error

    network.before_run = interrupt
    with pytest.raises(KeyboardInterrupt):
        decode_batch(engine, sessions, [2, 3, 4, 5])
    network.before_run = lambda: None
    assert [s.tokens for s in sessions] == [[1]] * 4
    for i, row in enumerate(decode_batch(engine, sessions, [6, 7, 8, 9])):
        np.testing.assert_array_equal(row, network.logits_of([1, 6 + i]))


def test_the_context_is_checked_before_any_compute(network, engine):
    session = open_session(engine)
    session.prefill(range(60))
    computed = network.computed
    with pytest.raises(ContextFullError, match="60 tokens and 5 more exceed the context of 64"):
        session.prefill(range(5))
    assert (network.computed, len(session)) == (computed, 60)
    session.prefill(range(4))
    with pytest.raises(ContextFullError):
        session.decode(1)


# --- reuse ---------------------------------------------------------------------------------------


def test_a_longer_prompt_computes_only_its_end(network, engine):
    reply(engine, [1, 2, 3, 4, 5])
    network.computed = 0
    row, cached = reply(engine, [1, 2, 3, 4, 5, 6, 7])
    assert (cached, network.computed) == (5, 2)
    np.testing.assert_array_equal(row, network.logits_of([1, 2, 3, 4, 5, 6, 7]))
    assert len(network.cache.texts) == 1  # taken over, not copied


def test_the_last_token_is_always_computed(network, engine):
    first, _ = reply(engine, [1, 2, 3])
    again, cached = reply(engine, [1, 2, 3])
    assert cached == 2
    np.testing.assert_array_equal(first, again)
    assert reply(engine, [1])[1] == 0


def test_a_prompt_that_branches_off_keeps_the_other_branch(network, engine):
    reply(engine, [1, 2, 3, 4, 5])
    row, cached = reply(engine, [1, 2, 3, 9])
    assert cached == 3
    np.testing.assert_array_equal(row, network.logits_of([1, 2, 3, 9]))
    assert reply(engine, [1, 2, 3, 4, 5, 6])[1] == 5


def test_the_longest_beginning_wins(engine):
    for ids in ([1, 2], [1, 2, 3, 4], [1, 2, 3]):
        reply(engine, ids)
    assert reply(engine, [1, 2, 3, 4, 5])[1] == 4


def test_a_text_that_still_runs_lends_its_beginning(network, engine):
    running = Request([1, 2, 3, 4], key="prompts", rows_from=2)
    network.n_batch = 3
    engine = Engine(network)
    engine.wait([running])
    row, cached = reply(engine, [1, 2, 9])
    assert cached == 2
    np.testing.assert_array_equal(row, network.logits_of([1, 2, 9]))
    engine.wait([running])
    np.testing.assert_array_equal(running.rows[1][0], network.logits_of([1, 2, 3, 4]))


def test_sessions_share_nothing(network, engine):
    reply(engine, [1, 2, 3, 4])
    network.computed = 0
    open_session(engine).prefill([1, 2, 3, 4])
    assert network.computed == 4
    session = open_session(engine)
    session.prefill([5, 6, 7])
    assert reply(engine, [5, 6, 7, 8])[1] == 0


def test_a_window_replays_a_shared_beginning():
    network = FakeNetwork(window=4)
    engine = Engine(network)
    reply(engine, list(range(10)))
    row, cached = reply(engine, [*range(6), 99])
    assert cached == 4
    np.testing.assert_array_equal(row, network.logits_of([*range(6), 99]))


def test_idle_texts_make_room_least_recently_used_first(network, engine):
    for first in (1, 2, 3, 4):
        reply(engine, [first, 7, 7])
    reply(engine, [1, 7, 7])  # used again: 2 is the oldest now
    reply(engine, [5, 7, 7])
    assert reply(engine, [1, 7, 7])[1] == 2
    assert len(network.cache.texts) == 4
    sessions = [open_session(engine) for _ in range(4)]
    assert [len(text) for text in network.cache.texts.values()] == [0] * 4
    with pytest.raises(CacheFullError, match=r"All 4 sequences .* n_parallel=5"):
        reply(engine, [1, 7, 7])
    sessions[0].close()
    assert reply(engine, [1, 7, 7])[1] == 0


def test_the_last_idle_text_is_cut_when_there_is_no_room_for_a_copy():
    network = FakeNetwork(n_parallel=1)
    engine = Engine(network)
    reply(engine, [1, 2, 3, 4])
    row, cached = reply(engine, [1, 2, 9])
    assert cached == 2
    np.testing.assert_array_equal(row, network.logits_of([1, 2, 9]))
    reply(engine, [8, 8])
    assert list(network.cache.texts.values()) == [[8, 8]]


def test_a_text_not_kept_is_dropped(network, engine):
    reply(engine, [1, 2, 3], keep=False)
    assert network.cache.texts == {}


def test_a_forgotten_session_gives_its_sequence_back(network, engine):
    for _ in range(10):
        open_session(engine).prefill([1])
    open_session(engine).fork()
    assert network.cache.texts == {}


@pytest.mark.parametrize(
    ("a", "b", "n"),
    [([], [], 0), ([1], [], 0), ([1], [1], 1), ([1, 2], [1, 3], 1), ([1, 2, 3], [1, 2, 3, 4], 3)],
)
def test_common_prefix(a, b, n):
    assert common_prefix(a, b) == common_prefix(b, a) == n


def test_common_prefix_of_long_texts(rng):
    text = rng.integers(0, 9, 5000).tolist()
    for n in (0, 1, 2499, 4999):
        other = text[:]
        other[n] = -1
        assert common_prefix(text, other) == n


# --- threads and closing -------------------------------------------------------------------------


def test_threads_queue_and_get_what_they_would_alone(network, engine):
    network.step_s = 0.001
    answers = {}

    def work(i):
        with open_session(engine) as session:
            session.prefill([i] * 20)
            answers[i] = [session.decode(j) for j in range(5)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for i in range(4):
        for j, row in enumerate(answers[i]):
            np.testing.assert_array_equal(row, network.logits_of([i] * 20 + list(range(j + 1))))


def test_a_long_prompt_lets_others_take_their_turn():
    network = FakeNetwork(n_ctx=4096, step_s=0.002)
    engine = Engine(network)
    long, short = open_session(engine), open_session(engine)
    short.prefill([1])
    thread = threading.Thread(target=long.prefill, args=([2] * 1600,))  # 200 chunks
    thread.start()
    waits = []
    while thread.is_alive() and len(waits) < 10:
        before = len(network.batches)
        short.decode(3)
        waits.append(len(network.batches) - before - 1)  # the other's chunks that came first
    thread.join(30)
    assert len(waits) == 10
    assert np.median(waits) <= 3


def test_close_stops_what_runs(network, engine):
    session = open_session(engine)
    session.prefill([1])
    network.step_s = 30
    raised = []

    def decode():
        try:
            session.decode(2)
        except ClosedError as error:
            raised.append(error)

    thread = threading.Thread(target=decode)
    thread.start()
    time.sleep(0.05)
    begin = time.perf_counter()
    engine.close()
    thread.join(10)
    assert time.perf_counter() - begin < 1
    assert len(raised) == 1
    engine.close()


def test_a_session_serves_one_thread_at_a_time(network, engine):
    session, other = open_session(engine), open_session(engine)
    session.prefill([1])
    network.step_s = 0.3
    thread = threading.Thread(target=session.decode, args=(2,))
    thread.start()
    time.sleep(0.05)
    for use in (
        lambda: session.prefill([3]),
        lambda: session.decode(3),
        lambda: session.truncate(0),
        session.fork,
        lambda: decode_batch(engine, [other, session], [3, 3]),
    ):
        with pytest.raises(Busy, match="Another thread uses this session"):
            use()
    thread.join(10)
    network.step_s = 0
    assert session.tokens == [1, 2]
    np.testing.assert_array_equal(other.prefill([4]), network.logits_of([4]))
    np.testing.assert_array_equal(session.decode(5), network.logits_of([1, 2, 5]))


def test_use_after_close_is_an_error(engine):
    session = open_session(engine)
    session.prefill([1])
    session.close()
    session.close()
    for use in (
        lambda: session.tokens,
        lambda: session.prefill([1]),
        lambda: session.decode(1),
        lambda: session.truncate(0),
        session.fork,
    ):
        with pytest.raises(ClosedError, match="session is closed"):
            use()
    other = open_session(engine)
    engine.close()
    for use in (lambda: other.prefill([1]), lambda: other.tokens, engine.open):
        with pytest.raises(ClosedError, match="model is closed"):
            use()
    other.close()


# --- token ids -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "error"),
    [
        ([], ValueError),
        (np.array([], np.int32), ValueError),
        ([-1], ValueError),
        ([0, VOCAB], ValueError),
        ([2**70], TypeError),
        ([1.5], TypeError),
        ([True], TypeError),
        (["a"], TypeError),
        ("text", TypeError),
        (5, TypeError),
        (None, TypeError),
        ([[1, 2]], TypeError),
        ([[1], [1, 2]], TypeError),
        ({1: 2}, TypeError),
    ],
)
def test_bad_ids_are_refused(ids, error):
    with pytest.raises(error, match="token id"):
        checked_ids(ids, VOCAB)


def test_ids_in_any_integer_form():
    for ids in ([1, 2], (1, 2), range(1, 3), np.array([1, 2], np.uint8), np.array([1, 2])):
        assert checked_ids(ids, VOCAB) == [1, 2]


# --- embeddings and adapters ---------------------------------------------------------------------


def rows_of(seed, n=3):
    return np.random.default_rng(seed).standard_normal((n, 4)).astype(np.float32)


IMAGE = [1, 2, *[-1] * 3, *range(3, 12)]  # longer than a chunk


def of_image(rows, adapter=0, key="prompts"):
    return Request(
        IMAGE, key=key, keep=True, rows_from=len(IMAGE) - 1, embeddings=rows, adapter=adapter
    )


def test_texts_with_other_embeddings_or_adapters_share_no_beginning():
    """Their ids are the same; the network tells them apart, and so would a wrong beginning."""
    engine = Engine(FakeNetwork(n_parallel=12))
    variants = [(rows_of(1), 0), (rows_of(2), 0), (rows_of(1), 5), (rows_of(2), 5)]
    alone = []
    for rows, adapter in variants:
        request = of_image(rows, adapter, key=None)
        engine.wait([request])
        alone.append(request.rows[-1][-1])
    assert len({row.tobytes() for row in alone}) == len(variants)
    for again in range(2):
        requests = [of_image(rows, adapter) for rows, adapter in variants]
        while left := [request for request in requests if not request.done]:
            engine.wait(left)  # together, and then with what the first round kept
        for request, want in zip(requests, alone, strict=True):
            np.testing.assert_array_equal(request.rows[-1][-1], want)
            assert request.cached == (len(IMAGE) - 1 if again else 0)


def test_rows_of_embeddings_are_those_of_ids():
    with pytest.raises(ValueError, match="2 rows of embeddings for 3 ids of -1"):
        of_image(rows_of(1, n=2))
    with pytest.raises(ValueError, match="0 rows of embeddings for 1 ids of -1"):
        Request([4, -1])


def test_a_real_network_takes_embeddings_for_ids(tmp_path):
    """The rows of the table for some ids: the same tokens, in chunks and behind a reply's own."""
    tiny = TinyLlama(n_ctx=64)
    path, table = tiny.write(tmp_path / "tiny.gguf"), tiny.tensors()["token_embd.weight"]
    ids = np.random.default_rng(3).integers(0, 256, 40)
    hidden = np.where(np.arange(40) % 3 == 1, -1, ids)
    with edgelm.load(path, n_batch=16, n_parallel=2) as model:

        def tokens(given, **options):
            chosen = Options(max_tokens=8, temperature=1.0, seed=5, **options)
            request = Request(
                given.tolist(),
                sampler=Sampler(chosen, vocab_size=model.vocab_size, ends=frozenset()),
                limit=8,
                ahead=8,
                embeddings=table[ids[given == -1]],
            )
            model._engine.wait([request])
            assert request.reason == "length"
            return [choice.token for choice, _ in request.choices]

        want = tokens(ids)
        assert tokens(hidden) == want
        assert len(tokens(hidden, repeat_penalty=1.3)) == len(want)  # embeddings have no ids
        other = hidden.copy()
        other[4], ids[4] = -1, ids[4] ^ 1
        assert tokens(other) != want  # the seeded fault: a row of another token
