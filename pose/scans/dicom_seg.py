"""DICOM segmentations (SEG): binary, fractional and labelmap frames, laid on the voxels of their scan."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pose.cli import UserError
from pose.scans.geometry import is_geometry
from pose.scans.segments import Block, Placement, Segment, Segmented, placement

if TYPE_CHECKING:
    from pydicom import Dataset

LOGGER = logging.getLogger(__name__)

# Of the largest value of a fractional segmentation: a voxel from half of it belongs to the segment.
FRACTION = 0.5
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
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
        cosines = np.array(self._group("PlaneOrientationSequence").ImageOrientationPatient, dtype=np.float64)
        spacing = np.array(self._group("PixelMeasuresSequence").PixelSpacing, dtype=np.float64)
        affine = np.eye(4)
        affine[:3, 0] = cosines[3:] * spacing[0]
        affine[:3, 1] = cosines[:3] * spacing[1]
        affine[:3, 2] = np.cross(cosines[:3], cosines[3:])
        affine[:3, 3] = self.position
        if not is_geometry(affine):
            raise ValueError(f"frame {self.number} lies nowhere in space")
        return LPS_TO_RAS @ affine


def _place(path: Path, frame: _Frame, affine: np.ndarray, shape: tuple[int, ...], scan_name: str) -> Placement:
    found = placement(frame.affine(), (*frame.size, 1), affine, shape)
    if found is None:
        where = ", ".join(f"{one:.6g}" for one in frame.position)
        what = f"frame {frame.number} at ({where}) mm does not lie on voxels of {scan_name}"
        raise UserError(f"{path}: {what}; it was drawn on another series, or on another grid")
    return found


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
