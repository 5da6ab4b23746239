"""A data-set run that is killed at any moment and resumed ends as one that nobody disturbed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.kill_and_resume import Trial, command_for, done_in, hidden_files, joined, run_trials, write_data_set
from tests.warm_python import Script, run_script


def check(trials: list[Trial]) -> None:
    for trial in trials:
        assert (trial.run_twice, trial.left_at_the_end, trial.tables_equal) == (0, 0, True), trial


def test_killed_twice(tmp_path):
    check(run_trials(tmp_path, count=2, volumes=3, seed=1))


@pytest.mark.slow
def test_killed_at_twenty_moments(tmp_path):
    trials = run_trials(tmp_path, count=20, volumes=4)
    check(trials)
    moments = {done for trial in trials for done in trial.done_at_each_kill}
    assert len(moments) > 2, "killed at the same stage again and again"


@pytest.mark.slow
def test_two_runs_at_once_share_the_volumes(tmp_path):
    """Neither does what the other does or has done, and both end when all is done."""
    images, masks = write_data_set(tmp_path / "data", 6)
    run_script(command_for(images, masks, tmp_path / "alone"), tmp_path).check_returncode()
    command = command_for(images, masks, tmp_path / "shared")
    with ThreadPoolExecutor(2) as workers:
        both = list(workers.map(lambda _: run_script(command, tmp_path, seconds=120), range(2)))
    assert [one.returncode for one in both] == [0, 0], both
    assert all(done_in(tmp_path / "shared" / image.name[:-7]) <= 1 for image in images)
    assert done_in(tmp_path / "shared") == 6 and not hidden_files(tmp_path / "shared")
    assert sum(one.stdout.count(": results: ") for one in both) == 6
    alone, shared = joined(tmp_path / "alone"), joined(tmp_path / "shared")
    assert alone.keys() == shared.keys() and all(alone[name].equals(shared[name]) for name in alone)


@pytest.mark.slow
def test_two_runs_at_once_without_resume_do_not_mix(tmp_path):
    """Each does every volume, one after the other where they meet: two whole runs in every folder."""
    images, masks = write_data_set(tmp_path / "data", 3)
    command = command_for(images, masks, tmp_path / "shared")
    command.remove("--resume")
    both = [Script(command, tmp_path) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    for image in images:
        folder: Path = tmp_path / "shared" / image.name[:-7]
        assert done_in(folder.parent) == 6 and len(list(folder.glob("raw_data_*.csv"))) == 2
        assert len(list(folder.iterdir())) == 12 and not hidden_files(folder)
