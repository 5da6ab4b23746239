"""comparison/error_by_distance.py: distances and bins of known volumes; what is not told is asked for."""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd
import pytest

import process_video
from comparison import error_by_distance
from comparison.error_by_distance import binned, mean_interval, reach_of, signed_distances
from pose.cli import run_main
from tests.cases import write_two_blocks
from tests.result_runs import write_published_run, write_run


def run(*arguments) -> int:
    return run_main(error_by_distance.main, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path):
    """Two volumes of 5 and 4 mm a slice; on slice 0 of the first is a false positive."""
    write_run(
        tmp_path / "SAM" / "a",
        [0.0, None, 0.6, 0.8, 1.0, 0.9],
        prompted=[4],
        spacing_mm=[1, 1, 5.0],
        columns={"ground_truth_voxels": [0, 0, 9, 9, 9, 9]},
    )
    write_run(tmp_path / "SAM" / "b", [0.9, 0.7, 0.5], prompted=[0, 0], spacing_mm=[1, 1, 4])
    write_run(
        tmp_path / "SAM" / "seeded",
        [0.9, 0.7],
        spacing_mm=[1, 1, 4],
        manifest={"seed": {"seed_patient": False, "seeds": [{"slice_sha256": "0" * 64}]}},
    )
    write_run(tmp_path / "SAM" / "slicewise", [0.9, 0.7], prompted=[0, 1], spacing_mm=[1, 1, 4])
    write_run(tmp_path / "SAM" / "no_truth", [None, None], prompted=[0], spacing_mm=[1, 1, 4])
    return tmp_path


def test_bins_with_and_without_the_sign(folder, capsys):
    out = folder / "out"
    assert run("-r", folder / "SAM", "--bin_mm", 10, "--output_folder_path", out) == 0
    names = ["from_mm", "to_mm", "slices", "volumes", "false_positive_slices"]
    pooled = pd.read_csv(out / "error_by_distance.csv")
    assert pooled[names].to_numpy().tolist() == [[0, 0, 2, 2, 0], [0, 10, 5, 2, 0], [10, 20, 1, 1, 1]]
    assert pooled["median"].tolist() == pytest.approx([0.95, 0.7, 0.0])  # of 0.9 1.0, then 0.5 0.6 0.7 0.8 0.9
    assert pooled["q1"].tolist() == pytest.approx([0.925, 0.6, 0.0])
    assert pooled["mean"].tolist() == pytest.approx([0.95, 0.7, 0.0])
    # the mean of either volume alone is the farthest that a draw of two volumes goes
    assert pooled.loc[1, ["mean_low", "mean_high"]].tolist() == pytest.approx([0.6, 2.3 / 3])
    assert pooled.loc[2, ["mean_low", "mean_high"]].isna().all()
    signed = pd.read_csv(out / "error_by_distance_signed.csv")
    assert signed[names].to_numpy().tolist() == [
        [-20, -10, 1, 1, 1],
        [-10, 0, 2, 1, 0],
        [0, 0, 2, 2, 0],
        [0, 10, 3, 2, 0],
    ]
    assert signed["mean"].tolist() == pytest.approx([0, 0.7, 0.95, 0.7])
    volumes = pd.read_csv(out / "error_by_distance_volumes.csv")
    assert volumes[["image", "to_mm", "slices"]].to_numpy().tolist() == [
        ["a", 0, 1],
        ["a", 10, 3],
        ["a", 20, 1],
        ["b", 0, 1],
        ["b", 10, 2],
    ]
    assert volumes["mean"].tolist() == pytest.approx([1.0, 2.3 / 3, 0.0, 0.9, 0.6])
    printed = capsys.readouterr().out
    for reason, image in (
        ("its masks came from a seed slice of another volume", "seeded"),
        ("every slice with a score was prompted", "slicewise"),
        ("no slice has a score", "no_truth"),
    ):
        assert f"SAM: 1 of 5 volumes left out, {reason}: {image}\n" in printed
    assert "SAM: the median dice is at least 0.9 up to 0 mm from the prompted slice, and less in the next" in printed
    for name in ("error_by_distance", "error_by_distance_signed"):
        assert (out / f"{name}.png").stat().st_size > 10_000 and (out / f"{name}.pdf").is_file()


def test_the_nearest_prompted_slice_counts_of_two_the_lower():
    found = signed_distances(np.arange(8), [6, 2], 2.5)
    assert found.tolist() == [-5.0, -2.5, 0.0, 2.5, 5.0, -2.5, 0.0, 2.5]


def test_a_bin_holds_its_far_end_whatever_the_rounding():
    distances = np.arange(1, 31) * 0.1  # 0.30000000000000004 and the like
    slices = pd.DataFrame({"distance_mm": distances, "value": 1.0, "false_positive": False})
    slices = slices.assign(results="s", image="a")
    table = binned(slices, 0.3, ["results"])
    assert table["slices"].tolist() == [3] * 10


def test_the_interval_draws_volumes_and_not_slices():
    rng = np.random.default_rng(5)
    level = rng.normal(0.8, 0.1, 30)
    values, units = np.repeat(level, 50), np.repeat(np.arange(30), 50)
    low, high = mean_interval(values, units)
    # 1.96 standard errors of 30 volumes, not of 1500 slices
    half = 1.96 * level.std(ddof=0) / np.sqrt(30)
    assert (low, high) == pytest.approx((level.mean() - half, level.mean() + half), abs=0.15 * half)
    assert np.isnan(mean_interval(values[:50], units[:50])).all()


def test_how_far_a_prompt_reaches():
    bins = pd.DataFrame({"from_mm": [0, 0, 10, 20], "to_mm": [0, 10, 20, 30], "median": [0.93, 0.95, 0.9, 0.92]})
    assert reach_of(bins, "dice", 0.9) == "the median dice is at least 0.9 in every bin, up to 30 mm"
    assert "at least 0.91 up to 10 mm from the prompted slice, and less in the next bin" in reach_of(bins, "dice", 0.91)
    assert reach_of(bins, "dice", 0.94) == "the median dice is less than 0.94 in the bin nearest to the prompt already"
    coarse = bins.iloc[[0, 2]]  # no slice in the first 10 mm
    assert "at least 0.91 up to 0 mm" in reach_of(coarse, "dice", 0.91)


def test_results_that_do_not_tell_are_refused_until_told(tmp_path, capsys):
    write_published_run(tmp_path / "old" / "image_a", [None, 0.5, 0.25, 0.75, 0.8])
    command = ["-r", tmp_path / "old", "--metric", "jaccard", "--output_folder_path", tmp_path / "out"]
    refusals = [
        ([], "no sam_prompts_*.json tells the prompted slice; say --prompted_slice centre"),
        (["--prompted_slice", "centre"], "the distance between slices is not told; say --slice_spacing_mm MM"),
        (["--prompted_slice", "0", "--slice_spacing_mm", "2"], "slice 0 (--prompted_slice) has no score"),
        (["--prompted_slice", "largest", "--slice_spacing_mm", "2"], "has no ground_truth_voxels to tell"),
    ]
    for arguments, message in refusals:
        assert run(*command, *arguments) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    for where, expected in (("centre", [-4, -2, 0, 2]), ("1", [0, 2, 4, 6])):
        assert run(*command, "--prompted_slice", where, "--slice_spacing_mm", 2, "--bin_mm", 2) == 0
        signed = pd.read_csv(tmp_path / "out" / "error_by_distance_signed.csv")
        ends = np.where(signed["from_mm"] < 0, signed["from_mm"], signed["to_mm"])
        assert ends.tolist() == expected and signed["mean"].tolist() == [0.5, 0.25, 0.75, 0.8]


def test_the_largest_slice_by_its_voxels(tmp_path):
    paths = write_run(tmp_path / "r" / "a", [0.0, 0.5, 0.6], columns={"ground_truth_voxels": [0, 4, 9]})
    paths["sam_prompts"].unlink()
    for where, mean in (("largest", [0.25, 0.6]), ("centre", [0.25, 0.6])):
        assert (
            run(
                "-r",
                tmp_path / "r",
                "--prompted_slice",
                where,
                "--slice_spacing_mm",
                1,
                "--output_folder_path",
                tmp_path / "out",
            )
            == 0
        )
        assert pd.read_csv(tmp_path / "out" / "error_by_distance_signed.csv")["mean"].tolist() == mean


@pytest.mark.parametrize(
    ("spacing", "prompts", "message"),
    [
        ([1, 1], '{"prompts": [{"slice": 0}]}', "image.spacing_mm must be three numbers above 0"),
        ([1, 1, -4], '{"prompts": [{"slice": 0}]}', "image.spacing_mm must be three numbers above 0"),
        ([1, 1, 4], '{"prompts": []}', "prompts must be a list with the 'slice' of each"),
        ([1, 1, 4], '{"prompts": [{"slice": "0"}]}', "prompts must be a list with the 'slice' of each"),
        ([1, 1, 4], '{"prompts": [{"slice": 0}, {"slice": 1}]}', "a: every slice with a score was prompted"),
    ],
)
def test_files_that_say_something_else(tmp_path, capsys, spacing, prompts, message):
    paths = write_run(tmp_path / "r" / "a", [0.5, 0.6], prompted=[0], spacing_mm=spacing)
    paths["sam_prompts"].write_text(prompts)
    assert run("-r", tmp_path / "r", "--output_folder_path", tmp_path / "out") == 2
    assert message in capsys.readouterr().err


def test_a_run_of_process_video(tmp_path):
    image, masks = write_two_blocks(tmp_path)
    assert (
        run_main(
            process_video.main, ["-i", str(image), "-m", str(masks), "--swap_axes", "-w", "--method", "region_growing"]
        )
        == 0
    )
    assert run("-r", tmp_path / "results_video", "--bin_mm", 3, "--output_folder_path", tmp_path / "out") == 0
    signed = pd.read_csv(tmp_path / "out" / "error_by_distance_signed.csv")
    # slices 2 to 5 of 3 mm, the prompt on 4
    assert signed[["from_mm", "to_mm", "slices"]].to_numpy().tolist() == [[-6, -3, 1], [-3, 0, 1], [0, 0, 1], [0, 3, 1]]
    assert signed["mean"].tolist() == [1.0] * 4


def test_the_published_results(real_data, tmp_path):
    published = real_data / "published_results" / "2-coronacases"
    assert (
        run("-r", published, "--prompted_slice", "centre", "--slice_spacing_mm", 1, "--output_folder_path", tmp_path)
        == 0
    )
    with next(published.glob("joint_raw_data_*.csv")).open() as file:
        scored = [(row["image"], int(row["slice"]), float(row["dice"])) for row in csv.DictReader(file) if row["dice"]]
    slices: dict[str, list[int]] = {}
    for image, index, _ in scored:
        slices.setdefault(image, []).append(index)
    near = [dice for image, index, dice in scored if 10 < abs(index - slices[image][len(slices[image]) // 2]) <= 20]
    pooled = pd.read_csv(tmp_path / "error_by_distance.csv").set_index("to_mm")
    assert pooled["slices"].sum() == len(scored)
    assert pooled.loc[20, ["slices", "median", "mean"]].tolist() == pytest.approx(
        [len(near), np.median(near), np.mean(near)], abs=1e-12
    )
