"""How good a result is likely to be, without ground truth: the Dice of an object's volume, with an interval.

What a run says of itself (:class:`Signs`) is weighed by weights that were fitted on runs whose truth is known, and the
interval is as wide as these runs had to be wrong by: split conformal prediction over objects (Papadopoulos et al.,
Inductive Confidence Machines for Regression, 2002), where a run is judged by weights that saw no run of its scan.
Weights and interval are found, and their worth is shown, by comparison/likely_dice.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# Of 10 objects like those of the calibration, so many have their Dice within the interval.
COVERED = 0.8
# From this likely Dice on an object is trusted as a whole; below the other one a run warns of it.
LIKELY_ENOUGH, UNLIKELY = 0.85, 0.7
# Log-odds of a Dice are taken between these.
LEAST_DICE, MOST_DICE = 0.02, 0.985
# Weights are held down as if so many objects spoke against each.
RIDGE = 4.0
USUAL_SCORE, USUAL_AGREEMENT = 0.87, 0.82


@dataclass(frozen=True)
class Signs:
    """What a run says of an object it found.

    Attributes:
        mean_score: mean of the network's estimates of the IoU, over the slices that hold the object and have one.
        side_agreement: Dice of the object with what planes from the side show of it; None without such planes.
        region_grown: whether it was taken from region growing, which had agreed with the network.
        growth: the largest area of the object on a slice over its area on the prompted ones.
    """

    mean_score: float
    side_agreement: float | None
    region_grown: bool
    growth: float

    def numbers(self) -> np.ndarray:
        """Return them as (5,) numbers to be weighed, the first a constant; an agreement that is missing is a usual one.

        Each is some units about a usual value, so that one ridge holds down all weights alike.
        """
        side = USUAL_AGREEMENT if self.side_agreement is None else self.side_agreement
        score = (self.mean_score - USUAL_SCORE) / 0.05
        return np.array([1.0, score, (side - USUAL_AGREEMENT) / 0.1, float(self.region_grown), math.log(self.growth)])


@dataclass(frozen=True)
class LikelyDice:
    """The Dice that a result is likely to have, and the interval that holds it for :data:`COVERED` of the objects."""

    dice: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"likely Dice {self.dice:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class Calibration:
    """What the runs with a known truth taught.

    Attributes:
        weights: of :meth:`Signs.numbers`, to log-odds of the Dice.
        reach: how far from these log-odds, up and down, the truth may lie.
    """

    weights: tuple[float, ...]
    reach: float

    def estimate(self, signs: Signs) -> LikelyDice:
        """Return the Dice that an object is likely to have."""
        least, most = log_odds(LEAST_DICE), log_odds(MOST_DICE)
        centre = min(max(float(np.dot(self.weights, signs.numbers())), least), most)
        return LikelyDice(*(share(centre + step) for step in (0.0, -self.reach, self.reach)))


def together(found: Sequence[LikelyDice], voxels: Sequence[int]) -> LikelyDice:
    """Return what several objects are likely to have together: their means, each counting by its voxels.

    Where all are wrong in the same way, the truth lies at the same end of each interval; so do these ends.
    """
    parts = np.array([(one.dice, one.low, one.high) for one in found])
    return LikelyDice(*np.average(parts, axis=0, weights=voxels).tolist())


# by the family of the network; others were not calibrated
CALIBRATIONS: Mapping[str, Calibration] = {
    "lite_medsam": Calibration(weights=(1.524, 0.734, 0.173, 0.283, -0.316), reach=1.724)
}


def fitted(signs: Sequence[Signs], dice: Sequence[float], scans: Sequence[str], objects: Sequence[str]) -> Calibration:
    """Return the calibration that runs with a known truth give: ridge regression, and conformal bounds.

    Args:
        signs, dice: of each run.
        scans, objects: names of its scan and its object; every object counts the same, whatever the number of its runs.

    Raises:
        ValueError: runs of fewer than two scans.
    """
    residuals = residuals_of_other_scans(signs, dice, scans, objects)
    shares = _shares(objects)
    numbers, truth = np.array([one.numbers() for one in signs]), np.array([log_odds(one) for one in dice])
    weights = _ridge(numbers, truth, shares)
    return Calibration(tuple(weights.tolist()), _bound(np.abs(residuals), shares))


def residuals_of_other_scans(
    signs: Sequence[Signs], dice: Sequence[float], scans: Sequence[str], objects: Sequence[str]
) -> np.ndarray:
    """Return (runs,) how far, in log-odds, the true Dice lies above what the runs of all other scans foretell.

    Args:
        signs, dice, scans, objects: as :func:`fitted`.

    Raises:
        ValueError: runs of fewer than two scans.
    """
    if len(set(scans)) < 2:
        raise ValueError(f"runs of {len(set(scans))} scan; those of others must judge them")
    numbers, truth = np.array([one.numbers() for one in signs]), np.array([log_odds(one) for one in dice])
    shares, of_scan = _shares(objects), np.array(scans)
    residuals = np.empty(len(truth))
    for scan in dict.fromkeys(scans):
        own = of_scan == scan
        residuals[own] = truth[own] - numbers[own] @ _ridge(numbers[~own], truth[~own], shares[~own])
    return residuals


def log_odds(dice: float) -> float:
    """Return the log-odds of a Dice, 0 to 1, within bounds."""
    bounded = min(max(dice, LEAST_DICE), MOST_DICE)
    return math.log(bounded / (1 - bounded))


def share(log_odds: float) -> float:
    """Return what has these log-odds, 0 to 1."""
    return 1 / (1 + math.exp(-log_odds))


def _shares(objects: Sequence[str]) -> np.ndarray:
    """Return (runs,) what each run counts, so that the runs of an object count 1 together."""
    return np.array([1 / list(objects).count(one) for one in objects])


def _ridge(numbers: np.ndarray, truth: np.ndarray, shares: np.ndarray) -> np.ndarray:
    held = np.diag([0.0, *[RIDGE] * (numbers.shape[1] - 1)])  # the constant is free
    weighed = numbers * shares[:, None]
    return np.linalg.solve(numbers.T @ weighed + held, weighed.T @ truth)


def _bound(residuals: np.ndarray, shares: np.ndarray) -> float:
    """Return the residual that a further object keeps within as often as intervals are to hold."""
    order = np.argsort(residuals)
    objects = shares.sum()
    level = min(COVERED * (objects + 1), objects)
    place = np.searchsorted(np.cumsum(shares[order]), level - 1e-9)
    return float(residuals[order][min(place, len(order) - 1)])
