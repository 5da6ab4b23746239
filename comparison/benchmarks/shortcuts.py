"""Measure what --max_memories and --stop_after save, and how far masks move from those of SAM 2's own rules.

All settings take turns on the same made chest CT with the same weights, in one process; ratios are taken within a turn.
With random weights (the default, see comparison/benchmarks/random_weights.py) the times are real and the masks are not:
how much accuracy fewer memories cost shows only with published weights in --checkpoint_file_path. For --stop_after the
object is made absent on every slice but the prompted one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from comparison.benchmarks.propagation import spread
from comparison.benchmarks.random_weights import make_weights
from pose import cli
from pose.prompts.prompt import prompt_slice, prompts_from_mask
from pose.scans.intensity import WINDOWS, GreySlices, Intensity
from pose.scans.phantom import chest_ct
from pose.scores import metrics
from pose.segmenters import models


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="2.1_tiny", help="a SAM 2 (default: %(default)s)")
    parser.add_argument("--checkpoint_file_path", type=Path, metavar="FILE", help="its weights (default: random)")
    parser.add_argument(
        "--image_size", type=cli.whole_number, default=512, metavar="N", help="pixels a side (default: %(default)s)"
    )
    parser.add_argument("--slices", type=cli.whole_number, default=41, metavar="N", help="default: %(default)s")
    parser.add_argument("--max_memories", type=int, nargs="+", default=[4, 2, 1], metavar="N", help="default: 4 2 1")
    parser.add_argument(
        "--stop_after", type=cli.positive_whole_number, default=3, metavar="K", help="default: %(default)s"
    )
    parser.add_argument(
        "--rounds", type=cli.positive_whole_number, default=3, metavar="N", help="turns (default: %(default)s)"
    )
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="default: %(default)s")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure in turns and print a table."""
    arguments = make_parser().parse_args(argv)
    from pose.segmenters.sam2.memory import Sam2Memory

    device = models.choose_device(arguments.device)
    precision = models.choose_precision(arguments.precision, device)
    spec = models.at_image_size(models.find_model(arguments.model, 2), arguments.image_size)
    volume, labels = chest_ct((512, 512, arguments.slices))
    grey = GreySlices(volume, Intensity(WINDOWS["lung"]))
    start = prompt_slice(labels, "centre")
    prompts = prompts_from_mask(labels[:, :, start], start, use_bounding_box=True)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = arguments.checkpoint_file_path or make_weights(Path(folder) / "weights.pt", spec)
        settings = {"SAM 2's rules": {}}
        settings.update({f"--max_memories {count}": {"max_memories": count} for count in arguments.max_memories})
        stop = f"--stop_after {arguments.stop_after}, object absent"
        settings[stop] = {"stop_after": arguments.stop_after}
        segmenters = {name: Sam2Memory(spec, checkpoint, device, precision, **one) for name, one in settings.items()}
    make_absent(segmenters[stop])
    seconds: dict[str, list[float]] = {name: [] for name in settings}
    masks = {}
    for turn in range(arguments.rounds):
        for name in list(settings)[:: -1 if turn % 2 else 1]:
            began = perf_counter()
            found = {part.slice: part.objects[1].mask for part in segmenters[name].segment(grey, prompts)}
            seconds[name].append((perf_counter() - began) / len(grey))
            masks[name] = np.stack([found[slice_index] for slice_index in range(len(grey))], axis=2)
    print(f"{spec.name}, {spec.image_size} px, {precision} on {device}, {len(grey)} slices, {arguments.rounds} turns\n")
    print("| setting | seconds a slice | times as fast | Dice to SAM 2's rules |\n|---|---|---|---|")
    base = "SAM 2's rules"
    for name, times in seconds.items():
        ratios = [first / own for first, own in zip(seconds[base], times)]
        agreement = "" if name in (base, stop) else f"{metrics.dice(masks[base], masks[name]):.3f}"
        print(f"| {name} | {spread(times, 3)} | {spread(ratios, 2)} | {agreement} |")
    return cli.EXIT_OK


def make_absent(segmenter) -> None:
    """Let the segmenter find no object on any slice that it tracks."""
    track = segmenter._steps.track

    def absent(asked):
        return [replace(one, object_scores=one.object_scores.abs().neg()) for one in track(asked)]

    segmenter._steps.track = absent


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
