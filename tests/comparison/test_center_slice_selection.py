"""comparison/center_slice_selection.py: places and choices of known volumes, and of the published ones."""

from __future__ import annotations

import csv
from collections import defaultdict

import pandas as pd
import pytest

from comparison import center_slice_selection
from pose.cli import run_main
from tests.result_runs import write_published_run, write_run

# slice 1 is a false positive, 2 to 6 hold the object
DICE = [None, 0.0, 0.2, 0.9, 0.8, 0.9, 0.4]
VOXELS = [0, 0, 10, 50, 40, 30, 10]


def run(*arguments) -> int:
    return run_main(center_slice_selection.main, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path):
    write_run(tmp_path / "SAM" / "a", DICE, columns={"ground_truth_voxels": VOXELS})
    write_run(tmp_path / "SAM" / "b", [0.1, 0.5, 0.6, 0.7], columns={"ground_truth_voxels": [1, 4, 4, 2]})
    write_run(tmp_path / "SAM" / "xray", [0.9], columns={"ground_truth_voxels": [99]})
    write_published_run(tmp_path / "old" / "image_a", [None, 0.5, 0.25, 0.75])
    return tmp_path


def test_choices_and_curve(folder, capsys):
    out = folder / "out"
    assert run("-r", folder / "SAM", folder / "old", "--bins", 2, "--output_folder_path", out) == 0
    choices = pd.read_csv(out / "center_slice_selection_volumes.csv")
    names = [
        "results",
        "image",
        "masked_slices",
        "best_slice",
        "best_place",
        "best_value",
        "centre_slice",
        "centre_place",
        "centre_value",
        "largest_slice",
        "largest_place",
        "largest_value",
    ]
    assert choices.columns.tolist() == names
    rows = choices.astype(object).where(choices.notna(), None).to_numpy().tolist()
    # of slices 3 and 5 of equal Dice, equally far from the middle, the first; of b's largest slices the first
    assert rows[0] == ["SAM", "a", 5, 3, 0.25, 0.9, 4, 0.5, 0.8, 3, 0.25, 0.9]
    assert rows[1] == ["SAM", "b", 4, 3, 1.0, 0.7, 2, pytest.approx(2 / 3), 0.6, 1, pytest.approx(1 / 3), 0.5]
    assert rows[2] == ["old", "image_a", 3, 3, 1.0, pytest.approx(6 / 7), 2, 0.5, 0.4, None, None, None]
    curve = pd.read_csv(out / "center_slice_selection.csv")
    assert curve[["results", "place_from", "place_to", "slices", "volumes"]].to_numpy().tolist() == [
        ["SAM", 0.0, 0.5, 4, 2],
        ["SAM", 0.5, 1.0, 5, 2],
        ["old", 0.0, 0.5, 1, 1],
        ["old", 0.5, 1.0, 2, 1],
    ]
    assert curve.loc[1, ["q1", "median", "q3", "mean"]].tolist() == pytest.approx([0.6, 0.7, 0.8, 0.68])
    printed = capsys.readouterr().out
    assert "SAM: volumes left out with fewer than 3 masked slices: 1" in printed
    assert "mean dice 0.8000 there, 0.7000 on the centre slice, 0.7000 on the largest" in printed
    assert "0.4000 on the centre slice; the largest is not known of 1" in printed
    assert (out / "center_slice_selection.png").stat().st_size > 10_000


def test_results_that_tell_nothing(folder, tmp_path, capsys):
    assert run("-r", folder / "SAM", "--metric", "sam_score") == 2
    assert "SAM: no slice has a sam_score" in capsys.readouterr().err
    write_run(tmp_path / "short" / "a", [0.5, 0.6])
    assert run("-r", tmp_path / "short", "--output_folder_path", tmp_path / "out") == 2
    assert "short: no volume has 3 masked slices with a dice" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_published_results(real_data, tmp_path):
    published = real_data / "published_results" / "2-coronacases"
    assert run("-r", published, "--metric", "jaccard", "--output_folder_path", tmp_path) == 0
    choices = pd.read_csv(tmp_path / "center_slice_selection_volumes.csv").set_index("image")
    volumes = defaultdict(dict)
    with next(published.glob("joint_raw_data_*.csv")).open() as file:
        for row in csv.DictReader(file):
            if row["jaccard"]:
                volumes[row["image"]][int(row["slice"])] = float(row["jaccard"])
    joint_results = pd.read_csv(next(published.glob("joint_results_*.csv"))).set_index("image")
    assert len(choices) == len(volumes) == 10
    for image, values in volumes.items():
        best = max(values, key=values.get)
        centre = sorted(values)[len(values) // 2]
        row = choices.loc[image]
        assert row["masked_slices"] == len(values)
        assert (row["best_slice"], row["centre_slice"]) == (best, centre)
        assert row["best_place"] == pytest.approx((best - min(values)) / (max(values) - min(values)))
        assert row["best_value"] == pytest.approx(joint_results.loc[image, "jaccard_max"], abs=1e-12)
        assert row["centre_value"] == pytest.approx(values[centre], abs=1e-12)
