"""Tests of join_results.py, called as from the command line."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import join_results
from pose import results
from pose.cli import UserError, run_main
from tests.cases import seconds_of_children
from tests.result_runs import write_published_run

METRICS = ("jaccard", "dice", "sam_score", "process_image_time")
PUBLISHED_STAMP = "2023-05-27_11-39-55"


def write_run(folder, dice_values, stamp="2026-11-23_10-20-30", volume_metrics=None, manifest=None, **columns):
    rows = [
        {"slice": index, "jaccard": value, "dice": value, "sam_score": 0.5, "process_image_time": 1.0, **columns}
        for index, value in enumerate(dice_values)
    ]
    return results.write_results(
        folder, rows=rows, volume_metrics=volume_metrics, prompts_json={}, manifest=manifest or {}, stamp=stamp
    )


def joined(folder, *flags):
    """Call the program; return the three tables that it wrote, by the start of their names."""
    before = set(folder.glob("*.csv"))
    assert join_results.main(["--results_folder_path", str(folder), *flags]) == 0
    written = {path.name[: -len("_YYYY-MM-DD_HH-MM-SS.csv")]: path for path in set(folder.glob("*.csv")) - before}
    assert sorted(written) == ["joint_raw_data", "joint_results", "results"]
    assert len({path.stem[-19:] for path in written.values()}) == 1
    return {kind: results.read_table(written[kind], (), text_columns=("image", "metric")) for kind in sorted(written)}


@pytest.fixture
def folder(tmp_path):
    """Two volumes written by this project, the second in two runs."""
    metrics = {"volume_dice": 0.8, "volume_hd95_mm": 2.0, "false_positive_voxels": 7, "missed_slices": 0}
    write_run(tmp_path / "b", [0.5, None, 1.0], volume_metrics=metrics)
    write_run(tmp_path / "a", [0.0], stamp="2026-11-22_10-00-00")
    write_run(tmp_path / "a", [0.25, 0.75], volume_metrics={**metrics, "volume_dice": 0.6, "volume_hd95_mm": math.inf})
    return tmp_path


def test_joint_raw_data(folder):
    table = joined(folder)["joint_raw_data"]
    assert list(table.columns) == ["image", *results.RAW_DATA_COLUMNS]
    assert table["image"].tolist() == ["a", "a", "b", "b", "b"]
    assert table["slice"].tolist() == [0, 1, 0, 1, 2]
    assert table["dice"].fillna(-1).tolist() == [0.25, 0.75, 0.5, -1, 1.0]


def test_joint_results(folder):
    table = joined(folder)["joint_results"]
    statistics = ("min", "max", "avg", "std")
    assert list(table.columns) == [
        "image",
        "slices",
        *(f"{metric}_{name}" for metric in METRICS for name in statistics),
        *(f"{metric}_{name}" for metric in METRICS for name in ("n", "q1", "median", "q3")),
        "volume_dice",
        "volume_hd95_mm",
        "false_positive_voxels",
        "missed_slices",
    ]
    assert table["image"].tolist() == ["a", "b"]
    assert table["slices"].tolist() == [2, 3]
    assert table["dice_min"].tolist() == [0.25, 0.5]
    assert table["dice_max"].tolist() == [0.75, 1.0]
    assert table["dice_avg"].tolist() == [0.5, 0.75]
    assert table["dice_std"].tolist() == [np.std([0.25, 0.75], ddof=1), np.std([0.5, 1.0], ddof=1)]
    assert table[["dice_n", "dice_q1", "dice_median", "dice_q3"]].to_numpy().tolist() == [
        [2, 0.375, 0.5, 0.625],
        [2, 0.625, 0.75, 0.875],
    ]
    assert table["volume_dice"].tolist() == [0.6, 0.8]
    assert table["volume_hd95_mm"].tolist() == [math.inf, 2.0]
    (path,) = folder.glob("joint_results_*.csv")
    assert path.read_text().splitlines()[1].endswith(",0.6,inf,7,0")


def test_results(folder):
    table = joined(folder)["results"].set_index("metric")
    further = ["q1", "median", "q3", "ci95_low", "ci95_high", "volumes"]
    assert list(table.columns) == ["min", "max", "avg", "std", "n", *further]
    assert list(table.index) == [*METRICS, "volume_dice", "volume_hd95_mm", "false_positive_voxels", "missed_slices"]
    assert table.loc["dice"].tolist() == [
        0.25,
        1.0,
        0.625,
        np.std([0.25, 0.75, 0.5, 1.0], ddof=1),
        4,
        0.4375,
        0.625,
        0.8125,
        0.5,
        0.75,
        2,
    ]
    assert table.loc["volume_dice"].tolist() == pytest.approx(
        [0.6, 0.8, 0.7, math.sqrt(0.02), 2, 0.65, 0.7, 0.75, 0.6, 0.8, 2], abs=1e-15
    )
    assert table.loc["volume_hd95_mm", further].tolist() == [math.inf, math.inf, math.inf, 2.0, math.inf, 2]
    assert table.loc["volume_hd95_mm", ["min", "max", "avg"]].tolist() == [2.0, math.inf, math.inf]
    assert math.isnan(table.loc["volume_hd95_mm", "std"])
    assert table.loc["false_positive_voxels"].tolist() == [7, 7, 7, 0, 2, 7, 7, 7, 7, 7, 2]


def test_printed_tables_show_infinity_and_the_undefined(folder, capsys):
    write_run(folder / "c", [None])
    joined(folder)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == [
        "slices",
        "jaccard_avg",
        "jaccard_std",
        "dice_avg",
        "sam_score_avg",
        "volume_dice",
        "volume_hd95_mm",
        "missed_slices",
    ]
    assert ["a", "2", "0.5000", "0.3536", "0.5000", "0.5000", "0.6000", "inf", "0"] in lines
    assert ["c", "1", "-", "-", "-", "0.5000", "-", "-", "-"] in lines
    assert ["3", "volumes,", "6", "slices"] in lines
    assert ["dice", *"0.2500 1.0000 0.6250 0.3227 4 0.4375 0.6250 0.8125 0.5000 0.7500 2".split()] in lines
    assert lines[-1][0].startswith(str(folder / "results_"))


def test_joining_again_reads_the_same_and_overwrites_nothing(folder):
    first = joined(folder)
    second = joined(folder)
    assert all(first[kind].equals(second[kind]) for kind in first)
    assert len(list(folder.glob("joint_raw_data_*.csv"))) == 2


@pytest.mark.filterwarnings("error")
def test_volumes_of_the_published_code_beside_ours(folder):
    (folder / "published").mkdir()
    (folder / "published" / "raw_data_2023-05-27_09-06-19.csv").write_text("slice,jaccard,dice\n0,,\n1,0.5,0.625\n")
    (folder / "published" / "results_2023-05-27_09-06-19.csv").write_text(
        "metric,min,max,avg,std\njaccard,0.5,0.5,0.5,\ndice,0.625,0.625,0.625,\n"
    )
    write_run(folder / "per_label", [0.5], object_score=3.0, jaccard_label_1=0.25, dice_label_1=0.125)
    tables = joined(folder)
    assert tables["joint_raw_data"]["image"].tolist()[-2:] == ["published", "published"]
    assert list(tables["joint_raw_data"].columns)[-2:] == ["jaccard_label_1", "dice_label_1"]
    assert tables["joint_raw_data"]["predicted_voxels"].isna().all()
    per_volume = tables["joint_results"].set_index("image")
    assert per_volume.loc["published", ["slices", "dice_avg"]].tolist() == [2, 0.625]
    assert math.isnan(per_volume.loc["published", "sam_score_avg"])
    assert per_volume["dice_label_1_avg"].fillna(-1).tolist() == [-1, -1, 0.125, -1]
    overall = tables["results"].set_index("metric")
    assert overall.loc["dice", "n"] == 6
    assert overall.loc["object_score"].fillna(-1).tolist() == [3, 3, 3, -1, 1, 3, 3, 3, -1, -1, 1]
    assert overall.loc["volume_dice", "n"] == 2


def test_a_run_without_its_table_of_statistics(tmp_path):
    write_run(tmp_path / "a", [1.0])["results"].unlink()
    assert list(joined(tmp_path)["results"]["metric"]) == list(METRICS)


def test_a_volume_without_slices_keeps_its_row(folder):
    (folder / "c").mkdir()
    (folder / "c" / "raw_data_2023-05-27_09-06-19.csv").write_text("slice,jaccard,dice\n")
    table = joined(folder)["joint_results"]
    assert table["image"].tolist() == ["a", "b", "c"]
    assert table["slices"].tolist() == [2, 3, 0]
    assert table["dice_avg"].fillna(-1).tolist() == [0.5, 0.75, -1]


def test_folders_without_a_run_are_named_and_left_out(folder, caplog):
    (folder / "empty").mkdir()
    (folder / ".hidden").mkdir()
    assert joined(folder)["joint_results"]["image"].tolist() == ["a", "b"]
    assert [record.message for record in caplog.records] == [f"{folder / 'empty'}: holds no raw_data_*.csv, left out"]


def test_hidden_names_and_bytes_that_are_no_text_are_kept(folder):
    latin_1 = os.fsdecode(b"M\xfcller")
    for name in (".hidden", latin_1, "a$b$c", "_a, b", "{{x}}"):
        write_run(folder / name, [0.5, 0.5])
    (folder / ".ipynb_checkpoints").mkdir()
    found = joined(folder)
    names = [".hidden", "M\\udcfcller", "_a, b", "a", "a$b$c", "b", "{{x}}"]
    assert found["joint_results"]["image"].tolist() == names
    assert found["joint_raw_data"]["image"].drop_duplicates().tolist() == names


def whole_run(folder, dice, slices=4, **settings):
    arguments = {"window": None, "point": [], "masks_file_path": [str(folder)], **settings}
    manifest = {"slices": len(dice), "image": {"shape": [9, 9, slices]}, "arguments": arguments}
    return write_run(folder, dice, manifest=manifest)


def test_a_run_of_one_slice_beside_a_whole_one(tmp_path, caplog):
    for name in ("a", "b"):
        whole_run(tmp_path / name, [0.5, 0.5, 0.5, 0.5])
    whole_run(tmp_path / "a", [1.0])
    whole_run(tmp_path / "c", [0.25])
    table = joined(tmp_path)["joint_results"]
    assert table["slices"].tolist() == [4, 4, 1] and table["dice_avg"].tolist() == [0.5, 0.5, 0.25]
    notes = [record.message for record in caplog.records]
    assert len(notes) == 2 and "a: the run of 2026-11-23_10-20-31 is of a part (1 of 4 slices)" in notes[0]
    assert notes[1].endswith("c: its only run is of a part (1 of 4 slices), and counts, as there is no whole one")
    assert "settings" not in table


def test_runs_of_different_settings_in_one_table(tmp_path, caplog):
    """What belongs to a volume alone, such as its files and where it was pointed at, is no other setting."""
    whole_run(tmp_path / "a", [0.5] * 4, window=["lung"], model="vit_b", point=[[1, 2]])
    whole_run(tmp_path / "b", [0.5] * 4, apply_windowing=True, model="vit_b", point=[[3, 4]])
    assert "settings" not in joined(tmp_path)["joint_results"] and not caplog.records
    whole_run(tmp_path / "c", [0.5] * 4, model="tiny", growing_opening=0)
    write_published_run(tmp_path / "d", [0.5])
    table = joined(tmp_path)["joint_results"]
    assert table["settings"].tolist()[:3] == [1, 1, 2] and np.isnan(table["settings"][3])
    (note,) = [record.message for record in caplog.records]
    differ = "model: vit_b (2), tiny (1); prompts: typed (2), ground truth (1); window: lung (2), none (1)"
    assert (
        note == f"{tmp_path}: its volumes were made with different settings: {differ}; growing_opening: none (2), 0 (1)"
    )


def fails(folder, capsys):
    """Call the program; return its error, after checking that it ended as for a mistake of the user's, with no file."""
    before = sorted(folder.rglob("*")) if folder.is_dir() else None
    assert run_main(join_results.main, ["-r", str(folder)]) == 2
    assert (sorted(folder.rglob("*")) if folder.is_dir() else None) == before
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = [line for line in output.err.splitlines() if line.startswith("error: ")]
    return line.removeprefix("error: ")


def test_folders_that_hold_no_results(tmp_path, capsys):
    assert fails(tmp_path / "none", capsys) == f"{tmp_path / 'none'}: no such folder"
    assert fails(tmp_path, capsys) == f"{tmp_path}: no folder in it holds a raw_data_*.csv"
    write_run(tmp_path / "a", [1.0])
    assert fails(tmp_path / "a", capsys).endswith("it is the folder of one volume: give the folder above it")
    (tmp_path / "file").write_text("")
    assert fails(tmp_path / "file", capsys) == f"{tmp_path / 'file'}: is not a folder"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("raw_data", "image,volume\n", "has no column 'slice'; its columns are image, volume"),
        ("raw_data", "", "has no column 'slice'; its columns are none"),
        ("raw_data", "slice,jaccard,dice\n0,good,0.5\n", "line 2: jaccard 'good' is not a number"),
        ("raw_data", "slice,jaccard,dice\n0,0.5\n", "line 2: 2 cells under 3 columns"),
        ("raw_data", "slice,jaccard,dice\n3,1,1\n3,1,1\n", "slice 3 comes twice"),
        ("results", "slice,avg\n", "has no column 'metric'; its columns are slice, avg"),
        ("results", "metric,avg\nvolume_dice,1\nvolume_dice,1\n", "metric volume_dice comes twice"),
    ],
)
def test_malformed_tables(folder, capsys, name, content, message):
    path = folder / "a" / f"{name}_2026-11-23_10-20-30.csv"
    path.write_text(content)
    assert fails(folder, capsys) == f"{path}: {message}"


def test_errors_are_raised_to_callers(tmp_path):
    with pytest.raises(UserError, match="no folder in it"):
        join_results.main(["-r", str(tmp_path)])


def test_the_folder_is_required(capsys):
    with pytest.raises(SystemExit) as caught:
        join_results.main([])
    assert caught.value.code == 2
    assert "-r/--results_folder_path" in capsys.readouterr().err


def test_help_answers_at_once():
    script = Path(join_results.__file__)
    times = []
    for _ in range(3):
        start = seconds_of_children()
        run = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, check=True)
        times.append(seconds_of_children() - start)
    assert "--results_folder_path" in run.stdout
    assert min(times) < 0.5


MASKED_SLICES = (227, 176, 150, 251, 270, 180, 219, 249, 222, 212)
SEED = {"image": "seed_scan.nii.gz", "slice": 122, "slice_sha256": "5eed" * 16}


def write_ten(folder, manifest_of):
    for number, masked in enumerate(MASKED_SLICES, start=1):
        manifest = {"masked_slices": masked, **manifest_of(masked)}
        write_run(folder / f"case_{number:02}", [number / 10], manifest=manifest)


def from_seed(seed_patient=False, **changes):
    return {"prompted_slices": 0, "seed": {"seeds": [{**SEED, **changes}], "seed_patient": seed_patient}}


@pytest.mark.parametrize(
    ("manifest_of", "used", "saved", "sentence"),
    [
        (lambda masked: from_seed(), 1, 99.9536, "1 prompt for 2156 masked slices in 10 volumes: 99.95 % saved"),
        (lambda masked: {"prompted_slices": 1}, 10, 99.5362, "10 prompts for 2156 masked slices in 10 volumes: 99.5"),
        (lambda masked: {"prompted_slices": masked}, 2156, 0, "2156 prompts for 2156 masked slices in 10 volumes: 0.0"),
    ],
    ids=["one seed for all", "one prompt for each volume", "a prompt on each slice"],
)
def test_prompts_saved(tmp_path, capsys, manifest_of, used, saved, sentence):
    write_ten(tmp_path, manifest_of)
    tables = joined(tmp_path)
    table = tables["results"].set_index("metric")
    assert list(table.index)[-4:] == ["masked_slices", "prompted_slices", "prompts_used", "prompts_saved_percent"]
    assert table.loc["masked_slices", ["min", "max", "avg", "n"]].tolist() == [150, 270, 215.6, 10]
    assert table.loc["prompts_used", ["min", "max", "avg", "n"]].tolist() == [used, used, used, 1]
    assert table.loc["prompts_saved_percent", "avg"] == pytest.approx(saved, abs=5e-5)
    assert sentence in capsys.readouterr().out
    per_volume = tables["joint_results"]
    assert per_volume["masked_slices"].tolist() == list(MASKED_SLICES)
    prompted = [manifest_of(masked)["prompted_slices"] for masked in MASKED_SLICES]
    assert per_volume["prompted_slices"].tolist() == prompted


def test_the_seed_patient_is_marked_and_left_out_of_the_statistics(tmp_path, capsys):
    write_run(
        tmp_path / "a",
        [0.5, 0.75],
        volume_metrics={"volume_dice": 0.5},
        dice_label_1=0.5,
        manifest={"masked_slices": 2, **from_seed()},
    )
    write_run(
        tmp_path / "b",
        [1.0],
        volume_metrics={"volume_dice": 1.0},
        manifest={"masked_slices": 1, **from_seed(seed_patient=True)},
    )
    write_run(
        tmp_path / "c",
        [0.25],
        volume_metrics={"volume_dice": 0.25},
        manifest={"masked_slices": 1, **from_seed(slice=7, slice_sha256="0" * 64)},
    )
    tables = joined(tmp_path)
    assert list(tables["joint_raw_data"].columns)[-2:] == ["dice_label_1", "seed_patient"]
    assert tables["joint_raw_data"]["seed_patient"].tolist() == [0, 0, 1, 0]
    last = ["volume_dice", "prompted_slices", "masked_slices", "seed_patient"]
    assert list(tables["joint_results"].columns)[-4:] == last
    assert tables["joint_results"]["seed_patient"].tolist() == [0, 1, 0]
    left_out = tables["results"].set_index("metric")["avg"]
    assert left_out[["dice", "volume_dice", "masked_slices", "prompts_used"]].tolist() == [0.5, 0.375, 1.5, 2]
    assert left_out["prompts_saved_percent"] == pytest.approx(100 / 3)
    assert "left out of the statistics as seed patient: b\n2 prompts for 3 masked" in capsys.readouterr().out
    counted = joined(tmp_path, "--include_seed_patient")["results"].set_index("metric")["avg"]
    assert counted[["dice", "prompts_used", "prompts_saved_percent"]].tolist() == [0.625, 2, 50]
    assert counted["volume_dice"] == pytest.approx(1.75 / 3)
    assert "left out" not in capsys.readouterr().out


def test_slices_to_review_are_carried_on(tmp_path):
    write_run(tmp_path / "a", [1.0], volume_metrics={"slices_to_review": 3}, needs_review=1)
    write_run(tmp_path / "b", [1.0], volume_metrics={"slices_to_review": None})
    write_run(tmp_path / "c", [1.0], volume_metrics={"slices_to_review": 0}, needs_review=0)
    tables = joined(tmp_path)
    assert tables["joint_raw_data"]["needs_review"].fillna(-1).tolist() == [1, -1, 0]
    assert tables["joint_results"]["slices_to_review"].fillna(-1).tolist() == [3, -1, 0]
    assert tables["results"].set_index("metric").loc["slices_to_review"].tolist()[:3] == [0, 3, 1.5]


def test_times_have_rows_where_a_run_took_them(tmp_path):
    write_run(tmp_path / "a", [0.5, 1.0], set_image_time=2.0, predict_image_time=0.25)
    tables = joined(tmp_path)
    assert list(tables["results"]["metric"]) == [*METRICS, "set_image_time", "predict_image_time"]
    assert tables["results"].set_index("metric").loc["set_image_time", ["avg", "n"]].tolist() == [2.0, 2]
    assert tables["joint_results"]["predict_image_time_median"].tolist() == [0.25]


def test_failed_volumes_are_counted_and_named(tmp_path, capsys):
    manifest = {"prompted_slices": 1, "masked_slices": 5}
    write_run(tmp_path / "b", [0.5], volume_metrics={"volume_dice": 0.75}, manifest=manifest)
    write_run(tmp_path / "c", [1.0], manifest=manifest)
    results.write_failure(tmp_path / "a", "a.nii.gz: is cut", {})
    results.write_failure(tmp_path / "c", "out of memory: 2 GiB", {})  # its earlier run does not count any more
    raw_data, per_volume, table = joined(tmp_path).values()
    assert raw_data["image"].tolist() == ["b"]
    assert per_volume["image"].tolist() == ["a", "b", "c"] and per_volume["failed"].tolist() == [1, 0, 1]
    assert per_volume["volume_dice"].fillna(-1).tolist() == [-1, 0.75, -1] and per_volume["slices"].isna().tolist() == [
        1,
        0,
        1,
    ]
    table = table.set_index("metric")
    assert table.loc["failed_volumes", ["avg", "n"]].tolist() == [2, 1] and table.loc[
        "dice", ["avg", "n"]
    ].tolist() == [0.5, 1]
    out = capsys.readouterr().out
    assert (
        "1 volumes, 1 slices\n2 more failed and have no scores; counted in failed_volumes:\n  a: a.nii.gz: is cut\n"
        in out
    )
    assert "  c: out of memory: 2 GiB" in out

    write_run(tmp_path / "c", [1.0], manifest=manifest, stamp="2099-01-01_00-00-00")
    assert joined(tmp_path)["joint_results"]["failed"].tolist() == [1, 0, 0]


def test_no_failure_is_told_where_it_is_known(tmp_path):
    write_run(tmp_path / "a", [1.0], manifest={"prompted_slices": 1, "masked_slices": 5})
    tables = joined(tmp_path)
    table = tables["results"]
    assert "failed" not in tables["joint_results"] and table.set_index("metric").loc["failed_volumes", "avg"] == 0


def test_all_volumes_failed(tmp_path, capsys):
    results.write_failure(tmp_path / "a", "a.nii.gz: is cut", {})
    assert fails(tmp_path, capsys) == f"{tmp_path}: no volume has a result, 1 failed, such as a: a.nii.gz: is cut"


def test_only_the_seed_patient(tmp_path, capsys):
    write_run(tmp_path / "a", [1.0], manifest=from_seed(seed_patient=True))
    assert fails(tmp_path, capsys) == (
        f"{tmp_path}: only the seed patient (a) has results, and is left out of the statistics; "
        "--include_seed_patient counts it"
    )


@pytest.mark.parametrize(
    ("others", "used", "printed"),
    [
        ({"prompted_slices": 2, "masked_slices": None}, 3, "3 prompts for 2 volumes: no masked slices known"),
        (None, math.nan, None),
    ],
    ids=["no ground truth", "no manifest"],
)
def test_what_one_volume_does_not_tell_is_unknown_for_all(tmp_path, capsys, others, used, printed):
    write_run(tmp_path / "a", [1.0], manifest={"prompted_slices": 1, "masked_slices": 5})
    write_run(tmp_path / "b", [1.0], manifest=others)
    table = joined(tmp_path)["results"].set_index("metric")
    assert table.loc["prompts_saved_percent", "n"] == 0 and table.loc["masked_slices", "n"] == 1
    assert table.loc["prompts_used", "avg"] == pytest.approx(used, nan_ok=True)
    output = capsys.readouterr().out
    assert "saved\n" not in output and (printed is None or printed in output)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", "must hold an object, got [1]"),
        ('{"prompted_slices": -1}', "prompted_slices must be a whole number from 0, got -1"),
        ('{"masked_slices": "many"}', "masked_slices must be a whole number from 0, got 'many'"),
        ('{"seed": {"seeds": [], "seed_patient": false}}', "seed must have a list 'seeds' and 'seed_patient'"),
        ('{"seed": {"seeds": [{"slice": 1}], "seed_patient": false}}', "each of seed.seeds must have a 'slice_sha256'"),
    ],
)
def test_malformed_manifests(folder, capsys, content, message):
    path = folder / "a" / "run_2026-11-23_10-20-30.json"
    path.write_text(content)
    assert fails(folder, capsys).startswith(f"{path}: {message}")


@pytest.fixture
def published(real_data, tmp_path):
    source = real_data / "published_results" / "2-coronacases"
    if not source.is_dir():
        pytest.skip(f"no published results: {source} is not a folder")
    folder = tmp_path / "2-coronacases"
    shutil.copytree(source, folder, copy_function=shutil.copyfile)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


@pytest.mark.parametrize("kind", ["joint_raw_data", "joint_results", "results"])
def test_published_tables_come_out_again(published, kind):
    """The tables made from the published per-slice results equal those that were published with them."""
    expected = results.read_table(published / f"{kind}_{PUBLISHED_STAMP}.csv", (), text_columns=("image", "metric"))
    found = joined(published)[kind]
    assert list(found.columns)[: len(expected.columns)] == list(expected.columns)
    assert len(found) == len(expected) == {"joint_raw_data": 2581, "joint_results": 10, "results": 2}[kind]
    for name in expected.columns:
        if name in ("image", "metric", "slice", "slices"):
            assert found[name].tolist() == expected[name].tolist()
        else:
            np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-12, equal_nan=True)
            assert expected[name].notna().any()
