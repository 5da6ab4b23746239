"""Upright: how the slices of a scan are turned for people to look at, and what is drawn on them with it.

Arrays lie as the file has them; a reader expects an axial slice with the front of the body at the top and the patient's
right at the left. A turn moves pixels, never between them: it is one of the eight ways to lay a sheet on a table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pose.prompts.prompt import Point, Prompt
from pose.scans.volume import Volume


@dataclass(frozen=True)
class Turn:
    """A way to lay a slice: first rows and columns are exchanged, then their order is reversed.

    Attributes:
        transpose: exchange rows and columns.
        flip_rows: then the last row comes first.
        flip_columns: then the last column comes first.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def slice(self, array: np.ndarray) -> np.ndarray:
        """Turn (rows, columns) of anything."""
        turned = array.T if self.transpose else array
        return turned[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]

    def spacing(self, spacing_mm: tuple[float, ...] | None) -> tuple[float, float] | None:
        """Turn (row, column[, slice]) millimetres, or None."""
        if spacing_mm is None:
            return None
        row_mm, column_mm = spacing_mm[:2]
        return (column_mm, row_mm) if self.transpose else (row_mm, column_mm)

    def prompt(self, prompt: Prompt, shape: tuple[int, int]) -> Prompt:
        """Turn a prompt on a slice of ``shape``, (rows, columns) before the turn."""
        box = prompt.box
        if box is not None:
            corners = (self._point(box[:2], shape), self._point(box[2:], shape))
            box = (*map(min, zip(*corners)), *map(max, zip(*corners)))
        return replace(
            prompt,
            positive_points=tuple(self._point(point, shape) for point in prompt.positive_points),
            negative_points=tuple(self._point(point, shape) for point in prompt.negative_points),
            box=box,
            mask=None if prompt.mask is None else self.slice(prompt.mask),
        )

    def _point(self, point: Point, shape: tuple[int, int]) -> Point:
        (row, column), (rows, columns) = point, shape
        if self.transpose:
            row, column, rows, columns = column, row, columns, rows
        return rows - 1 - row if self.flip_rows else row, columns - 1 - column if self.flip_columns else column


def upright(volume: Volume) -> Turn:
    """Return the turn that lays the slices of a scan as radiologists look at them.

    Axial: front at the top, the patient's right at the left. Coronal: head at the top, the patient's right at the left.
    Sagittal: head at the top, front at the left. A scan without geometry stays as it lies.
    """
    if volume.affine is None:
        return Turn()
    from nibabel.orientations import io_orientation

    axes, directions = io_orientation(volume.affine)[:2].astype(int).T
    if volume.swap_axes:
        axes, directions = axes[::-1], directions[::-1]
    # of axes 0 left-right, 1 front-back and 2 head-feet, the last one goes down the rows
    transpose = bool(axes[0] < axes[1])
    if transpose:
        directions = directions[::-1]
    # NIfTI counts towards the right, the front and the head; pictures start there
    return Turn(transpose, *(bool(direction == 1) for direction in directions))


def turn_by(degrees: int, flip: str) -> Turn:
    """Return the turn counter-clockwise by 0, 90, 180 or 270 degrees, then mirrored: none, vertical or horizontal."""
    transpose = degrees in (90, 270)
    flip_rows = (degrees in (90, 180)) != (flip == "vertical")
    flip_columns = (degrees in (180, 270)) != (flip == "horizontal")
    return Turn(transpose, flip_rows, flip_columns)
