"""Statistics of scores: quartiles, bootstrap intervals that know that slices of a volume belong together, Holm."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

RESAMPLES = 10_000
SEED = 0
CONFIDENCE = 0.95

_VALUES_AT_ONCE = 1 << 20


def describe(values: np.ndarray) -> dict[str, float | int]:
    """Return min, max, avg, std (of the sample, n - 1), n, q1, median and q3 of the values that are not nan.

    What is undefined is nan: all but n where there are none, and the std of a single value or of infinite ones.
    """
    known = values[~np.isnan(values)]
    if known.size == 0:
        return {**dict.fromkeys(("min", "max", "avg", "std"), math.nan), "n": 0, **quartiles(known)}
    # The spread of values of which one is infinite is undefined, and no reason to warn.
    with np.errstate(invalid="ignore"):
        std = known.std(ddof=1) if known.size > 1 else math.nan
        average = known.mean()
    return {"min": known.min(), "max": known.max(), "avg": average, "std": std, "n": known.size, **quartiles(known)}


def quartiles(values: np.ndarray) -> dict[str, float]:
    """Return q1, median and q3 of (n,) numbers, interpolated as numpy does; nan where there are none.

    Infinite values are larger or smaller than all others: a quartile between two of one sign is that one.
    """
    if values.size == 0:
        return dict.fromkeys(("q1", "median", "q3"), math.nan)
    ordered = np.sort(values)
    found = {}
    for name, share in (("q1", 0.25), ("median", 0.5), ("q3", 0.75)):
        below, part = divmod(share * (ordered.size - 1), 1)
        low, high = float(ordered[int(below)]), float(ordered[math.ceil(below + part)])
        found[name] = low if low == high else low + (high - low) * part if part else low
    return found


def bootstrap_means(
    sums: np.ndarray, counts: np.ndarray, resamples: int = RESAMPLES, seed: int = SEED
) -> np.ndarray:
    """Return the mean over all slices of each of ``resamples`` draws of as many units as there are, with replacement.

    The units are what is independent: volumes, each of which brings all its slices along. With one value for a
    unit, this is the plain bootstrap of the mean. The same seed gives the same numbers; memory hardly grows with
    ``resamples``.

    Args:
        sums: (units, columns) sum of the values of each unit.
        counts: (units, columns) how many these are, above 0.

    Returns:
        (resamples, columns). A sum of infinity makes the means of the draws that hold it infinite.

    Raises:
        ValueError: the shapes differ, there is no unit, or one without any value.
    """
    sums, counts = np.asarray(sums, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    if sums.ndim != 2 or sums.shape != counts.shape or not len(sums) or not (counts > 0).all():
        raise ValueError(f"sums {sums.shape} and counts {counts.shape}, all above 0, of units and columns expected")
    generator = np.random.default_rng(seed)
    units = len(sums)
    finite = np.where(np.isfinite(sums), sums, 0)
    infinite = np.where(np.isfinite(sums), 0, sums)
    at_once = max(1, _VALUES_AT_ONCE // units)
    means = np.empty((resamples, sums.shape[1]))
    for start in range(0, resamples, at_once):
        draws = min(at_once, resamples - start)
        drawn = generator.integers(units, size=(draws, units), dtype=np.int32)
        drawn += np.arange(draws, dtype=np.int32)[:, None] * np.int32(units)
        times = np.bincount(drawn.ravel(), minlength=draws * units).reshape(draws, units).astype(np.float64)
        means[start : start + draws] = (times @ finite) / (times @ counts)
        for unit in np.flatnonzero(infinite.any(axis=1)):
            means[start : start + draws][times[:, unit] > 0] += infinite[unit]
    return means


def interval(estimates: np.ndarray, units: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the bootstrap interval of a mean: percentiles of (n,) estimates, each of a draw of ``units`` (2 or more).

    The percentiles are further out than (1 - confidence) / 2 for few units, where plain ones hold the true mean less
    often than they claim: as far as Student's t is beyond the normal distribution, and the standard deviation of the
    sample beyond that of the draws (the expanded percentile interval of Hesterberg, The American Statistician 69,
    2015). Of simulated intervals of ten volumes, 94 % hold the true mean and not 90 %; for fewer than five volumes no
    draws can tell enough.
    """
    from scipy import special

    t = special.stdtrit(units - 1, (1 + confidence) / 2)
    tail = special.ndtr(-math.sqrt(units / (units - 1)) * t)
    low, high = np.quantile(estimates, (tail, 1 - tail), method="inverted_cdf")
    return float(low), float(high)


def mean_intervals(
    values: np.ndarray, units: np.ndarray, resamples: int = RESAMPLES, seed: int = SEED
) -> list[tuple[float, float, int]]:
    """Return the 95 % bootstrap interval of the mean of each column, resampling whole units, such as volumes.

    Args:
        values: (n, columns) numbers, nan where missing: a unit without a value in a column is not drawn for it.
        units: (n,) which unit each row is of.

    Returns:
        Low end, high end, and the units with a value, of each column; the ends are nan for fewer than two units.
    """
    names, unit = np.unique(np.asarray(units), return_inverse=True)
    values = np.asarray(values, dtype=np.float64)
    if values.shape[1] == 0:
        return []
    there = ~np.isnan(values)
    counts = np.stack([np.bincount(unit, column, minlength=len(names)) for column in there.T], axis=1)
    filled = np.where(there, values, 0)
    with np.errstate(invalid="ignore"):  # infinities of both signs in one unit: undefined, and no reason to warn
        sums = np.stack([np.bincount(unit, column, minlength=len(names)) for column in filled.T], axis=1)
    found: list[tuple[float, float, int]] = [(math.nan, math.nan, 0)] * values.shape[1]
    # Columns that are known for the same units are drawn together: drawing is what takes the time.
    alike: dict[bytes, list[int]] = {}
    for column in range(values.shape[1]):
        alike.setdefault((counts[:, column] > 0).tobytes(), []).append(column)
    for columns in alike.values():
        known = counts[:, columns[0]] > 0
        number = int(known.sum())
        if number < 2:
            ends = [(math.nan, math.nan)] * len(columns)
        else:
            means = bootstrap_means(sums[known][:, columns], counts[known][:, columns], resamples, seed)
            ends = [interval(means[:, place], number) for place in range(len(columns))]
        for column, (low, high) in zip(columns, ends, strict=True):
            found[column] = (low, high, number)
    return found


def mean_interval(values: np.ndarray, units: np.ndarray) -> tuple[float, float]:
    """Return the ends of :func:`mean_intervals` for one column, (n,) numbers."""
    [(low, high, _)] = mean_intervals(np.asarray(values, dtype=np.float64)[:, None], units)
    return low, high


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values of a family of tests after Holm's correction; a nan stays one and counts for nothing."""
    p = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(p.shape, math.nan)
    order = np.argsort(p, kind="stable")[: np.count_nonzero(~np.isnan(p))]
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return corrected.tolist()
