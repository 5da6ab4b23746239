"""Tests of pose/scores/paired.py against scipy, and values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pose.cli import UserError
from pose.scores import paired

NAMES = ("SAM", "SAM 2")


def rows(image, slices, values):
    return pd.DataFrame({"image": image, "slice": slices, "dice": values})


class TestPairUp:
    def test_what_one_lacks_is_listed_and_nothing_is_shifted(self):
        first = pd.concat([rows("a", [0, 1, 2], [0.1, 0.2, 0.3]), rows("b", [0], [0.4])])
        second = pd.concat([rows("c", [7], [0.9]), rows("a", [3, 2, 0], [0.8, 0.6, 0.5])])
        pairs = paired.pair_up(first, second, ["image", "slice"], "dice", NAMES)
        assert pairs.table.values.tolist() == [["a", 0, 0.1, 0.5], ["a", 2, 0.3, 0.6]]
        assert pairs.unpaired.values.tolist() == [
            ["a", 1, "SAM"],
            ["a", 3, "SAM 2"],
            ["b", 0, "SAM"],
            ["c", 7, "SAM 2"],
        ]

    def test_undefined_and_infinite_values(self):
        first = rows("a", range(5), [math.nan, math.nan, 0.5, math.inf, 0.5])
        second = rows("a", range(5), [math.nan, 0.0, math.nan, 1.0, 0.75])
        pairs = paired.pair_up(first, second, ["image", "slice"], "dice", NAMES)
        why = ["undefined in both", "undefined in SAM", "undefined in SAM 2"]
        assert pairs.not_usable(NAMES).values.tolist() == [["a", index, reason] for index, reason in enumerate(why)]
        assert pairs.usable().values.tolist() == [["a", 3, math.inf, 1.0], ["a", 4, 0.5, 0.75]]

    def test_nothing_pairs(self):
        with pytest.raises(UserError) as caught:
            paired.pair_up(rows("image_a", [0], [1.0]), rows("a", [0], [1.0]), ["image", "slice"], "dice", NAMES)
        assert "SAM has image_a (1), SAM 2 has a (1); rename" in str(caught.value)
        with pytest.raises(UserError, match="share no slice of an image, though images such as a"):
            paired.pair_up(rows("a", [0], [1.0]), rows("a", [1], [1.0]), ["image", "slice"], "dice", NAMES)

    def test_volume_means(self):
        table = pd.DataFrame({"image": ["b", "a", "a"], "first": [1.0, 0.0, 0.5], "second": [0.0, 1.0, 0.5]})
        assert paired.volume_means(table).values.tolist() == [["a", 0.25, 0.75], ["b", 1.0, 0.0]]


class TestPairedTest:
    @pytest.mark.parametrize(("n", "method"), [(8, "exact"), (50, "exact"), (51, "normal approximation")])
    def test_as_scipy(self, n, method):
        first, second = np.random.default_rng(n).normal(size=(2, n)) + [[0], [0.5]]
        found = paired.paired_test(first, second)
        t, wilcoxon = (
            stats.ttest_rel(second, first),
            stats.wilcoxon(second, first, method=method.split()[-1].replace("approximation", "asymptotic")),
        )
        assert (found["t"], found["t_p"]) == pytest.approx(tuple(t))
        assert (found["wilcoxon"], found["wilcoxon_p"]) == pytest.approx((wilcoxon.statistic, wilcoxon.pvalue))
        assert found["wilcoxon_method"] == method
        assert found["mean_difference"] == pytest.approx(second.mean() - first.mean())
        assert found["cohen_dz"] == pytest.approx(found["t"] / math.sqrt(n))

    def test_by_hand(self):
        """Differences 1, 2, 4, -3 and 0: ranks 1, 2, 4 above and 3 below; 6 of the 16 signings have a sum so small."""
        found = paired.paired_test(np.zeros(5), np.array([1.0, 2.0, 4.0, -3.0, 0.0]))
        assert (found["n"], found["identical"], found["mean_difference"]) == (5, 1, 0.8)
        assert found["wilcoxon"] == 3 and found["wilcoxon_p"] == 10 / 16
        assert found["rank_biserial"] == pytest.approx((7 - 3) / 10)
        assert found["cohen_dz"] == pytest.approx(0.8 / math.sqrt((0.04 + 1.44 + 10.24 + 14.44 + 0.64) / 4))

    def test_ties_of_few_pairs_are_exact(self):
        """Differences 1, 1 and 1: of the 8 signings, 2 are as far out."""
        found = paired.paired_test(np.zeros(4), np.array([1.0, 1.0, 1.0, 0.0]))
        assert (found["wilcoxon_p"], found["wilcoxon_method"]) == (0.25, "exact, with ties")
        assert found["rank_biserial"] == 1

    def test_a_constant_difference(self):
        found = paired.paired_test(np.zeros(3), np.full(3, -0.5))
        assert (found["t"], found["t_p"], found["cohen_dz"], found["rank_biserial"]) == (-math.inf, 0, -math.inf, -1)

    @pytest.mark.parametrize("scale", [1, 100, 1e-3, 7e-20, 3e100])
    def test_ties_of_decimals_are_ties(self, scale):
        """Hundredths -2 3 2 4 3 4 2 -2, ranks 2.5 5.5 2.5 7.5 5.5 7.5 2.5 2.5: of 256 signings, 22 are as far out."""
        first = np.array([0.83, 0.77, 0.90, 0.70, 0.77, 0.86, 0.74, 0.94]) * scale
        second = np.array([0.81, 0.80, 0.92, 0.74, 0.80, 0.90, 0.76, 0.92]) * scale
        found = paired.paired_test(first, second)
        assert (found["wilcoxon"], found["wilcoxon_p"], found["wilcoxon_method"]) == (5, 22 / 256, "exact, with ties")
        assert found["rank_biserial"] == pytest.approx((31 - 5) / 36)

    def test_what_differs_by_the_last_bit_alone_is_identical(self):
        found = paired.paired_test(np.array([0.3, 0.7, 0.9]), np.array([0.1 + 0.2, 0.7, 0.8]))
        assert found["identical"] == 2
        constant = paired.paired_test(np.array([0.1, 0.4, 0.7]), np.array([0.2, 0.5, 0.8]))
        assert (constant["t"], constant["t_p"]) == (math.inf, 0)

    def test_infinite_distances_rank_as_the_worst(self):
        """Differences inf, -1, 2, inf and 0, of two that are infinite alike: ranks 3.5, 1, 2 and 3.5."""
        first = np.array([1.0, 4.0, 1.0, 2.0, math.inf])
        found = paired.paired_test(first, np.array([math.inf, 3.0, 3.0, math.inf, math.inf]))
        assert (found["n"], found["identical"], found["wilcoxon"]) == (5, 1, 1)
        assert found["wilcoxon_p"] == 4 / 16 and found["rank_biserial"] == pytest.approx((9 - 1) / 10)
        assert found["mean_difference"] == math.inf and math.isnan(found["t_p"]) and math.isnan(found["cohen_dz"])

    @pytest.mark.parametrize("values", [[], [0.5], [0.25, 0.5, 0.75]])
    def test_nothing_to_test(self, values):
        """No pair, one pair, and pairs without a difference."""
        values = np.array(values)
        found = paired.paired_test(values, values + (0.1 if values.size == 1 else 0))
        assert found["n"] == values.size and found["wilcoxon_method"] == ""
        assert all(
            math.isnan(found[name]) for name in ("t", "t_p", "wilcoxon", "wilcoxon_p", "cohen_dz", "rank_biserial")
        )


class TestWorstCase:
    """What one set alone has a value for, counted against the set that leads over the rest."""

    @pytest.fixture
    def pairs(self):
        images = [f"v{number}" for number in range(8)]
        first = pd.DataFrame({"image": images, "dice": [0.5] * 8})
        second = pd.DataFrame({"image": images, "dice": [0.6, 0.61, 0.62, 0.63, 0.64, 0.65, None, None]})
        return paired.pair_up(first, second, ["image"], "dice", NAMES)

    def test_it_can_turn_the_result(self, pairs):
        """Ranks 1 to 6 above, 7.5 twice below: of the 256 signings, those as far out as 15 of 36."""
        assert paired.paired_test(*pairs.usable()[["first", "second"]].to_numpy().T)["wilcoxon_p"] == 2 / 64
        differences = [0.1, 0.11, 0.12, 0.13, 0.14, 0.15, -1.0, -1.0]
        expected = paired.paired_test(np.zeros(8), np.array(differences))
        assert expected["rank_biserial"] == pytest.approx((21 - 15) / 36)
        assert paired.worst_case(pairs, 0, 1.0, 1.0) == expected["wilcoxon_p"] > 0.5
        assert paired.worst_case(pairs, 1, 1.0, 1.0) == 1  # 9 twice more: then the first one leads

    def test_a_slice_counts_as_one_of_its_volume(self):
        slices = [rows(name, range(4), [0.5] * 4) for name in "abcdef"]
        others = [rows(name, range(4), [0.9, 0.9, 0.9, 0.9 if name > "a" else None]) for name in "abcdef"]
        pairs = paired.pair_up(pd.concat(slices), pd.concat(others), ["image", "slice"], "dice", NAMES)
        assert (
            paired.worst_case(pairs, 0, 1.0, 1.0)
            == paired.paired_test(np.zeros(6), np.array([0.05, 0.4, 0.4, 0.4, 0.4, 0.4]))["wilcoxon_p"]
        )


def test_false_alarms_are_as_rare_as_the_level_only_over_volumes():
    """Without any difference in the long run, tests over slices of volumes that differ by chance raise false alarms."""
    generator = np.random.default_rng(5)
    trials, alarms = 300, {"slices": 0, "volumes": 0}
    for _ in range(trials):
        difference = generator.normal(size=(12, 1)) + generator.normal(size=(12, 20))
        for level, values in (("slices", difference.ravel()), ("volumes", difference.mean(axis=1))):
            alarms[level] += paired.paired_test(np.zeros(values.size), values)["t_p"] < 0.05
    assert 0.02 <= alarms["volumes"] / trials <= 0.08
    assert alarms["slices"] / trials > 0.4
