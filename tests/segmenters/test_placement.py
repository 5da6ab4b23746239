"""Placement: what is kept of a seed's object, where it is laid on another scan, and which slice and mask it gives."""

from __future__ import annotations

import numpy as np
import pytest

from pose.scans.registration import Registration, Upright, to_upright, upright
from pose.segmenters import Features
from pose.segmenters.grey_features import GreyFeatures
from pose.segmenters.placement import (
    Placed,
    Prototypes,
    SeedObject,
    SeedPlace,
    candidates,
    lay,
    means_of,
    paired_slice,
    place,
    prototypes_of,
    seed_object,
)
from tests.segmenters.test_chain import Stack, disc

SIDE, SLICES = 40, 20
# grids of 3 mm have the voxels of the scan as their points
SPACING = (3.0, 3.0, 3.0)
TO_MM = to_upright(None, (SIDE, SIDE, SLICES), SPACING)
HERE = Registration(np.eye(4), 1.0)


def bodies(moved: int = 0) -> np.ndarray:
    """A bright cone on a grey ground, largest on slice 10, from slice 4 to 16, moved up by so many slices."""
    voxels = np.full((SIDE, SIDE, SLICES), 40, dtype=np.uint8)
    for slice_index in range(SLICES):
        radius = 9 - abs(slice_index - moved - 10)
        if radius > 2:
            voxels[disc((SIDE, SIDE), 20, 18, radius), slice_index] = 200
    return voxels


def grid_of(voxels: np.ndarray) -> Upright:
    return upright(lambda slice_index: voxels[:, :, slice_index], voxels.shape, TO_MM, step_mm=3.0)


def seed_of(voxels: np.ndarray, slice_index: int = 10) -> SeedObject:
    segmenter = GreyFeatures()
    segmenter.set_image(voxels[:, :, slice_index])
    masks = voxels > 100
    prototypes = prototypes_of(segmenter.features(), masks[:, :, slice_index])
    kept = seed_object(masks, slice_index, grid_of(voxels), TO_MM, prototypes)
    assert kept is not None
    return kept


def shifted(slices: int) -> Registration:
    """Lays a scan on one whose object is so many slices lower."""
    to_other = np.eye(4)
    to_other[2, 3] = -3.0 * slices
    return Registration(to_other, 0.9)


def test_what_is_kept_of_a_seed_gives_its_mask_back() -> None:
    voxels = bodies()
    laid = lay(seed_of(voxels), grid_of(voxels), HERE, voxels.shape)
    assert seed_of(voxels).share.shape == (13, 19, 19)  # cut to the object
    for slice_index in range(SLICES):
        np.testing.assert_array_equal(laid.on(slice_index), voxels[:, :, slice_index] > 100)
    np.testing.assert_array_equal(laid.on(10, 2), voxels[::2, ::2, 10] > 100)
    np.testing.assert_allclose(laid.pixel_mm, (3.0, 3.0))


def test_an_object_that_is_not_on_its_prompted_slice_is_not_kept() -> None:
    voxels = bodies()
    assert seed_object(voxels > 100, 0, grid_of(voxels), TO_MM) is None


def test_a_seed_without_a_mask_cannot_be_laid() -> None:
    with pytest.raises(ValueError, match="the seed keeps no mask"):
        lay(SeedObject(np.zeros(3)), grid_of(bodies()), HERE, (SIDE, SIDE, SLICES))


def test_the_paired_slice_is_where_registration_says() -> None:
    voxels = bodies()
    seed = seed_of(voxels)
    assert paired_slice(seed.centre, grid_of(voxels), HERE) == pytest.approx(10)
    assert paired_slice(seed.centre, grid_of(voxels), shifted(3)) == pytest.approx(13)


def test_candidates_are_large_and_near_the_paired_slice() -> None:
    voxels = bodies()
    laid = lay(seed_of(voxels), grid_of(voxels), HERE, voxels.shape)
    # areas above half of the largest one from slice 8 to 12; a quarter of 13 slices is 3 slices
    assert candidates(laid, 10.0) == [8, 9, 10, 11, 12]
    assert candidates(laid, 14.0) == [11, 12]
    # too far from all that are large: the nearest of them
    assert candidates(laid, 19.0) == [12]
    beside = lay(seed_of(voxels), grid_of(voxels), shifted(60), voxels.shape)
    assert candidates(beside, 10.0) == []


def test_an_object_is_found_a_few_slices_higher() -> None:
    seed, other = seed_of(bodies()), bodies(moved=3)
    found = place(GreyFeatures(), Stack(other), seed, grid_of(other), shifted(3), object_id=4)
    assert isinstance(found, Placed)
    assert (found.prompt.object_id, found.correlation) == (4, 0.9)
    assert 11 <= found.prompt.slice <= 15
    np.testing.assert_array_equal(found.prompt.mask, other[:, :, found.prompt.slice] > 100)
    assert found.score == pytest.approx(1.0, abs=0.1)


def test_nothing_is_found_beside_the_scan_nor_where_nothing_looks_like_it() -> None:
    seed, plain = seed_of(bodies()), np.full((SIDE, SIDE, SLICES), 40, dtype=np.uint8)
    grid = grid_of(bodies())
    assert place(GreyFeatures(), Stack(bodies()), seed, grid, shifted(60)) is None
    assert place(GreyFeatures(), Stack(plain), seed, grid, HERE) is None


def test_contrast_is_above_0_where_features_are_nearer_to_the_object() -> None:
    values = np.array([[[0.0, 1.0, 4.0, 9.0]]], dtype=np.float32)
    learnt = Prototypes(np.array([[0.0]], np.float32), np.array([[10.0], [6.0]], np.float32))
    contrast = learnt.contrast(Features(values, (1, 4), by_direction=False))
    np.testing.assert_array_equal(contrast, [[36.0, 24.0, -12.0, -80.0]])


def test_prototypes_need_something_that_is_not_the_object() -> None:
    features = Features(np.ones((1, 8, 8), dtype=np.float32), (8, 8), by_direction=False)
    assert prototypes_of(features, np.ones((8, 8), dtype=bool)) is None
    half = np.zeros((8, 8), dtype=bool)
    half[:, :4] = True
    learnt = prototypes_of(features, half)
    np.testing.assert_array_equal(learnt.inside, [[1.0]])
    np.testing.assert_array_equal(learnt.outside, [[1.0]])
    # what is within 15 mm of a mask that is right to a centimetre is not taken for its surroundings
    assert prototypes_of(features, half, np.array([3.0, 3.0])) is None


def test_means_are_of_what_is_alike_and_never_more_than_there_are_points() -> None:
    points = np.array([[0.0], [2.0], [100.0], [102.0], [1000.0]])
    np.testing.assert_array_equal(np.sort(means_of(points, 3), axis=0), [[1.0], [101.0], [1000.0]])
    np.testing.assert_array_equal(np.sort(means_of(points), axis=0), points)
    np.testing.assert_array_equal(means_of(points, 3), means_of(points, 3))


def test_two_cts_are_compared_by_hounsfield_units_and_others_by_grey_levels() -> None:
    grey = grid_of(bodies())
    hounsfield = np.full(grey.values.shape, 7, dtype=np.uint8)
    ct = SeedPlace(grey, {}, (-200.0, 300.0), hounsfield)
    assert ct.scan_like(True).values is hounsfield
    assert ct.scan_like(False) is grey
    assert SeedPlace(grey, {}).scan_like(True) is grey
