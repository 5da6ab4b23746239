"""comparison/resolution_table.py: every n-th slice, every size and crop, one table."""

from __future__ import annotations

import re

import numpy as np
import pytest

from comparison import resolution_table
from pose import cli, segmenters
from pose.scans.volume import Volume
from pose.segmenters import models
from tests.cases import DarkInBox, write_two_blocks
from tests.networks import TINY


def test_every_nth_slice_keeps_the_place_of_its_voxels():
    affine = np.array([[1.0, 0, 0, 5], [0, 2, 0, 6], [0, 1, 3, 7], [0, 0, 0, 1]])
    thin = resolution_table.every_nth(Volume(np.arange(2 * 3 * 7).reshape(2, 3, 7), affine, (1.0, 2.0, 3.0)), 3)
    assert thin.voxels[0, 0].tolist() == [0, 3, 6] and thin.spacing_mm == (1.0, 2.0, 9.0)
    np.testing.assert_array_equal(thin.affine @ (1, 1, 2, 1), affine @ (1, 1, 6, 1))
    unknown = resolution_table.every_nth(Volume(np.zeros((2, 3, 7))), 2)
    assert unknown.voxels.shape == (2, 3, 4) and unknown.affine is None and unknown.spacing_mm is None


def test_a_line_for_each_size_and_crop_of_each_scan(tmp_path, monkeypatch, capsys):
    sizes = []
    monkeypatch.setattr(models, "find_model", lambda *_: TINY)
    monkeypatch.setattr(
        segmenters, "build_slice_segmenter", lambda spec, *_: (sizes.append(spec.image_size), DarkInBox())[1]
    )
    (first, first_masks), (second, second_masks) = (write_two_blocks(tmp_path, name) for name in ("a", "b"))
    assert (
        resolution_table.main(
            [
                "-i",
                str(first),
                str(second),
                "-m",
                str(first_masks),
                str(second_masks),
                "--swap_axes",
                "--window",
                "lung",
                "--slice_step",
                "2",
                "--image_sizes",
                "64",
                "96",
                "--checkpoint_file_path",
                str(first),
                "-r",
                str(tmp_path / "r"),
            ]
        )
        == 0
    )
    assert sizes == [64, 64, 96, 96]
    table = capsys.readouterr().out.split("\n| scan")[1].splitlines()[2:]
    assert [re.sub(r"\d\.\d\d \|", "s |", row.replace("1.000", "1")) for row in table] == [
        f"| {name} | {size} | {crop} | 1 | 1 | 1 | s | 100 % |"
        for name in ("a", "b", "mean of 2")
        for size in (64, 96)
        for crop in ("none", "body")
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-i", "a", "-m", "a", "b"], "--masks_file_path: 2 files for 1 images"),
        (["-i", "a", "-m", "a", "--slice_step", "0"], "--slice_step 0: must be at least 1"),
        (["-i", "a.npz", "-m", "a.npz", "--image_sizes", "500"], "--image_size 500: not a multiple of 32"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_2(tmp_path, capsys, arguments, message):
    assert cli.run_main(resolution_table.main, [*arguments, "-r", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")
