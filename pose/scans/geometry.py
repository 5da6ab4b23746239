"""Geometry: which axes slices have, whether a mask lies where its scan does, and how its axes are turned to lie so."""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np

from pose.cli import UserError

LOGGER = logging.getLogger(__name__)

TOLERANCE_MM = 1e-3
# Cosine of the angle of two axes from which they are no longer at right angles: a tenth of a millimetre in a metre.
SHEAR = 1e-4
# How many times as far apart as pixels slices lie, from which on the axis of slices is told by it.
THICK_SLICES = 1.5
# Of the cell that the directions of the axes span, 1 where they are at right angles: below, they lie in a plane.
LEAST_VOLUME = 1e-6
# Larger numbers are of no patient, and their products soon beyond single precision.
LARGEST_MM = 1e9
# RAS, of NIfTI, and LPS, of DICOM and ITK, differ in the direction of two axes: the same signs lead there and back.
LPS_SIGNS = np.array([-1.0, -1.0, 1.0])
LPS_TO_RAS = np.diag([*LPS_SIGNS, 1.0])


class Reading(NamedTuple):
    """A place where a viewer may see a volume.

    Attributes:
        what: of the header is read so, as people say it; empty for the way of this project.
        affine: (4, 4) from voxel indices to millimetres.
    """

    what: str
    affine: np.ndarray


class Grid(NamedTuple):
    """Where the voxels of a volume lie: what two volumes are compared by.

    Attributes:
        name: the file, or what the volume is called where it has none.
        shape: (rows, columns, slices).
        readings: the places of its voxels, by (row, column, slice), that of this project first; none where unknown.
    """

    name: str
    shape: tuple[int, ...]
    readings: tuple[Reading, ...] = ()

    def at_slice(self, slice_index: int) -> Grid:
        """Return the grid of one slice alone."""
        moved = np.eye(4)
        moved[2, 3] = slice_index
        readings = tuple(Reading(what, affine @ moved) for what, affine in self.readings)
        return Grid(self.name, (*self.shape[:2], 1), readings)


class Reorientation(NamedTuple):
    """How the axes of a mask are turned to be those of a scan; it moves voxels, never between them.

    Attributes:
        axes: for each axis of the scan, the axis of the mask that runs along it.
        flips: for each axis of the scan, whether the mask runs the other way.
    """

    axes: tuple[int, ...] = (0, 1, 2)
    flips: tuple[bool, ...] = (False, False, False)

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Return a view of an array of three axes, turned."""
        return array.transpose(self.axes)[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]

    def place(self, voxel: tuple[int, int, int], shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Return where a voxel of an array of ``shape`` lies in the turned one."""
        pairs = zip(self.axes, self.flips, strict=True)
        row, column, slice_index = (shape[axis] - 1 - voxel[axis] if flip else voxel[axis] for axis, flip in pairs)
        return row, column, slice_index

    def affine(self, affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return the (4, 4) affine of the turned array of one of ``shape`` and ``affine``."""
        turned = affine.copy()
        for axis, (source, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            turned[:3, axis] = -affine[:3, source] if flip else affine[:3, source]
            if flip:
                turned[:3, 3] += (shape[source] - 1) * affine[:3, source]
        return turned


class Difference(NamedTuple):
    """A fact of which a mask and its scan have two versions, as people read them."""

    what: str
    of_mask: str
    of_scan: str


def is_geometry(affine: np.ndarray) -> bool:
    """Tell whether a (4, 4) affine puts voxels in space: three directions that differ, with lengths NIfTI can hold."""
    if not np.isfinite(affine).all() or np.abs(affine).max() > LARGEST_MM:
        return False
    spacing = spacing_of(affine)
    return bool((spacing > 1 / LARGEST_MM).all() and abs(np.linalg.det(affine[:3, :3] / spacing)) > LEAST_VOLUME)


def spacing_of(affine: np.ndarray) -> np.ndarray:
    """Return the distance of voxels along each axis in mm, (3,)."""
    return np.linalg.norm(affine[:3, :3], axis=0)


def differences(of_mask: np.ndarray, of_scan: np.ndarray) -> list[Difference]:
    """Compare two (4, 4) affines to millimetres; none where both are the same place to a thousandth of one.

    Orientations are given as the directions that the axes of the array point in (R right, A anterior, S superior and
    their opposites), and as direction cosines, an axis a column.
    """
    found = []
    spacings = spacing_of(of_mask), spacing_of(of_scan)
    if not _close(*spacings):
        found.append(Difference("spacing", *(" x ".join(f"{value:.6g}" for value in one) + " mm" for one in spacings)))
    if not _close(of_mask[:3, :3] / spacings[0] * spacings[1], of_scan[:3, :3]):
        found.append(Difference("orientation", _orientation_text(of_mask), _orientation_text(of_scan)))
    if not _close(of_mask[:3, 3], of_scan[:3, 3]):
        origins = (", ".join(f"{value:.8g}" for value in one[:3, 3]) for one in (of_mask, of_scan))
        found.append(Difference("origin", *(f"({origin}) mm" for origin in origins)))
    return found


def is_sheared(affine: np.ndarray) -> bool:
    """Tell whether the axes of a (4, 4) or (3, 3) affine are not at right angles, as of a CT with a tilted gantry."""
    directions = affine[:3, :3] / spacing_of(affine)
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() > SHEAR)


def slice_axis_of(affine: np.ndarray, shape: tuple[int, ...]) -> int:
    """Return the axis of an array along which its slices lie.

    That is the one of length 1 where there is one; else that along which voxels lie at least 1.5 times as far apart as
    along both others; else the last.
    """
    single = [axis for axis, length in enumerate(shape[:3]) if length == 1]
    if len(single) == 1:
        return single[0]
    spacing = spacing_of(affine)
    thickest = int(spacing.argmax())
    return thickest if single == [] and spacing[thickest] >= THICK_SLICES * np.delete(spacing, thickest).max() else 2


def rows_first(affine: np.ndarray, slice_axis: int = 2) -> bool:
    """Tell whether the two axes of a slice must be swapped, so that rows are what people call rows.

    Rows run from front to back in an axial slice, and from head to feet in a coronal or a sagittal one; whether
    forwards or backwards is left as it is.
    """
    from nibabel.orientations import io_orientation

    axes = np.delete(io_orientation(affine)[:, 0], slice_axis)
    # of axes 0 left-right, 1 front-back and 2 head-feet, the last one goes down the rows
    return bool(axes[0] < axes[1])


def plane_of(affine: np.ndarray, slice_axis: int = 2) -> str:
    """Return what the slices along an axis are called: sagittal, coronal or axial."""
    from nibabel.orientations import io_orientation

    return ("sagittal", "coronal", "axial")[int(io_orientation(affine)[slice_axis, 0])]


def orientation_of(affine: np.ndarray) -> str:
    """Return the directions that the axes of an array point in, as three of the letters R L A P S I."""
    from nibabel import aff2axcodes

    return "".join(aff2axcodes(affine))


def turn_between(orientation: str, other: str) -> Reorientation:
    """Return how an array whose axes point in ``orientation`` is turned for them to point in ``other``.

    Raises:
        ValueError: one of them is not three letters for the three directions of space.
    """
    pairs = ("RL", "AP", "SI")
    directions = [
        [index for code in one for index, pair in enumerate(pairs) if code in pair] for one in (orientation, other)
    ]
    if any(len(one) != 3 or sorted(found) != [0, 1, 2] for one, found in zip((orientation, other), directions)):
        raise ValueError(f"{orientation!r:.20} and {other!r:.20} are not both three directions such as LPS")
    axes = tuple(directions[0].index(direction) for direction in directions[1])
    return Reorientation(axes, tuple(orientation[axis] != code for axis, code in zip(axes, other)))


def reorientation(
    of_mask: np.ndarray, mask_shape: tuple[int, ...], of_scan: np.ndarray, scan_shape: tuple[int, ...]
) -> Reorientation | None:
    """Return how the axes of one grid are turned to be the other to a thousandth of a millimetre; None where they
    are not.

    Args:
        of_mask, of_scan: (4, 4) affines to millimetres.
        mask_shape, scan_shape: lengths of their three axes.
    """
    whole = np.rint(np.linalg.solve(of_scan[:3, :3], of_mask[:3, :3]))
    steps = np.abs(whole)
    if not ((steps.sum(axis=0) == 1).all() and (steps.sum(axis=1) == 1).all()):
        return None
    axes = tuple(steps.argmax(axis=1).tolist())
    turn = Reorientation(axes, tuple(bool(whole[axis, source] < 0) for axis, source in enumerate(axes)))
    if tuple(mask_shape[source] for source in axes) != tuple(scan_shape):
        return None
    return None if differences(turn.affine(of_mask, mask_shape), of_scan) else turn


def fit(mask: Grid, scan: Grid, allow_mismatch: bool = False) -> Reorientation:
    """Return how a mask is turned to lie on the voxels of its scan; that it must be turned is said in the log.

    Where a scan is seen at different places by different viewers, a mask at any of them is taken. A mask or a scan of
    unknown geometry is compared by its shape alone.

    Args:
        allow_mismatch: True lets a mask of another orientation or origin pass voxel by voxel, with a warning.

    Raises:
        UserError: the mask lies elsewhere, or has another spacing or shape.
    """
    for mask_reading in mask.readings:
        for scan_reading in scan.readings:
            turn = reorientation(mask_reading.affine, mask.shape, scan_reading.affine, scan.shape)
            if turn is not None:
                _log_fit(mask, mask_reading, scan, scan_reading, turn)
                return turn
    if not (mask.readings and scan.readings):
        _check_shape(mask, scan)
        return Reorientation()
    resample = "resample it onto the voxels of the scan (nibabel.processing.resample_from_to with order=0)"
    found = differences(mask.readings[0].affine, scan.readings[0].affine)
    if mask.shape != scan.shape:
        sizes = Difference("shape", *(" x ".join(map(str, one.shape)) for one in (mask, scan)))
        raise UserError(f"{mask.name}: {_sentence([sizes, *found], scan.name)}; {_DRAWN}, or {resample}")
    sentence = f"{mask.name}: {_sentence(found, scan.name)}"
    if any(one.what == "spacing" for one in found):
        raise UserError(f"{sentence}; {resample}")
    if not allow_mismatch:
        forced = "where the header is wrong, --allow_geometry_mismatch takes the mask voxel by voxel as it lies"
        raise UserError(f"{sentence}; {resample}, or, {forced}")
    LOGGER.warning("%s; taken voxel by voxel as it lies (--allow_geometry_mismatch)", sentence)
    return Reorientation()


_DRAWN = "give the mask that was drawn on this scan"


def _check_shape(mask: Grid, scan: Grid) -> None:
    if mask.shape == scan.shape:
        return
    sizes = Difference("shape", *(" x ".join(map(str, one.shape)) for one in (mask, scan)))
    advice = _DRAWN
    if not mask.readings and sorted(mask.shape) == sorted(scan.shape):
        advice = "an array without geometry has its axes in the order of the scan's file: save it so, or as NIfTI"
    raise UserError(f"{mask.name}: {_sentence([sizes], scan.name)}; {advice}")


def _log_fit(mask: Grid, mask_reading: Reading, scan: Grid, scan_reading: Reading, turn: Reorientation) -> None:
    if scan_reading.what:
        LOGGER.info("%s: lies where %s is by %s; taken", mask.name, scan.name, scan_reading.what)
    if mask_reading.what:
        LOGGER.info("%s: taken by %s", mask.name, mask_reading.what)
    if turn != Reorientation():
        of_mask, of_scan = (orientation_of(one.affine) for one in (mask_reading, scan_reading))
        text = "%s: its axes are %s, those of %s %s; reoriented voxel by voxel"
        LOGGER.info(text, mask.name, of_mask, scan.name, of_scan)


def affine_text(affine: np.ndarray) -> str:
    """Return the first three rows of an affine on one line."""
    return "[" + "; ".join(" ".join(f"{value:.8g}" for value in row) for row in affine[:3]) + "]"


def _close(one: np.ndarray, other: np.ndarray) -> bool:
    return np.allclose(one, other, rtol=0, atol=TOLERANCE_MM)


def _sentence(found: list[Difference], of: object) -> str:
    first, *rest = found
    parts = [f"{first.what} {first.of_mask} differs from {first.of_scan} of {of}"]
    parts += [f"{one.what} {one.of_mask} from {one.of_scan}" for one in rest]
    return ", ".join(parts)


def _orientation_text(affine: np.ndarray) -> str:
    cosines = affine[:3, :3] / spacing_of(affine)
    rows = "; ".join(" ".join(f"{value + 0.0:.4g}" for value in row) for row in cosines.round(4))
    return f"{orientation_of(affine)} [{rows}]"
