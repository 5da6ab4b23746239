"""DICOM segmentations (SEG): frames of any kind laid on the voxels of their scan, and labels written as binary ones."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pose.cli import UserError
from pose.scans.dicom_files import without_warnings
from pose.scans.dicom_frames import SERIES_NUMBER, labels_on_frames, plane_affine, short_text, uids_of
from pose.scans.geometry import is_geometry
from pose.scans.segments import Block, Placement, Segment, Segmented, placement

if TYPE_CHECKING:
    from pydicom import Dataset

LOGGER = logging.getLogger(__name__)

# Of the largest value of a fractional segmentation: a voxel from half of it belongs to the segment.
FRACTION = 0.5
# a frame holds one mask or labels; more bytes than this are no slice
LARGEST_FRAME = 1 << 30


def open_seg(path: Path, seg: Dataset, affine: np.ndarray, shape: tuple[int, ...], scan_name: str) -> Segmented:
    """Return the segments of a DICOM SEG on a scan.

    A fractional segment is where its value is at least half of the largest one, which the log says.

    Args:
        path: the file, for errors.
        seg: what it holds.
        affine: (4, 4) from (row, column, slice) of the scan to millimetres, RAS.
        shape: of the scan.
        scan_name: of the scan, for errors.

    Raises:
        UserError: a frame does not lie on voxels of the scan.
        AttributeError, IndexError, TypeError, ValueError: the file lacks what a SEG must have.
    """
    if str(seg.get("DimensionOrganizationType", "")).startswith("TILED"):
        raise UserError(
            f"{path}: its frames are tiles ({seg.DimensionOrganizationType}), as of slides; give one of slices"
        )
    segments = tuple(segment for one in seg.SegmentSequence if (segment := _segment(one)).label > 0)
    kind = str(seg.SegmentationType)
    least = 1.0
    if kind == "FRACTIONAL":
        least = FRACTION * int(seg.MaximumFractionalValue)
        LOGGER.info("%s: is fractional; a segment is where it has %g of %d", path, least, seg.MaximumFractionalValue)
    elif kind not in ("BINARY", "LABELMAP"):
        raise UserError(f"{path}: SegmentationType is {kind!r:.30}, known are BINARY, FRACTIONAL and LABELMAP")
    shared = seg.SharedFunctionalGroupsSequence[0] if "SharedFunctionalGroupsSequence" in seg else None
    frames = [
        _Frame(number, shared, own, int(seg.Rows), int(seg.Columns))
        for number, own in enumerate(seg.PerFrameFunctionalGroupsSequence)
    ]
    if len(frames) != int(seg.get("NumberOfFrames", 1)):
        raise ValueError(f"it has {seg.get('NumberOfFrames')} frames, and places for {len(frames)}")
    labels = [0 if kind == "LABELMAP" else frame.segment_number() for frame in frames]
    if unknown := sorted(set(labels) - {0, *(one.label for one in segments)}):
        raise ValueError(f"a frame is of segment {unknown[0]}, which is not described")
    places = [_place(path, frame, affine, shape, scan_name) for frame in frames]
    _check_places(path, labels, places)

    def blocks(wanted: Container[int]) -> Iterator[Block]:
        chosen = [number for number, label in enumerate(labels) if label == 0 or label in wanted]
        for number, values in _values(seg, chosen):
            values = places[number].turn.apply(values[:, :, None])
            if kind != "LABELMAP":
                yield Block(labels[number], places[number].place, values >= least)
                continue
            for label in np.unique(values[values > 0]).tolist():
                if label in wanted:
                    yield Block(label, places[number].place, values == label)

    return Segmented(segments, blocks)


def _segment(one: Dataset) -> Segment:
    colour = None
    if one.get("RecommendedDisplayCIELabValue"):
        colour = _rgb(np.array(one.RecommendedDisplayCIELabValue, dtype=np.float64))
    return Segment(int(one.SegmentNumber), str(one.get("SegmentLabel", "")), colour)


def _rgb(scaled: np.ndarray) -> tuple[int, int, int]:
    """Return the colour that DICOM has as three numbers of CIELab, each 0 to 65535."""
    from skimage.color import lab2rgb

    lab = scaled / 65535 * [100, 255, 255] - [0, 128, 128]
    red, green, blue = (int(round(255 * part)) for part in lab2rgb(lab[None, None])[0, 0])
    return red, green, blue


class _Frame:
    """A frame of a SEG: what is said of it alone, or of all frames."""

    def __init__(self, number: int, shared: Dataset | None, own: Dataset, rows: int, columns: int):
        self.number, self._groups, self.size = number, (own, shared), (rows, columns)

    def _group(self, name: str) -> Any:
        for groups in self._groups:
            if groups is not None and name in groups:
                return groups[name].value[0]
        raise ValueError(f"frame {self.number} has no {name}")

    def segment_number(self) -> int:
        """Return which segment a binary or fractional frame is of."""
        return int(self._group("SegmentIdentificationSequence").ReferencedSegmentNumber)

    @property
    def position(self) -> list[float]:
        """The first pixel in millimetres, LPS."""
        return [float(one) for one in self._group("PlanePositionSequence").ImagePositionPatient]

    def affine(self) -> np.ndarray:
        """Return the (4, 4) affine from (row, column, along the normal in mm) to millimetres, RAS."""
        cosines = self._group("PlaneOrientationSequence").ImageOrientationPatient
        affine = plane_affine(cosines, self._group("PixelMeasuresSequence").PixelSpacing, self.position)
        if not is_geometry(affine):
            raise ValueError(f"frame {self.number} lies nowhere in space")
        return affine


def _place(path: Path, frame: _Frame, affine: np.ndarray, shape: tuple[int, ...], scan_name: str) -> Placement:
    found = placement(frame.affine(), (*frame.size, 1), affine, shape)
    if found is None:
        where = ", ".join(f"{one:.6g}" for one in frame.position)
        what = f"frame {frame.number} at ({where}) mm does not lie on voxels of {scan_name}"
        raise UserError(f"{path}: {what}; it was drawn on another series, or on another grid")
    return found


def _check_places(path: Path, labels: Sequence[int], places: Sequence[Placement]) -> None:
    """Refuse two frames of a segment at one place: they are of two times, or their places are not said."""
    seen: dict[tuple[object, ...], int] = {}
    for number, (label, one) in enumerate(zip(labels, places, strict=True)):
        first = seen.setdefault((label, *((along.start, along.stop) for along in one.place)), number)
        if first != number:
            whose = f"of segment {label} " if label else ""
            raise UserError(f"{path}: frames {first} and {number} {whose}lie at the same place; a scan has it once")


def _values(seg: Dataset, chosen: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the number and the (rows, columns) values of chosen frames, one after another."""
    rows, columns, bits = int(seg.Rows), int(seg.Columns), int(seg.BitsAllocated)
    if bits not in (1, 8, 16) or not 0 < rows * columns < LARGEST_FRAME:
        raise ValueError(f"frames of {rows} x {columns} pixels of {bits} bits")
    if seg.file_meta.TransferSyntaxUID.is_encapsulated:
        from pydicom.pixels.utils import iter_pixels

        for number, frame in zip(chosen, iter_pixels(seg, indices=chosen)) if chosen else ():
            yield number, frame
        return
    size, content = rows * columns, np.frombuffer(seg.PixelData, np.uint8)
    if len(content) * 8 < len(seg.PerFrameFunctionalGroupsSequence) * size * bits:
        raise ValueError(f"its pixels are {len(content)} bytes, which are not all of its frames")
    for number in chosen:
        first, last = number * size * bits, (number + 1) * size * bits
        piece = content[first // 8 : -(-last // 8)]
        if bits == 1:  # frames follow each other bit by bit, and one may begin within a byte
            values = np.unpackbits(piece, bitorder="little")[first % 8 :][:size]
        else:
            values = piece.view("<u2" if bits == 16 else np.uint8)
        yield number, values.reshape(rows, columns)


def seg_of(
    headers: Sequence[Dataset],
    labels: np.ndarray,
    affine: np.ndarray,
    segments: Sequence[Segment],
    algorithm: tuple[str, str],
    stamp: datetime,
) -> Dataset:
    """Return labels as a DICOM SEG: binary, with references to the images that they were found on.

    Segments are numbered from 1 in their order, as the standard asks, whatever their labels are; frames without any
    voxel are left out. The same labels of the same series at the same time have the same UIDs.

    Args:
        headers: of the images of the series, without their pixels: of single frames, or of one file of many.
        labels: (rows, columns, slices) unsigned, 0 is background; some of it must be labelled.
        affine: (4, 4) from its indices to millimetres, RAS.
        segments: the labels that are written, with names and colours; each must have a voxel.
        algorithm: name and version of what made the labels.
        stamp: when.

    Raises:
        ValueError: an image of the series does not lie on the labels.
    """
    with without_warnings():
        from highdicom import AlgorithmIdentificationSequence
        from highdicom.color import CIELabColor
        from highdicom.seg import Segmentation, SegmentDescription
        from pydicom.sr.codedict import codes

        numbers = np.zeros(int(labels.max()) + 1, np.min_scalar_type(len(segments)))
        for number, segment in enumerate(segments, start=1):
            numbers[segment.label] = number
        method = AlgorithmIdentificationSequence(algorithm[0], codes.DCM.ArtificialIntelligence, algorithm[1])
        descriptions = [
            SegmentDescription(
                segment_number=number,
                segment_label=short_text(segment.name or f"object {segment.label}"),
                segmented_property_category=codes.SCT.Tissue,
                segmented_property_type=codes.SCT.Tissue,
                # a person gave the prompt
                algorithm_type="SEMIAUTOMATIC",
                algorithm_identification=method,
                display_color=None if segment.colour is None else CIELabColor.from_rgb(*segment.colour),
            )
            for number, segment in enumerate(segments, start=1)
        ]
        frames = np.stack([numbers[one] for one in labels_on_frames(headers, labels, affine)])
        uids = uids_of(headers, labels, stamp, ("seg series", "seg", "seg dimensions"))
        seg = Segmentation(
            source_images=headers,
            pixel_array=frames,
            segmentation_type="BINARY",
            segment_descriptions=descriptions,
            series_instance_uid=uids[0],
            series_number=SERIES_NUMBER,
            sop_instance_uid=uids[1],
            instance_number=1,
            manufacturer="POSE",
            manufacturer_model_name="Prompt Once, Segment Everything",
            software_versions=algorithm[1],
            device_serial_number="1",
            content_label="SEGMENTATION",
            content_description="Segmented from a prompt; not for clinical use",
            series_description="POSE segmentation",
        )
    for one in (*seg.DimensionOrganizationSequence, *seg.DimensionIndexSequence):
        one.DimensionOrganizationUID = uids[2]
    for contribution in seg.get("ContributingEquipmentSequence") or ():
        contribution.ContributionDateTime = f"{stamp:%Y%m%d%H%M%S}"
    for what in ("Content", "InstanceCreation", "Series"):
        setattr(seg, f"{what}Date", f"{stamp:%Y%m%d}")
        setattr(seg, f"{what}Time", f"{stamp:%H%M%S}")
    return seg
