"""Run a scan through process_image.py and process_video.py with several models and prompts, and print one table.

Every way is run by the scripts themselves, so that the table shows what a user gets. Mean Jaccard and Dice are over all
slices on which they are defined, seconds a slice over the slices that were shown to the model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT_ROOT))

import process_image
import process_video
from pose import cli, results
from pose.scans.volume import stem_of


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-i", "--image_file_path", type=Path, nargs="+", required=True, metavar="FILE", help="scans")
    parser.add_argument(
        "-m", "--masks_file_path", type=Path, nargs="+", required=True, metavar="FILE", help="their masks"
    )
    parser.add_argument("--labels", nargs="+", default=[], metavar="LABEL", help="labels that count (default: all)")
    parser.add_argument("--swap_axes", action="store_true", help="swap the first two axes of NIfTI files")
    parser.add_argument("--window", nargs="+", default=["lung"], help="CT window (default: lung)")
    parser.add_argument("--objects", nargs="+", default=["union", "per_label"], help="default: union per_label")
    parser.add_argument(
        "--models",
        nargs="+",
        default=["lite_medsam"],
        metavar="NAME[=WEIGHTS]",
        help="models, each with its weights if need be",
    )
    parser.add_argument("--only", choices=("image", "video"), help="only process_image.py, or only process_video.py")
    parser.add_argument(
        "-r", "--results_folder_path", type=Path, required=True, metavar="FOLDER", help="where results go"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run every way on every scan, then print the table as Markdown."""
    arguments = make_parser().parse_args(argv)
    if len(arguments.image_file_path) != len(arguments.masks_file_path):
        raise cli.UserError(
            f"--masks_file_path: {len(arguments.masks_file_path)} files for {len(arguments.image_file_path)} images"
        )
    rows = []
    for image, masks in zip(arguments.image_file_path, arguments.masks_file_path):
        for script, model, weights, objects, flags in ways(arguments):
            folder = arguments.results_folder_path / f"{script.__name__}_{model}_{objects}"
            command = [
                "-i",
                image,
                "-m",
                masks,
                "-b",
                "--objects",
                objects,
                "-r",
                folder,
                "--window",
                *arguments.window,
                *flags,
            ]
            command += ["--labels", *arguments.labels] if arguments.labels else []
            command += ["--swap_axes"] if arguments.swap_axes else []
            command += ["--checkpoint_file_path", weights] if weights else []
            script.main([str(word) for word in command])
            rows.append(row(folder / stem_of(image), stem_of(image), script, model, objects))
    print("\n| scan | script | model | prompt | mean Jaccard | mean Dice | volume Dice | HD95, mm | seconds a slice |")
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))
    return cli.EXIT_OK


def ways(arguments: argparse.Namespace):
    """Yield (script, name of the way, weights, objects, flags) of each run."""
    for objects in arguments.objects:
        for entry in arguments.models:
            model, _, weights = entry.partition("=")
            if arguments.only != "video":
                yield process_image, model, weights, objects, ["--model", model]
            if arguments.only != "image":
                yield process_video, model, weights, objects, ["--model", model, "--method", "chain"]
        if arguments.only != "image":
            yield process_video, "region_growing", "", objects, ["--method", "region_growing"]


def tables_of(run: results.RunFiles):
    """Return (raw_data, the averages of results by metric) of a run."""
    raw_data = results.read_table(run.raw_data, ["jaccard", "dice", "process_image_time"])
    summary = results.read_table(run.results, ["metric", "avg"], text_columns=["metric"])
    return raw_data, summary.set_index("metric")["avg"]


def row(folder: Path, name: str, script, model: str, objects: str) -> str:
    """Return the line of the table for the newest run in ``folder``."""
    raw_data, summary = tables_of(results.newest_run(folder))
    seconds = raw_data["process_image_time"].dropna()
    numbers = [raw_data["jaccard"].mean(), raw_data["dice"].mean(), summary["volume_dice"]]
    cells = [name, f"{script.__name__}.py", model, objects, *(f"{number:.3f}" for number in numbers)]
    return (
        "| "
        + " | ".join([*cells, f"{summary.get('volume_hd95_mm', float('nan')):.1f}", f"{seconds.mean():.3f}"])
        + " |"
    )


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
