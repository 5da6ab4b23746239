"""Measure what going through the workflow engine costs a volume, against the scripts themselves, and what a second
worker gains.

Copies of one synthetic chest CT go from NIfTI to the report in several ways, in turns, each into a new folder:

  scripts, N threads    nifti_to_numpy.py, process_video.py, join_results.py, paper/report.py, one after another
  engine, N at once, batches of B    scripts/Snakefile with --cores N, B volumes a job, one thread a job

A volume costs by the engine what it takes longer than the scripts by as many cores.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from comparison.benchmarks.propagation import spread
from pose import cli

SNAKEMAKE = PROJECT_ROOT / ".venv_workflow" / "bin" / "snakemake"
FLAGS = ("--use_bounding_box", "--objects", "per_label")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--volumes", type=cli.positive_whole_number, default=8, metavar="N", help="default: %(default)s"
    )
    parser.add_argument(
        "--shape",
        type=cli.positive_whole_number,
        nargs=3,
        default=(128, 128, 30),
        metavar=("ROWS", "COLUMNS", "SLICES"),
        help="of a volume (default: 128 128 30)",
    )
    parser.add_argument(
        "--model",
        default="lite_medsam",
        metavar="NAME",
        help="or region_growing, which loads none (default: %(default)s)",
    )
    parser.add_argument("--turns", type=cli.positive_whole_number, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--snakemake", type=Path, default=SNAKEMAKE, metavar="FILE", help="default: that of scripts/setup_workflow.sh"
    )
    return parser


def write_volumes(folder: Path, count: int, shape: Sequence[int]) -> list[str]:
    """Write copies of a chest CT and its lungs, NAME_ct.nii.gz and NAME_lungs.nii.gz; return the names."""
    from scripts import make_phantom

    size = ["--shape", *map(str, shape)]
    make_phantom.main(["--output_folder_path", str(folder), *size])
    names = [f"case_{number:04}" for number in range(count)]
    for name in names:
        for kind in ("ct", "lungs"):
            shutil.copy(folder / f"chest_phantom_{kind}.nii.gz", folder / f"{name}_{kind}.nii.gz")
    return names


def model_flags(model: str) -> list[str]:
    """Return the flags that choose the model, or the method without one."""
    return ["--method", model] if model == "region_growing" else ["--model", model]


def run(command: Sequence[object], folder: Path, threads: int) -> None:
    """Run a command; what it says is shown where it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "POSE_PYTHON": sys.executable}
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise RuntimeError(f"{command}: exit code {done.returncode}\n{done.stdout}")


def by_scripts(data: Path, names: Sequence[str], model: str, threads: int, folder: Path) -> None:
    """Take the volumes from NIfTI to the report by the scripts, one process each."""
    python, work = [sys.executable], folder / "working_data"
    kinds = {"ct": "image", "lungs": "masks"}
    sources = [data / f"{name}_{kind}.nii.gz" for kind in kinds for name in names]
    images, masks = ([work / f"{kind}_{name}.npz" for name in names] for kind in kinds.values())
    run([*python, PROJECT_ROOT / "nifti_to_numpy.py", "-s", "-i", *sources, "-o", *images, *masks], folder, threads)
    what = ["--window", "lung", *FLAGS, *model_flags(model)]
    run(
        [*python, PROJECT_ROOT / "process_video.py", "-i", *images, "-m", *masks, "-r", "results", *what],
        folder,
        threads,
    )
    run([*python, PROJECT_ROOT / "join_results.py", "-r", "results"], folder, threads)
    run([*python, PROJECT_ROOT / "paper/report.py", "-r", "results", "-o", "report.html"], folder, threads)


def by_engine(snakemake: Path, data: Path, model: str, cores: int, batch_size: int, folder: Path) -> None:
    """Take the volumes from NIfTI to the report by the workflow."""
    import yaml

    settings = {
        "images": f"{data}/{{name}}_ct.nii.gz",
        "masks": f"{data}/{{name}}_lungs.nii.gz",
        "exclude": ["chest_phantom"],
        "output_folder": "out",
        "swap_axes": True,
        "window": "lung",
        "batch_size": batch_size,
        "flags": [*FLAGS, *model_flags(model)],
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    files = ["--snakefile", PROJECT_ROOT / "scripts/Snakefile", "--configfile", "dataset.yaml"]
    profile = ["--profile", PROJECT_ROOT / "scripts/profiles/local"]
    run([snakemake, *files, *profile, "--cores", cores], folder, 1)


def ways(arguments: argparse.Namespace, data: Path, names: Sequence[str]) -> dict[str, Callable[[Path], None]]:
    """Return what is compared, by name; each takes the folder that it works in."""
    count, model = len(names), arguments.model
    found: dict[str, Callable[[Path], None]] = {
        f"scripts, {threads} thread{'s' * (threads > 1)}": partial(by_scripts, data, names, model, threads)
        for threads in (1, 2)
    }
    for cores, batch_size in ((1, count), (1, 1), (2, -(-count // 2)), (2, 1)):
        name = f"engine, {cores} at once, batches of {batch_size}"
        found[name] = partial(by_engine, arguments.snakemake, data, model, cores, batch_size)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every way in turns, and print a table."""
    arguments = make_parser().parse_args(argv)
    if not arguments.snakemake.is_file():
        raise cli.UserError(f"--snakemake {arguments.snakemake}: no such file; scripts/setup_workflow.sh installs it")
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data"
        names = write_volumes(data, arguments.volumes, arguments.shape)
        every = ways(arguments, data, names)
        for turn in range(arguments.turns):
            for number, (name, way) in enumerate(every.items()):
                folder = Path(temporary) / f"run_{turn}_{number}"
                folder.mkdir()
                start = time.perf_counter()
                way(folder)
                seconds.setdefault(name, []).append(time.perf_counter() - start)
                check(folder, len(names))
                shutil.rmtree(folder)
    print(f"{len(names)} volumes of {' x '.join(map(str, arguments.shape))}, {arguments.model}; {os.cpu_count()} cores")
    print(f"median (least to most) of {arguments.turns} turns\n")
    print(table(seconds, len(names)))
    return cli.EXIT_OK


def check(folder: Path, volumes: int) -> None:
    """Raise where a way has not made the results of every volume, and a report."""
    found = len(list(folder.glob("**/results/*/run_*.json")))
    if found != volumes or not list(folder.glob("**/report.html")):
        raise RuntimeError(f"{folder}: {found} results of {volumes} volumes")


def table(seconds: dict[str, list[float]], volumes: int) -> str:
    """Return a Markdown table of seconds, volumes an hour, and seconds a volume beyond those of the scripts, by way."""
    first, *others = seconds
    lines = ["| way | seconds | volumes an hour | s a volume beyond the scripts with 1 thread |", "|---|---|---|---|"]
    for name in (first, *others):
        hourly = [3600 * volumes / value for value in seconds[name]]
        beyond = [(value - base) / volumes for value, base in zip(seconds[name], seconds[first], strict=True)]
        extra = "-" if name == first else spread(beyond, 2)
        lines.append(f"| {name} | {spread(seconds[name], 1)} | {spread(hourly, 0)} | {extra} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
