"""Files of segments, told by their content: DICOM SEG and RTSTRUCT, and .seg.nrrd; read on the voxels of a scan."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pose.cli import UserError
from pose.scans import seg_nrrd
from pose.scans.dicom_files import begins_as_dicom, damage_errors, opened, without_warnings
from pose.scans.nrrd import MAGIC
from pose.scans.segments import Segment, Segmented, labels_of_names, names_text, painted

if TYPE_CHECKING:
    from pydicom import Dataset

    from pose.scans.volume import Volume

# the beginning of a DICOM file, which says what it holds, is far shorter
META_BYTES = 1 << 16
SOP_CLASS = 0x00080016
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
# binary and fractional, and labelmap
SEG = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")


def kind_of(path: Path) -> str | None:
    """Return "SEG", "RTSTRUCT" or "seg.nrrd", by content; None for any other file."""
    try:
        with path.open("rb") as file:
            head = file.read(META_BYTES)
    except (OSError, ValueError):  # a folder, no file, or no name of one: whoever reads it says so
        return None
    if head.startswith(MAGIC):
        return "seg.nrrd" if seg_nrrd.is_segmentation(seg_nrrd.read_header(path)) else None
    if not begins_as_dicom(head):
        return None
    from pydicom.filereader import read_partial

    with _damage(path), opened(path, None) as stream:
        begin = read_partial(io.BytesIO(stream.read(META_BYTES)), stop_when=lambda tag, *_: tag > SOP_CLASS)
        uid = str(begin.file_meta.get("MediaStorageSOPClassUID") or begin.get("SOPClassUID", ""))
    return "SEG" if uid in SEG else "RTSTRUCT" if uid == RTSTRUCT else None


def read_segments(
    path: Path, kind: str, scan: Volume, wanted: Sequence[int | str] | None = None
) -> tuple[np.ndarray, tuple[Segment, ...]]:
    """Read segments onto the voxels of a scan.

    Args:
        path: the file.
        kind: what :func:`kind_of` says of it.
        scan: the scan that it belongs to.
        wanted: labels, or names; None for all.

    Returns:
        (rows, columns, slices) labels in the axes of the scan, and what they are called.

    Raises:
        UserError: a damaged file, one of another series or grid, a segment that is not there, or segments that overlap.
    """
    affine = scan.array_affine
    if affine is None:
        raise UserError(f"{path}: lies in space, and the geometry of {scan.grid.name} is unknown")
    with _damage(path):
        source = _open(path, kind, scan, affine)
        chosen = source.segments
        if wanted is not None:
            labels = labels_of_names(wanted, chosen, path)
            if missing := [label for label in labels if label not in {one.label for one in chosen}]:
                raise UserError(f"{path}: holds no label {missing[0]} (--labels); {names_text(chosen)}")
            chosen = tuple(one for one in chosen if one.label in labels)
        blocks = source.blocks({one.label for one in chosen})
        return painted(blocks, scan.voxels.shape, chosen, path), chosen


def _open(path: Path, kind: str, scan: Volume, affine: np.ndarray) -> Segmented:
    where: tuple[Any, ...] = affine, scan.voxels.shape, scan.grid.name
    if kind == "seg.nrrd":
        return seg_nrrd.open_seg_nrrd(path, seg_nrrd.read_header(path), *where)
    import pydicom

    from pose.scans.dicom_seg import open_seg
    from pose.scans.rtstruct import open_rtstruct

    # not from the file itself: of that, pydicom asks for as many bytes as a broken length says
    with opened(path, None) as stream:
        content = pydicom.dcmread(io.BytesIO(stream.read()))
    _check_series(path, kind, content, scan)
    return open_seg(path, content, *where) if kind == "SEG" else open_rtstruct(path, content, *where)


def _check_series(path: Path, kind: str, content: Dataset, scan: Volume) -> None:
    """Refuse segments that say they were drawn on another series; those that do not say are told by where they lie."""
    if scan.series is None:
        return
    drawn_on = []
    if kind == "SEG":
        drawn_on = [str(one.SeriesInstanceUID) for one in content.get("ReferencedSeriesSequence") or ()]
    else:
        for frame in content.get("ReferencedFrameOfReferenceSequence") or ():
            for study in frame.get("RTReferencedStudySequence") or ():
                drawn_on += [str(one.SeriesInstanceUID) for one in study.get("RTReferencedSeriesSequence") or ()]
    if drawn_on and scan.series.uid not in drawn_on:
        raise UserError(f"{path}: was drawn on the series {drawn_on[0]}, and {scan.grid.name} is {scan.series.uid}")


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        with without_warnings():
            yield
    except damage_errors() as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot be read: {reason:.300}; the file is damaged, cut or not complete") from error
