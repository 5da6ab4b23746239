"""Kills the workflow over a data set, starts it again, and compares its results with those of the plain shell scripts.

    python -m tests.kill_workflow --volumes 12

prints what became of it. The data set is made: chests under the names of the COVID-19 CT set, some in Hounsfield units,
some grey. The plain way is scripts/nifti_to_numpy.sh and scripts/process_covid_videos.sh, one thread a process as in
the workflow. The workflow is killed (SIGKILL) when a part of the volumes is done: all its processes at once, as by a
power cut, or the engine alone, whose jobs then go on by themselves while the next engine starts.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests import warm_python
from tests.miniature import CORONACASES, RADIOPAEDIA
from tests.workflow_runs import (
    ROOT,
    WINDOWS,
    assert_same_results,
    find_snakemake,
    run_workflow,
    runs_of,
    workflow_command,
    workflow_environment,
    write_chests,
)

PREFIX = "image_"


def settings_of(model: str) -> dict[str, object]:
    """Return what the workflow is told."""
    return {
        "images": "data/{name}/ct.nii.gz",
        "masks": "data/{name}/lungs.nii.gz",
        "output_folder": "out",
        "swap_axes": True,
        "method" if model == "region_growing" else "model": model,
        "window": WINDOWS,
        "flags": "--use_bounding_box",
        "batch_size": 2,
        "threads": 1,
    }


def data_set(folder: Path, volumes: int) -> None:
    """Write scans for the workflow, and the same ones where the shell scripts look for them."""
    names = [name for pair in zip(CORONACASES, RADIOPAEDIA, strict=True) for name in pair][:volumes]
    write_chests(folder, names)
    for kind, target in (("ct", "COVID-19-CT-Seg_20cases"), ("lungs", "Lung_Mask")):
        (folder / "covid" / target).mkdir(parents=True)
        for name in names:
            shutil.copy(folder / "data" / name / f"{kind}.nii.gz", folder / "covid" / target / f"{name}.nii.gz")


def run_shell_scripts(folder: Path, model: str) -> None:
    """Convert and segment the data set by the plain shell scripts."""
    chosen = ["--", "--method", model] if model == "region_growing" else ["--model", model]
    environment = {**os.environ, "POSE_VENV": str(warm_python.environment()), "OMP_NUM_THREADS": "1"}
    work, results = folder / "covid_working_data", folder / "plain"
    for command in (
        ["nifti_to_numpy.sh", "--input_folder_path", folder / "covid", "--output_folder_path", work],
        ["process_covid_videos.sh", "--working_data_folder_path", work, "--results_folder_path", results, *chosen],
    ):
        subprocess.run(
            ["bash", ROOT / "scripts" / command[0], *command[1:]],
            env=environment,
            check=True,
            capture_output=True,
            cwd=folder,
        )


def done_in(folder: Path) -> int:
    return len(list((folder / "out" / "results").glob("*/run_*.json")))


def kill_when(folder: Path, model: str, done: int, engine_alone: bool) -> int:
    """Start the workflow, and kill it when so many volumes are done; return how many were in the end."""
    command = workflow_command(folder, settings_of(model), "--cores", 2)
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=workflow_environment(killed=True),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while done_in(folder) < done and process.poll() is None:
        time.sleep(0.005)
    if engine_alone:
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return done_in(folder)


def trial(folder: Path, model: str, volumes: int, done: int, engine_alone: bool) -> dict[str, object]:
    """Kill the workflow once, start it again, and return what became of it; raises where anything differs."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    killed_at = kill_when(folder, model, done, engine_alone)
    run_workflow(folder, settings_of(model), "--unlock")
    said = run_workflow(folder, settings_of(model))
    assert f"{volumes} of {volumes} volumes segmented" in said, said
    assert_same_results(folder / "out" / "results", folder / "plain", PREFIX)
    runs = runs_of(folder / "out" / "results")
    left = [path for path in (folder / "out").rglob(".*") if path.is_file()]
    return {
        "killed": "engine alone" if engine_alone else "all processes",
        "volumes done at the kill": killed_at,
        "volumes": len(runs),
        "run twice": sum(runs.values()) - len(runs),
        "left behind": len(left),
        "equal to the shell scripts": True,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=int, default=12)
    parser.add_argument("--trials", type=int, default=4, help="every second one kills the engine alone")
    parser.add_argument(
        "--model", default="lite_medsam", help="or region_growing, which is quick (default: %(default)s)"
    )
    arguments = parser.parse_args()
    if find_snakemake() is None:
        sys.exit("error: no Snakemake; scripts/setup_workflow.sh installs it")
    moments = random.Random(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data_set(folder, arguments.volumes)
        run_shell_scripts(folder, arguments.model)
        for number in range(arguments.trials):
            done = moments.randrange(1, arguments.volumes)
            found = trial(folder, arguments.model, arguments.volumes, done, engine_alone=bool(number % 2))
            if number == 0:
                print("| " + " | ".join(found) + " |\n|" + "---|" * len(found))
            print("| " + " | ".join(map(str, found.values())) + " |", flush=True)


if __name__ == "__main__":
    main()
