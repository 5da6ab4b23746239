"""Two sets of results of the same slices: paired by image and slice, tested as pairs of slices and pairs of volumes.

Slices of one volume are alike, so that tests which take them as independent claim too much. What holds for volumes to
come is told by the tests over volumes, and by the interval that draws volumes with all their slices.
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
        """Return the pairs that cannot be subtracted: the columns of the key, and why."""
        first, second = (self.table[name] for name in ("first", "second"))
        reason = np.select(
            [first.isna() & second.isna(), first.isna(), second.isna(), np.isinf(first) | np.isinf(second)],
            ["undefined in both", f"undefined in {names[0]}", f"undefined in {names[1]}", "infinite"],
            default="",
        )
        table = self.table.drop(columns=["first", "second"]).assign(why=reason)
        return table[table["why"] != ""]

    def usable(self) -> pd.DataFrame:
        """Return the pairs of which both values are finite."""
        finite = np.isfinite(self.table[["first", "second"]].to_numpy(dtype=np.float64)).all(axis=1)
        return self.table[finite]


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


def paired_test(first: np.ndarray, second: np.ndarray) -> dict[str, float | int | str]:
    """Test whether the mean of ``second`` - ``first``, (n,) finite values each, differs from 0.

    Returns:
        n and identical (pairs without a difference); mean_first, mean_second, mean_difference; t and t_p of the paired
        t-test; wilcoxon (the smaller rank sum) and wilcoxon_p of the signed-rank test without the identical pairs, and
        wilcoxon_method: "exact", "exact, with ties" or "normal approximation"; cohen_dz (mean of the differences over
        their standard deviation) and rank_biserial (-1 to 1, 1 where ``second`` is always higher). A test of fewer than
        two pairs, or of the same values, is undefined: nan, and a method of "".
    """
    difference = second - first
    n = difference.size
    found: dict[str, float | int | str] = {
        "n": n,
        "identical": int(np.count_nonzero(difference == 0)),
        **{
            f"mean_{name}": values.mean() if n else math.nan
            for name, values in (("first", first), ("second", second), ("difference", difference))
        },
        **dict.fromkeys(("t", "t_p", "wilcoxon", "wilcoxon_p"), math.nan),
        "wilcoxon_method": "",
        "cohen_dz": math.nan,
        "rank_biserial": math.nan,
    }
    if n < 2 or not difference.any():
        return found
    return {**found, **_t_test(difference), **_signed_rank_test(difference[difference != 0])}


def _t_test(difference: np.ndarray) -> dict[str, float]:
    from scipy import stats

    if np.ptp(difference) == 0:
        endless = math.copysign(math.inf, difference[0])
        return {"t": endless, "t_p": 0.0, "cohen_dz": endless}
    t, p = stats.ttest_1samp(difference, 0)
    return {"t": float(t), "t_p": float(p), "cohen_dz": float(difference.mean() / difference.std(ddof=1))}


def _signed_rank_test(difference: np.ndarray) -> dict[str, float | str]:
    from scipy import stats

    size = np.abs(difference)
    ties = np.unique(size).size < size.size
    name, method = "normal approximation", "asymptotic"
    if not ties and size.size <= EXACT_WILCOXON_PAIRS:
        name, method = "exact", "exact"
    elif size.size <= EXACT_WILCOXON_PAIRS_WITH_TIES:
        name, method = "exact, with ties", stats.PermutationMethod(n_resamples=np.inf)
    test = stats.wilcoxon(difference, method=method)
    ranks = stats.rankdata(size)
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
    difference = (pairs["second"] - pairs["first"]).to_numpy()
    ((low, high, _),) = mean_intervals(difference[:, None], units, resamples)
    return low, high
