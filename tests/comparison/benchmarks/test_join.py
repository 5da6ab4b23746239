"""Tests of comparison/benchmarks/join.py."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from comparison.benchmarks import join as benchmark_join
from pose.results.result_set import read_result_set


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
    assert [row[0] for row in rows] == ["volumes", "2", "4"] and rows[1][4] == "-"
    assert all(float(row[2]) > 0 and float(row[3]) > 0 and float(row[5]) > 20 for row in rows[1:])


def test_programs_side_by_side(capsys):
    programs = ["join_results.py", "paper/report.py"]
    assert benchmark_join.main(["--volumes", "3", "--slices", "10", "--programs", *programs]) == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| 3")]
    assert [row[1] for row in rows] == programs


def test_tables_of_another_checkout_must_be_the_same(tmp_path, capsys):
    (tmp_path / "join_results.py").write_text(
        "import sys, runpy\n"
        f"sys.path.insert(0, {str(benchmark_join.PROJECT_ROOT)!r})\n"
        f"runpy.run_path({str(benchmark_join.PROJECT_ROOT / 'join_results.py')!r}, run_name='__main__')\n"
    )
    arguments = ["--volumes", "3", "--slices", "10", "--against", str(tmp_path)]
    assert benchmark_join.main(arguments) == 0
    out = capsys.readouterr().out
    assert "tables that differ: none" in out and f"| 3 | {tmp_path / 'join_results.py'} | " in out
    (tmp_path / "join_results.py").write_text(
        "import sys, pathlib\n(pathlib.Path(sys.argv[2]) / 'results_2025-01-01_10-00-00.csv').write_text('metric')\n"
    )
    assert benchmark_join.main(arguments) == 1
    assert "tables that differ: join_results.py of 3" in capsys.readouterr().out


def test_many_volumes_differ_and_can_be_joined(tmp_path):
    generator = np.random.default_rng(0)
    made_of = benchmark_join.material(generator)
    for number in range(3):
        benchmark_join.write_synthetic(tmp_path / f"case_{number}", 20, made_of, generator)
    found = read_result_set(tmp_path)
    assert found.raw_data.groupby("image")["sam_score"].sum().nunique() == 3 and len(found.raw_data) == 60
    assert found.volume_metrics["volume_dice"].nunique() == 3
    (manifest,) = (tmp_path / "case_0").glob("run_*.json")
    assert 5_000 < manifest.stat().st_size < 12_000


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
def test_memory_is_that_of_all_processes():
    child = "import time; held = b'x' * 200_000_000; time.sleep(1)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    figures = benchmark_join.measure([sys.executable, "-c", parent])
    assert 210 < figures["peak_mb"] < 300 and figures["seconds"] > 1 > figures["cpu_seconds"]
    with pytest.raises(RuntimeError, match="exit code 3: no more"):
        benchmark_join.measure([sys.executable, "-c", "import sys; print('no more', file=sys.stderr); sys.exit(3)"])


def test_slope():
    assert benchmark_join.slope((20, 1.0), (200, 10.0)) == pytest.approx(0.05)
