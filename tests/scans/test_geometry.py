"""pose/scans/geometry.py: what of two geometries differs, in words, and when a mask passes all the same."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from pose.cli import UserError
from pose.scans.geometry import check_same_grid, differences, is_geometry, spacing_of
from pose.scans.volume import Volume

CT = np.array([[-0.7, 0, 0, 150], [0, -0.7, 0, 160.5], [0, 0, 3, -40], [0, 0, 0, 1]])


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
            "m.nii.gz: shape 4 x 4 x 3 differs from 4 x 4 x 2 of ct.nii.gz; give the mask",
        ),
        (volume(None, (4, 3, 2), name="m"), "m.nii.gz: shape 4 x 3 x 2 differs from"),
        (
            volume(CT, swap_axes=True, name="m"),
            "m.nii.gz: was made with --swap_axes, ct.nii.gz without it; convert one",
        ),
        (
            volume(changed(at22=2.0, at03=1.0), name="m"),
            "m.nii.gz: spacing 0.7 x 0.7 x 2 mm differs from 0.7 x 0.7 x 3 mm of ct.nii.gz, origin (1, 160.5, -40) mm "
            "from (150, 160.5, -40) mm; resample the mask",
        ),
    ],
)
def test_what_is_refused_whatever_the_user_allows(mask: Volume, message: str) -> None:
    for allow in (False, True):
        with pytest.raises(UserError) as caught:
            check_same_grid(mask.grid, volume(CT).grid, allow)
        assert str(caught.value).startswith(message)


@pytest.mark.parametrize("affine", [turned(90), changed(at03=0.0), turned(90) + changed(at03=151.0) - CT])
def test_another_orientation_or_origin_passes_only_where_it_is_allowed(
    affine: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UserError, match="--allow_geometry_mismatch takes the mask voxel by voxel as it lies") as caught:
        check_same_grid(volume(affine, name="m").grid, volume(CT).grid)
    with caplog.at_level(logging.WARNING):
        check_same_grid(volume(affine, name="m").grid, volume(CT).grid, allow_mismatch=True)
    (record,) = caplog.records
    assert record.getMessage().split(";")[0] == str(caught.value).split(";")[0]


def test_what_is_unknown_is_not_compared(caplog: pytest.LogCaptureFixture) -> None:
    check_same_grid(volume(None).grid, volume(CT).grid)
    check_same_grid(volume(CT).grid, volume(None).grid)
    check_same_grid(volume(CT).grid, volume(CT).grid)
    assert caplog.records == []
