"""Which volumes of a data set to look at next."""

from __future__ import annotations

import pandas as pd

import join_results
from pose import cli
from pose.results.looks_next import next_look, worst_first
from tests.result_runs import write_run


def test_the_likely_worst_come_first_then_those_with_most_to_review():
    table = pd.DataFrame(
        {
            "image": list("abcdef"),
            "slices": [10, 10, 10, 10, 10, 10],
            "likely_dice": [0.9, 0.5, 0.7, None, None, None],
            "slices_to_review": pd.array([0, 3, 0, 2, 8, None], dtype="Int64"),
        }
    )
    assert worst_first(table)["image"].tolist() == ["b", "c", "e", "d"]
    assert worst_first(table[["image", "slices"]]).empty


def test_where_to_look_in_words():
    known = {"image": "ct", "slices": 20, "likely_dice": 0.41, "likely_dice_low": 0.1, "likely_dice_high": 0.7}
    assert next_look(known | {"next_slice": 34}) == "ct, slice 34: likely Dice 0.41 (0.10 to 0.70)"
    unknown = {"image": "ct", "slices": 20, "likely_dice": None, "slices_to_review": 3, "next_slice": pd.NA}
    assert next_look(unknown) == "ct: 3 of 20 slices to review"


def test_joined_results_say_where_to_look_and_average_no_slice_numbers(tmp_path, capsys):
    for name, likely, at in (("good", 0.95, 3), ("bad", 0.3, 7), ("fair", 0.8, 1)):
        likely_dice = {"likely_dice": likely, "likely_dice_low": likely - 0.1, "likely_dice_high": likely + 0.04}
        write_run(tmp_path / name, [0.9, 0.8], volume_metrics={"slices_to_review": 0, **likely_dice, "next_slice": at})
    assert cli.run_main(join_results.main, ["-r", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("look next at:")
    assert lines[start + 1 : start + 3] == [
        "  bad, slice 7: likely Dice 0.30 (0.20 to 0.34), 0 of 2 slices to review",
        "  fair, slice 1: likely Dice 0.80 (0.70 to 0.84), 0 of 2 slices to review",
    ]
    [path] = tmp_path.glob("joint_results_*.csv")
    assert pd.read_csv(path).set_index("image")["next_slice"].to_dict() == {"bad": 7, "fair": 1, "good": 3}
    [path] = tmp_path.glob("results_*.csv")
    metrics = pd.read_csv(path).set_index("metric")
    assert "next_slice" not in metrics.index and abs(metrics.loc["likely_dice", "avg"] - 2.05 / 3) < 1e-12
