"""The whole suite on tiny models: every section, its files, its interrupts."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from edgelm import bench, cli
from edgelm.bench import plan, results, suite
from edgelm.bench.results import Results
from edgelm.bench.samples import samples

pytestmark = pytest.mark.slow
SCHEMA = json.loads((Path(bench.__file__).parent / "schema.json").read_text())


@pytest.fixture(scope="module")
def measured(files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path]:
    """A run of everything, by the command; a slow machine must not cut it short."""
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setitem(plan.SECONDS, "quick", None)
    out = tmp_path_factory.mktemp("out")
    options = ["--against", "llama.cpp", "--rows", "decode 32", "prefill 16", "--rounds", "5"]
    sections = suite.names()
    options += ["--only", *sections, "--sustain", "0.2", "--suggest", "--quick"]
    assert cli.main(["bench", str(files[1]), *options, "--out", str(out)]) == 0
    monkeypatch.undo()
    return results.read(out / "results.json"), out


def test_the_json_fits_its_schema(measured: tuple[Results, Path]) -> None:
    """Independent source: the jsonschema package. A missing and a wrong field are caught."""
    value = json.loads((measured[1] / "results.json").read_text())
    jsonschema.validate(value, SCHEMA)
    for fault in ({"seed": "0"}, {"effort": "lazy"}, {"surplus": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(value | fault, SCHEMA)
    del value["models"][0]["decode"][0]["token"]["samples_ms"]
    with pytest.raises(jsonschema.ValidationError, match="samples_ms"):
        jsonschema.validate(value, SCHEMA)


def test_every_section_was_measured(measured: tuple[Results, Path]) -> None:
    run = measured[0]
    skipped = {(s.model, s.section) for s in run.skipped}
    for model in run.models:
        for section in (
            "first_token",
            "decode",
            "llama_bench",
            "cost",
            "load",
            "memory",
            "threads",
        ):
            assert getattr(model, section) or (model.model.name, section) in skipped, section
        assert model.sustain is not None
        assert model.model.random_weights
        assert model.suggestion is not None
    assert len(run.quantization) == 1
    assert [p.unavailable for p in run.peers] == [None]
    assert not run.interrupted
    assert any("random weights" in w for w in run.warnings)


def test_first_tokens_add_up(measured: tuple[Results, Path]) -> None:
    rows = measured[0].models[0].first_token
    assert {r.n_tokens for r in rows if r.state == "warm" and not r.n_cached} >= {1, 2, 64, 128}
    assert {r.state for r in rows} == {"cold", "warm"}
    names = ("tokenize", "prefill", "sample", "total")
    for row in rows:
        for *parts, total in zip(*(getattr(row, n).samples_ms for n in names), strict=True):
            assert sum(parts) == pytest.approx(total, rel=0.01)
        assert row.limit.share == pytest.approx(row.limit.limit_ms / row.prefill.median_ms)


def test_per_token_times_and_rates(measured: tuple[Results, Path]) -> None:
    for row in measured[0].models[0].decode:
        assert len(row.token.samples_ms) % 16 == 0
        assert row.tok_s == pytest.approx(
            1e3 * len(row.token.samples_ms) / sum(row.token.samples_ms)
        )
    for test in measured[0].models[0].llama_bench:
        rates = [1e3 * test.n_tokens / ms for ms in test.run.samples_ms]
        assert test.tok_s == pytest.approx(np.mean(rates))
        if test.tok_s_std is not None:
            assert test.tok_s_std == pytest.approx(np.std(rates, ddof=1))


def test_memory_grows_with_the_context(measured: tuple[Results, Path]) -> None:
    memory = measured[0].models[0].memory
    assert memory is not None
    assert memory.rss_start_bytes < memory.rss_steady_bytes <= (memory.rss_peak_bytes or 0)
    kv = [p.kv_bytes for p in memory.points]
    assert kv == sorted(kv)
    assert kv[0] < memory.kv_used_bytes == kv[-1] <= memory.kv_reserved_bytes


def test_the_csv_has_every_sample(measured: tuple[Results, Path]) -> None:
    run, out = measured
    with (out / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(s.times.samples_ms) for s in samples(run))
    assert {row["random_weights"] for row in rows} == {"1"}
    assert {row["section"] for row in rows} >= {"first_token", "decode", "peers", "sustain"}


def test_the_files_label_random_weights(measured: tuple[Results, Path]) -> None:
    for name in ("results.md", "report.html"):
        assert "random weights" in (measured[1] / name).read_text()


def test_a_peer_that_is_not_there_is_a_reason(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "openvino_genai.py").write_text("raise ImportError('it is not for this machine')")
    paths = (str(tmp_path), os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    asked = plan.Plan([files[0]], against=["openvino"], only=["peers"], effort="quick")
    run = suite.measure(asked, lambda step: None)
    assert len(run.peers) == 1
    assert run.peers[0].unavailable == "ImportError: it is not for this machine"


def test_profiles_measure_what_they_say(files: list[Path]) -> None:
    run = suite.measure(
        plan.Plan([files[0]], profile="survey", only=["scenarios"], effort="quick"),
        lambda step: None,
    )
    (scenario,) = run.models[0].scenarios
    assert (scenario.prompt_tokens, scenario.generated_tokens) == (50, 50)
    assert len(scenario.token.samples_ms) == 49
    assert run.models[0].first_token == []


def test_ctrl_c_keeps_what_was_measured(files: list[Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgelm", "bench", str(files[0]), "--sustain", "60"]
    command += ["--only", "decode", "--out", str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("sustain"):
            break
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    run = results.read(tmp_path / "results.json")
    assert run.interrupted
    assert run.models[0].decode
    assert run.models[0].sustain is not None
    assert any("interrupted" in warning for warning in run.warnings)
    assert (tmp_path / "report.html").exists()
