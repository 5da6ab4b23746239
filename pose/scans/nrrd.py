"""NRRD: the text that such a file begins with, and the bytes of voxels behind it, as MetaImage has them too."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pose.scans.nifti import LARGEST_DEFLATE_RATIO

MAGIC = b"NRRD000"
# 3D Slicer writes kilobytes for each segment of a label map
LONGEST_HEADER = 4 << 20
_NAMES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
# codes of NumPy by what a header calls a type
TYPES = {name: code for code, names in _NAMES.items() for name in names}
# the signs that bring the axes of a space to RAS
SPACES = {
    **dict.fromkeys(("left-posterior-superior", "lps"), (-1, -1, 1)),
    **dict.fromkeys(("right-anterior-superior", "ras"), (1, 1, 1)),
    **dict.fromkeys(("left-anterior-superior", "las"), (-1, 1, 1)),
}


class Header(NamedTuple):
    """What a NRRD file says of itself.

    Attributes:
        fields: of the format, such as sizes.
        pairs: what programs add, such as the names of segments.
        length: bytes until the voxels begin.
    """

    fields: dict[str, str]
    pairs: dict[str, str]
    length: int


def read_header(path: Path) -> Header:
    """Return the header of a NRRD file; that in a .nhdr may end with the file.

    Raises:
        ValueError, EOFError: it is none, or has no end.
    """
    with path.open("rb") as file:
        head = file.read(LONGEST_HEADER)
    if not head.startswith(MAGIC):
        raise ValueError("it does not begin with NRRD")
    end = re.search(rb"\r?\n\r?\n", head)
    if end is None and path.suffix.lower() != ".nhdr":
        raise EOFError("its header has no end")
    length = len(head) if end is None else end.end()
    fields, pairs = {}, {}
    for line in head[:length].decode("utf-8", errors="replace").splitlines()[1:]:
        name, colon, value = line.partition(":")
        if not colon or line.startswith("#"):
            continue
        if value.startswith("="):
            pairs[name] = value[1:].replace("\\n", "\n").replace("\\\\", "\\")
        else:
            fields[name.strip().lower()] = value.strip()
    return Header(fields, pairs, length)


def read_content(path: Path, at: int, size: int, packed: bool) -> np.ndarray:
    """Return so many bytes of voxels that a header promises, as uint8.

    Args:
        path: the file that holds them.
        at: where they begin.
        size: how many bytes they are, once they are inflated.
        packed: they are deflated, as gzip or zlib has it; read to the end of the stream, where its checksum is.

    Raises:
        ValueError, EOFError, zlib.error: there are more, or fewer, or they are damaged.
    """
    if size > (path.stat().st_size - at) * (LARGEST_DEFLATE_RATIO if packed else 1):
        raise EOFError(f"its header promises {size} bytes of voxels, {path.name} is shorter")
    if not packed:
        return np.fromfile(path, np.uint8, size, offset=at)
    with path.open("rb") as file:
        file.seek(at)
        # of either kind, gzip or zlib
        inflate = zlib.decompressobj(wbits=47)
        content = np.empty(size, np.uint8)
        filled = 0
        while not inflate.eof and (chunk := inflate.unconsumed_tail or file.read(1 << 20)):
            piece = np.frombuffer(inflate.decompress(chunk, max(size - filled, 1)), np.uint8)
            if piece.size > size - filled:
                raise ValueError(f"it holds more than the {size} bytes of voxels that its header promises")
            content[filled : filled + piece.size] = piece
            filled += piece.size
    if not inflate.eof or filled < size:
        raise EOFError(f"its header promises {size} bytes of voxels, it holds {filled}")
    return content
