"""Tests of pose/scores/statistics.py against numpy, scipy and values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pose.scores.statistics import (
    bootstrap_means,
    describe,
    describe_each,
    holm,
    interval,
    intervals_of_sums,
    mean_intervals,
    means_of_draws,
    quartiles,
    unit_sums,
)


class TestDescribe:
    def test_as_numpy(self):
        values = np.random.default_rng(3).normal(size=101)
        found = describe(np.append(values, np.nan))
        expected = [values.min(), values.max(), values.mean(), values.std(ddof=1), 101]
        expected += np.quantile(values, [0.25, 0.5, 0.75]).tolist()
        assert list(found) == ["min", "max", "avg", "std", "n", "q1", "median", "q3"]
        assert list(found.values()) == pytest.approx(expected, abs=1e-15)

    def test_nothing_and_one(self):
        assert describe(np.array([np.nan]))["n"] == 0 and math.isnan(describe(np.array([]))["median"])
        one = describe(np.array([0.5]))
        assert math.isnan(one.pop("std"))
        assert one == {"min": 0.5, "max": 0.5, "avg": 0.5, "n": 1, "q1": 0.5, "median": 0.5, "q3": 0.5}

    @pytest.mark.parametrize("size", range(1, 12))
    def test_quartiles_interpolate(self, size):
        values = np.random.default_rng(size).random(size)
        expected = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
        assert list(quartiles(values).values()) == pytest.approx(expected, abs=1e-15)

    def test_infinite_quartiles(self):
        assert quartiles(np.array([np.inf, 1.0, np.inf])) == {"q1": np.inf, "median": np.inf, "q3": np.inf}
        assert quartiles(np.array([1.0, 2.0, 3.0, 4.0, np.inf]))["q3"] == 4.0


class TestBootstrap:
    def test_each_draw_is_of_whole_units(self):
        sums, counts = np.array([[1.0], [20.0]]), np.array([[1], [10]])
        means = bootstrap_means(sums, counts, resamples=4000)
        assert np.unique(means).tolist() == [1.0, 21 / 11, 2.0]
        assert [np.mean(means == value) for value in (1.0, 21 / 11, 2.0)] == pytest.approx([0.25, 0.5, 0.25], abs=0.03)

    @pytest.mark.parametrize("size", [40, 4000])
    def test_one_value_a_unit_is_the_bootstrap_of_scipy(self, size):
        values = np.random.default_rng(1).gamma(2.0, size=size)
        ours = interval(bootstrap_means(values[:, None], np.ones((size, 1)))[:, 0], size)
        tail = stats.norm.cdf(-math.sqrt(size / (size - 1)) * stats.t.ppf(0.975, size - 1))
        assert tail == pytest.approx({40: 0.0203, 4000: 0.0249}[size], abs=1e-4)
        theirs = stats.bootstrap(
            (values,), np.mean, method="percentile", n_resamples=10_000, batch=500, rng=2, confidence_level=1 - 2 * tail
        ).confidence_interval
        assert ours == pytest.approx(tuple(theirs), abs=0.15 * values.std() / math.sqrt(size))

    def test_few_units_are_not_trusted(self):
        estimates = np.arange(1000.0)
        assert interval(estimates, 2) == (0, 999) and interval(estimates, 10**6) == (24, 975)

    def test_seeded(self):
        values, units = np.random.default_rng(1).random((30, 2)), np.repeat(range(10), 3)
        assert mean_intervals(values, units, 500) == mean_intervals(values, units, 500)
        assert mean_intervals(values, units, 500, seed=1) != mean_intervals(values, units, 500)

    def test_parts_that_fit_in_memory_are_as_good_as_one(self, monkeypatch):
        sums, counts = np.arange(5.0)[:, None], np.ones((5, 1))
        whole = bootstrap_means(sums, counts, 1000)
        monkeypatch.setattr("pose.scores.statistics._VALUES_AT_ONCE", 35)
        assert bootstrap_means(sums, counts, 1000).tolist() == whole.tolist()

    def test_infinity(self):
        means = bootstrap_means(np.array([[1.0], [np.inf]]), np.ones((2, 1)), 200)
        assert set(means[:, 0].tolist()) == {1.0, math.inf}

    def test_faults_of_the_caller(self):
        for sums, counts in (([[1.0]], [[0]]), ([[1.0]], [[1, 1]]), (np.empty((0, 1)), np.empty((0, 1))), ([1.0], [1])):
            with pytest.raises(ValueError, match="of units and columns expected"):
                bootstrap_means(np.array(sums), np.array(counts))

    def test_missing_values_and_too_few_units(self):
        values = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan], [2.0, 7.0, 4.0], [2.0, np.nan, np.nan]])
        first, second, third = mean_intervals(values, np.array(["a", "a", "b", "c"]), 2000)
        assert first == (2.0, 2.0, 3)
        assert second == (5.0, 7.0, 2)
        assert math.isnan(third[0]) and math.isnan(third[1]) and third[2] == 1
        assert mean_intervals(np.empty((3, 0)), np.arange(3)) == []

    @pytest.mark.parametrize("volumes", [6, 10, 40])
    def test_covers_the_truth_where_slices_of_a_volume_are_alike(self, volumes):
        """Of intervals that draw volumes, as many as claimed hold the true mean; of those that draw slices, half."""
        generator = np.random.default_rng(0)
        slices, trials = 25, 300
        units = np.repeat(range(volumes), slices)
        by_volume = by_slice = 0
        for _ in range(trials):
            values = (generator.normal(size=(volumes, 1)) + generator.normal(size=(volumes, slices))).reshape(-1, 1)
            low, high, _ = mean_intervals(values, units, 1000)[0]
            by_volume += low <= 0 <= high
            low, high, _ = mean_intervals(values, np.arange(len(values)), 200)[0]
            by_slice += low <= 0 <= high
        assert 0.92 <= by_volume / trials <= 0.98
        assert by_slice / trials < 0.6


class TestManyAtOnce:
    @pytest.mark.parametrize("largest", [3, 40, 300, 2000])
    @pytest.mark.parametrize("infinite", [0.0, 0.02])
    def test_each_group_is_described_as_it_is_alone(self, largest, infinite):
        generator = np.random.default_rng(largest)
        sizes = generator.integers(0, largest, 60)
        values = generator.normal(size=sizes.sum())
        values[generator.random(len(values)) < 0.2] = np.nan
        for value in (np.inf, -np.inf):
            values[generator.random(len(values)) < infinite] = value
        found = describe_each(values, sizes)
        for place, group in enumerate(np.split(values, np.cumsum(sizes)[:-1])):
            alone = {name: float(value) for name, value in describe(group).items()}
            assert repr({name: float(found[name][place]) for name in alone}) == repr(alone)

    def test_no_values_at_all(self):
        found = describe_each(np.array([np.nan]), np.array([0, 1, 0]))
        assert found["n"].tolist() == [0, 0, 0] and np.isnan(found["avg"]).all() and np.isnan(found["q1"]).all()
        assert describe_each(np.empty(0), np.empty(0, int))["n"].tolist() == []

    @pytest.mark.parametrize("units", [2, 50, 1500])
    def test_tables_share_draws_and_keep_their_means(self, units):
        generator = np.random.default_rng(units)
        shapes = [(units, 1), (units, 3)]
        tables = [(generator.normal(size=shape), generator.integers(1, 9, shape)) for shape in shapes]
        together = means_of_draws(tables, 700, seed=4)
        for found, (sums, counts) in zip(together, tables, strict=True):
            assert found.tolist() == bootstrap_means(sums, counts, 700, seed=4).tolist()

    def test_means_are_those_of_the_volumes_drawn(self):
        sums, counts = np.array([[1.0], [10.0], [100.0]]), np.array([[1], [2], [4]])
        drawn = np.random.default_rng(0).integers(3, size=(200, 3), dtype=np.int32)
        expected = sums[drawn, 0].sum(axis=1) / counts[drawn, 0].sum(axis=1)
        assert bootstrap_means(sums, counts, 200)[:, 0].tolist() == pytest.approx(expected.tolist(), abs=1e-13)

    def test_infinite_sums_of_either_sign_and_both(self):
        sums = np.array([[1.0, np.inf], [np.inf, -np.inf], [np.nan, 2.0]])
        means = bootstrap_means(sums, np.ones((3, 2)), 300)
        drawn = np.random.default_rng(0).integers(3, size=(300, 3), dtype=np.int32)
        for column in range(2):
            with np.errstate(invalid="ignore"):
                expected = sums[drawn, column].sum(axis=1) / 3
            assert means[:, column].tolist() == pytest.approx(expected.tolist(), nan_ok=True)
            assert np.isnan(expected).any() and np.isfinite(expected).any() and np.isinf(expected).any()

    def test_intervals_of_tables_are_those_of_each(self):
        generator = np.random.default_rng(2)
        values, units = generator.normal(size=(400, 4)), np.repeat(np.arange(40), 10)
        values[:30, 1], values[:, 3] = np.nan, np.nan
        parts = [unit_sums(column, units, 40) for column in values.T]
        table = tuple(np.stack(part, axis=1) for part in zip(*parts, strict=True))
        alone = mean_intervals(values, units, 300)
        assert [found[2] for found in alone] == [40, 37, 40, 0]
        for found in intervals_of_sums([table, table], 300):
            assert repr(found) == repr(alone)


class TestHolm:
    def test_by_hand(self):
        # 4 x 0.005, 3 x 0.01, then 2 x 0.03, and 1 x 0.04 raised to the one before it
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02], abs=1e-15)

    def test_ends(self):
        assert holm([]) == [] and holm([0.3]) == [0.3] and holm([0.6, 0.7]) == [1.0, 1.0]

    def test_an_undefined_test_is_none(self):
        assert holm([math.nan, 0.02, 0.03])[1:] == [0.04, 0.04] and math.isnan(holm([math.nan, 0.02])[0])
