"""pose/scans/geometry.py: what of two geometries differs, in words, when a mask passes all the same, and what is turned
to lie on a scan.
"""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

import nibabel
import numpy as np
import pytest

from pose.cli import UserError
from pose.scans.geometry import (
    Reorientation,
    differences,
    fit,
    is_geometry,
    is_sheared,
    plane_of,
    rows_first,
    slice_axis_of,
    spacing_of,
)
from pose.scans.volume import Volume

CT = np.array([[-0.7, 0, 0, 150], [0, -0.7, 0, 160.5], [0, 0, 3, -40], [0, 0, 0, 1]])
TILTED = np.array([[-0.7, 0, 0, 150], [0, -0.7, 1.1, 160.5], [0, 0, 3, -40], [0, 0, 0, 1]])


def changed(**entries: float) -> np.ndarray:
    """The affine of the CT with entries such as ``at03`` (row 0, column 3) replaced."""
    affine = CT.copy()
    for name, value in entries.items():
        affine[int(name[2]), int(name[3])] = value
    return affine


def turned(degrees: float) -> np.ndarray:
    """The affine of the CT, turned about z: the same spacing and origin, another orientation."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine = CT.copy()
    affine[:3, :3] = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]) @ CT[:3, :3]
    return affine


def volume(
    affine: np.ndarray | None, shape: tuple[int, int, int] = (4, 4, 2), swap_axes: bool = False, name: str = "ct"
) -> Volume:
    return Volume(np.zeros(shape, np.uint8), affine, swap_axes=swap_axes, path=Path(f"{name}.nii.gz"))


@pytest.mark.parametrize(
    ("affine", "expected"),
    [
        (CT, []),
        (changed(at03=150.0009, at22=3.0009), []),
        (changed(at03=150.002), [("origin", "(150.002, 160.5, -40) mm", "(150, 160.5, -40) mm")]),
        (changed(at22=2.5), [("spacing", "0.7 x 0.7 x 2.5 mm", "0.7 x 0.7 x 3 mm")]),
        (changed(at00=0.7), [("orientation", "RPS [1 0 0; 0 -1 0; 0 0 1]", "LPS [-1 0 0; 0 -1 0; 0 0 1]")]),
        (turned(0.05), []),
        (turned(30), [("orientation", "LPS [-0.866 0.5 0; -0.5 -0.866 0; 0 0 1]", "LPS [-1 0 0; 0 -1 0; 0 0 1]")]),
        (
            changed(at22=-2.0, at23=20.0),
            [
                ("spacing", "0.7 x 0.7 x 2 mm", "0.7 x 0.7 x 3 mm"),
                ("orientation", "LPI [-1 0 0; 0 -1 0; 0 0 -1]", "LPS [-1 0 0; 0 -1 0; 0 0 1]"),
                ("origin", "(150, 160.5, 20) mm", "(150, 160.5, -40) mm"),
            ],
        ),
    ],
)
def test_what_differs(affine: np.ndarray, expected: list[tuple[str, str, str]]) -> None:
    assert [tuple(difference) for difference in differences(affine, CT)] == expected


@pytest.mark.parametrize(
    ("affine", "expected"),
    [
        (CT, True),
        (turned(45), True),
        (changed(at00=np.nan), False),
        (changed(at03=np.inf), False),
        (changed(at11=0.0), False),
        (changed(at01=-0.7, at11=0.0), False),
        (np.ones((4, 4)), False),
        (np.diag([1e-4, 1e-4, 1e-4, 1]), True),
    ],
)
def test_affines_that_are_a_geometry(affine: np.ndarray, expected: bool) -> None:
    assert is_geometry(affine) is expected


def test_spacing() -> None:
    np.testing.assert_allclose(spacing_of(turned(30)), (0.7, 0.7, 3.0), rtol=1e-12)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (
            volume(CT, (4, 4, 3), name="m"),
            "m.nii.gz: shape 4 x 4 x 3 differs from 4 x 4 x 2 of ct.nii.gz; give the mask that was drawn on this "
            "scan, or resample it onto",
        ),
        (volume(None, (4, 3, 2), name="m"), "m.nii.gz: shape 4 x 3 x 2 differs from 4 x 4 x 2 of ct.nii.gz; give the"),
        (volume(None, (4, 2, 4), name="m"), "m.nii.gz: shape 4 x 2 x 4 differs from 4 x 4 x 2 of ct.nii.gz; an array"),
        (
            volume(changed(at22=2.0, at03=1.0), name="m"),
            "m.nii.gz: spacing 0.7 x 0.7 x 2 mm differs from 0.7 x 0.7 x 3 mm of ct.nii.gz, origin (1, 160.5, -40) mm "
            "from (150, 160.5, -40) mm; resample it",
        ),
    ],
)
def test_what_is_refused_whatever_the_user_allows(mask: Volume, message: str) -> None:
    for allow in (False, True):
        with pytest.raises(UserError) as caught:
            fit(mask.grid, volume(CT).grid, allow)
        assert str(caught.value).startswith(message)


@pytest.mark.parametrize("affine", [turned(30), changed(at03=0.0), turned(90) + changed(at03=151.0) - CT])
def test_another_orientation_or_origin_passes_only_where_it_is_allowed(
    affine: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UserError, match="--allow_geometry_mismatch takes the mask voxel by voxel as it lies") as caught:
        fit(volume(affine, name="m").grid, volume(CT).grid)
    with caplog.at_level(logging.WARNING):
        turn = fit(volume(affine, name="m").grid, volume(CT).grid, allow_mismatch=True)
    assert turn == Reorientation()
    (record,) = caplog.records
    assert record.getMessage().split(";")[0] == str(caught.value).split(";")[0]


def test_what_is_unknown_is_not_compared(caplog: pytest.LogCaptureFixture) -> None:
    assert fit(volume(None).grid, volume(CT).grid) == Reorientation()
    assert fit(volume(CT).grid, volume(None).grid) == Reorientation()
    assert fit(volume(CT).grid, volume(CT).grid) == Reorientation()
    assert caplog.records == []


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product((False, True), repeat=3)))
@pytest.mark.parametrize("affine", [CT, turned(17), TILTED])
def test_a_grid_of_other_axes_is_turned_voxel_by_voxel(
    axes: tuple[int, ...], flips: tuple[bool, ...], affine: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    """Against nibabel's own reorientation, of all 48 ways that axes can lie."""
    voxels = np.arange(3 * 4 * 5).reshape(3, 4, 5)
    directions = np.array([[axis, -1 if flip else 1] for axis, flip in zip(axes, flips)])
    other = nibabel.Nifti1Image(voxels.astype(np.int16), affine).as_reoriented(directions)
    mask = Volume(np.asarray(other.dataobj), other.affine, path=Path("m.nii.gz"))
    with caplog.at_level(logging.INFO):
        turn = fit(mask.grid, volume(affine, (3, 4, 5)).grid)
    np.testing.assert_array_equal(turn.apply(mask.voxels), voxels)
    np.testing.assert_allclose(turn.affine(mask.affine, mask.voxels.shape), affine, atol=1e-9)
    same = axes == (0, 1, 2) and not any(flips)
    assert ["reoriented voxel by voxel" in record.getMessage() for record in caplog.records] == [True] * (not same)


def test_a_turned_grid_elsewhere_is_refused() -> None:
    flipped = changed(at00=0.7, at03=150 - 3 * 0.7)
    assert fit(volume(flipped).grid, volume(CT).grid).flips == (True, False, False)
    flipped[0, 3] += 0.7
    with pytest.raises(UserError, match=r"orientation RPS .*, origin .*; resample it onto the voxels"):
        fit(volume(flipped).grid, volume(CT).grid)


@pytest.mark.parametrize(("affine", "sheared"), [(CT, False), (turned(30), False), (TILTED, True)])
def test_sheared(affine: np.ndarray, sheared: bool) -> None:
    assert is_sheared(affine) is sheared


@pytest.mark.parametrize(
    ("columns", "shape", "slice_axis", "plane", "swap"),
    [
        ("RAS 0.7 0.7 3", (512, 512, 90), 2, "axial", True),
        ("LPS 0.7 0.7 3", (512, 512, 90), 2, "axial", True),
        ("PLS 0.7 0.7 3", (512, 512, 90), 2, "axial", False),
        ("RAS 1 1 1", (181, 217, 181), 2, "axial", True),
        ("RAS 5 0.5 0.5", (20, 400, 400), 0, "sagittal", True),
        ("RSA 5 0.5 0.5", (20, 400, 400), 0, "sagittal", False),
        ("RAS 0.9 3.3 0.9", (256, 40, 256), 1, "coronal", True),
        ("PSR 1 1 1.2", (256, 256, 160), 2, "sagittal", True),
        ("ASR 0.5 0.5 4", (256, 256, 20), 2, "sagittal", True),
        ("SAR 0.5 0.5 4", (256, 256, 20), 2, "sagittal", False),
        ("LIA 1 1 1", (256, 256, 256), 2, "coronal", True),
        ("RAS 1.2 1 1", (160, 256, 256), 2, "axial", True),
        ("RAS 1 1 8", (1, 256, 256), 0, "sagittal", True),
        ("RAS 8 1 1", (400, 400, 1), 2, "axial", True),
    ],
)
def test_slices_and_rows_of_scans(
    columns: str, shape: tuple[int, int, int], slice_axis: int, plane: str, swap: bool
) -> None:
    codes, *spacing = columns.split()
    affine = np.zeros((4, 4))
    for axis, (code, distance) in enumerate(zip(codes, spacing)):
        world = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}[code]
        affine[world, axis] = float(distance) * (1 if code in "RAS" else -1)
    assert slice_axis_of(affine, shape) == slice_axis
    assert plane_of(affine, slice_axis) == plane
    assert rows_first(affine, slice_axis) is swap
