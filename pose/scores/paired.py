"""Two sets of results of the same slices: paired by image and slice, tested as pairs of slices and pairs of volumes.

Slices of one volume are alike, so that tests which take them as independent claim too much. What holds for volumes to
come is told by the tests over volumes, and by the interval that draws volumes with all their slices.

An infinite distance, of an object that was missed, is a value: the worst. It has a rank, and makes means infinite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pose.cli import UserError
from pose.scores.statistics import RESAMPLES, mean_intervals

if TYPE_CHECKING:
    import pandas as pd

EXACT_WILCOXON_PAIRS = 50
EXACT_WILCOXON_PAIRS_WITH_TIES = 13


@dataclass(frozen=True)
class Pairs:
    """Rows of two tables that belong together.

    Attributes:
        table: the columns of the key, then first and second: the two values of one metric.
        unpaired: the columns of the key, and only_in: the name of the set that has the row.
    """

    table: pd.DataFrame
    unpaired: pd.DataFrame

    def not_usable(self, names: tuple[str, str]) -> pd.DataFrame:
        """Return the pairs that cannot be compared: the columns of the key, and why."""
        first, second = (self.table[name] for name in ("first", "second"))
        reason = np.select(
            [first.isna() & second.isna(), first.isna(), second.isna()],
            ["undefined in both", f"undefined in {names[0]}", f"undefined in {names[1]}"],
            default="",
        )
        table = self.table.drop(columns=["first", "second"]).assign(why=reason)
        return table[table["why"] != ""]

    def usable(self) -> pd.DataFrame:
        """Return the pairs of which both values are there; some may be infinite."""
        return self.table[self.table[["first", "second"]].notna().all(axis=1)]


def pair_up(first: pd.DataFrame, second: pd.DataFrame, key: list[str], metric: str, names: tuple[str, str]) -> Pairs:
    """Pair the rows of two tables that have the same ``key``, image and slice or image alone; none is ever shifted.

    Args:
        first: a table in which each key comes once, with a column ``metric``.
        second: another.
        names: what the two sets are called.

    Raises:
        UserError: no row of one is a row of the other.
    """
    columns = [*key, metric]
    joint = first[columns].merge(
        second[columns], on=key, how="outer", suffixes=("_first", "_second"), indicator="only_in"
    )
    joint = joint.rename(columns={f"{metric}_first": "first", f"{metric}_second": "second"})
    in_both = joint["only_in"] == "both"
    if not in_both.any():
        raise UserError(_nothing_shared(first, second, key, names))
    unpaired = joint.loc[~in_both, [*key, "only_in"]]
    only_in = unpaired["only_in"].astype(object).map({"left_only": names[0], "right_only": names[1]})
    table = joint.loc[in_both, [*key, "first", "second"]].astype({"first": "float64", "second": "float64"})
    return Pairs(table.reset_index(drop=True), unpaired.assign(only_in=only_in).reset_index(drop=True))


def _nothing_shared(first: pd.DataFrame, second: pd.DataFrame, key: list[str], names: tuple[str, str]) -> str:
    images = [list(dict.fromkeys(table["image"])) for table in (first, second)]
    if shared := [image for image in images[0] if image in images[1]]:
        return f"{names[0]} and {names[1]} share no slice of an image, though images such as {shared[0]}"
    shown = [f"{', '.join(found[:3])}{', ...' if len(found) > 3 else ''} ({len(found)})" for found in images]
    return (
        f"no image of {names[0]} has the name of one of {names[1]}, so that nothing pairs: {names[0]} has {shown[0]}, "
        f"{names[1]} has {shown[1]}; rename the folders of one of them"
    )


def volume_means(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return a row per image: the means of first and second over its paired slices."""
    return pairs.groupby("image", sort=True)[["first", "second"]].mean().reset_index()


def differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return ``second`` - ``first``, (n,) float64 each, as decimals: rounded to 1e-12 of the power of ten above them.

    0.77 - 0.83 and 0.80 - 0.86 differ in the last bit of a float, which would break a tie. Two values that are infinite
    alike do not differ.
    """
    with np.errstate(invalid="ignore"):  # of two infinite values
        difference = np.where(first == second, 0.0, second - first)
    sizes = np.abs(np.concatenate([first, second]))
    largest = float(sizes[np.isfinite(sizes)].max(initial=0))
    if largest == 0:
        return difference
    decimals = 12 - math.ceil(math.log10(largest))
    return np.round(difference, min(max(decimals, -290), 290))  # 10 to the power of more is no float


def paired_test(first: np.ndarray, second: np.ndarray) -> dict[str, float | int | str]:
    """Test whether the mean of ``second`` - ``first``, (n,) values each, differs from 0.

    Returns:
        n and identical (pairs without a difference); mean_first, mean_second, mean_difference; t and t_p of the paired
        t-test; wilcoxon (the smaller rank sum) and wilcoxon_p of the signed-rank test without the identical pairs, and
        wilcoxon_method: "exact", "exact, with ties" or "normal approximation"; cohen_dz (mean of the differences over
        their standard deviation) and rank_biserial (-1 to 1, 1 where ``second`` is always higher). A test of fewer than
        two pairs, or of the same values, is undefined: nan, and a method of "". An infinite difference has the highest
        rank, or shares it with others; the t-test is then undefined.
    """
    difference = differences(first, second)
    n = difference.size
    found: dict[str, float | int | str] = {
        "n": n,
        "identical": int(np.count_nonzero(difference == 0)),
        **{
            f"mean_{name}": _mean(values)
            for name, values in (("first", first), ("second", second), ("difference", difference))
        },
        **dict.fromkeys(("t", "t_p", "wilcoxon", "wilcoxon_p"), math.nan),
        "wilcoxon_method": "",
        "cohen_dz": math.nan,
        "rank_biserial": math.nan,
    }
    if n < 2 or not difference.any():
        return found
    of_means = _t_test(difference) if np.isfinite(difference).all() else {}
    return {**found, **of_means, **_signed_rank_test(difference[difference != 0])}


def worst_case(pairs: Pairs, lost: int, leader: float, bound: float) -> float:
    """Return the p of the signed-rank test over volumes, had what one set has no value for spoken against the leader.

    A winner over what both have is none if it depends on what was left out.

    Args:
        pairs: all of them; those that are undefined in one set alone count as the worst.
        lost: further volumes that one set alone has no result for.
        leader: above 0 where ``second`` is higher over what both have, below 0 where it is lower.
        bound: the largest difference that there can be.

    Returns:
        1 where the other one would lead; nan where there is nothing to test.
    """
    table = pairs.table[pairs.table[["first", "second"]].notna().any(axis=1)]
    first, second = (table[name].to_numpy(dtype=np.float64) for name in ("first", "second"))
    difference, worst = differences(first, second), -math.copysign(bound, leader)
    difference[np.isnan(first) | np.isnan(second)] = worst
    means = table.assign(difference=difference).groupby("image")["difference"].mean().to_numpy()
    by_volume: np.ndarray = np.append(means, np.full(lost, worst))
    test = paired_test(np.zeros(by_volume.size), by_volume)
    return 1.0 if float(test["rank_biserial"]) * leader <= 0 else float(test["wilcoxon_p"])


def _mean(values: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):  # infinite values of both signs: undefined
        return float(values.mean()) if values.size else math.nan


def _t_test(difference: np.ndarray) -> dict[str, float]:
    from scipy import stats

    if np.ptp(difference) == 0:
        endless = math.copysign(math.inf, difference[0])
        return {"t": endless, "t_p": 0.0, "cohen_dz": endless}
    t, p = stats.ttest_1samp(difference, 0)
    return {"t": float(t), "t_p": float(p), "cohen_dz": float(difference.mean() / difference.std(ddof=1))}


def _signed_rank_test(difference: np.ndarray) -> dict[str, float | str]:
    from scipy import stats

    ranks = stats.rankdata(np.abs(difference))
    ties = np.unique(ranks).size < ranks.size
    name, method = "normal approximation", "asymptotic"
    if not ties and ranks.size <= EXACT_WILCOXON_PAIRS:
        name, method = "exact", "exact"
    elif ranks.size <= EXACT_WILCOXON_PAIRS_WITH_TIES:
        name, method = "exact, with ties", stats.PermutationMethod(n_resamples=np.inf)
    test = stats.wilcoxon(np.copysign(ranks, difference), method=method)  # finite, whatever the differences are
    rank_biserial = (ranks * np.sign(difference)).sum() / ranks.sum()
    return {
        "wilcoxon": float(test.statistic),
        "wilcoxon_p": float(test.pvalue),
        "wilcoxon_method": name,
        "rank_biserial": float(rank_biserial),
    }


def difference_intervals(pairs: pd.DataFrame, units: np.ndarray, resamples: int = RESAMPLES) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean of second - first, drawing ``units`` (n,) with all their pairs."""
    if pairs.empty:
        return math.nan, math.nan
    difference = differences(*(pairs[name].to_numpy(dtype=np.float64) for name in ("first", "second")))
    ((low, high, _),) = mean_intervals(difference[:, None], units, resamples)
    return low, high
