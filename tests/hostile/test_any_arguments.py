"""Any argument of the Python surface ends in a result or an exception of ours: no crash, no hang.

Hypothesis draws the arguments. An oracle that every call must meet, whatever its arguments were:
the model answers afterwards as it did before, and has its sequences back.
"""

from __future__ import annotations

import contextlib
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edgelm
from edgelm.options import Options
from tiny_models import TinyLlama

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}"
EXPECTED = (edgelm.EdgelmError, ValueError, TypeError)

steady = settings(
    max_examples=120,
    deadline=10_000,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    tiny = TinyLlama(n_layers=1, metadata={"tokenizer.chat_template": TEMPLATE})
    return tiny.write(tmp_path_factory.mktemp("any") / "tiny.gguf")


@pytest.fixture(scope="module")
def model(path):
    with edgelm.load(path, n_ctx=48, n_parallel=2, n_threads=1, n_batch=16) as model:
        yield model


@contextlib.contextmanager
def result_or(*expected):
    try:
        yield
    except expected as error:
        said = str(error)
        assert said


def check(model: edgelm.Model) -> None:
    """The model is as it was."""
    answers = [model.generate(p, max_tokens=3, temperature=0).tokens for p in ("one", "two")]
    assert [len(a) for a in answers] == [3, 3]
    with model.session() as a, model.session() as b:
        np.testing.assert_array_equal(a.prefill([1, 2]), b.prefill([1, 2]))


numbers = st.one_of(
    st.integers(-3, 70),
    st.integers(),
    st.floats(),
    st.sampled_from([2**31, 2**63, -(2**63), 2**64, 10**40, 1e300, -0.0, math.nan, math.inf]),
)
oddities = st.sampled_from(
    [
        *(None, True, False, b"", b"\xff", "", "a", "\ud800", "\0", "é" * 30, "<|im_start|>"),
        *(object(), object, len, ..., NotImplemented, 1j, Decimal(1), Fraction(1, 3), range(3)),
        *([], {}, set(), (), [[]], {"a": 1}, {1: 2}, {None: None}, iter([1]), memoryview(b"a")),
        *(np.int8(3), np.float16("nan"), np.float32(1), np.array(5), np.zeros(0), np.zeros((2, 2))),
        *(np.array([1, 2]), np.array(["a"]), np.array([None]), np.datetime64(0, "s"), np.bool_(1)),
    ]
)
anything = st.one_of(
    numbers, oddities, st.text(max_size=60), st.lists(numbers | oddities, max_size=5)
)
ids = st.lists(st.integers(-1, 262), max_size=60)
fitting = {  # values that are mostly taken, so that the draw gets past the checks
    "max_tokens": st.integers(-1, 6) | st.sampled_from([10**30, None]),
    "min_tokens": st.integers(0, 4) | st.just(10**30),
    "temperature": st.sampled_from([0, 1, 1e-308, 5e-324, 1e308]) | st.floats(0, 2),
    "top_k": st.integers(0, 300) | st.just(10**30),
    "top_p": st.floats(0, 1),
    "min_p": st.floats(0, 1),
    "typical_p": st.floats(0, 1),
    "repeat_penalty": st.floats(1e-30, 1e30),
    "repeat_last_n": st.integers(-1, 80) | st.just(10**30),
    "presence_penalty": st.floats(-1e30, 1e30),
    "frequency_penalty": st.floats(-1e30, 1e30),
    "logit_bias": st.dictionaries(
        st.integers(0, 259), st.floats(-1e30, 1e30) | st.just(-math.inf), max_size=9
    ),
    "stop": st.lists(st.text(min_size=1, max_size=3), max_size=3),
    "stop_token_ids": st.lists(st.integers(0, 259), max_size=9) | st.just(10**30),
    "seed": st.integers(0, 2**200) | st.none(),
    "logprobs": st.integers(0, 300) | st.just(10**30),
    "ignore_eos": st.booleans(),
    "echo": st.booleans(),
    "cache_prompt": st.booleans(),
    "logits_processors": st.sampled_from(
        [
            [],
            [lambda ids, row: row * math.nan],
            [lambda ids, row: row[:1]],
            [lambda ids, row: np.full_like(row, -math.inf)],
            [lambda ids, row: -row, lambda ids, row: row.astype(np.float64)],
            [lambda ids, row: None],
        ]
    ),
}


def test_every_option_is_drawn():
    assert set(fitting) == set(Options.__dataclass_fields__)


@st.composite
def options(draw):
    names = draw(st.lists(st.sampled_from([*fitting]), unique=True, max_size=5))
    chosen = {"max_tokens": 4} | {
        name: draw(fitting[name] if draw(st.integers(0, 5)) else anything) for name in names
    }
    if not draw(st.integers(0, 9)):
        chosen[draw(st.text(min_size=1, max_size=8))] = draw(anything)
    return chosen


@pytest.mark.filterwarnings("error::RuntimeWarning")  # NumPy prints what it warns of
@steady
@given(
    prompt=st.text(max_size=30) | ids | st.lists(st.text(max_size=9) | ids, max_size=3) | anything,
    chosen=options(),
    n=st.integers(0, 4),
)
def test_generate_and_stream(model, prompt, chosen, n):
    with result_or(*EXPECTED):
        given = model.generate(prompt, **{"n": n} | chosen)
        for reply in given if isinstance(given, list) else [given]:
            if chosen["max_tokens"] not in (None, -1):
                assert len(reply.tokens) <= chosen["max_tokens"]
            assert reply.logprobs is None or len(reply.logprobs) == len(reply.tokens)
    with result_or(*EXPECTED):
        for _ in zip(range(n), model.stream(prompt, **chosen), strict=False):
            pass  # and the stream is abandoned
    check(model)


messages = st.lists(
    st.dictionaries(st.sampled_from(["role", "content", "tool_calls", "x"]), anything) | anything,
    max_size=3,
)


@steady
@given(given=messages | anything, flag=anything)
def test_chat(model, given, flag):
    for use in (
        lambda: model.chat(given, max_tokens=2),
        lambda: model.chat([{"role": "user", "content": "x"}], tools=given, max_tokens=2),
        lambda: [*model.stream_chat([], variables=given, max_tokens=2)],
        lambda: model.apply_chat_template(given, add_generation_prompt=flag),
    ):
        with result_or(*EXPECTED):
            use()
    check(model)


@steady
@given(value=st.text() | ids | anything, flag=anything | st.booleans())
def test_tokens_and_scores(model, value, flag):
    for use in (
        lambda: model.tokenize(value, add_special=flag),
        lambda: model.tokenize(value, parse_special=flag),
        lambda: model.detokenize(value, special=flag),
        lambda: model.logits(value),
        lambda: model.score(value),
        lambda: model.perplexity(value, flag),
        lambda: model.perplexity("some text " * 9, 8, progress=value),
        lambda: model.perplexity("some text " * 9, value),
    ):
        with result_or(*EXPECTED):
            use()
    check(model)


calls = st.lists(
    st.tuples(
        st.sampled_from(["prefill", "decode", "truncate", "fork", "batch", "close", "tokens"]),
        st.integers(0, 3),
        ids | st.integers(0, 60) | anything,
    ),
    max_size=12,
)


@steady
@given(calls=calls)
def test_sessions(model, calls):
    with contextlib.ExitStack() as opened:
        sessions = [opened.enter_context(model.session())]
        for name, which, value in calls:
            session = sessions[which % len(sessions)]
            with result_or(*EXPECTED):
                if name == "fork":
                    sessions.append(opened.enter_context(session.fork()))
                elif name == "batch":
                    model.decode_batch(sessions, value)
                elif name == "tokens":
                    assert len(session.tokens) == len(session) <= 48
                elif name == "close":
                    session.close()
                else:
                    getattr(session, name)(value)
    check(model)


LOAD = (
    *("n_ctx", "n_parallel", "n_threads", "n_batch", "kv_type", "activations"),
    *("max_queue", "queue_timeout_s"),
)


@settings(steady, max_examples=60)
@given(
    arguments=st.dictionaries(
        st.sampled_from(LOAD), anything | st.integers(1, 9) | st.just("q8_0"), max_size=3
    )
)
def test_load(path, arguments):
    with (
        result_or(*EXPECTED, MemoryError),
        edgelm.load(path, **{"n_threads": 1, **arguments}) as model,
    ):
        model.generate("a", max_tokens=1)


@steady
@given(source=anything)
def test_load_of_anything(source):
    with pytest.raises((*EXPECTED, OSError)):
        edgelm.load(source)
