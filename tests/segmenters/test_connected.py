"""Tests of pose/segmenters/connected.py against labels and geodesic distances of the whole volume."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pose.segmenters import connected
from pose.segmenters.connected import PackedMask, connected_to_seeds


def unpacked(mask: PackedMask) -> np.ndarray:
    return np.stack([mask[index] for index in range(len(mask))], axis=2)


def on_slice(volume: np.ndarray, index: int) -> list[tuple[int, np.ndarray]]:
    return [(index, volume[:, :, index])]


@pytest.mark.parametrize("shape", [(3, 5, 4), (4, 4, 1), (1, 1, 2)])
def test_packed_masks_give_back_what_was_put_in(shape):
    volume = np.random.default_rng(0).random(shape) < 0.5
    packed = PackedMask.of(volume)
    np.testing.assert_array_equal(unpacked(packed), volume)
    packed[0] = np.ones(shape[:2], dtype=bool)
    assert packed[0].dtype == bool and packed[0].all()
    packed[1:] = np.moveaxis(volume, 2, 0)[1:]
    np.testing.assert_array_equal(packed[1:3], np.moveaxis(volume, 2, 0)[1:3])
    assert not unpacked(PackedMask(shape)).any()
    assert packed.bits.nbytes == shape[2] * -(-shape[0] * shape[1] // 8)


def test_voxels_connected_to_two_seeds_go_to_the_nearer():
    tube = np.zeros((1, 21, 1), dtype=bool)
    tube[0, 1:20] = True
    seeds = {}
    for object_id, column in ((1, 2), (5, 14)):
        mask = np.zeros((1, 21), dtype=bool)
        mask[0, column] = True
        seeds[object_id] = [(0, mask)]
    masks = connected_to_seeds({object_id: PackedMask.of(tube) for object_id in (1, 5)}, seeds)
    # column 8 is as near to either seed
    assert np.flatnonzero(unpacked(masks[1])).tolist() == list(range(1, 9))
    assert np.flatnonzero(unpacked(masks[5])).tolist() == list(range(9, 20))


def test_an_object_without_a_seed_or_off_its_candidates_is_empty():
    block = PackedMask.of(np.ones((3, 3, 3), dtype=bool))
    nothing = PackedMask((3, 3, 3))
    everywhere = np.ones((3, 3), dtype=bool)
    masks = connected_to_seeds({1: block, 2: block, 3: nothing}, {1: [], 2: [(1, everywhere)], 3: [(1, everywhere)]})
    assert [np.count_nonzero(unpacked(masks[object_id])) for object_id in (1, 2, 3)] == [0, 27, 0]


def geodesic(allowed: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """Return steps through faces of allowed voxels from a seed, one dilation a step; infinite where there is no way."""
    steps = np.where(seed, 0.0, np.inf)
    reached, count = seed, 0
    while (new := ndimage.binary_dilation(reached, mask=allowed) & ~reached).any():
        count += 1
        steps[new] = count
        reached = reached | new
    return steps


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), density=st.sampled_from([0.2, 0.45, 0.7, 1.0]), objects=st.integers(1, 3))
def test_connected_voxels_are_those_of_labels_and_geodesic_distances_of_the_whole_volume(seed, density, objects):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 9, 3))
    candidates = {object_id: rng.random(shape) < density for object_id in range(1, objects + 1)}
    drawn = rng.integers(0, 4 * objects, shape)
    most = min(shape[2], 2)
    seeds = {
        object_id: [
            (int(index), drawn[:, :, index] == object_id)
            for index in rng.choice(shape[2], rng.integers(1, most + 1), replace=False)
        ]
        for object_id in candidates
    }
    claims, marks = {}, {}
    for object_id, allowed in candidates.items():
        marks[object_id] = np.zeros(shape, dtype=bool)
        for index, mask in seeds[object_id]:
            marks[object_id][:, :, index] = mask & allowed[:, :, index]
        labels, _ = ndimage.label(allowed)
        claims[object_id] = np.isin(labels, np.unique(labels[marks[object_id]])) & allowed
    claimed = np.any(list(claims.values()), axis=0)
    steps = np.stack([geodesic(claimed, marks[object_id]) for object_id in candidates])
    # a front stops where it meets another: the first to arrive is the nearest, and no voxel is passed by a later one
    nearest = np.argmin(steps, axis=0) + 1
    disjoint = np.sum(list(claims.values()), axis=0).max(initial=0) < 2
    with pytest.MonkeyPatch.context() as patch:  # hypothesis runs many examples in one fixture
        patch.setattr(connected, "SLAB_VOXELS", int(rng.integers(1, 4 * shape[0] * shape[1])))
        found = connected_to_seeds({object_id: PackedMask.of(one) for object_id, one in candidates.items()}, seeds)
    for object_id, claim in claims.items():
        expected = claim if disjoint else claim & (nearest == object_id)
        np.testing.assert_array_equal(unpacked(found[object_id]), expected)


def test_memory_is_that_of_slabs(monkeypatch):
    """Labels of the whole volume would take 4 bytes a voxel; masks take a bit each, a slab 6 bytes for its voxels."""
    monkeypatch.setattr(connected, "SLAB_VOXELS", 1 << 16)
    shape = (128, 128, 120)
    specks = np.random.default_rng(0).random(shape) < 0.05
    candidates = PackedMask.of(specks)
    seeds = {1: on_slice(specks, 60)}
    tracemalloc.start()
    try:
        masks = connected_to_seeds({1: candidates}, seeds)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.count_nonzero(unpacked(masks[1])) >= np.count_nonzero(specks[:, :, 60])
    assert peak < 2 * specks.size
