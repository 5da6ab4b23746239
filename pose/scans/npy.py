"""Arrays in .npy and .npz: what a header promises is compared with what there is before anything is allocated."""

from __future__ import annotations

import io
import math
import tokenize
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from pose.cli import UserError
from pose.scans.nifti import LARGEST_DEFLATE_RATIO

# numpy takes headers of up to 10 000 characters
HEADER_BYTES = 1 << 14
HEADER_READERS: dict[tuple[int, int], Any] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# an affine is the largest of them
LARGEST_FACT = 16
Check = Callable[[tuple[int, ...], np.dtype], None]


def read_array(open_file: Callable[[], IO[bytes]], size: int, check: Check) -> np.ndarray:
    """Read the array of a .npy file.

    Args:
        open_file: opens it; a member of an archive that is wound back would not be compared with its checksum.
        size: bytes in all, as the file system or the directory of an archive has it.
        check: is called with shape and dtype before the numbers are read, and raises where these are not wanted.

    Raises:
        ValueError, TypeError, SyntaxError, RuntimeError, MemoryError: the header is none, cannot be parsed, or promises
            another number of bytes than there are; or the file holds objects.
    """
    with open_file() as file:
        # a header may claim a length of 4 GB
        head = io.BytesIO(file.read(HEADER_BYTES))
    version = np.lib.format.read_magic(head)
    if version not in HEADER_READERS:
        raise ValueError(f"version {version} of .npy, which is not for plain numbers")
    try:
        shape, _, dtype = HEADER_READERS[version](head)
    except (tokenize.TokenError, LookupError) as error:
        raise ValueError(f"its header cannot be parsed: {error}") from error
    except MemoryError:  # what Python's parser says of hundreds of open brackets
        raise ValueError("its header cannot be parsed: too many brackets") from None
    if dtype.hasobject:
        raise ValueError("objects, which allow_pickle=False refuses")
    check(shape, dtype)
    promised, there = math.prod(shape) * dtype.itemsize, size - head.tell()
    if min(shape, default=0) < 0 or promised != there:
        raise ValueError(f"its header promises shape {shape} of {dtype}, {promised} bytes; there are {there}")
    with open_file() as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def read_archive(
    archive: zipfile.ZipFile, path: Path, check: Check, fact_names: Sequence[str]
) -> tuple[np.ndarray, dict[str, Any]]:
    """Read the array ``voxels`` of an .npz and the small arrays that state facts about it, or the one array it holds.

    Args:
        path: the file that ``archive`` was opened from.
        check: as for :func:`read_array`, for the voxels.
        fact_names: arrays of at most 16 numbers beside ``voxels``, each of which may be missing.

    Returns:
        The voxels, and the facts as plain numbers and lists.

    Raises:
        UserError: other arrays, or a fact that is none.
        zipfile.BadZipFile, and as for :func:`read_array`.
    """
    members = {info.filename[:-4]: info for info in archive.infolist() if info.filename.endswith(".npy")}
    name = "voxels" if "voxels" in members or len(members) != 1 else next(iter(members))
    if name not in members:
        raise UserError(f"{path}: holds the arrays {', '.join(members) or '(none)'}; expected voxels or one alone")
    size = path.stat().st_size
    voxels = _read_member(archive, size, members[name], check)
    facts = {}
    for key in fact_names if name == "voxels" else ():
        if key in members:
            facts[key] = _read_member(archive, size, members[key], partial(_check_fact, path, key)).tolist()
    return voxels, facts


def _check_fact(path: Path, key: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if dtype.kind not in "biuf" or math.prod(shape) > LARGEST_FACT:
        raise UserError(f"{path}: {key} is {dtype} of shape {shape}, which is no geometry")


def _read_member(archive: zipfile.ZipFile, size: int, info: zipfile.ZipInfo, check: Check) -> np.ndarray:
    """Read an array that is at most 1032 times as large as its bytes there, which it is where all is air."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename} is compressed by method {info.compress_type}, which numpy does not write")
    ratio = LARGEST_DEFLATE_RATIO if info.compress_type == zipfile.ZIP_DEFLATED else 1
    if info.file_size > ratio * min(info.compress_size, size):
        raise ValueError(f"{info.filename} promises {info.file_size} bytes, more than the archive can hold")
    return read_array(partial(archive.open, info), info.file_size, check)
