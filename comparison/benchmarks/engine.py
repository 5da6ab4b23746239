"""Measure the workflow engine by itself: planning data sets of several sizes, and jobs that do nothing.

The scans are empty files, and what stands for Python in the jobs only writes the file that says that a batch is done.
Planning is snakemake --dry-run. A job's cost is the time of the whole workflow with many batches, less that with one,
over the jobs that it has more, and less what the stand-in takes by itself.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from comparison.benchmarks.conversion import measure
from comparison.benchmarks.workflow import SNAKEMAKE
from pose import cli

STEPS_OF_A_BATCH = 2
STAND_IN = """#!/bin/sh
# $1 is the script; of run_batch.py, $2 is the step, $4 the output folder and $6 the batch
case $1 in
    *run_batch.py) [ "$2" = check ] || [ "$2" = summary ] || { mkdir -p "$4/batches" && : >"$4/batches/$2_$6.done"; } ;;
    *report.py) : >"$3" && : >"${3%.html}.tex" ;;
esac
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--volumes",
        type=cli.positive_whole_number,
        nargs="+",
        default=[1000, 10_000, 100_000],
        metavar="N",
        help="sizes of the data sets that are planned (default: 1000 10000 100000)",
    )
    parser.add_argument(
        "--batch_size", type=cli.positive_whole_number, default=50, metavar="N", help="default: %(default)s"
    )
    parser.add_argument(
        "--jobs",
        type=cli.positive_whole_number,
        default=500,
        metavar="N",
        help="that do nothing (default: %(default)s)",
    )
    parser.add_argument("--turns", type=cli.positive_whole_number, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--snakemake", type=Path, default=SNAKEMAKE, metavar="FILE", help="default: that of scripts/setup_workflow.sh"
    )
    return parser


def write_data_set(folder: Path, volumes: int) -> None:
    """Write empty scans and masks, and the stand-in for Python."""
    (folder / "data").mkdir(parents=True)
    for number in range(volumes):
        for kind in ("ct", "lungs"):
            (folder / "data" / f"case_{number:06}_{kind}.nii.gz").touch()
    stand_in = folder / "stand_in"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)


def command_for(snakemake: Path, folder: Path, batch_size: int) -> list[str]:
    """Write dataset.yaml into ``folder``, and return the command that runs the workflow by it."""
    (folder / "dataset.yaml").write_text(
        f"images: {folder}/data/{{name}}_ct.nii.gz\nmasks: {folder}/data/{{name}}_lungs.nii.gz\n"
        f"output_folder: {folder}/out\nbatch_size: {batch_size}\n"
    )
    files = ["--snakefile", str(PROJECT_ROOT / "scripts/Snakefile"), "--configfile", str(folder / "dataset.yaml")]
    profile = ["--profile", str(PROJECT_ROOT / "scripts/profiles/local"), "--cores", "1", "--directory", str(folder)]
    return [str(snakemake), *files, *profile, "--quiet", "all"]


def seconds_of_jobs(snakemake: Path, folder: Path, batch_size: int) -> float:
    """Run the workflow with jobs that do nothing, from nothing; return its seconds."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    start = time.perf_counter()
    subprocess.run(command_for(snakemake, folder, batch_size), check=True, capture_output=True)
    return time.perf_counter() - start


def seconds_of_stand_in(folder: Path, times: int = 100) -> float:
    """Return what the stand-in takes by itself, called as the engine calls it."""
    command = f"{folder}/stand_in run_batch.py process --output_folder_path {folder}/alone --batch 1 >/dev/null 2>&1"
    start = time.perf_counter()
    for _ in range(times):
        subprocess.run(["bash", "-c", command], check=True)
    return (time.perf_counter() - start) / times


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print two tables."""
    arguments = make_parser().parse_args(argv)
    if not arguments.snakemake.is_file():
        raise cli.UserError(f"--snakemake {arguments.snakemake}: no such file; scripts/setup_workflow.sh installs it")
    print(
        f"planning, batches of {arguments.batch_size}, one run of each\n\n| volumes | jobs | seconds | peak "
        "memory, MB |"
    )
    print("|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["POSE_PYTHON"] = f"{temporary}/{arguments.volumes[0]}/stand_in"
        for volumes in arguments.volumes:
            folder = Path(temporary) / str(volumes)
            write_data_set(folder, volumes)
            found = measure([*command_for(arguments.snakemake, folder, arguments.batch_size), "--dry-run"])
            jobs = STEPS_OF_A_BATCH * -(-volumes // arguments.batch_size)
            print(f"| {volumes} | {jobs} | {found['seconds']:.1f} | {found['peak_mb']:.0f} |", flush=True)
        print(
            "\njobs that do nothing, one at a time\n\n| jobs | seconds | the stand-in alone, s a job | engine, s a "
            "job |"
        )
        print("|---|---|---|---|", flush=True)
        folder = Path(temporary) / "jobs"
        batches = -(-arguments.jobs // STEPS_OF_A_BATCH)
        write_data_set(folder, batches)
        os.environ["POSE_PYTHON"] = str(folder / "stand_in")
        for _ in range(arguments.turns):
            few, many = (seconds_of_jobs(arguments.snakemake, folder, size) for size in (batches, 1))
            alone = seconds_of_stand_in(folder)
            more = STEPS_OF_A_BATCH * (batches - 1)
            print(f"| {more} | {many - few:.1f} | {alone:.3f} | {(many - few) / more - alone:.3f} |", flush=True)
    return cli.EXIT_OK


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
