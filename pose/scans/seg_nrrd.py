"""Segmentations of 3D Slicer, .seg.nrrd: labels with names and colours, in layers where they overlap."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pose.cli import UserError
from pose.scans import nrrd
from pose.scans.geometry import LPS_SIGNS, is_geometry
from pose.scans.nrrd import Header
from pose.scans.segments import Block, Segment, Segmented, placement

GZIP_LEVEL = 6
# labels are whole numbers of up to four bytes
_TYPES = {name: code for name, code in nrrd.TYPES.items() if code[0] in "iu" and int(code[1:]) <= 4}
_VECTOR = re.compile(r"\(([^()]*)\)")


def read_header(path: Path) -> Header:
    """Return the header of a NRRD file.

    Raises:
        UserError: it has no end.
        ValueError: the file is no NRRD.
    """
    try:
        return nrrd.read_header(path)
    except EOFError as error:
        raise UserError(f"{path}: cannot be read as NRRD: {error}; the file is damaged or cut, get it again") from None


def is_segmentation(header: Header) -> bool:
    """Tell whether a NRRD file holds segments by name."""
    return any(name.startswith("Segment0_") for name in header.pairs)


def open_seg_nrrd(path: Path, header: Header, affine: np.ndarray, shape: tuple[int, ...], scan_name: str) -> Segmented:
    """Return the segments of a file on a scan; its voxels may be a part of the scan's.

    Segments are numbered by their own label values, or from 1 in the order of the file where layers use these again.

    Args:
        path: the file.
        header: of the file.
        affine: (4, 4) from (row, column, slice) of the scan to millimetres, RAS.
        shape: of the scan.
        scan_name: of the scan, for errors.

    Raises:
        UserError: the file is damaged, or lies elsewhere than the voxels of the scan.
    """
    layers, of_file = _voxels(path, header)
    place = placement(of_file, layers.shape[1:], affine, shape)
    if place is None:
        size = " x ".join(map(str, layers.shape[1:]))
        advice = "save it with the scan as its reference (Segment Editor, Specify geometry)"
        raise UserError(f"{path}: its {size} voxels do not lie on those of {scan_name}; {advice}")
    entries = [_entry(path, header, number, layers.shape[0]) for number in range(_count(header))]
    values = [value for _, value, _ in entries]
    own = len(set(values)) == len(values) and min(values) > 0
    segments = [
        Segment(value if own else number, one.name, one.colour)
        for number, (one, value, _) in enumerate(entries, start=1)
    ]

    def blocks(wanted: Container[int]) -> Iterator[Block]:
        for segment, (_, value, layer) in zip(segments, entries, strict=True):
            if segment.label in wanted:
                yield Block(segment.label, place.place, place.turn.apply(layers[layer] == value))

    return Segmented(tuple(segments), blocks)


def _count(header: Header) -> int:
    number = 0
    while any(f"Segment{number}_{key}" in header.pairs for key in ("ID", "Name", "LabelValue")):
        number += 1
    return number


def _entry(path: Path, header: Header, number: int, layers: int) -> tuple[Segment, int, int]:
    """Return a segment with its value and layer; before these were written, each had a layer of its own."""
    own = {key: header.pairs.get(f"Segment{number}_{key}") for key in ("Name", "Color", "LabelValue", "Layer")}
    try:
        value = 1 if own["LabelValue"] is None else int(own["LabelValue"])
        layer = (number if own["LabelValue"] is None else 0) if own["Layer"] is None else int(own["Layer"])
        colour = None
        if own["Color"] is not None:
            red, green, blue = (round(255 * min(max(float(part), 0.0), 1.0)) for part in own["Color"].split())
            colour = (red, green, blue)
    except (ValueError, OverflowError):
        raise UserError(f"{path}: Segment{number} has a value, layer or colour that is no number: {own}") from None
    if not (0 <= value <= 65535 and 0 <= layer < layers):
        raise UserError(f"{path}: Segment{number} has the value {value} in layer {layer}; there are {layers} layers")
    return Segment(value, own["Name"] or "", colour), value, layer


def _voxels(path: Path, header: Header) -> tuple[np.ndarray, np.ndarray]:
    """Return the voxels, (layers, x, y, z), and the (4, 4) affine from (x, y, z) to millimetres, RAS."""
    fields = header.fields
    try:
        sizes = [int(size) for size in fields["sizes"].split()]
        dtype = np.dtype(_TYPES[fields["type"].lower()])
        if dtype.itemsize > 1:
            dtype = np.dtype({"little": "<", "big": ">"}[fields["endian"].lower()] + dtype.str[1:])
        signs = np.array(nrrd.SPACES[fields["space"].lower()], dtype=np.float64)
        directions = [_vector(text) for text in re.findall(r"none|\([^()]*\)", fields["space directions"])]
        origin = _vector(fields["space origin"])
        encoding = fields["encoding"].lower()
    except KeyError as error:
        raise UserError(
            f"{path}: cannot be read as a segmentation: its header lacks or has an unknown {error}"
        ) from None
    except ValueError as error:
        raise UserError(f"{path}: cannot be read as NRRD: {error}") from None
    axes = [axis for axis, direction in enumerate(directions) if direction is not None]
    in_layers = [axis for axis in range(len(sizes)) if axis not in axes]
    if len(sizes) != len(directions) or len(axes) != 3 or len(in_layers) > 1 or origin is None or min(sizes) < 1:
        raise UserError(
            f"{path}: sizes {fields['sizes']} with space directions {fields['space directions']}; expected 3 axes"
        )
    affine = np.eye(4)
    affine[:3, :3] = np.transpose([directions[axis] for axis in axes])
    affine[:3, 3] = origin
    affine[:3] *= signs[:, None]
    if not is_geometry(affine):
        raise UserError(f"{path}: space directions {fields['space directions']} put no voxels in space")
    flat = _content(path, header.length, encoding, math.prod(sizes) * dtype.itemsize).view(dtype)
    voxels = flat.reshape(sizes, order="F").transpose([*in_layers, *axes])
    return (voxels if in_layers else voxels[None]), affine


def _vector(text: str) -> tuple[float, ...] | None:
    match = _VECTOR.fullmatch(text.strip())
    if match is None:
        return None
    numbers = tuple(float(number) for number in match[1].split(","))
    if len(numbers) != 3:
        raise ValueError(f"the vector {text:.60} has not three numbers")
    return numbers


def _content(path: Path, start: int, encoding: str, size: int) -> np.ndarray:
    packed = encoding in ("gzip", "gz")
    if not packed and encoding != "raw":
        raise UserError(f"{path}: encoding {encoding!r:.30}; a segmentation is read from gzip and raw")
    try:
        return nrrd.read_content(path, start, size, packed)
    except (ValueError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read as NRRD: {error}; the file is damaged or cut, get it again") from None


def write_seg_nrrd(file: BinaryIO, labels: np.ndarray, affine: np.ndarray, segments: Sequence[Segment]) -> None:
    """Write a label map as 3D Slicer does its segmentations; the same input gives the same bytes.

    Args:
        file: gets the bytes.
        labels: (x, y, z) unsigned, 0 is background.
        affine: (4, 4) from its indices to millimetres, RAS.
        segments: the labels, with names and colours.
    """
    lps = affine[:3] * LPS_SIGNS[:, None]

    def vector(numbers: np.ndarray) -> str:
        return "(" + ",".join(f"{number:.17g}" for number in numbers) + ")"

    extent = " ".join(f"0 {size - 1}" for size in labels.shape)
    lines = [
        "NRRD0004",
        "# Complete NRRD file format specification at:",
        "# http://teem.sourceforge.net/nrrd/format.html",
        f"type: {'unsigned char' if labels.dtype.itemsize == 1 else 'unsigned short'}",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: " + " ".join(map(str, labels.shape)),
        "space directions: " + " ".join(vector(lps[:, axis]) for axis in range(3)),
        "kinds: domain domain domain",
        *(["endian: little"] if labels.dtype.itemsize > 1 else []),
        "encoding: gzip",
        "space origin: " + vector(lps[:, 3]),
    ]
    for number, segment in enumerate(segments):
        colour = " ".join(f"{part / 255:.6g}" for part in segment.colour or (128, 174, 128))
        name = (segment.name or f"object {segment.label}").replace("\\", "\\\\").replace("\n", "\\n")
        facts = {"Color": colour, "Extent": extent, "ID": f"Segment_{segment.label}", "LabelValue": segment.label}
        facts |= {"Layer": 0, "Name": name, "Tags": "Segmentation.Status:inprogress|"}
        lines += [f"Segment{number}_{key}:={value}" for key, value in facts.items()]
    lines += [
        "Segmentation_ContainedRepresentationNames:=Binary labelmap|",
        "Segmentation_MasterRepresentation:=Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset:=0 0 0",
    ]
    file.write("\n".join(lines).encode() + b"\n\n")
    with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=GZIP_LEVEL, mtime=0) as packed:
        for slice_index in range(labels.shape[2]):
            kind = labels.dtype.newbyteorder("<")
            packed.write(np.asfortranarray(labels[:, :, slice_index], dtype=kind).T.data)
