"""Upright: how the slices of a scan are turned for people to look at, and what is drawn on them with it.

Arrays lie as the file has them; a reader expects an axial slice with the front of the body at the top and the patient's
right at the left. A turn moves pixels, never between them: it is one of the eight ways to lay a sheet on a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from pose.prompts.prompt import Point, Prompt
from pose.scans.volume import Volume

# As DICOM's Patient Orientation has it, an edge of an oblique slice has a second letter; not for a degree or two.
LEAST_COSINE = 0.25
DIRECTIONS = (("L", "R"), ("P", "A"), ("I", "S"))


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

    def spacing(self, spacing_mm: Sequence[float] | None) -> tuple[float, float] | None:
        """Turn (row, column[, slice]) millimetres, or None."""
        if spacing_mm is None:
            return None
        row_mm, column_mm = spacing_mm[:2]
        return (column_mm, row_mm) if self.transpose else (row_mm, column_mm)

    def places(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return which row or column of a slice of ``shape`` lies where.

        Returns:
            (down,) from top to bottom and (across,) from left to right of the turned slice, indices of the slice's
            rows and columns, or, where these are exchanged, of its columns and rows.
        """
        down, across = (np.arange(length) for length in (shape[::-1] if self.transpose else shape))
        return down[:: -1 if self.flip_rows else 1], across[:: -1 if self.flip_columns else 1]

    def prompt(self, prompt: Prompt, shape: tuple[int, int]) -> Prompt:
        """Turn a prompt on a slice of ``shape``, (rows, columns) before the turn."""
        box = prompt.box
        if box is not None:
            (row, column), (other_row, other_column) = self._point(box[:2], shape), self._point(box[2:], shape)
            box = min(row, other_row), min(column, other_column), max(row, other_row), max(column, other_column)
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


class Edges(NamedTuple):
    """Where the edges of a picture lie in the patient: R, L, A, P, S or I, and two or three of them where oblique."""

    top: str
    bottom: str
    left: str
    right: str


def axis_directions(volume: Volume) -> np.ndarray | None:
    """Return unit vectors along rows, columns and slices as their indices grow, (3, 3), a row each, in R, A, S.

    None where the geometry is unknown.
    """
    if (affine := volume.array_affine) is None:
        return None
    return affine[:3, :3].T / np.linalg.norm(affine[:3, :3], axis=0)[:, None]


def letters_of(direction: np.ndarray) -> str:
    """Return where a unit vector in R, A, S points to: the nearest letter, then others that it leans to."""
    order = np.argsort(-np.abs(direction).round(6), kind="stable")
    leaning = [axis for axis in order if abs(direction[axis]) >= LEAST_COSINE]
    return "".join(DIRECTIONS[axis][int(direction[axis] > 0)] for axis in leaning)


def upright(volume: Volume) -> Turn:
    """Return the turn that lays the slices of a scan as radiologists look at them.

    Axial: front at the top, the patient's right at the left. Coronal: head at the top, the patient's right at the left.
    Sagittal: head at the top, front at the left. A scan without geometry stays as it lies.
    """
    if volume.affine is None:
        return Turn()
    from nibabel.orientations import io_orientation

    axes, directions = io_orientation(volume.array_affine)[:2].astype(int).T
    # of axes 0 left-right, 1 front-back and 2 head-feet, the last one goes down the rows
    transpose = bool(axes[0] < axes[1])
    if transpose:
        directions = directions[::-1]
    # NIfTI counts towards the right, the front and the head; pictures start there
    return Turn(transpose, *(bool(direction == 1) for direction in directions))


def edges_of(volume: Volume, turn: Turn) -> Edges | None:
    """Return what lies at the edges of a slice of ``volume`` that is turned; None where the geometry is unknown."""
    axes = axis_directions(volume)
    if axes is None:
        return None
    down, across = (axes[1], axes[0]) if turn.transpose else (axes[0], axes[1])
    down, across = (-down if turn.flip_rows else down), (-across if turn.flip_columns else across)
    return Edges(letters_of(-down), letters_of(down), letters_of(-across), letters_of(across))


def turn_by(degrees: int, flip: str) -> Turn:
    """Return the turn counter-clockwise by 0, 90, 180 or 270 degrees, then mirrored: none, vertical or horizontal."""
    transpose = degrees in (90, 270)
    flip_rows = (degrees in (90, 180)) != (flip == "vertical")
    flip_columns = (degrees in (180, 270)) != (flip == "horizontal")
    return Turn(transpose, flip_rows, flip_columns)
