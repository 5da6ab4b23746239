"""Measure seconds and peak memory of every script on one large volume: conversion, region growing with scores, join.

The volume is a synthetic chest: a phantom with fewer, thicker slices, stretched along the body with noise of its own on
each slice. Every script runs as a process of its own, on NIfTI as well as on working data. The exit code is 1 where one
of them takes more memory than it may.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from comparison.benchmarks.conversion import measure
from pose.cli import EXIT_OK, EXIT_VOLUME_FAILED, UserError, run_main

STRETCH = 8  # slices for one of the phantom's
NOISE_HU = 15.0
LARGEST_PEAK_MB = 2000.0


def chest_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of the size of the chest, and where it lies; see :func:`large_chest`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--slices", type=int, default=1000, metavar="N", help="at least 24 (default: %(default)s)")
    parser.add_argument("--side", type=int, default=512, metavar="N", help="rows and columns (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="keep all files here (default: a temporary folder)")
    return parser


@contextmanager
def large_chest(arguments: argparse.Namespace) -> Iterator[tuple[Path, Path, Path]]:
    """Make the chest that a command line asks for; yield the folder of all files, the scan and the mask.

    Raises:
        UserError: there are too few slices.
    """
    if arguments.slices < 3 * STRETCH:
        raise UserError(f"--slices {arguments.slices}: at least {3 * STRETCH}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        yield folder, *make_large_chest(folder, arguments.side, arguments.slices)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = chest_parser(__doc__)
    parser.add_argument(
        "--largest_peak_mb",
        type=float,
        default=LARGEST_PEAK_MB,
        metavar="MB",
        help="what each script may take (default: %(default)s)",
    )
    return parser


def make_large_chest(folder: Path, side: int, slices: int) -> tuple[Path, Path]:
    """Write a chest of ``side`` rows and columns as NIfTI, int16, and the uint8 mask of its lungs: both paths."""
    import nibabel

    from pose.scans.phantom import HEIGHT_MM, LOWEST_HU, chest_ct

    thick, labels = chest_ct((side, side, -(-slices // STRETCH) + 1))
    rng = np.random.default_rng(0)
    # NIfTI has columns first, and so has what is filled here: the files need a swap of axes, as those of scanners do
    scan = np.empty((side, side, slices), np.int16, order="F")
    mask = np.empty((side, side, slices), np.uint8, order="F")
    for slice_index in range(slices):
        below, part = divmod(slice_index / STRETCH, 1)
        low, high = (thick.voxels[:, :, int(below) + above].astype(np.float32) for above in (0, 1))
        values = low + np.float32(part) * (high - low) + NOISE_HU * rng.standard_normal((side, side), np.float32)
        scan[:, :, slice_index] = np.rint(values).clip(LOWEST_HU, 3071).T
        mask[:, :, slice_index] = labels[:, :, round(slice_index / STRETCH)].T
    affine = thick.affine.copy()
    affine[2, 2] = HEIGHT_MM / (slices - 1)
    paths = folder / "chest.nii.gz", folder / "chest_mask.nii.gz"
    for path, voxels in zip(paths, (scan, mask), strict=True):
        nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    return paths


def stages(folder: Path, scan: Path, mask: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each stage and its command line; a stage reads what those before it wrote."""
    for what, source in (("scan", scan), ("mask", mask)):
        for suffix in (".npz", ".npy"):
            target = folder / f"{what}{suffix}"
            yield f"{what} to {suffix}", ["nifti_to_numpy.py", "--swap_axes", "-i", str(source), "-o", str(target)]
    converted = {suffix: (folder / f"scan{suffix}", folder / f"mask{suffix}") for suffix in (".npz", ".npy")}
    inputs = {".nii.gz": (scan, mask), **converted}
    for suffix, (image, masks) in inputs.items():
        for objects in ("union", "per_label"):
            results = folder / "results" / f"{objects}{suffix.replace('.', '_')}"
            yield (
                f"region growing, {suffix}, {objects}",
                [
                    "process_video.py",
                    "--method",
                    "region_growing",
                    "--apply_windowing",
                    "--swap_axes",
                    "-b",
                    "-i",
                    str(image),
                    "-m",
                    str(masks),
                    "--objects",
                    objects,
                    "--labels",
                    "1",
                    "2",
                    "-r",
                    str(results),
                ],
            )
    yield "join", ["join_results.py", "-r", str(folder / "results" / "union_npz")]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every stage once, print a table; exit code 1 where one takes more memory than it may."""
    arguments = build_parser().parse_args(argv)
    with large_chest(arguments) as (folder, scan, mask):
        print(f"{arguments.side} x {arguments.side} x {arguments.slices}, one run of each\n", flush=True)
        print("| stage | seconds | peak memory, MB |\n|---|---|---|", flush=True)
        most = 0.0
        for name, (script, *words) in stages(folder, scan, mask):
            figures = measure([sys.executable, str(PROJECT_ROOT / script), *words])
            print(f"| {name} | {figures['seconds']:.1f} | {figures['peak_mb']:.0f} |", flush=True)
            most = max(most, figures["peak_mb"])
    print(f"\nat most {most:.0f} MB, allowed are {arguments.largest_peak_mb:.0f} MB")
    return EXIT_OK if most <= arguments.largest_peak_mb else EXIT_VOLUME_FAILED


if __name__ == "__main__":
    sys.exit(run_main(main))
