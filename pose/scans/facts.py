"""Facts: what working data says of where its voxels lie, in members of an .npz or in the .json beside a .npy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pose.cli import UserError
from pose.scans.geometry import affine_text, is_geometry
from pose.scans.nifti_geometry import FACT_KEYS, NiftiGeometry

# those that every file has; the further ones came later
FIRST_KEYS = ("affine", "spacing_mm", "swap_axes")
KEYS = (*FIRST_KEYS, "slice_axis", *FACT_KEYS)


def geometry_of_facts(path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Return affine, spacing_mm, swap_axes, slice_axis and header of a volume as working data records them.

    Raises:
        UserError: a fact that is no geometry; ``path`` is the file that states it.
    """
    swap_axes, slice_axis = facts.get("swap_axes", False), facts.get("slice_axis", 2)
    if not isinstance(swap_axes, bool):
        raise UserError(f"{path}: swap_axes is {swap_axes}; expected true or false")
    if isinstance(slice_axis, bool) or slice_axis not in (0, 1, 2):
        raise UserError(f"{path}: slice_axis is {slice_axis!r:.60}; expected 0, 1 or 2")
    affine = _numbers(path, facts, "affine", (4, 4))
    if affine is not None and not is_geometry(affine):
        raise UserError(f"{path}: affine is {affine_text(affine)}, which is no geometry; convert the scan again")
    spacing = _numbers(path, facts, "spacing_mm", (3,))
    if spacing is not None and not (spacing > 0).all():
        raise UserError(f"{path}: spacing_mm is {spacing.tolist()}; expected millimetres above 0")
    try:
        header = NiftiGeometry.of_facts(facts)
    except ValueError as error:
        raise UserError(f"{path}: {error}; convert the scan again") from error
    return {
        "affine": affine,
        "spacing_mm": None if spacing is None else tuple(spacing.tolist()),
        "swap_axes": swap_axes,
        "slice_axis": int(slice_axis),
        "header": header,
    }


def facts_of(
    affine: np.ndarray | None,
    spacing_mm: tuple[float, float, float] | None,
    swap_axes: bool,
    slice_axis: int,
    header: NiftiGeometry | None,
) -> dict[str, Any]:
    """Return what working data records of a volume, as plain numbers and lists; without what is unknown or usual."""
    facts: dict[str, Any] = {"swap_axes": swap_axes}
    if slice_axis != 2:
        facts["slice_axis"] = slice_axis
    if affine is not None:
        facts["affine"] = np.asarray(affine, dtype=np.float64).tolist()
    if spacing_mm is not None:
        facts["spacing_mm"] = [float(distance) for distance in spacing_mm]
    return facts if header is None else {**facts, **header.facts()}


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
