"""What users give by mistake of other programs' files: markups in millimetres, and segments by name.

Each is a file's name, what it holds, and what the error line names; :mod:`tests.bad_inputs` makes cases of them.
"""

from __future__ import annotations

import json

import numpy as np

from tests.cases import AFFINE, SHAPE_XYZ
from tests.prompts.markup_files import SCHEMA, control_points, markup
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
    "a segmentation that is cut": ("m.seg.nrrd", segmentation()[:-9], ("or is cut; get it again",)),
    "a segmentation of other bytes": (
        "m.seg.nrrd",
        segmentation(encoding="bzip2"),
        ("encoding 'bzip2'", "gzip and raw"),
    ),
    "a segmentation that promises much": (
        "m.seg.nrrd",
        segmentation(sizes="40000 30000 70000"),
        ("promises 84000000000000 bytes", "the file is shorter"),
    ),
    "a DICOM file of one half": ("m.dcm", bytes(128) + b"DICM" + b"\x02\0\0\0UL\4\0", ("m.dcm",)),
}
