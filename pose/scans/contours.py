"""Contours: closed lines on a slice to the mask that they enclose, and back."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

# Of a pixel: what the decimals of a file make of a point that was meant to lie on a pixel's centre.
ROUNDING = 1e-3


def inside_of(contours: Iterable[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Return the pixels of a slice that closed lines enclose.

    A pixel counts where its centre lies within a line or on it, to a thousandth of a pixel. Lines within lines are
    holes, and so on (XOR): a pixel is inside where an odd number of them encloses it.

    Args:
        contours: each (points, 2), rows and columns in pixels, whose centres are whole numbers; the last point is
            joined to the first.
        shape: (rows, columns) of the slice; what lies beyond it is cut off.

    Returns:
        (rows, columns) bool.
    """
    from skimage.draw import polygon

    inside = np.zeros(shape, dtype=bool)
    for contour in contours:
        # on a grid of its own, so that a centre on a line is found to lie there, and the next decimal does not matter
        rows, columns = (np.round(np.asarray(contour) / ROUNDING) * ROUNDING).round(6).T
        inside[polygon(rows, columns, shape)] ^= True
    return inside


def contours_of(inside: np.ndarray) -> list[np.ndarray]:
    """Return the closed lines round the parts of a mask and round their holes; :func:`inside_of` gives it back.

    They run half-way between the centres of pixels inside and outside.

    Args:
        inside: (rows, columns) bool.

    Returns:
        (points, 2) rows and columns of each line, without a last point that is the first.
    """
    from skimage.measure import find_contours

    # the margin closes lines along the rim of the slice
    found = find_contours(np.pad(inside, 1).astype(np.float32), 0.5)
    return [_without_straight(contour[:-1] - 1) for contour in found]


def _without_straight(contour: np.ndarray) -> np.ndarray:
    """Leave out the points of a closed line at which it goes straight on."""
    before, after = contour - np.roll(contour, 1, axis=0), np.roll(contour, -1, axis=0) - contour
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    return contour[turns]
