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
        log_odds = np.tensordot(self.direction, features.values, 1) + self.offset
        return np.clip(features.on_slice(log_odds, shape), -LOG_ODDS_LIMIT, LOG_ODDS_LIMIT)


def learn_appearance(features: Features, mask: np.ndarray) -> Appearance | None:
    """Tell an object from the rest of its slice by an encoder's features: linear discriminant analysis.

    Args:
        features: of the slice.
        mask: (rows, columns) bool, the object.

    Returns:
        The function, 4 apart on average between object and rest; None where either has too few cells.
    """
    from scipy import ndimage

    covered = features.share_of(mask)
    inside, outside = covered > INSIDE_SHARE, covered < OUTSIDE_SHARE
    if inside.sum() < FEWEST_INSIDE or outside.sum() < FEWEST_OUTSIDE:
        return None
    near = ndimage.distance_transform_edt(outside)[outside] <= NEAR
    weights = np.where(near, 1 / max(int(near.sum()), 1), 1 / max(int((~near).sum()), 1))
    weights /= weights.sum()
    values = features.values.astype(np.float64)
    own, rest = values[:, inside].T, values[:, outside].T
    own_mean, rest_mean = own.mean(axis=0), weights @ rest
    if np.abs(own_mean - rest_mean).max() < SAME:
        return None
    spread_own, spread_rest = own - own_mean, (rest - rest_mean) * np.sqrt(weights)[:, None]
    covariance = (spread_own.T @ spread_own / len(own) + spread_rest.T @ spread_rest) / 2
    sphere = np.trace(covariance) / len(covariance)
    covariance = (1 - SHRINKAGE) * covariance + (SHRINKAGE * sphere + 1e-6) * np.eye(len(covariance))
    direction = np.linalg.solve(covariance, own_mean - rest_mean)
    apart = float(direction @ (own_mean - rest_mean))
    direction *= LOG_ODDS_LIMIT / apart
    return Appearance(direction, float(-direction @ (own_mean + rest_mean) / 2))
