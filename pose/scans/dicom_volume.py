"""From a DICOM series to voxels: where its slices lie, whether all are there, and what their numbers mean."""

from __future__ import annotations

import io
import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from pose.cli import UserError
from pose.scans.dicom import headers, in_order
from pose.scans.dicom_files import archive_of, damage, opened, without_warnings
from pose.scans.geometry import LPS_TO_RAS
from pose.scans.hounsfield import LOWEST_HU
from pose.scans.series import Frame, Series
from pose.scans.suv import suv_factor

if TYPE_CHECKING:
    from pathlib import Path

LOGGER = logging.getLogger(__name__)

# How far a slice may lie from its place in an even row, in steps: positions are written in a few digits.
UNEVEN = 0.05
# cosines that are written in a few digits
COSINE_ROUNDING = 1e-3
SPACING_ROUNDING = 1e-4
# A gap of so many steps, to a tenth of one, is where slices are missing.
MOST_MISSING = 1000


class Read(NamedTuple):
    """A series in memory.

    Attributes:
        voxels: (columns, rows, slices), as converters to NIfTI have it; (rows, columns, 1) of a picture without affine.
        affine: (4, 4) from their indices to millimetres, RAS; None for pictures that lie nowhere in the patient.
        spacing_mm: along the three axes; None where unknown.
        series: with its frames in the order of the slices.
    """

    voxels: np.ndarray
    affine: np.ndarray | None
    spacing_mm: tuple[float, float, float] | None
    series: Series


def read_series(path: Path, series: Series, suv: bool = False) -> Read:
    """Read the slices of a series into one array, each once; all that headers tell is checked before.

    Whole numbers stay whole where slopes and intercepts are. Declared padding of a CT counts as air: what of it lies
    above -1024 HU becomes that. Films whose low numbers are bright are inverted.

    Args:
        path: what was given, for errors.
        series: the series.
        suv: values of a PET become standardised uptake by body weight.

    Raises:
        UserError: slices are missing, doubled, uneven or not alike, a file is cut or cannot be decompressed, or there
            is no uptake to be had.
    """
    series, affine = placed(path, series)
    for syntax in sorted({frame.syntax for frame in series.frames}):
        _check_decoder(next(frame.file for frame in series.frames if frame.syntax == syntax), syntax)
    factor = suv_factor(series.files[0], next(headers(series))) if suv else None
    is_ct = series.modality == "CT"
    voxels = np.empty(0)
    for index, (frame, stored) in enumerate(_pixels(series)):
        if stored.shape != frame.shape:
            raise UserError(f"{frame.file}: pixels of shape {stored.shape}, the header says {frame.shape}")
        if index == 0:
            # not before: a compressed file may promise any size
            voxels = _allocated(path, series, factor is not None)
        values = _values(frame, stored, series.inverted)
        if is_ct and frame.padding is not None:
            low, high = frame.padding
            values = np.where((stored >= low) & (stored <= high) & (values > LOWEST_HU), int(LOWEST_HU), values)
        if factor is not None:
            values = values * factor
        voxels = _holding(voxels, values)
        voxels[index] = values
    if affine is None:
        spacing = series.frames[0].spacing_mm
        return Read(voxels.transpose(1, 2, 0), None, None if spacing is None else (spacing[0], spacing[1], 1.0), series)
    steps = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    return Read(voxels.transpose(2, 1, 0), affine, (steps[0], steps[1], steps[2]), series)


def placed(path: Path, series: Series) -> tuple[Series, np.ndarray | None]:
    """Return a series in the order of its slices, and the (4, 4) affine of (column, row, slice) to mm, RAS.

    Slices follow each other along the normal of their planes: towards the head in an axial scan. A gantry that was
    tilted shears the affine.

    Raises:
        UserError: slices are missing, doubled, uneven, or not alike.
    """
    frames = series.frames
    if not frames:
        raise UserError(f"{path}: --series {series.uid}: {series.kind or 'holds no image'}")
    if series.kind == "colour image":
        raise UserError(f"{frames[0].file}: is a colour image; scans have one grey value a pixel")
    _check_alike(path, series)
    known = [frame for frame in frames if frame.position is not None and frame.cosines is not None]
    if not known:
        if len(frames) == 1:
            return series, None
        if len(series.files) == 1:
            raise UserError(f"{frames[0].file}: {len(frames)} frames without ImagePositionPatient, which order them")
        raise UserError(f"{path}: {len(frames)} pictures without ImagePositionPatient; give one of the files")
    if len(known) < len(frames):
        lost = next(frame for frame in frames if frame not in known)
        raise UserError(f"{lost.file}: has no ImagePositionPatient or ImageOrientationPatient, as other slices have")
    if frames[0].spacing_mm is None:
        raise UserError(f"{frames[0].file}: has no PixelSpacing")
    cosines = np.array(frames[0].cosines, dtype=np.float64)
    across, down = cosines[:3], cosines[3:]
    normal = np.cross(across, down)
    lengths = [np.linalg.norm(one) for one in (across, down, normal)]
    if not np.allclose(lengths, 1, atol=COSINE_ROUNDING) or not np.isfinite(cosines).all():
        raise UserError(f"{frames[0].file}: ImageOrientationPatient {cosines.tolist()} is no orientation")
    positions = np.array([frame.position for frame in frames], dtype=np.float64)
    if not np.isfinite(positions).all():
        raise UserError(f"{path}: an ImagePositionPatient is not finite")
    order = np.argsort(positions @ normal, kind="stable")
    series, positions = in_order(series, order.tolist()), positions[order]
    step = normal * (frames[0].thickness_mm or 1.0)
    if len(frames) > 1:
        _check_even(path, series.frames, positions, normal)
        step = (positions[-1] - positions[0]) / (len(frames) - 1)
    between_rows, between_columns = frames[0].spacing_mm
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = across * between_columns, down * between_rows, step
    affine[:3, 3] = positions[0]
    if not (between_rows > 0 and between_columns > 0 and np.isfinite(affine).all()):
        raise UserError(f"{frames[0].file}: PixelSpacing {list(frames[0].spacing_mm)} is none")
    return series, LPS_TO_RAS @ affine


def _check_alike(path: Path, series: Series) -> None:
    first = series.frames[0]
    for frame in series.frames[1:]:
        both = f"{frame.file} and {first.file}"
        if frame.shape != first.shape:
            sizes = " and ".join(f"{rows} x {columns}" for rows, columns in (frame.shape, first.shape))
            raise UserError(f"{path}: slices of different size, {sizes} (rows x columns): {both}")
        if frame.reference != first.reference:
            raise UserError(f"{path}: slices of different frames of reference: {both}")
        if frame.is_rescaled != first.is_rescaled:
            raise UserError(f"{path}: slices with and without RescaleSlope or RescaleIntercept: {both}")
        if (frame.table is None) != (first.table is None):
            raise UserError(f"{path}: slices with and without ModalityLUTSequence: {both}")
        for name, one, other, rounding in (
            ("orientation", frame.cosines, first.cosines, COSINE_ROUNDING),
            ("pixel spacing", frame.spacing_mm, first.spacing_mm, SPACING_ROUNDING),
        ):
            differ = one is None or other is None or not np.allclose(one, other, atol=rounding)
            if differ and one != other:
                raise UserError(f"{path}: slices of different {name}, {one} and {other}: {both}")


def _check_even(path: Path, frames: Sequence[Frame], positions: np.ndarray, normal: np.ndarray) -> None:
    """Refuse slices that are not in one even row."""
    along = positions @ normal
    gaps = np.diff(along)
    step = float(np.median(gaps))
    doubled = np.flatnonzero(gaps <= UNEVEN * max(step, float(gaps.max())) / 2)
    if doubled.size:
        at = int(doubled[0])
        places = len(along) - doubled.size
        whole = f"; {len(along)} slices at {places} places may be a series in time: give the files of one time alone"
        one, other = frames[at], frames[at + 1]
        if one.sop_uid == other.sop_uid and one.file != other.file:
            whole = f"; they are the same image, SOPInstanceUID {one.sop_uid}: give one of the files alone"
        both = f"{_name(one)} and {_name(other)}"
        raise UserError(f"{path}: two slices at the same place, {both}{whole}")
    widest = int(gaps.argmax())
    steps = gaps[widest] / step
    if 1.9 < steps < MOST_MISSING and np.allclose(gaps / step, np.rint(gaps / step), atol=2 * UNEVEN):
        missing = int((np.rint(gaps / step) - 1).sum())
        both = f"{_name(frames[widest])} and {_name(frames[widest + 1])}"
        where = f"{gaps[widest]:.4g} mm lie between {both}, elsewhere {step:.4g} mm"
        raise UserError(f"{path}: {missing} {'slice is' if missing == 1 else 'slices are'} missing: {where}")
    even = positions[0] + np.outer(np.arange(len(positions)) / (len(positions) - 1), positions[-1] - positions[0])
    away = np.linalg.norm(positions - even, axis=1)
    if away.max() > UNEVEN * step:
        worst = int(away.argmax())
        range_of = f"gaps of {gaps.min():.4g} to {gaps.max():.4g} mm"
        where = f"{_name(frames[worst])} lies {away[worst]:.4g} mm from its place in an even row"
        raise UserError(f"{path}: slices are not evenly spaced ({range_of}): {where}")


def _name(frame: Frame) -> str:
    return frame.file.name if frame.number is None else f"frame {frame.number + 1}"


def _check_decoder(file: Path, syntax: str) -> None:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    with without_warnings():
        uid = UID(syntax)
        try:
            decodable = get_decoder(uid).is_available
        except NotImplementedError:
            decodable = uid.is_transfer_syntax and not uid.is_compressed
    if not decodable:
        name = uid.name if syntax else "none"
        raise UserError(f"{file}: its transfer syntax ({name}) has no decoder here; decompress it, e.g. by gdcmconv")


def _allocated(path: Path, series: Series, is_float: bool) -> np.ndarray:
    """Return an empty array (slices, rows, columns) of the smallest dtype that values have as a rule."""
    scales = {(frame.slope, frame.intercept) for frame in series.frames}
    dtype: np.dtype = np.dtype(np.float32)
    if not is_float and all(slope.is_integer() and intercept.is_integer() for slope, intercept in scales):
        dtype = np.dtype(np.int16)
        tables = all(frame.table is not None for frame in series.frames)
        if tables or (scales == {(1.0, 0.0)} and not any(frame.signed for frame in series.frames)):
            small = not tables and all(frame.bits_allocated <= 8 for frame in series.frames)
            dtype = np.dtype(np.uint8 if small else np.uint16)
    shape = len(series.frames), *series.frames[0].shape
    try:
        return np.empty(shape, dtype)
    except (MemoryError, ValueError) as error:
        raise UserError(f"{path}: {' x '.join(map(str, shape))} voxels do not fit into memory") from error


def _holding(voxels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return an array in a larger integer dtype, or as floating numbers, where values need it."""
    if values.dtype.kind == "f":
        return voxels if voxels.dtype.kind == "f" else voxels.astype(np.float32)
    if voxels.dtype.kind == "f":
        return voxels
    ends = int(values.min()), int(values.max())
    for dtype in (voxels.dtype, np.dtype(np.int32), np.dtype(np.int64)):
        if np.iinfo(dtype).min <= ends[0] and ends[1] <= np.iinfo(dtype).max:
            return voxels.astype(dtype, copy=False)
    raise OverflowError(f"values from {ends[0]} to {ends[1]}")


def _pixels(series: Series) -> Iterator[tuple[Frame, np.ndarray]]:
    """Yield each frame with its stored numbers, (rows, columns); a file is opened once for frames that follow."""
    from pydicom.pixels.utils import iter_pixels

    with archive_of(series.archive) as archive:
        for file, frames in groupby(series.frames, key=lambda frame: frame.file):
            here = list(frames)
            with opened(file, archive) as stream, io.BytesIO(stream.read() if archive else b"") as member:
                indices = None if here[0].number is None else [frame.number or 0 for frame in here]
                decoded = iter_pixels(member if archive else stream, indices=indices, raw=True)
                # closed before the file is, where it goes back to
                with closing(cast(Generator[np.ndarray, None, None], decoded)) as pixels:
                    for frame in here:
                        with damage(file):
                            stored = next(pixels)
                        yield frame, stored


def _values(frame: Frame, stored: np.ndarray, inverted: bool) -> np.ndarray:
    """Return what stored numbers stand for."""
    if frame.table is not None:
        table = np.frombuffer(frame.table.values, np.uint16)
        values = table[np.clip(stored.astype(np.int64) - frame.table.first, 0, len(table) - 1)]
        return table.max() - values if inverted else values
    if inverted:
        # the lowest number becomes the highest; the sum of both ends is -1 where numbers have a sign
        stored = np.int64(-1 if frame.signed else (1 << frame.bits) - 1) - stored
    if frame.slope == 1 and frame.intercept == 0:
        return stored
    if frame.slope.is_integer() and frame.intercept.is_integer():
        return stored.astype(np.int64) * int(frame.slope) + int(frame.intercept)
    return stored * frame.slope + frame.intercept
