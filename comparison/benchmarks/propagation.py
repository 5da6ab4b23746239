"""Measure one prompt through a volume: process_video.py against the published procedure, both as whole processes.

On the same volume, weights and machine, in turns: wall time and peak memory of the process from its start to its end,
files written. process_video.py also scores every slice, draws the contact sheet and writes the masks as NIfTI; the
published procedure here only saves its masks. Ratios are taken within a turn, since other work on the machine slows
both alike.

Without --checkpoint_file_path the weights are random, or with --image_weights completed by random ones: see
comparison/benchmarks/random_weights.py.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from comparison.benchmarks.random_weights import make_weights
from pose import cli
from pose.scans.masks import read_mask
from pose.scores import metrics
from pose.segmenters import models

GOAL_DICE = 0.995


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-i", "--image_file_path", type=Path, metavar="FILE", help="a chest CT (default: a made one)")
    parser.add_argument("-m", "--masks_file_path", type=Path, metavar="FILE", help="its masks")
    parser.add_argument("--labels", nargs="+", default=[], metavar="LABEL", help="labels that count (default: all)")
    parser.add_argument("--swap_axes", action="store_true", help="swap the first two axes of NIfTI files")
    parser.add_argument(
        "--made_slices", type=cli.whole_number, default=61, metavar="N", help="of the made CT (default: %(default)s)"
    )
    parser.add_argument("--model", default="2.1_tiny", help="a SAM 2 (default: %(default)s)")
    parser.add_argument("--checkpoint_file_path", type=Path, metavar="FILE", help="its weights (default: random)")
    parser.add_argument(
        "--image_weights", type=Path, metavar="FILE", help="weights without memory, completed by random ones"
    )
    parser.add_argument(
        "--image_sizes",
        type=cli.whole_number,
        nargs="+",
        default=[1024, 512],
        metavar="N",
        help="pixels a side of ours; the published procedure has the model's (default: 1024 512)",
    )
    parser.add_argument("--pairs", type=cli.whole_number, default=3, metavar="N", help="turns (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda (default: %(default)s)")
    return parser


def run_process(command: Sequence[str | Path]) -> tuple[float, float]:
    """Run a command to its end; returns its wall time in seconds and its peak memory in MB."""
    with tempfile.TemporaryFile() as log:
        start = time.perf_counter()
        process = os.posix_spawn(
            str(command[0]),
            [str(word) for word in command],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, log.fileno(), 1), (os.POSIX_SPAWN_DUP2, log.fileno(), 2)],
        )
        _, status, usage = os.wait4(process, 0)
        seconds = time.perf_counter() - start
        if status:
            log.seek(0)
            raise cli.UserError(f"{command[1]}: failed\n{log.read().decode(errors='replace')[-2000:]}")
    return seconds, usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table; exit code 1 where the Dice of bfloat16 to float32 is below 0.995, or masks are empty or
    full.
    """
    arguments = make_parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        return measure(arguments, Path(folder))


def measure(arguments: argparse.Namespace, folder: Path) -> int:
    """Run all turns in ``folder`` and print what they took."""
    image, masks = arguments.image_file_path, arguments.masks_file_path
    swap = ["--swap_axes"] if arguments.swap_axes or image is None else []
    if image is None:
        make_phantom = [sys.executable, PROJECT_ROOT / "scripts" / "make_phantom.py", "--output_folder_path", folder]
        run_process([*make_phantom, "--shape", "512", "512", str(arguments.made_slices), "--name", "made"])
        image, masks = folder / "made_ct.nii.gz", folder / "made_lungs.nii.gz"
    spec = models.find_model(arguments.model, 2)
    checkpoint = arguments.checkpoint_file_path
    if checkpoint is None:
        checkpoint = make_weights(folder / "weights.pt", spec, arguments.image_weights)
    labels = ["--labels", *arguments.labels] if arguments.labels else []
    shared = ["-i", image, "-m", masks, *swap, *labels, "--checkpoint_file_path", checkpoint, "--model", spec.name]
    shared += ["--device", arguments.device]

    def published(output: Path) -> list:
        return [
            sys.executable,
            PROJECT_ROOT / "comparison" / "benchmarks" / "published_procedure.py",
            *shared,
            "-o",
            output,
        ]

    def ours(results: Path, size: int, precision: str) -> list:
        script = [sys.executable, PROJECT_ROOT / "process_video.py", *shared, "-w", "-b", "-r", results]
        as_published = [] if swap else ["--no_swap_axes"]
        return [*script, *as_published, "--precision", precision, "--image_size", str(size)]

    def masks_of(results: Path) -> np.ndarray:
        found = sorted(results.glob("*/masks_*"))[-1]
        return read_mask(found, swap_axes=bool(swap)).voxels > 0

    ways = {"published": lambda turn: published(folder / f"published_{turn}.npz")}
    for size in arguments.image_sizes:
        ways[f"ours, {size} px"] = lambda turn, size=size: ours(folder / f"ours_{size}_{turn}", size, "bf16")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    memory: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(arguments.pairs):
        # every second turn the other way round
        for name in list(ways)[:: -1 if turn % 2 else 1]:
            taken, peak = run_process(ways[name](turn))
            seconds[name].append(taken)
            memory[name].append(peak)
            print(f"turn {turn + 1}: {name}: {taken:.1f} s, {peak:.0f} MB", file=sys.stderr, flush=True)

    baseline = np.load(folder / "published_0.npz")["arr_0"]
    import torch

    print(
        f"{spec.name} on {arguments.device}, {torch.get_num_threads()} threads of {os.cpu_count()} CPUs, PyTorch "
        f"{torch.__version__}, {' x '.join(map(str, baseline.shape))} voxels, {arguments.pairs} turns; whole "
        "processes\n"
    )
    print(
        "| way | seconds | MB | times as fast | share of memory | Dice to float32: volume | least of slices | Dice "
        "to published |"
    )
    print("|---|---|---|---|---|---|---|---|")
    worst = 1.0
    for name in ways:
        speed = [base / own for base, own in zip(seconds["published"], seconds[name])]
        share = [own / base for base, own in zip(memory["published"], memory[name])]
        cells = [spread(seconds[name], 1), spread(memory[name], 0), spread(speed, 2), spread(share, 2), "", "", ""]
        if name != "published":
            size = int(name.split()[1])
            run_process(ours(folder / f"exact_{size}", size, "fp32"))
            exact, fast = masks_of(folder / f"exact_{size}"), masks_of(folder / f"ours_{size}_0")
            slices = [
                metrics.dice(exact[:, :, slice_index], fast[:, :, slice_index]) for slice_index in range(exact.shape[2])
            ]
            agreement = metrics.dice(exact, fast)
            worst = min(worst, agreement if 0 < exact.mean() < 1 else 0.0)
            cells[4:] = [f"{agreement:.4f}", f"{np.nanmin(slices):.4f}", f"{metrics.dice(baseline, fast):.4f}"]
        print(f"| {name} | {' | '.join(cells)} |")
    return cli.EXIT_OK if worst >= GOAL_DICE else cli.EXIT_VOLUME_FAILED


def spread(values: Sequence[float], digits: int) -> str:
    """Return the median and, in brackets, the least and the largest of several turns."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
