"""The public surface: the names, arguments and defaults that were promised, and their errors."""

import asyncio
import contextlib
import copy
import dataclasses
import inspect
import math
import pickle
import re
import subprocess
import sys
import threading

import numpy as np
import pytest

import edgelm
from edgelm.about import About
from edgelm.api import Model, load
from edgelm.options import INSTEAD
from fake_network import BOS, VOCAB, FakeNetwork, FakeTokenizer
from option_defaults import DEFAULTS

NOTHING = inspect.Parameter.empty
TEMPLATE = {
    "tools": None,
    "variables": None,
    "continue_final_message": False,
    "chat_template": None,
}
SURFACE = {
    load: {
        "source": NOTHING,
        "n_ctx": None,
        "n_parallel": 4,
        "n_threads": None,
        "n_batch": 512,
        "kv_type": "f16",
        "activations": "auto",
        "max_queue": 256,
        "queue_timeout_s": None,
    },
    Model.generate: {"prompt": NOTHING, "n": 1, **DEFAULTS},
    Model.agenerate: {"prompt": NOTHING, "n": 1, **DEFAULTS},
    Model.stream: {"prompt": NOTHING, **DEFAULTS},
    Model.chat: {"messages": NOTHING, **TEMPLATE, **DEFAULTS},
    Model.stream_chat: {"messages": NOTHING, **TEMPLATE, **DEFAULTS},
    Model.apply_chat_template: {"messages": NOTHING, "add_generation_prompt": True, **TEMPLATE},
    Model.tokenize: {"text": NOTHING, "add_special": True, "parse_special": False},
    Model.detokenize: {"ids": NOTHING, "special": False},
    Model.session: {},
    Model.decode_batch: {"sessions": NOTHING, "ids": NOTHING},
    Model.logits: {"ids": NOTHING},
    Model.score: {"ids": NOTHING},
    Model.perplexity: {"text": NOTHING, "n_ctx": 512, "progress": None},
    Model.close: {},
    edgelm.Session.prefill: {"ids": NOTHING, "all_logits": False},
    edgelm.Session.decode: {"token": NOTHING},
    edgelm.Session.truncate: {"n": NOTHING},
    edgelm.Session.fork: {},
    edgelm.Session.close: {},
}


@pytest.fixture
def network():
    return FakeNetwork(script=b"Hello.", n_ctx=256)


@pytest.fixture
def model(network):
    return Model(network)


def ended(text):
    """A text behind which the fake network begins its script."""
    return text + "\0"


# --- the surface ----------------------------------------------------------------------------------


@pytest.mark.parametrize("function", SURFACE, ids=lambda f: f.__qualname__)
def test_arguments_and_defaults(function):
    parameters = dict(inspect.signature(function).parameters)
    parameters.pop("self", None)
    assert {name: p.default for name, p in parameters.items()} == SURFACE[function]
    keyword_only = {name for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    positional = {"source", "prompt", "messages", "text", "ids", "sessions", "token"}
    if function is Model.perplexity:
        positional |= {"n_ctx"}
    if function is edgelm.Session.truncate:
        positional |= {"n"}
    assert keyword_only == set(parameters) - positional


def test_every_public_name_exists_and_no_other():
    for name in edgelm.__all__:
        if name != "__version__":  # an installed package has one
            assert getattr(edgelm, name) is not None
    assert dir(edgelm) == edgelm.__all__ == sorted(edgelm.__all__)
    public = {n for n in dir(Model) if not n.startswith("_")}
    functions = {f.__name__ for f in SURFACE if f.__qualname__.startswith("Model.")}
    assert public == functions | {n for n in vars(About) if not n.startswith("_")}
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = edgelm.nonsense


def test_importing_edgelm_imports_nothing_heavy():
    code = (
        "import sys, edgelm; heavy = {'numpy', 'jinja2', 'edgelm.api', 'edgelm._core'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


# --- load -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"n_ctx": 0}, ValueError, "n_ctx is 0; expected an integer from 1 to"),
        ({"n_ctx": -5}, ValueError, "n_ctx"),
        ({"n_ctx": 1.5}, TypeError, "n_ctx"),
        ({"n_parallel": 0}, ValueError, "n_parallel"),
        ({"n_parallel": True}, TypeError, "n_parallel"),
        ({"n_threads": 0}, ValueError, "n_threads .* or None for the usable cores"),
        ({"n_threads": 10**6}, ValueError, "n_threads"),
        ({"n_batch": 0}, ValueError, "n_batch"),
        ({"kv_type": "f64"}, ValueError, "kv_type is 'f64'; expected one of f16, q8_0"),
        ({"kv_type": None}, ValueError, "kv_type"),
        ({"activations": "int4"}, ValueError, "activations is 'int4'; expected one of int8, auto"),
        ({"num_ctx": 512}, TypeError, "Did you mean n_ctx?"),
        ({"threads": 2}, TypeError, "Did you mean n_threads?"),
        ({"n_thread": 2}, TypeError, "Did you mean n_threads?"),
        ({"max_model_len": 9}, TypeError, "Did you mean n_ctx?"),
        ({"n_gpu_layers": -1}, TypeError, "has no argument 'n_gpu_layers'. .* on the CPU alone"),
        ({"verbose": False}, TypeError, "prints nothing: leave it out"),
        ({"stream": True}, TypeError, r"Call stream\(prompt\) or stream_chat\(messages\)"),
        ({"chat_format": "chatml"}, TypeError, r"chat\(\) uses the template of the file"),
        ({"seed": 1}, TypeError, r"generate\(\), stream\(\) and chat\(\) take seed"),
        ({"temp": 1}, TypeError, r"generate\(\), stream\(\) and chat\(\) take temperature"),
        ({"xyzzy": 1}, TypeError, "It takes n_ctx, n_parallel"),
    ],
)
def test_load_checks_its_arguments_before_the_file(arguments, error, match):
    with pytest.raises(error, match=match):
        load("no such file.gguf", **arguments)


def test_load_refuses_what_is_no_source(tmp_path):
    for source in (None, 5, b"model.gguf"):
        with pytest.raises(TypeError, match="expected a known name or the path"):
            load(source)
    with pytest.raises(OSError, match=r"missing\.gguf"):
        load(tmp_path / "missing.gguf")
    with pytest.raises(OSError, match=re.escape(str(tmp_path))):
        load(tmp_path)  # a folder
    (tmp_path / "empty.gguf").write_bytes(b"")
    with pytest.raises(edgelm.ModelFormatError):
        load(tmp_path / "empty.gguf")


# --- text -----------------------------------------------------------------------------------------


def test_generate_from_text_and_from_ids(model):
    g = model.generate(ended("Say"), temperature=0)
    assert str(g) == "Hello."
    assert g.usage.prompt_tokens == 5  # with BOS
    assert model.generate([BOS, *b"Say\0"], temperature=0).text == "Hello."
    assert model.generate(np.array([BOS, *b"Say\0"]), temperature=0).text == "Hello."
    assert model.generate(ended("Say"), temperature=0).usage.cached_tokens == 4


def test_a_list_of_prompts_or_n_replies_are_each_as_alone(model, network):
    prompts = [ended("Say"), [BOS, 1, 2, 3], ended("Sing"), (4, 5), ended("Say it")]
    options = {"temperature": 1.5, "max_tokens": 9, "logprobs": 2, "ignore_eos": True}
    alone = [model.generate(p, seed=7 + i, **options) for i, p in enumerate(prompts)]
    together = model.generate(prompts, seed=7, **options)
    assert [g.seed for g in together] == [7, 8, 9, 10, 11]
    assert [(g.tokens, g.logprobs) for g in together] == [(g.tokens, g.logprobs) for g in alone]
    assert max(network.batches) >= network.n_parallel  # they shared steps
    again = [model.generate(prompts[0], seed=20 + i, **options).tokens for i in range(6)]
    assert [g.tokens for g in model.generate(prompts[0], n=6, seed=20, **options)] == again
    two = model.generate([prompts[0], prompts[1]], n=2, seed=20, **options)
    assert [g.tokens for g in two[:2]] == again[:2]
    assert two[3].tokens == model.generate(prompts[1], seed=23, **options).tokens
    assert len(model.generate([prompts[0]], **options)) == 1


def test_agenerate_is_generate_in_a_task(model):
    options = {"temperature": 1.5, "max_tokens": 9, "ignore_eos": True, "seed": 4}
    prompts = [ended("Say"), ended("Sing")]

    async def main():
        return await asyncio.gather(
            model.agenerate(prompts[0], **options), model.agenerate(prompts, **options)
        )

    one, two = asyncio.run(main())
    assert one.tokens == model.generate(prompts[0], **options).tokens
    assert [g.tokens for g in two] == [g.tokens for g in model.generate(prompts, **options)]
    with pytest.raises(TypeError, match=r"agenerate\(\) has no argument 'temp'"):
        asyncio.run(model.agenerate("x", temp=1))


def test_a_bad_prompt_of_several_is_named_before_any_compute(model, network):
    for prompts, error, match in (
        (["fine", b"bytes"], TypeError, r"prompt\[1\] is bytes"),
        (["fine", "x" * 300], edgelm.ContextFullError, r"prompt\[1\]: The prompt has 301"),
        (["fine", None], TypeError, "flat sequence of integers"),
        (["fine", 5], TypeError, "flat sequence of integers"),
    ):
        with pytest.raises(error, match=match):
            model.generate(prompts)
    for n in (0, 1.5, True, "2"):
        with pytest.raises((TypeError, ValueError), match="n is"):
            model.generate("x", n=n)
    assert network.computed == 0


@pytest.mark.parametrize("cache_prompt", [True, False])
def test_n_replies_share_their_prompt(model, network, cache_prompt):
    prompt = ended("a prompt of some length")
    n_prompt = len(model.tokenize(prompt))
    replies = model.generate(prompt, n=4, max_tokens=1, cache_prompt=cache_prompt)
    assert [g.usage.cached_tokens for g in replies] == [0] + 3 * [n_prompt - 1]
    assert network.computed == n_prompt + 3
    assert model.generate(prompt, max_tokens=1).usage.cached_tokens == (
        n_prompt - 1 if cache_prompt else 0
    )


def test_prompts_share_a_beginning_that_is_being_computed(model, network):
    common = "You are a helpful assistant who answers shortly. "
    model.generate([common + ended(q) for q in ("One?", "Two?", "And three?")], max_tokens=1)
    assert network.computed < len(common) + 50


def test_one_failing_reply_ends_the_batch_and_frees_its_sequences(model, network):
    def fail(ids, logits):
        if len(ids) > 8:
            raise RuntimeError("a processor's own")
        return logits

    with pytest.raises(RuntimeError, match="a processor's own"):
        model.generate(["a", "b", "c", "d", "e"], ignore_eos=True, logits_processors=[fail])
    with contextlib.ExitStack() as stack:
        for _ in range(network.n_parallel):
            stack.enter_context(model.session())


def test_stream_is_generate_piece_by_piece(model):
    stream = model.stream(ended("Say"), temperature=0, max_tokens=4)
    assert list(stream) == list("Hell")
    assert stream.generation.finish_reason == "length"


@pytest.mark.parametrize("method", ["generate", "stream", "chat", "stream_chat"])
def test_an_unknown_argument_suggests_the_right_name(model, method):
    for wrong, right in (
        ("max_new_tokens", "max_tokens"),
        ("repetition_penalty", "repeat_penalty"),
        ("temp", "temperature"),
    ):
        match = rf"{method}\(\) has no argument '{wrong}'\. Did you mean {right}\?"
        with pytest.raises(TypeError, match=match):
            getattr(model, method)("x", **{wrong: 1})


def test_an_argument_of_another_function_names_it(model):
    theirs = {name for name, advice in INSTEAD.items() if advice == "load() takes it."}
    assert theirs == set(SURFACE[load]) - {"source"}
    for argument, advice in (
        ("num_ctx", "load() takes it"),
        ("stream", "Call stream(prompt)"),
        ("tools", "chat() and apply_chat_template() take it"),
    ):
        with pytest.raises(TypeError, match=re.escape(advice)):
            model.generate("x", **{argument: 1})
    for method in (model.chat, model.stream_chat, model.apply_chat_template):
        with pytest.raises(TypeError, match=re.escape('variables={"enable_thinking": False}')):
            method([], enable_thinking=False)


def test_options_may_be_kept_and_given_whole(model):
    brief = edgelm.Options(temperature=0, max_tokens=4)
    assert model.generate(ended("Say"), **brief).text == "Hell"
    assert model.generate(ended("Say"), **dataclasses.replace(brief, max_tokens=2)).text == "He"


def test_echo_begins_with_the_prompt(model):
    brief = {"temperature": 0, "max_tokens": 4, "echo": True}
    for prompt in (ended("Say"), [BOS, *b"Say\0"]):
        reply = model.generate(prompt, **brief)
        assert (reply.text, len(reply.tokens)) == ("Say\0Hell", 4)
        assert "".join(model.stream(prompt, **brief)) == "Say\0Hell"
    both = model.generate([ended("a"), ended("b")], **brief)
    assert [reply.text for reply in both] == ["a\0Hell", "b\0Hell"]


@pytest.mark.parametrize(
    ("prompt", "error", "match"),
    [
        ([], ValueError, "at least one"),
        ([VOCAB], ValueError, "not in the model's vocabulary"),
        ([-1], ValueError, "not in the model's vocabulary"),
        (None, TypeError, "flat sequence of integers"),
        (b"bytes", TypeError, "decode it to a str"),
        (3.5, TypeError, "flat sequence of integers"),
        ([1, "a"], TypeError, "flat sequence of integers"),
        ("x" * 300, edgelm.ContextFullError, "301 tokens but the context holds 256"),
    ],
)
def test_bad_prompts(model, network, prompt, error, match):
    for method in (model.generate, model.stream):
        with pytest.raises(error, match=match):
            method(prompt)
    assert network.computed == 0


def test_an_empty_prompt_begins_with_bos_or_is_refused(model, network):
    assert model.generate("", max_tokens=1).usage.prompt_tokens == 1
    network.tokenizer.add_bos = False
    with pytest.raises(ValueError, match="prompt is empty and the model has no BOS"):
        model.generate("")


class ChattyTokenizer(FakeTokenizer):
    chat_template = (
        "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}\0{% endif %}"
    )

    def encode(self, text, *, add_special=True, parse_special=False):
        if parse_special and text.startswith("<s>"):
            return [BOS, BOS, *text[3:].encode()]
        return super().encode(text, add_special=add_special, parse_special=parse_special)

    def token_bytes(self, token):
        return b"<s>" if token == BOS else super().token_bytes(token)


def test_chat_renders_the_models_template(model, network):
    messages = [{"role": "user", "content": "Hi"}]
    with pytest.raises(edgelm.TemplateError, match="no chat template"):
        model.chat(messages)
    network.tokenizer = ChattyTokenizer()
    chatty = Model(network)
    assert chatty.apply_chat_template(messages) == "<s>user: Hi\n\0"
    assert chatty.apply_chat_template(messages, add_generation_prompt=False) == "<s>user: Hi\n"
    g = chatty.chat(messages, temperature=0)
    assert g.text == "Hello."
    assert g.usage.prompt_tokens == 11  # one BOS, though the template wrote it too
    with pytest.raises(TypeError, match="add_generation_prompt is 1"):
        chatty.apply_chat_template(messages, add_generation_prompt=1)


def test_chats_stream_and_take_what_templates_take(network):
    network.tokenizer = tokenizer = ChattyTokenizer()
    tokenizer.chat_template = "{{ tools | length if tools else 'no' }} {{ topic }}\0"
    chatty, message = Model(network), [{"role": "user", "content": "Hi"}]
    tools = [{"type": "function", "function": {"name": "now"}}]
    for given, text in (({}, "no \0"), ({"tools": tools, "variables": {"topic": "x"}}, "1 x\0")):
        options = {"temperature": 0, "echo": True, **given}
        assert chatty.chat(message, **options).text == text + "Hello."
        assert "".join(chatty.stream_chat(message, **options)) == text + "Hello."

    async def read():
        return [chunk async for chunk in chatty.stream_chat(message, temperature=0)]

    assert asyncio.run(read()) == list("Hello.")


def test_templates_are_told_of_tools_and_variables(network):
    network.tokenizer = tokenizer = ChattyTokenizer()
    tokenizer.chat_template = "{{ tools }} {{ enable_thinking }}"
    tools = [{"type": "function", "function": {"name": "now"}}]
    chatty = Model(network)
    assert chatty.apply_chat_template([], variables={"enable_thinking": False}) == "None False"
    assert "now" in chatty.apply_chat_template([], tools=tools)
    tokenizer.tool_template = "tools: {{ tools | length }}"
    chatty = Model(network)
    assert chatty.apply_chat_template([], tools=tools) == "tools: 1"
    assert chatty.apply_chat_template([]).startswith("None")
    with pytest.raises(TypeError, match="variables is 'x'"):
        chatty.apply_chat_template([], variables="x")
    with pytest.raises(ValueError, match="variables holds 'tools'"):
        chatty.apply_chat_template([], variables={"tools": []})


def test_tokenize_and_detokenize(model):
    assert model.tokenize("hé") == [BOS, *"hé".encode()]
    assert model.tokenize("h", add_special=False) == [104]
    assert model.detokenize([104, 233]) == "h\ufffd"
    assert model.detokenize([]) == ""
    for call in (
        lambda: model.tokenize(b"x"),
        lambda: model.tokenize("x", add_special=1),
        lambda: model.detokenize("x"),
        lambda: model.detokenize([1], special="yes"),
    ):
        with pytest.raises(TypeError, match=r"expected|flat sequence"):
            call()
    with pytest.raises(ValueError, match="vocabulary"):
        model.detokenize([VOCAB])


# --- the two phases and scores --------------------------------------------------------------------


def test_the_phases_by_hand_give_what_generate_gives(model):
    ids = model.tokenize(ended("Say"))
    with model.session() as session:
        token, made = int(session.prefill(ids).argmax()), []
        while token < 256:
            made.append(token)
            token = int(session.decode(token).argmax())
    assert model.detokenize(made) == model.generate(ids, temperature=0).text


def test_returned_logits_are_the_callers_own(model):
    with model.session() as session:
        first = session.prefill([1, 2])
        kept = first.copy()
        first[:] = 0
        session.truncate(1)
        np.testing.assert_array_equal(session.decode(2), kept)


def test_sessions_and_streams_share_the_sequences(model):
    sessions = [model.session() for _ in range(3)]
    stream = model.stream(ended("x"), temperature=0)
    next(stream)
    with pytest.raises(edgelm.CacheFullError, match="n_parallel=5"):
        model.session()
    stream.close()
    sessions.append(model.session())
    rows = model.decode_batch(sessions, [1, 2, 3, 4])
    assert rows.shape == (4, VOCAB)


def log_softmax(row):
    row = row.astype(np.float64)
    return row - row.max() - np.log(np.exp(row - row.max()).sum())


def test_logits_and_score(model, network):
    ids = [1, 2, 3, 4, 5, 6, 7]
    rows = model.logits(ids)
    np.testing.assert_array_equal(rows, [network.logits_of(ids[: i + 1]) for i in range(7)])
    expected = [log_softmax(rows[i])[ids[i + 1]] for i in range(6)]
    np.testing.assert_allclose(model.score(ids), expected, atol=1e-6)
    np.testing.assert_allclose(model.score("ab"), model.score([BOS, 97, 98]))
    assert model.score([5]).shape == (0,)
    for bad in ([], [VOCAB]):
        for method in (model.logits, model.score):
            with pytest.raises(ValueError, match="token id"):
                method(bad)
    with pytest.raises(edgelm.ContextFullError, match="300 tokens but the context holds 256"):
        model.score([1] * 300)
    assert network.cache.texts == {}


@pytest.mark.parametrize(("n_ctx", "add_bos"), [(8, True), (9, True), (16, False), (4, True)])
def test_perplexity_chunks_as_llama_cpp_does(model, network, n_ctx, add_bos):
    network.tokenizer.add_bos = add_bos
    text = "The quick brown fox jumps over the lazy dög, twice."
    ids = network.tokenizer.encode(text)
    # llama.cpp's perplexity.cpp: of rows n_ctx / 2 to n_ctx - 2, row i foretells token i + 1
    nats, scored = 0.0, []
    for chunk in range(len(ids) // n_ctx):
        tokens = ids[chunk * n_ctx : (chunk + 1) * n_ctx]
        seen = [BOS, *tokens[1:]] if add_bos else tokens
        for i in range(n_ctx // 2, n_ctx - 1):
            nats -= log_softmax(network.logits_of(seen[: i + 1]))[tokens[i + 1]]
            scored.append(tokens[i + 1])
    result = model.perplexity(text, n_ctx=n_ctx)
    assert (result.tokens, result.chunks) == (len(scored), len(ids) // n_ctx)
    assert result.nats == pytest.approx(nats, rel=1e-6)
    assert (
        result.perplexity == float(result) == pytest.approx(math.exp(nats / len(scored)), rel=1e-5)
    )
    assert result.n_bytes == len(scored)  # a byte a token
    assert result.bits_per_byte == pytest.approx(nats / math.log(2) / len(scored), rel=1e-6)


def test_perplexity_refuses_what_it_cannot_score(model):
    with pytest.raises(ValueError, match="6 tokens, less than one chunk of n_ctx=8"):
        model.perplexity("short", n_ctx=8)
    for n_ctx in (0, 3, 257):
        with pytest.raises(ValueError, match="n_ctx"):
            model.perplexity("x" * 999, n_ctx=n_ctx)
    with pytest.raises(TypeError, match="text is a list"):
        model.perplexity([1, 2])


# --- closing --------------------------------------------------------------------------------------


def test_use_after_close_is_an_error(network):
    with Model(network) as model:
        session, stream = model.session(), model.stream(ended("x"), temperature=0)
        next(stream)
    for use in (
        lambda: model.generate("x"),
        lambda: model.stream("x"),
        lambda: model.chat([]),
        lambda: model.tokenize("x"),
        lambda: model.detokenize([1]),
        lambda: model.apply_chat_template([]),
        model.session,
        lambda: model.decode_batch([], []),
        lambda: model.logits([1]),
        lambda: model.score("x"),
        lambda: model.perplexity("x"),
        lambda: session.prefill([1]),
        lambda: next(stream),
    ):
        with pytest.raises(edgelm.ClosedError, match="closed"):
            use()
    model.close()
    session.close()
    stream.close()


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, pickle.dumps])
def test_copies_say_what_to_do_instead(model, twin):
    with model.session() as session, model.stream("x") as stream:
        session.prefill([1, 2])
        for held, match in (
            (model, "in another process, load it there"),
            (session, r"fork\(\) gives a second one"),
            (stream, r"begun by stream\(\)"),
        ):
            with pytest.raises(TypeError, match=match):
                twin(held)
        assert session.decode(3).shape == (VOCAB,)  # no twin has closed it
    with pytest.raises(TypeError, match="in another process, load it there"):
        pickle.dumps(model.generate)
    reply = model.generate("x", max_tokens=2, logprobs=1)
    assert pickle.loads(pickle.dumps(reply)) == copy.deepcopy(reply) == reply


def test_eight_threads_answer_as_one(network):
    model = Model(network)
    prompts = [ended(f"Say {i}") for i in range(8)]
    options = {"temperature": 1.0, "seed": 3, "max_tokens": 12}
    alone = [model.generate(p, **options, cache_prompt=False).tokens for p in prompts]
    answers = {}

    def work(prompt):
        answers[prompt] = model.generate(prompt, **options).tokens

    threads = [threading.Thread(target=work, args=(p,)) for p in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [answers[p] for p in prompts] == alone
