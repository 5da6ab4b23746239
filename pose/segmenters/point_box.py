"""A box for models that take nothing else, from points: what looks like the pixels round them, grown in the slice."""

from __future__ import annotations

import numpy as np

from pose.prompts.prompt import Box, Prompt
from pose.segmenters.mask_parts import box_around, components_touching, opened

# the side of the square round a point whose grey levels are learnt
LEARNT_SIDE = 5
# standard deviations that a grey level may differ, tried until the region is small enough
TOLERANCES = (3.0, 2.5, 2.0, 1.5, 1.0)
LEAST_SPREAD = 4.0
LARGEST_SHARE = 0.15
EDGE = 2


def box_of_points(grey: np.ndarray, prompt: Prompt) -> Box:
    """Return the box round what the positive points of a prompt point at.

    The grey levels in a square of 5 pixels round each point, their median and spread, say what the object looks like.
    What is alike and connected to a point, bridges of two pixels cut, is the object; the tolerance shrinks from 3
    standard deviations to 1 until it takes at most 15 % of the slice, stays off its rim and holds no negative point.
    Where no tolerance gives that, the smallest region counts.

    Args:
        grey: (rows, columns) uint8.
        prompt: with at least one positive point.
    """
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(grey.astype(np.float32), 1.0)
    half = LEARNT_SIDE // 2
    pointed, refused = np.zeros(grey.shape, dtype=bool), np.zeros(grey.shape, dtype=bool)
    for row, column in prompt.positive_points:
        pointed[max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1] = True
    for row, column in prompt.negative_points:
        refused[row, column] = True
    middle = np.median(smooth[pointed])
    spread = max(1.4826 * float(np.median(np.abs(smooth[pointed] - middle))), LEAST_SPREAD)
    smallest = pointed
    for number, tolerance in enumerate(TOLERANCES):
        alike = opened(np.abs(smooth - middle) <= tolerance * spread) | pointed
        region = components_touching(alike, pointed)
        rim = region[0].any() or region[-1].any() or region[:, 0].any() or region[:, -1].any()
        if number == 0 or region.sum() < smallest.sum():
            smallest = region
        if region.mean() <= LARGEST_SHARE and not rim and not (region & refused).any():
            smallest = region
            break
    return box_around(_to_its_edge(grey, smallest, float(middle)))


def _to_its_edge(grey: np.ndarray, region: np.ndarray, middle: float) -> np.ndarray:
    """Return a region with the pixels at its blurred edge that look more like it than like what is round it."""
    from scipy import ndimage

    near = ndimage.binary_dilation(region, iterations=EDGE)
    ring = ndimage.binary_dilation(near, iterations=EDGE) & ~near
    if not ring.any():
        return region
    levels = grey.astype(np.float32)
    alike = np.abs(levels - middle) < np.abs(levels - np.median(levels[ring]))
    return components_touching((alike | region) & near, region)
