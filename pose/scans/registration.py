"""Registration: two scans of different patients laid on each other by an affine map, without a network.

Both scans are turned upright and averaged onto a coarse grid. The map is found by gradient descent on their normalised
cross-correlation, from several starts: body on body, one above the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pose.scans.geometry import spacing_of

if TYPE_CHECKING:
    import torch

STEP_MM = 6.0
UNKNOWN_FRAME_MM = (400.0, 300.0)  # sides of a slice, and all slices together, where nothing tells
# Body starts so far from the mean of the dark values to that of the bright ones: fat and skin are body.
BODY_LEVEL_SHARE = 0.25
MARGIN_MM = 12.0  # round the body that counts too, so that its outline does
START_STEP_MM, SHORT_START_STEP_MM, SHORT_MM = 30.0, 15.0, 150.0
LEAST_OVERLAP = 0.3  # of the shorter body that a start lets lie on the other one
STARTS = 3
RATES = ((0.6, 40), (0.2, 20))  # learning rate and steps, of parameters in millimetres
ARM_MM = 100.0  # how far from the middle a parameter of shape moves a point by one millimetre
SHAPE_WEIGHT = 0.5
# Of unknown turns, the best is taken only where no other one comes as near to its correlation.
LEAST_LEAD = 0.02
MOST_POINTS = 40_000  # of the scan that is laid on the other; more make nothing better


class AmbiguousTurnError(ValueError):
    """Two ways to turn a scan of unknown geometry suit equally well."""


@dataclass(frozen=True)
class Upright:
    """A scan on a coarse upright grid: x runs from the patient's right to left, y from front to back, z from feet to
    head.

    Attributes:
        values: (z, y, x) uint8.
        inside: (z, y, x) bool, where the scan has voxels.
        to_voxel: (4, 4) from the (x, y, z) of the grid in millimetres, which begin at its first point, to the (row,
            column, slice) of the scan.
        step_mm: distance of the points of the grid.
        known: False where the geometry of the scan is not known: rows are taken for y, columns for x, slices for z.
    """

    values: np.ndarray
    inside: np.ndarray
    to_voxel: np.ndarray
    step_mm: float = STEP_MM
    known: bool = True


class Registration(NamedTuple):
    """How a scan lies on another one.

    Attributes:
        to_other: (4, 4) from the grid of the scan to that of the other, in millimetres.
        correlation: normalised cross-correlation of the two where both have voxels, -1 to 1.
    """

    to_other: np.ndarray
    correlation: float


def to_upright(array_affine: np.ndarray | None, shape: Sequence[int], spacing_mm: Sequence[float] | None) -> np.ndarray:
    """Return the (4, 4) from voxels (row, column, slice) to (x, y, z) in millimetres, the middle of the scan at 0.

    Args:
        array_affine: (4, 4) from (row, column, slice) to millimetres with x to the right and y to the front, as NIfTI
            has them; None where unknown.
        shape: (rows, columns, slices).
        spacing_mm: (row, column, slice) distances where there is no affine; None takes a frame of an adult's trunk.
    """
    if array_affine is None:
        width, height = UNKNOWN_FRAME_MM
        row, column, slice_mm = spacing_mm or (*[width / max(shape[:2])] * 2, height / shape[2])
        matrix = np.array([[0, column, 0], [row, 0, 0], [0, 0, slice_mm]])
    else:
        matrix = np.diag([-1.0, -1.0, 1.0]) @ array_affine[:3, :3]
    result = np.eye(4)
    result[:3, :3] = matrix
    result[:3, 3] = -matrix @ ((np.array(shape) - 1) / 2)
    return result


def upright(
    slices: Callable[[int], np.ndarray],
    shape: tuple[int, int, int],
    voxel_to_mm: np.ndarray,
    known: bool = True,
    step_mm: float = STEP_MM,
) -> Upright:
    """Average a scan onto the upright grid.

    Args:
        slices: gives slice n, (rows, columns) from 0 to 255.
        shape: (rows, columns, slices).
        voxel_to_mm: as :func:`to_upright` gives it.
    """
    from scipy import ndimage

    blocks = [max(1, round(step_mm / step)) for step in spacing_of(voxel_to_mm)]
    blocks = [min(block, length) for block, length in zip(blocks, shape)]
    coarse = averaged(slices, shape, blocks)
    # where the first coarse voxel lies, and how far apart they are, in voxels
    block_to_voxel = np.diag([*map(float, blocks), 1.0])
    block_to_voxel[:3, 3] = [(block - 1) / 2 for block in blocks]
    corners = np.array(list(product(*((-0.5, length - 0.5) for length in shape))))
    ends = corners @ voxel_to_mm[:3, :3].T + voxel_to_mm[:3, 3]
    low, high = ends.min(axis=0), ends.max(axis=0)
    size = np.maximum(np.floor((high - low) / step_mm + 1e-6).astype(int), 1)
    first = (low + high - (size - 1) * step_mm) / 2
    grid_to_mm = np.eye(4)
    grid_to_mm[:3, 3] = first
    to_voxel = np.linalg.inv(voxel_to_mm) @ grid_to_mm
    points = np.stack(np.meshgrid(*(np.arange(length) * step_mm for length in size[::-1]), indexing="ij"))[::-1]
    voxels = np.tensordot(to_voxel[:3, :3], points, 1) + to_voxel[:3, 3, None, None, None]
    limits = np.array(shape)[:, None, None, None]
    inside = np.all((voxels >= -0.5 - 1e-6) & (voxels <= limits - 0.5 + 1e-6), axis=0)
    to_block = np.linalg.inv(block_to_voxel)
    places = np.tensordot(to_block[:3, :3], voxels, 1) + to_block[:3, 3, None, None, None]
    values = ndimage.map_coordinates(coarse, places, order=1, mode="nearest")
    return Upright(np.where(inside, np.rint(values), 0).astype(np.uint8), inside, to_voxel, step_mm, known)


def averaged(slices: Callable[[int], np.ndarray], shape: tuple[int, int, int], blocks: Sequence[int]) -> np.ndarray:
    """Return the means of blocks of voxels, float32; a last block that is not full is left out, a slice at a time."""
    rows, columns, count = (length // block for length, block in zip(shape, blocks))
    result = np.zeros((rows, columns, count), dtype=np.float32)
    for index in range(count * blocks[2]):
        plane = slices(index)[: rows * blocks[0], : columns * blocks[1]].astype(np.float32)
        means = plane.reshape(rows, blocks[0], columns, blocks[1]).mean(axis=(1, 3))
        result[:, :, index // blocks[2]] += means / blocks[2]
    return result


def body_of(scan: Upright) -> np.ndarray:
    """Return the (z, y, x) bool of the largest bright piece of a scan; all of it where nothing stands out."""
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    known = scan.values[scan.inside]
    if not known.size or known.min() == known.max():
        return scan.inside
    level = threshold_otsu(known)
    dark, bright = known[known <= level].mean(), known[known > level].mean()
    bodies, count = ndimage.label(ndimage.binary_opening(scan.values > dark + BODY_LEVEL_SHARE * (bright - dark)))
    if count == 0:
        return scan.inside
    return bodies == np.bincount(bodies.ravel())[1:].argmax() + 1


class _Box(NamedTuple):
    """A body's box in millimetres of its grid, (x, y, z)."""

    low: np.ndarray
    high: np.ndarray

    @property
    def middle(self) -> np.ndarray:
        return (self.low + self.high) / 2

    @property
    def size(self) -> np.ndarray:
        return self.high - self.low


def _body_box(scan: Upright) -> _Box:
    marked = np.argwhere(body_of(scan))[:, ::-1]
    return _Box((marked.min(axis=0) - 0.5) * scan.step_mm, (marked.max(axis=0) + 0.5) * scan.step_mm)


def register(scan: Upright, other: Upright) -> Registration:
    """Lay a scan on another one.

    Where the geometry of one of them is not known, the eight turns of a slice and both directions of the slices are
    tried, and the sizes are taken from the bodies.

    Raises:
        AmbiguousTurnError: of unknown turns, the best two correlate equally well.
    """
    turns = _turns(scan.known and other.known)
    # with sixteen turns to tell apart, the best start of each will do
    best = [_register_turned(scan, other, turn, STARTS if len(turns) == 1 else 1) for turn in turns]
    best.sort(key=lambda one: -one.correlation)
    if len(best) > 1 and best[0].correlation - best[1].correlation < LEAST_LEAD:
        raise AmbiguousTurnError(
            f"the best two ways to turn it correlate alike ({best[0].correlation:.3f} and {best[1].correlation:.3f})"
        )
    return best[0]


def _turns(known: bool) -> list[np.ndarray]:
    """Return (3, 3) rotations and mirrorings of (x, y, z) that keep the axis of slices."""
    if known:
        return [np.eye(3)]
    turns = []
    for swap, *signs in product((False, True), (1, -1), (1, -1), (1, -1)):
        plane = np.array([[0.0, 1.0], [1.0, 0.0]]) if swap else np.eye(2)
        turn = np.eye(3)
        turn[:2, :2] = plane
        turns.append(np.diag(signs).astype(float) @ turn)
    return turns


def _register_turned(scan: Upright, other: Upright, turn: np.ndarray, count: int) -> Registration:
    """Register from the best ``count`` starts, the scan turned by ``turn`` before it is moved."""
    matcher = _Matcher(scan, other, turn)
    starts = sorted(matcher.starts(), key=lambda start: -matcher.correlation_at(*start))[:count]
    return max((matcher.descend(*start) for start in starts), key=lambda one: one.correlation)


class _Matcher:
    """Two scans on their grids, and how well they correlate as one is moved over the other."""

    def __init__(self, scan: Upright, other: Upright, turn: np.ndarray):
        import torch

        self._known = scan.known and other.known
        self._turn = turn
        self._body, self._other_body = _body_box(scan), _body_box(other)
        low, high = (self._body.low - MARGIN_MM) / scan.step_mm, (self._body.high + MARGIN_MM) / scan.step_mm
        window = tuple(
            slice(max(int(np.floor(first)), 0), int(np.ceil(last)) + 1) for first, last in zip(low[::-1], high[::-1])
        )
        points = np.argwhere(scan.inside[window]) + [one.start for one in window]
        if len(points) > MOST_POINTS:
            points = points[np.sort(np.random.default_rng(0).choice(len(points), MOST_POINTS, replace=False))]
        self._values = torch.from_numpy(scan.values[tuple(points.T)].astype(np.float32))
        self._points = torch.from_numpy((points[:, ::-1] * scan.step_mm - self._body.middle).astype(np.float32))
        both = np.stack([other.values.astype(np.float32), other.inside * 255.0]).astype(np.float32)
        self._other = torch.from_numpy(both)[None]
        # grid_sample has -1 and 1 at the centres of the first and the last voxel
        self._span = torch.tensor([max(length - 1, 1) * other.step_mm / 2 for length in other.values.shape[::-1]])

    def starts(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (3, 3) shapes and (3,) places of the body's middle on the other scan."""
        size, other_size = np.abs(self._turn) @ self._body.size, self._other_body.size
        wide = float(np.sqrt(np.prod(other_size[:2] / size[:2])))
        if self._known:
            shapes = [np.eye(3), np.eye(3) * np.clip(wide, 0.8, 1.25)]
        else:
            tall = float(other_size[2] / size[2])
            shapes = [np.diag([wide, wide, tall * part]) @ self._turn for part in (0.5, 0.7, 1.0, 1.4, 2.0)]
        for shape in shapes:
            height = float(size[2] * abs(shape[2, 2]))
            step = START_STEP_MM if min(height, other_size[2]) > SHORT_MM else SHORT_START_STEP_MM
            reach = (height + other_size[2]) / 2 - LEAST_OVERLAP * min(height, other_size[2])
            count = int(reach // step)
            for move in range(-count, count + 1):
                yield shape, self._other_body.middle + [0.0, 0.0, move * step]

    def correlation_at(self, shape: np.ndarray, place: np.ndarray) -> float:
        """Return the correlation, with the body's middle at ``place`` of the other scan."""
        import torch

        with torch.no_grad():
            return float(self._correlation(*(torch.from_numpy(part.astype(np.float32)) for part in (shape, place))))

    def _correlation(self, shape: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional as F

        places = (self._points @ shape.T + place) / self._span - 1
        sampled = F.grid_sample(self._other, places[None, None, None], align_corners=True)[0, :, 0, 0]
        weights = sampled[1] / 255
        total = weights.sum() + 1e-6
        mine, others = (one - (one * weights).sum() / total for one in (self._values, sampled[0]))
        squares = ((weights * one * one).sum() for one in (mine, others))
        spread = next(squares) * next(squares)
        return (weights * mine * others).sum() / (spread.sqrt() + 1e-3)

    def descend(self, start_shape: np.ndarray, start_place: np.ndarray) -> Registration:
        """Improve a start by Adam on twelve parameters."""
        import torch

        first_shape, first_place = (torch.from_numpy(one.astype(np.float32)) for one in (start_shape, start_place))
        moves = torch.zeros(12, requires_grad=True)
        unit = torch.eye(3)
        for rate, steps in RATES:
            adam = torch.optim.Adam([moves], lr=rate)
            for _ in range(steps):
                adam.zero_grad()
                bent = unit + moves[:9].view(3, 3) / ARM_MM
                shear = ((bent.T @ bent - unit) ** 2).sum()
                loss = SHAPE_WEIGHT * shear - self._correlation(first_shape @ bent, first_place + moves[9:])
                loss.backward()
                adam.step()
        with torch.no_grad():
            bent = unit + moves[:9].view(3, 3) / ARM_MM
            shape, place = first_shape @ bent, first_place + moves[9:]
            correlation = float(self._correlation(shape, place))
        to_other = np.eye(4)
        to_other[:3, :3] = shape.double().numpy()
        to_other[:3, 3] = place.double().numpy() - to_other[:3, :3] @ self._body.middle
        return Registration(to_other, correlation)
