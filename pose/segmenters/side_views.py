"""Views from the side: planes across the slices, on which a network sees how far the object of one slice reaches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pose.prompts.prompt import Box, Prompt
from pose.scans.intensity import GreyStack
from pose.segmenters.grey_levels import GreyLevels, learn_grey_levels
from pose.segmenters.mask_parts import box_around, components_touching
from pose.segmenters.protocols import SliceSegmenter, log_odds_of

QUARTILES = (0.25, 0.5, 0.75)
SMALLEST_MASK = 100  # pixels; of a smaller mask the lines are too short to tell an object by
FEWEST_SLICES = 5  # of a volume; fewer make no picture from the side
SAME_LINE = 0.75  # Dice of a plane's mask with the line that it was prompted by, from which on the plane counts
PLANES_TO_COUNT = 0.6  # of all planes that must count, for any of them to have a say
SMALLEST_PART = 0.1  # of a line; shorter pieces get no box of their own
GROWING_ROUNDS = 6
NEARLY_THERE = 0.05  # of a box's length or width, within which a mask counts as reaching its side
SIDEWAYS_STEP = 0.25  # of a line's length, by which its box grows beyond its ends
LARGEST_STRETCH = 8.0  # between slice distance and pixel; beyond, a plane is more interpolation than picture


@dataclass(frozen=True)
class SidePlane:
    """An object on a plane across the slices.

    Attributes:
        axis: 0 for a plane along one row (coronal on an axial scan), 1 for one along a column (sagittal).
        at: the row or the column.
        mask: (length, slices) bool, where the object lies on the plane.
    """

    axis: int
    at: int
    mask: np.ndarray

    def cut(self, mask: np.ndarray) -> np.ndarray:
        """Return the line in which the plane cuts a (rows, columns) mask of a slice."""
        return mask[self.at] if self.axis == 0 else mask[:, self.at]


@dataclass(frozen=True)
class SideViews:
    """What the planes say of an object; without planes, nothing.

    Attributes:
        planes: those that found the object again on its own slice.
    """

    planes: tuple[SidePlane, ...] = ()

    def confirmed(self, slice_index: int, mask: np.ndarray) -> float | None:
        """Return which share of the pixels of a slice's mask on the planes these confirm; None where none is on them.

        Args:
            slice_index: the slice.
            mask: (rows, columns) bool.
        """
        cut, _, shared = self.pixels(slice_index, mask)
        return shared / cut if cut else None

    def confirmed_parts(self, slice_index: int, mask: np.ndarray, least: float) -> np.ndarray:
        """Return those connected parts of a slice's mask of which the planes confirm a share of ``least``, as one mask.

        Args:
            slice_index, mask: as :meth:`confirmed`.
            least: 0 to 1; a part that lies on no plane is not confirmed.
        """
        from scipy import ndimage

        parts, count = ndimage.label(mask, np.ones((3, 3)))
        shares = [self.confirmed(slice_index, parts == number) for number in range(1, count + 1)]
        kept = [number for number, share in enumerate(shares, 1) if share is not None and share >= least]
        return np.isin(parts, kept)

    def pixels(self, slice_index: int, mask: np.ndarray) -> tuple[int, int, int]:
        """Return how many pixels of the planes on a slice are in ``mask``, in the planes' masks, and in both."""
        counts = np.zeros(3, dtype=int)
        for plane in self.planes:
            line, seen = plane.cut(mask), plane.mask[:, slice_index]
            counts += line.sum(), seen.sum(), (line & seen).sum()
        return int(counts[0]), int(counts[1]), int(counts[2])


def look_from_the_side(
    segmenter: SliceSegmenter,
    grey: GreyStack,
    slice_index: int,
    mask: np.ndarray,
    others: np.ndarray | None,
    evidence_weight: float,
) -> SideViews:
    """Find an object on three planes along rows and three along columns, at the quartiles of its mask on one slice.

    On a plane, the pieces of the line in which it cuts the mask give boxes, half a line's length up and down. The sides
    of a box grow while the mask inside reaches them, then close in, and stay (:func:`settled`). The log-odds of the
    network and of the grey levels of the slice decide on each pixel, as for the slices of a chain.

    Args:
        segmenter: of slices; it is shown the planes.
        grey: the slices.
        slice_index: the slice.
        mask: (rows, columns) bool, the object on it.
        others: (rows, columns) bool, other objects on it; None for none.
        evidence_weight: of the grey levels against the network.

    Returns:
        No planes where the mask is small, the spacing unknown, or too few planes find the line again.
    """
    if grey.spacing_mm is None or len(grey) < FEWEST_SLICES or mask.sum() < SMALLEST_MASK:
        return SideViews()
    levels = learn_grey_levels(grey[slice_index], mask, others)
    cuts = list(dict.fromkeys(_quartiles(mask)))
    found = []
    for (axis, at), plane in zip(cuts, _planes(grey, cuts), strict=True):
        stretch = grey.spacing_mm[2] / grey.spacing_mm[1 if axis == 0 else 0]
        if not 1 / LARGEST_STRETCH <= stretch <= LARGEST_STRETCH:
            continue
        line = SidePlane(axis, at, mask).cut(mask)
        seen = _on_plane(segmenter, plane, stretch, slice_index, line, levels, evidence_weight)
        here = seen[:, slice_index]
        if 2 * (here & line).sum() >= SAME_LINE * (here.sum() + line.sum()):
            found.append(SidePlane(axis, at, seen))
    return SideViews(tuple(found) if len(found) >= PLANES_TO_COUNT * len(cuts) else ())


def _quartiles(mask: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield (axis, row or column) of the planes through the quartiles of a mask that cut it."""
    for axis, places in enumerate(np.nonzero(mask)):
        for quartile in QUARTILES:
            yield axis, int(np.quantile(places, quartile, method="nearest"))


def _planes(grey: GreyStack, cuts: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    """Return the (length, slices) grey planes, all from one way through the slices."""
    rows, columns, slices = grey.shape
    planes = [np.empty((columns if axis == 0 else rows, slices), np.uint8) for axis, _ in cuts]
    for slice_index in range(slices):
        here = grey[slice_index]
        for plane, (axis, at) in zip(planes, cuts, strict=True):
            plane[:, slice_index] = here[at] if axis == 0 else here[:, at]
    return planes


def _on_plane(
    segmenter: SliceSegmenter,
    plane: np.ndarray,
    stretch: float,
    slice_index: int,
    line: np.ndarray,
    levels: GreyLevels,
    evidence_weight: float,
) -> np.ndarray:
    """Return (length, slices) bool, the object that cuts a slice in ``line``, on a plane of slices ``stretch`` wide."""
    import cv2

    length, slices = plane.shape
    width = max(1, round(slices * stretch))
    square = cv2.resize(plane, (width, length), interpolation=cv2.INTER_AREA if stretch < 1 else cv2.INTER_LINEAR)
    middles = np.clip(((np.arange(slices) + 0.5) * width / slices).astype(int), 0, width - 1)
    segmenter.set_image(square)
    evidence = evidence_weight * levels.evidence(square)
    seed = np.zeros(square.shape, dtype=bool)
    seed[:, middles[slice_index]] = line
    seen = np.zeros_like(seed)
    for first, last in _pieces(line):

        def mask_in(box: Box) -> np.ndarray:
            found = segmenter.predict(Prompt(slice_index, box=box))
            return components_touching(log_odds_of(found) + evidence > 0, seed)

        half = max(1, round((last - first + 1) / 2))
        middle = int(middles[slice_index])
        box = first, max(middle - half, 0), last, min(middle + half, width - 1)
        seen |= settled(mask_in, box, middle, square.shape)
    return seen[:, middles]


def _pieces(line: np.ndarray) -> list[tuple[int, int]]:
    """Return (first, last) of the pieces of a line, the short ones left out."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], line, [False]]).astype(np.int8)))
    pieces = [(int(first), int(end) - 1) for first, end in zip(edges[::2], edges[1::2])]
    return [(first, last) for first, last in pieces if last - first + 1 >= SMALLEST_PART * line.sum()]


def settled(mask_in: Callable[[Box], np.ndarray], box: Box, middle: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return the mask in a box whose sides have found the ends of the object.

    A side grows while the mask reaches it, nearly at least: across the slices by its distance from the prompted one,
    along the line by a quarter of that. One that the mask does not reach closes in on it, and stays. A side that might
    grow again would swing: a network fills the box that it is given, so that the mask always reaches one that has just
    closed in.

    Args:
        mask_in: from a box to the (length, width) mask inside.
        box: round the line; its second and fourth sides lie across the slices.
        middle: where the prompted slice lies between those.
        shape: (length, width) of the plane.
    """
    sides = list(box)
    step = max(1, round(SIDEWAYS_STEP * (box[2] - box[0] + 1)))
    ends = (0, 0, shape[0] - 1, shape[1] - 1)
    growing = [True] * 4
    mask = mask_in(box)
    for _ in range(GROWING_ROUNDS):
        if not mask.any() or not any(growing):
            break
        before = list(sides)
        extent = box_around(mask)
        for side in range(4):
            if not growing[side]:
                continue
            outwards = -1 if side < 2 else 1
            slack = NEARLY_THERE * (sides[side % 2 + 2] - sides[side % 2])
            growing[side] = sides[side] != ends[side] and outwards * (extent[side] - sides[side]) >= -slack
            if growing[side]:
                by = abs(sides[side] - middle) if side % 2 else step
                sides[side] += outwards * max(1, by)
            else:
                sides[side] = extent[side]
            sides[side] = min(max(sides[side], 0), ends[side + 2 if side < 2 else side])
        if sides != before:
            mask = mask_in((sides[0], sides[1], sides[2], sides[3]))
    return mask
