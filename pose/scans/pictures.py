"""X-rays that are pictures: grey PNG of 8 or 16 bits."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from pose.scans.nifti import LARGEST_DEFLATE_RATIO

MAGIC = b"\x89PNG\r\n\x1a\n"


def read_png(path: Path) -> np.ndarray:
    """Return the (rows, columns) uint8 or uint16 grey levels of a PNG; one of three channels that are alike is grey.

    Raises:
        ValueError: it is no PNG, cut, or has colours.
    """
    import cv2

    content = path.read_bytes()
    if not content.startswith(MAGIC):
        raise ValueError("it does not begin as a PNG does")
    _check_chunks(content)
    rows, columns = int.from_bytes(content[20:24], "big"), int.from_bytes(content[16:20], "big")
    if rows * columns > LARGEST_DEFLATE_RATIO * 8 * len(content):
        raise EOFError(f"its header promises {rows} x {columns} pixels, the file is shorter")
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(str(error.err)) from None
    if pixels is None:
        raise ValueError("its pixels are damaged")
    if pixels.ndim == 3:
        grey = pixels[:, :, :1]
        if not (pixels[:, :, :3] == grey).all():
            raise ValueError("it is a colour picture; a scan has one grey value a pixel")
        pixels = grey[:, :, 0]
    return np.ascontiguousarray(pixels)


def _check_chunks(content: bytes) -> None:
    """Refuse a PNG whose pieces are not whole: OpenCV makes room for as much as one of them says it has."""
    at, kind = len(MAGIC), b""
    while kind != b"IEND":
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        end = at + 8 + length
        if end + 4 > len(content):
            raise EOFError("it has no end")
        if zlib.crc32(content[at + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            raise ValueError(f"the checksum of its {kind!r} is wrong; the file is damaged, get it again")
        at = end + 4
