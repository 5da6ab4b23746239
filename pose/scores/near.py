"""Distances to what is near: most surface voxels of a good mask have the other surface within a few voxels.

The offsets round a voxel are tried from the nearest to the farthest; the first that hits is the exact distance, to the
bit that a distance transform and the same arithmetic give. Where nothing is near, the caller has to look farther.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

REACH = 3  # voxels, of the axis along which these are closest
MOST_PAIRS = 1 << 18  # beyond it a distance transform of the slice is quicker
NEAR_TIE = 1e-9  # distances that differ by less, relatively, differ by rounding alone


@dataclass(frozen=True)
class Offsets:
    """All offsets that are nearer than some distance, ascending by distance.

    Attributes:
        steps: for each its voxels along each axis.
        squared: for each its squared distance in mm².
        reach: the most voxels along each axis.
    """

    steps: tuple[tuple[int, ...], ...]
    squared: tuple[float, ...]
    reach: tuple[int, ...]


@lru_cache(maxsize=8)
def offsets_of(spacing_mm: tuple[float, ...]) -> Offsets:
    """Return the offsets that are looked at, for the distances between voxels along two or three axes."""
    limit = (REACH * min(spacing_mm)) ** 2
    reach = [int(REACH * min(spacing_mm) / step) for step in spacing_mm]
    found = []
    for steps in product(*(range(-most, most + 1) for most in reach)):
        parts = [(step * length) ** 2 for step, length in zip(steps, spacing_mm)]
        in_plane = parts[0] + parts[1]
        found.append((sum(parts[2:], in_plane), in_plane, steps))
    # of two that a distance transform in the plane takes for equally near, it may name either
    levels = sorted({in_plane for _, in_plane, _ in found})
    ties = [low for low, high in zip(levels, levels[1:]) if high - low <= NEAR_TIE * high]
    limit = min([limit * (1 - NEAR_TIE), *(low * (1 - NEAR_TIE) for low in ties)])
    kept = sorted((squared, steps) for squared, _, steps in found if squared < limit)
    farthest = tuple(max(column) for column in zip(*(steps for _, steps in kept)))
    return Offsets(tuple(steps for _, steps in kept), tuple(squared for squared, _ in kept), farthest)


def squared_near(
    sources: Sequence[np.ndarray], targets: Sequence[np.ndarray], shape: tuple[int, int], spacing_mm: np.ndarray
) -> np.ndarray:
    """Measure how far voxels of some slices are from the nearest of others, where that is near.

    Args:
        sources: for each slice the flat indices, ascending, of the voxels to measure from.
        targets: the same of the voxels to measure to.
        shape: (rows, columns) of a slice.
        spacing_mm: (row, column[, slice]) distance between voxels; without the third, of a single slice.

    Returns:
        (voxels of all sources,) float64 in mm², slice after slice; infinite where nothing is near.
    """
    offsets = offsets_of(tuple(spacing_mm.tolist()))
    rows, columns, *beside = offsets.reach
    between = beside[0] if beside else 0
    width = shape[1] + 2 * columns

    def padded(places: np.ndarray) -> np.ndarray:
        return (places // shape[1] + rows) * width + places % shape[1] + columns

    moves = [
        (steps[2] if beside else 0, steps[0] * width + steps[1], squared)
        for steps, squared in zip(offsets.steps, offsets.squared)
    ]
    planes: dict[int, np.ndarray] = {}
    found = []
    for slice_index, source in enumerate(sources):
        squared_here = np.full(source.size, np.inf)
        found.append(squared_here)
        if not source.size:
            continue
        around = range(max(slice_index - between, 0), min(slice_index + between + 1, len(targets)))
        planes = {other: planes[other] for other in around if other in planes}
        for other in around:
            if other not in planes and targets[other].size:
                planes[other] = np.zeros((shape[0] + 2 * rows) * width, dtype=bool)
                planes[other][padded(targets[other])] = True
        left, at = np.arange(source.size), padded(source)
        for along, move, squared in moves:
            plane = planes.get(slice_index + along)
            if plane is None:
                continue
            hit = plane[at + move]
            if not hit.any():
                continue
            squared_here[left[hit]] = squared
            left, at = left[~hit], at[~hit]
            if not left.size:
                break
    return np.concatenate([np.zeros(0), *found])


def squared_of_pairs(source: np.ndarray, target: np.ndarray, width: int, spacing_mm: np.ndarray) -> np.ndarray | None:
    """Measure how far a few voxels of a slice are from the nearest of others, by every pair.

    Args:
        source, target: flat indices of the voxels to measure from and to, at least one.
        width: columns of a slice.
        spacing_mm: (row, column) distance between voxels.

    Returns:
        (voxels of source,) float64 in mm², to the bit those of a distance transform; None where there are too many
        pairs, or where it may have named another of two voxels that are equally near.
    """
    if source.size * target.size > MOST_PAIRS:
        return None
    squared = ((source[:, None] // width - target // width) * spacing_mm[0]) ** 2
    squared += ((source[:, None] % width - target % width) * spacing_mm[1]) ** 2
    nearest = squared.min(axis=1)
    tied = (squared <= nearest[:, None] * (1 + NEAR_TIE)) & (squared != nearest[:, None])
    return None if tied.any() else nearest
