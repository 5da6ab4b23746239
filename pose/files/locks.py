"""Locks that end with the process that holds them, however it ends: one run at a time in the results folder of a
volume.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pose.cli import UserError

LOGGER = logging.getLogger(__name__)

LOCK_NAME = ".lock"
SECONDS_BETWEEN_LOOKS = 0.5


class FolderBusyError(Exception):
    """Another run is at work in the folder."""


def try_lock(descriptor: int) -> bool:
    """Lock an open file until it is closed; False where another process holds it.

    The lock is the operating system's: nothing of it stays behind a process that was killed.

    Raises:
        OSError: the file system knows no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            raise
        return False
    return True


@contextmanager
def folder_lock(folder: Path, wait: bool = False) -> Iterator[None]:
    """Keep other runs out of ``folder`` until the block ends.

    The folder is made if need be; if it is empty at the end, it is removed again.

    Args:
        folder: the results folder of a volume.
        wait: wait while another run is at work there.

    Raises:
        FolderBusyError: another run is at work there, and ``wait`` is False.
        UserError: nothing can be written to the folder.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    path = folder / LOCK_NAME
    descriptor = None
    try:
        try:
            while (descriptor := _taken(path)) is None:
                if not wait:
                    raise FolderBusyError(f"{folder}: {holder_of(path)} is at work here")
                time.sleep(SECONDS_BETWEEN_LOOKS)
            os.truncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        except OSError as error:
            raise UserError(f"{folder}: results cannot be written here: {error.strerror}") from error
        yield
    finally:
        if descriptor is not None:
            path.unlink(missing_ok=True)
            os.close(descriptor)
        with suppress(OSError):  # not empty: it holds results, or another run is at work there
            for one in made:
                one.rmdir()


def _taken(path: Path) -> int | None:
    """Return the descriptor of the file at ``path``, made if need be, with its lock; None where another
    process has it.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        except FileNotFoundError:
            continue  # the run before removed the folder meanwhile
        try:
            taken = try_lock(descriptor)
        except OSError as error:
            LOGGER.warning(
                "%s: no locks here (%s): do not start two runs with these results at once", path, error.strerror
            )
            return descriptor
        if taken and os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)
        if not taken:
            return None
        # else the run before removed the file meanwhile: its lock would keep nobody out


def holder_of(path: Path) -> str:
    """Return who holds a lock, as they wrote it into the file; "another run" where that cannot be told."""
    with suppress(OSError):
        return path.read_text(encoding="utf-8") or "another run"
    return "another run"
