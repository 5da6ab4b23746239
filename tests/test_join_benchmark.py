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


@pytest.mark.slow
def test_time_grows_with_the_volumes_and_no_faster(capsys):
    assert benchmark_join.main(["--volumes", "5", "100", "400", "--slices", "50"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines if line[:3] in ("| 5", "| 1", "| 4")] == ["| 5", "| 100", "| 400"]
