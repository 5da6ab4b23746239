"""Measure what one prompt on one slice gives for a whole volume, from several start slices.

The prompt is the box (with --objects per_label one for each label) round the ground truth on the start slice, with
--points its positive and negative points as well. Nothing of the ground truth on other slices is used. Jaccard and
Dice per slice are means over the slices that hold ground truth or a prediction; a slice with only one of them counts 0.
Volume Dice is that of all voxels together, whichever object they were given to.

With --turns each chain is timed with views from the side and without, all else alike, in turns: the median of its
seconds by the clock and of the processor, and how many slices each encoded. Views may end an object sooner.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from pose import cli
from pose.cli import EXIT_OK, UserError
from pose.segmenters import chain, chain_settings, region_growing

TIMES = ("volume", "start", "views", "clock_s", "processor_s", "encoded", "ratio")
COLUMNS = ("volume", "start", "jaccard", "dice", "volume_dice", "s_per_slice", "encoded")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=chain_settings.describe_rules(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cli.add_input_arguments(parser)
    group = parser.add_argument_group("benchmark")
    group.add_argument(
        "--start_slices",
        type=cli.whole_number,
        default=5,
        metavar="N",
        help="how many start slices, evenly over the middle half of the masked ones (default: %(default)s)",
    )
    group.add_argument(
        "--starts", type=cli.prompt_slice, nargs="+", metavar="centre|largest|SLICE", help="these start slices instead"
    )
    group.add_argument(
        "--objects",
        choices=("union", "per_label", "per_component"),
        default="per_label",
        help="all labels as one object, one per label, or one per connected part (default: %(default)s)",
    )
    group.add_argument("--points", action="store_true", help="give the points of the prompt beside its box")
    group.add_argument(
        "--turns", type=cli.whole_number, default=0, metavar="N", help="time views from the side, N times in turns"
    )
    group.add_argument("--per_slice", action="store_true", help="print the Dice of every slice under each row")
    cli.add_model_arguments(parser, sam_version=2)
    parser.set_defaults(model="lite_medsam")
    parser.description += "\n--model region_growing measures the baseline without a network; default: lite_medsam."
    chain_settings.add_arguments(parser)
    region_growing.add_arguments(parser)
    return parser


def load_segmenter(arguments: argparse.Namespace):
    """Return the volume segmenter that ``--model`` names."""
    if arguments.model == region_growing.RegionGrowing.name:
        return region_growing.RegionGrowing(cli.take(region_growing.RegionGrowingSettings, vars(arguments), "growing_"))

    from pose.segmenters import build_slice_segmenter, models

    spec = models.find_model(arguments.model, arguments.sam_version)
    checkpoint = models.checkpoint_path(spec, arguments.checkpoint_file_path)
    device = models.choose_device(arguments.device)
    precision = models.choose_precision(arguments.precision, device)
    slice_segmenter = build_slice_segmenter(spec, checkpoint, device, precision)
    return chain.Chain(slice_segmenter, chain_settings.chosen(vars(arguments)))


def middle_half(masked: np.ndarray, count: int) -> list[int]:
    """Return ``count`` slices evenly spread from the first to the third quarter of the masked slices, both included."""
    first, last = masked[0] + (masked[-1] - masked[0]) / 4, masked[0] + (masked[-1] - masked[0]) * 3 / 4
    return np.unique(np.linspace(first, last, count).round().astype(int)).tolist()


def measure(segmenter, grey, truth: np.ndarray, prompts: Sequence) -> tuple[dict[str, float], dict[int, float]]:
    """Segment a volume and return the row of the table and the Dice of each slice that has one.

    Args:
        truth: (rows, columns, slices) labels; all above 0 are the object.
    """
    from pose.scores.metrics import dice, jaccard

    predicted = np.zeros(truth.shape, dtype=bool)
    encoded = 0
    began = time.perf_counter()
    for found in segmenter.segment(grey, prompts):
        encoded += found.set_image_time is not None
        for prediction in found.objects.values():
            predicted[:, :, found.slice] |= prediction.mask
    seconds = time.perf_counter() - began
    either = np.flatnonzero((predicted | (truth > 0)).any(axis=(0, 1))).tolist()
    dices = {slice_index: dice(truth[:, :, slice_index] > 0, predicted[:, :, slice_index]) for slice_index in either}
    row = {
        "jaccard": float(
            np.mean([jaccard(truth[:, :, slice_index] > 0, predicted[:, :, slice_index]) for slice_index in either])
        ),
        "dice": float(np.mean(list(dices.values()))),
        "volume_dice": dice(truth > 0, predicted),
        "s_per_slice": seconds / len(grey),
        "encoded": encoded,
    }
    return row, dices


def times_in_turns(segmenter: chain.Chain, grey, prompts: Sequence, turns: int) -> dict[str, tuple[float, float, int]]:
    """Return (seconds by the clock, of the processor, slices encoded) with views from the side and without: medians."""
    ways = {
        name: chain.Chain(segmenter.slice_segmenter, replace(segmenter.settings, side_views=side_views))
        for name, side_views in (("off", False), ("on", True))
    }
    times: dict[str, list[tuple[float, float, int]]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, way in ways.items():
            clock, processor = time.perf_counter(), time.process_time()
            encoded = sum(found.set_image_time is not None for found in way.segment(grey, prompts))
            times[name].append((time.perf_counter() - clock, time.process_time() - processor, encoded))
    return {
        name: (median(one[0] for one in taken), median(one[1] for one in taken), taken[0][2])
        for name, taken in times.items()
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every volume from every start slice and print the table."""
    arguments = build_parser().parse_args(argv)
    if len(arguments.image_file_path) != len(arguments.masks_file_path):
        raise UserError(
            f"--masks_file_path: {len(arguments.masks_file_path)} files for {len(arguments.image_file_path)} images"
        )

    from pose.prompts.prompt import prompt_slice, prompts_from_mask
    from pose.scans.intensity import GreySlices, chosen_intensity
    from pose.scans.masks import read_mask
    from pose.scans.volume import read_volume, stem_of

    segmenter = load_segmenter(arguments)
    if arguments.turns and not isinstance(segmenter, chain.Chain):
        raise UserError(f"--turns {arguments.turns}: {segmenter.name} has no views from the side")
    print(f"{segmenter.name}, objects: {arguments.objects}")
    if arguments.turns:
        print("{:24} {:>5} {:>5} {:>9} {:>11} {:>8} {:>6}".format(*TIMES), flush=True)
    else:
        print("{:24} {:>5} {:>8} {:>8} {:>12} {:>12} {:>8}".format(*COLUMNS), flush=True)
    for image_path, masks_path in zip(arguments.image_file_path, arguments.masks_file_path):
        volume = read_volume(image_path, arguments.swap_axes)
        truth = read_mask(masks_path, like=volume).voxels
        if arguments.labels:
            truth = np.where(np.isin(truth, arguments.labels), truth, 0)
        grey = GreySlices(
            volume, chosen_intensity(arguments.apply_windowing, arguments.window or (), arguments.intensity)
        )
        masked = np.flatnonzero(truth.any(axis=(0, 1)))
        if not masked.size:
            raise UserError(f"{masks_path}: none of the labels asked for")
        starts = arguments.starts or middle_half(masked, arguments.start_slices)
        rows = []
        for start in [prompt_slice(truth, how, source=masks_path) for how in starts]:
            prompts = prompts_from_mask(truth[:, :, start], start, objects=arguments.objects, use_bounding_box=True)
            if not arguments.points:
                prompts = [replace(prompt, positive_points=(), negative_points=()) for prompt in prompts]
            if arguments.turns:
                times = times_in_turns(segmenter, grey, prompts, arguments.turns)
                for views, (clock, processor, encoded) in times.items():
                    ratio = processor / times["off"][1]
                    line = f"{stem_of(image_path):24} {start:>5} {views:>5} {clock:9.1f} {processor:11.1f}"
                    print(f"{line} {encoded:8} {ratio:6.2f}", flush=True)
                continue
            row, dices = measure(segmenter, grey, truth, prompts)
            rows.append(row)
            print(_line(stem_of(image_path), start, row), flush=True)
            if arguments.per_slice:
                print(
                    "   " + " ".join(f"{slice_index}:{value:.2f}" for slice_index, value in dices.items()), flush=True
                )
        for name, reduce in (("least", np.min), ("mean", np.mean)) if rows else ():
            print(_line(stem_of(image_path), name, {key: reduce([row[key] for row in rows]) for key in rows[0]}))
    return EXIT_OK


def _line(volume: str, start: int | str, row: dict[str, float]) -> str:
    return (
        f"{volume:24} {start!s:>5} {row['jaccard']:8.3f} {row['dice']:8.3f} {row['volume_dice']:12.4f} "
        f"{row['s_per_slice']:12.3f} {row['encoded']:8.0f}"
    )


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
