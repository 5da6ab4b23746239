"""Measure the conversion of a NIfTI scan to working data against the usual way, in wall time and peak memory.

The usual way is get_fdata() and numpy.savez_compressed (numpy.save for .npy): every voxel becomes a float64. Each
conversion runs in a process of its own, from the start of the interpreter to its end, all of them in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from pose.cli import EXIT_OK, EXIT_VOLUME_FAILED, UserError, run_main

USUAL = """
import sys
import nibabel
import numpy
voxels = nibabel.load(sys.argv[1]).get_fdata().swapaxes(0, 1)
if sys.argv[2].endswith(".npz"):
    numpy.savez_compressed(sys.argv[2], voxels)
else:
    numpy.save(sys.argv[2], voxels)
"""
# Starts one conversion and waits for it: of all children, the resource usage is then that of this one alone.
MEASURE = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
seconds = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
peak_mb = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
cpu_seconds = used.ru_utime + used.ru_stime
print(json.dumps({"code": done.returncode, "seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak_mb}))
"""
GOAL = 2.0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source_file_path", type=Path, metavar="FILE", help="a scan of yours instead of a made one")
    parser.add_argument(
        "--shape",
        type=int,
        nargs=3,
        default=(512, 512, 300),
        metavar=("X", "Y", "Z"),
        help="size of the made int16 CT (default: 512 512 300)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each conversion runs, at least 3 (default: 3)")
    return parser


def ct_like(shape: Sequence[int]) -> np.ndarray:
    """Return an int16 scan that compresses like a chest CT: a body with two lungs, air round it, noise of 20 HU."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    body = (x / 0.85) ** 2 + (y / 0.65) ** 2 < 1
    voxels = np.empty(shape, np.int16, order="F")
    for slice_index in range(shape[2]):
        width = 0.12 + 0.18 * np.sin(np.pi * (slice_index + 0.5) / shape[2])
        tissue = np.where(body, 40.0, -1000.0)
        for centre in (-0.4, 0.4):
            tissue[((x - centre) / width) ** 2 + (y / (1.5 * width)) ** 2 < 1] = -850.0
        tissue[(x / 0.1) ** 2 + ((y - 0.4) / 0.1) ** 2 < 1] = 300.0
        voxels[:, :, slice_index] = np.rint(tissue + rng.normal(0, 20, tissue.shape)).clip(-1024, 3071)
    return voxels


def measure(command: Sequence[str], environment: Mapping[str, str] | None = None) -> dict[str, float]:
    """Run ``command`` as a fresh process.

    Args:
        environment: variables of the process beside those of this one.

    Returns:
        ``seconds`` of wall time from start to end of the process, ``cpu_seconds`` of its threads together, ``peak_mb``
        the most memory that it held at once.

    Raises:
        RuntimeError: the command failed.
    """
    # the measuring process is small: the memory of a parent counts in a child until the child starts its program
    done = subprocess.run(
        [sys.executable, "-I", "-c", MEASURE, *command],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **(environment or {})},
    )
    figures = json.loads(done.stdout)
    if figures["code"] != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {figures['code']}: {done.stderr}")
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table; exit code 1 where the conversion to .npz is not twice as quick and twice as small."""
    arguments = build_parser().parse_args(argv)
    if arguments.rounds < 3:
        raise UserError(f"--rounds {arguments.rounds}: fewer than 3 say nothing about the spread")
    with tempfile.TemporaryDirectory() as folder:
        source = arguments.source_file_path
        if source is None:
            import nibabel

            source = Path(folder) / "made.nii.gz"
            nibabel.save(nibabel.Nifti1Image(ct_like(arguments.shape), np.diag([0.7, 0.7, 1.0, 1.0])), source)
        elif not source.is_file():
            raise UserError(f"{source}: no such file")
        ours = [sys.executable, str(PROJECT_ROOT / "nifti_to_numpy.py"), "--swap_axes", "-i", str(source), "-o"]
        usual = [sys.executable, "-c", USUAL, str(source)]
        print(f"{source.name}, {source.stat().st_size / 1e6:.1f} MB; {os.cpu_count()} CPUs; {arguments.rounds} rounds")
        ratios = [_compare(suffix, ours, usual, Path(folder), arguments.rounds) for suffix in (".npz", ".npy")]
    return EXIT_OK if min(ratios[0]) >= GOAL else EXIT_VOLUME_FAILED


def _compare(suffix: str, ours: list[str], usual: list[str], folder: Path, rounds: int) -> tuple[float, float]:
    """Run both ways in turns, check that they wrote the same voxels, print; return the ratios of time and memory."""
    targets = {"usual": folder / f"usual{suffix}", "pose": folder / f"pose{suffix}"}
    commands = {"usual": [*usual, str(targets["usual"])], "pose": [*ours, str(targets["pose"])]}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            runs[name].append(measure(command))
    loaded = {name: np.load(target, allow_pickle=False) for name, target in targets.items()}
    if suffix == ".npz":
        loaded = {"usual": loaded["usual"]["arr_0"], "pose": loaded["pose"]["voxels"]}
    if not np.array_equal(loaded["usual"].astype(loaded["pose"].dtype), loaded["pose"]):
        raise RuntimeError(f"the two {suffix} files hold different voxels")

    medians = {}
    for name, figures in runs.items():
        seconds, peaks = ([run[key] for run in figures] for key in ("seconds", "peak_mb"))
        medians[name] = statistics.median(seconds), statistics.median(peaks)
        print(
            f"{suffix} {name:5}  {medians[name][0]:7.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"
            f"  {medians[name][1]:7.0f} MB ({min(peaks):.0f} to {max(peaks):.0f})"
            f"  file {targets[name].stat().st_size / 1e6:.1f} MB"
        )
    ratios = tuple(of_usual / of_pose for of_usual, of_pose in zip(medians["usual"], medians["pose"], strict=True))
    print(f"{suffix} pose is {ratios[0]:.1f} times as quick and takes {ratios[1]:.1f} times less memory", flush=True)
    return ratios


if __name__ == "__main__":
    sys.exit(run_main(main))
