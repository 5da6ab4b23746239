"""Measure LiteMedSAM as this project runs it against the plain network, in seconds a slice and in masks.

Four ways take turns on the same slices: the network as its authors wrote it, in float32 and under bfloat16 autocast,
and the project's own arrangement of it in both precisions. A slice costs one encoding and one mask from the box round
its ground truth. Ratios are taken within a round, since other work on the machine slows all ways alike.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from pose.cli import EXIT_OK, EXIT_VOLUME_FAILED, UserError, run_main, whole_number
from pose.prompts.prompt import Prompt, prompts_from_mask
from pose.scans.intensity import WINDOWS, GreySlices, Intensity
from pose.scores.metrics import dice

GOAL_DICE = 0.995


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-i", "--image_file_path", type=Path, metavar="FILE", help="a chest CT (default: a made one)")
    parser.add_argument("-m", "--masks_file_path", type=Path, metavar="FILE", help="its masks; boxes come from them")
    parser.add_argument(
        "--labels", type=whole_number, nargs="+", metavar="LABEL", help="labels that count as the object (default: all)"
    )
    parser.add_argument("--swap_axes", action="store_true", help="swap the first two axes of NIfTI files")
    parser.add_argument(
        "--slices",
        type=whole_number,
        default=8,
        metavar="N",
        help="how many slices, evenly spread over the object (default: %(default)s)",
    )
    parser.add_argument(
        "--rounds", type=whole_number, default=5, metavar="N", help="turns of each, at least 5 (default: %(default)s)"
    )
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or mps (default: %(default)s)")
    parser.add_argument("--threads", type=whole_number, metavar="N", help="threads of PyTorch (default: its choice)")
    return parser


class PlainLiteMedSam:
    """The network as its authors wrote it, behind the project's own preparation of slices, boxes and masks."""

    def __init__(self, device, autocast: bool):
        from pose.segmenters.lite_medsam import LiteMedSam, load_model

        self._segmenter = LiteMedSam(device=device)
        self._segmenter._encoder = self._encode
        self._encoder = load_model()[0].image_encoder.to(device)
        self._autocast = autocast
        self.predict = self._segmenter.predict
        self.set_image = self._segmenter.set_image

    def _encode(self, image):
        import torch

        with torch.autocast(image.device.type, dtype=torch.bfloat16, enabled=self._autocast):
            return self._encoder(image).float()


def load_cases(arguments: argparse.Namespace) -> list[tuple[np.ndarray, Prompt]]:
    """Return (grey slice, box prompt) pairs of slices that show the object.

    Raises:
        UserError: an image without masks or the reverse, files that cannot be read, or no slice with the object.
    """
    from pose.scans.masks import read_mask
    from pose.scans.phantom import chest_ct
    from pose.scans.volume import read_volume

    if (arguments.image_file_path is None) != (arguments.masks_file_path is None):
        raise UserError("--image_file_path and --masks_file_path: give both or neither")
    if arguments.image_file_path is None:
        volume, labels = chest_ct((512, 512, 24))
    else:
        volume = read_volume(arguments.image_file_path, arguments.swap_axes)
        labels = read_mask(arguments.masks_file_path, like=volume).voxels
    if arguments.labels:
        labels = np.where(np.isin(labels, arguments.labels), labels, 0)
    filled = np.flatnonzero(labels.any(axis=(0, 1)))
    if not filled.size:
        raise UserError(f"{arguments.masks_file_path}: none of the labels asked for")
    count = min(max(1, arguments.slices), filled.size)
    chosen = [int(filled[int((place + 0.5) * filled.size / count)]) for place in range(count)]
    grey = GreySlices(volume, Intensity(WINDOWS["lung"]))
    boxes = [
        prompts_from_mask(labels[:, :, slice_index], slice_index, use_bounding_box=True)[0].box
        for slice_index in chosen
    ]
    return [
        (grey[slice_index], Prompt(slice=slice_index, box=box)) for slice_index, box in zip(chosen, boxes, strict=True)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table; exit code 1 where bfloat16 changes the masks by more than a Dice coefficient of 0.995."""
    arguments = build_parser().parse_args(argv)
    if arguments.rounds < 5:
        raise UserError(f"--rounds {arguments.rounds}: fewer than 5 say nothing about the spread")
    cases = load_cases(arguments)

    import torch

    from pose.segmenters.lite_medsam import LiteMedSam
    from pose.segmenters.models import choose_device

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = choose_device(arguments.device)
    ways = {
        "plain fp32": PlainLiteMedSam(device, autocast=False),
        "plain bf16 autocast": PlainLiteMedSam(device, autocast=True),
        "pose fp32": LiteMedSam(device=device, precision="fp32"),
        "pose bf16": LiteMedSam(device=device, precision="bf16"),
    }
    rows, columns = cases[0][0].shape
    print(
        f"{len(cases)} slices of {rows} x {columns}, {arguments.rounds} rounds; {device}, {torch.get_num_threads()} "
        f"threads, {os.cpu_count()} CPUs, PyTorch {torch.__version__}; load before: {_load()}",
        flush=True,
    )
    masks = {name: [_segment(way, grey, prompt) for grey, prompt in cases] for name, way in ways.items()}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    busy: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            start, start_busy = time.perf_counter(), time.process_time()
            for grey, prompt in cases:
                _segment(way, grey, prompt)
            wall[name].append((time.perf_counter() - start) / len(cases))
            busy[name].append((time.process_time() - start_busy) / len(cases))

    print(
        f"{'':20} {'s a slice (min to max)':>24} {'CPU s':>7} {'quicker than plain fp32':>26}   "
        f"Dice to plain fp32: mean, least, of {len(cases)} below {GOAL_DICE}"
    )
    mean = {}
    for name in ways:
        ratios = [plain / own for plain, own in zip(wall["plain fp32"], wall[name], strict=True)]
        agreement = np.array([dice(plain, own) for plain, own in zip(masks["plain fp32"], masks[name], strict=True)])
        agreement = agreement[np.isfinite(agreement)]
        mean[name] = agreement.mean() if agreement.size else 1.0
        seconds = f"{statistics.median(wall[name]):.3f} ({min(wall[name]):.3f} to {max(wall[name]):.3f})"
        quicker = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(
            f"{name:20} {seconds:>24} {statistics.median(busy[name]):7.3f} {quicker:>26}   "
            f"{mean[name]:.5f}, {agreement.min(initial=1.0):.5f}, {int((agreement < GOAL_DICE).sum())}"
        )
    print(f"load after: {_load()}")
    return EXIT_OK if mean["pose bf16"] >= GOAL_DICE else EXIT_VOLUME_FAILED


def _segment(way, grey: np.ndarray, prompt: Prompt) -> np.ndarray:
    way.set_image(grey)
    return way.predict(prompt).mask


def _load() -> str:
    return " ".join(f"{load:.1f}" for load in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"


if __name__ == "__main__":
    sys.exit(run_main(main))
