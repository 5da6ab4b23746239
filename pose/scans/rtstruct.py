"""DICOM structure sets (RTSTRUCT): contours in millimetres, filled on slices of their scan, and traced from labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pose.cli import UserError
from pose.scans.contours import contours_of as traced
from pose.scans.contours import inside_of
from pose.scans.dicom_files import without_warnings
from pose.scans.dicom_frames import SERIES_NUMBER, frame_affines, labels_on_frames, short_text, uids_of
from pose.scans.geometry import LARGEST_MM, LPS_SIGNS
from pose.scans.segments import Block, Segment, Segmented

if TYPE_CHECKING:
    from pydicom import Dataset

# Closed lines; points and open lines enclose nothing.
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
# Of the distance of slices: contours are written with few decimals, and a patient who was moved is further off.
MOST_OFF_SLICE = 0.25
SOP_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"
# patient and study, and what the image of a structure set shares with those that it is about
OF_SOURCE = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
)


def open_rtstruct(
    path: Path, rtstruct: Dataset, affine: np.ndarray, shape: tuple[int, ...], scan_name: str
) -> Segmented:
    """Return the structures of an RTSTRUCT on a scan, numbered from 1 in the order of the file.

    Contours within contours are holes, and so on (XOR), see :func:`pose.scans.contours.inside_of`. Points and open
    lines are left out.

    Args:
        path: the file, for errors.
        rtstruct: what it holds.
        affine: (4, 4) from (row, column, slice) of the scan to millimetres, RAS.
        shape: of the scan.
        scan_name: of the scan, for errors.

    Raises:
        UserError: two structures have one number.
        AttributeError, IndexError, TypeError, ValueError: the file lacks what an RTSTRUCT must have.
    """
    drawn, rois = list(rtstruct.get("ROIContourSequence") or ()), list(rtstruct.StructureSetROISequence)
    for numbers in ([int(one.ROINumber) for one in rois], [int(one.ReferencedROINumber) for one in drawn]):
        if twice := [number for number, times in Counter(numbers).items() if times > 1]:
            raise UserError(f"{path}: two structures have the number {twice[0]}; which contours are whose is not said")
    contours_of = {int(one.ReferencedROINumber): one for one in drawn}
    if unknown := sorted(contours_of.keys() - {int(one.ROINumber) for one in rois}):
        raise ValueError(f"contours are of structure {unknown[0]}, which is not described")
    segments = []
    for label, roi in enumerate(rois, start=1):
        colour = contours_of[roi.ROINumber].get("ROIDisplayColor") if roi.ROINumber in contours_of else None
        rgb = None if colour is None else (int(colour[0]), int(colour[1]), int(colour[2]))
        segments.append(Segment(label, str(roi.get("ROIName", "")), rgb))
    inverse = np.linalg.inv(affine)

    def blocks(wanted: Container[int]) -> Iterator[Block]:
        for segment, roi in zip(segments, rois, strict=True):
            if segment.label not in wanted or roi.ROINumber not in contours_of:
                continue
            on_slices: dict[int, list[np.ndarray]] = defaultdict(list)
            for contour in contours_of[roi.ROINumber].get("ContourSequence") or ():
                if contour.ContourGeometricType in CLOSED:
                    slice_index, points = _on_slice(path, segment.name, contour, inverse, shape, scan_name)
                    on_slices[slice_index].append(points)
            for slice_index, contours in sorted(on_slices.items()):
                place = (slice(None), slice(None), slice(slice_index, slice_index + 1))
                yield Block(segment.label, place, inside_of(contours, (shape[0], shape[1]))[:, :, None])

    return Segmented(tuple(segments), blocks)


def _on_slice(
    path: Path, name: str, contour: Dataset, inverse: np.ndarray, shape: tuple[int, ...], scan_name: str
) -> tuple[int, np.ndarray]:
    """Return the slice of a contour and its points on it, (points, 2) rows and columns."""
    numbers = np.array([float(one) for one in contour.ContourData], dtype=np.float64)
    what = f"{path}: a contour of {name!r}"
    if numbers.size % 3 or not numbers.size:
        raise UserError(f"{what} has {numbers.size} numbers, which are no points of three")
    points = numbers.reshape(-1, 3)
    if not (np.abs(points) < LARGEST_MM).all():
        raise UserError(f"{what} has a point at ({', '.join(f'{one:g}' for one in _first_wrong(points))}) mm")
    places = (points * LPS_SIGNS) @ inverse[:3, :3].T + inverse[:3, 3]
    slice_index = int(np.rint(np.median(places[:, 2])))
    off = np.abs(places[:, 2] - slice_index).max()
    at = f"({', '.join(f'{one:.6g}' for one in points[0])}) mm"
    if off > MOST_OFF_SLICE:
        away = f"lies {off:.3g} of a slice off the slices of {scan_name}, at most {MOST_OFF_SLICE} is allowed"
        raise UserError(f"{what} from {at} {away}; it was drawn on another series, or across the slices")
    rows, columns = shape[:2]
    low, high = places.min(axis=0), places.max(axis=0)
    if not 0 <= slice_index < shape[2] or (low[:2] < -1).any() or high[0] > rows or high[1] > columns:
        reach = f"slice {slice_index}, rows {low[0]:.1f} to {high[0]:.1f}, columns {low[1]:.1f} to {high[1]:.1f}"
        size = f"{rows} x {columns} x {shape[2]}"
        raise UserError(f"{what} from {at} leaves the grid of {scan_name} ({size}): {reach}")
    return slice_index, places[:, :2]


def _first_wrong(points: np.ndarray) -> np.ndarray:
    return points[~(np.abs(points) < LARGEST_MM).all(axis=1)][0]


@without_warnings()
def rtstruct_of(
    headers: Sequence[Dataset],
    labels: np.ndarray,
    affine: np.ndarray,
    segments: Sequence[Segment],
    algorithm: tuple[str, str],
    stamp: datetime,
) -> Dataset:
    """Return labels as a DICOM RTSTRUCT, with references to the images that they were found on.

    Contours run half-way between pixels inside and outside, so that whoever asks which centres of pixels they enclose
    finds the labels again. Holes are contours of their own within others (XOR).

    Args:
        headers, labels, affine, segments, algorithm, stamp: as :func:`pose.scans.dicom_seg.seg_of` takes them.

    Raises:
        ValueError: an image of the series does not lie on the labels.
    """
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    uids = uids_of(headers, labels, stamp, ("rtstruct series", "rtstruct"))
    first = headers[0]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(SOP_CLASS), UID(uids[1])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found = FileDataset("", {}, preamble=bytes(128), file_meta=meta)
    for name in OF_SOURCE:
        setattr(found, name, first.get(name, ""))
    found.SpecificCharacterSet = "ISO_IR 192"
    date, time = f"{stamp:%Y%m%d}", f"{stamp:%H%M%S}"
    found.SOPClassUID, found.SOPInstanceUID, found.SeriesInstanceUID = UID(SOP_CLASS), UID(uids[1]), UID(uids[0])
    found.Modality, found.SeriesNumber, found.InstanceNumber = "RTSTRUCT", SERIES_NUMBER + 1, 1
    found.InstanceCreationDate = found.StructureSetDate = found.SeriesDate = date
    found.InstanceCreationTime = found.StructureSetTime = found.SeriesTime = time
    found.Manufacturer, found.ManufacturerModelName = "POSE", "Prompt Once, Segment Everything"
    found.SoftwareVersions = algorithm[1]
    found.SeriesDescription = "POSE structures"
    found.StructureSetLabel, found.StructureSetName = "SEGMENTATION", short_text(" ".join(algorithm))
    found.OperatorsName, found.ApprovalStatus = "", "UNAPPROVED"

    frame_of_reference = str(first.FrameOfReferenceUID)
    series = Dataset()
    series.SeriesInstanceUID = first.SeriesInstanceUID
    series.ContourImageSequence = [_reference(header, None) for header in headers]
    study = Dataset()
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = DETACHED_STUDY, first.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = frame_of_reference
    frame.RTReferencedStudySequence = [study]
    found.ReferencedFrameOfReferenceSequence = [frame]

    contours: dict[int, list[Dataset]] = {segment.label: [] for segment in segments}
    planes = labels_on_frames(headers, labels, affine)
    for (header, number, of_frame), plane in zip(frame_affines(headers), planes, strict=True):
        for label, of_label in contours.items():
            of_label += [_contour(header, number, of_frame, points) for points in traced(plane == label)]
    found.StructureSetROISequence, found.ROIContourSequence, found.RTROIObservationsSequence = [], [], []
    for number, segment in enumerate(segments, start=1):
        roi, drawn, observed = Dataset(), Dataset(), Dataset()
        roi.ROINumber = drawn.ReferencedROINumber = observed.ReferencedROINumber = number
        roi.ReferencedFrameOfReferenceUID = frame_of_reference
        roi.ROIName, roi.ROIGenerationAlgorithm = short_text(segment.name or f"object {segment.label}"), "SEMIAUTOMATIC"
        roi.ROIGenerationDescription = short_text(" ".join(algorithm))
        drawn.ROIDisplayColor = list(segment.colour or (128, 174, 128))
        drawn.ContourSequence = contours[segment.label]
        observed.ObservationNumber, observed.RTROIInterpretedType, observed.ROIInterpreter = number, "", ""
        found.StructureSetROISequence.append(roi)
        found.ROIContourSequence.append(drawn)
        found.RTROIObservationsSequence.append(observed)
    return found


def _reference(header: Dataset, frame: int | None) -> Dataset:
    from pydicom.dataset import Dataset

    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    if frame is not None:
        image.ReferencedFrameNumber = frame
    return image


def _contour(header: Dataset, frame: int | None, affine: np.ndarray, points: np.ndarray) -> Dataset:
    """Return a closed line of (points, 2) rows and columns of a frame."""
    from pydicom.dataset import Dataset

    places = (points @ affine[:3, :2].T + affine[:3, 3]) * LPS_SIGNS
    contour = Dataset()
    contour.ContourImageSequence = [_reference(header, frame)]
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
    # a number has 16 letters at the most
    contour.ContourData = [f"{one:.4f}" for one in places.ravel()]
    return contour
