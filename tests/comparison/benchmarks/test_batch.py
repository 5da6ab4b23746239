"""The benchmarks of whole volumes: what follows from their runs, and small runs of the real scripts."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product

import numpy as np
import pytest

from comparison.benchmarks import batch as benchmark_batch
from comparison.benchmarks import measured_script, profile_volume, random_weights
from comparison.benchmarks.batch import Cost, Run
from pose import cli
from pose.segmenters import Prediction, SlicePredictions
from tests.cases import write_nifti, write_two_blocks


def a_run(workers: int, each: int, seconds: float, **others) -> Run:
    memory = {"peak_mb": 100.0, "gpu_tensors_mb": None, "gpu_card_mb": None}
    return Run(workers, each, seconds, **{"cpu_seconds": 2 * seconds, "result_mb": 1.5, **memory, **others})


def test_start_and_volume_are_the_line_through_both_runs():
    assert benchmark_batch.fit(12.0, 26.0, 3) == Cost(start=5.0, volume=7.0)
    assert benchmark_batch.volumes_per_hour(2, 10.0) == 720.0


def test_each_turn_is_compared_with_the_first_number_of_workers_in_the_same_turn():
    # start 5 s; a volume takes 10 and 20 s alone, 12 and 30 s with two at once
    runs = [
        *(a_run(1, 1, 15.0), a_run(1, 3, 35.0), a_run(2, 1, 17.0), a_run(2, 3, 41.0)),
        *(a_run(2, 3, 95.0), a_run(2, 1, 35.0), a_run(1, 3, 65.0), a_run(1, 1, 25.0)),
    ]
    table = benchmark_batch.summarise(runs, [1, 2], 3)
    assert table[1] == {
        "start": [5.0, 5.0],
        "volume": [10.0, 20.0],
        "cpu_volume": [20.0, 40.0],
        "per_hour": [360.0, 180.0],
        "ratio": [1.0, 1.0],
    }
    assert table[2]["volume"] == [12.0, 30.0] and table[2]["per_hour"] == [600.0, 240.0]
    assert table[2]["ratio"] == pytest.approx([600 / 360, 240 / 180])
    # two processes did two volumes in that time
    assert table[2]["cpu_volume"] == [12.0, 30.0]


def test_a_row_for_each_number_of_workers():
    runs = [a_run(1, 1, 15.0), a_run(1, 3, 35.0, gpu_tensors_mb=700.2, gpu_card_mb=1600.0, peak_mb=250.0)]
    (row,) = benchmark_batch.table_rows("tiny", runs, benchmark_batch.summarise(runs, [1], 3), slices=20)
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "tiny",
        "1",
        "5.0 (5.0 to 5.0)",
        "10.0 (10.0 to 10.0)",
        "2.0 (2.0 to 2.0)",
        "20.0 (20.0 to 20.0)",
        "360 (360 to 360)",
        "1.00 (1.00 to 1.00)",
        "250",
        "700 / 1600",
        "1.5",
    ]
    assert len(benchmark_batch.HEADINGS) == 11


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--volumes", "1"], "--volumes 1"),
        (["--workers", "2", "2"], "--workers 2 2"),
        (["--models", "region_growing@512"], "--models region_growing@512"),
        (["--models", "region_growing", "--script", "process_image"], "--models region_growing"),
        (["--models", "tiny@many"], "--models tiny@many: 'many'"),
        (["--models", "lite_medsam@512"], "--image_size 512"),
        (["--models", "region_growing", "-i", "scan.nii.gz"], "give both or neither"),
    ],
)
def test_mistakes(words, said, capsys):
    assert cli.run_main(benchmark_batch.main, words) == 2
    assert said in capsys.readouterr().err


def test_model_words(tmp_path, monkeypatch):
    parse = benchmark_batch.make_parser().parse_args
    given = benchmark_batch.model_words("lite_medsam", parse(["--device", "cpu"]), tmp_path)
    assert given == ["--model", "lite_medsam", "--device", "cpu", "--precision", "auto"]
    made = []
    monkeypatch.setattr(random_weights, "make_weights", lambda path, spec: made.append(spec.image_size) or path)
    given = benchmark_batch.model_words("2.1_tiny@512", parse(["--random_weights"]), tmp_path)
    assert given[-4:] == ["--image_size", "512", "--checkpoint_file_path", str(tmp_path / "random_2.1_tiny.pt")]
    assert made == [512]


def test_copies_are_files_of_their_own(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"scan")
    paths = benchmark_batch.copies(tmp_path / "a.nii.gz", tmp_path / "copies", 2)
    assert [path.name for path in paths] == ["volume_000.nii.gz", "volume_001.nii.gz"]
    assert [path.read_bytes() for path in paths] == [b"scan"] * 2 and not any(path.is_symlink() for path in paths)


def test_both_numbers_of_workers_on_a_small_volume(tmp_path, capsys):
    words = ["--size", "48", "--slices", "6", "--models", "region_growing", "--workers", "1", "2", "--volumes", "2"]
    words += ["--turns", "1", "--device", "cpu", "--folder", str(tmp_path), "--json", str(tmp_path / "record.json")]
    assert benchmark_batch.main(words) == 0
    record = json.loads((tmp_path / "record.json").read_text())
    runs = record["runs"]["region_growing"]
    assert [(run["workers"], run["volumes_each"]) for run in runs] == list(product([1, 2], [1, 2]))
    assert all(run["seconds"] > 0 and run["cpu_seconds"] > 0 and run["peak_mb"] > 50 for run in runs)
    assert all(run["gpu_card_mb"] is None and 0.01 < run["result_mb"] < 2 for run in runs)
    assert record["shape"] == [48, 48, 6] and list(tmp_path.iterdir()) == [tmp_path / "record.json"]
    out = capsys.readouterr().out
    assert "48 x 48 x 6 voxels" in out and out.count("| region_growing | ") == 2


def test_a_script_that_fails_is_told(tmp_path):
    commands = [[str(benchmark_batch.PROJECT_ROOT / "process_video.py"), "-i", "missing.nii.gz"]]
    with pytest.raises(RuntimeError, match="exit code 2"):
        benchmark_batch.run_at_once(commands, 1, tmp_path / "results", true_masks=False)


def test_true_masks_stand_for_those_that_were_found():
    truth = np.zeros((4, 5, 2), np.uint8)
    truth[:2, :, 1], truth[3, :, 1] = 1, 2
    everywhere = np.ones((4, 5), bool)
    found = SlicePredictions(1, {1: Prediction(everywhere, 0.5), 2: Prediction(everywhere)}, 0.1, 0.2)
    (one,) = measured_script.with_true_masks([found], truth)
    np.testing.assert_array_equal(one.objects[1].mask, truth[:, :, 1] == 1)
    np.testing.assert_array_equal(one.objects[2].mask, truth[:, :, 1] == 2)
    assert (one.slice, one.objects[1].score, one.predict_image_time) == (1, 0.5, 0.2)


@pytest.mark.parametrize("true_masks", [True, False])
def test_a_measured_script_writes_the_masks_asked_for(tmp_path, true_masks):
    image, masks = write_two_blocks(tmp_path)
    import nibabel

    grown = np.asanyarray(nibabel.load(masks).dataobj).copy()
    grown[0:2, 0:2, 2:6] = 2  # a part of the truth that no grey level shows
    write_nifti(masks, grown)
    command = [sys.executable, measured_script.__file__, *(["--true_masks"] if true_masks else [])]
    command += [tmp_path / "gpu.json", benchmark_batch.PROJECT_ROOT / "process_video.py", "-i", image, "-m", masks]
    command += ["-w", "-b", "--objects", "per_label", "--method", "region_growing", "-r", tmp_path]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    (written,) = tmp_path.glob("case/masks_*.nii.gz")
    same = np.array_equal(np.asanyarray(nibabel.load(written).dataobj), grown)
    assert same is true_masks
    assert json.loads((tmp_path / "gpu.json").read_text()) is None


def test_stages_and_the_rest_add_up_to_the_volume():
    names = [*profile_volume.STAGES, profile_volume.NETWORK]
    stages = {name: [1.0, 0.5] for name in names}
    volumes = [{**stages, profile_volume.WHOLE: [10.0 + extra, 12.0]} for extra in (0, 2, 4)]
    rows = {name: (wall, share, cpu) for name, wall, share, cpu in profile_volume.stage_table(volumes)}
    assert rows[profile_volume.WHOLE] == (12.0, 1.0, 12.0) and rows[profile_volume.NETWORK] == (1.0, 1 / 12, 0.5)
    assert rows[profile_volume.REST][:2] == (12.0 - len(names), (12.0 - len(names)) / 12)
    inner = rows[next(iter(profile_volume.INNER_STAGES))]
    assert inner == (0.0, 0.0, 0.0)


def test_a_small_volume_is_told_stage_by_stage(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(profile_volume, "FIRST_SEEN", 1)
    monkeypatch.setattr(profile_volume, "LAST_SEEN", 3)
    words = ["--size", "48", "--slices", "6", "--model", "region_growing", "--volumes", "1", "--device", "cpu"]
    words += ["--top", "3", "--folder", str(tmp_path), "--json", str(tmp_path / "stages.json")]
    assert profile_volume.main(words) == 0
    volumes = json.loads((tmp_path / "stages.json").read_text())
    assert len(volumes) == 3
    every = {*profile_volume.STAGES, *profile_volume.INNER_STAGES, profile_volume.NETWORK, profile_volume.WHOLE}
    for volume in volumes:
        assert set(volume) == every and all(wall > 0 for wall, _ in volume.values())
        on_main = sum(volume[stage][0] for stage in (*profile_volume.STAGES, profile_volume.NETWORK))
        assert on_main <= volume[profile_volume.WHOLE][0]
    out = capsys.readouterr().out
    assert "| whole volume | " in out and "Ordered by: internal time" in out and "raw_data" not in out


def test_top_needs_slices_to_look_at(capsys):
    assert cli.run_main(profile_volume.main, ["--slices", "12", "--top", "5"]) == 2
    assert "--slices 12" in capsys.readouterr().err
