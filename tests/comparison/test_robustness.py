"""comparison/robustness.py: what each change does to a scan, its truth and its box, and what the table says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import pose
from comparison import robustness
from comparison.accuracy_census import Task
from pose import segmenters
from pose.scans.volume import Volume
from pose.segmenters import loading
from tests.cases import DarkInBox, write_two_blocks

COARSE = "{name: lungs, image: ct_lung_small/ct64.nii.gz, masks: ct_lung_small/ct64_lungs.nii.gz, window: lung}"


@pytest.fixture
def task() -> Task:
    """A body of 40 HU in air, 40 x 60 x 3, with an object of 8 x 10 at row 16, column 24."""
    voxels = np.full((40, 60, 3), -1000, np.int16)
    voxels[8:32, 12:48] = 40
    voxels[3, 57] = -950  # what is a little brighter lies in the upper right corner
    truth = np.zeros(voxels.shape, bool)
    truth[16:24, 24:34] = True
    voxels[truth] = 400
    voxels.flags.writeable = False
    return Task(Volume(voxels), truth, pose.Prompt(1, box=(16, 24, 23, 33)), None)


def of_box(changed: Task) -> np.ndarray:
    top, left, bottom, right = changed.box.box
    return changed.truth[top : bottom + 1, left : right + 1, 1]


def test_padding(task):
    changed = robustness.padded(task)
    voxels = changed.scan.voxels
    assert voxels[0, 0, 0] == voxels[39, 59, 2] == -3024 and voxels[1, 30, 0] == -1000 and voxels.dtype == np.int16
    assert (voxels == -3024).mean() == pytest.approx(1 - np.pi / 4, abs=0.06)
    truth = np.zeros_like(task.truth)
    truth[1:4, 1:4] = True
    kept = robustness.padded(Task(task.scan, truth, task.box, None)).scan.voxels
    assert (kept[1:4, 1:4] == -1000).all() and kept[5, 5, 0] == -1000 and kept[39, 0, 0] == -3024


def test_padding_in_other_units(task):
    unsigned = Task(Volume((task.scan.voxels + 1000).astype(np.uint16)), task.truth, task.box, None)
    assert robustness.padded(unsigned).scan.voxels[0, 0, 0] == 0
    assert robustness.framed(unsigned).scan.voxels[0, 0, 0] == 0


def test_a_rod_in_the_darkest_corner_that_is_free(task):
    voxels = robustness.with_rod(task).scan.voxels
    assert np.argwhere((voxels != task.scan.voxels)[:, :, 0]).tolist() == [[r, c] for r in (1, 2, 3) for c in (1, 2, 3)]
    assert (voxels[1:4, 1:4] == 400).all()
    truth = task.truth.copy()
    truth[2, 2, 0] = truth[37, 2, 0] = True
    voxels = robustness.with_rod(Task(task.scan, truth, task.box, None)).scan.voxels
    assert (voxels[36:39, 56:59] == 400).all()
    truth[2, 57, 0] = truth[37, 57, 0] = True
    assert robustness.with_rod(Task(task.scan, truth, task.box, None)) is None


def test_the_object_stays_in_its_box_where_the_frame_changes(task):
    small = robustness.cropped(task)
    assert small.scan.voxels.shape == small.truth.shape == (36, 54, 3) and small.box.box == (14, 21, 21, 30)
    large = robustness.framed(task)
    assert large.scan.voxels.shape == large.truth.shape == (44, 66, 3) and large.box.box == (18, 27, 25, 36)
    assert (large.scan.voxels[:2] == -1000).all()
    for changed in (small, large):
        assert of_box(changed).all() and changed.truth.sum() == task.truth.sum()


def test_a_crop_leaves_two_pixels_round_the_object(task):
    truth = task.truth.copy()
    truth[3, 1, 0] = True  # two rows from where the crop would begin, and one column from the rim
    small = robustness.cropped(Task(task.scan, truth, task.box, None))
    assert small.truth.shape == (37, 57, 3) and small.truth[2, 1, 0] and small.box.box == (15, 24, 22, 33)


def test_boxes_are_shifted_as_far_as_the_frame_goes(task):
    assert robustness.CHANGES["shift_3"](task).box.box == (19, 21, 26, 30)
    at_rim = Task(task.scan, task.truth, pose.Prompt(1, box=(30, 1, 38, 9)), None)
    assert robustness.CHANGES["shift_3"](at_rim).box.box == (31, 0, 39, 8)


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(segmenters, "build_slice_segmenter", lambda *_: DarkInBox())
    monkeypatch.setattr(loading, "kinds_of", lambda spec: DarkInBox.prompt_kinds)
    write_two_blocks(tmp_path)
    path = tmp_path / "census.yaml"
    path.write_text("objects: [{name: one, image: case.nii.gz, masks: case_mask.nii.gz, labels: 1, window: lung}]")
    words = [str(path), "--data_folder_path", str(tmp_path), "--methods", "chain"]
    assert robustness.main([*words, "-o", str(tmp_path / "out")]) == 0
    table = pd.read_csv(tmp_path / "out" / "robustness.csv")
    assert table.columns.tolist() == ["name", "method", "volume_dice", *robustness.CHANGES]
    assert table["volume_dice"].tolist() == [1] and table["frame"].tolist() == [0]
    assert table["shift_3"][0] < table["shift_1"][0] <= 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0] == "| object | method | volume Dice | padding | bright | crop | frame | shift_1 | shift_2 | shift_3 |"
    )
    assert lines[2].startswith("| one | chain | 1.000 | ")
    lost = -table["shift_3"][0]
    assert f"of 7 lose 0.1 or more; most: {lost:.3f} (one, chain, shift_3)" in lines[4]
    assert robustness.main([*words, "--changes", "crop", "frame", "-o", str(tmp_path / "two")]) == 0
    assert pd.read_csv(tmp_path / "two" / "robustness.csv").columns.tolist()[3:] == ["crop", "frame"]


def test_no_room_for_a_change():
    table = pd.DataFrame([{"name": "a", "method": "chain", "volume_dice": 0.5, "bright": np.nan}])
    assert robustness.worst_of(table, ["bright"]) == "no object has room for the changes"
    assert robustness.as_markdown(table, ["bright"]).splitlines()[2] == "| a | chain | 0.500 |  |"


@pytest.mark.slow
def test_padding_moves_next_to_nothing_on_a_real_chest(few_slices, tmp_path):
    path = tmp_path / "census.yaml"
    path.write_text(f"objects: [{COARSE}]")
    words = [str(path), "--data_folder_path", str(few_slices), "--methods", "chain device=cpu", "region_growing"]
    assert robustness.main([*words, "--changes", "padding", "-o", str(tmp_path)]) == 0
    table = pd.read_csv(tmp_path / "robustness.csv")
    assert (table["volume_dice"] > 0.85).all()
    assert table["padding"].abs().max() < 0.01
