"""Masks: whole labels, read and turned onto the voxels of their scan, and written so that they overlay it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pose.cli import UserError
from pose.scans.geometry import Grid, Reading, fit, reorientation
from pose.scans.segmentations import kind_of, read_segments
from pose.scans.volume import Volume, count_not_finite, read_volume, write_volume

LOGGER = logging.getLogger(__name__)

# How far from a whole number a label may be: what a scale in single precision makes of it.
LABEL_ROUNDING = 1e-3
MOST_COMPARED = 16


def read_mask(
    path: Path | str,
    like: Volume | None = None,
    swap_axes: bool = False,
    allow_geometry_mismatch: bool = False,
    labels: Sequence[int | str] | None = None,
) -> Volume:
    """Read a mask of whole, non-negative labels (0 is background), turned onto the voxels of the scan it belongs to.

    Files of segments (DICOM SEG and RTSTRUCT, .seg.nrrd) are read with their names, and only onto a scan. Labels within
    a thousandth of whole numbers are rounded, with a warning.

    Args:
        path: the file, of any format that :func:`read_volume` takes.
        like: the scan that the mask is fitted to, see :func:`mask_on`.
        swap_axes: as for :func:`read_volume`, where there is no ``like``.
        allow_geometry_mismatch: take a mask of another orientation or origin as its voxels lie, with a warning.
        labels: of a file of segments, read only these, by number or name: what overlaps them is left out.

    Returns:
        The mask in the smallest unsigned dtype that holds its labels.

    Raises:
        UserError: the file cannot be read, holds something else than labels, or does not fit ``like``.
    """
    kind = kind_of(path := Path(path))
    if kind is not None:
        if like is None:
            raise UserError(f"{path}: is a {kind} of a scan, and is read together with it alone")
        voxels, segments = read_segments(path, kind, like, labels)
        return replace(like, voxels=voxels, path=path, segments=segments)
    mask = read_volume(path, swap_axes and like is None)
    if like is not None:
        mask = mask_on(like, mask, allow_geometry_mismatch)
    return replace(mask, voxels=_labels(path, mask.voxels))


def mask_on(scan: Volume, mask: Volume, allow_geometry_mismatch: bool = False, at_slice: int | None = None) -> Volume:
    """Return a mask with its axes turned to those of its scan: one check for ground truth, seeds and prompts.

    A mask that lies on the grid of the scan, as any viewer has it, in whatever order and direction of axes is taken.
    An array without geometry is taken to have its axes in the order of the scan's file, and is turned as that was when
    it was read.

    Args:
        mask: as its file has it.
        allow_geometry_mismatch: take a mask of another orientation or origin as its voxels lie, with a warning.
        at_slice: a mask of one slice is meant for this one; it may lie there, or carry the geometry of the whole scan.

    Raises:
        UserError: the mask lies elsewhere than the scan, or has another spacing or shape.
    """
    of_scan = scan.grid
    if mask.affine is None or scan.affine is None:
        mask = Volume(_as_file_of(scan, mask), path=mask.path)
    else:
        turned = mask.voxels.transpose([mask.axes.index(axis) for axis in scan.axes])
        mask = replace(mask, voxels=turned, swap_axes=scan.swap_axes, slice_axis=scan.slice_axis, spacing_mm=None)
    grid = mask.grid
    if grid.readings and mask.header is not None and not mask.header.has_unit and scan.header is not None:
        in_unit = np.diag([*[scan.header.millimetres] * 3, 1.0])
        stated = Reading("the unit of the scan, as it states none", in_unit @ grid.readings[0].affine)
        grid = grid._replace(readings=(*grid.readings, stated))
    if at_slice is not None and is_one_slice(mask, scan):
        of_scan = _grid_of_slice(grid, of_scan, at_slice)
    voxels = fit(grid, of_scan, allow_geometry_mismatch).apply(mask.voxels)
    if of_scan.shape != scan.voxels.shape or scan.affine is None:
        return Volume(voxels, path=mask.path)
    return replace(scan, voxels=voxels, path=mask.path)


def is_one_slice(mask: Volume, scan: Volume) -> bool:
    """Tell whether a mask has the voxels of one slice of a scan of several."""
    return mask.voxels.size == scan.voxels[:, :, 0].size != scan.voxels.size


def labels_of(labels: np.ndarray) -> list[int]:
    """Return the labels above 0 of (rows, columns, slices) bool or whole numbers from 0, in ascending order."""
    known = {0}
    for slice_index in range(labels.shape[2]):
        here = labels[:, :, slice_index]
        # to sort the voxels, or to count those of each label, takes many times as long as to compare them with a few
        few = len(known) <= MOST_COMPARED
        if not few or sum(np.count_nonzero(here == label) for label in known) < here.size:
            known.update(map(int, np.unique(here)))
    return sorted(known - {0})


def write_mask(path: Path | str, labels: np.ndarray, like: Volume) -> None:
    """Write labels in the geometry of the scan they were found on, so that they overlay it in any viewer.

    They are stored as uint8, above 255 in the next larger unsigned dtype that holds them. A NIfTI file carries the
    geometry fields of the scan's own.

    Args:
        path: .nii.gz or .nii, or .npz where the geometry of ``like`` is unknown.
        labels: (rows, columns, slices) bool or integer from 0, in the axes of ``like.voxels``.
        like: the scan.

    Raises:
        UserError: as for :func:`write_volume`.
        ValueError: ``labels`` has another shape than ``like.voxels``, or other values.
    """
    if labels.shape != like.voxels.shape:
        raise ValueError(f"labels of shape {labels.shape} for a scan of shape {like.voxels.shape}")
    if labels.dtype.kind not in "bui" or labels.min() < 0:
        raise ValueError(f"labels are bool or integers from 0, not {labels.dtype} from {labels.min()}")
    write_volume(path, replace(like, voxels=labels.astype(np.min_scalar_type(int(labels.max())), copy=False)))


def _as_file_of(scan: Volume, mask: Volume) -> np.ndarray:
    """Return the voxels of a mask that has its axes in the order of the scan's file, turned as that was."""
    if mask.axes != (0, 1, 2) or scan.file_axes == (0, 1, 2):
        return mask.voxels  # has been turned when it was made, or there is nothing to turn
    axes = scan.file_axes
    if mask.voxels.shape[2] == 1 != scan.voxels.shape[2]:
        axes = (1, 0, 2) if axes[0] > axes[1] else (0, 1, 2)  # one slice has its two axes alone
    if axes != (0, 1, 2) and scan.affine is not None:
        text = "%s: has no geometry; its axes are taken in the order of the file %s, and turned as that is shown"
        LOGGER.info(text, mask.path or "the mask", scan.path or "of the scan")
    return mask.voxels.transpose(axes)


def _grid_of_slice(mask: Grid, scan: Grid, slice_index: int) -> Grid:
    """Return the grid that a mask of one slice is compared with: that slice, or the first where the mask lies there."""
    for one in (scan.at_slice(slice_index), scan.at_slice(0)):
        if any(
            reorientation(of_mask.affine, mask.shape, of_scan.affine, one.shape)
            for of_mask in mask.readings
            for of_scan in one.readings
        ):
            return one
    return scan.at_slice(slice_index)


def _labels(path: Path, voxels: np.ndarray) -> np.ndarray:
    """Return the labels of a mask in the smallest unsigned dtype; raise UserError where voxels are none."""
    of_mask = "the labels of a mask are whole numbers"
    if unusable := count_not_finite(voxels):
        raise UserError(f"{path}: {unusable} voxels are NaN or infinite; {of_mask} from 0")
    lowest, highest = voxels.min(), voxels.max()
    if not (lowest >= -LABEL_ROUNDING and highest < 2**64):
        raise UserError(f"{path}: values from {lowest} to {highest}; {of_mask} from 0")
    if voxels.dtype.kind != "f":
        return voxels.astype(np.min_scalar_type(int(highest)), copy=False)
    labels = np.empty_like(voxels, dtype=np.min_scalar_type(int(np.rint(highest))))
    rounded = 0
    for slice_index in range(voxels.shape[2]):
        here = voxels[:, :, slice_index]
        whole = np.rint(here)
        away = np.abs(here - whole)
        if away.max() > LABEL_ROUNDING:
            save = "save them as such: numpy.rint(labels).astype(numpy.uint8), where they are meant so"
            raise UserError(f"{path}: value {here[away > LABEL_ROUNDING][0]}; {of_mask}; {save}")
        rounded += np.count_nonzero(away)
        labels[:, :, slice_index] = whole
    if rounded:
        text = "%s: %d voxels are no whole numbers, by less than %g; rounded"
        LOGGER.warning(text, path, rounded, LABEL_ROUNDING)
    return labels
