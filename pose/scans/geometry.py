"""Geometry: whether a mask lies where its scan does, and what of shape, spacing, orientation and origin differs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pose.cli import UserError

LOGGER = logging.getLogger(__name__)

TOLERANCE_MM = 1e-3
# Of the cell that the directions of the axes span, 1 where they are at right angles: below, they lie in a plane.
LEAST_VOLUME = 1e-6
# Larger numbers are of no patient, and their products soon beyond single precision.
LARGEST_MM = 1e9


class Grid(NamedTuple):
    """Where the voxels of a volume lie: what two volumes are compared by.

    Attributes:
        name: the file, or what the volume is called where it has none.
        shape: (rows, columns, slices).
        affine: (4, 4) from voxel indices of the source file to millimetres; None where unknown.
        swap_axes: whether the first two axes of the source were swapped.
    """

    name: str
    shape: tuple[int, ...]
    affine: np.ndarray | None
    swap_axes: bool


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


def check_same_grid(mask: Grid, scan: Grid, allow_mismatch: bool = False) -> None:
    """Refuse a mask that does not lie where its scan does, as far as both geometries are known.

    Args:
        allow_mismatch: True lets a mask of another orientation or origin pass, with a warning.

    Raises:
        UserError: the shape, the order of axes or the spacing differs, or what ``allow_mismatch`` does not let pass.
    """
    of = scan.name
    if mask.shape != scan.shape:
        sizes = (" x ".join(map(str, one.shape)) for one in (mask, scan))
        different = Difference("shape", *sizes)
        raise UserError(f"{mask.name}: {_sentence([different], of)}; give the mask that was drawn on this scan")
    if mask.affine is None or scan.affine is None:
        return
    if mask.swap_axes != scan.swap_axes:
        how, other = ("with", "without") if mask.swap_axes else ("without", "with")
        raise UserError(f"{mask.name}: was made {how} --swap_axes, {of} {other} it; convert one of them again")
    found = differences(mask.affine, scan.affine)
    if not found:
        return
    sentence = f"{mask.name}: {_sentence(found, of)}"
    if any(one.what == "spacing" for one in found):
        raise UserError(f"{sentence}; resample the mask to the voxels of the scan")
    if not allow_mismatch:
        raise UserError(f"{sentence}; --allow_geometry_mismatch takes the mask voxel by voxel as it lies")
    LOGGER.warning("%s; taken voxel by voxel as it lies (--allow_geometry_mismatch)", sentence)


def geometry_of_facts(
    path: Path, facts: dict[str, Any]
) -> tuple[np.ndarray | None, tuple[float, float, float] | None, bool]:
    """Return (affine, spacing_mm, swap_axes) as working data records them under these names; None where unknown.

    Raises:
        UserError: a fact that is no geometry; ``path`` is the file that states it.
    """
    swap_axes = facts.get("swap_axes", False)
    if not isinstance(swap_axes, bool):
        raise UserError(f"{path}: swap_axes is {swap_axes}; expected true or false")
    affine = _numbers(path, facts, "affine", (4, 4))
    if affine is not None and not is_geometry(affine):
        raise UserError(f"{path}: affine is {affine_text(affine)}, which is no geometry; convert the scan again")
    spacing = _numbers(path, facts, "spacing_mm", (3,))
    if spacing is not None and not (spacing > 0).all():
        raise UserError(f"{path}: spacing_mm is {spacing.tolist()}; expected millimetres above 0")
    return affine, None if spacing is None else tuple(spacing.tolist()), swap_axes


def affine_text(affine: np.ndarray) -> str:
    """Return the first three rows of an affine on one line."""
    return "[" + "; ".join(" ".join(f"{value:.8g}" for value in row) for row in affine[:3]) + "]"


def _numbers(path: Path, facts: dict[str, Any], key: str, shape: tuple[int, ...]) -> np.ndarray | None:
    if facts.get(key) is None:
        return None
    try:
        numbers = np.array(facts[key], dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        numbers = np.empty(0)
    if numbers.shape != shape or not np.isfinite(numbers).all():
        raise UserError(f"{path}: {key} is {facts[key]}; expected {' x '.join(map(str, shape))} finite numbers")
    return numbers


def _close(one: np.ndarray, other: np.ndarray) -> bool:
    return np.allclose(one, other, rtol=0, atol=TOLERANCE_MM)


def _sentence(found: list[Difference], of: object) -> str:
    first, *rest = found
    parts = [f"{first.what} {first.of_mask} differs from {first.of_scan} of {of}"]
    parts += [f"{one.what} {one.of_mask} from {one.of_scan}" for one in rest]
    return ", ".join(parts)


def _orientation_text(affine: np.ndarray) -> str:
    from nibabel import aff2axcodes

    cosines = affine[:3, :3] / spacing_of(affine)
    rows = "; ".join(" ".join(f"{value + 0.0:.4g}" for value in row) for row in cosines.round(4))
    return f"{''.join(aff2axcodes(affine))} [{rows}]"
