"""Tests of pose/scores/near.py against the distance to every voxel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pose.scores import metrics, near, surface

SPACINGS = [0.3, 0.7, 0.742, 1.0, 1.3333, 5.0]


def places_of(mask: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(mask[:, :, slice_index]) for slice_index in range(mask.shape[2])]


def squared_to_every_voxel(source: np.ndarray, target: np.ndarray, spacing_mm) -> np.ndarray:
    """Return the smallest of the squared distances, slice after slice, in the order of arithmetic of the transform."""
    places = [np.argwhere(np.moveaxis(mask, 2, 0))[:, [1, 2, 0]] for mask in (source, target)]
    steps = (places[0][:, None] - places[1][None]) * np.asarray(spacing_mm)
    return ((steps[..., 0] ** 2 + steps[..., 1] ** 2) + steps[..., 2] ** 2).min(axis=1, initial=np.inf)


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32 - 1), spacing_mm=st.tuples(*[st.sampled_from(SPACINGS)] * 3))
def test_what_is_near_is_the_nearest_to_the_bit_and_all_else_is_farther(seed, spacing_mm):
    rng = np.random.default_rng(seed)
    shape = (*rng.integers(1, 14, 2), rng.integers(1, 12))
    source, target = (rng.random(shape) < rng.choice([0.0, 0.01, 0.2]) for _ in range(2))
    found = near.squared_near(places_of(source), places_of(target), shape[:2], np.array(spacing_mm))
    expected = squared_to_every_voxel(source, target, spacing_mm)
    known = np.isfinite(found)
    np.testing.assert_array_equal(found[known], expected[known])
    assert (expected[~known] > near.offsets_of(spacing_mm).squared[-1]).all()


def test_offsets_by_hand():
    offsets = near.offsets_of((1.0, 2.0))
    assert offsets.reach == (2, 1)
    assert offsets.squared == (0.0, 1.0, 1.0, 4.0, 4.0, 4.0, 4.0, 5.0, 5.0, 5.0, 5.0, 8.0, 8.0, 8.0, 8.0)
    assert offsets.steps[:3] == ((0, 0), (-1, 0), (1, 0))
    with_slices = near.offsets_of((1.0, 1.0, 2.5))
    assert max(steps[2] for steps in with_slices.steps) == with_slices.reach[2] == 1


def test_what_a_transform_may_choose_between_is_not_looked_at():
    """Three steps of 0.1 mm are 0.30000000000000004 mm: a transform takes either that or one step of 0.3 mm."""
    assert (3 * 0.1) ** 2 != 0.3**2
    offsets = near.offsets_of((0.3, 0.1))
    assert max(offsets.squared) < (2.5 * 0.1) ** 2


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (2, 1), (9, 4)])
def test_distances_have_the_bits_of_a_transform(shift):
    smooth = ndimage.gaussian_filter(np.random.default_rng(5).standard_normal((60, 50)), 3)
    truth = surface.outer_voxels(smooth > 0)
    other = surface.outer_voxels(np.roll(smooth, shift, (0, 1)) > 0.01)
    spacing = np.array([0.742, 0.742])
    nearest = ndimage.distance_transform_edt(~other, sampling=spacing, return_distances=False, return_indices=True)
    steps = [(at - nearest[axis][truth]) * spacing[axis] for axis, at in enumerate(np.nonzero(truth))]
    expected = np.sqrt(steps[0] ** 2 + steps[1] ** 2)
    assert metrics._distances_between(truth, other, spacing).tobytes() == expected.tobytes()


def test_pairs_by_hand():
    """On a slice of 5 columns: (0, 0) and (2, 4) to (1, 0) and (2, 1)."""
    found = near.squared_of_pairs(np.array([0, 14]), np.array([5, 11]), 5, np.array([2.0, 1.0]))
    np.testing.assert_array_equal(found, [4.0, 9.0])


def test_pairs_that_a_transform_may_choose_between_are_left_to_it():
    spacing = np.array([0.3, 0.1])
    assert near.squared_of_pairs(np.array([0]), np.array([3, 10]), 10, spacing) is None
    assert near.squared_of_pairs(np.array([0]), np.array([2, 10]), 10, spacing).tolist() == [(2 * 0.1) ** 2]


def test_too_many_pairs_are_left_to_a_transform(monkeypatch):
    monkeypatch.setattr(near, "MOST_PAIRS", 3)
    assert near.squared_of_pairs(np.arange(2), np.arange(2), 10, np.ones(2)) is None
    assert near.squared_of_pairs(np.arange(3), np.arange(1), 10, np.ones(2)).tolist() == [0.0, 1.0, 4.0]


@pytest.mark.parametrize("most_pairs", [0, 1 << 18])
@pytest.mark.parametrize("shift", [(1, 1, 0), (6, 5, 3)])
def test_distances_of_volumes_do_not_depend_on_how_they_are_found(most_pairs, shift, monkeypatch):
    monkeypatch.setattr(metrics, "MOST_VOXELS_AT_ONCE", 0)
    smooth = ndimage.gaussian_filter(np.random.default_rng(6).standard_normal((40, 36, 20)), 2)
    truth, prediction = smooth > 0, np.roll(smooth, shift, (0, 1, 2)) > 0.02
    spacing = (0.742, 0.742, 1.3)
    surfaces = [surface.surface_of(mask) for mask in (truth, prediction)]
    expected = np.sqrt(surface._squared_by_transform(*surfaces, np.array(spacing)))
    monkeypatch.setattr(near, "MOST_PAIRS", most_pairs)
    found = metrics.surface_distances(truth, prediction, spacing)
    assert found.truth_to_prediction.tobytes() == expected.tobytes()
