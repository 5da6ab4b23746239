"""Tests of pose/scores/surface.py against erosions and distance transforms of the whole volume."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pose.scores import metrics, surface

LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "slices first": lambda mask: np.ascontiguousarray(mask.transpose(2, 0, 1)).transpose(1, 2, 0),
}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """No volume as a whole, slabs of one to three slices, blocks of three: every seam shows on a small mask."""
    monkeypatch.setattr(metrics, "MOST_VOXELS_AT_ONCE", 0)
    monkeypatch.setattr(surface, "SLAB_VOXELS", 60)
    monkeypatch.setattr(surface, "NEAR_SLICES", 1)
    monkeypatch.setattr(surface, "BLOCK_SLICES", 3)


def eroded_away(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask, ndimage.generate_binary_structure(mask.ndim, 1))


def whole_distances(source: np.ndarray, target: np.ndarray, spacing_mm) -> np.ndarray:
    """Return the distances from the surface of one mask to that of another, slice after slice, by one transform."""
    if not target.any():
        return np.full(np.count_nonzero(eroded_away(source)), np.inf)
    distances = ndimage.distance_transform_edt(~eroded_away(target), sampling=spacing_mm)
    return np.moveaxis(distances, 2, 0)[np.moveaxis(eroded_away(source), 2, 0)]


def blob(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> np.ndarray:
    if kind == "empty":
        return np.zeros(shape, dtype=bool)
    if kind == "full":
        return np.ones(shape, dtype=bool)
    if kind == "voxel":
        mask = np.zeros(shape, dtype=bool)
        mask[tuple(rng.integers(0, shape))] = True
        return mask
    if kind == "noise":
        return rng.random(shape) < rng.choice([0.01, 0.1, 0.6, 0.95])
    smooth = ndimage.gaussian_filter(rng.standard_normal(shape), 1.5)
    return smooth > np.quantile(smooth, rng.choice([0.5, 0.9]))


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32 - 1),
    kinds=st.tuples(*[st.sampled_from(["empty", "full", "voxel", "noise", "smooth"])] * 2),
    spacing_mm=st.tuples(*[st.sampled_from([0.3, 0.7, 1.0, 5.0])] * 3),
)
def test_distances_are_those_of_the_whole_volume(seed, kinds, spacing_mm):
    rng = np.random.default_rng(seed)
    shape = (*rng.integers(1, 12, 2), rng.integers(1, 24))
    truth, prediction = (blob(rng, shape, kind) for kind in kinds)
    with pytest.MonkeyPatch.context() as patch:  # hypothesis runs many examples in one fixture
        patch.setattr(surface, "NEAR_SLICES", int(rng.integers(0, 4)))
        patch.setattr(surface, "SLAB_VOXELS", int(rng.integers(1, 400)))
        found = metrics.surface_distances(truth, prediction, spacing_mm)
    pairs = (found.truth_to_prediction, truth, prediction), (found.prediction_to_truth, prediction, truth)
    for distances, source, target in pairs:
        np.testing.assert_allclose(distances, whole_distances(source, target, spacing_mm), rtol=0, atol=1e-9)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_volume_metrics_take_any_dtype_and_order_in_memory(layout, dtype):
    rng = np.random.default_rng(3)
    truth, prediction = blob(rng, (9, 11, 13), "smooth"), blob(rng, (9, 11, 13), "smooth")
    expected = metrics.volume_metrics(truth, prediction, (0.7, 0.8, 2.0))
    arranged = [LAYOUTS[layout](mask.astype(dtype) * dtype(3)) for mask in (truth, prediction)]
    assert metrics.volume_metrics(*arranged, (0.7, 0.8, 2.0)) == expected
    assert expected["volume_jaccard"] == metrics.jaccard(truth, prediction)
    assert expected["volume_dice"] == metrics.dice(truth, prediction)
    hd95_mm = max(
        np.percentile(whole_distances(*pair, (0.7, 0.8, 2.0)), 95)
        for pair in ((truth, prediction), (prediction, truth))
    )
    assert expected["volume_hd95_mm"] == pytest.approx(hd95_mm, abs=1e-9)


def test_slabs_have_every_slice_once_and_their_neighbours_as_margin():
    mask = np.arange(4 * 5 * 7).reshape(4, 5, 7) % 3
    for margin in (0, 1):
        slabs = list(surface.slabs_of(mask, margin))
        assert [(first, stop) for first, stop, _ in slabs] == [(0, 3), (3, 6), (6, 7)]
        for first, stop, slab in slabs:
            expected = mask[:, :, max(first - margin, 0) : stop + margin] != 0
            np.testing.assert_array_equal(slab, np.moveaxis(expected, 2, 0))
            assert slab.flags.c_contiguous


def test_joint_box():
    one, other = np.zeros((6, 7, 8), dtype=np.uint8), np.zeros((6, 7, 8), dtype=np.uint8)
    one[1, 2, 7] = 4
    other[3, 5, 2] = 1
    assert surface.joint_box(one, other) == (slice(1, 4), slice(2, 6), slice(2, 8))
    assert surface.joint_box(one) == (slice(1, 2), slice(2, 3), slice(7, 8))
    assert surface.joint_box(np.zeros_like(one)) == (slice(0, 0),) * 3


def test_surface_across_the_seams_of_slabs():
    mask = blob(np.random.default_rng(1), (8, 9, 10), "smooth")
    found = surface.surface_of(mask)
    expected = np.moveaxis(eroded_away(mask), 2, 0).reshape(10, -1)
    assert found.starts.tolist() == [0, *np.cumsum(expected.sum(axis=1)).tolist()]
    np.testing.assert_array_equal(found.places, np.concatenate([np.flatnonzero(one) for one in expected]))
    assert found.places.dtype == np.int32


def test_memory_of_volume_metrics_does_not_grow_with_the_volume(monkeypatch):
    """Two bytes a voxel would hold one copy of both masks; a transform of the whole volume takes 12."""
    monkeypatch.setattr(surface, "SLAB_VOXELS", 1 << 16)
    shape = (128, 128, 120)
    row, column, slice_ = np.ogrid[: shape[0], : shape[1], : shape[2]]
    truth = (((row - 64) / 60) ** 2 + ((column - 64) / 60) ** 2 + ((slice_ - 60) / 58) ** 2 < 1).astype(np.uint8)
    prediction = np.roll(truth, 3, axis=0)
    tracemalloc.start()
    try:
        values = metrics.volume_metrics(truth, prediction, (1.0, 1.0, 1.0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert values["volume_hd95_mm"] == pytest.approx(3.0, abs=1e-9)
    assert peak < 2 * truth.size


def tilted(degrees: float) -> np.ndarray:
    """Steps in mm along (row, column, slice) of a CT whose gantry was tilted: slices 5 mm apart are moved along."""
    return np.array([[-0.8, 0, 0], [0, -0.8, 5 * np.tan(np.radians(degrees))], [0, 0, 5]])


@pytest.mark.parametrize(("degrees", "hd95_mm"), [(0, 10.0), (15, 10.0500), (25, 10.4277)])
def test_a_tilted_gantry(degrees, hd95_mm):
    """A block of six slices of which the last two are missed; by the lengths of the steps 11.034 mm at 25 degrees."""
    truth = np.zeros((40, 40, 10), dtype=np.uint8)
    truth[8:30, 8:30, 2:8] = 1
    prediction = truth.copy()
    prediction[:, :, 6:] = 0
    found = metrics.volume_metrics(truth, prediction, tilted(degrees))
    assert found["volume_hd95_mm"] == pytest.approx(hd95_mm, abs=5e-5)
    assert found["volume_surface_dice_1mm"] == pytest.approx(0.6344, abs=5e-5)


@pytest.mark.parametrize("kinds", [("smooth", "smooth"), ("noise", "voxel"), ("full", "smooth"), ("empty", "noise")])
@pytest.mark.parametrize("matrix", [tilted(25), np.array([[1, 0.5, 0], [0, 2, 0.25], [0, 0, 3.0]])])
def test_sheared_distances_are_those_of_every_pair_of_points(kinds, matrix):
    rng = np.random.default_rng(5)
    truth, prediction = (blob(rng, (7, 8, 6), kind) for kind in kinds)
    found = metrics.surface_distances(truth, prediction, matrix)
    points = [np.argwhere(eroded_away(mask)) @ matrix.T for mask in (truth, prediction)]
    apart = np.linalg.norm(points[0][:, np.newaxis] - points[1], axis=2)
    for distances, axis in ((found.truth_to_prediction, 1), (found.prediction_to_truth, 0)):
        np.testing.assert_allclose(distances, apart.min(axis=axis, initial=np.inf), atol=1e-9)
    plane = metrics.slice_metrics(truth[:, :, 2], prediction[:, :, 2], matrix)
    assert plane["hd95_mm"] == pytest.approx(
        metrics.surface_distances(truth[:, :, 2], prediction[:, :, 2], matrix[:, :2]).hausdorff_95_mm(), nan_ok=True
    )


def test_a_matrix_at_right_angles_gives_the_distances_of_its_lengths():
    rng = np.random.default_rng(6)
    truth, prediction = blob(rng, (9, 11, 13), "smooth"), blob(rng, (9, 11, 13), "smooth")
    turn = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]]) @ np.diag([0.7, 0.8, 2.0])
    expected = metrics.volume_metrics(truth, prediction, (0.7, 0.8, 2.0))
    assert metrics.volume_metrics(truth, prediction, turn) == pytest.approx(expected, abs=1e-9)
