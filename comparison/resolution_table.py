"""Does SAM 2 need to see slices at 1024 pixels, or will 512 do, and does the box round the body make up for it?

Runs process_image.py itself on every scan, at every size, on the whole frame and on the crop, and prints one table.
Prompts are those of the ground truth, with boxes, on every slice. Seconds are the median of a slice. Several scans of
one call get a line of their means too.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT_ROOT))

import process_image
from pose import cli, results
from pose.runs.crop import CROPS
from pose.scans.masks import read_mask
from pose.scans.volume import Volume, read_volume, stem_of, write_volume

COLUMNS = ("mean Jaccard", "mean Dice", "volume Dice", "seconds a slice", "frame kept")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    files = {"type": Path, "nargs": "+", "required": True, "metavar": "FILE"}
    parser.add_argument("-i", "--image_file_path", **files, help="scans")
    parser.add_argument("-m", "--masks_file_path", **files, help="their masks")
    parser.add_argument("--labels", nargs="+", default=[], metavar="LABEL", help="labels that count (default: all)")
    parser.add_argument("--swap_axes", action="store_true", help="swap the first two axes of NIfTI files")
    parser.add_argument("--window", nargs="+", default=[], help="CT window (default: percentiles of the volume)")
    parser.add_argument("--objects", default="per_label", help="default: per_label")
    parser.add_argument(
        "--slice_step", type=cli.whole_number, default=1, metavar="N", help="every n-th slice (default: 1)"
    )
    parser.add_argument("--model", default="tiny", metavar="NAME", help="a SAM 2 model (default: tiny)")
    parser.add_argument("--checkpoint_file_path", type=Path, metavar="FILE", help="its weights")
    parser.add_argument(
        "--image_sizes",
        type=cli.whole_number,
        nargs="+",
        default=[512, 1024],
        metavar="N",
        help="pixels a side (default: 512 1024)",
    )
    parser.add_argument("--crops", nargs="+", choices=CROPS, default=list(CROPS), help=f"default: {' '.join(CROPS)}")
    parser.add_argument(
        "-r", "--results_folder_path", type=Path, required=True, metavar="FOLDER", help="where results go"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run every way on every scan, then print the table as Markdown."""
    arguments = make_parser().parse_args(argv)
    images, masks = arguments.image_file_path, arguments.masks_file_path
    if len(images) != len(masks):
        raise cli.UserError(f"--masks_file_path: {len(masks)} files for {len(images)} images")
    if arguments.slice_step < 1:
        raise cli.UserError(f"--slice_step {arguments.slice_step}: must be at least 1")
    swap = ["--swap_axes"] if arguments.swap_axes else []
    if arguments.slice_step > 1:
        images, masks, swap = *thinned(images, masks, arguments), []
    lines = []
    for size in arguments.image_sizes:
        for crop in arguments.crops:
            folder = arguments.results_folder_path / f"{size}_{crop}"
            command = ["-i", *images, "-m", *masks, "-b", "--objects", arguments.objects, *swap, "-r", folder]
            command += ["--model", arguments.model, "--image_size", size, "--crop", crop]
            for flag in ("labels", "window"):
                values = getattr(arguments, flag)
                command += [f"--{flag}", *values] if values else []
            weights = arguments.checkpoint_file_path
            command += ["--checkpoint_file_path", weights] if weights else []
            if process_image.main([str(word) for word in command]) != cli.EXIT_OK:
                return cli.EXIT_VOLUME_FAILED
            found = {stem_of(image): numbers_of(folder / stem_of(image)) for image in images}
            if len(found) > 1:
                found[f"mean of {len(found)}"] = [fmean(numbers) for numbers in zip(*found.values())]
            lines += [line(name, size, crop, numbers) for name, numbers in found.items()]
    print("\n| " + " | ".join(("scan", "pixels", "crop", *COLUMNS)) + " |")
    print("|" + "---|" * (3 + len(COLUMNS)))
    print("\n".join(sorted(lines, key=lambda text: text.split(" | ")[0])))
    return cli.EXIT_OK


def thinned(
    images: Sequence[Path], masks: Sequence[Path], arguments: argparse.Namespace
) -> tuple[list[Path], list[Path]]:
    """Write every n-th slice of scans and masks as working data into the results folder; returns their paths."""
    folder = arguments.results_folder_path / "thinned"
    folder.mkdir(parents=True, exist_ok=True)
    written: tuple[list[Path], list[Path]] = ([], [])
    for image, mask in zip(images, masks):
        volume = read_volume(image, swap_axes=arguments.swap_axes)
        labels = read_mask(mask, like=volume, swap_axes=arguments.swap_axes)
        for paths, part, name in zip(written, (volume, labels), (stem_of(image), f"{stem_of(image)}_masks")):
            paths.append(folder / f"{name}.npz")
            write_volume(paths[-1], every_nth(part, arguments.slice_step))
    return written


def every_nth(volume: Volume, step: int) -> Volume:
    """Return a volume of every ``step``-th slice, whose geometry says that they lie further apart."""
    affine, spacing = volume.affine, volume.spacing_mm
    return replace(
        volume,
        voxels=volume.voxels[:, :, ::step],
        affine=None if affine is None else affine @ np.diag([1, 1, step, 1]),
        spacing_mm=None if spacing is None else (*spacing[:2], spacing[2] * step),
        header=None,
    )


def numbers_of(folder: Path) -> list[float]:
    """Return the numbers of ``COLUMNS`` for the newest run in ``folder``."""
    run = results.newest_run(folder)
    raw_data = results.read_table(run.raw_data, ["jaccard", "dice", "process_image_time"])
    summary = results.read_table(run.results, ["metric", "avg"], text_columns=["metric"]).set_index("metric")["avg"]
    manifest = json.loads(run.run.read_text(encoding="utf-8"))
    box, (rows, columns, _) = manifest["crop"], manifest["image"]["shape"]
    kept = (box["row_max"] - box["row_min"] + 1) * (box["column_max"] - box["column_min"] + 1) / (rows * columns)
    means = [raw_data["jaccard"].mean(), raw_data["dice"].mean(), summary["volume_dice"]]
    return [*means, raw_data["process_image_time"].median(), kept]


def line(name: str, size: int, crop: str, numbers: Sequence[float]) -> str:
    """Return a line of the table."""
    *scores, seconds, kept = numbers
    cells = [name, str(size), crop, *(f"{score:.3f}" for score in scores), f"{seconds:.2f}", f"{100 * kept:.0f} %"]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
