"""A DICOM series that is made, the scan that it is, and segments drawn on it by pydicom alone."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from pose.scans.series import Series
from pose.scans.volume import Volume

# rows of 0.75 mm and columns of 0.5 mm, tilted by 20 degrees about x; slices run towards the head
ROWS, COLUMNS, SLICES = 20, 26, 7
COS, SIN = np.cos(np.radians(20)), np.sin(np.radians(20))
COSINES = [1.0, 0.0, 0.0, 0.0, COS, SIN]
NORMAL = np.cross(COSINES[:3], COSINES[3:])
ORIGIN = np.array([-30.0, 12.0, -100.0])
SPACING = (0.75, 0.5)
STEP = 2.5
SERIES_UID, STUDY_UID, FRAME_UID = (generate_uid(entropy_srcs=[name]) for name in ("series", "study", "frame"))
PATIENT = "Doe^Jane"
# a part of a slice, its outline through the centres of its outermost pixels, and another part that overlaps it
SQUARE = np.zeros((ROWS, COLUMNS), np.uint8)
SQUARE[4:9, 6:12] = 1
CORNERS = [(4, 6), (4, 11), (8, 11), (8, 6)]
OTHER = np.roll(SQUARE, 3, axis=1)
# what a .seg.nrrd says of a segment
ONE = {"Segment0_Name": "liver", "Segment0_LabelValue": 3, "Segment0_Layer": 0}


def position(slice_index: float) -> np.ndarray:
    return ORIGIN + NORMAL * STEP * slice_index


def image(slice_index: int) -> FileDataset:
    """One slice of the series, its pixels its number."""
    uid = generate_uid(entropy_srcs=["image", str(slice_index)])
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, preamble=bytes(128), file_meta=meta)
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, uid
    made.SeriesInstanceUID, made.StudyInstanceUID, made.FrameOfReferenceUID = SERIES_UID, STUDY_UID, FRAME_UID
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = PATIENT, "4711", "", "F"
    made.StudyDate, made.StudyTime, made.StudyID, made.AccessionNumber = "20260101", "101010", "1", "99"
    made.Modality, made.Manufacturer, made.SeriesNumber, made.InstanceNumber = "CT", "none", 3, slice_index + 1
    made.ReferringPhysicianName, made.PositionReferenceIndicator = "", ""
    made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.Rows, made.Columns, made.SamplesPerPixel, made.PhotometricInterpretation = ROWS, COLUMNS, 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 1
    made.RescaleSlope, made.RescaleIntercept = 1, 0
    made.PixelSpacing = list(SPACING)
    made.ImageOrientationPatient = [f"{one:.12g}" for one in COSINES]
    made.ImagePositionPatient = [f"{one:.10g}" for one in position(slice_index)]
    made.SliceThickness = STEP
    made.PixelData = np.full((ROWS, COLUMNS), slice_index, "<i2").tobytes()
    return made


def write_series(folder: Path, voxels: np.ndarray | None = None) -> list[Path]:
    """Write the series in the order of its slices, with (rows, columns, slices) voxels, or each slice its number."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{slice_index:03}.dcm" for slice_index in range(SLICES)]
    for slice_index, path in enumerate(paths):
        content = image(slice_index)
        if voxels is not None:
            content.PixelData = voxels[:, :, slice_index].astype("<i2").tobytes()
        content.save_as(path, enforce_file_format=True)
    return paths


def scan(files: Sequence[Path] = ()) -> Volume:
    """The series as it is read: columns are x, rows are y, in RAS."""
    lps = np.eye(4)
    lps[:3, 0] = np.array(COSINES[:3]) * SPACING[1]
    lps[:3, 1] = np.array(COSINES[3:]) * SPACING[0]
    lps[:3, 2] = NORMAL * STEP
    lps[:3, 3] = ORIGIN
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
    voxels = np.zeros((ROWS, COLUMNS, SLICES), np.int16)
    series = Series(str(SERIES_UID), tuple(files)) if files else None
    return Volume(voxels, affine, (*SPACING, STEP), swap_axes=True, path=Path("series"), series=series)


def labels() -> np.ndarray:
    """(rows, columns, slices): 1 a ring with a hole and an island in it, 4 a single voxel and a part of the rim."""
    made = np.zeros((ROWS, COLUMNS, SLICES), np.uint8)
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    away = np.hypot(rows - 9, columns - 10)
    for slice_index in (2, 3, 4):
        made[:, :, slice_index][(away < 7) & (away > 4) | (away < 2)] = 1
    made[3, 22, 3] = made[0:3, 23:26, 5] = 4
    return made


def rtstruct(
    contours: dict[str, list[np.ndarray]], kind: str = "CLOSED_PLANAR", series: str = SERIES_UID
) -> FileDataset:
    """A structure set of contours, each (points, 3) in millimetres, LPS, by the name of its structure."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, preamble=bytes(128), file_meta=meta)
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    study, of_series, frame = Dataset(), Dataset(), Dataset()
    of_series.SeriesInstanceUID = series
    study.RTReferencedSeriesSequence = [of_series]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = FRAME_UID, [study]
    made.ReferencedFrameOfReferenceSequence = [frame]
    made.StructureSetROISequence, made.ROIContourSequence = [], []
    for number, (name, listed) in enumerate(contours.items(), start=5):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        drawn.ReferencedROINumber, drawn.ROIDisplayColor, drawn.ContourSequence = number, [255, 0, 10], []
        for points in listed:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(points)
            contour.ContourData = [f"{one:.10g}" for one in np.ravel(points)]
            drawn.ContourSequence.append(contour)
        made.StructureSetROISequence.append(roi)
        made.ROIContourSequence.append(drawn)
    return made


def on_plane(corners: Sequence[Sequence[float]], slice_index: float) -> np.ndarray:
    """(row, column) corners of a contour on a slice, in millimetres, LPS."""
    along, down = np.array(COSINES[:3]) * SPACING[1], np.array(COSINES[3:]) * SPACING[0]
    return np.array([position(slice_index) + row * down + column * along for row, column in corners])


def seg(
    frames: Sequence[tuple[int, int, np.ndarray]],
    kind: str = "BINARY",
    names: Sequence[str] = ("liver",),
    **fields: object,
) -> FileDataset:
    """A SEG of frames: the number of the segment, the slice and its (rows, columns) values."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66." + ("7" if kind == "LABELMAP" else "4")
    meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = generate_uid(), ExplicitVRLittleEndian
    made = FileDataset("", {}, preamble=bytes(128), file_meta=meta)
    made.SOPClassUID, made.SegmentationType = meta.MediaStorageSOPClassUID, kind
    made.Rows, made.Columns = frames[0][2].shape
    made.NumberOfFrames, made.SamplesPerPixel, made.PhotometricInterpretation = len(frames), 1, "MONOCHROME2"
    bits = 1 if kind == "BINARY" else 8
    made.BitsAllocated = made.BitsStored = bits
    made.HighBit, made.PixelRepresentation = bits - 1, 0
    if kind == "FRACTIONAL":
        made.MaximumFractionalValue, made.SegmentationFractionalType = 200, "PROBABILITY"
    values = np.stack([frame for _, _, frame in frames]).astype(np.uint8)
    content = np.packbits(values.ravel(), bitorder="little") if bits == 1 else values
    made.PixelData = content.tobytes() + bytes(content.nbytes % 2)
    of_series = Dataset()
    of_series.SeriesInstanceUID = SERIES_UID
    made.ReferencedSeriesSequence = [of_series]
    made.SegmentSequence = []
    for number, name in enumerate(names, start=1):
        segment = Dataset()
        segment.SegmentNumber, segment.SegmentLabel = number, name
        made.SegmentSequence.append(segment)
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [f"{one:.12g}" for one in COSINES]
    measures.PixelSpacing = list(SPACING)
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    made.SharedFunctionalGroupsSequence, made.PerFrameFunctionalGroupsSequence = [shared], []
    for number, slice_index, _ in frames:
        own, place, of_segment = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [f"{one:.10g}" for one in position(slice_index)]
        of_segment.ReferencedSegmentNumber = number
        own.PlanePositionSequence = [place]
        if kind != "LABELMAP":
            own.SegmentIdentificationSequence = [of_segment]
        made.PerFrameFunctionalGroupsSequence.append(own)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def save(made: FileDataset, path: Path) -> Path:
    made.save_as(path, enforce_file_format=True)
    return path


def nrrd(voxels: np.ndarray, affine: np.ndarray, pairs: Mapping[str, object], **fields: str) -> bytes:
    """A .seg.nrrd of (layers, x, y, z) or (x, y, z)."""
    lps = np.diag([-1, -1, 1, 1]) @ affine
    directions = [f"({','.join(map(repr, map(float, lps[:3, axis])))})" for axis in range(3)]
    about = {
        "type": "unsigned char",
        "dimension": str(voxels.ndim),
        "space": "left-posterior-superior",
        "sizes": " ".join(map(str, voxels.shape)),
        "space directions": " ".join([*["none"] * (voxels.ndim - 3), *directions]),
        "encoding": "gzip",
        "space origin": f"({','.join(map(repr, map(float, lps[:3, 3])))})",
        **fields,
    }
    lines = ["NRRD0004", "# made", *(f"{name}: {value}" for name, value in about.items() if value)]
    lines += [f"{name}:={value}" for name, value in pairs.items()]
    content = voxels.astype(np.uint8).tobytes(order="F")
    return "\n".join(lines).encode() + b"\n\n" + (gzip.compress(content) if about["encoding"] == "gzip" else content)
