"""Masks of one slice taken apart: connected components, compact parts and their boxes, holes, reach."""

from __future__ import annotations

import numpy as np

from pose.prompts.prompt import Box

EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)
COMPACT_SHARE = 0.3  # of its box that a part fills; a slimmer one, a crescent say, is halved
SMALLEST_SIDE_TO_HALVE = 16  # pixels
HALVINGS = 2
SMALLEST_PART_SHARE = 0.02  # of the whole mask; smaller components get no box of their own
SIDE_STEPS = (-4, -2, -1, 1, 2, 4)  # pixels that one side of a box is tried to move by
SIDE_ROUNDS = 8


def box_around(mask: np.ndarray) -> Box:
    """Return the tight box round the pixels of a (rows, columns) mask, which must not be empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]), int(columns[-1])


def widened(box: Box, margin: int, shape: tuple[int, int]) -> Box:
    """Return the box with its sides moved outwards by ``margin`` pixels, inside a slice of ``shape``."""
    row_min, column_min, row_max, column_max = box
    rows, columns = shape
    return (
        max(row_min - margin, 0),
        max(column_min - margin, 0),
        min(row_max + margin, rows - 1),
        min(column_max + margin, columns - 1),
    )


def overlap_of_boxes(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes, in pixels."""
    sides = [min(one[side + 2], other[side + 2]) - max(one[side], other[side]) + 1 for side in (0, 1)]
    shared = max(sides[0], 0) * max(sides[1], 0)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (one, other)]
    return shared / (sum(areas) - shared)


def overlap_of_masks(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Dice coefficient of two masks by which a segmenter decides; 0 where both are empty."""
    both = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * np.count_nonzero(one & other) / both if both else 0.0


def compact_parts(mask: np.ndarray) -> list[np.ndarray]:
    """Take a mask apart into connected components, and slim components into halves along their longer side.

    Components under 2 % of the mask are left out, unless they are all there is: the largest one always counts.

    Returns:
        (rows, columns) bool masks, the largest component first.
    """
    from scipy import ndimage

    labels, count = ndimage.label(mask, EIGHT_NEIGHBOURS)
    if count == 0:
        return []
    areas = np.bincount(labels.ravel())[1:]
    parts: list[np.ndarray] = []
    for index in np.argsort(-areas, kind="stable"):
        if not parts or areas[index] >= SMALLEST_PART_SHARE * areas.sum():
            parts += _halves(labels == index + 1, HALVINGS)
    return parts


def _halves(part: np.ndarray, halvings: int) -> list[np.ndarray]:
    row_min, column_min, row_max, column_max = box_around(part)
    height, width = row_max - row_min + 1, column_max - column_min + 1
    slim = part.sum() < COMPACT_SHARE * height * width and max(height, width) > SMALLEST_SIDE_TO_HALVE
    if halvings == 0 or not slim:
        return [part]
    first = np.zeros_like(part)
    if height >= width:
        first[: (row_min + row_max) // 2 + 1] = True
    else:
        first[:, : (column_min + column_max) // 2 + 1] = True
    return [piece for half in (part & first, part & ~first) if half.any() for piece in _halves(half, halvings - 1)]


def components_touching(mask: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """Return the connected components of ``mask`` that share a pixel with ``seed``, as one mask."""
    from scipy import ndimage

    labels, _ = ndimage.label(mask, EIGHT_NEIGHBOURS)
    touched = np.unique(labels[mask & seed])
    return np.isin(labels, touched[touched > 0])


def fill_small_holes(mask: np.ndarray, largest_share: float) -> np.ndarray:
    """Fill the holes of a mask that are no larger than ``largest_share`` of its area."""
    import cc3d

    # binary_fill_holes walks in from the border a pixel at a time, and takes several times as long
    labels, count = cc3d.connected_components(~mask, connectivity=4, return_N=True)
    outside = [labels[0], labels[-1], labels[:, 0], labels[:, -1]]
    hole = np.bincount(labels.ravel(), minlength=count + 1) <= largest_share * mask.sum()
    hole[np.concatenate([[0], *outside])] = False
    return mask | hole[labels] if hole.any() else mask


def reach_of(mask: np.ndarray, distance: float, others: list[np.ndarray]) -> np.ndarray:
    """Return the pixels within ``distance`` pixels of a mask that lie no nearer to any of the other masks.

    Args:
        mask: (rows, columns) bool, not empty.
        others: masks of the same shape; empty ones have no say.
    """
    from scipy import ndimage

    # what is farther than this from the mask is nearer to no pixel within its reach
    around = widened(box_around(mask), 2 * int(np.ceil(distance)), mask.shape)
    place = np.s_[around[0] : around[2] + 1, around[1] : around[3] + 1]
    to_mask = ndimage.distance_transform_edt(~mask[place])
    near = to_mask <= distance
    for other in others:
        if other[place].any():
            near &= to_mask <= ndimage.distance_transform_edt(~other[place])
    reach = np.zeros_like(mask)
    reach[place] = near
    return reach


def opened(mask: np.ndarray) -> np.ndarray:
    """Return a mask without its bridges and specks of one or two pixels (a binary opening by a cross)."""
    from scipy import ndimage

    return ndimage.binary_opening(mask)


def stretched_box(mask: np.ndarray, evidence: np.ndarray, farthest: float, inertia: float) -> Box:
    """Return the box to which a mask is stretched or squeezed, side by side, to gather the most evidence inside.

    Args:
        mask: (rows, columns) bool, not empty; stretched linearly with its box.
        evidence: (rows, columns) log-odds of each pixel being the object's.
        farthest: pixels that no side moves beyond.
        inertia: log-odds that the pixels gained by moving a side need on average.
    """
    import cv2

    start = np.array(box_around(mask))
    crop = mask[start[0] : start[2] + 1, start[1] : start[3] + 1].astype(np.float32)
    smallest = np.minimum(crop.shape, 4)
    effort = inertia * float(np.sqrt(mask.sum()))  # a side is about as long as the root of the area

    def gain(box: np.ndarray) -> float:
        size = box[2:] - box[:2] + 1
        if (size < smallest).any() or (box[:2] < 0).any() or (box[2:] >= mask.shape).any():
            return -np.inf
        stretched = cv2.resize(crop, (int(size[1]), int(size[0])), interpolation=cv2.INTER_LINEAR)
        inside = evidence[box[0] : box[2] + 1, box[1] : box[3] + 1]
        return float((inside * stretched).sum()) - effort * float(np.abs(box - start).sum())

    box, most = start, gain(start)
    for _ in range(SIDE_ROUNDS):
        before = most
        for side in range(4):
            for step in SIDE_STEPS:
                moved = box.copy()
                moved[side] += step
                if abs(moved[side] - start[side]) <= farthest and (reached := gain(moved)) > most:
                    box, most = moved, reached
        if most == before:
            break
    row_min, column_min, row_max, column_max = (int(edge) for edge in box)
    return row_min, column_min, row_max, column_max
