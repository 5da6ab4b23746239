"""DICOM files that are made: small series of known voxels and geometry, whole or with one fault."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid
from pydicom.valuerep import format_number_as_ds

ROWS, COLUMNS, SLICES = 5, 6, 4
SPACING = (0.75, 0.5)
STEP = 2.5
ORIGIN = (-30.0, 12.5, -100.0)
AXIAL, SAGITTAL, CORONAL = (1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1)
PATIENT = {"PatientName": "Mustermann^Erika", "PatientID": "PID4711", "PatientBirthDate": "19640812"}


def uid(name: str) -> UID:
    return generate_uid(entropy_srcs=[name])


def stored(slice_index: int, shape: tuple[int, int] = (ROWS, COLUMNS)) -> np.ndarray:
    """(rows, columns) numbers that are all different, over slices too."""
    return (1000 * slice_index + np.arange(shape[0] * shape[1])).reshape(shape)


def image(slice_index: int, pixels: np.ndarray | None = None, series: str = "series", **fields: Any) -> FileDataset:
    """A slice of an axial CT of :func:`stored`; ``fields`` replace what it has, None removes."""
    pixels = stored(slice_index) if pixels is None else pixels
    name = f"{series} {slice_index}"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = fields.get("SOPClassUID", CTImageStorage)
    meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = uid(name), ExplicitVRLittleEndian
    made = FileDataset("", {}, preamble=bytes(128), file_meta=meta)
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, uid(name)
    made.SeriesInstanceUID, made.StudyInstanceUID, made.FrameOfReferenceUID = uid(series), uid("study"), uid("frame")
    made.SeriesNumber, made.SeriesDescription, made.SeriesDate = 3, "Thorax 2.5", "20260102"
    made.InstanceNumber, made.Modality, made.ImageType = slice_index + 1, "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.Rows, made.Columns = pixels.shape[-2:]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 1
    made.RescaleSlope, made.RescaleIntercept = 1, -1024
    made.PixelSpacing, made.SliceThickness = list(SPACING), 1.25
    made.ImageOrientationPatient = list(AXIAL)
    made.ImagePositionPatient = place(slice_index)
    for keyword, value in {**PATIENT, **fields}.items():
        if value is None:
            made.pop(keyword, None)
        else:
            setattr(made, keyword, value)
    code = ("u" if made.PixelRepresentation == 0 else "i") + str(made.BitsAllocated // 8)
    made.PixelData = pixels.astype(f"<{code}").tobytes()
    if len(made.PixelData) % 2:
        made.PixelData += b"\0"
    return made


def place(slice_index: float, step: Sequence[float] = (0, 0, STEP)) -> list[str]:
    """ImagePositionPatient of a slice."""
    return [format_number_as_ds(float(start + slice_index * one)) for start, one in zip(ORIGIN, step)]


def series(count: int = SLICES, **fields: Any) -> list[FileDataset]:
    """The slices of an axial CT, from the feet to the head."""
    return [image(slice_index, **fields) for slice_index in range(count)]


def oriented(cosines: Sequence[float], shear: Sequence[float] = (0, 0, 0), **fields: Any) -> list[FileDataset]:
    """A series in any orientation, its slices along the normal, or away from it by ``shear`` mm a slice."""
    normal = np.cross(cosines[:3], cosines[3:])
    step = (normal * STEP + shear).tolist()
    orientation = [format_number_as_ds(float(one)) for one in cosines]
    return [
        image(index, ImageOrientationPatient=orientation, ImagePositionPatient=place(index, step), **fields)
        for index in range(SLICES)
    ]


def save(made: FileDataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return path


def write(folder: Path, slices: Sequence[FileDataset], name: str = "{:03}.dcm") -> Path:
    """Write files in an order of names that is none of slices."""
    for number, made in enumerate(slices):
        save(made, folder / name.format((number * 37 + 3) % 101))
    return folder


def compressed(slices: Sequence[FileDataset], syntax: UID = RLELossless) -> list[FileDataset]:
    for made in slices:
        made.compress(syntax, generate_instance_uid=False)
    return list(slices)


def multi_frame(order: Sequence[int] = range(SLICES), **fields: Any) -> FileDataset:
    """An enhanced CT of :func:`stored`, its frames in any order."""
    pixels = np.stack([stored(index) for index in order])
    made = image(0, pixels, SOPClassUID=UID("1.2.840.10008.5.1.4.1.1.2.1"), NumberOfFrames=len(order))
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
        delattr(made, keyword)
    del made.RescaleIntercept
    orientation, measures, transformation, shared = Dataset(), Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = list(AXIAL)
    measures.PixelSpacing, measures.SliceThickness = list(SPACING), 1.25
    transformation.RescaleSlope, transformation.RescaleIntercept, transformation.RescaleType = 1, -1024, "HU"
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    shared.PixelValueTransformationSequence = [transformation]
    made.SharedFunctionalGroupsSequence, made.PerFrameFunctionalGroupsSequence = [shared], []
    for index in order:
        position, own = Dataset(), Dataset()
        position.ImagePositionPatient = place(index)
        own.PlanePositionSequence = [position]
        made.PerFrameFunctionalGroupsSequence.append(own)
    for keyword, value in fields.items():
        setattr(made, keyword, value)
    return made


def pet(count: int = 3, **fields: Any) -> list[FileDataset]:
    """A PET of 70 kg, 200 MBq of F-18 an hour before the scan, with another slope on each slice."""
    injected = Dataset()
    injected.RadionuclideTotalDose, injected.RadionuclideHalfLife = "2e8", "6586.2"
    injected.RadiopharmaceuticalStartTime = "100000.00"
    of_pet = {
        "Modality": "PT",
        "SOPClassUID": UID("1.2.840.10008.5.1.4.1.1.128"),
        "Units": "BQML",
        "DecayCorrection": "START",
        "CorrectedImage": ["NORM", "ATTN", "DECY"],
        "PatientWeight": "70",
        "SeriesTime": "110000",
        "AcquisitionDate": "20260102",
        "AcquisitionTime": "110200",
        "RescaleIntercept": 0,
        "RadiopharmaceuticalInformationSequence": [injected],
    }
    return [image(index, **{**of_pet, "RescaleSlope": 0.5 + index, **fields}) for index in range(count)]


def with_table(
    made: FileDataset, values: Sequence[int], first: int = 0, count: int | None = None, of_bytes: bool = False
) -> FileDataset:
    """The same image with a table of 16 bits instead of slope and intercept, as numbers or as bytes."""
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        made.pop(keyword, None)
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [len(values) if count is None else count, first, 16])
    data = np.array(values, "<u2").tobytes() if of_bytes else list(values)
    table.add_new("LUTData", "OW" if of_bytes else "US", data)
    made.ModalityLUTSequence = [table]
    return made


def bytes_of(made: FileDataset, syntax: UID) -> bytes:
    """A file in one of the syntaxes in which pixels are not compressed by themselves."""
    made.file_meta.TransferSyntaxUID = syntax
    if not syntax.is_little_endian:
        made.PixelData = np.frombuffer(made.PixelData, "<u2").astype(">u2").tobytes()
    file = io.BytesIO()
    how = {} if syntax.is_little_endian else {"implicit_vr": False, "little_endian": False}
    dcmwrite(file, made, enforce_file_format=True, **how)
    return file.getvalue()


def xray(pixels: np.ndarray, **fields: Any) -> FileDataset:
    """A digital X-ray of 12 bits, which lies nowhere in the patient."""
    of_xray = {
        "Modality": "DX",
        "SOPClassUID": UID("1.2.840.10008.5.1.4.1.1.1.1"),
        "PixelRepresentation": 0,
        "BitsStored": 12,
        "HighBit": 11,
        "RescaleIntercept": 0,
        "ImagePositionPatient": None,
        "ImageOrientationPatient": None,
        "PixelSpacing": None,
        "ImagerPixelSpacing": [0.15, 0.2],
    }
    return image(0, pixels, **{**of_xray, **fields})
