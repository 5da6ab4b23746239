"""The benchmark of a process's start: it ends once the model is loaded, in this checkout and in another."""

from __future__ import annotations

import pytest

from comparison.benchmarks import start
from pose import cli


def test_another_checkout_is_measured_in_turn(tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    for path in start.PROJECT_ROOT.iterdir():
        if path.name in ("pose", "process_video.py", "sam2_configs"):
            (other / path.name).symlink_to(path)
    work = tmp_path / "work"
    work.mkdir()
    words = ["--models", "region_growing", "--turns", "2", "--against", str(other), "--folder", str(work)]
    assert start.main(words) == 0
    captured = capsys.readouterr()
    here = start.PROJECT_ROOT.name
    told = [line.split(": ")[1] for line in captured.err.splitlines()]
    assert told == [f"region_growing, {name}" for name in (here, "other", "other", here)]
    rows = [line for line in captured.out.splitlines() if line.startswith("| region_growing | ")]
    assert [row.split(" | ")[1] for row in rows] == [here, "other"] and rows[0].endswith(" | 1.00 (1.00 to 1.00) |")
    # it ended before anything was written
    assert not list(work.iterdir())


def test_a_run_that_fails_before_its_model_is_told(tmp_path):
    command = [start.sys.executable, "-c", start.UNTIL_LOADED, str(start.PROJECT_ROOT), "-i", "missing.nii.gz"]
    with pytest.raises(RuntimeError, match="exit code 1"):
        start.measure([*command, "--method", "region_growing", "--slice", "1", "--box", "1", "1", "2", "2"])


def test_another_checkout_must_be_one(tmp_path, capsys):
    assert cli.run_main(start.main, ["--against", str(tmp_path)]) == 2
    assert f"{tmp_path / 'process_video.py'}: no such file" in capsys.readouterr().err
