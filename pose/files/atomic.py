"""Files that appear whole or not at all, whatever happens while they are written: an error, a kill, a full disk."""

from __future__ import annotations

import errno
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

from pose.cli import UserError
from pose.files.locks import try_lock

STAMP_FORMAT = "%Y-%m-%d_%H-%M-%S"
_PART, _RESERVED = ".part-", ".reserved_"
_STAMPED = re.compile(r"[^.].*_(\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)\..+|\.reserved_(\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)")


class DiskFullError(UserError):
    """Nothing more can be written: what is left of a batch would be lost as well."""


def timestamp() -> str:
    """Return the local time as file names carry it: YYYY-MM-DD_HH-MM-SS."""
    return datetime.now().strftime(STAMP_FORMAT)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, and put it in the place of ``path`` when it is complete.

    The temporary file ends in the name of ``path``, so that writers that go by the suffix do the same for both. It is
    removed where ``write`` fails, and ``path`` is then as it was before.

    Raises:
        UserError: the file cannot be written; a :class:`DiskFullError` where there is no room.
    """
    write_all_atomically([(path, write)])


def write_all_atomically(writers: Iterable[tuple[Path, Callable[[Path], object]]]) -> None:
    """Write several files, each beside its place; when all are complete, move them into place in the order given.

    Raises:
        UserError: as for :func:`write_atomically`.
    """
    with ExitStack() as stack:
        staged = []
        for path, write in writers:
            with failure_named(path):
                temporary = stack.enter_context(temporary_beside(path))
                write(temporary)
            staged.append((temporary, path))
        for temporary, path in staged:
            with failure_named(path):
                os.replace(temporary, path)


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Yield an empty file beside ``path`` to be filled and moved into its place; it is removed if it is still there."""
    with _held(path.with_name(f"{_PART}{uuid.uuid4().hex[:12]}-{path.name}")) as temporary:
        yield temporary


@contextmanager
def failure_named(path: Path | str, what: str = "cannot be written") -> Iterator[None]:
    """Turn an error of the file system into a :class:`UserError` that names ``path``, or a :class:`DiskFullError`."""
    try:
        yield
    except OSError as error:
        kind = DiskFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else UserError
        raise kind(f"{path}: {what}: {error.strerror or error}") from error


@contextmanager
def reserved_stamp(folder: Path, stamp: str) -> Iterator[str]:
    """Yield ``stamp``, or a later one where files in ``folder`` have it or a later one; keep it until the block ends.

    The stamps of a folder tell the order of its runs, whatever clocks and time zones the machines that write to it
    have: none is earlier than one that is there. Two processes that write to one folder within the same second get
    different stamps. The folder is made if need be, and what killed processes left in it is removed. Where the block
    raises, files of the stamp do not stay without their manifest.

    Raises:
        UserError: nothing can be written to the folder; a :class:`DiskFullError` where there is no room.
    """
    with ExitStack() as stack:
        with failure_named(folder, "results cannot be written here"):
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
            newest = _newest_stamp(folder)
            if newest is not None and stamp <= newest:
                stamp = _next(newest, folder)
            while not _reserved(folder, stamp, stack):
                stamp = _next(stamp, folder)
        try:
            yield stamp
        except BaseException:
            _remove_unfinished(folder, stamp)
            raise


def _newest_stamp(folder: Path) -> str | None:
    """Return the latest stamp of the files in ``folder`` and of those that are being written; None without any."""
    matches = filter(None, (_STAMPED.fullmatch(name) for name in os.listdir(folder)))
    return max((stamp for match in matches if _is_time(stamp := match[1] or match[2])), default=None)


def _is_time(stamp: str) -> bool:
    try:
        datetime.strptime(stamp, STAMP_FORMAT)
    except ValueError:
        return False
    return True


def _next(stamp: str, folder: Path) -> str:
    """Return the stamp a second later."""
    try:
        return (datetime.strptime(stamp, STAMP_FORMAT) + timedelta(seconds=1)).strftime(STAMP_FORMAT)
    except OverflowError:
        raise UserError(f"{folder}: holds files of {stamp}, after which no time stamp is left; rename them") from None


def _reserved(folder: Path, stamp: str, stack: ExitStack) -> bool:
    try:
        with ExitStack() as attempt:
            reservation = attempt.enter_context(_held(folder / f"{_RESERVED}{stamp}"))
            if any(_files_of(folder, stamp)):
                return False
            reservation.write_text("files of this stamp are of the process that holds this one", encoding="utf-8")
            stack.enter_context(attempt.pop_all())
            return True
    except FileExistsError:
        return False


def _files_of(folder: Path, stamp: str) -> Iterator[Path]:
    return folder.glob(f"[!.]*_{stamp}.*")


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left in ``folder``: temporary files, and files of a run that has no manifest yet.

    Nothing of a live process is touched: it holds a lock on each file that it writes.
    """
    for path in (*folder.glob(f"{_PART}*"), *folder.glob(f"{_RESERVED}*")):
        # gone meanwhile, another user's, or on a file system without locks: then it stays
        with suppress(OSError), path.open("rb+") as file:
            if not try_lock(file.fileno()):
                continue
            stamp = path.name.removeprefix(_RESERVED)
            if stamp != path.name and path.stat().st_size:
                _remove_unfinished(folder, stamp)
            path.unlink(missing_ok=True)


def _remove_unfinished(folder: Path, stamp: str) -> None:
    if not (folder / f"run_{stamp}.json").exists():
        for path in _files_of(folder, stamp):
            path.unlink(missing_ok=True)


@contextmanager
def _held(path: Path) -> Iterator[Path]:
    """Make an empty file and hold it; it is removed at the end, if it is still there under this name.

    Raises:
        FileExistsError: the file is there already.
    """
    # Not tempfile: its files are for their owner alone, and results are shared.
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        with suppress(OSError):  # where the file system knows no locks, nothing is taken for a leftover
            try_lock(descriptor)
        if os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)  # taken for a leftover before it was locked
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
