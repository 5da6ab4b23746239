"""What lies in a folder of results: the newest run of each volume, or why it failed, before its tables are read."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pose.cli import UserError
from pose.results import files
from pose.results.in_order import InOrder, pieces_of
from pose.results.prompts_saved import VolumePrompts, read_volume_prompts

LOGGER = logging.getLogger(__name__)

SLICE_COLUMNS = ("slice", "jaccard", "dice")
VOLUMES_AT_ONCE = 500
HEADER_BYTES = 4096  # a header that is longer is read with care
# So many volumes are read before a process more is worth its start.
VOLUMES_OF_A_PROCESS = 1000


@dataclass(frozen=True)
class ListedVolume:
    """A volume and its newest run.

    Attributes:
        image: its name, which is that of its folder.
        listed: what the folder holds.
        reason: why the newest run failed; None where it did not.
        prompts: what its manifest says of prompts.
        header: the columns of raw_data; empty where the volume has no result.
        plain: whether the header is one that :mod:`pose.results.volume_block` reads at once.
        size: bytes of raw_data.
    """

    image: str
    listed: files.FolderRuns
    reason: str | None = None
    prompts: VolumePrompts = VolumePrompts()
    header: tuple[str, ...] = ()
    plain: bool = False
    size: int = 0


@dataclass(frozen=True)
class Listing:
    """The volumes in a folder of results, in the order of their names.

    Attributes:
        folder: where they lie, a folder for each volume.
        volumes: those whose newest run has a result.
        failures: why the others have none, by image.
    """

    folder: Path
    volumes: list[ListedVolume]
    failures: dict[str, str]

    @property
    def columns(self) -> list[str]:
        """The columns of all raw_data tables, in the order of the schema."""
        present = dict.fromkeys(name for header in dict.fromkeys(one.header for one in self.volumes) for name in header)
        return [name for name in files.ordered_columns(present) if name in present]

    @property
    def prompts(self) -> dict[str, VolumePrompts]:
        """What is known of the prompts, by image."""
        return {one.image: one.prompts for one in self.volumes}


def volume_folders(folder: Path) -> list[str]:
    """Return the names of the folders in ``folder``, sorted, without hidden ones.

    Raises:
        UserError: it is no folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: {'is not a folder' if folder.exists() else 'no such folder'}")
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def processes_for(names: Sequence[str]) -> int:
    """Return how many processes are worth their start for reading so many volumes."""
    return len(names) // VOLUMES_OF_A_PROCESS


def list_volumes(folder: Path, names: Sequence[str], workers: InOrder) -> Listing:
    """List the volumes ``names`` in ``folder``; folders written by the code of the published paper are listed as well.

    Raises:
        UserError: there is no run, all failed, or a manifest or a header is not what a run writes.
    """
    volumes: list[ListedVolume] = []
    failures: dict[str, str] = {}
    for part in workers.map(partial(_list_part, folder), pieces_of(names, lambda name: 1, VOLUMES_AT_ONCE)):
        for one in part:
            if one.reason is not None:
                failures[one.image] = one.reason
            elif one.listed.newest is None:
                LOGGER.warning("%s: holds no raw_data_*.csv, left out", folder / one.image)
            else:
                volumes.append(one)
    if not volumes and failures:
        image, reason = next(iter(failures.items()))
        raise UserError(f"{folder}: no volume has a result, {len(failures)} failed, such as {image}: {reason}")
    if not volumes:
        hint = "; it is the folder of one volume: give the folder above it" if files.newest_run(folder) else ""
        raise UserError(f"{folder}: no folder in it holds a raw_data_*.csv{hint}")
    return Listing(folder, volumes, failures)


def _list_part(folder: Path, names: Sequence[str]) -> list[ListedVolume]:
    return list(_listed(folder, names))


def _listed(folder: Path, names: Sequence[str]) -> Iterator[ListedVolume]:
    for image in names:
        place = folder / image
        listed = files.list_runs(place)
        if listed.failed is not None:
            yield ListedVolume(image, listed, files.failure_reason(place / listed.failed))
        elif listed.newest is None:
            yield ListedVolume(image, listed)
        else:
            manifest = listed.newest.get("run")
            prompts = read_volume_prompts(None if manifest is None else place / manifest)
            yield ListedVolume(image, listed, None, prompts, *_header(place / listed.newest["raw_data"]))


def _header(path: Path) -> tuple[tuple[str, ...], bool, int]:
    """Return the columns of a raw_data table, whether they are named in plain words, and the bytes of the file."""
    columns, plain = None, False
    with suppress(OSError):
        start, size = read_start(path, HEADER_BYTES)
        columns = plain_header(start[: start.find(b"\n") + 1])
        plain = columns is not None and all(name in columns for name in SLICE_COLUMNS)
    if not plain:
        columns, size = tuple(files.read_table(path, SLICE_COLUMNS)), path.stat().st_size
    if "image" in columns:
        raise UserError(f"{path}: has a column 'image', where the names of volumes will stand")
    return columns, plain, size


def read_start(path: Path, most: int) -> tuple[bytes, int]:
    """Return the first bytes of a file, up to ``most`` of them, and how many it has, with as few calls as can be.

    Raises:
        OSError: it cannot be read.
    """
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        return os.read(file, most), os.fstat(file).st_size
    finally:
        os.close(file)


def plain_header(line: bytes) -> tuple[str, ...] | None:
    """Return the columns that the first line of a CSV names; None where it needs a closer look, or names one twice."""
    if not (line.endswith(b"\n") and line.isascii()) or b'"' in line or b"\r" in line:
        return None
    columns = tuple(line[:-1].decode("ascii").split(","))
    return columns if len(set(columns)) == len(columns) else None
