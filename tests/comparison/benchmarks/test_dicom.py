"""Tests of comparison/benchmarks/dicom.py."""

from __future__ import annotations

import numpy as np
import pytest

from comparison.benchmarks import dicom as benchmark
from comparison.benchmarks.large_volume import make_large_chest
from pose import cli
from pose.scans.volume import read_volume


def test_the_series_is_the_nifti_scan(tmp_path):
    scan, _ = make_large_chest(tmp_path, 32, 24)
    benchmark.write_dicom(scan, tmp_path / "dicom")
    expected, found = read_volume(scan, None, None), read_volume(tmp_path / "dicom", None, None)
    np.testing.assert_array_equal(found.voxels, expected.voxels)
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-4)


def test_three_conversions_are_measured(capsys):
    assert benchmark.main(["--side", "32", "--slices", "24"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "32 x 32 x 24, 0 MB of voxels, one run of each"
    assert [line.split(" | ")[0] for line in said[4:]] == ["| chest.nii.gz", "| dicom", "| dicom.zip"]


@pytest.mark.parametrize("slices", ["23"])
def test_too_few_slices_are_refused(slices, capsys):
    assert cli.run_main(benchmark.main, ["--slices", slices]) == 2
    assert "--slices 23: at least 24" in capsys.readouterr().err
