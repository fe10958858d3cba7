"""The public surface on the real model: what a reader of the README does, and what may go wrong.

Independent source of the perplexity: llama.cpp's logits (tools/make_perplexity_goldens.py).
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import edgelm

TESTS = Path(__file__).parents[1]
PROSE = (TESTS.parent / "python" / "edgelm" / "bench" / "prose.txt").read_text()
PERPLEXITY = json.loads((TESTS / "golden" / "smollm2_perplexity.json").read_text())
FRANCE = "The capital of France is"


@pytest.fixture(scope="module")
def model(smollm2_path: Path) -> Iterator[edgelm.Model]:
    with edgelm.load(smollm2_path, n_ctx=2048) as model:
        yield model


def test_generate(model):
    g = model.generate(FRANCE, max_tokens=8, temperature=0)
    assert g.text.startswith(" Paris")
    assert (g.finish_reason, g.usage.completion_tokens) == ("length", 8)
    assert model.detokenize(g.tokens) == g.text
    assert g.usage.prompt_tokens == 5
    assert g.timings.first_token_ms > g.timings.prefill_ms > 0
    assert g.timings.tok_s > 1


def test_stream_is_generate_piece_by_piece(model):
    options = {"max_tokens": 40, "seed": 7}
    stream = model.stream("Once upon a time", **options)
    pieces = list(stream)
    assert len(pieces) > 20
    assert "".join(pieces) == model.generate("Once upon a time", **options).text
    assert stream.generation.seed == 7


def test_chat(model):
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    rendered = model.apply_chat_template(messages)
    assert rendered.endswith(
        "user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    )
    g = model.chat(messages, temperature=0, max_tokens=40)
    assert g.text
    assert "<|" not in g.text
    # names of special tokens in a prompt are special tokens
    assert model.generate(rendered, temperature=0, max_tokens=40).tokens == g.tokens


def test_a_reused_beginning_changes_no_bit(model):
    options = {"temperature": 0, "max_tokens": 12, "logprobs": 5}
    fresh = model.generate(PROSE[:1500], cache_prompt=False, **options)
    model.generate(PROSE[:800], **options)
    reused = model.generate(PROSE[:1500], **options)
    assert fresh.usage.cached_tokens == 0
    assert reused.usage.cached_tokens > 120
    assert reused.tokens == fresh.tokens
    assert reused.logprobs == fresh.logprobs


def test_logprobs_agree_with_score(model):
    g = model.generate(FRANCE, temperature=0, max_tokens=10, logprobs=2)
    ids = [*model.tokenize(FRANCE), *g.tokens]
    scores = model.score(ids)[-len(g.tokens) :]
    np.testing.assert_allclose([entry.logprob for entry in g.logprobs], scores, atol=1e-9)
    assert all(entry.top[0][0] == entry.token for entry in g.logprobs)
    rows = model.logits(ids).astype(np.float64)
    by_hand = [row[i] - np.log(np.exp(row).sum()) for row, i in zip(rows, ids[1:], strict=False)]
    np.testing.assert_allclose(model.score(ids), by_hand, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("n_ctx", [128, 512])
def test_perplexity_agrees_with_llama_cpp(model, n_ctx):
    """Both engines round the same weights; llama.cpp rounds activations to 8 bits too."""
    result = model.perplexity(PROSE, n_ctx=n_ctx)
    scores = np.array(PERPLEXITY[str(n_ctx)]["log_probabilities"])
    assert result.tokens == len(scores)
    # The means of paired differences scatter by their standard deviation / sqrt(n): about 0.1 here.
    assert result.nats / result.tokens == pytest.approx(-scores.mean(), abs=0.02)
    assert result.bits_per_byte == pytest.approx(result.nats / math.log(2) / result.n_bytes)
    assert result.n_bytes == pytest.approx(4.3 * result.tokens, rel=0.1)


@pytest.mark.slow
def test_the_perplexity_notices_a_wrong_half(model):
    scores = np.array(PERPLEXITY["128"]["log_probabilities"])
    ids = model.tokenize(PROSE)
    # The seeded fault: the first halves, which have less context, are not as well foretold.
    halves = [model.score(ids[at : at + 64]) for at in range(0, len(ids) - 127, 128)]
    assert abs(np.concatenate(halves).mean() - scores.mean()) > 0.02


@pytest.mark.slow
def test_interleaved_streams_and_threads_answer_as_alone(model):
    prompts = [f"Item number {i} of the list is called" for i in range(8)]
    options = {"max_tokens": 8, "seed": 11}
    alone = [model.generate(p, **options, cache_prompt=False).tokens for p in prompts]
    streams = [model.stream(p, **options) for p in prompts[:4]]
    running = list(streams)
    while running:
        running = [s for s in running if next(s, None) is not None]
    assert [s.generation.tokens for s in streams] == alone[:4]
    answers = {}

    def work(prompt):  # eight share four sequences
        answers[prompt] = model.generate(prompt, **options).tokens

    threads = [threading.Thread(target=work, args=(p,)) for p in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [answers[p] for p in prompts] == alone


def stopped_within(seconds, act, error, run):
    """Run until `act`, called from a thread a little later, stops it; how long that took."""
    acted = []

    def later():
        time.sleep(0.15)
        acted.append(time.perf_counter())
        act()

    thread = threading.Thread(target=later)
    thread.start()
    try:
        if error is None:
            run()
        else:
            with pytest.raises(error):
                run()
        took = time.perf_counter() - acted[0]
    finally:
        thread.join()
    assert 0 <= took < seconds
    return took


def test_ctrl_c_stops_a_prefill_and_leaves_the_model_usable(model):
    long = (PROSE * 2)[:8000]  # about 1,900 tokens
    expected = model.generate(FRANCE, max_tokens=8, temperature=0).text
    for run in (
        lambda: model.generate(long, cache_prompt=False),
        lambda: model.session().prefill(model.tokenize(long)),
        lambda: model.generate(FRANCE, max_tokens=1500, ignore_eos=True),
    ):
        # 50 ms of compute; a busy machine may take its time to get there
        stopped_within(0.5, lambda: os.kill(os.getpid(), signal.SIGINT), KeyboardInterrupt, run)
        assert model.generate(FRANCE, max_tokens=8, temperature=0).text == expected


def test_closing_a_stream_from_another_thread_stops_its_prefill(model):
    stream = model.stream((PROSE * 2)[:8000], cache_prompt=False)
    stopped_within(0.5, stream.close, None, lambda: list(stream))
    assert stream.generation.finish_reason == "cancelled"
    assert stream.generation.tokens == []


def test_closing_the_model_ends_what_runs(smollm2_path):
    model = edgelm.load(smollm2_path, n_ctx=2048)
    stopped_within(0.5, model.close, edgelm.ClosedError, lambda: model.generate((PROSE * 2)[:8000]))
    with pytest.raises(edgelm.ClosedError):
        model.generate(FRANCE)


def test_the_interpreter_exits_while_a_stream_is_open(smollm2_path):
    code = (
        "import edgelm, sys; model = edgelm.load(sys.argv[1], n_ctx=512);"
        "stream = model.stream('Once upon a time'); print(next(stream)); session = model.session()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(smollm2_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_n_ctx_beyond_the_prompt_ends_a_reply(smollm2_path):
    with edgelm.load(smollm2_path, n_ctx=16) as model:
        g = model.generate(FRANCE, max_tokens=99, temperature=0, ignore_eos=True)
        assert (len(g.tokens), g.finish_reason) == (12, "length")
        with pytest.raises(edgelm.ContextFullError, match="context holds 16"):
            model.generate(PROSE)
