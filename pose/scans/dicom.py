"""DICOM: the series in a folder, a zip or files, and the one of them that is read.

Headers alone are read here.
"""

from __future__ import annotations

import io
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from pose.cli import UserError
from pose.scans.dicom_files import (
    PREAMBLE,
    SUFFIXES,
    WORD,
    Found,
    archive_of,
    damage,
    damage_errors,
    files_in,
    is_dicom,
    opened,
)
from pose.scans.series import Frame, Series, Table

if TYPE_CHECKING:
    from pydicom import Dataset

LOGGER = logging.getLogger(__name__)

# SOP classes of objects that are drawn on scans or measured with them, by their beginnings
LEFT_OUT = {
    "1.2.840.10008.5.1.4.1.1.7": "secondary capture",
    "1.2.840.10008.5.1.4.1.1.66": "segmentation or registration",
    "1.2.840.10008.5.1.4.1.1.481": "radiotherapy object",
    "1.2.840.10008.5.1.4.1.1.88": "report",
    "1.2.840.10008.5.1.4.1.1.11": "presentation state",
    "1.2.840.10008.5.1.4.1.1.104": "document",
    "1.2.840.10008.5.1.4.1.1.30": "parametric map",
}
# the DICOMDIR of a disc
DIRECTORY = "1.2.840.10008.1.3.10"
# the transfer syntaxes in which pixels lie as they are
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "")
# pictures by X-rays, which lie nowhere in the patient; stored like films, they may be bright where numbers are low
PROJECTIONS = frozenset(("CR", "DX", "MG", "RG", "IO", "PX", "XA", "RF", "OT", ""))
WANTED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "SeriesNumber",
    "SeriesDescription",
    "SeriesDate",
    "AcquisitionDate",
    "StudyDate",
    "Modality",
    "ImageType",
    "InstanceNumber",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "SliceThickness",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)


def series_in(paths: Path | Sequence[Path]) -> list[Series]:
    """Return the series in a folder and all below it, in a zip, in one file, or in several files.

    Objects that are no scans are among them, with their ``kind``.

    Args:
        paths: the folder, zip or file, or several files.

    Raises:
        UserError: nothing is DICOM there, a file is damaged, or the zip is not to be trusted.
    """
    given = [paths] if isinstance(paths, Path) else list(paths)
    found: dict[str, list[tuple[Path, Dataset]]] = defaultdict(list)
    others: list[Path] = []
    files = [file for path in given for file in files_in(path)]
    if len({file.archive for file in files}) > 1:
        raise UserError(f"{given[0]}: a zip is read alone, not together with {given[1]}")
    for place, here in groupby(files, key=lambda file: file.archive):
        with archive_of(place) as archive:
            for file in here:
                with opened(file.path, archive) as stream:
                    header = _header(file, stream, must_be=file.path in given)
                    uid = "" if header is None else str(header.get("SeriesInstanceUID", ""))
                if header is None:
                    others.append(file.path)
                else:
                    found[uid].append((file.path, header))
    if others:
        LOGGER.info("%s: left out as no DICOM: %d, such as %s", given[0], len(others), others[0].name)
    if not found:
        where = "is a folder that holds" if given[0].is_dir() else "holds"
        raise UserError(f"{given[0]}: {where} no DICOM file")
    listed = [one for uid, of_uid in found.items() for one in _series_of(uid, of_uid, files[0].archive)]
    return sorted(listed, key=lambda one: (one.date, one.number or 0, one.uid))


def check_volumes(paths: Sequence[Path]) -> None:
    """Refuse files that are each meant as a volume, and are slices of one series: their folder is the volume.

    Raises:
        UserError: two of them are, or a file is damaged.
    """
    files = [path for path in paths if path.is_file() and path.suffix.lower() != ".zip" and is_dicom(path)]
    if len(files) < 2:
        return
    for one in series_in(files):
        placed = dict.fromkeys(frame.file for frame in one.frames if frame.position is not None)
        if len(placed) > 1:
            first, second = list(placed)[:2]
            raise UserError(f"{first}: is a slice of the same series as {second}; give the folder that holds them")


def choose_series(path: Path, listed: Sequence[Series], wanted: str | None = None) -> Series:
    """Return the series that is meant: the one asked for, or the only scan.

    Args:
        path: where they lie, for errors.
        listed: the series.
        wanted: a SeriesInstanceUID or a SeriesNumber, as ``--series`` takes it; None for the only scan.

    Raises:
        UserError: there is no such series, or several.
    """
    scans = [one for one in listed if not one.kind]
    if wanted is not None:
        chosen = [one for one in listed if wanted in (one.uid, str(one.number))]
        if len(chosen) > 1:
            raise UserError(f"{path}: --series {wanted}: several series have this number; give a UID: {_list(chosen)}")
        if not chosen:
            raise UserError(f"{path}: --series {wanted}: no such series; there are {_list(scans or listed)}")
        return chosen[0]
    single_file = len({file for one in listed for file in one.files}) == 1
    volumes = [one for one in scans if len(one.frames) > 1] or scans or (list(listed) if single_file else [])
    if not volumes:
        kinds = Counter(one.kind for one in listed)
        raise UserError(f"{path}: holds no scan, but {', '.join(f'{kinds[kind]} {kind}' for kind in sorted(kinds))}")
    if len(volumes) > 1:
        raise UserError(f"{path}: holds {len(volumes)} series; choose by --series NUMBER or UID: {_list(volumes)}")
    for one in listed:
        if one is not volumes[0]:
            LOGGER.info("%s: left out: %s %s", path, one.kind or "single picture", one)
    return volumes[0]


def headers(series: Series) -> Iterator[Dataset]:
    """Yield the whole header of each file of a series, without its pixels.

    Raises:
        UserError: a file has gone or changed.
    """
    import pydicom

    with archive_of(series.archive) as archive:
        for file in series.files:
            with opened(file, archive) as stream:
                header = pydicom.dcmread(stream, stop_before_pixels=True)
            yield header


def _header(file: Found, stream: BinaryIO, must_be: bool) -> Dataset | None:
    """Read the header of a file; None where it is no DICOM file, nor called one."""
    import pydicom
    from pydicom.uid import UID

    begin = stream.read(PREAMBLE + 4)
    stream.seek(0)
    must_be = must_be or file.path.suffix.lower() in SUFFIXES
    if begin[PREAMBLE:] != WORD:
        if must_be:
            raise UserError(f"{file.path}: is no DICOM file")
        return None
    # by its first bytes alone, as those of old files without preamble are
    guessed = isinstance(stream, io.BytesIO) and not must_be
    try:
        found = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=list(WANTED))
    except damage_errors():
        if not guessed:
            raise
        return None
    if guessed and "SOPClassUID" not in found:
        return None
    kind = UID(str(found.get("SOPClassUID") or found.file_meta.get("MediaStorageSOPClassUID") or ""))
    if kind == DIRECTORY:
        return None
    if "SeriesInstanceUID" not in found or (kind.name.endswith("Image Storage") and "Rows" not in found):
        raise UserError(f"{file.path}: its header has no SeriesInstanceUID or no Rows; the file is damaged or cut")
    _check_size(file.path, stream.getbuffer().nbytes if isinstance(stream, io.BytesIO) else file.size, found)
    return found


def _check_size(path: Path, size: int, header: Dataset) -> None:
    """Refuse a file that is smaller than its header promises, before anything is made as large."""
    frames = int(header.get("NumberOfFrames") or 1)
    if frames > size:
        raise UserError(f"{path}: its header promises {frames} frames in {size} bytes")
    syntax = str(header.file_meta.get("TransferSyntaxUID") or "")
    if "Rows" not in header or "BitsAllocated" not in header or syntax not in NATIVE:
        return
    pixels = frames * int(header.Rows) * int(header.Columns) * int(header.get("SamplesPerPixel") or 1)
    if (promised := pixels * int(header.BitsAllocated) // 8) > size:
        raise UserError(f"{path}: its header promises {promised} bytes of pixels, the file has {size}; it is cut")


def _series_of(uid: str, files: Sequence[tuple[Path, Dataset]], archive: Path | None) -> Iterator[Series]:
    """Yield the series of files with one SeriesInstanceUID; localisers that share it are a series of their own."""
    by_kind: dict[str, list[tuple[Path, Dataset]]] = defaultdict(list)
    for file, header in files:
        with damage(file):
            by_kind[_kind_of(header)].append((file, header))
    for kind, of_kind in by_kind.items():
        first = of_kind[0][1]
        frames: list[Frame] = []
        for file, header in sorted(of_kind, key=_by_number):
            with damage(file):
                frames += frames_of(file, header) if "Rows" in header else []
        with damage(of_kind[0][0]):
            dates = (str(first.get(name) or "") for name in ("SeriesDate", "AcquisitionDate", "StudyDate"))
            date = next((date for date in dates if len(date) == 8 and date.isdigit()), "")
            modality = str(first.get("Modality") or "")
            yield Series(
                uid,
                tuple(dict.fromkeys(file for file, _ in sorted(of_kind, key=_by_number))),
                int(first.SeriesNumber) if first.get("SeriesNumber") is not None else None,
                str(first.get("SeriesDescription") or ""),
                f"{date[:4]}-{date[4:6]}-{date[6:]}" if date else "",
                modality,
                str(first.get("StudyInstanceUID") or ""),
                str(first.get("FrameOfReferenceUID") or ""),
                str(first.get("SOPClassUID") or ""),
                first.get("PhotometricInterpretation") == "MONOCHROME1" and modality in PROJECTIONS,
                tuple(frames),
                kind,
                archive,
            )


def _by_number(entry: tuple[Path, Dataset]) -> tuple[int, str]:
    file, header = entry
    try:
        return int(header.get("InstanceNumber") or 0), str(file)
    except (TypeError, ValueError):
        return 0, str(file)


def _kind_of(header: Dataset) -> str:
    """Return what an object is left out as; empty for a scan."""
    sop_class = str(header.get("SOPClassUID") or "")
    for beginning, kind in LEFT_OUT.items():
        if sop_class == beginning or sop_class.startswith(beginning + "."):
            return kind
    if "Rows" not in header or "Columns" not in header or "BitsAllocated" not in header:
        return "object without an image"
    if "LOCALIZER" in [str(word).upper() for word in _several(header.get("ImageType"))]:
        return "localiser"
    return "colour image" if int(header.get("SamplesPerPixel") or 1) != 1 else ""


def frames_of(file: Path, header: Dataset) -> list[Frame]:
    """Return the slices that a file holds, in its order.

    Raises:
        ValueError: values that are not as the standard has them.
    """
    count = int(header.get("NumberOfFrames") or 1)
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if not groups:
        return [_frame(file, header, [header], number if count > 1 else None) for number in range(count)]
    if len(groups) != count:
        raise ValueError(f"NumberOfFrames is {count}, but {len(groups)} are described")
    shared = header.get("SharedFunctionalGroupsSequence") or [{}]
    parts = (
        "PlanePositionSequence",
        "PlaneOrientationSequence",
        "PixelMeasuresSequence",
        "PixelValueTransformationSequence",
    )
    frames = []
    for number, own in enumerate(groups):
        described = [group[name].value[0] for name in parts for group in (own, shared[0]) if group.get(name)]
        frames.append(_frame(file, header, [*described, header], number))
    return frames


def _frame(file: Path, header: Dataset, described: Sequence[Dataset], number: int | None) -> Frame:
    """Return a slice as the first of ``described`` that says it has it."""

    def numbers(name: str, count: int) -> tuple[float, ...] | None:
        for one in described:
            if one.get(name) not in (None, ""):
                values = tuple(float(value) for value in _several(one[name].value))
                if len(values) != count:
                    raise ValueError(f"{name} has {len(values)} numbers, not {count}")
                return values
        return None

    slope, intercept, thickness = (numbers(name, 1) for name in ("RescaleSlope", "RescaleIntercept", "SliceThickness"))
    padding = None
    if header.get("PixelPaddingValue") is not None:
        ends = int(header.PixelPaddingValue), int(header.get("PixelPaddingRangeLimit", header.PixelPaddingValue))
        padding = min(ends), max(ends)
    multiple = number is not None and not header.get("PerFrameFunctionalGroupsSequence")
    return Frame(
        file,
        number,
        str(header.get("SOPInstanceUID") or ""),
        (int(header.Rows), int(header.Columns)),
        None if multiple else numbers("ImagePositionPatient", 3),
        numbers("ImageOrientationPatient", 6),
        numbers("PixelSpacing", 2) or numbers("ImagerPixelSpacing", 2),
        1.0 if slope is None else slope[0],
        0.0 if intercept is None else intercept[0],
        padding,
        thickness[0] if thickness else None,
        bool(header.get("PixelRepresentation")),
        int(header.get("BitsStored") or header.BitsAllocated),
        int(header.BitsAllocated),
        str(header.file_meta.get("TransferSyntaxUID") or ""),
        str(header.get("FrameOfReferenceUID") or ""),
        slope is not None or intercept is not None,
        _table(header),
    )


def _table(header: Dataset) -> Table | None:
    """Return what a header maps stored numbers to, instead of a slope and an intercept."""
    if not header.get("ModalityLUTSequence"):
        return None
    table = header.ModalityLUTSequence[0]
    count, first, bits = (int(one) for one in table.LUTDescriptor)
    data = table["LUTData"]
    count = count or 1 << 16
    if bits not in (8, 16):
        raise ValueError(f"its ModalityLUTSequence has {bits} bits")
    if isinstance(data.value, bytes):
        order = "<" if header.original_encoding[1] else ">"
        # of 8 bits, some are packed into words
        width = 1 if bits == 8 and len(data.value) < 2 * count else 2
        values = np.frombuffer(data.value, f"{order}u{width}")[:count]
    else:
        values = np.array(_several(data.value), dtype=np.int64)
    if len(values) != count:
        raise ValueError(f"its ModalityLUTSequence holds {len(values)} values, it promises {count}")
    return Table(first, values.astype(np.uint16).tobytes())


def _several(value: Any) -> list[Any]:
    """Return the values of an element as a list, one or none of them too."""
    if value is None:
        return []
    return list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else [value]


def _list(series: Sequence[Series]) -> str:
    shown = "; ".join(map(str, series[:12]))
    return shown + (f"; and {len(series) - 12} more" if len(series) > 12 else "")


def in_order(series: Series, order: Sequence[int]) -> Series:
    """Return a series with its frames, and its files by them, in another order."""
    frames = tuple(series.frames[index] for index in order)
    return replace(series, frames=frames, files=tuple(dict.fromkeys(frame.file for frame in frames)))
