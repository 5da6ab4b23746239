"""Surfaces of masks in three dimensions and the distances between them, a few slices in memory at a time.

What is near is found by :mod:`pose.scores.near`. For all else the nearest voxel of a surface is found in two steps:
within each slice by the Euclidean distance transform, then from slice to slice, only where there is surface and only as
far as a nearer voxel can lie. That is exact, several times as fast as the transform in three dimensions, and takes a
few slices of memory instead of 12 bytes a voxel. A k-d tree takes minutes where surfaces lie far apart (everything
predicted, against a lung).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pose.scores.near import squared_near, squared_of_pairs

SLAB_VOXELS = 1 << 22  # how many voxels of a mask are looked at at once
NEAR_SLICES = 4  # looked at for every voxel; slices farther off only for those that have found nothing nearer
BLOCK_SLICES = 16  # of those farther off are tried together first


@dataclass(frozen=True)
class Surface:
    """The surface voxels of a mask, slice after slice.

    Attributes:
        places: (voxels,) int32, flat index of each in its slice.
        starts: (slices + 1,) where the voxels of each slice start in ``places``.
        shape: (rows, columns) of a slice.
    """

    places: np.ndarray
    starts: np.ndarray
    shape: tuple[int, int]

    @property
    def by_slice(self) -> list[np.ndarray]:
        """The places of each slice."""
        return np.split(self.places, self.starts[1:-1])

    def only(self, chosen: np.ndarray) -> Surface:
        """Return the voxels of some ascending indices alone."""
        return Surface(self.places[chosen], np.searchsorted(chosen, self.starts), self.shape)


def slabs_of(mask: np.ndarray, margin: int = 0) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (first, last + 1, slab) of a few slices at a time, in which all that is not 0 is True.

    Args:
        mask: (rows, columns, slices) of any dtype and any order in memory.
        margin: slices that a slab has more at either end, where the mask has them.

    Yields:
        The slices that the slab is for, and (slices, rows, columns) bool, C order.
    """
    slices = mask.shape[2]
    thickness = max(SLAB_VOXELS // max(mask.shape[0] * mask.shape[1], 1), 1)
    for first in range(0, slices, thickness):
        stop = min(first + thickness, slices)
        part = mask[:, :, max(first - margin, 0) : min(stop + margin, slices)]
        yield first, stop, np.moveaxis(part, 2, 0).astype(bool, order="C", copy=False)


def joint_box(*masks: np.ndarray) -> tuple[slice, slice, slice]:
    """Return the tight box round all that is not 0 in any (rows, columns, slices) mask; an empty one where all are."""
    plane, along = np.zeros(masks[0].shape[:2], dtype=bool), np.zeros(masks[0].shape[2], dtype=bool)
    for mask in masks:
        for first, stop, slab in slabs_of(mask):
            plane |= slab.any(axis=0)
            along[first:stop] |= slab.any(axis=(1, 2))
    occupied = (np.flatnonzero(line) for line in (plane.any(axis=1), plane.any(axis=0), along))
    rows, columns, slices = (slice(line[0], line[-1] + 1) if line.size else slice(0, 0) for line in occupied)
    return rows, columns, slices


def outer_voxels(mask: np.ndarray) -> np.ndarray:
    """Return what an erosion of a bool array by the face-connected neighbours takes away; outside lies background."""
    # By whole arrays: ndimage's erosion takes twenty times as long, in which no other thread can work.
    inside = mask.copy()
    for axis in range(mask.ndim if mask.size else 0):
        left, whole = np.moveaxis(inside, axis, 0), np.moveaxis(mask, axis, 0)
        left[1:] &= whole[:-1]
        left[:-1] &= whole[1:]
        left[0] = left[-1] = False
    return mask & ~inside


def surface_of(mask: np.ndarray) -> Surface:
    """Return the surface of a (rows, columns, slices) mask."""
    places, counts = [], np.zeros(mask.shape[2], dtype=np.int64)
    for first, stop, slab in slabs_of(mask, margin=1):
        outer = outer_voxels(slab)[min(first, 1) :][: stop - first]
        for slice_index, found in enumerate(outer, start=first):
            places.append(np.flatnonzero(found).astype(np.int32))
            counts[slice_index] = places[-1].size
    starts = np.concatenate([[0], np.cumsum(counts)])
    return Surface(np.concatenate([np.zeros(0, np.int32), *places]), starts, mask.shape[:2])


def distances_to_surface(source: Surface, target: Surface, spacing_mm: np.ndarray) -> np.ndarray:
    """Measure how far every voxel of one surface is from the nearest voxel of another.

    Args:
        source: the voxels to measure from.
        target: the voxels to measure to, of a mask of the same shape.
        spacing_mm: (row, column, slice) distance between voxels.

    Returns:
        (voxels of source,) float64 in millimetres, in the order of ``source.places``; infinite for an empty target.
    """
    squared = np.full(source.places.size, np.inf)
    if not squared.size or not target.places.size:
        return squared
    squared = squared_near(source.by_slice, target.by_slice, source.shape, spacing_mm)
    left = np.flatnonzero(np.isinf(squared))
    if left.size:
        squared[left] = _squared_by_transform(source.only(left), target, spacing_mm)
    return np.sqrt(squared, out=squared)


def _squared_by_transform(source: Surface, target: Surface, spacing_mm: np.ndarray) -> np.ndarray:
    """Measure the squares of :func:`distances_to_surface`, near and far; neither surface is empty."""
    squared = np.full(source.places.size, np.inf)
    slices = len(source.starts) - 1
    filled = np.flatnonzero(np.diff(target.starts))
    # each slice is for those near it, and for those between it and the next ones: no voxel is left without a bound
    befores, afters = np.append(-1, filled[:-1]), np.append(filled[1:], slices)
    for slice_index, before, after in zip(filled, befores, afters, strict=True):
        span = (
            max(min(slice_index - NEAR_SLICES, before + 1), 0),
            min(max(slice_index + NEAR_SLICES + 1, after), slices),
        )
        if source.starts[span[0]] < source.starts[span[1]]:
            gaps = ((np.arange(*span) - slice_index) * spacing_mm[2]) ** 2
            _lower(squared, source, span, gaps, target, slice_index, spacing_mm)
    # a slice farther off can hold nothing nearer than its own distance
    far = np.flatnonzero(squared > ((NEAR_SLICES + 1) * spacing_mm[2]) ** 2)
    if far.size:
        squared[far] = _lowered_from_afar(squared[far], source.only(far), target, spacing_mm)
    return squared


def distances_in_space(source: np.ndarray, target: np.ndarray, matrix_mm: np.ndarray) -> np.ndarray:
    """Measure what :func:`distances_to_surface` does where the axes are not at right angles, by a k-d tree.

    Args:
        source, target: bool arrays of one shape, the surface voxels to measure from and to.
        matrix_mm: (n, axes), a column is the step in millimetres along an axis of the arrays.

    Returns:
        (voxels of source,) float64 in millimetres; infinite for an empty target.
    """
    from scipy.spatial import cKDTree

    points, others = (np.argwhere(mask) @ matrix_mm.T for mask in (source, target))
    if not len(points) or not len(others):
        return np.full(len(points), np.inf)
    return cKDTree(others).query(points)[0]


def _lowered_from_afar(squared: np.ndarray, source: Surface, target: Surface, spacing_mm: np.ndarray) -> np.ndarray:
    """Lower squared distances by all slices of the target, block by block, where a block can hold a nearer voxel."""
    slices, counts = np.arange(len(source.starts) - 1), np.diff(source.starts)
    for first in range(0, len(slices), BLOCK_SLICES):
        stop = min(first + BLOCK_SLICES, len(slices))
        if target.starts[first] == target.starts[stop]:
            continue
        # no slice of a block is nearer than all of its slices laid on each other, on the nearest one
        bounds = np.repeat((np.maximum(np.maximum(first - slices, slices - stop + 1), 0) * spacing_mm[2]) ** 2, counts)
        reached = np.flatnonzero(bounds < squared)
        if not reached.size:
            continue
        bounds = bounds[reached] + _in_plane(source.places[reached], target, first, stop, spacing_mm)
        reached = reached[bounds < squared[reached]]
        if not reached.size:
            continue
        part, lowered = source.only(reached), squared[reached]
        for slice_index in first + np.flatnonzero(np.diff(target.starts[first : stop + 1])):
            gaps = ((slices - slice_index) * spacing_mm[2]) ** 2
            _lower(lowered, part, (0, len(slices)), gaps, target, slice_index, spacing_mm)
        squared[reached] = lowered
    return squared


def _lower(
    squared: np.ndarray,
    source: Surface,
    span: tuple[int, int],
    gaps: np.ndarray,
    target: Surface,
    slice_index: int,
    spacing_mm: np.ndarray,
) -> None:
    """Lower the squared distances of the slices of ``span`` by a target slice, ``gaps`` (squared) away from each."""
    starts = source.starts[span[0] : span[1] + 1]
    part = slice(starts[0], starts[-1])
    places = source.places[part]
    there = target.places[target.starts[slice_index] : target.starts[slice_index + 1]]
    found = squared_of_pairs(places, there, target.shape[1], spacing_mm)
    if found is None:
        found = _in_plane(places, target, slice_index, slice_index + 1, spacing_mm)
    found += np.repeat(gaps, np.diff(starts))
    np.minimum(squared[part], found, out=squared[part])


def _in_plane(places: np.ndarray, target: Surface, first: int, stop: int, spacing_mm: np.ndarray) -> np.ndarray:
    """Return the squared distances of places of a slice to the surface of some slices laid on each other."""
    from scipy import ndimage

    background = np.ones(target.shape, dtype=bool)
    background.ravel()[target.places[target.starts[first] : target.starts[stop]]] = False
    nearest = ndimage.distance_transform_edt(
        background, sampling=spacing_mm[:2], return_distances=False, return_indices=True
    )
    rows, columns = (of_axis.ravel()[places] for of_axis in nearest)
    squared = ((places // target.shape[1] - rows) * spacing_mm[0]) ** 2
    squared += ((places % target.shape[1] - columns) * spacing_mm[1]) ** 2
    return squared
