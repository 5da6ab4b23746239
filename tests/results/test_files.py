"""Tests of pose/results/files.py: the CSV schema, statistics, the files of a run, and finding them again."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from pose import results
from pose.cli import UserError
from pose.files.atomic import reserved_stamp, timestamp
from pose.files.repository import REPOSITORY_FOLDER

STAMP = "2026-11-23_10-20-30"
FIXED_COLUMNS = [
    "slice",
    "jaccard",
    "dice",
    "sam_score",
    "set_image_time",
    "predict_image_time",
    "process_image_time",
    "object_score",
    "ground_truth_voxels",
    "predicted_voxels",
    "false_positive_voxels",
    "hd95_mm",
    "needs_review",
    "review_score",
]


def row(slice_index, **values):
    return {
        "slice": slice_index,
        "jaccard": 0.5,
        "dice": 2 / 3,
        "sam_score": 0.9,
        "set_image_time": 1.0,
        "predict_image_time": 0.25,
        "process_image_time": 1.25,
        "ground_truth_voxels": 10,
        "predicted_voxels": 12,
        "false_positive_voxels": 0,
        "hd95_mm": 1.5,
        **values,
    }


def write_run(folder, stamp=STAMP, **changes):
    arguments = {"rows": [row(0)], "prompts_json": {"prompts": []}, "manifest": {}, "stamp": stamp, **changes}
    return results.write_results(folder, **arguments)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class TestRawData:
    def test_order_of_columns_and_rows(self):
        table = results.raw_data_table(
            [
                row(7, dice_label_10=0.1, jaccard_label_2=0.3, dice_label_2=0.4),
                row(3, jaccard_label_1=0.5, dice_label_1=0.6),
            ]
        )
        assert list(table.columns) == [
            *FIXED_COLUMNS,
            "jaccard_label_1",
            "dice_label_1",
            "jaccard_label_2",
            "dice_label_2",
            "dice_label_10",
        ]
        assert table["slice"].tolist() == [3, 7]
        assert table["dice_label_10"].isna().tolist() == [True, False]

    def test_written_cells(self, tmp_path):
        table = results.raw_data_table(
            [
                row(0, jaccard=math.nan, dice=None, hd95_mm=math.nan, ground_truth_voxels=0, predicted_voxels=0),
                row(1, jaccard=0.1 + 0.2, hd95_mm=math.inf, object_score=np.float32(2.5), ground_truth_voxels=3),
            ]
        )
        results.write_table(tmp_path / "raw.csv", table)
        assert (tmp_path / "raw.csv").read_text().splitlines() == [
            ",".join(FIXED_COLUMNS),
            "0,,,0.9,1.0,0.25,1.25,,0,0,0,,,",
            f"1,0.30000000000000004,{2 / 3!r},0.9,1.0,0.25,1.25,2.5,3,12,0,inf,,",
        ]

    def test_without_ground_truth_the_columns_stay_and_are_empty(self, tmp_path):
        table = results.raw_data_table([{"slice": 0, "predicted_voxels": 5, "sam_score": 0.5}, {"slice": 1}])
        results.write_table(tmp_path / "raw.csv", table)
        assert (tmp_path / "raw.csv").read_text().splitlines() == [
            ",".join(FIXED_COLUMNS),
            "0,,,0.5,,,,,,5,,,,",
            "1,,,,,,,,,,,,,",
        ]

    def test_no_rows(self):
        assert list(results.raw_data_table([]).columns) == FIXED_COLUMNS

    def test_faults_of_the_caller(self):
        with pytest.raises(ValueError, match="jacard"):
            results.raw_data_table([row(0, jacard=1.0)])
        with pytest.raises(ValueError, match="slice 4 comes twice"):
            results.raw_data_table([row(4), row(4)])

    def test_comes_back_bit_for_bit(self, tmp_path):
        generator = np.random.default_rng(1)
        values = [*generator.random(200), 1e-300, 0.1 + 0.2, math.inf]
        table = results.raw_data_table([row(index, jaccard=value) for index, value in enumerate(values)])
        results.write_table(tmp_path / "raw.csv", table)
        back = results.read_table(tmp_path / "raw.csv", ("slice", "jaccard"))
        assert back["jaccard"].tolist() == values
        assert back.dtypes.equals(table.dtypes)


class TestSummarise:
    def test_exact_statistics_with_missing_cells(self):
        values = [math.nan, 0.25, 0.75, 0.5, None]
        raw_data = results.raw_data_table([row(index, jaccard=value) for index, value in enumerate(values)])
        summary = results.summarise(raw_data).set_index("metric")
        assert summary.loc["jaccard"].to_dict() == {"min": 0.25, "max": 0.75, "avg": 0.5, "std": 0.25, "n": 3}

    def test_rows_and_columns(self):
        raw_data = results.raw_data_table([row(0, jaccard_label_1=0.5, dice_label_1=1.0), row(1)])
        summary = results.summarise(raw_data, {"volume_dice": 0.75, "missed_slices": 0})
        assert list(summary.columns) == ["metric", "min", "max", "avg", "std", "n"]
        assert summary["metric"].tolist() == [
            "jaccard",
            "dice",
            "sam_score",
            "process_image_time",
            "jaccard_label_1",
            "dice_label_1",
            "volume_dice",
            "missed_slices",
        ]

    def test_object_score_has_a_row_where_there_is_one(self):
        summary = results.summarise(results.raw_data_table([row(0, object_score=3.0), row(1)])).set_index("metric")
        assert list(summary.index) == ["jaccard", "dice", "sam_score", "object_score", "process_image_time"]
        assert summary.loc["object_score", ["min", "n"]].tolist() == [3.0, 1]

    def test_written_rows(self, tmp_path):
        nothing = {"jaccard": None, "sam_score": None}
        raw_data = results.raw_data_table([row(0, **nothing), row(1, **nothing, dice=1)])
        metrics = {"volume_dice": 0.75, "volume_hd95_mm": math.inf, "volume_jaccard": math.nan}
        results.write_table(tmp_path / "results.csv", results.summarise(raw_data, metrics))
        std = repr(float(np.std([2 / 3, 1], ddof=1)))
        assert (tmp_path / "results.csv").read_text().splitlines() == [
            "metric,min,max,avg,std,n",
            "jaccard,,,,,0",
            f"dice,{2 / 3!r},1.0,{float(np.mean([2 / 3, 1]))!r},{std},2",
            "sam_score,,,,,0",
            "process_image_time,1.25,1.25,1.25,0.0,2",
            "volume_dice,0.75,0.75,0.75,,1",
            "volume_hd95_mm,inf,inf,inf,,1",
            "volume_jaccard,,,,,0",
        ]

    def test_one_value_has_no_deviation_and_infinity_stays(self):
        raw_data = results.raw_data_table([row(0, dice=1.0, jaccard=math.inf), row(1, dice=None, jaccard=0.0)])
        summary = results.summarise(raw_data).set_index("metric")
        assert summary.loc["dice", "n"] == 1 and math.isnan(summary.loc["dice", "std"])
        assert summary.loc["jaccard", ["min", "max", "avg"]].tolist() == [0.0, math.inf, math.inf]
        assert math.isnan(summary.loc["jaccard", "std"])

    @pytest.mark.parametrize("metric", ["jaccard", "sam_score", "object_score", "process_image_time", "dice_label_12"])
    def test_slice_metrics_are_told_from_volume_metrics(self, metric):
        assert results.is_slice_metric(metric)
        assert not results.is_slice_metric(f"volume_{metric}")
        assert not results.is_slice_metric("false_positive_voxels")


class TestWriteResults:
    def test_files_of_a_run(self, tmp_path):
        written = write_run(
            tmp_path / "results" / "image",
            volume_metrics={"volume_dice": 0.5},
            prompts_json={"prompts": [{"slice": np.int64(4), "score": np.float32(0.5)}]},
            masks_writer=lambda path: np.savez(path, voxels=np.zeros(2)),
            masks_suffix=".npz",
            pictures={"contact_sheet": lambda path: path.write_bytes(b"png")},
            manifest={"model": "tiny", "peak": math.nan, "hd95": math.inf, "shape": (1, 2), "image": tmp_path},
        )
        folder = tmp_path / "results" / "image"
        assert {kind: path.name for kind, path in written.items()} == {
            "raw_data": f"raw_data_{STAMP}.csv",
            "results": f"results_{STAMP}.csv",
            "sam_prompts": f"sam_prompts_{STAMP}.json",
            "masks": f"masks_{STAMP}.npz",
            "contact_sheet": f"contact_sheet_{STAMP}.png",
            "run": f"run_{STAMP}.json",
        }
        assert names(folder) == sorted(path.name for path in written.values())
        assert json.loads(written["sam_prompts"].read_text()) == {"prompts": [{"slice": 4, "score": 0.5}]}
        assert json.loads(written["run"].read_text()) == {
            "timestamp": STAMP,
            "model": "tiny",
            "peak": None,
            "hd95": "inf",
            "shape": [1, 2],
            "image": str(tmp_path),
            "files": {kind: path.name for kind, path in written.items() if kind != "run"},
        }
        assert written["results"].read_text().splitlines()[-1] == "volume_dice,0.5,0.5,0.5,,1"

    def test_without_masks(self, tmp_path):
        assert list(write_run(tmp_path)) == ["raw_data", "results", "sam_prompts", "run"]

    def test_the_manifest_comes_last(self, tmp_path, monkeypatch):
        order = []
        replace = os.replace
        monkeypatch.setattr(os, "replace", lambda source, target: (order.append(target.name), replace(source, target)))
        written = write_run(tmp_path, masks_writer=lambda path: path.write_text("masks"))
        assert order == [path.name for path in written.values()]
        assert order[-1] == f"run_{STAMP}.json"

    def test_a_failure_leaves_nothing(self, tmp_path):
        def fail(path):
            path.write_text("half")
            raise RuntimeError("no masks today")

        with pytest.raises(RuntimeError, match="no masks today"):
            write_run(tmp_path, masks_writer=fail)
        assert names(tmp_path) == []

    def test_nothing_is_overwritten_within_a_second(self, tmp_path):
        stamps = [write_run(tmp_path, stamp="2026-12-31_23-59-59")["run"].stem[4:] for _ in range(3)]
        assert stamps == ["2026-12-31_23-59-59", "2027-01-01_00-00-00", "2027-01-01_00-00-01"]
        assert len(names(tmp_path)) == 12

    def test_a_second_that_another_process_holds_is_left_to_it(self, tmp_path):
        with reserved_stamp(tmp_path, STAMP) as held:
            assert held == STAMP
            assert write_run(tmp_path)["run"].name == "run_2026-11-23_10-20-31.json"
        assert not [name for name in names(tmp_path) if name.startswith(".")]

    def test_the_time_is_now_by_default(self, tmp_path):
        before = timestamp()
        stamp = write_run(tmp_path, stamp=None)["run"].stem[4:]
        assert before <= stamp <= timestamp()

    def test_a_folder_that_is_a_file(self, tmp_path):
        (tmp_path / "results").write_text("")
        with pytest.raises(UserError, match="results: results cannot be written here: File exists"):
            write_run(tmp_path / "results")
        with pytest.raises(UserError, match="image: results cannot be written here: Not a directory"):
            write_run(tmp_path / "results" / "image")


class TestNewestRun:
    def test_none(self, tmp_path):
        assert results.newest_run(tmp_path) is None
        (tmp_path / f"results_{STAMP}.csv").touch()
        (tmp_path / f"joint_raw_data_{STAMP}.csv").touch()
        (tmp_path / f".part-0-raw_data_{STAMP}.csv").touch()
        (tmp_path / f"raw_data_{STAMP}.csv.bak").touch()
        (tmp_path / "raw_data_latest.csv").touch()
        assert results.newest_run(tmp_path) is None

    def test_newest_by_name_not_by_file_time(self, tmp_path):
        older = write_run(tmp_path, stamp="2026-11-23_09-59-59")
        newest = write_run(tmp_path, masks_writer=lambda path: path.write_text("masks"))
        for path in older.values():
            path.touch()
        run = results.newest_run(tmp_path)
        assert run.stamp == STAMP
        kinds = ("raw_data", "results", "sam_prompts", "masks", "run")
        assert {kind: getattr(run, kind) for kind in kinds} == {kind: newest[kind] for kind in kinds}

    def test_no_run_is_earlier_than_one_that_is_there(self, tmp_path):
        """Whatever the clock says, and a time zone to the west; files of nobody's time do not matter."""
        (tmp_path / "raw_data_2026-99-99_10-20-30.csv").touch()
        (tmp_path / "contact_sheet_2026-11-23_18-00-00.png").touch()
        (tmp_path / ".reserved_2026-11-23_19-00-00").touch()
        paths = write_run(tmp_path)
        assert paths["run"].name == "run_2026-11-23_18-00-01.json"

    def test_a_stamp_after_which_there_is_none(self, tmp_path):
        (tmp_path / "raw_data_9999-12-31_23-59-59.csv").touch()
        with pytest.raises(UserError, match="holds files of 9999-12-31_23-59-59, after which no time stamp is left"):
            write_run(tmp_path)

    def test_published_layout(self, tmp_path):
        for stamp in ("2023-05-27_09-06-19", "2023-05-26_23-00-00"):
            (tmp_path / f"raw_data_{stamp}.csv").touch()
            (tmp_path / f"results_{stamp}.csv").touch()
        run = results.newest_run(tmp_path)
        assert run.raw_data.name == "raw_data_2023-05-27_09-06-19.csv"
        assert run.results.name == "results_2023-05-27_09-06-19.csv"
        assert (run.sam_prompts, run.masks, run.run) == (None, None, None)

    def test_files_without_raw_data_are_no_run(self, tmp_path):
        write_run(tmp_path)
        (tmp_path / "results_2027-01-01_00-00-00.csv").touch()
        assert results.newest_run(tmp_path).stamp == STAMP


class TestPartsOfVolumes:
    """Runs of one slice beside those of a whole volume; write_run writes two rows."""

    def stamps(self, folder):
        found = results.list_runs(folder)
        return [one and one["stamp"][-8:] for one in (found.newest, found.latest)], found.failed, found.note

    def write(self, folder, time, count=8, limits=None, truth=None):
        manifest = {"status": "done", "slices": count, "image": {"shape": [9, 9, 8]}, "arguments": {"slices": limits}}
        rows = [{"slice": index, "ground_truth_voxels": truth} for index in range(count)]
        stamp = f"2026-11-23_{time}"
        results.write_results(folder, rows=rows, prompts_json={}, manifest=manifest, stamp=stamp)

    def fail(self, folder, settings):
        results.write_failure(folder, "no such slice", {"made_from": {"settings": settings}})

    def test_one_slice_does_not_take_the_place_of_a_whole_volume(self, tmp_path):
        self.write(tmp_path, "10-00-00")
        self.write(tmp_path, "11-00-00")
        self.write(tmp_path, "12-00-00", count=1)
        note = "the run of 2026-11-23_12-00-00 is of a part (1 of 8 slices); the newest whole one, that of 2026-11-23_"
        assert self.stamps(tmp_path) == (["11-00-00", "12-00-00"], None, f"{note}11-00-00, counts")
        self.write(tmp_path, "13-00-00")
        assert self.stamps(tmp_path) == (["13-00-00", "13-00-00"], None, None)

    def test_only_parts(self, tmp_path):
        self.write(tmp_path, "10-00-00", count=2)
        assert self.stamps(tmp_path) == (["10-00-00", "10-00-00"], None, None)
        self.write(tmp_path, "11-00-00", count=1)
        places, failed, note = self.stamps(tmp_path)
        assert (places, failed) == (["11-00-00", "11-00-00"], None)
        assert note.startswith("only parts of it were ever segmented") and note.endswith("counts: 1 of 8 slices")

    @pytest.mark.parametrize(("truth", "counts"), [(5, "10-00-00"), (0, "11-00-00"), (None, "11-00-00")])
    def test_told_where_the_object_ends(self, tmp_path, truth, counts):
        """A part where ground truth lies beyond; else the whole volume was asked for."""
        self.write(tmp_path, "10-00-00")
        self.write(tmp_path, "11-00-00", limits=[3, 5], truth=truth)
        assert self.stamps(tmp_path)[0] == [counts, "11-00-00"]

    @pytest.mark.parametrize(
        ("settings", "fails"),
        [({"slice": 4}, False), ({"slice": None}, True), ({"slice": 4, "method": "chain"}, True), ({}, True)],
    )
    def test_a_failure_on_one_slice_is_none_of_the_volume(self, tmp_path, settings, fails):
        self.write(tmp_path, "10-00-00")
        self.fail(tmp_path, settings)
        places, failed, _ = self.stamps(tmp_path)
        assert places == ["10-00-00", "10-00-00"] and (failed is not None) is fails

    def test_without_manifests_the_rows_tell(self, tmp_path):
        for stamp, rows in (("2023-05-27_09-06-19", 3), ("2023-05-28_09-06-19", 1)):
            lines = "".join(f"{index},1.0,1.0\n" for index in range(rows))
            (tmp_path / f"raw_data_{stamp}.csv").write_text(f"slice,jaccard,dice\n{lines}")
        assert results.newest_run(tmp_path).stamp == "2023-05-27_09-06-19"
        assert "(1 of 3 slices)" in self.stamps(tmp_path)[2]


def test_environment_manifest():
    manifest = results.environment_manifest()
    assert manifest["versions"]["numpy"] == np.__version__
    assert manifest["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert manifest["platform"] and manifest["cpu_count"] >= 1
    assert manifest["peak_memory_mb"] > 10
    assert manifest["git_commit"] is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", manifest["git_commit"])
    json.dumps(manifest)


def test_environment_manifest_imports_no_package():
    code = "import sys; from pose import results; results.environment_manifest(); print(*sys.modules)"
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=REPOSITORY_FOLDER, capture_output=True, text=True, check=True)
    assert "pose.results" in run.stdout.split()
    assert not {"torch", "pandas", "sam2", "matplotlib", "nibabel"} & set(run.stdout.split())
