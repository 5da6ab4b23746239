"""Jaccard, Dice and surface distances; what an empty slice means is defined here, once.

Overlap of two empty masks is undefined (nan); it is 0 where only one of them is empty. A distance to a surface that is
not there is infinite, so that a lost object shows in every table instead of dropping out of the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from pose.scores import surface
from pose.scores.near import squared_near, squared_of_pairs

SURFACE_TOLERANCES_MM = (1, 2)

# NIfTI keeps spacings in single precision: ten voxels of 0.1 mm come out as 1.00000001 mm, yet are within 1 mm.
_TOLERANCE_MARGIN = 1 + 1e-6

# The transform of a small volume as a whole is over before the slices have been taken apart.
MOST_VOXELS_AT_ONCE = 1 << 17


def jaccard(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Return the intersection over the union of two masks of equal shape: 0 to 1, nan where both are empty.

    Raises:
        ValueError: the shapes differ.
    """
    return overlap(truth, prediction)[0]


def dice(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Return twice the intersection over the sum of two masks of equal shape: 0 to 1, nan where both are empty.

    Raises:
        ValueError: the shapes differ.
    """
    return overlap(truth, prediction)[1]


def overlap(truth: np.ndarray, prediction: np.ndarray) -> tuple[float, float]:
    """Return :func:`jaccard` and :func:`dice`, counted once.

    Raises:
        ValueError: the shapes differ.
    """
    truth, prediction = _as_masks(truth, prediction)
    both = np.count_nonzero(truth) + np.count_nonzero(prediction)
    common = np.count_nonzero(truth & prediction)
    return _jaccard_of(common, both), _dice_of(common, both)


@dataclass(frozen=True)
class SurfaceDistances:
    """From every surface voxel of one mask to the nearest surface voxel of the other, in millimetres.

    Attributes:
        truth_to_prediction: (surface voxels of the truth,) float64, infinite where nothing is predicted.
        prediction_to_truth: (surface voxels of the prediction,) float64, infinite where there is no truth.
    """

    truth_to_prediction: np.ndarray
    prediction_to_truth: np.ndarray

    def hausdorff_95_mm(self) -> float:
        """Return the larger of the two directed 95th percentiles; nan where both masks are empty, inf where one is."""
        directed = (self.truth_to_prediction, self.prediction_to_truth)
        empty = sum(distances.size == 0 for distances in directed)
        if empty:
            return float("nan") if empty == 2 else float("inf")
        return float(max(_percentile_95(distances) for distances in directed))

    def surface_dice(self, tolerance_mm: float) -> float:
        """Return the share of both surfaces within ``tolerance_mm`` of the other; nan where both masks are empty."""
        total = self.truth_to_prediction.size + self.prediction_to_truth.size
        if total == 0:
            return float("nan")
        limit = tolerance_mm * _TOLERANCE_MARGIN
        directed = (self.truth_to_prediction, self.prediction_to_truth)
        return sum(np.count_nonzero(distances <= limit) for distances in directed) / total


def _percentile_95(distances: np.ndarray) -> float:
    # between two infinite distances, a value half-way is nan
    return np.percentile(distances, 95, method="linear" if np.isfinite(distances).all() else "higher")


def surface_distances(
    truth: np.ndarray, prediction: np.ndarray, spacing_mm: np.ndarray | Sequence[float]
) -> SurfaceDistances:
    """Measure the distances between the surfaces of two masks; compute once, reduce as often as needed.

    The surface of a mask is what an erosion by the face-connected neighbours takes away; beyond the border of the array
    lies background.

    Args:
        truth: mask of two or three dimensions.
        prediction: mask of the same shape.
        spacing_mm: distance between voxels along each axis; or, where the axes are not at right angles, a matrix whose
            columns are the steps along each axis.

    Raises:
        ValueError: the shapes differ, or the spacing does not fit them.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    _check_shapes(truth, prediction)
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    lengths = np.linalg.norm(spacing, axis=0) if spacing.ndim == 2 else spacing
    if lengths.shape != (truth.ndim,) or not np.all(np.isfinite(lengths) & (lengths > 0)):
        raise ValueError(f"spacing_mm {spacing.tolist()} is not {truth.ndim} distances above 0")
    distances_between = surface.distances_in_space if spacing.ndim == 2 else _distances_between
    if spacing.ndim == 1 and truth.ndim == 3 and truth.size > MOST_VOXELS_AT_ONCE:
        box: tuple[slice, ...] = surface.joint_box(truth, prediction)
        with ThreadPoolExecutor(2) as workers:
            surfaces = list(workers.map(lambda mask: surface.surface_of(mask[box]), (truth, prediction)))
            ways = workers.map(surface.distances_to_surface, surfaces, surfaces[::-1], repeat(spacing))
            return SurfaceDistances(*ways)
    truth, prediction = _as_masks(truth, prediction)
    box = _joint_bounding_box(truth, prediction)
    outer = [surface.outer_voxels(truth[box]), surface.outer_voxels(prediction[box])]
    if truth.ndim == 2:  # a thread for each of many slices costs more than it brings
        return SurfaceDistances(*map(distances_between, outer, outer[::-1], repeat(spacing)))
    with ThreadPoolExecutor(2) as workers:
        return SurfaceDistances(*workers.map(distances_between, outer, outer[::-1], repeat(spacing)))


def slice_metrics(
    truth: np.ndarray | None, prediction: np.ndarray, spacing_mm: np.ndarray | Sequence[float] | None
) -> dict[str, float | int | None]:
    """Score one slice.

    Args:
        truth: (rows, columns) mask of the ground truth; None where there is none for the whole volume.
        prediction: (rows, columns) mask.
        spacing_mm: (row, column) distance, a third value is not looked at; or a matrix of which the first two columns
            are; None where unknown.

    Returns:
        jaccard, dice, ground_truth_voxels, predicted_voxels, false_positive_voxels (what is predicted on a slice whose
        ground truth is empty; 0 on the others) and hd95_mm (in plane), in this order. Undefined values are nan or None.
    """
    predicted_voxels = int(np.count_nonzero(prediction))
    if truth is None:
        return {
            "jaccard": float("nan"),
            "dice": float("nan"),
            "ground_truth_voxels": None,
            "predicted_voxels": predicted_voxels,
            "false_positive_voxels": None,
            "hd95_mm": float("nan"),
        }
    ground_truth_voxels = int(np.count_nonzero(truth))
    jaccard_of_slice, dice_of_slice = overlap(truth, prediction)
    hd95_mm = float("nan")
    if spacing_mm is not None:
        hd95_mm = hausdorff_95_of_slice(truth, prediction, spacing_mm)
    return {
        "jaccard": jaccard_of_slice,
        "dice": dice_of_slice,
        "ground_truth_voxels": ground_truth_voxels,
        "predicted_voxels": predicted_voxels,
        "false_positive_voxels": 0 if ground_truth_voxels else predicted_voxels,
        "hd95_mm": hd95_mm,
    }


def hausdorff_95_of_slice(truth: np.ndarray, prediction: np.ndarray, spacing_mm: np.ndarray | Sequence[float]) -> float:
    """Return the 95th percentile of the distances in a slice, see :func:`slice_metrics`, whose arguments these are."""
    return surface_distances(truth, prediction, _in_plane(spacing_mm)).hausdorff_95_mm()


def volume_metrics(
    truth: np.ndarray,
    prediction: np.ndarray,
    spacing_mm: np.ndarray | Sequence[float] | None,
    counted_slices: np.ndarray | None = None,
) -> dict[str, float | int]:
    """Score a whole volume; a few slices at a time are copied, never the volume.

    Args:
        truth: (rows, columns, slices) mask of the ground truth, or labels: all that is not 0 counts.
        prediction: (rows, columns, slices) mask or labels.
        spacing_mm: (row, column, slice) distance, or a matrix as for :func:`surface_distances`; None where unknown.
        counted_slices: (slices,) bool, those that are scored; None for all. Where some are not, the surface from slice
            to slice is not known: distances are then in plane, those of all slices together.

    Returns:
        volume_jaccard, volume_dice; where the spacing is known, volume_hd95_mm, volume_surface_dice_1mm and
        volume_surface_dice_2mm (in plane for a single slice, all of whose voxels would else count as surface);
        false_positive_voxels (predicted on slices without ground truth) and missed_slices (with ground truth, and
        nothing predicted).
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    _check_shapes(truth, prediction)
    in_plane = truth.shape[2] == 1
    if counted_slices is not None and not counted_slices.all():
        truth, prediction, in_plane = truth[:, :, counted_slices], prediction[:, :, counted_slices], True
    true_voxels, predicted_voxels, common_voxels = _voxels_by_slice(truth, prediction)
    both, common = int(true_voxels.sum() + predicted_voxels.sum()), int(common_voxels.sum())
    values: dict[str, float | int] = {
        "volume_jaccard": _jaccard_of(common, both),
        "volume_dice": _dice_of(common, both),
    }
    if spacing_mm is not None:
        if in_plane:
            distances = _distances_in_plane(truth, prediction, spacing_mm)
        else:
            distances = surface_distances(truth, prediction, spacing_mm)
        values["volume_hd95_mm"] = distances.hausdorff_95_mm()
        for tolerance in SURFACE_TOLERANCES_MM:
            values[f"volume_surface_dice_{tolerance}mm"] = distances.surface_dice(tolerance)
    values["false_positive_voxels"] = int(predicted_voxels[true_voxels == 0].sum())
    values["missed_slices"] = int(np.count_nonzero((true_voxels > 0) & (predicted_voxels == 0)))
    return values


def _in_plane(spacing_mm: np.ndarray | Sequence[float]) -> np.ndarray:
    """Return the spacing of rows and columns alone: two distances, or a matrix of two columns."""
    return np.asarray(spacing_mm, dtype=np.float64)[..., :2]


def _distances_in_plane(
    truth: np.ndarray, prediction: np.ndarray, spacing_mm: np.ndarray | Sequence[float]
) -> SurfaceDistances:
    """Return the distances within each slice, of all slices together."""
    in_plane = _in_plane(spacing_mm)
    found = [
        surface_distances(truth[:, :, slice_index], prediction[:, :, slice_index], in_plane)
        for slice_index in range(truth.shape[2])
    ]
    return SurfaceDistances(
        np.concatenate([one.truth_to_prediction for one in found]),
        np.concatenate([one.prediction_to_truth for one in found]),
    )


def _jaccard_of(common: int, both: int) -> float:
    """Return the Jaccard index from the voxels that two masks share, and those of one plus those of the other."""
    return common / (both - common) if both else float("nan")


def _dice_of(common: int, both: int) -> float:
    """Return the Dice coefficient from the same counts."""
    return 2 * common / both if both else float("nan")


def _voxels_by_slice(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return (3, slices) counts: voxels of the truth, of the prediction, and of both."""
    counts = np.zeros((3, truth.shape[2]), dtype=np.int64)
    slabs = zip(surface.slabs_of(truth), surface.slabs_of(prediction), strict=True)
    for (first, stop, true), (_, _, predicted) in slabs:
        for row, voxels in enumerate((true, predicted, true & predicted)):
            counts[row, first:stop] = np.count_nonzero(voxels.reshape(stop - first, -1), axis=1)
    return counts


def _as_masks(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    _check_shapes(truth, prediction)
    return truth.astype(bool, copy=False), prediction.astype(bool, copy=False)


def _check_shapes(truth: np.ndarray, prediction: np.ndarray) -> None:
    if truth.shape != prediction.shape:
        raise ValueError(f"masks of different shapes: truth {truth.shape}, prediction {prediction.shape}")


def _joint_bounding_box(truth: np.ndarray, prediction: np.ndarray) -> tuple[slice, ...]:
    box = []
    for axis in range(truth.ndim):
        others = tuple(other for other in range(truth.ndim) if other != axis)
        occupied = np.flatnonzero(truth.any(axis=others) | prediction.any(axis=others))
        box.append(slice(occupied[0], occupied[-1] + 1) if occupied.size else slice(0, 0))
    return tuple(box)


def _distances_between(source: np.ndarray, target: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Return, for every voxel of ``source``, the distance to the nearest voxel of ``target``."""
    if not source.any() or not target.any():
        return np.full(np.count_nonzero(source), np.inf)
    places = np.flatnonzero(source)
    if source.ndim == 3:
        return np.sqrt(_squared_by_transform(places, target, spacing))
    there, width = np.flatnonzero(target), source.shape[1]
    squared = squared_near([places], [there], source.shape, spacing)
    far = np.flatnonzero(np.isinf(squared))
    if far.size:
        found = squared_of_pairs(places[far], there, width, spacing)
        squared[far] = _squared_by_transform(places[far], target, spacing) if found is None else found
    return np.sqrt(squared)


def _squared_by_transform(places: np.ndarray, target: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Return the squared distances of voxels, by flat index, from the nearest of ``target``."""
    from scipy import ndimage

    nearest = ndimage.distance_transform_edt(~target, sampling=spacing, return_distances=False, return_indices=True)
    squared = np.zeros(places.size)
    for axis, positions in enumerate(np.unravel_index(places, target.shape)):
        squared += ((positions - nearest[axis].ravel()[places]) * spacing[axis]) ** 2
    return squared
