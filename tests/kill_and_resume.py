"""Kills a data-set run at random moments, resumes it, and compares it with one that nobody disturbed.

    python -m tests.kill_and_resume --trials 20

prints a row for each trial. The run is process_video.py --resume over small made volumes, by region growing; each trial
is killed once or several times (SIGKILL, which no program can catch) and then left alone.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import re
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

import join_results
from pose import cli
from tests.cases import two_blocks, write_nifti
from tests.warm_python import Script, run_script

ROOT = Path(__file__).resolve().parent.parent
TIMES = "set_image_time|predict_image_time|process_image_time"


@dataclass(frozen=True)
class Trial:
    """What became of one trial."""

    done_at_each_kill: list[int]
    seconds_after_that: list[float]
    left_by_the_kills: int
    run_twice: int
    left_at_the_end: int
    tables_equal: bool


def write_data_set(folder: Path, volumes: int) -> tuple[list[Path], list[Path]]:
    """Write scans that differ, and their masks: of few slices, since drawing them takes most of a run's time."""
    images, masks = [], []
    for number in range(volumes):
        scan, labels = two_blocks()
        scan[5 + number, 8, 3] = 40  # a hole in the object, elsewhere in each
        scan[:, :, :2] += np.int16(number)
        images.append(write_nifti(folder / f"volume_{number}.nii.gz", scan[:, :, :4]))
        masks.append(write_nifti(folder / f"masks_{number}.nii.gz", labels[:, :, :4]))
    return images, masks


def command_for(images: list[Path], masks: list[Path], results_folder: Path) -> list[str]:
    paths = ["-i", *map(str, images), "-m", *map(str, masks), "-r", str(results_folder)]
    return [str(ROOT / "process_video.py"), *paths, "--method", "region_growing", "-w", "-b", "--resume"]


def joined(results_folder: Path) -> dict[str, pd.DataFrame]:
    """Join the results without a word on standard output, and return the tables by name, times aside."""
    with contextlib.redirect_stdout(io.StringIO()):
        code = cli.run_main(join_results.main, ["-r", str(results_folder)])
    if code:
        raise RuntimeError(f"{results_folder}: not joined: exit code {code}")
    tables = {}
    for path in results_folder.glob("*.csv"):
        table = pd.read_csv(path).filter(regex=f"^(?!({TIMES}))")
        if "metric" in table:
            table = table[~table["metric"].str.fullmatch(TIMES)].reset_index(drop=True)
        tables[re.sub(r"_\d{4}-.*", "", path.name)] = table
    return tables


def hidden_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if path.is_file()]


def done_in(folder: Path) -> int:
    return len(list(folder.glob("*/run_*.json")))


def run_until(command: list[str], results_folder: Path, done: int, seconds: float) -> None:
    """Start the run and kill it ``seconds`` after so many volumes are done, if it has not ended by itself."""
    process = Script(command, ROOT)
    while done_in(results_folder) < done and process.wait(0.002) is None:
        pass
    if process.wait(seconds) is None:
        process.kill()


def kill_and_end(
    images: list[Path], masks: list[Path], results_folder: Path, kills: int, seed: int, seconds: float
) -> tuple[list[int], list[float], int]:
    """Kill the run so many times, each up to ``seconds`` after a random number of volumes; then let it end.

    Returns:
        How many volumes were done at each kill, the seconds after that, and how many hidden files the kills left.
    """
    moments = random.Random(seed)
    command = command_for(images, masks, results_folder)
    done, delays, left = [], [], 0
    for _ in range(kills):
        delays.append(round(moments.uniform(0, seconds), 2))
        least = min(done_in(results_folder), len(images) - 1)
        run_until(command, results_folder, moments.randrange(least, len(images)), delays[-1])
        done.append(done_in(results_folder))
        left += len(hidden_files(results_folder))
    run_script(command, ROOT).check_returncode()
    return done, delays, left


def what_became(
    results_folder: Path, volumes: int, expected: dict[str, pd.DataFrame], killed: tuple[list[int], list[float], int]
) -> Trial:
    """Compare the results of a trial with those of the run that nobody disturbed."""
    done, delays, left = killed
    folders = [folder for folder in results_folder.iterdir() if folder.is_dir()]
    runs = [sorted(folder.glob("raw_data_*.csv")) for folder in folders]
    for run in (run for folder in folders for run in folder.glob("run_*.json")):
        for name in json.loads(run.read_text())["files"].values():
            (run.parent / name).stat()
    found = joined(results_folder)
    return Trial(
        done_at_each_kill=done,
        seconds_after_that=delays,
        left_by_the_kills=left,
        run_twice=sum(len(files) - 1 for files in runs) + abs(len(folders) - volumes),
        left_at_the_end=len(hidden_files(results_folder)),
        tables_equal=found.keys() == expected.keys() and all(found[name].equals(expected[name]) for name in expected),
    )


def run_trials(folder: Path, count: int, volumes: int = 6, seed: int = 0, at_once: int = 2) -> list[Trial]:
    """Run ``count`` trials, each killed once, every third of them three times, at moments spread over the whole run."""
    images, masks = write_data_set(folder / "data", volumes)
    start = time.perf_counter()
    run_script(command_for(images, masks, folder / "undisturbed"), ROOT).check_returncode()
    seconds = (time.perf_counter() - start) / volumes
    expected = joined(folder / "undisturbed")

    def trial(number: int) -> tuple[list[int], list[float], int]:
        kills = 3 if number % 3 == 2 else 1
        return kill_and_end(images, masks, folder / f"trial_{number}", kills, seed + number, seconds)

    with ThreadPoolExecutor(at_once) as workers:
        killed = workers.map(trial, range(count))
        # in this process: of the scripts, the one that is killed alone has to be another
        return [what_became(folder / f"trial_{number}", volumes, expected, one) for number, one in enumerate(killed)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--volumes", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    names = [field.name for field in fields(Trial)]
    print("| trial | " + " | ".join(name.replace("_", " ") for name in names) + " |")
    print("|---" * (len(names) + 1) + "|")
    with tempfile.TemporaryDirectory() as folder:
        trials = run_trials(Path(folder), arguments.trials, arguments.volumes, arguments.seed)
    for number, trial in enumerate(trials, start=1):
        print(f"| {number} | " + " | ".join(str(getattr(trial, name)).strip("[]") for name in names) + " |")


if __name__ == "__main__":
    main()
