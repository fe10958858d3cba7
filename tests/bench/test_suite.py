"""Parts of the suite on tiny models, and what the command refuses."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgelm
from bench_example import example
from edgelm import cli
from edgelm.bench import engines, first_token, loading, peers, prompts, quantization, suite
from edgelm.bench import worker as worker_module
from edgelm.bench.budget import Budget
from edgelm.bench.plan import Plan
from edgelm.bench.results import ORDER, SECTIONS, ModelResult
from edgelm.bench.run import CannotMeasure, Run
from edgelm.bench.subject import Subject
from edgelm.bench.worker import Worker, WorkerError
from edgelm.session import Session
from tiny_models import TinyLlama

# --- the quantization table ---


def test_quantization_against_an_independent_computation(files: list[Path]) -> None:
    """KL from whole-model logits by plain NumPy; perplexity by Model.perplexity."""
    run = Run(Budget(None), progress=lambda step: None)
    largest, other = quantization.measure(
        run, dict.fromkeys(files[::-1], 0.0), [], n_threads=2, chunks=1
    )
    assert (largest.model, largest.kl_nats) == (files[0].name, None)
    text = prompts.PROSE.read_text(encoding="utf-8")
    logits = []
    for path, row in zip(files, (largest, other), strict=True):
        with edgelm.load(path, n_ctx=256, n_parallel=1) as model:
            ids = model.tokenize(text)[:256]
            logits.append(model.logits(ids)[128:255].astype(np.float64))
            prefix = model.detokenize(ids)
            assert row.perplexity == pytest.approx(float(model.perplexity(prefix, 256)), rel=1e-6)
    p, q = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in logits)
    kl = (p * np.log(p / q)).sum(-1)
    assert other.kl_nats == pytest.approx(kl.mean(), rel=1e-4)
    assert other.kl_samples == pytest.approx(kl, rel=1e-2, abs=1e-9)
    wrong_way = (q * np.log(q / p)).sum(-1).mean()
    assert other.kl_nats != pytest.approx(wrong_way, rel=1e-4)
    assert other.top_agreement == np.mean(p.argmax(-1) == q.argmax(-1))


def test_divergence_of_known_distributions() -> None:
    p, q = np.log([[0.5, 0.5], [0.25, 0.75]]), np.log([[0.25, 0.75], [0.25, 0.75]])
    expected = [0.5 * np.log(2) + 0.5 * np.log(2 / 3), 0.0]
    assert quantization.divergence(p, q) == pytest.approx(expected)


# --- parts ---


@pytest.fixture(scope="module")
def subject(files: list[Path]) -> Subject:
    return Subject(files[1], n_ctx=256)


@pytest.mark.parametrize("n", [1, 2, 10, 50, 129])
def test_prompts_have_the_stated_length(subject: Subject, n: int) -> None:
    assert len(subject.model.tokenize(prompts.prompt(subject.tokenizer, n))) == n


def test_an_impossible_prompt_says_so(tmp_path: Path) -> None:
    """A model that ends every text with EOS has no text of no token."""
    path = TinyLlama(metadata={"tokenizer.ggml.add_eos_token": True}).write(tmp_path / "m.gguf")
    with Subject(path, n_ctx=64) as eos:
        assert len(eos.model.tokenize(prompts.prompt(eos.tokenizer, 2))) == 2
        with pytest.raises(CannotMeasure, match="exactly 0 tokens"):
            first_token.text_of(eos.tokenizer, 0)


def test_a_shared_prefix_computes_only_the_rest(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefill, lengths = Session.prefill, []

    def counted(session: Session, ids: Sequence[int], **options: Any) -> Any:
        lengths.append(len(ids))
        return prefill(session, ids, **options)

    monkeypatch.setattr(Session, "prefill", counted)
    first_token.once(subject, 200)
    first_token.once(subject, 200, 120)
    assert lengths == [200, 120, 80]


def test_what_a_token_costs_is_what_the_plan_reads(subject: Subject) -> None:
    """Multiply-adds by the plan's own profile, which counts them step by step."""
    with Subject(subject.path, n_ctx=256) as own:
        plan = own.model._network.plan
        with own.model.session() as session:
            session.prefill([1])
            plan.profile()
            session.decode(2)
        steps = plan.profile()
    matrices = [s for s in steps if s["name"].startswith("mat") and s["runs"]]
    assert matrices, sorted({s["name"] for s in steps})
    assert sum(s["macs"] for s in matrices) == own.info.layer_macs + own.info.head_macs


def test_an_empty_cache_is_told_from_a_full_one(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(os.urandom(1 << 22))
    loading.read_whole(file)
    assert loading.cached_share(file) in (1.0, None)
    loading.drop_cached(file)
    share = loading.cached_share(file)
    if share == 1.0:
        pytest.skip("this file system keeps its pages whatever it is told")
    assert share is None or share < 0.1


# --- processes of their own ---


def test_a_worker_that_cannot_load_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(20))
    with pytest.raises(WorkerError, match="broken"):
        Worker("edgelm", broken, n_ctx=64, n_threads=1)


def test_a_worker_that_dies_says_how(files: list[Path]) -> None:
    with Worker("edgelm", files[0], n_ctx=64, n_threads=1) as worker:
        assert worker.ask("prefill", [1, 2, 3]) > 0
        with pytest.raises(WorkerError, match="ValueError: token id 99999"):
            worker.ask("prefill", [99999])
        os.kill(worker._process.pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match="signal 9"):
            worker.ask("prefill", [1])


@pytest.mark.slow
def test_a_worker_that_hangs_is_ended(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "llama_cpp.py").write_text("import time\ntime.sleep(600)")
    paths = (str(tmp_path), os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setattr(worker_module, "LEAST_PATIENCE_S", 1.0)
    with pytest.raises(WorkerError, match="ended after 1 s without an answer"):
        Worker("llama-cpp-python", files[0], n_ctx=64, n_threads=1, patience=lambda: 0.5)


# --- the command ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "which model?"),
        (["x.gguf", "--only", "fist_token"], "there is no such section, but first_token"),
        (["nowhere.gguf"], "there is no such file"),
        (["--shape", "llama-9:q4"], "is no shape"),
        (["x.gguf", "--only", "peers"], "--against"),
        (["x.gguf", "--rows", "decode"], "--against"),
        (["x.gguf", "--rounds", "0"], "--rounds is 0; expected an integer of at least 1"),
        (["x.gguf", "--n-threads", "0"], "--n-threads is 0"),
        (["x.gguf", "--n-ctx", "-5"], "--n-ctx is -5"),
        (["x.gguf", "--seed", "-1"], "--seed is -1"),
        (["x.gguf", "--sustain", "nan"], "--sustain is nan"),
    ],
)
def test_wrong_arguments_are_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    assert cli.main(["bench", *arguments, "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith("edgelm: ")
    assert message in err


def test_a_peer_that_is_not_installed_is_refused_at_once(
    capsys: pytest.CaptureFixture[str], files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(engines.PEER_MODULES, "openvino", ("no_such_module", "it"))
    assert cli.main(["bench", str(files[0]), "--against", "openvino"]) == 2
    err = capsys.readouterr().err
    assert err == "edgelm: --against openvino needs no_such_module: pip install it\n"


def test_peers_get_new_ids_every_round(subject: Subject) -> None:
    """Else an engine with a prefix cache, OpenVINO's say, would not compute them again."""
    prefill, decode = peers.Work("prefill", 16), peers.Work("decode", 16, 4)
    rounds = [work.arguments(subject, 1000 * r)[0] for work in (prefill, decode) for r in range(3)]
    assert len({tuple(ids) for ids in rounds}) == 6
    assert prefill.arguments(subject, 7) == prefill.arguments(subject, 7)
    assert {len(ids) for ids in rounds} == {16}


def test_a_section_fills_the_field_that_it_is_named_after() -> None:
    fields = {f.name for f in dataclasses.fields(ModelResult)}
    assert {section.field for section in SECTIONS} == fields - {"model", "settings", "suggestion"}
    assert all(section.tables for section in ORDER if not section.part)
    assert {"first_token", "scenarios", "peers", "quantization"} < set(suite.names())
    assert not {"cold", "sustain", "projection"}.intersection(suite.names())


def test_time_is_dealt_to_what_is_asked_for(files: list[Path]) -> None:
    def weights(**plan: Any) -> dict[str, float]:
        return suite._Suite(Plan(files, **plan), None, None, None).weights()  # type: ignore[arg-type]

    assert "cold" in weights()
    assert "scenarios" not in weights()
    assert set(weights(only=["decode"])) == {"decode"}
    assert set(weights(only=["decode"], suggest=True)) == {"decode", "threads"}
    both = weights(only=["peers"], against=["llama.cpp", "openvino"])
    assert list(both) == ["llama.cpp", "openvino"]
    assert len(set(both.values())) == 1


def test_a_folder_that_cannot_be_written_is_refused_at_once(
    capsys: pytest.CaptureFixture[str], files: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert cli.main(["bench", str(files[0]), "--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.startswith(f"edgelm: --out {tmp_path / 'file'}: it cannot")


def test_a_disk_that_is_full_is_said_and_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text = Path.write_text

    def full(path: Path, text: str, **options: str) -> int:
        write_text(path, text[:10], **options)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ValueError, match=r"results\.json could not be written: No space left"):
        cli.bench.write(example(), tmp_path)
    assert list(tmp_path.iterdir()) == []
