#!/usr/bin/env python3
"""Convert the Montgomery chest X-rays and their lung masks to working data.

Reads CXR_png/NAME.png, ManualMask/leftMask/NAME.png and ManualMask/rightMask/NAME.png, and writes image_NAME.npy and
masks_NAME.npy (labels 1 left lung, 2 right lung), each a volume of one slice with its geometry in a .json. Files that
are newer than their sources are kept, and an X-ray that cannot be converted does not stop the others. X-rays of the
published size, 4020 x 4892 or 4892 x 4020 pixels, get the published spacing of 0.0875 mm, that of others is unknown.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose import cli
from pose.cli import UserError
from pose.scans.volume import Volume, write_volume

LOGGER = logging.getLogger("pose")

XRAYS, LEFT_MASKS, RIGHT_MASKS = "CXR_png", "ManualMask/leftMask", "ManualMask/rightMask"
LEFT_LUNG, RIGHT_LUNG = 1, 2

# As the data set's ReadMe states them; an X-ray has no third direction, and a slice of 1 mm leaves areas as they are.
PUBLISHED_SHAPES = ((4020, 4892), (4892, 4020))
PUBLISHED_SPACING_MM = (0.0875, 0.0875, 1.0)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "-i",
        "--input_folder_path",
        type=Path,
        default=Path("datasets/montgomery"),
        metavar="FOLDER",
        help="the data set, as scripts/download_montgomery_dataset.sh leaves it (default: %(default)s)",
    )
    parser.add_argument(
        "-o",
        "--output_folder_path",
        type=Path,
        default=Path("working_data/montgomery"),
        metavar="FOLDER",
        help="where working data goes; made if it is missing (default: %(default)s)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Convert all X-rays that are not converted yet; return the exit code."""
    arguments = make_parser().parse_args(argv)
    source, target = arguments.input_folder_path, arguments.output_folder_path
    cli.configure_logging()
    xrays = sorted((source / XRAYS).glob("*.png"))
    if not xrays:
        raise UserError(f"{source / XRAYS}: holds no .png; scripts/download_montgomery_dataset.sh downloads them")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{target}: cannot be made a folder ({error.strerror})") from None
    converted = failed = 0
    for xray in xrays:
        try:
            converted += convert(xray, target)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            failed += 1
    kept = len(xrays) - converted - failed
    summary = f"{converted} X-rays converted, {kept} there already"
    if failed:
        summary += f", {failed} failed"
    print(f"working data in {target}: {summary}")
    return cli.EXIT_VOLUME_FAILED if failed else cli.EXIT_OK


def convert(xray: Path, folder: Path) -> bool:
    """Write the working data of an X-ray to ``folder``; False where it is there and newer than its sources.

    Raises:
        UserError: what :func:`read_xray` raises, or a file that is missing or cannot be written.
    """
    lungs = [cli.existing_file(xray.parent.parent / masks / xray.name) for masks in (LEFT_MASKS, RIGHT_MASKS)]
    image_path, masks_path = (folder / f"{kind}_{xray.stem}.npy" for kind in ("image", "masks"))
    if is_newer(masks_path, [xray, *lungs]) and is_newer(image_path, [xray]):
        return False
    image, labels = read_xray(xray, *lungs)
    write_volume(image_path, image)
    write_volume(masks_path, labels)
    return True


def is_newer(path: Path, sources: Iterable[Path]) -> bool:
    """Tell whether ``path`` is there and newer than all of ``sources``."""
    return path.is_file() and all(path.stat().st_mtime_ns > source.stat().st_mtime_ns for source in sources)


def read_xray(xray: Path, left: Path, right: Path) -> tuple[Volume, Volume]:
    """Return an X-ray and its labels, as volumes of one slice, (rows, columns, 1).

    Raises:
        UserError: a picture that cannot be read, is not grey, or is of another size than the X-ray.
    """
    grey = read_grey(xray)
    labels = np.zeros(grey.shape, dtype=np.uint8)
    for path, label in ((left, LEFT_LUNG), (right, RIGHT_LUNG)):
        lung = read_grey(path) > 0
        if lung.shape != grey.shape:
            sizes = " x ".join(map(str, lung.shape)), " x ".join(map(str, grey.shape))
            raise UserError(f"{path}: has {sizes[0]} pixels, its X-ray {xray} has {sizes[1]}")
        if overlap := np.count_nonzero(labels[lung]):
            text = "%s: %d of its pixels are those of the other lung in %s, too; taken from that"
            LOGGER.warning(text, path, overlap, left)
        labels[lung] = label
    spacing_mm = PUBLISHED_SPACING_MM if grey.shape in PUBLISHED_SHAPES else None
    return tuple(Volume(pixels[:, :, np.newaxis], spacing_mm=spacing_mm) for pixels in (grey, labels))


def read_grey(path: Path) -> np.ndarray:
    """Return a grey picture, (rows, columns) uint8 or uint16; black and white are 0 and 255.

    Raises:
        UserError: it cannot be read, or has colours.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            if picture.mode in ("1", "P"):
                picture = picture.convert("L" if picture.mode == "1" else "RGB")
            pixels = np.asarray(picture)
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a picture: {error}") from error
    if pixels.ndim == 3 and pixels.shape[2] == 3 and (pixels == pixels[:, :, :1]).all():
        pixels = pixels[:, :, 0]
    if pixels.ndim != 2:
        raise UserError(f"{path}: has colours or transparency ({pixels.shape[2]} channels); an X-ray or mask is grey")
    if pixels.dtype == np.int32:  # how Pillow had grey levels of 16 bits before version 11
        pixels = pixels.astype(np.uint16)
    return pixels


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
