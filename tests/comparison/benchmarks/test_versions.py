"""The benchmark of two checkouts: what it compares, and its table."""

from __future__ import annotations

from pathlib import Path

import pytest

from comparison.benchmarks import versions
from pose import cli
from pose.files.repository import REPOSITORY_FOLDER

STAMP = "2026-01-01_10-00-00"


def results_of(folder: Path, dice: str = "0.5", seconds: str = "1.5") -> dict[str, str | list[list[str]]]:
    """Write what a run leaves of a volume, as far as it is compared, and read it back."""
    volume = folder / "volume"
    volume.mkdir(parents=True)
    raw_data = f"slice,dice,set_image_time\n0,{dice},{seconds}\n"
    (volume / f"raw_data_{STAMP}.csv").write_text(raw_data, encoding="utf-8")
    summary = f"metric,avg\ndice,{dice}\nprocess_image_time,{seconds}\n"
    (volume / f"results_{STAMP}.csv").write_text(summary, encoding="utf-8")
    (volume / f"masks_{STAMP}.nii.gz").write_bytes(b"masks")
    (volume / f"run_{STAMP}.json").write_text(seconds, encoding="utf-8")
    return versions.written(folder)


def test_times_are_not_compared_and_all_else_is(tmp_path):
    plain = results_of(tmp_path / "plain")
    assert set(plain) == {"volume/raw_data", "volume/results", "volume/masks"}
    assert plain["volume/raw_data"] == [["slice", "dice"], ["0", "0.5"]]
    assert plain["volume/results"] == [["metric", "avg"], ["dice", "0.5"]]
    assert versions.differing(plain, results_of(tmp_path / "slow", seconds="2.5")) == []
    other = results_of(tmp_path / "other", dice="0.25")
    assert versions.differing(plain, other) == ["volume/raw_data", "volume/results"]
    del other["volume/masks"]
    assert versions.differing(plain, other) == ["volume/masks", "volume/raw_data", "volume/results"]


@pytest.mark.slow
def test_this_checkout_writes_what_it_writes(tmp_path, capsys):
    words = ["--against", str(REPOSITORY_FOLDER), "--size", "48", "--slices", "6", "--volumes", "2", "--turns", "1"]
    assert versions.main([*words, "--device", "cpu", "--folder", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "| before | " in printed and "| now | " in printed and "files that differ: none\n" in printed


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--against", "nowhere"], "--against nowhere: holds no process_video.py"),
        (["--against", ".", "--volumes", "1"], "--volumes 1: with one there is no telling start from work; at least 2"),
    ],
)
def test_what_cannot_be_measured_is_refused(words, line, capsys):
    assert cli.run_main(versions.main, words) == 2
    assert capsys.readouterr().err == f"error: {line}\n"
