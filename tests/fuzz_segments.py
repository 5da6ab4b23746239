"""Broken files of other programs for the fuzzing: markups of 3D Slicer, .seg.nrrd, DICOM SEG and RTSTRUCT."""

from __future__ import annotations

import io
import random
import warnings
from functools import lru_cache

import numpy as np
from pydicom import Dataset, dcmread

from tests.fuzz_mutations import FLOATS, Files, edited_bytes, edited_json, json_bytes, whole_number
from tests.prompts import markup_files as drawn
from tests.scans import made_series as made
from tests.scans.made_series import CORNERS, ONE, OTHER, SQUARE, nrrd

_MARKUPS = {
    "@schema": drawn.SCHEMA,
    "markups": [
        drawn.markup("Fiducial", [drawn.place(5, 10, 4), drawn.place(6, 12, 5)], ["a", "b neg"], name="liver"),
        drawn.markup("Fiducial", [drawn.place(7, 12, 4)], name="liver neg"),
        drawn.roi((4.5, 9.5, 1.5), (8.5, 20.5, 6.5)),
        drawn.markup("Line", [drawn.place(9, 4, 4), drawn.place(9, 36, 4)]),
        drawn.markup("Line", [drawn.place(7, 20, 4), drawn.place(11, 20, 4)]),
        drawn.markup("ClosedCurve", [drawn.place(*one, 4) for one in CORNERS]),
    ],
}
_FCSV = """# Markups fiducial file version = 5.6
# CoordinateSystem = LPS
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
1,-25,-40,-18,0,0,0,1,1,1,0,F-1,,,2,0
2,-26,-42,-18,0,0,0,1,1,1,0,F-2 neg,,,2,0
"""
_WORDS = ("nan", "inf", "-1", "0", "1e400", "", ",", '"', "LPS", "RAS", "#", "\n", "2", "neg", "1" * 5000)


def markups_case(rng: random.Random) -> Files:
    """A .mrk.json of some of all kinds, or a .fcsv, edited."""
    if rng.random() < 0.3:
        lines = _FCSV.splitlines()
        for _ in range(rng.choice((0, 1, 1, 2, 5))):
            number = rng.randrange(len(lines))
            cells = lines[number].split(",")
            cells[rng.randrange(len(cells))] = rng.choice(_WORDS)
            lines[number] = ",".join(cells)
        content = "\n".join(lines).encode()
        return {"case.fcsv": edited_bytes(content, rng) if rng.random() < 0.2 else content}
    listed = _MARKUPS["markups"]
    some = rng.sample(listed, rng.randint(1, len(listed)))
    document: object = {**_MARKUPS, "markups": some}
    return {"case.mrk.json": json_bytes(edited_json(document, rng) if rng.random() < 0.9 else document, rng)}


@lru_cache
def _dicom() -> list[bytes]:
    frames = [(1, 2, SQUARE), (2, 4, OTHER)]
    hole = [(5.5, 7.5), (5.5, 9.5), (7.5, 9.5), (7.5, 7.5)]
    contours = {"GTV": [made.on_plane(CORNERS, 3), made.on_plane(hole, 3)], "skin": [made.on_plane(CORNERS, 5)]}
    files = [
        made.seg(frames, names=["a", "b"]),
        made.seg([(1, 2, SQUARE * 150)], "FRACTIONAL"),
        made.seg([(0, 3, SQUARE + OTHER)], "LABELMAP", ["a", "b"]),
        made.rtstruct(contours),
    ]
    return [_bytes(one) for one in files]


def _bytes(content: Dataset) -> bytes:
    file = io.BytesIO()
    content.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _edit_element(content: Dataset, rng: random.Random) -> None:
    """Take an element of a data set or of a sequence within away, or change its value."""
    inner = content
    while sequences := [one for one in inner if one.VR == "SQ" and len(one.value)]:
        if rng.random() < 0.3:
            break
        inner = rng.choice(rng.choice(sequences).value)
    if not len(inner):
        return
    element = rng.choice(list(inner))
    if rng.random() < 0.3:
        del inner[element.tag]
    elif element.VR in ("US", "UL", "IS", "SS"):
        element.value = max(0, min(whole_number(rng), 2**15 - 1))
    elif element.VR in ("DS", "FD"):
        value = rng.choice([one for one in FLOATS if np.isfinite(one)])
        element.value = f"{value:.8g}" if rng.random() < 0.5 else [f"{value:.8g}"] * rng.randint(1, 7)
    elif element.VR == "SQ":
        element.value = list(element.value)[: rng.randint(0, 1)]
    elif element.VR in ("OB", "OW"):
        element.value = element.value[: 2 * rng.randrange(len(element.value) // 2 + 1)]
    else:
        element.value = rng.choice(("", "1", "LABELMAP", "FRACTIONAL", "BINARY", "1.2.3"))


def segments_case(rng: random.Random) -> Files:
    """A file of segments, with elements or fields of its header edited, bytes flipped, or both."""
    if rng.random() < 0.3:
        voxels = np.zeros((made.COLUMNS, made.ROWS, made.SLICES))
        voxels[2:5, 3:6, 1] = 3
        affine = made.scan().affine
        assert affine is not None
        content = nrrd(voxels, affine, ONE, encoding=rng.choice(("gzip", "raw")))
        header, _, body = content.partition(b"\n\n")
        for _ in range(rng.choice((0, 1, 1, 2))):
            lines = header.split(b"\n")
            number = rng.randrange(len(lines))
            lines[number] = edited_bytes(lines[number], rng) if rng.random() < 0.5 else rng.choice(lines)
            header = b"\n".join(lines)
        content = header + b"\n\n" + body
    else:
        content = rng.choice(_dicom())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if rng.random() < 0.7:
                read = dcmread(io.BytesIO(content))
                try:
                    for _ in range(rng.choice((1, 1, 2, 4))):
                        _edit_element(read, rng)
                    content = _bytes(read)
                except (OSError, ValueError, TypeError, OverflowError, AttributeError, KeyError):
                    pass  # what pydicom refuses to write comes as it was
    return {"case.bin": edited_bytes(content, rng) if rng.random() < 0.3 else content}


CASES = {"markups": markups_case, "segments": segments_case}
