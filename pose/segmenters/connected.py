"""Voxels connected to seeds in three dimensions, of volumes whose labels would not fit into memory.

Components are found slice by slice and joined across slices as a graph; masks take a bit a voxel. Where objects meet, a
front grows from the seeds of each through an array of one byte a voxel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Seeds = Mapping[int, Sequence[tuple[int, np.ndarray]]]

_FREE = 1  # claimed and not yet reached; 0 is claimed by no object, objects follow from 2


class PackedMask:
    """A (rows, columns, slices) mask of one bit a voxel, empty at first; slices are read and written as bool arrays."""

    def __init__(self, shape: tuple[int, int, int]):
        self.shape = shape
        self.bits = np.zeros((shape[2], -(-shape[0] * shape[1] // 8)), dtype=np.uint8)

    @classmethod
    def of(cls, mask: np.ndarray) -> PackedMask:
        """Pack a (rows, columns, slices) bool array."""
        packed = cls(mask.shape)
        for index in range(mask.shape[2]):
            packed[index] = mask[:, :, index]
        return packed

    def __len__(self) -> int:
        return self.shape[2]

    def __getitem__(self, index: int) -> np.ndarray:
        rows, columns, _ = self.shape
        return np.unpackbits(self.bits[index], count=rows * columns).view(bool).reshape(rows, columns)

    def __setitem__(self, index: int, mask: np.ndarray) -> None:
        self.bits[index] = np.packbits(mask)


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
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    # components of slices are the nodes of a graph, numbered from 1; node 0 is all background
    starts, links = [1], []
    below = np.zeros(allowed.shape[:2], dtype=np.int64)
    for index in range(len(allowed)):
        nodes, count = _nodes(allowed[index], starts[index])
        links.append(_touching(below, nodes))
        starts.append(starts[index] + count)
        below = nodes
    first, second = np.concatenate(links, axis=1)
    graph = coo_array((np.ones(first.size, dtype=bool), (first, second)), shape=(starts[-1], starts[-1]))
    _, component = connected_components(graph, directed=False)
    touched = [_nodes(allowed[index], starts[index])[0][mask] for index, mask in seeds]
    kept = np.zeros(starts[-1], dtype=bool)
    kept[component[np.unique(np.concatenate(touched))] if touched else []] = True
    kept = kept[component]
    kept[0] = False
    found = PackedMask(allowed.shape)
    for index in np.flatnonzero(np.diff(starts)):
        found[index] = kept[_nodes(allowed[index], starts[index])[0]]
    return found


def _nodes(mask: np.ndarray, start: int) -> tuple[np.ndarray, int]:
    """Return the components of a slice, numbered from ``start`` (0 is background), and how many there are."""
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    return np.where(mask, labels + np.int64(start - 1), 0), count


def _touching(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Return (2, pairs) of the nodes that lie on each other in neighbouring slices, each pair once."""
    both = (below > 0) & (above > 0)
    pairs = np.stack([below[both], above[both]])
    # most pixels repeat the pair before them: a sort of all would take longer than all the rest
    changes = np.ones(pairs.shape[1], dtype=bool)
    changes[1:] = (pairs[:, 1:] != pairs[:, :-1]).any(axis=0)
    return np.unique(pairs[:, changes], axis=1)


def _divide(masks: dict[int, PackedMask], seeds: Seeds) -> None:
    """Leave every voxel that objects claim to the one whose seed reaches it first through claimed voxels."""
    rows, columns, slices = next(iter(masks.values())).shape
    numbers = {object_id: number for number, object_id in enumerate(sorted(masks), start=_FREE + 1)}
    # one voxel of wall all round, so that no front leaves the volume
    owners = np.zeros((slices + 2, rows + 2, columns + 2), dtype=np.min_scalar_type(len(masks) + _FREE))
    for index in range(slices):
        for mask in masks.values():
            owners[index + 1, 1:-1, 1:-1][mask[index]] = _FREE
    for object_id, places in seeds.items():
        for index, seed in places:
            owners[index + 1, 1:-1, 1:-1][seed & masks[object_id][index]] = numbers[object_id]
    seeded = np.unique([index for places in seeds.values() for index, _ in places]) + 1
    flat = owners.ravel()
    steps = [sign * step for step in (owners[0].size, columns + 2, 1) for sign in (-1, 1)]
    fronts = {}
    for number in numbers.values():
        begins = [np.flatnonzero(owners[index] == number) + index * owners[0].size for index in seeded]
        fronts[number] = np.concatenate([np.zeros(0, dtype=np.int64), *begins])
    while any(front.size for front in fronts.values()):
        fronts = {number: _advanced(flat, front, number, steps) for number, front in fronts.items()}
    for object_id, number in numbers.items():
        for index in range(slices):
            masks[object_id][index] &= owners[index + 1, 1:-1, 1:-1] == number


def _advanced(owners: np.ndarray, front: np.ndarray, number: int, steps: Sequence[int]) -> np.ndarray:
    """Take the free voxels next to a front, of flat indices, and return them: the front after it."""
    taken = []
    for step in steps:
        ahead = front + step
        ahead = ahead[owners[ahead] == _FREE]
        owners[ahead] = number
        taken.append(ahead)
    return np.concatenate(taken)
