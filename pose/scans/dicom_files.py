"""DICOM files: those of a folder, a zip or alone, opened where they lie. Nothing of a zip is unpacked to disk."""

from __future__ import annotations

import io
import logging
import os
import struct
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple, cast

from pose.cli import UserError, existing_file
from pose.scans.damage import DAMAGE
from pose.scans.nifti import LARGEST_DEFLATE_RATIO

# Files that must be DICOM, as they are called so; others in a folder, such as a licence, are left out.
SUFFIXES = (".dcm", ".dicom", ".ima")
# DICOM files begin with so many bytes, and this word
PREAMBLE, WORD = 128, b"DICM"
# what stands before the data in which files are deflated, and where it says so
HEAD = 1 << 12
_DEFLATED, _NATIVE = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1"
_IMPLICIT, _EXPLICIT, _BIG_ENDIAN = b"1.2.840.10008.1.2", _NATIVE, b"1.2.840.10008.1.2.2"
# the first elements of old files, which have neither, and how explicit ones say what they are
_FIRST_GROUPS, _LAST_FIRST_ELEMENT = (2, 8), 0x80
_FIRST_VRS = (b"UL", b"CS", b"UI", b"DA", b"DT", b"TM", b"SH", b"LO", b"LT", b"OB")
_LONGEST_FIRST = 256
# A zip that holds more than a gigabyte, and a hundred times its size, is made to fill the memory.
LARGEST_ZIP, LARGEST_RATIO = 1 << 30, 100


class Found(NamedTuple):
    """A file that may be DICOM.

    Attributes:
        path: where it is; in a zip, the member below the path of the zip.
        archive: the zip that holds it.
        size: in bytes.
    """

    path: Path
    archive: Path | None = None
    size: int = 0


def is_dicom(path: Path) -> bool:
    """Tell whether a path is read as DICOM: a folder, a .zip, or a file that says so by its name or its first bytes."""
    if os.path.isdir(path) or path.suffix.lower() in (".zip", *SUFFIXES):  # False also for what is no name
        return True
    if path.suffix and not path.suffix[1:].isdigit():
        return False
    try:
        with path.open("rb") as file:
            return begins_as_dicom(file.read(PREAMBLE + 4))
    except OSError:
        return False


def begins_as_dicom(head: bytes) -> bool:
    """Tell whether the first 132 bytes of a file are those of DICOM, with or, as in old files, without a preamble."""
    return head[PREAMBLE : PREAMBLE + 4] == WORD or _syntax_without_preamble(head) is not None


def _syntax_without_preamble(head: bytes) -> bytes | None:
    """Return how a file without preamble is written; empty where it says so itself, None where it is no DICOM."""
    if len(head) < 8:
        return None
    for order in "<>":
        group, element = struct.unpack(f"{order}HH", head[:4])
        if group not in _FIRST_GROUPS or element > _LAST_FIRST_ELEMENT:
            continue
        explicit = head[4:6] in _FIRST_VRS
        if group == 2:
            return b"" if explicit and order == "<" else None
        if explicit:
            return _EXPLICIT if order == "<" else _BIG_ENDIAN
        return _IMPLICIT if order == "<" and int.from_bytes(head[4:8], "little") <= _LONGEST_FIRST else None
    return None


def files_in(path: Path) -> list[Found]:
    """Return the files of a folder and all below it, of a zip, or one file; without hidden ones.

    Raises:
        UserError: the path is not there, or the zip is not to be trusted.
    """
    if path.is_dir():
        found = []
        for folder, folders, names in os.walk(path):
            folders.sort()
            files = (Path(folder, name) for name in sorted(names) if not name.startswith("."))
            found += [Found(file, None, file.stat().st_size) for file in files if file.is_file()]
        return found
    existing_file(path)
    if path.suffix.lower() != ".zip":
        return [Found(path, None, path.stat().st_size)]
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: is no zip, or is cut; get the file again")
    with damage(path), zipfile.ZipFile(path) as archive:
        members = [one for one in archive.infolist() if not one.is_dir()]
    _check_members(path, members)
    members = [one for one in members if not PurePosixPath(one.filename).name.startswith(".")]
    return [Found(path / one.filename, path, one.file_size) for one in sorted(members, key=lambda one: one.filename)]


class _Within(io.BufferedReader):
    """A file that is never asked for more than it has: what is asked for is made room for first."""

    def __init__(self, path: Path):
        super().__init__(io.FileIO(path))
        self.end = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > io.DEFAULT_BUFFER_SIZE:
            size = min(size, max(self.end - self.tell(), 0))
        return super().read(size)


class Archive(zipfile.ZipFile):
    """A zip whose members are found by where they lie: some programs write them as ./a/b or a//b."""

    @cached_property
    def by_place(self) -> dict[str, zipfile.ZipInfo]:
        return {_place(one): one for one in self.infolist()}


def _place(member: zipfile.ZipInfo) -> str:
    return PurePosixPath(member.filename).as_posix()


@contextmanager
def archive_of(path: Path | None) -> Iterator[Archive | None]:
    """Open a zip for as long as files of it are read; None for files that lie in folders."""
    if path is None:
        yield None
    else:
        with damage(path):
            archive = Archive(path)
        with archive:
            yield archive


@contextmanager
def opened(path: Path, archive: Archive | None) -> Iterator[BinaryIO]:
    """Open a file, also in a zip; what its damage makes the libraries raise meanwhile becomes one line.

    A file without preamble gets one, and one that is deflated as a whole is inflated.
    """
    with damage(path):
        if archive is None:
            with _Within(path) as stream:
                yield _as_stored(path, cast(BinaryIO, stream))
        else:
            with archive.open(archive.by_place[path.relative_to(str(archive.filename)).as_posix()]) as member:
                yield _as_stored(path, cast(BinaryIO, member))


def _as_stored(path: Path, stream: BinaryIO) -> BinaryIO:
    head = stream.read(HEAD)
    stream.seek(0)
    if head[PREAMBLE : PREAMBLE + 4] == WORD:
        return _inflated(path, stream) if _DEFLATED in head else stream
    syntax = _syntax_without_preamble(head)
    if syntax is None:
        return stream
    meta = b""
    if syntax:
        syntax += bytes(len(syntax) % 2)
        meta = struct.pack("<HH2sH", 2, 0x10, b"UI", len(syntax)) + syntax
        meta = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(meta)) + meta
    return io.BytesIO(bytes(PREAMBLE) + WORD + meta + stream.read())


def _inflated(path: Path, stream: BinaryIO) -> BinaryIO:
    """Return a file that is deflated behind its first elements as one that is not."""
    content = stream.read()
    begin = PREAMBLE + 4
    group, element, vr, _, length = struct.unpack("<HH2sHL", content[begin : begin + 12])
    if (group, element, vr) != (2, 0, b"UL"):
        raise ValueError("its first element is no FileMetaInformationGroupLength")
    end = begin + 12 + length
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    largest = max(LARGEST_ZIP, LARGEST_RATIO * len(content))
    body = inflate.decompress(content[end:], largest)
    if inflate.unconsumed_tail:
        raise UserError(
            f"{path}: holds more than {largest} bytes in {len(content)}, as no scan does; inflate it yourself"
        )
    if not inflate.eof:
        raise EOFError("its deflated part has no end")
    return io.BytesIO(content[:end].replace(_DEFLATED, _NATIVE.ljust(len(_DEFLATED), b"\0")) + body)


@contextmanager
def damage(path: Path) -> Iterator[None]:
    """Turn what a damaged file makes the libraries raise into one line, without their warnings.

    These are of values that are not as the standard has them, and tell the values: a patient's name may be among them.
    """
    try:
        with without_warnings(logging.CRITICAL + 1):
            yield
    except damage_errors() as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot be read as DICOM: {reason:.200}; the file is damaged or cut") from error


def damage_errors() -> tuple[type[Exception], ...]:
    """Return what pydicom, and what reads the values of a file that lacks some, raise on a file that is damaged."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (*DAMAGE, BytesLengthException, InvalidDicomError, AttributeError, IndexError, struct.error)


@contextmanager
def without_warnings(level: int = logging.ERROR) -> Iterator[None]:
    """Keep pydicom quiet, below a level of its log, about values that are not as the standard has them."""
    log = logging.getLogger("pydicom")
    before = log.level
    log.setLevel(level)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def _check_members(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    size, whole = sum(one.file_size for one in members), path.stat().st_size
    if size > max(LARGEST_ZIP, LARGEST_RATIO * whole):
        raise UserError(f"{path}: holds {size} bytes in {whole}, as no scan does; unpack it yourself")
    places = Counter(map(_place, members))
    for one in members:
        parts = PurePosixPath(one.filename.replace("\\", "/")).parts
        if one.filename.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
            raise UserError(
                f"{path}: holds {one.filename!r:.100}, which leads out of it; the file is not to be trusted"
            )
        if places[_place(one)] > 1:
            raise UserError(f"{path}: holds {one.filename!r:.100} twice; pack it again")
        if one.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UserError(
                f"{path}: holds {one.filename!r:.100} in another compression than deflate; unpack it yourself"
            )
        if one.compress_size > whole or one.file_size > one.compress_size * LARGEST_DEFLATE_RATIO:
            raise UserError(f"{path}: holds {one.filename!r:.100} of a size that it cannot have; get the file again")
        if one.flag_bits & 1:
            raise UserError(f"{path}: holds {one.filename!r:.100} encrypted; unpack it yourself")
