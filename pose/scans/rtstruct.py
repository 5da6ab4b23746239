"""DICOM structure sets (RTSTRUCT): contours in millimetres, filled on the slices of their scan."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pose.cli import UserError
from pose.scans.contours import inside_of
from pose.scans.geometry import LARGEST_MM
from pose.scans.segments import Block, Segment, Segmented

if TYPE_CHECKING:
    from pydicom import Dataset

# Closed lines; points and open lines enclose nothing.
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
# Of the distance of slices: contours are written with few decimals, and a patient who was moved is further off.
MOST_OFF_SLICE = 0.25
RAS = np.array([-1.0, -1.0, 1.0])


def open_rtstruct(
    path: Path, rtstruct: Dataset, affine: np.ndarray, shape: tuple[int, ...], scan_name: str
) -> Segmented:
    """Return the structures of an RTSTRUCT on a scan, numbered from 1 in the order of the file.

    Contours within contours are holes, and so on (XOR), see :func:`pose.scans.contours.inside_of`. Points and open
    lines are left out.

    Args:
        path: the file, for errors.
        rtstruct: what it holds.
        affine: (4, 4) from (row, column, slice) of the scan to millimetres, RAS.
        shape: of the scan.
        scan_name: of the scan, for errors.

    Raises:
        AttributeError, IndexError, TypeError, ValueError: the file lacks what an RTSTRUCT must have.
    """
    contours_of = {int(one.ReferencedROINumber): one for one in rtstruct.get("ROIContourSequence") or ()}
    rois = list(rtstruct.StructureSetROISequence)
    segments = []
    for label, roi in enumerate(rois, start=1):
        colour = contours_of[roi.ROINumber].get("ROIDisplayColor") if roi.ROINumber in contours_of else None
        rgb = None if colour is None else (int(colour[0]), int(colour[1]), int(colour[2]))
        segments.append(Segment(label, str(roi.get("ROIName", "")), rgb))
    inverse = np.linalg.inv(affine)

    def blocks(wanted: Container[int]) -> Iterator[Block]:
        for segment, roi in zip(segments, rois, strict=True):
            if segment.label not in wanted or roi.ROINumber not in contours_of:
                continue
            on_slices: dict[int, list[np.ndarray]] = defaultdict(list)
            for contour in contours_of[roi.ROINumber].get("ContourSequence") or ():
                if contour.ContourGeometricType in CLOSED:
                    slice_index, points = _on_slice(path, segment.name, contour, inverse, shape, scan_name)
                    on_slices[slice_index].append(points)
            for slice_index, contours in sorted(on_slices.items()):
                place = (slice(None), slice(None), slice(slice_index, slice_index + 1))
                yield Block(segment.label, place, inside_of(contours, (shape[0], shape[1]))[:, :, None])

    return Segmented(tuple(segments), blocks)


def _on_slice(
    path: Path, name: str, contour: Dataset, inverse: np.ndarray, shape: tuple[int, ...], scan_name: str
) -> tuple[int, np.ndarray]:
    """Return the slice of a contour and its points on it, (points, 2) rows and columns."""
    numbers = np.array([float(one) for one in contour.ContourData], dtype=np.float64)
    what = f"{path}: a contour of {name!r}"
    if numbers.size % 3 or not numbers.size:
        raise UserError(f"{what} has {numbers.size} numbers, which are no points of three")
    points = numbers.reshape(-1, 3)
    if not (np.abs(points) < LARGEST_MM).all():
        raise UserError(f"{what} has a point at ({', '.join(f'{one:g}' for one in _first_wrong(points))}) mm")
    places = (points * RAS) @ inverse[:3, :3].T + inverse[:3, 3]
    slice_index = int(np.rint(np.median(places[:, 2])))
    off = np.abs(places[:, 2] - slice_index).max()
    at = f"({', '.join(f'{one:.6g}' for one in points[0])}) mm"
    if off > MOST_OFF_SLICE:
        away = f"lies {off:.3g} of a slice off the slices of {scan_name}, at most {MOST_OFF_SLICE} is allowed"
        raise UserError(f"{what} from {at} {away}; it was drawn on another series, or across the slices")
    rows, columns = shape[:2]
    low, high = places.min(axis=0), places.max(axis=0)
    if not 0 <= slice_index < shape[2] or (low[:2] < -1).any() or high[0] > rows or high[1] > columns:
        reach = f"slice {slice_index}, rows {low[0]:.1f} to {high[0]:.1f}, columns {low[1]:.1f} to {high[1]:.1f}"
        size = f"{rows} x {columns} x {shape[2]}"
        raise UserError(f"{what} from {at} leaves the grid of {scan_name} ({size}): {reach}")
    return slice_index, places[:, :2]


def _first_wrong(points: np.ndarray) -> np.ndarray:
    return points[~(np.abs(points) < LARGEST_MM).all(axis=1)][0]
