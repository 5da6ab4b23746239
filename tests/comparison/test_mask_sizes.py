"""Tests of comparison/mask_sizes.py, called as from the command line."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from comparison import mask_sizes
from pose import results
from pose.cli import run_main
from tests.cases import write_two_blocks


def write_run(folder, truth, predicted, dice, spacing_mm=(1.5, 2.0, 3.0)):
    rows = [
        {"slice": index, "jaccard": value, "dice": value, "ground_truth_voxels": true, "predicted_voxels": found}
        for index, (true, found, value) in enumerate(zip(truth, predicted, dice, strict=True))
    ]
    manifest = {"image": {"spacing_mm": spacing_mm}}
    results.write_results(folder, rows=rows, prompts_json={}, manifest=manifest, stamp="2026-11-23_10-20-30")


def run(tmp_path, *flags):
    assert mask_sizes.main([*flags, "-o", str(tmp_path / "out")]) == 0
    return {path.stem: pd.read_csv(path) for path in (tmp_path / "out").glob("*.csv")}


def test_sizes_of_masked_slices(tmp_path):
    write_run(tmp_path / "r" / "a", [0, 10, 20], [5, 0, 30], [0.0, 0.0, 0.5])
    write_run(tmp_path / "r" / "b", [40], [0], [0.0])
    table = run(tmp_path, "-r", str(tmp_path / "r"))["mask_sizes"]
    columns = ["image", "mask", "n", "voxels_min", "voxels_median", "voxels_max", "mm2_median"]
    assert table[columns].values.tolist() == [
        ["a", "ground truth", 2, 10, 15, 20, 45],
        ["b", "ground truth", 1, 40, 40, 40, 120],
        ["all", "ground truth", 3, 10, 20, 40, 60],
        ["a", "prediction", 2, 5, 17.5, 30, 52.5],
        ["all", "prediction", 2, 5, 17.5, 30, 52.5],
    ]
    with Image.open(tmp_path / "out" / "mask_sizes.png") as picture:
        assert picture.size == (int(160 / 25.4 * 200), int(70 / 25.4 * 200))


def test_the_metric_by_size(tmp_path):
    generator = np.random.default_rng(0)
    truth = generator.permutation(np.arange(1, 101))
    dice = truth / 200 + generator.normal(0, 0.05, 100)
    write_run(tmp_path / "r" / "a", [0, *truth.tolist()], [9] * 101, [0, *dice.tolist()])
    table = run(tmp_path, "-r", f"named={tmp_path / 'r'}")["mask_sizes_metric"]
    assert table["tenth"].tolist() == ["all", *map(str, range(1, 11))]
    assert table[["voxels_from", "voxels_to", "n"]].values.tolist() == [
        [1, 100, 100],
        *([10 * tenth + 1, 10 * tenth + 10, 10] for tenth in range(10)),
    ]
    assert table.loc[0, "spearman"] == pytest.approx(stats.spearmanr(truth, dice).statistic)
    assert table.loc[0, "median"] == pytest.approx(np.median(dice))
    assert table.loc[3, "median"] == pytest.approx(np.median(dice[(truth > 20) & (truth <= 30)]))


def test_unknown_spacing_and_no_ground_truth(tmp_path):
    write_run(tmp_path / "r" / "a", [None, None], [10, 30], [None, None], spacing_mm=None)
    tables = run(tmp_path, "-r", str(tmp_path / "r"))
    assert tables["mask_sizes"][["image", "mask", "voxels_avg"]].values.tolist() == [
        ["a", "prediction", 20],
        ["all", "prediction", 20],
    ]
    assert not [name for name in tables["mask_sizes"] if name.startswith("mm2")]
    assert len(tables["mask_sizes_metric"]) == 0


def test_mask_files(tmp_path):
    """The blocks are of 10 x 14 and 14 x 16 voxels of 1.5 x 2 mm, on four slices."""
    _, mask = write_two_blocks(tmp_path)
    tables = run(tmp_path, "-m", str(mask))
    assert list(tables) == ["mask_sizes"]
    row = tables["mask_sizes"].iloc[0]
    assert row[["image", "data_set", "n", "voxels_avg", "mm2_avg"]].tolist() == [
        "case_mask",
        "mask files",
        4,
        364,
        1092,
    ]
    row = run(tmp_path, "-m", str(mask), "--labels", "2")["mask_sizes"].iloc[0]
    assert row[["n", "voxels_avg"]].tolist() == [4, 224]


def test_more_volumes_than_boxes_fit(tmp_path):
    for number in range(61):
        write_run(tmp_path / "r" / f"case_{number}", [10 + number], [9], [0.5])
    run(tmp_path, "-r", str(tmp_path / "r"))
    with Image.open(tmp_path / "out" / "mask_sizes.png") as picture:
        assert picture.size[1] == int(70 / 25.4 * 200)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give --results_folder_path, --masks_file_path, or both"),
        (["-r", "r", "--metric", "dise"], "has no metric dise; its columns are jaccard, dice"),
        (["-r", "r"], "r: no slice has a mask"),
        (["-r", "published"], "has no ground_truth_voxels and no predicted_voxels (published results have none)"),
        (["-r", "r", "r"], "two sets are called r; give NAME=FOLDER"),
        (["-r", "spaced"], "image.spacing_mm must be a list of distances, got 'wide'"),
    ],
)
def test_mistakes(tmp_path, capsys, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "r" / "a", [0], [0], [None])
    write_run(tmp_path / "spaced" / "a", [1], [1], [1], spacing_mm="wide")
    (tmp_path / "published" / "a").mkdir(parents=True)
    (tmp_path / "published" / "a" / "raw_data_2023-05-27_09-06-19.csv").write_text("slice,jaccard,dice\n0,0.5,0.6\n")
    assert run_main(mask_sizes.main, flags) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "comparison_results").exists()
