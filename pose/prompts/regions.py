"""Regions of a mask's slice: labels and connected components, their box, centre of mass and the pixel to point at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pose.cli import UserError

OBJECTS = ("union", "per_label", "per_component")
# objects are painted into masks of 16 bits
LAST_OBJECT_ID = 65535


@dataclass(frozen=True)
class Region:
    """A part of a slice, cut out along its tight box.

    Attributes:
        row, column: the pixel of the slice that ``inside[0, 0]`` is.
        inside: (rows, columns) bool; its first and last row and column each hold a pixel of the region.
    """

    row: int
    column: int
    inside: np.ndarray

    @classmethod
    def of(cls, inside: np.ndarray) -> Region:
        """The region of all that is true on a slice, (rows, columns) bool, which must not be empty."""
        rows = np.flatnonzero(inside.any(axis=1))
        columns = np.flatnonzero(inside.any(axis=0))
        cut_out = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return cls(int(rows[0]), int(columns[0]), cut_out)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(row_min, column_min, row_max, column_max), tight, inclusive."""
        rows, columns = self.inside.shape
        return (self.row, self.column, self.row + rows - 1, self.column + columns - 1)

    def pixel_sums(self) -> tuple[int, int, int]:
        """Sum of the rows, of the columns, number of pixels: whole, so that no rounding error decides a tie."""
        in_rows = self.inside.sum(axis=1, dtype=np.int64)
        in_columns = self.inside.sum(axis=0, dtype=np.int64)
        count = int(in_rows.sum())
        row_sum = int(in_rows @ np.arange(in_rows.size)) + self.row * count
        column_sum = int(in_columns @ np.arange(in_columns.size)) + self.column * count
        return row_sum, column_sum, count

    def point(self, move_inside: bool = True) -> tuple[int, int]:
        """The (row, column) to point at: the centre of mass, rounded, halves up.

        With ``move_inside``, a centre outside the region moves to the nearest pixel that lies at least half as deep in
        the region as its deepest one; of equally near ones to the topmost, then the leftmost. Depth is the distance to
        the next pixel outside the region; all beyond the slice's rim counts as outside.
        """
        row_sum, column_sum, count = self.pixel_sums()
        row = rounded(row_sum, count) - self.row
        column = rounded(column_sum, count) - self.column
        if move_inside and not self.inside[row, column]:
            from scipy import ndimage

            # Without the margin the cut-out's own rim, and so the slice's, would not count as a border of the region.
            depth = ndimage.distance_transform_edt(np.pad(self.inside, 1))[1:-1, 1:-1]
            candidates = np.argwhere(depth >= depth.max() / 2)
            nearest = np.argmin(((candidates - (row, column)) ** 2).sum(axis=1))
            row, column = (int(index) for index in candidates[nearest])
        return (self.row + row, self.column + column)

    def components(self) -> list[Region]:
        """Connected components (8 neighbours), from left to right by centre of mass, then from top to bottom."""
        from scipy import ndimage

        numbered, _ = ndimage.label(self.inside, structure=np.ones((3, 3)))
        found = []
        for number, (rows, columns) in enumerate(ndimage.find_objects(numbered), start=1):
            part = Region(self.row + rows.start, self.column + columns.start, numbered[rows, columns] == number)
            row_sum, column_sum, count = part.pixel_sums()
            found.append((column_sum / count, row_sum / count, number, part))
        return [part for *_, part in sorted(found, key=lambda entry: entry[:3])]


def regions_of_objects(labels: np.ndarray, objects: str, source: str) -> dict[int, list[Region]]:
    """The regions that make up each object of a slice, by the object's number.

    Args:
        labels: (rows, columns) whole numbers, 0 is background.
        objects: "union", all labels are regions of object 1; "per_label", each label is the object of its own number;
            "per_component", each connected component of all that is labelled is an object, numbered from 1 from left to
            right by centre of mass, then from top to bottom.
        source: names the mask in errors.

    Returns:
        Regions by object in ascending order; empty for a slice without labels.

    Raises:
        UserError: labels that are not whole numbers, or not within 1 to 65535 where they would number objects.
        ValueError: an array that is not two-dimensional, or an unknown word for ``objects``.
    """
    if objects not in OBJECTS:
        raise ValueError(f"objects must be one of {', '.join(OBJECTS)}, got {objects!r}")
    if labels.ndim != 2:
        raise ValueError(f"a slice has rows and columns, got an array of shape {labels.shape}")
    if np.issubdtype(labels.dtype, np.inexact):
        fractions = labels[~np.isfinite(labels) | (labels != np.trunc(labels))]
        if fractions.size:
            raise UserError(f"{source}: holds {fractions[0]}, labels are whole numbers")
    labelled = labels != 0
    if not labelled.any():
        return {}
    if objects == "per_component":
        return {number: [part] for number, part in enumerate(Region.of(labelled).components(), start=1)}
    by_label = {int(value): Region.of(labels == value) for value in np.unique(labels[labelled])}
    if objects == "union":
        return {1: list(by_label.values())}
    for label in (min(by_label), max(by_label)):
        if not 1 <= label <= LAST_OBJECT_ID:
            counted = f"objects count from 1 to {LAST_OBJECT_ID}"
            raise UserError(f"{source}: label {label} cannot number an object, {counted}")
    return {value: [region] for value, region in by_label.items()}


def rounded(numerator: int, denominator: int) -> int:
    """The whole number nearest to a fraction of whole numbers, halves up."""
    return (2 * numerator + denominator) // (2 * denominator)
