"""Measure how the peak memory of SAM 2's memory grows with the number of slices: this project's and sam2's own
predictor.

Each point is a process of its own, with random weights, on slices that are made when they are asked for and masks that
are thrown away: what is left is what the method itself holds. On CUDA the peak of the GPU's memory is printed as well.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from comparison.benchmarks.published_procedure import load_predictor, propagate, write_jpegs
from comparison.benchmarks.random_weights import make_weights
from pose import cli, results
from pose.prompts.prompt import Prompt
from pose.segmenters import models

SIDE = 256


def prompt_on(slice_index: int) -> Prompt:
    """Return the one prompt of a volume."""
    return Prompt(slice_index, 1, ((SIDE // 2, SIDE // 2),), (), (64, 64, 192, 192))


class MovingDisc:
    """Slices without a volume: a bright disc that moves a little from slice to slice."""

    def __init__(self, slices: int):
        self.shape = (SIDE, SIDE, slices)

    def __len__(self) -> int:
        return self.shape[2]

    def __getitem__(self, slice_index: int) -> np.ndarray:
        rows, columns = np.ogrid[:SIDE, :SIDE]
        row, column = SIDE / 2 + 20 * np.sin(slice_index / 9), SIDE / 2 + 20 * np.cos(slice_index / 9)
        disc = np.hypot(rows - row, columns - column) < 60
        return np.where(disc, 200, 40).astype(np.uint8)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="2.1_tiny", help="a SAM 2 (default: %(default)s)")
    parser.add_argument(
        "--image_size", type=cli.whole_number, default=512, metavar="N", help="pixels a side (default: %(default)s)"
    )
    parser.add_argument(
        "--slices", type=int, nargs="+", default=[50, 200, 800], metavar="N", help="of ours (default: 50 200 800)"
    )
    parser.add_argument(
        "--published_slices",
        type=int,
        nargs="*",
        default=[50, 200],
        metavar="N",
        help="of sam2's own predictor (default: 50 200)",
    )
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16", help="of ours (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--point", nargs=3, metavar=("WAY", "SLICES", "WEIGHTS"), help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every point in a process of its own, and print a table."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = make_parser().parse_args(words)
    if arguments.point:
        way, slices, weights = arguments.point
        print(json.dumps(measure(way, int(slices), Path(weights), arguments)))
        return cli.EXIT_OK
    print(f"{arguments.model}, {arguments.image_size} px, {arguments.device}, random weights; one run of each\n")
    print(
        "| way | slices | peak memory, MB | peak GPU memory, MB | seconds a slice |\n|---|---|---|---|---|", flush=True
    )
    with tempfile.TemporaryDirectory() as folder:
        weights = make_weights(Path(folder) / "weights.pt", spec_of(arguments))
        points = [("ours", count) for count in arguments.slices] + [
            ("sam2", count) for count in arguments.published_slices
        ]
        for way, count in points:
            command = [sys.executable, __file__, *words, "--point", way, str(count), str(weights)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise cli.UserError(f"{way}, {count} slices: failed\n{done.stderr[-2000:]}")
            point = json.loads(done.stdout.splitlines()[-1])
            gpu = "" if point["gpu_mb"] is None else f"{point['gpu_mb']:.0f}"
            print(f"| {way} | {count} | {point['mb']:.0f} | {gpu} | {point['seconds']:.3f} |", flush=True)
    return cli.EXIT_OK


def spec_of(arguments: argparse.Namespace) -> models.ModelSpec:
    """Return the model at the size asked for."""
    return replace(models.find_model(arguments.model, 2), image_size=arguments.image_size)


def measure(way: str, slices: int, weights: Path, arguments: argparse.Namespace) -> dict[str, float | None]:
    """Propagate through so many slices from the middle one, keeping no mask."""
    import torch

    device = models.choose_device(arguments.device)
    grey, spec = MovingDisc(slices), spec_of(arguments)
    if way == "ours":
        from pose.segmenters.sam2.memory import Sam2Memory

        segmenter = Sam2Memory(spec, weights, device, arguments.precision)
        start = time.perf_counter()
        count = sum(1 for _ in segmenter.segment(grey, [prompt_on(slices // 2)]))
    else:
        network = load_predictor(spec, weights, device)
        start, count = time.perf_counter(), -1  # the middle slice comes twice
        for half in (range(slices // 2, slices), range(slices // 2, -1, -1)):
            with tempfile.TemporaryDirectory() as folder:
                write_jpegs(Path(folder), grey, half)
                count += sum(1 for _ in propagate(network, folder, half, prompt_on(slices // 2)))
    if count != slices:
        raise RuntimeError(f"{count} slices instead of {slices}")
    gpu = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
    return {
        "mb": results.environment_manifest()["peak_memory_mb"],
        "gpu_mb": gpu,
        "seconds": (time.perf_counter() - start) / slices,
    }


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
