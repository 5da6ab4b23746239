"""comparison/review_flag.py: precision and recall of hand-made runs."""

from __future__ import annotations

import pytest

from comparison import review_flag
from pose import results
from pose.cli import run_main

# Dice and score of slices: three marked of which two are bad, one bad one missed, one bad one without an estimate
FIRST = [(0.9, 0.95), (0.5, 0.7), (0.0, 0.8), (0.95, 0.6), (0.7, 0.9), (0.0, None), (0.8, 0.95), (None, None)]
# one marked in vain, with neither truth nor prediction; nothing bad
SECOND = [(None, 0.0), (1.0, 0.99)]


def write_run(folder, dice_and_scores):
    rows = [
        {
            "slice": index,
            "jaccard": dice,
            "dice": dice,
            "review_score": score,
            "needs_review": None if score is None else int(score < 0.82),
        }
        for index, (dice, score) in enumerate(dice_and_scores)
    ]
    return results.write_results(folder, rows=rows, prompts_json={}, manifest={})


@pytest.fixture
def folder(tmp_path):
    write_run(tmp_path / "first", FIRST)
    write_run(tmp_path / "second", SECOND)
    return tmp_path


def test_the_table(folder, capsys):
    assert review_flag.main(["-r", str(folder), "--review_below", "0.65", "0.92"]) == 0
    name = folder.name
    assert capsys.readouterr().out.splitlines()[2:] == [
        f"| {name}/first | as written | 8 | 3 | 4 | 2 | 1 | 0.67 | 0.50 |",
        f"| {name}/second | as written | 2 | 1 | 0 | 0 | 0 | 0.00 | - |",
        "| all | as written | 10 | 4 | 4 | 2 | 1 | 0.50 | 0.50 |",
        "| all | below 0.65 | 10 | 2 | 4 | 0 | 1 | 0.00 | 0.00 |",
        "| all | below 0.92 | 10 | 5 | 4 | 3 | 1 | 0.60 | 0.75 |",
    ]


def test_what_is_bad_may_be_told(folder, capsys):
    assert review_flag.main(["-r", str(folder), "--bad_below", "0.4", "--review_below", "0.5"]) == 0
    assert "| all | as written | 10 | 4 | 2 | 1 | 1 | 0.25 | 0.50 |" in capsys.readouterr().out


def test_heads_fit_the_rows(folder, capsys):
    review_flag.main(["-r", str(folder)])
    assert {line.count("|") for line in capsys.readouterr().out.splitlines()} == {10}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "none", "{0}/none: no such folder"),
        (lambda folder: folder, "{0}: no folder in it holds a raw_data_*.csv"),
        (lambda folder: write_run(folder / "a", [(None, 0.5)])["raw_data"].parents[1], "no slice has a Dice"),
    ],
)
def test_folders_that_tell_nothing(tmp_path, capsys, make, message):
    assert run_main(review_flag.main, ["-r", str(make(tmp_path))]) == 2
    assert message.format(tmp_path) in capsys.readouterr().err


def test_results_without_the_flag_are_refused(tmp_path, capsys):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "raw_data_2023-05-27_09-06-19.csv").write_text("slice,jaccard,dice\n0,1,1\n")
    assert run_main(review_flag.main, ["-r", str(tmp_path)]) == 2
    assert "has no column 'needs_review'" in capsys.readouterr().err
