"""The frames of a DICOM series as what is written about it needs them: where they lie, and how they are referred to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pose.scans.dicom_files import without_warnings
from pose.scans.geometry import LPS_TO_RAS
from pose.scans.segments import placement

if TYPE_CHECKING:
    from pydicom import Dataset

    from pose.scans.volume import Volume

# of series that are made from others; scanners number theirs from 1
SERIES_NUMBER = 900
LONGEST_TEXT = 64


def short_text(text: str) -> str:
    """Return text as a value of DICOM holds it: 64 letters at the most, and no backslash, which parts values."""
    return text.replace("\\", "/").strip()[:LONGEST_TEXT]


def plane_affine(cosines: Sequence[float], spacing: Sequence[float], position: Sequence[float]) -> np.ndarray:
    """Return the (4, 4) affine from (row, column, along the normal in mm) of a plane to millimetres, RAS.

    Args:
        cosines: six of ImageOrientationPatient: the direction of a row's pixels, then of a column's.
        spacing: two of PixelSpacing: between rows, then between columns.
        position: three of ImagePositionPatient.
    """
    along = np.array([float(one) for one in cosines])
    affine = np.eye(4)
    affine[:3, 0] = along[3:] * float(spacing[0])
    affine[:3, 1] = along[:3] * float(spacing[1])
    affine[:3, 2] = np.cross(along[:3], along[3:])
    affine[:3, 3] = [float(one) for one in position]
    return LPS_TO_RAS @ affine


def frame_affines(headers: Sequence[Dataset]) -> Iterator[tuple[Dataset, int | None, np.ndarray]]:
    """Yield for each frame of a series its file, its number there from 1 (None for a file of one) and its affine.

    Raises:
        ValueError: a frame lies nowhere in the patient.
    """
    from pose.scans.dicom import frames_of

    for header in headers:
        for frame in frames_of(Path(), header):
            number = None if frame.number is None else frame.number + 1
            if frame.cosines is None or frame.spacing_mm is None or frame.position is None:
                raise ValueError(f"frame {number or 1} of {header.SOPInstanceUID} lies nowhere in the patient")
            yield header, number, plane_affine(frame.cosines, frame.spacing_mm, frame.position)


def labels_on_frames(headers: Sequence[Dataset], labels: np.ndarray, affine: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the (rows, columns) labels on each frame of the series that they were found on, turned as it is.

    Args:
        headers: of the files of the series.
        labels: (rows, columns, slices) of the scan as it was read.
        affine: (4, 4) from their indices to millimetres, RAS.

    Raises:
        ValueError: a frame does not lie on the labels.
    """
    for header, number, of_frame in frame_affines(headers):
        shape = int(header.Rows), int(header.Columns), 1
        found = placement(of_frame, shape, affine, labels.shape)
        if found is None:
            raise ValueError(f"frame {number or 1} of {header.SOPInstanceUID} does not lie on the labels")
        axes, flips = found.turn
        back = labels[found.place][tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
        yield back.transpose(np.argsort(axes))[:, :, 0]


def uids_of(headers: Sequence[Dataset], labels: np.ndarray, stamp: datetime, names: Sequence[str]) -> list[str]:
    """Return a UID for each name: the same for the same labels of a series at the same time."""
    from pydicom.uid import generate_uid

    voxels = hashlib.sha256(labels.tobytes()).hexdigest()
    about = [str(headers[0].SeriesInstanceUID), voxels, stamp.isoformat()]
    return [str(generate_uid(entropy_srcs=[*about, name])) for name in names]


def headers_of(volume: Volume) -> list[Dataset]:
    """Return the headers of the files of the series that a volume was read from, without their pixels.

    Raises:
        ValueError: the volume was not read from a series.
    """
    from pose.scans.dicom import headers

    if volume.series is None:
        raise ValueError(f"{volume.grid.name} is no DICOM series")
    found: list[Dataset] = []
    with without_warnings():
        for header in headers(volume.series):
            # scanners leave it empty, which is none of those that the standard knows
            header.decode()
            header.SpecificCharacterSet = "ISO_IR 192"
            found.append(header)
    return found
