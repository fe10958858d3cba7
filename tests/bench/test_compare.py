"""edgelm bench --compare: what counts as a regression, and what does not."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from bench_example import example
from edgelm import cli
from edgelm.bench import compare, stats
from edgelm.bench.results import Results
from edgelm.bench.timing import Times


@pytest.mark.parametrize(
    ("old", "new", "direction"),
    [
        ([10.0, 10.1, 10.2, 10.3, 10.4], [11.0, 11.1, 11.2, 11.3, 11.4], "worse"),
        ([11.0, 11.1, 11.2, 11.3, 11.4], [10.0, 10.1, 10.2, 10.3, 10.4], "better"),
        ([10.0, 10.1, 10.2, 10.3, 10.4], [10.42, 10.43, 10.44, 10.45, 10.46], "same"),  # 2 %
        ([10.0, 10.1, 10.2, 10.3, 12.0], [11.0, 11.1, 11.2, 11.3, 11.4], "same"),  # noise
        ([10.0], [11.0], "same"),
        ([10.0], [12.0], "worse"),
        ([12.0], [10.0], "better"),
        ([10.0, 10.1, 10.2], [10.0, 10.1, 10.2], "same"),
    ],
)
def test_judged(old: list[float], new: list[float], direction: str) -> None:
    assert compare.judged(Times(old), Times(new)) == direction


def slower(results: Results, factor: float, *, ratios: bool) -> Results:
    """The same run, with decode slower by a factor; or only the lead over the peers."""
    changed = copy.deepcopy(results)
    if ratios:
        for peer in changed.peers:
            for row in peer.rows:
                row.ratios = [r / factor for r in row.ratios]
                row.ratio /= factor
                row.ratio_low, row.ratio_high = stats.median_interval(row.ratios)
        return changed
    for model in changed.models:
        for decode in model.decode:
            decode.token = Times([factor * ms for ms in decode.token.samples_ms])
    return changed


def test_the_same_run_has_no_regression() -> None:
    changes = compare.compare(example(), example())
    assert len(changes) > 20
    assert {c.direction for c in changes} == {"same"}


def test_slower_times_are_a_regression_where_there_is_no_peer() -> None:
    alone = example()
    alone.peers = []
    changes = compare.compare(alone, slower(alone, 2.0, ratios=False))
    worse = compare.regressions(changes)
    assert worse
    assert all("decode" in c.what and c.ratio == pytest.approx(2) for c in worse)
    assert not compare.regressions(compare.compare(alone, slower(alone, 0.5, ratios=False)))


def test_with_a_peer_in_both_runs_only_the_ratios_count() -> None:
    """A machine that slowed down slows both engines: the ratio stays."""
    run = example()
    peered = {peer.model for peer in run.peers}
    run.models = [m for m in run.models if m.model.name in peered]
    assert not compare.regressions(compare.compare(run, slower(run, 2.0, ratios=False)))
    worse = compare.regressions(compare.compare(run, slower(run, 9.0, ratios=True)))
    assert worse
    assert {c.unit for c in worse} == {"times"}


def test_remarks_tell_of_another_machine() -> None:
    old, new = example(), copy.deepcopy(example())
    assert compare.remarks(old, new) == []
    new.machine.processor = "another"
    new.limits[0].read_gb_s *= 0.5
    new.models[0].settings.n_threads = 99
    text = " ".join(compare.remarks(old, new))
    assert "processor" in text
    assert "read_gb_s" in text
    assert "-50%" in text
    assert "n_threads=99" in text


def test_the_command_exits_with_1_on_a_regression(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = example()
    old.peers = []
    files = {"old": old, "slow": slower(old, 2.0, ratios=False)}
    for name, results in files.items():
        (tmp_path / name).write_text(results.as_json())
    arguments = ["bench", "--compare", str(tmp_path / "old")]
    assert cli.main([*arguments, str(tmp_path / "old")]) == 0
    assert "differ by no more than the noise" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        cli.main([*arguments, str(tmp_path / "slow")])
    assert stopped.value.code == 1
    out = capsys.readouterr().out
    assert "worse" in out
    assert "+100.0%" in out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON file"),
        ("[]", "schema version 1 but of None"),
        ('{"schema_version": 99}', "of 99"),
        ('{"schema_version": 1}', "Results lacks created"),
        (None, "No such file"),
    ],
)
def test_files_that_are_no_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, message: str
) -> None:
    file = tmp_path / "results.json"
    if text is not None:
        file.write_text(text)
    assert cli.main(["bench", "--compare", str(file), str(file)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
