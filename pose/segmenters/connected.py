"""Voxels connected to seeds in three dimensions, of volumes whose labels would not fit into memory.

Components are found in slabs of slices and joined across slabs as a graph; masks take a bit a voxel. Where objects
meet, a front grows from the seeds of each through an array of one byte a voxel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Seeds = Mapping[int, Sequence[tuple[int, np.ndarray]]]

SLAB_VOXELS = 1 << 23  # how many voxels have their components found at once
_FREE = 1  # claimed and not yet reached; 0 is claimed by no object, objects follow from 2


class PackedMask:
    """A (rows, columns, slices) mask of one bit a voxel, empty at first.

    A slice is read and written as a (rows, columns) bool array, a range of them as (slices, rows, columns).
    """

    def __init__(self, shape: tuple[int, int, int]):
        self.shape = shape
        self.bits = np.zeros((shape[2], -(-shape[0] * shape[1] // 8)), dtype=np.uint8)

    @classmethod
    def of(cls, mask: np.ndarray) -> PackedMask:
        """Pack a (rows, columns, slices) bool array."""
        packed = cls(mask.shape)
        for slice_index in range(mask.shape[2]):
            packed[slice_index] = mask[:, :, slice_index]
        return packed

    def __len__(self) -> int:
        return self.shape[2]

    def __getitem__(self, slice_index: int | slice) -> np.ndarray:
        rows, columns, _ = self.shape
        mask = np.unpackbits(self.bits[slice_index], axis=-1, count=rows * columns).view(bool)
        return mask.reshape(*mask.shape[:-1], rows, columns)

    def __setitem__(self, slice_index: int | slice, mask: np.ndarray) -> None:
        self.bits[slice_index] = np.packbits(mask.reshape(*mask.shape[:-2], self.shape[0] * self.shape[1]), axis=-1)


def connected_to_seeds(candidates: Mapping[int, PackedMask], seeds: Seeds) -> dict[int, PackedMask]:
    """Return, by object, the candidate voxels that are connected to its seeds through faces.

    Voxels that several objects claim go to the one whose seed reaches them first inside the claimed region, of equally
    near ones to the one with the lowest id.

    Args:
        candidates: by object, all of the same shape.
        seeds: (slice, (rows, columns) bool mask) by object; where two overlap, the later object has the voxel.
    """
    masks = {object_id: _connected(allowed, seeds[object_id]) for object_id, allowed in candidates.items()}
    claimed = np.zeros_like(next(iter(masks.values())).bits)
    contested = False
    for mask in masks.values():
        contested = contested or bool((claimed & mask.bits).any())
        claimed |= mask.bits
    if contested:
        _divide(masks, seeds)
    return masks


def _connected(allowed: PackedMask, seeds: Sequence[tuple[int, np.ndarray]]) -> PackedMask:
    """Return the components of a mask that share a voxel with a seed."""
    import cc3d
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    thickness = max(SLAB_VOXELS // max(allowed.shape[0] * allowed.shape[1], 1), 1)
    slabs = [slice(first, first + thickness) for first in range(0, len(allowed), thickness)]
    # components of slabs are the nodes of a graph, numbered from 1 throughout; 0 is background
    starts, links, touched = [0], [], [np.zeros(0, dtype=np.int64)]
    below = np.zeros(allowed.shape[:2], dtype=np.int64)
    for slab in slabs:
        labels, count = cc3d.connected_components(allowed[slab], connectivity=6, return_N=True)
        nodes = {index: np.where(labels[index], labels[index] + np.int64(starts[-1]), 0) for index in (0, -1)}
        both = (below > 0) & (nodes[0] > 0)
        # as one number each, since numpy sorts pairs many times as slowly
        pairs = np.unique(below[both] << 32 | nodes[0][both])
        links.append(np.stack([pairs >> 32, pairs & 0xFFFFFFFF]))
        here = [
            labels[slice_index - slab.start][seed]
            for slice_index, seed in seeds
            if slab.start <= slice_index < slab.stop
        ]
        touched += [np.unique(found[found > 0]) + np.int64(starts[-1]) for found in here]
        below = nodes[-1]
        starts.append(starts[-1] + count)
    first, second = np.concatenate(links, axis=1)
    graph = coo_array((np.ones(first.size, dtype=bool), (first, second)), shape=(starts[-1] + 1, starts[-1] + 1))
    _, component = connected_components(graph, directed=False)
    kept = np.isin(component, component[np.concatenate(touched)])
    found = PackedMask(allowed.shape)
    for slab, start, stop in zip(slabs, starts, starts[1:]):
        # numbered in the same order again: to keep all labels would take 4 bytes a voxel
        labels = cc3d.connected_components(allowed[slab], connectivity=6)
        found[slab] = np.append(False, kept[start + 1 : stop + 1])[labels]
    return found


def _divide(masks: dict[int, PackedMask], seeds: Seeds) -> None:
    """Leave every voxel that objects claim to the one whose seed reaches it first through claimed voxels."""
    rows, columns, slices = next(iter(masks.values())).shape
    numbers = {object_id: number for number, object_id in enumerate(sorted(masks), start=_FREE + 1)}
    # one voxel of wall all round, so that no front leaves the volume
    owners = np.zeros((slices + 2, rows + 2, columns + 2), dtype=np.min_scalar_type(len(masks) + _FREE))
    for slice_index in range(slices):
        for mask in masks.values():
            owners[slice_index + 1, 1:-1, 1:-1][mask[slice_index]] = _FREE
    for object_id, places in seeds.items():
        for slice_index, seed in places:
            owners[slice_index + 1, 1:-1, 1:-1][seed & masks[object_id][slice_index]] = numbers[object_id]
    seeded = np.unique([slice_index for places in seeds.values() for slice_index, _ in places]) + 1
    flat = owners.ravel()
    steps = [sign * step for step in (owners[0].size, columns + 2, 1) for sign in (-1, 1)]
    fronts = {}
    for number in numbers.values():
        begins = [np.flatnonzero(owners[index] == number) + index * owners[0].size for index in seeded]
        fronts[number] = np.concatenate([np.zeros(0, dtype=np.int64), *begins])
    while any(front.size for front in fronts.values()):
        fronts = {number: _advanced(flat, front, number, steps) for number, front in fronts.items()}
    for object_id, number in numbers.items():
        for slice_index in range(slices):
            masks[object_id][slice_index] &= owners[slice_index + 1, 1:-1, 1:-1] == number


def _advanced(owners: np.ndarray, front: np.ndarray, number: int, steps: Sequence[int]) -> np.ndarray:
    """Take the free voxels next to a front, of flat indices, and return them: the front after it."""
    taken = []
    for step in steps:
        ahead = front + step
        ahead = ahead[owners[ahead] == _FREE]
        owners[ahead] = number
        taken.append(ahead)
    return np.concatenate(taken)
