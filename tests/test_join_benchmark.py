"""Tests of comparison/benchmark_join.py."""

from __future__ import annotations

import numpy as np
import pytest

from comparison import benchmark_join
from pose.result_set import read_result_set


def test_synthetic_results_are_like_those_of_a_run(tmp_path):
    benchmark_join.write_volume_results(tmp_path / "case", 200, np.random.default_rng(0))
    one = read_result_set(tmp_path)
    masked = int((one.raw_data["ground_truth_voxels"] > 0).sum())
    assert len(one.raw_data) == 200 and 100 < masked < 200
    assert (one.prompts["case"].prompted_slices, one.prompts["case"].masked_slices) == (1, masked)
    undefined = (one.raw_data["ground_truth_voxels"] == 0) & (one.raw_data["predicted_voxels"] == 0)
    assert (one.raw_data["dice"].isna() == undefined).all() and undefined.any()


def test_a_row_for_each_size(capsys):
    assert benchmark_join.main(["--volumes", "4", "2", "--slices", "10"]) == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows] == ["volumes", "2", "4"] and rows[1][2] == "-"
    assert all(float(row[1]) > 0 and float(row[3]) > 20 for row in rows[1:])


def test_slope():
    assert benchmark_join.slope((20, 1.0), (200, 10.0)) == pytest.approx(0.05)
