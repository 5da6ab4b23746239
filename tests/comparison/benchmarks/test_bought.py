"""Tests of comparison/benchmarks/bought.py: libraries give what pose/ gives."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from comparison.benchmarks import bought as benchmark
from pose import cli


@pytest.fixture
def lungs():
    """Two lungs, slices first, that specks of noise connect."""
    labels = np.zeros((9, 40, 44), dtype=np.uint8)
    labels[1:8, 5:35, 5:20], labels[1:8, 5:35, 21:40] = 1, 2
    return labels


@pytest.mark.parametrize("job", ["connected", "slices"])
def test_every_way_finds_the_same_components(job, lungs):
    first, *others = [work(lungs) for work in benchmark.JOBS[job].values()]
    assert 0 < np.count_nonzero(first) < first.size and len(others) == 3
    for found in others:
        assert benchmark.equality(first, found) == "yes"


def test_lungs_that_meet_are_divided(lungs):
    found = benchmark.meeting_here(lungs)
    assert [(found[lungs == label] == label).mean() > 0.9 for label in (1, 2)] == [True, True]


@pytest.mark.parametrize("way", ["opencv, in plane", "pose: scipy, in plane"])
def test_distances_are_those_of_a_transform_of_the_whole_volume(way, lungs, monkeypatch):
    monkeypatch.setattr("pose.scores.metrics.MOST_VOXELS_AT_ONCE", 0)
    ways = benchmark.JOBS["distances"]
    whole, found = ways["scipy, whole volume"](lungs), ways[way](lungs)
    assert whole.max() > 1
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-9)


def test_equality_tells_how_far_apart_results_are():
    assert benchmark.equality(np.array([0, 2, 2, 1]), np.array([0, 2, 1, 1])) == "no, 1 of 3 voxels differ"
    assert benchmark.equality(np.array([0.5, 2.0]), np.array([0.5, 2.25])) == "to 2e-01 mm"


def test_a_row_for_every_way(capfd):
    assert benchmark.main(["--jobs", "meeting", "--side", "32", "--slices", "8", "--turns", "2"]) == 0
    out = capfd.readouterr().out
    assert "32 x 32 x 8, median of 2 turns" in out
    assert [line.split(" | ")[1] for line in out.splitlines() if line.startswith("| meeting")] == list(
        benchmark.JOBS["meeting"]
    )


def test_distances_without_edt_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.run_main(benchmark.main, ["--jobs", "distances"]) == 2
    assert capsys.readouterr().err == "error: --jobs distances: edt is not installed; pip install edt==3.1.2\n"
