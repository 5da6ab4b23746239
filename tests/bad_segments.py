"""What users give by mistake of other programs' files: markups in millimetres, and segments by name.

Each is a file's name, what it holds, and what the error line names; :mod:`tests.bad_inputs` makes cases of them.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import nibabel
import numpy as np
from pydicom import Dataset

from tests.cases import AFFINE, SHAPE_XYZ
from tests.prompts.markup_files import SCHEMA, control_points, markup
from tests.scans import made_series as made
from tests.scans.made_series import ONE, nrrd

Fault = tuple[str, bytes, tuple[str, ...]]

# of voxel (8, 10, 3) of tests.cases, LPS
INSIDE = [-28.0, -40.0, -91.0]
FCSV = """# Markups fiducial file version = 5.6
# CoordinateSystem = LPS
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
1,-28,-40,-91,0,0,0,1,1,1,0,F-1,,,2,0
"""


def _markups(*listed: object) -> bytes:
    return json.dumps({"@schema": SCHEMA, "markups": list(listed)}).encode()


def _points(*positions: list[float], **fields: object) -> bytes:
    return _markups(markup("Fiducial", positions, **fields))


def segmentation(value: float = 3, shape: tuple[int, ...] = SHAPE_XYZ, **fields: str) -> bytes:
    return nrrd(np.full(shape, value), AFFINE, ONE, **fields)


_LAYERS = np.ones((2, *SHAPE_XYZ))
_BOTH = {"Segment0_Name": "a", "Segment0_LabelValue": 1, "Segment0_Layer": 0}
_BOTH |= {"Segment1_Name": "b", "Segment1_LabelValue": 1, "Segment1_Layer": 1}

PROMPTS: dict[str, Fault] = {
    "truncated markups": ("m.mrk.json", _points(INSIDE)[:300], ("cannot be read as JSON",)),
    "markups of nothing": ("m.mrk.json", _markups(), ("markups must be a list of at least one", "[]")),
    "markups of a wrong schema": ("m.mrk.json", b'{"@schema": "x", "nodes": []}', ("unknown key '@schema'",)),
    "a markup that is an angle": (
        "m.mrk.json",
        _markups(markup("Angle", [INSIDE] * 3)),
        ("markups[0]: type is 'Angle'", "Fiducial, Line, ClosedCurve, ROI"),
    ),
    "an infinite coordinate": (
        "m.mrk.json",
        _points([float("inf"), 0, 0]),
        ("controlPoints[0].position must be finite numbers of millimetres", "inf"),
    ),
    "100,000 points": ("m.mrk.json", _points(*[INSIDE] * 100_000), ("100000 control points", "at most 10000")),
    "a point of no slice": (
        "m.mrk.json",
        _points([-28.0, -40.0, -106.0]),
        ("lies 6 mm off the slices of scan.nii.gz", "half a slice is 1.5 mm"),
    ),
    "RAS and LPS mixed": (
        "m.mrk.json",
        _points(INSIDE, coordinateSystem="RAS"),
        ("row 45.3333, column 50", "40 x 30", "LPS or RAS?"),
    ),
    "markups in voxels": ("m.mrk.json", _points(INSIDE, coordinateSystem="IJK"), ("coordinateSystem is 'IJK'",)),
    "points that were never placed": (
        "m.mrk.json",
        _markups(markup("Fiducial", [], controlPoints=control_points([INSIDE], status="undefined"))),
        ("no control point is placed",),
    ),
    "negative points alone": ("m.mrk.json", _points(INSIDE, name="liver-"), ("negative", "there is none")),
    "a box turned inside out": (
        "m.mrk.json",
        _markups(markup("ROI", center=INSIDE, size=[4, 4, 4], insideOut=True)),
        ("insideOut is True",),
    ),
    "a line across slices": (
        "m.mrk.json",
        _markups(markup("Line", [INSIDE, [-28.0, -40.0, -85.0]])),
        ("runs from slice 3 to slice 5 of scan.nii.gz",),
    ),
    "a fcsv of no space": ("m.fcsv", FCSV.replace("LPS", "IJK").encode(), ("line 2: CoordinateSystem is 'IJK'",)),
    "a fcsv of words": ("m.fcsv", FCSV.replace("-28", "left").encode(), ("line 4: x, y and z", "left,-40,-91")),
    "a fcsv that is cut": ("m.fcsv", FCSV[:-20].encode(), ("line 4: has 7 cells", "columns are 14")),
    "a segmentation that overlaps": (
        "both.seg.nrrd",
        nrrd(_LAYERS, AFFINE, _BOTH),
        ("'a' and 'b' overlap", "a (1), b (2)"),
    ),
    "a segmentation of nothing": ("none.seg.nrrd", segmentation(0), ("marks nothing",)),
}
MASKS: dict[str, Fault] = {
    "a segmentation of another scan": ("m.seg.nrrd", segmentation(shape=(40, 30, 8)), ("40 x 30 x 8", "scan.nii.gz")),
    "a segmentation that is cut": ("m.seg.nrrd", segmentation()[:-9], ("the file is damaged or cut, get it again",)),
    "a segmentation of other bytes": (
        "m.seg.nrrd",
        segmentation(encoding="bzip2"),
        ("encoding 'bzip2'", "gzip and raw"),
    ),
    "a segmentation that promises much": (
        "m.seg.nrrd",
        segmentation(sizes="40000 30000 70000"),
        ("promises 84000000000000 bytes", "m.seg.nrrd is shorter"),
    ),
    "a DICOM file of one half": ("m.dcm", bytes(128) + b"DICM" + b"\x02\0\0\0UL\4\0", ("m.dcm",)),
}


def _dicom(content: Dataset) -> bytes:
    file = io.BytesIO()
    content.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _other_series() -> bytes:
    content = made.seg([(1, 2, made.SQUARE)])
    content.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3"
    return _dicom(content)


def _contour(points: np.ndarray) -> bytes:
    return _dicom(made.rtstruct({"GTV": [points]}))


def _of_one_number() -> Dataset:
    content = made.rtstruct({"GTV": [made.on_plane(made.CORNERS, 3)], "CTV": []})
    content.StructureSetROISequence[1].ROINumber = 5
    return content


_SEG = _dicom(made.seg([(1, 2, made.SQUARE)]))
_FAR = made.on_plane(made.CORNERS, 3)
_FAR[1, 2] = 1e12

# of masks on the made series, which lies in the folder "series" and as series.nii.gz
DICOM_MASKS: dict[str, Fault] = {
    "a SEG of another series": ("seg.dcm", _other_series(), ("was drawn on the series 1.2.3", made.SERIES_UID)),
    "an RTSTRUCT of another series": (
        "rt.dcm",
        _dicom(made.rtstruct({"GTV": [made.on_plane(made.CORNERS, 3)]}, series="1.2.3")),
        ("was drawn on the series 1.2.3", made.SERIES_UID),
    ),
}
SPACE_MASKS: dict[str, Fault] = {
    "a SEG off the grid": (
        "seg.dcm",
        _dicom(made.seg([(1, 9, made.SQUARE)])),
        ("frame 0 at (", "does not lie on voxels"),
    ),
    "a SEG that is cut": ("seg.dcm", _SEG[: len(_SEG) // 2], ("the file is damaged, cut or not complete",)),
    "a SEG of surfaces": (
        "seg.dcm",
        _dicom(made.seg([(1, 2, made.SQUARE)], SegmentationType="SURFACE")),
        ("SegmentationType is 'SURFACE'", "BINARY"),
    ),
    "a SEG of fewer pixels": (
        "seg.dcm",
        _dicom(made.seg([(1, 2, made.SQUARE)], PixelData=bytes(10))),
        ("its pixels are 10 bytes", "not all of its frames"),
    ),
    "a SEG of tiles": (
        "seg.dcm",
        _dicom(made.seg([(1, 2, made.SQUARE)], DimensionOrganizationType="TILED_FULL")),
        ("its frames are tiles (TILED_FULL)", "give one of slices"),
    ),
    "a SEG of two times": (
        "seg.dcm",
        _dicom(made.seg([(1, 2, made.SQUARE), (1, 2, made.OTHER)])),
        ("frames 0 and 1 of segment 1 lie at the same place",),
    ),
    "a SEG that overlaps": (
        "seg.dcm",
        _dicom(made.seg([(1, 2, made.SQUARE), (2, 2, made.OTHER)], names=["liver", "tumour"])),
        ("'liver' and 'tumour' overlap", "--labels"),
    ),
    "structures of one number": (
        "rt.dcm",
        _dicom(_of_one_number()),
        ("two structures have the number 5", "which contours are whose"),
    ),
    "a contour off the grid": (
        "rt.dcm",
        _contour(made.on_plane([(row, column + 40) for row, column in made.CORNERS], 3)),
        ("a contour of 'GTV'", "leaves the grid", "columns 46.0 to 51.0"),
    ),
    "a contour beyond the slices": (
        "rt.dcm",
        _contour(made.on_plane(made.CORNERS, 12)),
        ("a contour of 'GTV'", "leaves the grid", "slice 12"),
    ),
    "a contour between slices": (
        "rt.dcm",
        _contour(made.on_plane(made.CORNERS, 3.5)),
        ("a contour of 'GTV'", "0.5 of a slice off"),
    ),
    "a contour out of the world": ("rt.dcm", _contour(_FAR), ("a contour of 'GTV' has a point at", "1e+12")),
    "a contour of no points": ("rt.dcm", _contour(np.arange(13.0)), ("13 numbers, which are no points of three",)),
}


def write_series(folder: Path) -> None:
    """Write the made series as DICOM, and as NIfTI."""
    made.write_series(folder / "series")
    scan = made.scan()
    nibabel.save(nibabel.Nifti1Image(scan.voxels.transpose(1, 0, 2), scan.affine), folder / "series.nii.gz")


def write_structures(folder: Path) -> None:
    """Write the made series and a structure set of it."""
    write_series(folder)
    (folder / "rt.dcm").write_bytes(_contour(made.on_plane(made.CORNERS, 3)))
