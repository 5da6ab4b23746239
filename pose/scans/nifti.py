"""NIfTI files: stored numbers to voxels without a detour through float64, geometry, and images written back.

Reading goes past nibabel's own reader for two reasons: it stops at the last voxel and so never compares the checksum of
a gzip file, and scaled integers come out of it as float64.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    import nibabel

CHUNK_BYTES = 1 << 20
# what follows a member is copied where the member ends: in pieces of a megabyte, many small members would take minutes
READ_BYTES = 1 << 16
HEADER_BYTES = 544
# No deflate stream grows by more than this: a header that promises more voxels belongs to a cut or forged file.
LARGEST_DEFLATE_RATIO = 1032
GZIP_LEVEL = 6
GZIP_MAGIC = b"\x1f\x8b"
# How far a quaternion in single precision may be from its matrix and still be the same place.
QUATERNION_TOLERANCE_MM = 1e-3
# by the code for metres, millimetres and micrometres; other codes mean nothing
MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}


def read_stored(path: Path) -> tuple[nibabel.Nifti1Image, np.ndarray]:
    """Read header and stored numbers, before slope and intercept; a gzip file to its end, where its checksum is.

    Returns:
        The image, of which only header and affine are to be used, and its numbers in the shape, the dtype and the byte
        order of the file, Fortran order, once in memory.

    Raises:
        OSError, EOFError, ValueError, zlib.error: the file is cut, damaged, or not NIfTI in one file.
    """
    compressed = path.name.lower().endswith(".gz")
    image = _image_without_voxels(path, compressed)
    shape, dtype, offset = image.dataobj.shape, image.dataobj.dtype, image.dataobj.offset
    if min(shape, default=0) < 0:
        raise ValueError(f"its header has the shape {shape}")
    if offset < image.header.single_vox_offset:
        raise ValueError(f"its header has the voxels begin at byte {offset}, within itself")
    size = math.prod(shape) * dtype.itemsize
    if offset + size > path.stat().st_size * (LARGEST_DEFLATE_RATIO if compressed else 1):
        raise EOFError(f"its header promises {size} bytes of voxels, the file is shorter")
    if not compressed:
        return image, np.fromfile(path, dtype, math.prod(shape), offset=offset).reshape(shape, order="F")
    # bytes first: a view of a Fortran-ordered array as bytes is refused where its first axis has length one
    content = np.empty(size, np.uint8)
    skip, filled = offset, 0
    with open(path, "rb") as file:
        for piece in _inflated(file):
            body = np.frombuffer(piece, np.uint8)[skip:][: size - filled]
            skip -= min(skip, len(piece))
            content[filled : filled + len(body)] = body
            filled += len(body)
    if filled < size:
        raise EOFError(f"its header promises {size} bytes of voxels, it holds {filled}")
    return image, content.view(dtype).reshape(shape, order="F")


def _image_without_voxels(path: Path, compressed: bool) -> nibabel.Nifti1Image:
    """Read the header alone.

    Not by nibabel.load: it reads extensions, each as large as its own claim, and parses the XML that CIFTI has there.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    head = b""
    with open(path, "rb") as file:
        if compressed and file.read(len(GZIP_MAGIC)) != GZIP_MAGIC:
            raise OSError("it is not a gzip file")
        file.seek(0)
        for piece in _inflated(file) if compressed else iter(lambda: file.read(HEADER_BYTES), b""):
            head += piece
            if len(head) >= HEADER_BYTES:
                break
    for kind in (nibabel.Nifti1Image, nibabel.Nifti2Image):
        header_class = kind.header_class
        if header_class.may_contain_header(head):
            try:
                # the four bytes after the header say that no extension follows
                return kind.from_stream(io.BytesIO(head[: header_class.template_dtype.itemsize] + bytes(4)))
            except (ImageFileError, HeaderDataError) as error:
                raise OSError(str(error)) from error
    raise OSError("it has no header of NIfTI")


def scaled(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Apply slope and intercept.

    Whole numbers that stay whole come out in int16, or the next larger integer dtype that holds them; other whole
    numbers as float32; floating numbers in their own dtype. Without scaling the array itself is returned.
    """
    if slope == 1 and intercept == 0:
        return stored
    dtype = np.dtype(stored.dtype if stored.dtype.kind == "f" else np.float32)
    if stored.dtype.kind in "iu" and float(slope).is_integer() and float(intercept).is_integer():
        ends = [int(end) * int(slope) + int(intercept) for end in (stored.min(), stored.max())]
        largest = max(abs(int(slope)), abs(int(intercept)))
        for candidate in (np.int16, np.int32, np.int64):
            limits = np.iinfo(candidate)
            if limits.min <= min(ends) and max(ends) <= limits.max and largest <= np.iinfo(np.int64).max:
                dtype = np.dtype(candidate)
                break
    # wide arithmetic on one plane at a time, so that the volume exists only in its old and its new dtype
    wide = np.int64 if dtype.kind == "i" else np.float64
    result = np.empty(stored.shape, dtype, order="F")
    for index in np.ndindex(stored.shape[2:]):
        plane: tuple[Any, ...] = (..., *index)
        result[plane] = stored[plane].astype(wide) * wide(slope) + wide(intercept)
    return result


def geometry(image: nibabel.Nifti1Image) -> tuple[np.ndarray, np.ndarray]:
    """Return the (4, 4) affine from voxel indices to millimetres, and the distance of voxels along each axis in mm."""
    affine = np.array(image.affine, dtype=np.float64)
    with np.errstate(over="ignore"):
        affine[:3] *= MILLIMETRES.get(int(image.header["xyzt_units"]) & 7, 1.0)
        return affine, np.linalg.norm(affine[:3, :3], axis=0)


def write_image(file: BinaryIO, voxels: np.ndarray, affine: np.ndarray, compressed: bool) -> None:
    """Write voxels as they are, with their affine to millimetres; the same input gives the same bytes."""
    import nibabel

    image = nibabel.Nifti1Image(voxels, affine, dtype=voxels.dtype)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="scanner")
    # a viewer that prefers the quaternion must see the same place; a sheared affine has no quaternion
    image.header.set_qform(affine, code="scanner", strip_shears=True)
    if not np.allclose(image.header.get_qform(), affine, rtol=0, atol=QUATERNION_TOLERANCE_MM):
        image.header.set_qform(None, code="unknown")
    if not compressed:
        image.to_stream(file)
        return
    with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=GZIP_LEVEL, mtime=0) as packed:
        image.to_stream(packed)


def _inflated(file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of a gzip file; zlib compares the checksum where a member ends, so read to the end."""
    inflate, chunk = None, b""
    while chunk := chunk or file.read(READ_BYTES):
        if inflate is None or inflate.eof:
            # zeros may pad the file after a member; another member may follow
            chunk = chunk.lstrip(b"\0")
            if not chunk:
                continue
            if inflate is None and not chunk.startswith(b"\x1f\x8b"):
                raise ValueError("it is not a gzip file")
            inflate = zlib.decompressobj(wbits=31)
        yield inflate.decompress(chunk, CHUNK_BYTES)
        chunk = inflate.unconsumed_tail or inflate.unused_data
    if inflate is None or not inflate.eof:
        raise EOFError("the gzip stream is cut")
