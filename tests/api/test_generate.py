"""The request loop: what a reply holds, how it ends, how it streams, what it leaves behind."""

import gc
import math
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from edgelm.engine import Engine
from edgelm.errors import Busy, CacheFullError, ClosedError, ContextFullError, LogitsError
from edgelm.generate import Reply, Stream
from edgelm.options import Options
from edgelm.stops import StopStrings
from fake_network import BOS, EOS, FakeNetwork

PROMPT = [BOS, 65, 66, 0]  # the fake network's script begins after the 0


def stream_of(engine, prompt=PROMPT, **options):
    options = {"temperature": 0, "max_tokens": 30} | options
    return Stream(engine, Reply(engine, list(prompt), Options(**options), streams=True))


def generate(engine, prompt=PROMPT, **options):
    with stream_of(engine, prompt, **options) as stream:
        chunks = list(stream)
        assert all(chunks), "an empty chunk"
        assert "".join(chunks) == stream.generation.text
        return stream.generation


def scripted(text, **settings):
    """An engine whose greedy reply is this text, one byte a token, unless ids are given."""
    return Engine(FakeNetwork(script=text.encode() if isinstance(text, str) else text, **settings))


# --- what a reply holds ---------------------------------------------------------------------------


def test_a_reply_ends_where_the_model_ends_it():
    g = generate(scripted("Hello."))
    assert (g.text, str(g), g.finish_reason) == ("Hello.", "Hello.", "stop")
    assert bytes(g.tokens) == b"Hello."  # without the token that ends it
    assert (g.usage.prompt_tokens, g.usage.completion_tokens) == (4, 6)
    assert g.logprobs is None


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_max_tokens(n):
    g = generate(scripted("Hello."), max_tokens=n)
    assert (g.text, len(g.tokens), g.finish_reason) == ("Hello."[:n], n, "length")


@pytest.mark.parametrize("n", [None, -1])
def test_no_limit_is_the_contexts(n):
    g = generate(scripted("x" * 100, n_ctx=32), max_tokens=n)
    assert (len(g.tokens), g.finish_reason) == (32 - 4 + 1, "length")


def test_stop_token_ids_end_a_reply_as_its_own_do():
    for ids in (ord("l"), [1, ord("l")]):
        g = generate(scripted("Hello."), stop_token_ids=ids)
        assert (g.text, bytes(g.tokens), g.finish_reason) == ("He", b"He", "stop")
        assert len(g.timings.token_ms) == 2  # the token that ended it was computed
    g = generate(scripted("Hello."), stop_token_ids=ord("l"), ignore_eos=True, max_tokens=9)
    assert (g.text, g.finish_reason) == ("He", "stop")
    with pytest.raises(ValueError, match="stop_token_ids has token 263, but the last one is 262"):
        generate(scripted("x"), stop_token_ids=263)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7])
def test_min_tokens_lets_nothing_end_a_reply_before(n):
    """Not its own end, nor a token or a string that is to end it."""
    g = generate(scripted("ab"), min_tokens=n)
    assert g.text.startswith("ab")
    assert len(g.tokens) >= n
    assert (g.text == "ab") == (n <= 2)
    g = generate(scripted("abcabc"), min_tokens=n, stop_token_ids=ord("b"))
    assert len(g.tokens) >= n
    assert (g.text == "a") == (n <= 1)
    g = generate(scripted("abcabc"), min_tokens=n, stop="b")
    assert g.text.startswith({0: "a", 1: "a", 7: "abcabc"}.get(n, "abca"))
    assert (g.text == "a") == (n <= 1)
    assert len(g.tokens) >= n


def test_echo_shows_the_prompt_at_once_and_once():
    engine = scripted("Hello.")
    prompt = [BOS, *"hé".encode(), 0]
    with stream_of(engine, prompt, echo=True, stop="h") as stream:
        assert next(stream) == stream.generation.text == "hé\0"
        assert engine.network.computed == 0
        assert "".join(stream) == "Hello."
    assert stream.generation.text == "hé\0Hello."
    broken = [*prompt[:-1], 0xC3]  # a character that ends in the reply, if it does
    with stream_of(engine, broken, echo=True, logit_bias={0xA9: 1e6}, max_tokens=1) as stream:
        assert "".join(stream) == "héé"
    assert generate(engine, [97, 0], echo=True, max_tokens=0).text == "a\0"


def test_a_reply_is_shown_in_one_short_line():
    engine = scripted("Hello.")
    g = generate(engine)
    assert repr(g).startswith("<edgelm.Generation 'Hello.': 6 tokens, stop, ")
    assert repr(g).endswith(" tok/s>")
    assert repr(generate(engine, max_tokens=1)) == "<edgelm.Generation 'H': 1 tokens, length>"
    long = generate(scripted("a\n" * 400, n_ctx=999), max_tokens=800, logprobs=5)
    assert "800 tokens" in repr(long)
    assert len(repr(long)) < 150
    assert "\n" not in repr(long)
    assert len(repr(long.timings)) < 200
    with stream_of(engine) as stream:
        assert repr(stream) == "<edgelm.Stream '': 0 tokens, unfinished>"
        next(stream)
        assert repr(stream) == "<edgelm.Stream 'H': 1 tokens, unfinished>"


def test_ignore_eos_goes_on():
    g = generate(scripted("Hi"), ignore_eos=True, max_tokens=9)
    assert (len(g.tokens), g.finish_reason) == (9, "length")
    assert EOS not in g.tokens


def test_a_reply_may_fill_the_context_and_one_more():
    engine = scripted("x" * 100, n_ctx=16)
    g = generate(engine, max_tokens=99)
    assert (len(g.tokens), g.finish_reason) == (16 - 4 + 1, "length")
    full = [BOS] * 15 + [0]
    g = generate(engine, full, max_tokens=99)
    assert (g.text, g.finish_reason) == ("x", "length")


def test_a_prompt_longer_than_the_context_names_both_lengths():
    engine = scripted("x", n_ctx=16)
    with pytest.raises(ContextFullError, match=r"17 tokens but the context holds 16"):
        generate(engine, [BOS] * 17)
    assert engine.network.computed == 0


def test_prefill_in_chunks_gives_the_same_reply():
    prompt = [*range(1, 40), 0]
    replies = {generate(scripted("Hello.", n_batch=n), prompt).text for n in (1, 7, 64)}
    assert replies == {"Hello."}


def test_the_same_seed_gives_the_same_text():
    engine = Engine(FakeNetwork())
    first = generate(engine, temperature=1.5, ignore_eos=True)
    again = generate(engine, temperature=1.5, ignore_eos=True, seed=first.seed)
    other = generate(engine, temperature=1.5, ignore_eos=True, seed=first.seed + 1)
    assert first.tokens == again.tokens != other.tokens
    assert generate(engine, seed=3, temperature=1.0, cache_prompt=False).tokens == (
        generate(Engine(FakeNetwork(n_batch=3)), seed=3, temperature=1.0).tokens
    )


def test_penalties_see_the_prompt_and_the_reply():
    engine = scripted("aaaa")
    assert generate(engine).text == "aaaa"
    # 100 above the rest: one 'a' in the prompt takes more than that away
    assert "a" not in generate(engine, [97, 0], presence_penalty=150, max_tokens=1).text
    assert generate(engine, presence_penalty=150, max_tokens=2).text.startswith("a")
    assert not generate(engine, presence_penalty=150, max_tokens=2).text.startswith("aa")


def test_logprobs_are_the_models_own(monkeypatch):
    engine = Engine(FakeNetwork())
    g = generate(engine, max_tokens=5, logprobs=3, logit_bias={7: 100}, ignore_eos=True)
    assert g.tokens == [7] * 5
    assert len(g.logprobs) == 5
    history = list(PROMPT)
    for token, entry in zip(g.tokens, g.logprobs, strict=True):
        row = engine.network.logits_of(history).astype(np.float64)
        expected = row - np.log(np.exp(row).sum())
        assert entry.token == token
        assert entry.logprob == pytest.approx(expected[token], abs=1e-6)
        assert [t for t, _ in entry.top] == np.argsort(-expected)[:3].tolist()
        history.append(token)


def test_logits_processors_see_the_whole_text():
    seen = []

    def spy(ids, logits):
        seen.append(ids.tolist())
        return logits

    g = generate(scripted("Hey"), logits_processors=[spy])
    assert seen == [PROMPT + g.tokens[:i] for i in range(4)]


def test_a_processor_that_returns_nothing_is_told_so():
    def edits_in_place(ids, logits):
        logits[3] = -math.inf

    with pytest.raises(TypeError, match=r"edits_in_place.* returned None; expected the logits"):
        generate(scripted("x"), logits_processors=[edits_in_place])


def test_broken_weights_are_an_error_and_leave_the_engine_usable():
    engine = scripted("Hello.")
    for bad in (math.nan, math.inf):
        engine.network.broken = bad
        for temperature in (0, 1):
            with pytest.raises(LogitsError, match="weights"):
                generate(engine, temperature=temperature)
    engine.network.broken = None
    assert generate(engine).text == "Hello."


# --- whole characters and stop strings ------------------------------------------------------------


def test_chunks_are_whole_characters():
    text = "aé€🙂b"
    stream = stream_of(scripted(text))
    chunks = list(stream)
    assert chunks == list(text)
    assert len(stream.generation.tokens) == len(text.encode())


def test_a_character_cut_by_max_tokens_is_a_replacement():
    g = generate(scripted("a🙂"), max_tokens=3)
    assert g.text == "a\ufffd"
    g = generate(scripted("a🙂"[:1].encode() + "🙂".encode()[:2]))  # the model itself stopped there
    assert (g.text, g.finish_reason) == ("a\ufffd", "stop")


@pytest.mark.parametrize(
    ("script", "stop", "text"),
    [
        ("one\n\ntwo", "\n\n", "one"),
        ("one STOP two", ["STOP", "\n"], "one "),
        ("aab", "aab", ""),
        ("aaab", "aab", "a"),
        ("ababac", "abac", "ab"),
        ("no stop here", "STOP", "no stop here"),
        ("ends with ST", "STOP", "ends with ST"),
        ("x€y", "€", "x"),
        ([104, 105, 260, 106], "STOP", "hi "),  # inside the token " STOP "
        ([104, 258, 259, 106], "bab", "ha"),  # across two tokens, "ab" + "abc"
    ],
)
def test_stop_strings(script, stop, text):
    g = generate(scripted(script), stop=stop)
    assert g.text == text
    assert g.finish_reason == "stop"


CONTROL = 261  # has a name, "<|user|>", and no text


@pytest.mark.parametrize(
    ("script", "stop", "text"),
    [
        ([104, 105, CONTROL, 106], "<|user|>", "hi"),
        ([104, 105, CONTROL, 106], "i<|user|>", "h"),
        ([104, 105, CONTROL, 106], "<|user|>j", "hi"),
        ([104, 105, CONTROL, 106], "ij", "h"),  # as it is shown
        ([104, CONTROL, CONTROL, 106], "<|user|><|user|>", "h"),
        ([104, CONTROL, 106, 107], "<|user|>k", "hjk"),
        ([104, CONTROL, 106], "<|user|>js", "hj"),
        ([CONTROL], "<|user|>", ""),
    ],
)
def test_stop_strings_of_control_tokens(script, stop, text):
    g = generate(scripted(script), stop=stop)
    assert (g.text, g.finish_reason) == (text, "stop")


@pytest.mark.parametrize("seed", range(20))
def test_stop_strings_are_found_wherever_they_end_first(seed):
    """The oracle: after each token, look through both texts from the beginning."""
    random = np.random.default_rng(seed)
    pieces = [(c, bool(random.integers(4))) for c in random.choice(["a", "b", "<x>", "ab"], 40)]
    stops = ["".join(random.choice(["a", "b", "<x>"], n)) for n in (3, 4)]
    wanted, stopped_at = "".join(text for text, shown in pieces if shown), None
    for n in range(1, len(pieces) + 1):
        marks = [(c, shown) for text, shown in pieces[:n] for c in text]
        cuts = []
        for view in (marks, [mark for mark in marks if mark[1]]):
            seen = "".join(c for c, _ in view)
            cuts += [view[at:] for stop in stops if (at := seen.find(stop)) >= 0]
        if cuts:
            hidden = max(sum(shown for _, shown in cut) for cut in cuts)
            visible = "".join(c for c, shown in marks if shown)
            wanted, stopped_at = visible[: len(visible) - hidden], n
            break
    finder, text, found = StopStrings(stops), "", False
    for n, (piece, shown) in enumerate(pieces, 1):
        chunk, found = finder.push(piece, shown=shown)
        text += chunk
        assert wanted.startswith(text)
        if found:
            assert n == stopped_at
            break
    assert found == (stopped_at is not None)
    assert text + finder.flush() == wanted


def test_a_search_in_what_is_shown_alone_would_miss_them():
    class Shown(StopStrings):
        def push(self, text, *, shown=True):  # the seeded fault
            return super().push(text if shown else "")

    pieces = (("h", True), ("<|user|>", False))
    whole, blind = StopStrings(["h<|user|>"]), Shown(["h<|user|>"])
    assert [whole.push(text, shown=shown)[1] for text, shown in pieces] == [False, True]
    assert [blind.push(text, shown=shown)[1] for text, shown in pieces] == [False, False]


def test_the_first_stop_string_to_complete_wins():
    assert generate(scripted("abcdef"), stop=["abcde", "cd"]).text == "ab"
    assert generate(scripted([104, 259]), stop=["c", "b"]).text == "ha"  # both in one token


@pytest.mark.parametrize("seed", range(20))
def test_stop_strings_never_show_a_part(seed):
    random = np.random.default_rng(seed)
    text = "".join(random.choice(list("ab"), 60))
    stops = ["".join(random.choice(list("ab"), n)) for n in (5, 7)]
    finder, shown = StopStrings(stops), ""
    at, stopped = 0, False
    while at < len(text) and not stopped:
        n = int(random.integers(1, 4))
        chunk, stopped = finder.push(text[at : at + n])
        at += n
        shown += chunk
        # Whatever comes next, what is shown stays shown: it is a beginning of the final answer.
        ends = [text.find(s) + len(s) for s in stops if s in text]
        cut = (
            min(
                (text[: min(ends)].rfind(s) for s in stops if text[: min(ends)].endswith(s)),
                default=len(text),
            )
            if ends
            else len(text)
        )
        assert text[:cut].startswith(shown) or text.startswith(shown)
        assert not any(s in shown for s in stops)
    if not stopped:
        shown += finder.flush()
        assert shown == text
        assert not any(s in text for s in stops)


def test_a_wrong_hold_back_would_show():
    class Eager(StopStrings):
        def push(self, text):  # the seeded fault: nothing is held back
            at = text.find(self._strings[0])
            return (text[:at], True) if at >= 0 else (text, False)

    eager, honest = Eager(["STOP"]), StopStrings(["STOP"])
    assert eager.push("a ST")[0] == "a ST"
    assert honest.push("a ST")[0] == "a "


# --- prefix reuse ---------------------------------------------------------------------------------


def test_a_second_prompt_that_begins_alike_is_not_computed_again():
    engine = scripted("Hi")
    first = generate(engine)
    assert first.usage.cached_tokens == 0
    again = generate(engine)
    assert (again.usage.cached_tokens, again.text) == (3, first.text)
    longer = generate(engine, [*PROMPT, *first.tokens, 10, 0])
    assert longer.usage.cached_tokens == 6
    assert longer.text == "Hi"
    assert generate(engine, cache_prompt=False).usage.cached_tokens == 0


def test_cache_prompt_false_keeps_nothing():
    engine = scripted("Hi")
    generate(engine, cache_prompt=False)
    assert generate(engine).usage.cached_tokens == 0


# --- streams --------------------------------------------------------------------------------------


def test_two_interleaved_streams_are_each_as_alone():
    engine = Engine(FakeNetwork())
    prompts = [[1, 2, 3], [1, 2, 4]]
    options = {"temperature": 1.0, "seed": 5, "ignore_eos": True}
    alone = [generate(Engine(FakeNetwork()), p, **options).tokens for p in prompts]
    streams = [stream_of(engine, p, **options) for p in prompts]
    running = list(streams)
    while running:
        running = [s for s in running if next(s, None) is not None]
    assert [s.generation.tokens for s in streams] == alone


def test_a_suspended_stream_blocks_nobody():
    engine = scripted("Hello, world.")
    stream = stream_of(engine)
    assert next(stream) == "H"
    assert generate(engine).text == "Hello, world."
    assert "".join(stream) == "ello, world."


def test_closing_ends_a_stream_and_keeps_what_it_made():
    engine = scripted("Hello.")
    with stream_of(engine) as stream:
        assert next(stream) + next(stream) == "He"
        assert stream.generation.finish_reason is None
    g = stream.generation
    assert (g.text, g.finish_reason, g.usage.completion_tokens) == ("He", "cancelled", 2)
    assert list(stream) == []
    stream.close()
    assert generate(engine).usage.cached_tokens == 3


def test_closing_an_unread_stream():
    engine = scripted("Hello.")
    stream = stream_of(engine)
    stream.close()
    assert list(stream) == []
    assert stream.generation.finish_reason == "cancelled"
    assert engine.network.computed == 0


def test_closing_after_the_end_changes_nothing():
    stream = stream_of(scripted("Hi"))
    list(stream)
    stream.close()
    assert stream.generation.finish_reason == "stop"


def test_dropped_streams_give_their_sequences_back():
    engine = scripted("Hello.", n_parallel=2)
    gc.disable()
    try:
        for _ in range(6):
            for _chunk in stream_of(engine):
                break
    finally:
        gc.enable()
    held = [stream_of(engine) for _ in range(3)]
    next(held[0]), next(held[1])
    with pytest.raises(CacheFullError):
        next(held[2])
    held[0].close()
    assert generate(engine).text == "Hello."


def test_close_from_another_thread_stops_a_running_step():
    engine = scripted("Hello.", step_s=0.01)
    stream = stream_of(engine)
    next(stream)
    engine.network.step_s = 30
    threading.Timer(0.05, stream.close).start()
    began = time.perf_counter()
    assert list(stream) == []
    assert time.perf_counter() - began < 1
    assert stream.generation.finish_reason == "cancelled"
    engine.network.step_s = 0
    assert generate(engine).text == "Hello."


def test_a_stream_serves_one_reader_at_a_time():
    engine = scripted("Hello.", step_s=0.3)
    stream, got = stream_of(engine), []
    began = threading.Event()
    engine.network.before_run = began.set
    thread = threading.Thread(target=lambda: got.append(next(stream)))
    thread.start()
    assert began.wait(10)
    with pytest.raises(Busy, match="read already"):
        next(stream)
    thread.join(10)
    engine.network.step_s = 0
    assert got == ["H"]
    assert "".join(stream) == "ello."


def test_ctrl_c_leaves_the_engine_usable():
    engine = scripted("Hello.")
    runs = iter([None, None, KeyboardInterrupt()])

    def interrupt():
        if (error := next(runs, None)) is not None:
            raise error

    engine.network.before_run = interrupt
    stream = stream_of(engine)
    with pytest.raises(KeyboardInterrupt):
        list(stream)
    assert stream.generation.finish_reason == "cancelled"
    assert stream.generation.text == "He"
    g = generate(engine)
    assert (g.text, g.usage.cached_tokens) == ("Hello.", 3)


def test_closing_the_engine_ends_a_reply_with_an_error():
    engine = scripted("Hello.", step_s=0.01)
    stream = stream_of(engine)
    next(stream)
    threading.Timer(0.05, engine.close).start()
    engine.network.step_s = 30
    with pytest.raises(ClosedError, match="model is closed"):
        list(stream)


@pytest.mark.parametrize("n_parallel", [1, 2, 8])
def test_eight_threads_get_what_they_would_alone(n_parallel):
    engine = Engine(FakeNetwork(n_parallel=n_parallel))
    options = {"temperature": 1.0, "seed": 1, "ignore_eos": True, "max_tokens": 20}
    alone = [generate(Engine(FakeNetwork()), [i, i], **options).tokens for i in range(8)]
    answers = [None] * 8

    def work(i):
        answers[i] = generate(engine, [i, i], **options).tokens

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == alone


def test_a_call_waits_only_for_calls_that_end_by_themselves():
    engine = scripted("Hi", n_parallel=2)
    streams = [stream_of(engine), stream_of(engine)]
    for stream in streams:
        next(stream)
    with pytest.raises(CacheFullError):
        generate(engine)
    streams[0].close()

    def ask_again(ids, logits):
        with pytest.raises(CacheFullError):  # its own thread holds what it would wait for
            generate(engine)
        return logits

    g = generate(engine, logits_processors=[ask_again])
    assert g.text == "Hi"


def test_closing_the_engine_ends_a_wait():
    engine = scripted("Hi", n_parallel=1, step_s=0.2)
    raised = []

    def work():
        try:
            generate(engine)
        except ClosedError as error:
            raised.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    engine.close()
    for thread in threads:
        thread.join(10)
    assert len(raised) == 3


# --- timings --------------------------------------------------------------------------------------


def test_timings_follow_the_definitions(monkeypatch):
    now = [100.0]
    clock = SimpleNamespace(perf_counter=lambda: now[0])
    for module in ("generate", "engine.composer", "engine.scheduler", "engine.turns"):
        monkeypatch.setattr(f"edgelm.{module}.time", clock)
    engine = scripted("Hello.", n_batch=2)

    def run_takes_20_ms():
        now[0] += 0.02

    engine.network.before_run = run_takes_20_ms
    options = Options(temperature=0)
    reply = Reply(engine, list(PROMPT), options, began=99.9, streams=True)  # tokenizing: 100 ms
    stream = Stream(engine, reply)
    now[0] += 7  # nobody reads yet
    for _ in stream:
        now[0] += 3  # the reader's own time
    t = stream.generation.timings
    assert t.prefill_ms == pytest.approx(40)  # two chunks
    assert t.first_token_ms == pytest.approx(140)
    assert t.prefill_tok_s == pytest.approx(4 / 0.04)
    assert t.token_ms == pytest.approx([20] * 6)  # five more letters, and the end
    assert t.tok_s == pytest.approx(50)


def test_timings_of_short_replies_are_nan():
    one = generate(scripted("x"), max_tokens=1).timings
    assert one.first_token_ms > 0
    assert math.isnan(one.tok_s)
    none = generate(scripted("x"), max_tokens=0).timings
    assert math.isnan(none.first_token_ms)
    assert none.prefill_ms > 0
