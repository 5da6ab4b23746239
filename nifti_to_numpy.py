"""Convert NIfTI scans or masks to working data for the segmentation scripts."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pose.cli import EXIT_OK, EXIT_VOLUME_FAILED, UserError, add_dicom_arguments, configure_logging, run_main
from pose.files.atomic import DiskFullError
from pose.scans.dicom import check_volumes
from pose.scans.dicom_files import is_dicom
from pose.scans.volume import count_not_finite, read_volume, write_volume

LOGGER = logging.getLogger("pose")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Convert scans or masks (NIfTI, DICOM, NRRD, MetaImage, PNG) to working data: one .npz file, or a "
        ".npy file with its geometry in a .json file beside it. Whole numbers stay whole, and the geometry goes along, "
        "so that masks found on the working data overlay the scan. process_image.py and process_video.py take all of "
        "these as well as working data. Of several files, one that cannot be converted does not stop the rest; the "
        "exit code is then 1."
    )
    parser.add_argument(
        "-i",
        "--input_file_path",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="one or many: .nii or .nii.gz; DICOM: a folder, a .zip or a file; .nrrd, .mha, .png and more",
    )
    parser.add_argument(
        "-o",
        "--output_file_path",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="one for each, in the same order: .npz (compressed) or .npy (faster to read and write, larger); its "
        "folder is made where it is missing",
    )
    parser.add_argument(
        "-s",
        "--swap_axes",
        action="store_true",
        help="swap the first two axes, so that rows come first: for scans whose slices lie on their side, as most "
        "NIfTI files' do; recorded in the working data",
    )
    add_dicom_arguments(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Convert the files; return the exit code."""
    arguments = build_parser().parse_args(argv)
    configure_logging()
    pairs = pair_files(arguments.input_file_path, arguments.output_file_path)
    of_dicom = {"series": arguments.series, "suv": arguments.suv}
    failures = []
    for source, target in pairs:
        try:
            # masks among the files may be of other formats
            asked = of_dicom if is_dicom(source) or len(pairs) == 1 else {}
            convert(source, target, arguments.swap_axes, **asked)
        except UserError as error:
            if len(pairs) == 1 or isinstance(error, DiskFullError):
                raise
            LOGGER.error("%s", error)
            failures.append(error)
    if failures:
        print(f"{len(failures)} of {len(pairs)} files could not be converted:", file=sys.stderr)
        for error in failures:
            print(f"  {error}", file=sys.stderr)
        return EXIT_VOLUME_FAILED
    return EXIT_OK


def pair_files(sources: Sequence[Path], targets: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Return the files with where they go.

    Raises:
        UserError: there are not as many of both, a suffix is another than expected, or two go to the same file.
    """
    if len(sources) != len(targets):
        raise UserError(f"--output_file_path: {len(targets)} files for {len(sources)} of --input_file_path")
    for source in sources:
        if source.name.lower().endswith((".npz", ".npy")):
            raise UserError(f"{source}: is working data already")
    check_volumes(sources)
    taken: dict[Path, Path] = {}
    for source, target in zip(sources, targets, strict=True):
        if not target.name.lower().endswith((".npz", ".npy")):
            raise UserError(f"{target}: working data is .npz or .npy")
        if target in taken:
            raise UserError(f"{target}: both {taken[target]} and {source} would go there")
        taken[target] = source
    return list(zip(sources, targets, strict=True))


def convert(source: Path, target: Path, swap_axes: bool, series: str | None = None, suv: bool = False) -> None:
    """Convert one file, or the DICOM of a folder, and say what it became; folders made for it are removed again where
    that fails.

    Raises:
        UserError: the file cannot be read, or the working data not be written.
    """
    volume = read_volume(source, swap_axes, series=series, suv=suv)
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
            with suppress(OSError):  # another process may have written there meanwhile
                folder.rmdir()
        raise

    shape = " x ".join(map(str, volume.voxels.shape))
    spacing = "unknown spacing"
    if volume.spacing_mm is not None:
        spacing = " x ".join(f"{distance:.4g}" for distance in volume.spacing_mm) + " mm"
    print(f"{target}: {shape} {volume.voxels.dtype}, {spacing}, {target.stat().st_size / 1e6:.1f} MB")


def command() -> int:
    """Run the script as a command, its mistakes as one line; returns its exit code."""
    return run_main(main)


if __name__ == "__main__":
    sys.exit(command())
