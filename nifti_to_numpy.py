"""Convert a NIfTI scan or mask to working data for the segmentation scripts."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from pose.cli import EXIT_OK, UserError, configure_logging, run_main
from pose.volume import count_not_finite, read_volume, write_volume

LOGGER = logging.getLogger("pose")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Convert a NIfTI scan or mask (.nii, .nii.gz) to working data: one .npz file, or a .npy file with its "
        "geometry in a .json file beside it. Whole numbers stay whole, and the geometry goes along, so that masks found "
        "on the working data overlay the scan. process_image.py and process_video.py take NIfTI as well as working data.",
    )
    parser.add_argument("-i", "--input_file_path", type=Path, required=True, metavar="FILE", help=".nii or .nii.gz")
    parser.add_argument(
        "-o", "--output_file_path", type=Path, required=True, metavar="FILE",
        help=".npz (compressed) or .npy (faster to read and write, larger); its folder is made where it is missing",
    )  # fmt: skip
    parser.add_argument(
        "-s", "--swap_axes", action="store_true",
        help="swap the first two axes, so that rows come first: for scans whose slices lie on their side, as most NIfTI "
        "files' do; recorded in the working data",
    )  # fmt: skip
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Convert one file; return the exit code."""
    arguments = build_parser().parse_args(argv)
    source, target = arguments.input_file_path, arguments.output_file_path
    configure_logging()
    if not source.name.lower().endswith((".nii", ".nii.gz")):
        raise UserError(f"{source}: is no NIfTI file (.nii, .nii.gz)")
    if not target.name.lower().endswith((".npz", ".npy")):
        raise UserError(f"{target}: working data is .npz or .npy")
    volume = read_volume(source, swap_axes=arguments.swap_axes)
    if unusable := count_not_finite(volume.voxels):
        text = "%s: %d of %d voxels are NaN or infinite; kept as they are"
        LOGGER.warning(text, source, unusable, volume.voxels.size)
    missing = [folder for folder in target.parents if not folder.exists()]
    try:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{target.parent}: cannot be made a folder ({error.strerror})") from error
        write_volume(target, volume)
    except BaseException:
        for folder in missing:
            if folder.is_dir():
                folder.rmdir()
        raise

    shape = " x ".join(map(str, volume.voxels.shape))
    spacing = "unknown spacing"
    if volume.spacing_mm is not None:
        spacing = " x ".join(f"{distance:.4g}" for distance in volume.spacing_mm) + " mm"
    print(f"{target}: {shape} {volume.voxels.dtype}, {spacing}, {target.stat().st_size / 1e6:.1f} MB")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(run_main(main))
