"""Options: llama.cpp's defaults, clear errors for bad values, the right name for a wrong one."""

import inspect
import math
import re
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelm.api import load
from edgelm.options import (
    OptionArguments,
    Options,
    described,
    suggests_names,
    takes_options,
    unknown_argument,
)
from option_defaults import DEFAULTS


def test_defaults():
    assert {f.name: f.default for f in fields(Options)} == DEFAULTS
    assert list(OptionArguments.__annotations__) == list(DEFAULTS)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("max_tokens", -2, ValueError),
        ("max_tokens", 3.0, TypeError),
        ("max_tokens", True, TypeError),
        ("max_tokens", "5", TypeError),
        ("temperature", -0.1, ValueError),
        ("temperature", math.nan, ValueError),
        ("temperature", math.inf, ValueError),
        ("temperature", 10**400, ValueError),
        ("temperature", "hot", TypeError),
        ("temperature", False, TypeError),
        ("top_k", -1, ValueError),
        ("top_k", 2.5, TypeError),
        ("top_k", 2**70, ValueError),
        ("top_k", np.float32(3), TypeError),
        ("repeat_last_n", 2**70, ValueError),
        ("min_tokens", -1, ValueError),
        ("stop_token_ids", -1, ValueError),
        ("stop_token_ids", [3, "x"], TypeError),
        ("stop_token_ids", "x", TypeError),
        ("stop_token_ids", {1: 2}, TypeError),
        ("echo", 1, TypeError),
        ("temperature", np.float32("nan"), ValueError),
        ("top_p", 1.01, ValueError),
        ("top_p", math.nan, ValueError),
        ("min_p", -0.01, ValueError),
        ("typical_p", 2, ValueError),
        ("repeat_penalty", 0, ValueError),
        ("repeat_penalty", -1, ValueError),
        ("repeat_last_n", -2, ValueError),
        ("presence_penalty", math.nan, ValueError),
        ("frequency_penalty", -math.inf, ValueError),
        ("logit_bias", [1, 2], TypeError),
        ("logit_bias", {"a": 1}, TypeError),
        ("logit_bias", {-1: 1}, ValueError),
        ("logit_bias", {1: math.nan}, ValueError),
        ("logit_bias", {1: math.inf}, ValueError),
        ("logit_bias", {1: "x"}, TypeError),
        ("stop", "", ValueError),
        ("stop", ["a", ""], ValueError),
        ("stop", ["a", 1], TypeError),
        ("stop", b"a", TypeError),
        ("stop", 1, TypeError),
        ("stop", {"a": 1}, TypeError),
        ("seed", -1, ValueError),
        ("seed", 1.5, TypeError),
        ("seed", True, TypeError),
        ("logprobs", -1, ValueError),
        ("logprobs", True, TypeError),
        ("ignore_eos", 1, TypeError),
        ("logits_processors", [3], TypeError),
        ("logits_processors", len, TypeError),
        ("cache_prompt", "no", TypeError),
    ],
)
def test_a_bad_value_is_named(name, value, error):
    with pytest.raises(error, match=rf"{name}.*(expected|leave it out)"):
        Options(**{name: value})


@given(st.data())
def test_any_float_is_taken_or_refused_by_name(data):
    name = data.draw(
        st.sampled_from([k for k, v in DEFAULTS.items() if isinstance(v, float) or v == 64])
    )
    value = data.draw(st.one_of(st.floats(), st.integers(), st.text(), st.none()))
    fits = isinstance(value, (int, float)) and math.isfinite(value)
    try:
        Options(**{name: value})
    except (TypeError, ValueError) as error:
        refusal = str(error)
    else:
        refusal = name
        assert fits
    assert refusal.startswith(name)


def test_several_forms_become_one():
    o = Options(
        stop="a",
        logit_bias={np.int64(3): -math.inf, 4: 1, 5: np.float32("-inf"), 6: np.float16(2)},
        temperature=np.float32(0.5),
        seed=np.int64(5),
    )
    assert o.stop == ("a",)
    assert o.logit_bias == {3: -math.inf, 4: 1.0, 5: -math.inf, 6: 2.0}
    assert {type(amount) for amount in o.logit_bias.values()} == {float}
    assert (o.temperature, o.seed) == (0.5, 5)
    assert Options(stop=["a", "b"]).stop == ("a", "b")
    assert Options().logit_bias == {}
    for ids in (7, np.int32(7), [7], (7,), np.array([7])):
        assert Options(stop_token_ids=ids).stop_token_ids == (7,)


def test_none_is_the_default_and_no_limit():
    for name in ("stop", "stop_token_ids", "logprobs", "logits_processors", "logit_bias", "seed"):
        assert getattr(Options(**{name: None}), name) == getattr(Options(), name)
    assert Options(max_tokens=-1).max_tokens is Options(max_tokens=None).max_tokens is None
    assert Options(max_tokens=np.int64(-1)).max_tokens is None
    with pytest.raises(
        ValueError, match=r"min_tokens is 300 but max_tokens 256.* Raise max_tokens"
    ):
        Options(min_tokens=300)
    assert Options(min_tokens=300, max_tokens=None).min_tokens == 300


def test_every_argument_has_one_description():
    said = described(Options)
    assert list(said) == list(DEFAULTS)
    assert said["max_tokens"].startswith("tokens of the reply at most; ")
    assert said["max_tokens"].endswith("no limit but the context's.")  # of the second line
    assert list(described(load)) == list(inspect.signature(load).parameters)[1:]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("max_new_tokens", "max_tokens"),
        ("n_predict", "max_tokens"),
        ("repetition_penalty", "repeat_penalty"),
        ("temp", "temperature"),
        ("temprature", "temperature"),
        ("topk", "top_k"),
        ("stop_sequences", "stop"),
        ("random_seed", "seed"),
        ("do_sample", "temperature"),
        ("logits_processor", "logits_processors"),
    ],
)
def test_an_unknown_name_suggests_the_right_one(wrong, right):
    with pytest.raises(TypeError, match=re.escape(f"'{wrong}'. Did you mean {right}")):
        Options.of("generate", {wrong: 1})


def test_a_name_like_none_lists_them_all():
    with pytest.raises(TypeError, match=r"It takes max_tokens, .*cache_prompt"):
        Options.of("generate", {"xyzzy": 1})
    # an alias of an argument that the function lacks is no help
    assert "num_ctx" in str(unknown_argument("f", "num_ctx", ["alpha"]))
    assert "n_ctx?" not in str(unknown_argument("f", "num_ctx", ["alpha"]))


def test_suggestions_for_plain_functions():
    @suggests_names
    def open_it(source, *, n_ctx=None):
        return source, n_ctx

    assert open_it("a", n_ctx=3) == ("a", 3)
    with pytest.raises(
        TypeError, match=r"open_it\(\) has no argument 'num_ctx'. Did you mean n_ctx"
    ):
        open_it("a", num_ctx=3)


def test_signatures_show_the_options():
    @takes_options
    def generate(prompt, **options):
        return prompt, options

    signature = inspect.signature(generate)
    assert list(signature.parameters) == ["prompt", *DEFAULTS]
    assert signature.parameters["top_k"].default == 40
