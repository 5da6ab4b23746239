"""The table of the README: what viewers call a voxel, as rows, columns and slices of this project and back."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

import process_video
from pose.prompts.in_space import prompts_of_marks
from pose.prompts.typed import typed_points
from pose.scans.volume import Volume, read_volume
from tests.cases import AFFINE, SHAPE_XYZ, write_nifti, write_two_blocks
from tests.header_kinds import SimpleITK

SAGITTAL = np.array([[0, 0, 3.0, -10], [-1.5, 0, 0, 40.0], [0, -2.0, 0, 60.0], [0, 0, 0, 1]])


@pytest.fixture(params=[AFFINE, SAGITTAL], ids=["axial", "sagittal"])
def path(request, tmp_path: Path) -> Path:
    """A scan of which each voxel has a value of its own, so that a viewer's value tells which one it is."""
    voxels = np.arange(np.prod(SHAPE_XYZ), dtype=np.int16).reshape(SHAPE_XYZ)
    return write_nifti(tmp_path / "scan.nii.gz", voxels, request.param)


def scan_of(path: Path) -> Volume:
    return read_volume(path, swap_axes=None, slice_axis=None)


PLACES = [(0, 0, 0), (29, 39, 6), (11, 7, 5)]  # row, column, slice


@pytest.mark.parametrize("place", PLACES)
def test_itk_snap_counts_columns_rows_and_slices_from_one(path: Path, place: tuple[int, int, int]) -> None:
    row, column, slice_index = place
    cursor = column + 1, row + 1, slice_index + 1
    # ITK-SNAP shows the indices of ITK, one more each
    image = SimpleITK.ReadImage(str(path))
    assert image.GetPixel(*(one - 1 for one in cursor)) == scan_of(path).voxels[row, column, slice_index]


@pytest.mark.parametrize("place", PLACES)
def test_3d_slicer_shows_ras_millimetres(path: Path, place: tuple[int, int, int]) -> None:
    row, column, slice_index = place
    scan = scan_of(path)
    x, y, z = SimpleITK.ReadImage(str(path)).TransformIndexToPhysicalPoint((column, row, slice_index))
    for point, space in (((-x, -y, z), "RAS"), ((x, y, z), "LPS")):
        [prompt] = prompts_of_marks([typed_points([point], space)], scan, "--point_mm")
        assert (*prompt.positive_points[0], prompt.slice) == place
        # and back
        assert scan.array_affine is not None
        back = (scan.array_affine @ [*place, 1])[:3] * ([1, 1, 1] if space == "RAS" else [-1, -1, 1])
        np.testing.assert_allclose(back, point, atol=1e-4)


@pytest.mark.parametrize("place", PLACES)
def test_fsleyes_counts_columns_rows_and_slices_from_zero(path: Path, place: tuple[int, int, int]) -> None:
    row, column, slice_index = place
    # FSLeyes shows the indices of nibabel
    stored = np.asarray(nibabel.load(path).dataobj)
    assert stored[column, row, slice_index] == scan_of(path).voxels[place]


@pytest.mark.parametrize("place", PLACES)
def test_napari_counts_slices_rows_and_columns_from_zero(path: Path, place: tuple[int, int, int]) -> None:
    row, column, slice_index = place
    # napari shows the indices of the array that its reader hands it: z first, as of ITK's
    layer = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    assert layer[slice_index, row, column] == scan_of(path).voxels[place]
    # and those of a layer that was made from a scan here, as they are
    assert np.asarray(scan_of(path).voxels)[row, column, slice_index] == layer[slice_index, row, column]


def test_a_point_in_millimetres_is_the_prompt_of_a_run(tmp_path: Path) -> None:
    scan, _ = write_two_blocks(tmp_path)
    x, y, z = (AFFINE @ [9, 12, 4, 1])[:3].tolist()
    for space, point in (("RAS", (x, y, z)), ("LPS", (-x, -y, z))):
        results = tmp_path / space
        words = ["-i", str(scan), "--method", "region_growing", "-r", str(results), "--space", space, "--point_mm"]
        assert process_video.main([*words, *map(str, point)]) == 0
        [saved] = results.glob("case/sam_prompts_*.json")
        assert json.loads(saved.read_text())["prompts"] == [
            {"slice": 4, "object_id": 1, "points": [{"row": 12, "column": 9, "label": 1}]}
        ]
