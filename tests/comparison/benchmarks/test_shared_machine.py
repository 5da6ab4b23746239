"""The benchmark of runs that share a machine: what follows from its runs, and small runs of the real script."""

from __future__ import annotations

import json

import pytest

from comparison.benchmarks import batch, shared_machine
from comparison.benchmarks.batch import Run
from pose import cli


def a_run(workers: int, seconds: float) -> Run:
    return Run(workers, 1, seconds, 2 * seconds, 100.0, None, None, 1.0)


RUNS = {
    (300000, 1): [a_run(1, 10.0), a_run(1, 20.0)],
    (300000, 2): [a_run(2, 60.0), a_run(2, 100.0)],
    (1000, 1): [a_run(1, 10.0), a_run(1, 10.0)],
    (1000, 2): [a_run(2, 15.0), a_run(2, 20.0)],
}


def test_a_turn_is_compared_with_one_alone_and_with_the_first_spin_count_in_the_same_turn():
    assert shared_machine.times_alone(RUNS, 300000, 2) == [6.0, 5.0]
    assert shared_machine.times_alone(RUNS, 1000, 2) == [1.5, 2.0]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in shared_machine.table_rows("tiny", RUNS)]
    assert rows[1] == [
        "tiny",
        "300000",
        "2",
        "80.0 (60.0 to 100.0)",
        "5.50 (5.00 to 6.00)",
        "1.00 (1.00 to 1.00)",
        "160.0 (120.0 to 200.0)",
    ]
    assert rows[3][3:6] == ["17.5 (15.0 to 20.0)", "1.75 (1.50 to 2.00)", "0.23 (0.20 to 0.25)"]
    assert len(rows) == 4 and all(len(row) == len(shared_machine.HEADINGS) for row in rows)


def test_aims_are_about_the_median_of_the_last_spin_count():
    assert shared_machine.missed("tiny", RUNS) == []
    slower = {**RUNS, (1000, 4): [a_run(4, 37.0), a_run(4, 37.0)]}
    assert shared_machine.missed("tiny", slower) == ["tiny: 4 at once take 3.70 times one alone, aim 3.6"]
    assert shared_machine.missed("tiny", dict(list(RUNS.items())[:2])) == [
        "tiny: 2 at once take 5.50 times one alone, aim 1.8"
    ]


def test_both_runtimes_are_told_how_to_wait():
    assert shared_machine.waiting(1000) == {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}
    assert shared_machine.waiting(300000) == {"GOMP_SPINCOUNT": "300000", "KMP_BLOCKTIME": "200"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--at_once", "2", "4"], "--at_once 2 4: 1 is what"),
        (["--at_once", "1", "1"], "--at_once 1 1: a number comes twice"),
        (["--spin_counts", "5", "5"], "--spin_counts 5 5: a number comes twice"),
    ],
)
def test_mistakes(words, said, capsys):
    assert cli.run_main(shared_machine.main, words) == 2
    assert said in capsys.readouterr().err


def test_all_runs_of_a_small_volume(tmp_path, capsys, monkeypatch):
    given = []
    run_at_once = batch.run_at_once

    def noted(commands, each, folder, true_masks, environment):
        given.append((len(commands), environment["GOMP_SPINCOUNT"]))
        return run_at_once(commands, each, folder, true_masks, environment)

    monkeypatch.setattr(batch, "run_at_once", noted)
    # which of them is quicker is not what is asked here
    monkeypatch.setattr(shared_machine, "AIMS", {})
    words = ["--size", "48", "--slices", "6", "--models", "region_growing", "--at_once", "1", "2", "--turns", "2"]
    words += ["--device", "cpu", "--folder", str(tmp_path), "--json", str(tmp_path / "runs.json")]
    assert shared_machine.main(words) == 0
    one_turn = [(1, "300000"), (1, "1000"), (2, "300000"), (2, "1000")]
    assert given == [*one_turn, *one_turn[::-1]]
    measured = json.loads((tmp_path / "runs.json").read_text())["measured"]
    assert [(one["spin_count"], len(one["runs"])) for one in measured] == [(300000, 2)] * 2 + [(1000, 2)] * 2
    assert capsys.readouterr().out.count("| region_growing | ") == 4
