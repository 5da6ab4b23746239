"""Look at a scan before any prompt: a picture of its slices, upright, and in words what it is.

Numbers at the edges of the slices are the rows and columns that prompts use. With a prompt (--slice with --point or
--box, or --prompt_file_path) its slice is drawn with the prompt on it, so that a wrong one is seen before a model runs;
no model is loaded. The picture shows the body from its darkest to its brightest tissue unless a window is given.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose import cli

if TYPE_CHECKING:
    from pose.prompts.prompt import Prompt
    from pose.scans.volume import Volume


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scan", type=Path, metavar="SCAN", help="the scan, of any format that is read")
    parser.add_argument(
        "-o", "--output_file_path", type=Path, metavar="FILE", help="the picture, .png (default: look_NAME.png)"
    )
    cli.add_dicom_arguments(parser)
    cli.add_orientation_arguments(parser)
    parser.add_argument(
        "--window",
        nargs="+",
        metavar="NAME|LEVEL WIDTH",
        help="a CT window: lung, mediastinum, soft_tissue, liver, brain, bone, or a level and a width",
    )
    parser.add_argument("-s", "--slice", type=cli.whole_number, metavar="N", help="show this slice alone, large")
    point = {"type": cli.whole_number, "nargs": 2, "action": "append", "default": [], "metavar": ("ROW", "COLUMN")}
    parser.add_argument("--point", help="a point inside the object on --slice; may be repeated", **point)
    parser.add_argument("--negative_point", help="a point outside the object; may be repeated", **point)
    parser.add_argument(
        "--box",
        type=cli.whole_number,
        nargs=4,
        metavar=("ROW_MIN", "COLUMN_MIN", "ROW_MAX", "COLUMN_MAX"),
        help="a box round the object, inclusive of its last row and column",
    )
    cli.add_point_mm_arguments(parser)
    parser.add_argument(
        "--prompt_file_path",
        type=Path,
        metavar="FILE",
        help="JSON with prompts, markups of 3D Slicer, or a painted mask, instead of these",
    )
    parser.add_argument(
        "--command",
        help="draw an example of a prompt, and print this command with it, to be pasted; its own flags are let pass",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Write the picture and print the words; return the exit code."""
    parser = make_parser()
    arguments, others = parser.parse_known_args(argv)
    if others and arguments.command is None:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    cli.configure_logging()

    from pose.scans.intensity import window_of_words
    from pose.scans.volume import read_volume, stem_of

    window = None if arguments.window is None else window_of_words(arguments.window)
    path = arguments.output_file_path or Path(f"look_{stem_of(arguments.scan)}.png")
    if path.suffix.lower() != ".png":
        raise cli.UserError(f"--output_file_path {path}: a picture is a .png")
    volume = read_volume(arguments.scan, arguments.swap_axes, arguments.slice_axis, arguments.series, arguments.suv)
    prompts = prompts_of(arguments, volume)
    example = None if arguments.command is None or prompts else example_of(volume)

    from pose.figures.look import describe, look_figure
    from pose.figures.overlays import save_png
    from pose.files.atomic import failure_named

    slices = None if arguments.slice is None else [arguments.slice]
    shown = {"slices": slices, "window": window, "title": stem_of(arguments.scan)}
    if example is not None and slices is None:
        shown["slices"] = range(volume.voxels.shape[2])
    figure = look_figure(volume, prompts=prompts if example is None else [example], **shown)
    with failure_named(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    save_png(path, figure)
    for name, words in describe(volume, window).items():
        print(f"{name + ':':12} {words}")
    print(f"{'picture:':12} {path}")
    if example is not None:
        box = " ".join(map(str, example.box or ()))
        print("next:        put a slice and a box round your object (ROW_MIN COLUMN_MIN ROW_MAX COLUMN_MAX) in place")
        print("             of the example that the picture shows:")
        print(f"             {arguments.command} --slice {example.slice} --box {box}")
    return cli.EXIT_OK


def example_of(volume: Volume) -> Prompt:
    """Return a box in the middle of a scan, to show how a prompt is given."""
    from pose.prompts.prompt import Prompt

    rows, columns, slices = volume.voxels.shape
    return Prompt(slices // 2, box=(rows // 4, columns // 4, rows - rows // 4 - 1, columns - columns // 4 - 1))


def prompts_of(arguments: argparse.Namespace, volume: Volume) -> list[Prompt]:
    """Return the prompts that are asked for.

    Raises:
        UserError: they do not fit the scan, or there are both a file and others.
    """
    from pose.prompts.in_space import prompts_of_marks
    from pose.prompts.markups import Mark
    from pose.prompts.prompt import check_prompts
    from pose.prompts.prompt_file import read_prompts
    from pose.prompts.typed import typed

    shape = volume.voxels.shape
    if arguments.slice is not None and arguments.slice >= shape[2]:
        raise cli.UserError(f"{arguments.scan}: --slice {arguments.slice} is not among its slices 0 to {shape[2] - 1}")
    given = typed(vars(arguments), arguments.prompt_file_path)
    if isinstance(given, Mark):
        return prompts_of_marks([given], volume, "--point_mm")
    if given is not None:
        check_prompts([given], shape, arguments.scan)
        return [given]
    return [] if arguments.prompt_file_path is None else read_prompts(arguments.prompt_file_path, like=volume)


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
