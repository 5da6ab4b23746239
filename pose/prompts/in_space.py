"""From millimetres to prompts: what was drawn in space, on the slices of a scan."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pose.cli import UserError
from pose.prompts.markups import Mark
from pose.prompts.prompt import Box, Point, Prompt, check_prompts, shape_text
from pose.scans.contours import ROUNDING, inside_of
from pose.scans.geometry import LPS_SIGNS
from pose.scans.volume import Volume

LOGGER = logging.getLogger(__name__)


@dataclass
class _Object:
    """An object as it comes together: its prompts, and by slice the points where it is not."""

    name: str
    prompts: list[Prompt] = field(default_factory=list)


def prompts_of_marks(marks: Sequence[Mark], scan: Volume, source: str | Path) -> list[Prompt]:
    """Return the prompts that marks in space are on the slices of a scan; each is an object, from 1 in their order.

    - Points lie on the nearest slice. Those of a mark whose name says so, and those whose own label does, are where the
      object is not: that of the name without the ending, or the only one.
    - A box lies on the slice nearest to its centre, and the object on the slices that it reaches; the box of an oblique
      one is that round its cut with the slice.
    - A line is the long axis of an object, as radiology measures it: its box is that round the circle on the line. Two
      lines that cross are the long and the short axis, and the box is that round their ellipse.
    - A closed curve is a painted mask, its control points joined by straight lines.

    Args:
        marks: in the order of their file.
        scan: the scan.
        source: the file, for errors.

    Raises:
        UserError: the scan has no geometry, a mark lies further than half a slice from its slices or outside of them,
            or nobody can tell what a mark belongs to.
    """
    if scan.array_affine is None:
        raise UserError(f"{source}: is in millimetres, and the geometry of {scan.grid.name} is unknown")
    on = _OnScan(scan, source)
    objects: list[_Object] = []
    of_marks: list[tuple[Mark, _Object]] = []
    lines = [mark for mark in marks if mark.kind == "line" and not mark.is_negative]
    crossing = on.pairs(lines)
    for mark in marks:
        if mark.is_negative or any(mark is short for short in crossing.values()):
            continue
        one = _Object(mark.name)
        objects.append(one)
        of_marks.append((mark, one))
        if mark.kind == "points":
            one.prompts += on.points(mark)
        elif mark.kind == "box":
            one.prompts.append(on.box(mark))
        elif mark.kind == "line":
            one.prompts.append(on.line(mark, next((crossing[i] for i in crossing if lines[i] is mark), None)))
        else:
            one.prompts.append(on.curve(mark))
    for mark in marks:
        if not mark.is_negative:
            continue
        if mark.kind != "points":
            raise UserError(f"{source}: {mark.name!r} says where the object is not, which points alone can")
        of_object(mark, objects, source).prompts += on.points(mark, all_negative=True)
    prompts = [
        _numbered(prompt, number, one.name) for number, one in enumerate(objects, start=1) for prompt in one.prompts
    ]
    if not prompts:
        raise UserError(f"{source}: no point says where the object is, all are negative")
    check_prompts(prompts, scan.voxels.shape, source)
    return prompts


def of_object(mark: Mark, objects: Sequence[_Object], source: str | Path) -> _Object:
    """Return the object that negative points are about."""
    if len(objects) == 1:
        return objects[0]
    name = mark.name.rstrip()
    bare = (name[:-1] if name.endswith("-") else name[:-3]).rstrip(" _-")
    named = [one for one in objects if one.name.lower() == bare.lower()]
    if len(named) != 1:
        known = ", ".join(repr(one.name) for one in objects) or "there is none"
        raise UserError(f"{source}: {mark.name!r} is negative for {bare!r}, which is not one object; objects: {known}")
    return named[0]


def _numbered(prompt: Prompt, number: int, name: str) -> Prompt:
    return replace(prompt, object_id=number, name=name or None)


class _OnScan:
    """Places in a scan: (row, column, slice), whose whole numbers are the centres of voxels."""

    def __init__(self, scan: Volume, source: str | Path):
        affine = scan.array_affine
        if affine is None:
            raise ValueError("the scan has no geometry")
        self.affine, self.shape, self.source, self.name = affine, scan.voxels.shape, source, scan.grid.name
        self.step_mm = abs(float(np.linalg.det(affine[:3, :3]))) / float(np.linalg.norm(self._normal()))

    def _normal(self) -> np.ndarray:
        return np.cross(self.affine[:3, 0], self.affine[:3, 1])

    def places(self, points_mm: np.ndarray) -> np.ndarray:
        """Return where points in millimetres lie, (points, 3) row, column and slice."""
        return np.linalg.solve(self.affine[:3, :3], (points_mm - self.affine[:3, 3]).T).T

    def _is_within(self, place: np.ndarray) -> bool:
        return bool(((place >= -0.5 - ROUNDING) & (place <= np.array(self.shape) - 0.5 + ROUNDING)).all())

    def voxel(self, point_mm: np.ndarray, label: str) -> tuple[int, int, int]:
        """Return the voxel nearest to a point.

        Raises:
            UserError: it lies further than half a voxel off the scan.
        """
        place = self.places(point_mm[None])[0]
        what = f"{self.source}: {label}"
        if not self._is_within(place):
            slices = self.shape[2]
            beyond = max(-place[2], place[2] - (slices - 1))
            other = ""
            if self._is_within(self.places(point_mm[None] * LPS_SIGNS)[0]):
                other = "; with x and y of the other sign it would lie within: is it LPS or RAS?"
            if beyond > 0.5 + ROUNDING:
                off = f"lies {beyond * self.step_mm:.6g} mm off the slices of {self.name}, half a slice is"
                raise UserError(f"{what}: {off} {self.step_mm / 2:.6g} mm{other}")
            size = f"{shape_text(self.shape[:2])} (rows x columns)"
            at = f"row {place[0]:.6g}, column {place[1]:.6g}"
            raise UserError(f"{what}: {at} lies outside the slices of {self.name}, {size}{other}")
        row, column, slice_index = np.clip(nearest(place), 0, np.array(self.shape) - 1).tolist()
        return row, column, slice_index

    def slice_of(self, mark: Mark) -> int:
        """Return the one slice that all points of a line or curve lie nearest to.

        Raises:
            UserError: they lie on several, or off the scan.
        """
        places = self.places(mark.points_mm)
        for point, label in zip(mark.points_mm, mark.labels):
            self.voxel(point, f"{mark.name!r}, {label}")
        slice_index = int(np.clip(nearest(np.median(places[:, 2])), 0, self.shape[2] - 1))
        if np.abs(places[:, 2] - slice_index).max() > 0.5 + ROUNDING:
            lowest, highest = places[:, 2].min(), places[:, 2].max()
            across = f"runs from slice {lowest:.4g} to slice {highest:.4g} of {self.name}; draw it on one"
            raise UserError(f"{self.source}: {mark.name!r} {across}")
        return slice_index

    def points(self, mark: Mark, all_negative: bool = False) -> list[Prompt]:
        """Return a prompt for each slice on which points lie, in their order."""
        found: dict[int, tuple[list[Point], list[Point]]] = {}
        for point, negative, label in zip(mark.points_mm, mark.negative, mark.labels):
            row, column, slice_index = self.voxel(point, f"{mark.name!r}, {label}" if mark.name else label)
            found.setdefault(slice_index, ([], []))[negative or all_negative].append((row, column))
        return [Prompt(slice_index, 1, tuple(pos), tuple(neg)) for slice_index, (pos, neg) in found.items()]

    def box(self, mark: Mark) -> Prompt:
        """Return the box of a slice that a box in space is, and the slices on which the object may lie."""
        corners = self.places(mark.points_mm)
        centre = corners.mean(axis=0)
        last = self.shape[2] - 1
        lowest, highest = corners[:, 2].min(), corners[:, 2].max()
        first_in, last_in = int(np.ceil(lowest - ROUNDING)), int(np.floor(highest + ROUNDING))
        self.voxel(mark.points_mm.mean(axis=0), f"the centre of {mark.name!r}")
        slice_index = int(np.clip(nearest(centre[2]), 0, last))
        if first_in <= last_in:
            slice_index = int(np.clip(slice_index, max(first_in, 0), min(last_in, last)))
        # one that is thinner than a slice, between two, is cut where it is
        level = float(np.clip(slice_index, lowest, highest))
        cut = [corners[i] for i in range(8) if abs(corners[i, 2] - level) < ROUNDING]
        for i in range(8):
            for j in (i | 1, i | 2, i | 4):
                below, above = sorted((corners[i], corners[j]), key=lambda corner: corner[2])
                if below[2] < level < above[2]:
                    cut.append(below + (above - below) * (level - below[2]) / (above[2] - below[2]))
        inside = np.array(cut)[:, :2]
        low, high = np.ceil(inside.min(axis=0) - ROUNDING), np.floor(inside.max(axis=0) + ROUNDING)
        thin = low > high
        low[thin] = high[thin] = nearest(inside.mean(axis=0))[thin]
        limits = (
            None if first_in <= 0 else min(first_in, slice_index),
            None if last_in >= last else max(last_in, slice_index),
        )
        return Prompt(slice_index, box=self._clipped(low, high, mark.name), first_slice=limits[0], last_slice=limits[1])

    def _clipped(self, low: np.ndarray, high: np.ndarray, name: str) -> Box:
        ends = np.array(self.shape[:2]) - 1
        kept = np.clip(low, 0, ends), np.clip(high, 0, ends)
        if (kept[0] != low).any() or (kept[1] != high).any():
            LOGGER.info(
                "%s: the box of %r reaches beyond the slices of %s, and is cut there", self.source, name, self.name
            )
        (row_min, column_min), (row_max, column_max) = (one.astype(int).tolist() for one in kept)
        return row_min, column_min, row_max, column_max

    def line(self, mark: Mark, short: Mark | None) -> Prompt:
        """Return the box round the circle on a line, or round the ellipse of a long and a short axis and their ends."""
        slice_index = self.slice_of(mark)
        ends = self.places(mark.points_mm)[:, :2]
        half = (mark.points_mm[1] - mark.points_mm[0]) / 2
        if short is None:
            normal = self._normal()
            across = np.cross(normal / np.linalg.norm(normal), half)
            # a place without the origin: a direction
            other = np.linalg.solve(self.affine[:3, :3], across)[:2]
            centre = ends.mean(axis=0)
        else:
            ends = np.concatenate([ends, self.places(short.points_mm)[:, :2]])
            other = (ends[3] - ends[2]) / 2
            centre = ends.mean(axis=0)
        reach = np.hypot((ends[1] - ends[0]) / 2, other)
        low, high = np.minimum(centre - reach, ends.min(axis=0)), np.maximum(centre + reach, ends.max(axis=0))
        return Prompt(slice_index, box=self._clipped(nearest(low), nearest(high), mark.name))

    def pairs(self, lines: Sequence[Mark]) -> dict[int, Mark]:
        """Return for lines that cross another on the same slice, by the number of the longer one, the shorter one.

        Raises:
            UserError: a line crosses several.
        """
        slices = [self.slice_of(line) for line in lines]
        ends = [self.places(line.points_mm)[:, :2] for line in lines]
        lengths = [float(np.linalg.norm(line.points_mm[1] - line.points_mm[0])) for line in lines]
        found: dict[int, Mark] = {}
        taken: set[int] = set()
        for i in range(len(lines)):
            for j in range(i + 1, len(lines)):
                if slices[i] != slices[j] or not _cross(ends[i], ends[j]):
                    continue
                if {i, j} & taken:
                    raise UserError(
                        f"{self.source}: {lines[i].name!r} and {lines[j].name!r} cross, and a third line too"
                    )
                taken |= {i, j}
                longer, shorter = (i, j) if lengths[i] >= lengths[j] else (j, i)
                found[longer] = lines[shorter]
        return found

    def curve(self, mark: Mark) -> Prompt:
        """Return the mask that a closed line encloses on its slice."""
        slice_index = self.slice_of(mark)
        mask = inside_of([self.places(mark.points_mm)[:, :2]], self.shape[:2])
        if not mask.any():
            raise UserError(f"{self.source}: {mark.name!r} encloses the centre of no pixel")
        return Prompt(slice_index, mask=mask)


def nearest(place: np.ndarray) -> np.ndarray:
    """Return the whole numbers nearest to a place, halves up."""
    return np.floor(np.asarray(place) + 0.5).astype(np.int64)


def _cross(one: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether two lines of (2, 2) ends meet."""

    def side(line: np.ndarray, point: np.ndarray) -> float:
        along, to = line[1] - line[0], point - line[0]
        return float(along[0] * to[1] - along[1] * to[0])

    return side(one, other[0]) * side(one, other[1]) <= 0 and side(other, one[0]) * side(other, one[1]) <= 0
