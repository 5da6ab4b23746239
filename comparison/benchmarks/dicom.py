"""Measure seconds and peak memory of converting one volume to working data, from NIfTI, DICOM and a zip of it.

The volume is the synthetic chest of large_volume.py; each conversion is a process of its own.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from comparison.benchmarks.conversion import measure
from comparison.benchmarks.large_volume import chest_parser, large_chest
from pose.cli import EXIT_OK, run_main


def write_dicom(scan: Path, folder: Path) -> None:
    """Write a NIfTI scan as a DICOM series, a file for each slice."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    from pose.scans.volume import read_volume

    volume = read_volume(scan, swap_axes=True)
    affine = np.diag([-1, -1, 1, 1]) @ volume.array_affine
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    cosines = [*(affine[:3, 1] / steps[1]), *(affine[:3, 0] / steps[0])]
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(volume.voxels.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made = FileDataset("", {}, preamble=bytes(128), file_meta=meta)
        made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = study, series, frame
        made.Modality, made.SeriesNumber, made.InstanceNumber = "CT", 1, index + 1
        made.ImagePositionPatient = [f"{value:.10g}" for value in affine[:3, 3] + index * affine[:3, 2]]
        made.ImageOrientationPatient, made.PixelSpacing = [f"{value:.6g}" for value in cosines], steps[:2].tolist()
        made.Rows, made.Columns = volume.voxels.shape[:2]
        made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
        made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 1
        made.RescaleSlope, made.RescaleIntercept = 1, 0
        made.PixelData = np.ascontiguousarray(volume.voxels[:, :, index], "<i2").tobytes()
        made.save_as(folder / f"{index:04}.dcm", enforce_file_format=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every conversion once and print a table; return the exit code."""
    arguments = chest_parser(__doc__).parse_args(argv)
    with large_chest(arguments) as (folder, scan, _):
        write_dicom(scan, folder / "dicom")
        with zipfile.ZipFile(folder / "dicom.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for path in sorted((folder / "dicom").iterdir()):
                archive.write(path, path.name)
        megabytes = arguments.side**2 * arguments.slices * 2 / 1e6
        print(
            f"{arguments.side} x {arguments.side} x {arguments.slices}, {megabytes:.0f} MB of voxels, one run of each\n"
        )
        print("| from | seconds | peak memory, MB |\n|---|---|---|", flush=True)
        for source in (scan, folder / "dicom", folder / "dicom.zip"):
            words = ["nifti_to_numpy.py", "--swap_axes", "-i", str(source), "-o", str(folder / "scan.npy")]
            figures = measure([sys.executable, str(PROJECT_ROOT / words[0]), *words[1:]])
            print(f"| {source.name} | {figures['seconds']:.1f} | {figures['peak_mb']:.0f} |", flush=True)
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(run_main(main))
