"""NIfTI files: stored numbers to voxels without a detour through float64, and images written back.

Reading goes past nibabel's own reader for two reasons: it stops at the last voxel and so never compares the checksum of
a gzip file, and scaled integers come out of it as float64.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from pose.scans.nifti_geometry import NiftiGeometry

if TYPE_CHECKING:
    import nibabel

CHUNK_BYTES = 1 << 20
# what follows a member is copied where the member ends: in pieces of a megabyte, many small members would take minutes
READ_BYTES = 1 << 16
HEADER_BYTES = 544
# No deflate stream grows by more than this: a header that promises more voxels belongs to a cut or forged file.
LARGEST_DEFLATE_RATIO = 1032
GZIP_LEVEL = 6
PAIR_SUFFIXES = (".hdr", ".img", ".hdr.gz", ".img.gz")
GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Stored:
    """What a NIfTI file holds.

    Attributes:
        numbers: before slope and intercept, in the shape, the dtype and the byte order of the file, Fortran order.
        slope, intercept: what makes voxels of them; 1 and 0 where the file has none.
        geometry: the fields as they stand in the header.
    """

    numbers: np.ndarray
    slope: float
    intercept: float
    geometry: NiftiGeometry


def read_stored(path: Path) -> Stored:
    """Read header and stored numbers, once in memory; a gzip file to its end, where its checksum is.

    Args:
        path: the file, or one of a pair (.hdr and .img).

    Raises:
        OSError, EOFError, ValueError, zlib.error: a file is cut, damaged, or not NIfTI.
    """
    from nibabel.spatialimages import HeaderDataError

    compressed, single = path.name.lower().endswith(".gz"), not path.name.lower().endswith(PAIR_SUFFIXES)
    try:
        header, geometry = _header(path if single else pair_of(path)[0], compressed, single)
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as error:
        raise OSError(str(error)) from error
    numbers = _numbers(path if single else pair_of(path)[1], compressed, header)
    return Stored(numbers, 1.0 if slope is None else slope, 0.0 if intercept is None else intercept, geometry)


def pair_of(path: Path) -> tuple[Path, Path]:
    """Return the .hdr and the .img of a path to one of them, both compressed (.gz) where it is."""
    suffix = next(one for one in PAIR_SUFFIXES if path.name.lower().endswith(one))
    stem, packed = path.name[: -len(suffix)], suffix[4:]
    of_header = suffix.startswith(".hdr")
    header = path if of_header else path.with_name(f"{stem}.hdr{packed}")
    return header, path.with_name(f"{stem}.img{packed}") if of_header else path


def _numbers(path: Path, compressed: bool, header: nibabel.Nifti1Header) -> np.ndarray:
    shape, dtype, offset = header.get_data_shape(), header.get_data_dtype(), header.get_data_offset()
    if min(shape, default=0) < 0:
        raise ValueError(f"its header has the shape {shape}")
    if header.is_single and offset < header.single_vox_offset:
        raise ValueError(f"its header has the voxels begin at byte {offset}, within itself")
    size = math.prod(shape) * dtype.itemsize
    if offset + size > path.stat().st_size * (LARGEST_DEFLATE_RATIO if compressed else 1):
        raise EOFError(f"its header promises {size} bytes of voxels, the file is shorter")
    if not compressed:
        return np.fromfile(path, dtype, math.prod(shape), offset=offset).reshape(shape, order="F")
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
    return content.view(dtype).reshape(shape, order="F")


def _header(path: Path, compressed: bool, single: bool) -> tuple[nibabel.Nifti1Header, NiftiGeometry]:
    """Read the header alone, as nibabel mends it, with the geometry fields before that.

    Not by nibabel.load: it reads extensions, each as large as its own claim, parses the XML that CIFTI has there, and
    gives up at a quaternion that is a rounding too long.
    """
    import nibabel

    head = b""
    with open(path, "rb") as file:
        if compressed and file.read(len(GZIP_MAGIC)) != GZIP_MAGIC:
            raise OSError("it is not a gzip file")
        file.seek(0)
        for piece in _inflated(file) if compressed else iter(lambda: file.read(HEADER_BYTES), b""):
            head += piece
            if len(head) >= HEADER_BYTES:
                break
    kinds = (nibabel.Nifti1Header, nibabel.Nifti2Header)
    pairs = (nibabel.nifti1.Nifti1PairHeader, nibabel.nifti2.Nifti2PairHeader)
    for kind in kinds if single else pairs:
        if kind.may_contain_header(head):
            block = head[: kind.template_dtype.itemsize]
            return kind(block), NiftiGeometry.of_header(kind(block, check=False))
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


def write_image(file: BinaryIO, voxels: np.ndarray, geometry: NiftiGeometry, compressed: bool) -> None:
    """Write voxels as they are, a plane at a time, with their geometry; the same input gives the same bytes."""
    import nibabel

    header = nibabel.Nifti1Header()
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    geometry.fill(header)
    header["magic"], header["vox_offset"] = header.single_magic, header.single_vox_offset
    if not compressed:
        _write_image(file, header, voxels)
        return
    with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=GZIP_LEVEL, mtime=0) as packed:
        _write_image(packed, header, voxels)


def _write_image(file: BinaryIO | gzip.GzipFile, header: nibabel.Nifti1Header, voxels: np.ndarray) -> None:
    # four zeros: no extension follows
    file.write(header.binaryblock + bytes(4))
    for slice_index in range(voxels.shape[-1]):
        file.write(np.asfortranarray(voxels[..., slice_index], dtype=header.get_data_dtype()).T.data)


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
