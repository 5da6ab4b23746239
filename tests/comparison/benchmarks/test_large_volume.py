"""Tests of comparison/benchmarks/large_volume.py, and by it of the memory that the scripts take on many slices."""

from __future__ import annotations

import numpy as np
import pytest

from comparison.benchmarks import large_volume as benchmark
from pose import cli
from pose.scans.masks import read_mask
from pose.scans.volume import read_volume


def test_the_made_volume_is_a_chest_with_lungs_on_most_slices(tmp_path):
    scan, mask = benchmark.make_large_chest(tmp_path, 48, 60)
    volume = read_volume(scan, swap_axes=True)
    labels = read_mask(mask, like=volume).voxels
    assert volume.voxels.shape == labels.shape == (48, 48, 60)
    assert (volume.voxels.dtype, labels.dtype) == (np.int16, np.uint8)
    for label in (1, 2):
        assert -900 < np.median(volume.voxels[labels == label]) < -700
    assert np.count_nonzero(labels.any(axis=(0, 1))) > 40
    assert volume.spacing_mm[2] == pytest.approx(273 / 59)
    assert len({volume.voxels[:, :, index].tobytes() for index in range(60)}) == 60


def test_too_few_slices_are_refused(capsys):
    assert cli.run_main(benchmark.main, ["--slices", "23"]) == 2
    assert "--slices 23: at least 24" in capsys.readouterr().err


def test_a_script_that_takes_too_much_memory_is_told(monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "stages", lambda *_: iter([("one", ["join_results.py", "--help"])]))
    words = ["--side", "32", "--slices", "24", "--largest_peak_mb"]
    assert benchmark.main([*words, "5"]) == 1
    assert benchmark.main([*words, "5000"]) == 0
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| one")]
    assert len(table) == 2


@pytest.mark.slow
def test_every_script_takes_no_more_than_its_share_of_2_gb(capsys):
    """What 2 GB for 1,000 slices leave for 100, with the 250 MB that the libraries take in any case."""
    slices = 100
    share = 250 + (benchmark.LARGEST_PEAK_MB - 250) * slices / 1000
    assert benchmark.main(["--slices", str(slices), "--largest_peak_mb", str(share)]) == 0, capsys.readouterr().out
