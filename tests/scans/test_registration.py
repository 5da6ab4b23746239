"""Registration: the upright grid, and phantoms laid on each other by a map that is known."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from scipy import ndimage

from pose.scans.phantom import chest_ct
from pose.scans.registration import (
    STEP_MM,
    AmbiguousTurnError,
    Upright,
    averaged,
    body_of,
    register,
    to_upright,
    upright,
)

CLIP = (-1000.0, 300.0)


def levels(voxels: np.ndarray) -> Callable[[int], np.ndarray]:
    low, high = CLIP
    return lambda index: (np.clip(voxels[:, :, index].astype(float), low, high) - low) * 255 / (high - low)


def grid_of(voxels: np.ndarray, affine: np.ndarray | None, spacing_mm: tuple[float, ...] | None = None) -> Upright:
    voxel_to_mm = to_upright(affine, voxels.shape, spacing_mm)
    return upright(levels(voxels), voxels.shape, voxel_to_mm, known=affine is not None)


@pytest.fixture(scope="module")
def chest() -> tuple[np.ndarray, np.ndarray]:
    """A phantom of 8.5 mm slices, and its affine from (row, column, slice)."""
    volume, _ = chest_ct((96, 96, 32), 3)
    return volume.voxels, volume.array_affine


@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_any_orientation_is_turned_to_right_front_and_feet(signs: tuple[int, ...]) -> None:
    affine = np.diag([*np.multiply(signs, (2.0, 3.0, 4.0)), 1.0])[[1, 0, 2, 3]]
    voxel_to_mm = to_upright(affine, (11, 21, 31), None)
    # NIfTI counts to the right and the front; the grid to the left and the back
    to_left, to_back, to_head = (voxel_to_mm @ [*step, 0.0] for step in ([0, 1, 0], [1, 0, 0], [0, 0, 1]))
    np.testing.assert_allclose(to_left[:3], [-3.0 * signs[1], 0, 0])
    np.testing.assert_allclose(to_back[:3], [0, -2.0 * signs[0], 0])
    np.testing.assert_allclose(to_head[:3], [0, 0, 4.0 * signs[2]])
    np.testing.assert_allclose(voxel_to_mm @ [5, 10, 15, 1], [0, 0, 0, 1])


def test_blocks_are_averaged() -> None:
    voxels = np.arange(4 * 6 * 5, dtype=float).reshape(4, 6, 5)
    means = averaged(lambda index: voxels[:, :, index], voxels.shape, (2, 3, 2))
    assert means.shape == (2, 2, 2)
    assert means[1, 0, 1] == pytest.approx(voxels[2:4, 0:3, 2:4].mean())


def test_a_ramp_stays_a_ramp_on_the_grid() -> None:
    """1 mm voxels, columns to the patient's left, rows to the front: 4 levels a column."""
    columns = np.arange(60.0)
    voxels = np.broadcast_to(columns[None, :, None], (30, 60, 24)) * 4
    affine = np.diag([1.0, -1.0, 1.0, 1.0])[[1, 0, 2, 3]]
    scan = upright(lambda index: voxels[:, :, index], voxels.shape, to_upright(affine, voxels.shape, None))
    assert scan.values.shape == (4, 5, 10) and scan.inside.all()
    places = scan.to_voxel @ [[0.0, 54.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]
    np.testing.assert_allclose(places[1], [2.5, 56.5])
    # the grid begins at the back row, as y runs to the back
    np.testing.assert_allclose(places[0], [26.5, 26.5])
    np.testing.assert_array_equal(scan.values[1, 2], (2.5 + STEP_MM * np.arange(10)) * 4)


def test_the_same_scan_stored_in_another_order_gives_the_same_grid(chest: tuple[np.ndarray, np.ndarray]) -> None:
    voxels, affine = chest
    turned = voxels.transpose(2, 1, 0)[:, ::-1]
    moved = affine[:, [2, 1, 0, 3]].copy()
    moved[:3, 3] += moved[:3, 1] * (voxels.shape[1] - 1)
    moved[:3, 1] *= -1
    one, other = grid_of(voxels, affine), grid_of(turned, moved)
    np.testing.assert_array_equal(one.inside, other.inside)
    assert np.abs(one.values.astype(int) - other.values).max() <= 1


def test_outside_of_a_tilted_scan_nothing_is_inside() -> None:
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]]
    voxels = np.full((40, 40, 10), 100.0)
    scan = grid_of(voxels, turn @ np.diag([6.0, 6.0, 6.0, 1.0]))
    assert 0.4 < scan.inside.mean() < 0.7
    assert not scan.values[~scan.inside].any() and (scan.values[scan.inside] == scan.values.max()).all()


def moved(voxels: np.ndarray, affine: np.ndarray, to_old: np.ndarray) -> np.ndarray:
    """Return a scan on the same voxels, that shows at the upright millimetres p what lay at ``to_old @ p``."""
    voxel_to_mm = to_upright(affine, voxels.shape, None)
    of_voxels = np.linalg.inv(voxel_to_mm) @ to_old @ voxel_to_mm
    return ndimage.affine_transform(voxels.astype(float), of_voxels[:3, :3], of_voxels[:3, 3], order=1, cval=-1000)


@pytest.mark.parametrize(
    ("turn_degrees", "scale", "shift_mm"),
    [(0.0, (1.0, 1.0, 1.0), (18.0, -12.0, 30.0)), (6.0, (1.1, 0.93, 1.05), (-15.0, 9.0, -40.0))],
)
def test_a_known_map_is_found(
    chest: tuple[np.ndarray, np.ndarray], turn_degrees: float, scale: tuple[float, ...], shift_mm: tuple[float, ...]
) -> None:
    voxels, affine = chest
    angle = np.deg2rad(turn_degrees)
    to_old = np.eye(4)
    to_old[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    to_old[:3, :3] = to_old[:3, :3] @ np.diag(scale)
    to_old[:3, 3] = shift_mm
    seed, scan = grid_of(voxels, affine), grid_of(moved(voxels, affine, to_old), affine)
    found = register(scan, seed)
    assert found.correlation > 0.97
    # both grids begin at the same place of the same frame
    first = to_upright(affine, voxels.shape, None) @ seed.to_voxel
    right = np.linalg.inv(first) @ to_old @ first
    body = np.argwhere(body_of(scan))[::97, ::-1] * STEP_MM
    points = np.hstack([body, np.ones((len(body), 1))])
    inside = ((right @ points.T)[2] > 0) & ((right @ points.T)[2] < seed.values.shape[0] * STEP_MM)
    away = np.linalg.norm(((found.to_other - right) @ points.T)[:3, inside], axis=0)
    assert np.percentile(away, 95) < STEP_MM


def test_the_same_scans_give_the_same_map(chest: tuple[np.ndarray, np.ndarray]) -> None:
    voxels, affine = chest
    other, _ = chest_ct((96, 96, 24), 5)
    scans = grid_of(voxels, affine), grid_of(other.voxels, other.array_affine)
    one, again = register(*scans), register(*scans)
    np.testing.assert_array_equal(one.to_other, again.to_other)
    assert one.correlation == again.correlation > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("turn", [lambda array: np.rot90(array), lambda array: array[::-1, :, ::-1]])
def test_a_scan_of_unknown_geometry_is_turned_by_what_it_shows(
    chest: tuple[np.ndarray, np.ndarray], turn: Callable[[np.ndarray], np.ndarray]
) -> None:
    voxels, affine = chest
    seed, scan = grid_of(voxels, affine), grid_of(turn(voxels), None)
    found = register(scan, seed)
    # numbers of voxels, carried along, tell where each of them went
    numbers = turn(np.arange(voxels.size).reshape(voxels.shape))
    for place in ([40, 30, 20], [60, 70, 8], [48, 20, 28]):
        there = np.argwhere(numbers == np.ravel_multi_index(place, voxels.shape))[0]
        on_seed = found.to_other @ np.linalg.inv(scan.to_voxel) @ [*there, 1.0]
        right = np.linalg.inv(seed.to_voxel) @ [*place, 1.0]
        assert np.linalg.norm((on_seed - right)[:3]) < 10.0


@pytest.mark.slow
def test_a_scan_that_could_lie_in_several_ways_is_refused() -> None:
    x, y, z = np.meshgrid(*(np.arange(48) - 23.5,) * 2, np.arange(32) - 15.5, indexing="ij")
    ball = np.where(x**2 + y**2 + z**2 < 14**2, 40.0, -1000.0)
    scan = grid_of(ball, None)
    with pytest.raises(AmbiguousTurnError, match=r"the best two ways to turn it correlate alike \("):
        register(scan, scan)
