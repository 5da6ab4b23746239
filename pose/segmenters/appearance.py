"""Appearance: what a network's encoder makes of an object, learnt on one slice and recognised on others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pose.segmenters.protocols import LOG_ODDS_LIMIT, Features

INSIDE_SHARE = 0.6  # of a cell that the object covers, for the cell to count as object
OUTSIDE_SHARE = 0.05  # below it, the cell counts as surroundings
FEWEST_INSIDE, FEWEST_OUTSIDE = 12, 50  # cells; of fewer nothing is learnt
NEAR = 8  # cells from the object; those nearer and those farther weigh the same together
SAME = 1e-6  # of the means of both in every channel: nothing tells them apart
SHRINKAGE = 0.2  # of the covariance towards a sphere: there are fewer cells than channels


@dataclass(frozen=True)
class Appearance:
    """A linear function of an encoder's features: the log-odds that they are the object's.

    Attributes:
        direction: (channels,) float64.
        offset: added to the product.
    """

    direction: np.ndarray
    offset: float

    def evidence(self, features: Features, shape: tuple[int, ...]) -> np.ndarray:
        """Return the log-odds of each pixel of a slice of ``shape`` (rows, columns), float32, limited to +-4."""
        import cv2

        log_odds = (np.tensordot(self.direction, features.values, 1) + self.offset).astype(np.float32)
        (rows, columns), (high, wide) = features.extent, shape
        # from the middle of a pixel to cells
        to_cells = np.array(
            [[columns / wide, 0, columns / wide / 2 - 0.5], [0, rows / high, rows / high / 2 - 0.5]], dtype=np.float64
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        spread = cv2.warpAffine(log_odds, to_cells, (wide, high), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.clip(spread, -LOG_ODDS_LIMIT, LOG_ODDS_LIMIT)


def learn_appearance(features: Features, mask: np.ndarray) -> Appearance | None:
    """Tell an object from the rest of its slice by an encoder's features: linear discriminant analysis.

    Args:
        features: of the slice.
        mask: (rows, columns) bool, the object.

    Returns:
        The function, 4 apart on average between object and rest; None where either has too few cells.
    """
    from scipy import ndimage

    covered = _share_of_cells(mask, features)
    inside, outside = covered > INSIDE_SHARE, covered < OUTSIDE_SHARE
    if inside.sum() < FEWEST_INSIDE or outside.sum() < FEWEST_OUTSIDE:
        return None
    near = ndimage.distance_transform_edt(outside)[outside] <= NEAR
    weights = np.where(near, 1 / max(int(near.sum()), 1), 1 / max(int((~near).sum()), 1))
    weights /= weights.sum()
    values = features.values.astype(np.float64)
    own, rest = values[:, inside].T, values[:, outside].T
    own_mean, rest_mean = own.mean(axis=0), weights @ rest
    spread_own, spread_rest = own - own_mean, (rest - rest_mean) * np.sqrt(weights)[:, None]
    covariance = (spread_own.T @ spread_own / len(own) + spread_rest.T @ spread_rest) / 2
    sphere = np.trace(covariance) / len(covariance)
    covariance = (1 - SHRINKAGE) * covariance + (SHRINKAGE * sphere + 1e-6) * np.eye(len(covariance))
    direction = np.linalg.solve(covariance, own_mean - rest_mean)
    apart = float(direction @ (own_mean - rest_mean))
    if np.abs(own_mean - rest_mean).max() < SAME:
        return None
    direction *= LOG_ODDS_LIMIT / apart
    return Appearance(direction, float(-direction @ (own_mean + rest_mean) / 2))


def _share_of_cells(mask: np.ndarray, features: Features) -> np.ndarray:
    """Return which share of each cell a mask covers, (rows, columns) of cells."""
    cells = features.values.shape[1:]
    places = [
        np.minimum(((np.arange(length) + 0.5) * extent / length).astype(int), count - 1)
        for length, extent, count in zip(mask.shape, features.extent, cells, strict=True)
    ]
    of_pixels = places[0][:, None] * cells[1] + places[1][None, :]
    pixels = np.bincount(of_pixels.ravel(), minlength=cells[0] * cells[1])
    covered = np.bincount(of_pixels.ravel(), weights=mask.ravel(), minlength=cells[0] * cells[1])
    return (covered / np.maximum(pixels, 1)).reshape(cells)
