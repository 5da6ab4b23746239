"""A DICOM series: what its headers say of it, without pixels, names or dates of birth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Table(NamedTuple):
    """A modality lookup table: what stored numbers stand for, where no slope and intercept say it.

    Attributes:
        first: the stored number that stands for the first value; those below it stand for that too.
        values: uint16, one after another; stored numbers beyond them stand for the last.
    """

    first: int
    values: bytes


@dataclass(frozen=True)
class Frame:
    """One slice of a series.

    Attributes:
        file: where it is stored; in a zip, the member below the path of the zip.
        number: of the frame in its file, from 0; None where the file holds a single one.
        sop_uid: SOPInstanceUID of the file.
        shape: (rows, columns).
        position: (x, y, z) of the first pixel in mm, LPS; None where it has no place in the patient.
        cosines: of the direction along a row, then along a column, six numbers, LPS; None where there is none.
        spacing_mm: distance of rows, then of columns; None where unknown.
        slope, intercept: from stored numbers to values.
        padding: the lowest and the highest stored number that stand for no pixel; None where nothing is declared.
        thickness_mm: of the slice; None where unknown.
        signed, bits, bits_allocated: of stored numbers: their sign, and how many bits they use and take.
        syntax: UID of the transfer syntax.
        reference: FrameOfReferenceUID.
        is_rescaled: the header says slope or intercept.
        table: what stored numbers stand for, instead of slope and intercept.
    """

    file: Path
    number: int | None
    sop_uid: str
    shape: tuple[int, int]
    position: tuple[float, ...] | None = None
    cosines: tuple[float, ...] | None = None
    spacing_mm: tuple[float, ...] | None = None
    slope: float = 1.0
    intercept: float = 0.0
    padding: tuple[int, int] | None = None
    thickness_mm: float | None = None
    signed: bool = False
    bits: int = 16
    bits_allocated: int = 16
    syntax: str = ""
    reference: str = ""
    is_rescaled: bool = False
    table: Table | None = None


@dataclass(frozen=True)
class Series:
    """The DICOM series that a scan is read from.

    Attributes:
        uid: SeriesInstanceUID.
        files: of the series, in the order of slices; in a zip, its members below the path of the zip.
        number: SeriesNumber; None where it has none.
        description: SeriesDescription.
        date: YYYY-MM-DD; empty where unknown.
        modality: CT, MR, PT, DX and others.
        study_uid, frame_of_reference_uid, sop_class_uid: of its first file.
        inverted: low stored numbers are bright, as on films.
        frames: its slices, in their order once the series is read.
        kind: what it is left out as: "localiser", "secondary capture", "colour image" or another name; empty for scans.
        archive: the zip that holds the files; None where they lie in folders.
    """

    uid: str
    files: tuple[Path, ...]
    number: int | None = None
    description: str = ""
    date: str = ""
    modality: str = ""
    study_uid: str = ""
    frame_of_reference_uid: str = ""
    sop_class_uid: str = ""
    inverted: bool = False
    frames: tuple[Frame, ...] = ()
    kind: str = ""
    archive: Path | None = None

    def __str__(self) -> str:
        """What is said of it where several are listed."""
        shapes = [frame.shape for frame in self.frames]
        rows, columns = shapes[0] if shapes else (0, 0)
        about = [self.modality, f"{rows} x {columns} x {len(shapes)}", self.date, f"UID {self.uid}"]
        number = "without a number" if self.number is None else str(self.number)
        return f"{number} {self.description!r:.60} ({', '.join(part for part in about if part)})"
