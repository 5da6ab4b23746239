"""Measure a model in bfloat16 against the same model in float32: seconds a slice, and whether the masks stay the same.

The masks are compared over all slices together, and slice by slice: on an object of a few pixels one pixel is much.

Both take turns on the same slices, each prompted with the paper's points and box from its ground truth. Ratios are
taken within a round, since other work on the machine slows both alike.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from comparison.benchmarks.lite_medsam import load_cases
from pose import cli, segmenters
from pose.scores import metrics
from pose.segmenters import models

GOAL_DICE = 0.995


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny", help="a model of sam2_configs/ (default: %(default)s)")
    parser.add_argument("--checkpoint_file_path", type=Path, metavar="FILE", help="its weights")
    parser.add_argument("-i", "--image_file_path", type=Path, metavar="FILE", help="a chest CT (default: a made one)")
    parser.add_argument("-m", "--masks_file_path", type=Path, metavar="FILE", help="its masks")
    parser.add_argument("--labels", type=int, nargs="+", metavar="LABEL", help="labels that count (default: all)")
    parser.add_argument("--swap_axes", action="store_true", help="swap the first two axes of NIfTI files")
    parser.add_argument("--slices", type=cli.whole_number, default=8, metavar="N", help="slices (default: %(default)s)")
    parser.add_argument("--rounds", type=cli.whole_number, default=3, metavar="N", help="turns (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; exit code 1 where bfloat16 has, over all slices, a Dice below 0.995 to float32."""
    arguments = make_parser().parse_args(argv)
    cases = load_cases(arguments)
    import torch

    device = models.choose_device(arguments.device)
    spec = models.find_model(arguments.model)
    checkpoint = models.checkpoint_path(spec, arguments.checkpoint_file_path)
    ways = {
        precision: segmenters.build_slice_segmenter(spec, checkpoint, device, precision)
        for precision in ("fp32", "bf16")
    }
    seconds: dict[str, list[float]] = {precision: [] for precision in ways}
    masks: dict[str, list] = {}
    for turn in range(arguments.rounds + 1):  # the first one is a warm-up
        for precision, segmenter in ways.items():
            start = perf_counter()
            masks[precision] = []
            for grey, prompt in cases:
                segmenter.set_image(grey)
                masks[precision].append(segmenter.predict(prompt).mask)
            if turn:
                seconds[precision].append((perf_counter() - start) / len(cases))
    agreement = [metrics.dice(exact, fast) for exact, fast in zip(masks["fp32"], masks["bf16"])]
    ratios = [exact / fast for exact, fast in zip(seconds["fp32"], seconds["bf16"])]
    print(
        f"{spec.name} on {device}, {torch.get_num_threads()} threads of {os.cpu_count()} CPUs, {len(cases)} slices of "
        f"{cases[0][0].shape[0]} x {cases[0][0].shape[1]}, {arguments.rounds} rounds in turns"
    )
    for precision, times in seconds.items():
        print(f"{precision}: {statistics.median(times):.3f} s a slice ({min(times):.3f} to {max(times):.3f})")
    print(f"bf16 is {statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})")
    together = metrics.dice(np.stack(masks["fp32"]), np.stack(masks["bf16"]))
    # undefined where neither finds anything
    defined = [index for index, value in enumerate(agreement) if not math.isnan(value)]
    if not defined:
        raise cli.UserError(f"--model {spec.name}: finds nothing on any slice, in either precision")
    worst = min(defined, key=agreement.__getitem__)
    mean = statistics.fmean(agreement[index] for index in defined)
    print(
        f"Dice of bf16 to fp32: {together:.5f} over all slices; mean of {len(defined)} slices {mean:.5f}, least "
        f"{agreement[worst]:.5f} on a mask of {np.count_nonzero(masks['fp32'][worst])} pixels"
    )
    return cli.EXIT_OK if together >= GOAL_DICE else cli.EXIT_VOLUME_FAILED


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
