"""NRRD (.nrrd, .nhdr) and MetaImage (.mha, .mhd): voxels and geometry, also where the voxels lie in another file.

Both are text that describes an array. What a header promises is compared with what there is before it is read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from pose.cli import UserError, existing_file
from pose.scans import nrrd
from pose.scans.geometry import LPS_TO_RAS

NRRD_SUFFIXES, META_SUFFIXES = (".nrrd", ".nhdr"), (".mha", ".mhd")
META_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


class Stored(NamedTuple):
    """An image as its file has it.

    Attributes:
        numbers: (x, y, z) or more axes, the first runs fastest.
        affine: (4, 4) from their indices to millimetres, RAS; None where unknown.
        spacing_mm: along the axes; None where unknown.
    """

    numbers: np.ndarray
    affine: np.ndarray | None
    spacing_mm: tuple[float, ...] | None


def read_nrrd(path: Path) -> Stored:
    """Read a NRRD file; of its encodings raw and gzip, as others are not in use.

    Raises:
        ValueError, EOFError, zlib.error: it is damaged, cut, or of a kind that is not read.
        UserError: the file of its voxels is missing, or lies in another folder.
    """
    fields, _, length = nrrd.read_header(path)
    sizes = _whole(fields, "sizes")
    kind = nrrd.TYPES.get(fields.get("type", "").lower())
    if kind is None:
        raise ValueError(f"its type is {fields.get('type')!r:.40}")
    if kind[1:] != "1" and "endian" not in fields:
        raise ValueError("it has no endian: in which order its bytes are")
    encoding = fields.get("encoding", "").lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise ValueError(f"its encoding is {encoding!r:.40}; save it as raw or gzip")
    skipped = {name: int(fields.get(name, "0")) for name in ("line skip", "byte skip")}
    if any(skipped.values()) or "lineskip" in fields or "byteskip" in fields:
        raise ValueError("it skips lines or bytes of its data, which is not read")
    data, at = path, length
    if (name := fields.get("data file", fields.get("datafile"))) is not None:
        data, at = _beside(path, name), 0
    big = fields.get("endian", "little").lower() == "big"
    numbers = _numbers(data, at, np.dtype((">" if big else "<") + kind), sizes, encoding != "raw")
    layers = _no_space(fields, len(sizes))
    if any(sizes[axis] != 1 for axis in layers):
        raise ValueError(f"its sizes are {fields['sizes']:.60}, and axis {layers[0]} is none of space; save one volume")
    numbers = numbers.reshape([size for axis, size in enumerate(sizes) if axis not in layers], order="F")
    return Stored(numbers, *_nrrd_geometry(fields, numbers.ndim))


def _no_space(fields: Mapping[str, str], axes: int) -> list[int]:
    """Return the axes that are said to be colours, times, layers or parts of vectors."""
    kinds = fields.get("kinds", "").split()
    directions = re.findall(r"none|\([^()]*\)", fields.get("space directions", ""))
    of_kind = [axis for axis, kind in enumerate(kinds) if kind.lower() not in ("domain", "space", "none", "???")]
    of_direction = [axis for axis, one in enumerate(directions) if one == "none"]
    return sorted({axis for axis in (*of_kind, *of_direction) if axis < axes})


def read_metaimage(path: Path) -> Stored:
    """Read a MetaImage file, .mha, or .mhd with its voxels in another file.

    Raises:
        ValueError, EOFError, zlib.error: it is damaged, cut, or of a kind that is not read.
        UserError: the file of its voxels is missing, or lies in another folder.
    """
    fields, length = _meta_header(path)
    sizes = _whole(fields, "DimSize")
    if int(fields.get("NDims", len(sizes))) != len(sizes):
        raise ValueError(f"NDims is {fields['NDims']:.20}, DimSize {fields['DimSize']:.60}")
    if "BinaryData" in fields and not _yes(fields, "BinaryData"):
        raise ValueError(f"its BinaryData is {fields['BinaryData']:.20}: numbers as text are not read")
    if int(fields.get("ElementNumberOfChannels", "1")) != 1:
        raise ValueError(f"it has {fields['ElementNumberOfChannels']:.20} channels; a scan has one number a voxel")
    kind = META_TYPES.get(fields.get("ElementType", "").upper())
    if kind is None:
        raise ValueError(f"its ElementType is {fields.get('ElementType')!r:.40}")
    data, at = path, length
    if fields["ElementDataFile"].upper() != "LOCAL":
        data, at = _beside(path, fields["ElementDataFile"]), int(fields.get("HeaderSize", "0"))
    if at < 0:
        raise ValueError(f"its HeaderSize is {at}")
    big = _yes(fields, "BinaryDataByteOrderMSB") or _yes(fields, "ElementByteOrderMSB")
    packed = _yes(fields, "CompressedData")
    numbers = _numbers(data, at, np.dtype((">" if big else "<") + kind), sizes, packed)
    axes = len(sizes)
    spacing = _floats(fields, ("ElementSpacing", "ElementSize"), axes)
    if axes != 3:
        return Stored(numbers, None, None if spacing is None else tuple(spacing.tolist()))
    affine = np.eye(4)
    cosines = _floats(fields, ("TransformMatrix", "Rotation", "Orientation"), 9)
    # the numbers of an axis follow each other
    affine[:3, :3] = np.eye(3) if cosines is None else cosines.reshape(3, 3).T
    affine[:3, :3] *= np.ones(3) if spacing is None else spacing
    origin = _floats(fields, ("Offset", "Origin", "Position"), 3)
    affine[:3, 3] = 0 if origin is None else origin
    return Stored(numbers, LPS_TO_RAS @ affine, tuple(np.linalg.norm(affine[:3, :3], axis=0).tolist()))


def named_data_file(path: Path) -> Path | None:
    """Return the file of voxels that the header in a .nhdr or .mhd names; None where they follow it.

    Raises:
        ValueError, EOFError: it is damaged.
        UserError: the file of its voxels is missing, or lies in another folder.
    """
    if path.suffix.lower() == ".nhdr":
        fields = nrrd.read_header(path).fields
        name = fields.get("data file", fields.get("datafile"))
    else:
        name = _meta_header(path)[0]["ElementDataFile"]
    return None if name is None or name.upper() == "LOCAL" else _beside(path, name)


def _nrrd_geometry(fields: Mapping[str, str], axes: int) -> tuple[np.ndarray | None, tuple[float, ...] | None]:
    signs = nrrd.SPACES.get(fields.get("space", "").lower())
    if "space directions" not in fields or signs is None:
        if "spacings" not in fields:
            return None, None
        spacings = tuple(float(word) for word in fields["spacings"].split())
        return None, spacings if len(spacings) == axes and all(0 < one < math.inf for one in spacings) else None
    vectors = [_vector(text) for text in re.findall(r"\([^()]*\)", fields["space directions"])]
    origin = _vector(fields.get("space origin", "(0,0,0)"))
    if axes != 3 or len(vectors) != 3:
        return None, None
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = np.transpose(vectors), origin
    affine[:3] *= np.array(signs)[:, np.newaxis]
    return affine, tuple(np.linalg.norm(affine[:3, :3], axis=0).tolist())


def _vector(text: str) -> list[float]:
    numbers = [float(word) for word in text.strip("() ").split(",")]
    if len(numbers) != 3:
        raise ValueError(f"{text!r:.60} is no vector of three numbers")
    return numbers


def _meta_header(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields of a header, and where the voxels begin: after the line that says where they are."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while file.tell() < nrrd.LONGEST_HEADER and (line := file.readline(1 << 16)):
            name, equals, value = line.decode("latin-1").partition("=")
            if not equals:
                raise ValueError(f"its header has the line {line[:40]!r}")
            fields[name.strip()] = value.strip()
            if name.strip() == "ElementDataFile":
                return fields, file.tell()
    raise EOFError("its header has no ElementDataFile")


def _beside(path: Path, name: str) -> Path:
    """Return the file of voxels that a header names; one outside of its folder is refused, and so are lists."""
    given = PurePosixPath(name.replace("\\", "/"))
    if given.is_absolute() or ".." in given.parts or "%" in name or name.upper().startswith("LIST") or ":" in name:
        raise UserError(f"{path}: its voxels are said to lie in {name!r:.100}; a single file beside it is read")
    return existing_file(path.parent / name)


def _numbers(path: Path, at: int, dtype: np.dtype, sizes: tuple[int, ...], packed: bool) -> np.ndarray:
    """Return an array whose first axis runs fastest."""
    content = nrrd.read_content(path, at, math.prod(sizes) * dtype.itemsize, packed)
    return content.view(dtype).reshape(sizes, order="F")


def _whole(fields: Mapping[str, str], name: str) -> tuple[int, ...]:
    sizes = tuple(int(word) for word in fields.get(name, "").split())
    if not sizes or min(sizes) < 1:
        raise ValueError(f"its {name} are {fields.get(name)!r:.60}")
    return sizes


def _floats(fields: Mapping[str, str], names: tuple[str, ...], count: int) -> np.ndarray | None:
    for name in names:
        if name in fields:
            numbers = np.array([float(word) for word in fields[name].split()])
            if numbers.size != count:
                raise ValueError(f"its {name} has {numbers.size} numbers, not {count}")
            return numbers
    return None


def _yes(fields: Mapping[str, str], name: str) -> bool:
    return fields.get(name, "").lower() == "true"
