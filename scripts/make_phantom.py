"""Write a synthetic chest CT in Hounsfield units, with the masks of its lungs, as two NIfTI files.

The anatomy is made up and differs from seed to seed; the geometry is that of a real scan. With --swap_axes the slices
of these files come rows first and upright.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose.cli import EXIT_OK, UserError, run_main, whole_number


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "-o",
        "--output_folder_path",
        type=Path,
        default=Path("datasets/phantom"),
        metavar="FOLDER",
        help="where both files go; made if it is missing (default: %(default)s)",
    )
    parser.add_argument("--seed", type=whole_number, default=0, help="which patient (default: %(default)s)")
    parser.add_argument(
        "--shape",
        type=whole_number,
        nargs=3,
        default=(256, 256, 40),
        metavar=("ROWS", "COLUMNS", "SLICES"),
        help="size of the scan, at least 32 32 3 (default: 256 256 40); the chest always fills it",
    )
    parser.add_argument(
        "--name",
        default="chest_phantom",
        help="files are called NAME_ct.nii.gz and NAME_lungs.nii.gz (default: %(default)s)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Write both files; return the exit code."""
    arguments = build_parser().parse_args(argv)
    if not arguments.name or Path(arguments.name).name != arguments.name:
        raise UserError(f"--name: {arguments.name!r} is not the name of a file")

    from pose.scans.masks import write_mask
    from pose.scans.phantom import chest_ct
    from pose.scans.volume import write_volume

    volume, labels = chest_ct(tuple(arguments.shape), arguments.seed)
    folder = arguments.output_folder_path
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made a folder ({error.strerror})") from None
    scan_path, lungs_path = (folder / f"{arguments.name}_{part}.nii.gz" for part in ("ct", "lungs"))
    write_volume(scan_path, volume)
    write_mask(lungs_path, labels, volume)
    print(scan_path, lungs_path, sep="\n")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(run_main(main))
