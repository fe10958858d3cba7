"""Requests that share steps: what each gets, who makes the steps, who waits for how long."""

import asyncio
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edgelm
from edgelm.engine import Engine, Request
from edgelm.engine.pace import PAUSE_S, Pace
from edgelm.engine.request import Waiter
from edgelm.errors import Busy, CacheFullError, ClosedError
from edgelm.generate import Reply, Stream, finish, wait
from edgelm.options import Options
from edgelm.session import Session
from fake_network import FakeNetwork
from tiny_models import TinyLlama


def reply_of(engine, prompt, **options):
    chosen = Options(**{"ignore_eos": True, "max_tokens": 6, "seed": 3} | options)
    return Reply(engine, list(prompt), chosen, time.perf_counter())


def results(replies):
    taken = []
    for reply in replies:
        reply.take()
        generation = reply.generation()
        taken.append((generation.tokens, generation.logprobs))
    return taken


def submit(engine, *replies):
    """As their readers would, in other threads."""
    engine.submit([reply.request for reply in replies], Waiter())


def drive(engine, replies):
    for _ in range(10_000):
        if all(reply.request.done for reply in replies):
            return
        assert engine.step()
    pytest.fail("the replies do not end")


def alone(prompt, **options):
    engine = Engine(FakeNetwork())
    reply = reply_of(engine, prompt, **options)
    wait(engine, finish(engine, [reply]))
    return reply.generation().tokens


# --- the same bits --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_path(tmp_path_factory):
    tiny = TinyLlama(n_layers=2, quant="Q8_0", n_ctx=512)
    return tiny.write(tmp_path_factory.mktemp("scheduler") / "tiny.gguf")


@pytest.fixture(scope="module")
def tiny(tiny_path):
    with edgelm.load(tiny_path, n_ctx=320, n_parallel=5, n_batch=64, n_threads=1) as model:
        yield model


LENGTHS = (1, 2, 3, 5, 17, 31, 64, 65, 100, 129, 200, 257)
OPTIONS = [
    {"max_tokens": 3 + 5 * (i % 4), "seed": i, "logprobs": 3, "ignore_eos": True}
    | ({"repeat_penalty": 1.3} if i % 3 == 0 else {})
    | ({"temperature": 0} if i % 4 == 3 else {"temperature": 1.2})
    for i in range(len(LENGTHS))
]
PROMPTS = [np.random.default_rng(i).integers(0, 256, n).tolist() for i, n in enumerate(LENGTHS)]


@pytest.fixture(scope="module")
def expected(tiny):
    pairs = zip(PROMPTS, OPTIONS, strict=True)
    replies = [tiny.generate(prompt, **o, cache_prompt=False) for prompt, o in pairs]
    return [(g.tokens, g.logprobs) for g in replies]


def tiny_replies(tiny, cache_prompt=True):
    return [
        Reply(tiny._engine, prompt, Options(**options, cache_prompt=cache_prompt), 0.0)
        for prompt, options in zip(PROMPTS, OPTIONS, strict=True)
    ]


def test_twelve_together_give_what_each_gives_alone(tiny, expected):
    replies = tiny_replies(tiny)
    wait(tiny._engine, finish(tiny._engine, replies))
    assert [(g.tokens, g.logprobs) for g in (r.generation() for r in replies)] == expected


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    order=st.permutations(range(len(LENGTHS))),
    gaps=st.lists(st.integers(0, 6), min_size=len(LENGTHS), max_size=len(LENGTHS)),
    cache_prompt=st.booleans(),
    budget=st.integers(1, 64),
)
def test_twelve_that_arrive_at_any_moment_give_what_each_gives_alone(
    tiny, expected, order, gaps, cache_prompt, budget
):
    engine, replies = tiny._engine, tiny_replies(tiny, cache_prompt)
    engine._composer.pace.budget = lambda n_left: budget  # however prompts are cut
    for place, gap in zip(order, gaps, strict=True):
        submit(engine, replies[place])
        for _ in range(gap):
            engine.step()
    drive(engine, replies)
    assert results(replies) == expected


def test_threads_that_stream_and_generate_get_what_each_gives_alone(tiny, expected):
    got = {}

    def work(i):
        time.sleep(0.002 * (i % 5))
        if i % 2:
            stream = tiny.stream(PROMPTS[i], **OPTIONS[i])
            for _ in stream:
                pass
            got[i] = stream.generation
        else:
            got[i] = tiny.generate(PROMPTS[i], **OPTIONS[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(LENGTHS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [(got[i].tokens, got[i].logprobs) for i in range(len(LENGTHS))] == expected


def test_a_seeded_fault_would_show(tiny, expected, monkeypatch):
    """The fault: a row is sampled with its neighbour's history and randomness."""
    from edgelm.engine import scheduler

    right = scheduler.choose
    monkeypatch.setattr(scheduler, "choose", lambda rows: right(rows[1:] + rows[:1]))
    replies = tiny_replies(tiny)
    wait(tiny._engine, finish(tiny._engine, replies))
    assert [(g.tokens, g.logprobs) for g in (r.generation() for r in replies)] != expected


# --- what a step holds ----------------------------------------------------------------------------


def test_a_step_has_every_decoding_token_then_chunks_of_prompts():
    network = FakeNetwork(n_batch=16, max_rows=8)
    engine = Engine(network)
    engine._composer.pace.budget = lambda n_left: 5
    short = [reply_of(engine, [i]) for i in (1, 2)]
    submit(engine, *short)
    engine.step()
    long = reply_of(engine, range(10, 30))
    last = reply_of(engine, [7, 7])
    submit(engine, long, last)
    network.batches.clear()
    drive(engine, [*short, long, last])
    # two decode beside 5 of the prompt, four times; then three do beside the last one
    assert network.batches[:5] == [7, 7, 7, 7, 5]
    assert results([*short, long, last]) == [
        (alone(p), None) for p in ([1], [2], range(10, 30), [7, 7])
    ]


def test_prompts_with_nobody_decoding_fill_the_batch():
    network = FakeNetwork(n_batch=16)
    engine = Engine(network)
    replies = [reply_of(engine, [i] * 10, max_tokens=0) for i in (1, 2, 3)]
    submit(engine, *replies)
    drive(engine, replies)
    assert network.batches == [16, 14]


def test_more_decoding_requests_than_rows_take_turns():
    network = FakeNetwork(n_parallel=8, max_rows=3)
    engine = Engine(network)
    replies = [reply_of(engine, [i]) for i in range(8)]
    submit(engine, *replies)
    drive(engine, replies)
    assert max(network.batches) <= 3
    assert results(replies) == [(alone([i]), None) for i in range(8)]


def test_a_stream_that_nobody_reads_is_not_stepped():
    network = FakeNetwork(script=b"Hello.")
    engine = Engine(network)
    options = Options(temperature=0)
    stream = Stream(engine, Reply(engine, [5, 0], options, streams=True))
    assert next(stream) == "H"
    held = [len(text) for text in network.cache.texts.values()]
    network.batches.clear()
    other = reply_of(engine, [1])
    wait(engine, finish(engine, [other]))
    assert network.batches == [1] * 6
    assert [len(text) for text in network.cache.texts.values()][:1] == held
    assert "".join(stream) == "ello."


def test_a_prompt_is_cut_while_a_stream_is_between_two_tokens():
    network = FakeNetwork(script=b"Hello.", n_batch=16)
    engine = Engine(network)
    engine._composer.pace.budget = lambda n_left: 5
    stream = Stream(engine, Reply(engine, [5, 0], Options(temperature=0), streams=True))
    assert next(stream) == "H"
    network.batches.clear()
    engine.wait([Request(range(1, 21), rows_from=19)])
    assert network.batches == [5] * 4
    stream.close()
    network.batches.clear()
    engine.wait([Request(range(1, 21), rows_from=19)])
    assert network.batches == [16, 4]


def test_the_pace_leaves_a_pause_and_no_tiny_rest():
    pace = Pace()
    for _ in range(20):
        pace.record(4, 0, 0.040)  # four decode in 40 ms
    for _ in range(20):
        pace.record(4, 10, 0.060)  # ten of a prompt make it 60: 2 ms each
    assert pace.budget(1000) == pytest.approx(PAUSE_S / 0.002, abs=1)
    assert pace.budget(30) == 30  # not 25 and a rest of 5
    assert pace.budget(5) >= 5
    for _ in range(20):
        pace.record(0, 100, 100.0)
    assert pace.budget(1000) == 1  # a slow machine still goes on


# --- who waits ------------------------------------------------------------------------------------


def test_calls_queue_for_a_sequence_in_order():
    network = FakeNetwork(n_parallel=1)
    engine = Engine(network)
    replies = [reply_of(engine, [i]) for i in range(4)]
    submit(engine, *replies)
    ended = []
    while len(ended) < 4:
        assert engine.step()
        ended += [i for i, r in enumerate(replies) if r.request.done and i not in ended]
    assert ended == [0, 1, 2, 3]


def test_a_full_queue_is_busy_and_says_so():
    engine = Engine(FakeNetwork(n_parallel=1), max_queue=2)
    replies = [reply_of(engine, [i]) for i in range(4)]
    submit(engine, *replies[:3])
    with pytest.raises(Busy, match=r"2 requests wait already for one of the 1 .*max_queue=2"):
        engine.wait([replies[3].request])
    drive(engine, replies[:3])
    again = reply_of(engine, [3])
    wait(engine, finish(engine, [again]))
    assert again.generation().tokens == alone([3])


def test_waiting_too_long_is_busy_and_says_so():
    engine = Engine(FakeNetwork(n_parallel=1), queue_timeout_s=0.05)
    holder = reply_of(engine, [1])
    thread = threading.Thread(target=submit, args=(engine, holder))  # a reader elsewhere,
    thread.start()
    thread.join()
    engine.step()
    holder.request.credit = 0  # which is away
    with pytest.raises(Busy, match=r"None of the 1 sequences came free within 0\.05 s"):
        engine.wait([reply_of(engine, [2]).request])


def test_a_wait_that_could_never_end_is_an_error_at_once():
    engine = Engine(FakeNetwork(n_parallel=2))
    sessions = [Session(engine, engine.open()) for _ in range(2)]
    for use in (engine.open, sessions[0].fork, lambda: engine.wait([Request([1], rows_from=0)])):
        with pytest.raises(CacheFullError, match="n_parallel=3"):
            use()
    sessions[0].close()
    engine.wait([Request([1], rows_from=0)])


def test_a_session_waits_for_calls_that_end():
    engine = Engine(FakeNetwork(n_parallel=1, step_s=0.01))
    opened = []
    thread = threading.Thread(target=lambda: opened.append(engine.open()))
    reply = reply_of(engine, [1])
    began = threading.Event()
    engine.network.before_run = began.set
    driver = threading.Thread(target=wait, args=(engine, finish(engine, [reply])))
    driver.start()
    began.wait(10)
    thread.start()
    driver.join(30)
    thread.join(30)
    assert len(opened) == 1
    assert reply.generation().tokens == alone([1])


def test_nobody_waits_nothing_runs():
    engine = Engine(FakeNetwork())
    before = threading.active_count()
    reply = reply_of(engine, [1])
    wait(engine, finish(engine, [reply]))
    n = engine.network.computed
    assert threading.active_count() == before
    assert (engine._driver, engine._running, engine._composer.requests) == (None, (), [])
    assert engine.network.computed == n


# --- what goes wrong ------------------------------------------------------------------------------


class Failing(FakeNetwork):
    """Has no memory for one token."""

    poison = 99

    def run(self, tokens, *rest, **options):
        if self.poison in tokens:
            raise MemoryError("no page is left")
        return super().run(tokens, *rest, **options)


def test_an_error_of_a_step_ends_only_the_request_to_blame():
    engine = Engine(Failing())
    good, bad, other = (reply_of(engine, p) for p in ([1, 2], [3, 99], [4]))
    submit(engine, good, bad, other)
    drive(engine, [good, bad, other])
    assert isinstance(bad.request.error, MemoryError)
    with pytest.raises(MemoryError, match="no page"):
        engine.wait([bad.request])
    assert results([good, other]) == [(alone([1, 2]), None), (alone([4]), None)]
    assert engine._composer.sequences.live == []


def test_a_signal_at_any_call_of_a_step_harms_no_other_request():
    """Python runs signal handlers where functions begin and where calls have returned."""
    prompts = ([1, 2, 3], [4], [5, 6])
    right = [(alone(p, repeat_penalty=1.2), None) for p in prompts]
    events = 0

    def interrupted_at(moment):
        nonlocal events
        engine = Engine(FakeNetwork(n_batch=4))
        replies = [reply_of(engine, p, repeat_penalty=1.2) for p in prompts]
        submit(engine, *replies)
        events = 0

        def signal(frame, event, _):
            nonlocal events
            if event in ("call", "c_return") and "/edgelm/" in frame.f_code.co_filename:
                events += 1
                if events == moment:
                    raise KeyboardInterrupt

        sys.setprofile(signal)
        try:
            drive(engine, replies)
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(None)
        assert not engine._lock.locked(), moment
        drive(engine, replies)
        assert results(replies) == right, moment

    interrupted_at(0)
    moments = np.random.default_rng(1).choice(events, 80, replace=False)
    assert events > 500
    for moment in moments:
        interrupted_at(moment + 1)


def test_ctrl_c_in_the_thread_that_steps_leaves_the_others_to_go_on():
    network = FakeNetwork(step_s=0.002)
    engine = Engine(network)
    answers = {}

    def work(i):
        reply = reply_of(engine, [i], max_tokens=30)
        wait(engine, finish(engine, [reply]))
        answers[i] = reply.generation().tokens

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    me, left = threading.get_ident(), [5]

    def interrupt():
        if threading.get_ident() == me:
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt

    network.before_run = interrupt
    mine = reply_of(engine, [9], max_tokens=30)
    for thread in threads:
        thread.start()
    try:
        wait(engine, finish(engine, [mine]))  # drives, or sleeps all the way
        assert mine.generation().tokens == alone([9], max_tokens=30)
    except KeyboardInterrupt:
        assert mine.finish_reason == "cancelled"
    for thread in threads:
        thread.join(60)
    assert answers == {i: alone([i], max_tokens=30) for i in range(3)}


def test_a_processor_may_call_the_model():
    engine = Engine(FakeNetwork())
    inner = []

    def ask(ids, logits):
        if len(ids) == 4:
            reply = reply_of(engine, [8])
            wait(engine, finish(engine, [reply]))
            inner.append(reply.generation().tokens)
        return logits

    outer = reply_of(engine, [1, 2], logits_processors=[ask])
    beside = reply_of(engine, [3])
    submit(engine, beside)
    wait(engine, finish(engine, [outer]))
    drive(engine, [beside])
    assert inner == [alone([8])]
    assert outer.generation().tokens == alone([1, 2])
    assert results([beside]) == [(alone([3]), None)]


def test_a_processor_of_ones_own_error_is_ones_own():
    engine = Engine(FakeNetwork())

    def fail(ids, logits):
        raise LookupError("mine")

    bad, good = reply_of(engine, [1], logits_processors=[fail]), reply_of(engine, [2])
    submit(engine, bad, good)
    drive(engine, [bad, good])
    assert isinstance(bad.request.error, LookupError)
    assert results([good]) == [(alone([2]), None)]


# --- tasks ----------------------------------------------------------------------------------------


async def read(engine, prompt):
    options = Options(ignore_eos=True, max_tokens=6, seed=3)
    async with Stream(engine, Reply(engine, prompt, options, 0.0, streams=True)) as stream:
        async for _ in stream:
            pass
    return stream.generation.tokens


def test_tasks_share_steps_and_get_what_each_gives_alone():
    network = FakeNetwork(n_parallel=6, step_s=0.005)
    engine = Engine(network)

    async def main():
        return await asyncio.gather(*(read(engine, [i]) for i in range(6)))

    assert asyncio.run(main()) == [alone([i]) for i in range(6)]
    assert max(network.batches) > 1
    for thread in threading.enumerate():
        if thread.name == "edgelm":
            thread.join(10)
    assert engine._hired is None


def test_a_cancelled_task_ends_its_reply():
    engine = Engine(FakeNetwork(n_parallel=1, step_s=30))

    async def main():
        task = asyncio.create_task(read(engine, [1]))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        engine.network.step_s = 0
        return await read(engine, [2])

    assert asyncio.run(main()) == alone([2])


def test_tasks_hear_of_errors_and_of_closing():
    engine = Engine(FakeNetwork(n_parallel=1))
    session = Session(engine, engine.open())

    async def main():
        with pytest.raises(CacheFullError):
            await read(engine, [1])
        session.close()
        engine.network.step_s = 30
        task = asyncio.create_task(read(engine, [1]))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(engine.close)
        with pytest.raises(ClosedError):
            await task

    asyncio.run(main())
