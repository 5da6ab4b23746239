"""Write a contact sheet of a scan with an example of a prompt on it, and say how a prompt of one's own is given.

Takes the flags of process_video.py, of which those of the grey levels count here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose import cli


def main(argv: Sequence[str] | None = None) -> int:
    """Write the sheet; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_input_arguments(parser)
    parser.add_argument("--output_file_path", type=Path, required=True, metavar="FILE.png", help="the sheet")
    parser.add_argument("--command", required=True, help="what the flags of a prompt are added to")
    arguments, _ = parser.parse_known_args(argv)
    cli.configure_logging()

    import numpy as np

    from pose.figures.overlays import contact_sheet_figure, save_png
    from pose.files.atomic import failure_named
    from pose.prompts.prompt import Prompt
    from pose.scans.intensity import GreySlices, intensity_from_arguments
    from pose.scans.volume import read_volume

    (path,) = arguments.image_file_path
    volume = read_volume(path, swap_axes=arguments.swap_axes)
    rows, columns, slices = volume.voxels.shape
    example = Prompt(slice=slices // 2, box=(rows // 4, columns // 4, rows - rows // 4 - 1, columns - columns // 4 - 1))
    figure = contact_sheet_figure(
        GreySlices(volume, intensity_from_arguments(arguments)),
        np.zeros(volume.voxels.shape, np.uint8),
        prompts=[example],
        title=f"{path.stem}: choose a slice and a box; the one drawn is an example",
        spacing_mm=volume.spacing_mm,
    )
    sheet = arguments.output_file_path
    with failure_named(sheet.parent):
        sheet.parent.mkdir(parents=True, exist_ok=True)
    save_png(sheet, figure)
    box = " ".join(map(str, example.box))
    print(f"picture: {sheet}")
    print(f"slices:  0 to {slices - 1}; rows 0 to {rows - 1} from the top, columns 0 to {columns - 1} from the left")
    print("next:    put a slice and a box round your object (ROW_MIN COLUMN_MIN ROW_MAX COLUMN_MAX) in place of the")
    print("         example that the picture shows:")
    print(f"         {arguments.command} --slice {example.slice} --box {box}")
    return cli.EXIT_OK


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
