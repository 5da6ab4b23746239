"""Markups of 3D Slicer, .mrk.json and .fcsv: points, lines, closed curves and boxes in millimetres."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pose.cli import UserError
from pose.scans.geometry import LARGEST_MM, LPS_SIGNS

# More are a mesh or a surface, and no prompt that a person has given.
MOST_POINTS = 10_000
KINDS = {"Fiducial": "points", "Line": "line", "ClosedCurve": "curve", "ROI": "box"}
SPACES = ("LPS", "RAS")
# by the words that files have for it: those of older versions are numbers
_SPACES_OF_FCSV = {"RAS": "RAS", "LPS": "LPS", "0": "RAS", "1": "LPS"}
_FCSV_COLUMNS: tuple[str, ...] = (
    "id",
    "x",
    "y",
    "z",
    "ow",
    "ox",
    "oy",
    "oz",
    "vis",
    "sel",
    "lock",
    "label",
    "desc",
    "associatedNodeID",
)
_TO_RAS = {"LPS": LPS_SIGNS, "RAS": np.ones(3)}
# of a point of .fcsv since version 5.2; it is 0 where the point was never placed, 1 while it follows the pointer
_DEFINED = "2"


@dataclass(frozen=True)
class Mark:
    """What a person drew in space.

    Attributes:
        kind: "points", "line" (its two ends), "curve" (the corners of a closed line) or "box" (its eight corners, of
            which those that differ in one bit of their number are joined by an edge).
        name: what it is called.
        points_mm: (points, 3) in millimetres, RAS as NIfTI has it.
        negative: for each point, whether the object is not there.
        labels: what each point is called, for errors.
    """

    kind: str
    name: str
    points_mm: np.ndarray
    negative: tuple[bool, ...]
    labels: tuple[str, ...]

    @property
    def is_negative(self) -> bool:
        """Whether its name says that it is where the object is not."""
        return says_negative(self.name)


def says_negative(name: str) -> bool:
    """Tell whether a name ends in a minus or in "neg"."""
    return name.rstrip().lower().endswith(("-", "neg"))


def to_ras(points: np.ndarray, space: str) -> np.ndarray:
    """Return points in millimetres, (..., 3) in LPS or RAS, in RAS."""
    return points * _TO_RAS[space]


def read_markups(path: Path, document: dict[str, Any]) -> list[Mark]:
    """Return what a .mrk.json holds, without points that were not placed, and without markups that then have none.

    Args:
        path: the file, for errors; its name is that of markups without one of their own.
        document: what was read of it.

    Raises:
        UserError: no markups, one of a kind or unit that is not understood, or numbers that are no place.
    """
    listed = document.get("markups")
    if not isinstance(listed, list) or not listed:
        raise UserError(f"{path}: markups must be a list of at least one, got {listed!r:.60}")
    stem = path.name.removesuffix(".json").removesuffix(".mrk")
    marks, count = [], 0
    for number, markup in enumerate(listed):
        where = f"{path}: markups[{number}]"
        if not isinstance(markup, dict):
            raise UserError(f"{where} must be an object, got {markup!r:.60}")
        kind, space, unit = (markup.get(key, to) for key, to in _DEFAULTS)
        if not isinstance(kind, str) or kind not in KINDS:
            raise UserError(f"{where}: type is {kind!r:.60}; a prompt is one of {', '.join(KINDS)}")
        if space not in SPACES:
            raise UserError(f"{where}: coordinateSystem is {space!r:.60}, known are LPS and RAS")
        if unit != "mm":
            raise UserError(f"{where}: coordinateUnits is {unit!r:.60}, known is mm")
        if not isinstance(name := markup.get("name") or (stem if number == 0 else f"{stem}_{number}"), str):
            raise UserError(f"{where}: name must be text, got {name!r:.60}")
        placed = list(_placed(markup, where))
        if (count := count + len(placed)) > MOST_POINTS:
            raise UserError(f"{path}: {count} control points and more; a prompt has at most {MOST_POINTS}")
        points = [_numbers(point.get("position"), 3, f"{at}.position") for at, point in placed]
        labels = tuple(str(point.get("label") or f"controlPoints[{i}]") for i, (_, point) in enumerate(placed))
        if KINDS[kind] == "box":
            points, labels = _corners(markup, points, where), (name,) * 8
        elif KINDS[kind] == "line" and len(points) not in (0, 2):
            raise UserError(f"{where}: a line has two ends, this one {len(points)}")
        elif KINDS[kind] == "curve" and 0 < len(points) < 3:
            raise UserError(f"{where}: a closed curve has three points or more, this one {len(points)}")
        if len(points):
            negative = [KINDS[kind] == "points" and says_negative(label) for label in labels]
            marks.append(Mark(KINDS[kind], name, to_ras(np.array(points), space), tuple(negative), labels))
    if not marks:
        raise UserError(f"{path}: no control point is placed (positionStatus is not defined)")
    return marks


_DEFAULTS = (("type", None), ("coordinateSystem", "LPS"), ("coordinateUnits", "mm"))


def _placed(markup: dict[str, Any], where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the control points that are defined, and how errors name them."""
    listed = markup.get("controlPoints", [])
    if not isinstance(listed, list):
        raise UserError(f"{where}: controlPoints must be a list, got {listed!r:.60}")
    for number, point in enumerate(listed):
        at = f"{where}.controlPoints[{number}]"
        if not isinstance(point, dict):
            raise UserError(f"{at} must be an object, got {point!r:.60}")
        if point.get("positionStatus", "defined") == "defined":
            yield at, point


def _corners(markup: dict[str, Any], placed: list[list[float]], where: str) -> list[list[float]]:
    """Return the eight corners of a box; of a hand-written one, the only control point may be the centre."""
    if markup.get("insideOut"):
        raise UserError(f"{where}: insideOut is {markup['insideOut']!r:.60}; a box is what lies inside of it")
    if markup.get("center") is not None:
        centre = _numbers(markup["center"], 3, f"{where}.center")
    elif len(placed) == 1:
        centre = placed[0]
    else:
        raise UserError(f"{where} has no 'center', nor one control point that could be it")
    size = _numbers(markup.get("size"), 3, f"{where}.size")
    if min(size) <= 0:
        raise UserError(f"{where}.size must be three lengths above 0, got {size}")
    orientation = markup.get("orientation")
    numbers = [1, 0, 0, 0, 1, 0, 0, 0, 1] if orientation is None else orientation
    axes = np.array(_numbers(numbers, 9, f"{where}.orientation")).reshape(3, 3)
    if np.abs(axes.T @ axes - np.eye(3)).max() > 1e-3:
        raise UserError(f"{where}.orientation must be three directions at right angles, got {numbers!r:.60}")
    corners = np.array([[bits & 1, bits >> 1 & 1, bits >> 2 & 1] for bits in range(8)]) - 0.5
    return (np.array(centre) + corners * size @ axes.T).tolist()


def _numbers(value: Any, count: int, where: str) -> list[float]:
    fits = isinstance(value, list) and len(value) == count
    if not fits or any(isinstance(one, bool) or not isinstance(one, (int, float)) for one in value):
        raise UserError(f"{where} must be {count} numbers, got {value!r:.60}")
    # not abs() < inf: of whole numbers, Python has some that no float can hold
    if not all(-LARGEST_MM < one < LARGEST_MM for one in value):
        raise UserError(f"{where} must be finite numbers of millimetres, got {value!r:.60}")
    return [float(one) for one in value]


def read_fcsv(path: Path, text: str) -> list[Mark]:
    """Return the one list of points that a .fcsv holds, of any version, without those that were not placed.

    Args:
        path: the file, for errors; the name of the list is that of the file.
        text: what was read of it.

    Raises:
        UserError: a space or columns that are not known, or a row that is no point.
    """
    space, columns = "RAS", _FCSV_COLUMNS
    points: list[list[float]] = []
    labels: list[str] = []
    for line, text_of_line in enumerate(text.splitlines(), start=1):
        where = f"{path}: line {line}"
        if text_of_line.startswith("#"):
            key, _, value = (part.strip() for part in text_of_line[1:].partition("="))
            if key == "CoordinateSystem":
                if value not in _SPACES_OF_FCSV:
                    raise UserError(f"{where}: CoordinateSystem is {value!r:.60}, known are LPS (1) and RAS (0)")
                space = _SPACES_OF_FCSV[value]
            elif key == "columns":
                columns = tuple(name.strip() for name in value.split(","))
                if missing := [name for name in ("label", "x", "y", "z") if name not in columns]:
                    raise UserError(f"{where}: columns lack {missing[0]!r}, got {value!r:.60}")
            continue
        if not text_of_line.strip():
            continue
        point = _row(text_of_line, columns, where)
        if point is not None:
            points.append(point[0])
            labels.append(point[1])
        if len(points) > MOST_POINTS:
            raise UserError(f"{path}: more than {MOST_POINTS} points; a prompt has at most as many")
    if not points:
        raise UserError(f"{path}: holds no point that is placed")
    negative = tuple(says_negative(label) for label in labels)
    return [Mark("points", path.name.removesuffix(".fcsv"), to_ras(np.array(points), space), negative, tuple(labels))]


def _row(text: str, columns: Sequence[str], where: str) -> tuple[list[float], str] | None:
    """Return the place and the label of a row of .fcsv; None where the point was not placed."""
    try:
        cells = next(csv.reader([text], strict=True))
    except (csv.Error, StopIteration) as error:
        raise UserError(f"{where}: cannot be read as a row: {error}") from None
    if len(cells) < len(columns):
        raise UserError(f"{where}: has {len(cells)} cells, its columns are {len(columns)}: {','.join(columns)}")
    cell = dict(zip(columns, cells))
    if len(cells) == len(columns) + 2 and cells[len(columns)].strip() != _DEFINED:
        return None
    try:
        place = [float(cell[name]) for name in "xyz"]
    except ValueError:
        place = [float("nan")] * 3
    if not all(abs(one) < LARGEST_MM for one in place):
        raise UserError(
            f"{where}: x, y and z must be finite numbers, got {','.join(cell[name] for name in 'xyz')!r:.60}"
        )
    return place, cell["label"] or f"line {where.rpartition(' ')[2]}"
