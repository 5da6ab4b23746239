"""Tests of comparison/prompts_saved.py, called as from the command line."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from PIL import Image

from comparison import prompts_saved
from pose import results
from pose.cli import UserError, run_main

PUBLISHED_MASKED_SLICES = (227, 176, 150, 251, 270, 180, 219, 249, 222, 212)


def write_run(folder, dice, manifest, **columns):
    rows = [{"slice": index, "jaccard": value, "dice": value} for index, value in enumerate(dice)]
    for name, values in columns.items():
        rows = [{**row, name: value} for row, value in zip(rows, values, strict=True)]
    results.write_results(folder, rows=rows, prompts_json={}, manifest=manifest, stamp="2026-11-23_10-20-30")


def from_seed(seed_patient):
    return {"prompted_slices": 0, "seed": {"seeds": [{"slice_sha256": "5eed" * 16}], "seed_patient": seed_patient}}


def run(tmp_path, *flags):
    assert prompts_saved.main([*flags, "-o", str(tmp_path / "out")]) == 0
    return [pd.read_csv(tmp_path / "out" / f"prompts_saved{name}.csv") for name in ("", "_total")]


def test_what_is_known_of_masked_slices(tmp_path):
    folder = tmp_path / "results"
    write_run(folder / "a", [0.5], {"prompted_slices": 2, "masked_slices": 40})
    write_run(folder / "b", [0.5, 0.0, None], {"prompted_slices": 1}, ground_truth_voxels=[7, 0, 0])
    volumes, total = run(tmp_path, "-r", str(folder))
    assert volumes.values.tolist() == [
        ["results", "a", 40, "manifest", 2, 0],
        ["results", "b", 1, "ground_truth_voxels", 1, 0],
    ]
    assert total[["way", "volumes", "prompts", "masked_slices"]].values.tolist() == [
        ["each masked slice", 2, 41, 41],
        ["each volume", 2, 2, 41],
        ["the data set", 2, 1, 41],
        ["as given", 2, 3, 41],
    ]
    assert total["saved_percent"].tolist() == pytest.approx([0, 100 * 39 / 41, 100 * 40 / 41, 100 * 38 / 41])


def test_counts_of_the_published_results_without_manifests(tmp_path, capsys):
    folder = tmp_path / "results"
    for number, masked in enumerate(PUBLISHED_MASKED_SLICES):
        (folder / f"case_{number}").mkdir(parents=True)
        lines = [f"{index},{0.5 if index < masked else ''},{0.75 if index < masked else ''}\n" for index in range(301)]
        path = folder / f"case_{number}" / "raw_data_2023-05-27_09-06-19.csv"
        path.write_text("slice,jaccard,dice\n" + "".join(lines))
    volumes, total = run(tmp_path, "-r", f"coronacases={folder}")
    assert volumes["masked_slices"].tolist() == list(PUBLISHED_MASKED_SLICES)
    assert volumes["masked_slices_from"].unique() == "slices with a Dice" and volumes["prompted_slices"].isna().all()
    assert total["prompts"].tolist() == [2156, 10, 1]
    assert total["saved_percent"].tolist() == pytest.approx([0, 99.5362, 99.9536], abs=5e-5)
    out = capsys.readouterr().out
    assert "coronacases, one prompt for the data set: 1 for 2156 masked slices in 10 volumes, 99.95 % saved" in out
    with Image.open(tmp_path / "out" / "prompts_saved.png") as picture:
        assert picture.size == (int(160 / 25.4 * 200), int(85 / 25.4 * 200))


def test_published_results(real_data, tmp_path):
    source = real_data / "published_results" / "2-coronacases"
    if not source.is_dir():
        pytest.skip(f"no published results: {source} is not a folder")
    volumes, total = run(tmp_path, "-r", str(source))
    assert volumes["masked_slices"].tolist() == list(PUBLISHED_MASKED_SLICES)
    assert round(total["saved_percent"].iloc[-1], 2) == 99.95


def test_one_seed_for_all_but_its_own_patient(tmp_path, capsys):
    folder = tmp_path / "results"
    for image in "abc":
        write_run(folder / image, [0.5], {"masked_slices": 10, **from_seed(image == "a")})
    volumes, total = run(tmp_path, "-r", str(folder))
    assert volumes["seed_patient"].tolist() == [1, 0, 0]
    assert total.iloc[-1].tolist() == ["results", "as given", 2, 1, 20, 95]
    assert "results, prompts as given: 1 for 20 masked slices in 2 volumes, 95.00 % saved" in capsys.readouterr().out
    _, total = run(tmp_path, "-r", str(folder), "--include_seed_patient")
    assert total.iloc[-1]["saved_percent"] == pytest.approx(100 * 29 / 30)


def test_more_volumes_than_names_fit(tmp_path):
    for number in range(70):
        write_run(tmp_path / "results" / f"case_{number}", [0.5], {"prompted_slices": 1, "masked_slices": 10 + number})
    volumes, _ = run(tmp_path, "-r", str(tmp_path / "results"))
    assert len(volumes) == 70
    with Image.open(tmp_path / "out" / "prompts_saved.png") as picture:
        assert picture.size[1] == math.floor((30 + 5.5 * 60) / 25.4 * 200)


def test_mistakes(tmp_path, capsys):
    write_run(tmp_path / "none" / "a", [None], {"prompted_slices": 1, "masked_slices": 0})
    write_run(tmp_path / "seed" / "a", [0.5], {"masked_slices": 1, **from_seed(True)})
    out = ["-o", str(tmp_path / "out")]
    assert run_main(prompts_saved.main, ["-r", str(tmp_path / "none"), *out]) == 2
    assert "none: no slice has ground truth, so that no prompt could be saved" in capsys.readouterr().err
    assert run_main(prompts_saved.main, ["-r", str(tmp_path / "seed"), *out]) == 2
    assert "seed: only the seed patient has results; --include_seed_patient counts it" in capsys.readouterr().err
    with pytest.raises(UserError, match="two sets are called none; give NAME=FOLDER"):
        prompts_saved.main(["-r", str(tmp_path / "none"), f"none={tmp_path}", *out])
    assert not (tmp_path / "out").exists()
