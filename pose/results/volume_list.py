"""What lies in a folder of results: the newest run of each volume, or why it failed, before its tables are read."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

from pose.cli import UserError
from pose.results import files
from pose.results.in_order import Map
from pose.results.prompts_saved import VolumePrompts, volume_prompts
from pose.results.run_settings import differing, sentence, settings_of

Volume = TypeVar("Volume")

LOGGER = logging.getLogger(__name__)

SLICE_COLUMNS = ("slice", "jaccard", "dice")
# So many are listed, and read, as one piece of work: enough to be worth the way to another process, and little memory.
VOLUMES_AT_ONCE = 200
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
        settings: what its run was made with, see :func:`pose.results.run_settings.settings_of`.
        note: what has to be said of the choice of its run.
    """

    image: str
    listed: files.FolderRuns
    reason: str | None = None
    prompts: VolumePrompts = VolumePrompts()
    header: tuple[str, ...] = ()
    settings: str | None = None
    note: str | None = None


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

    @property
    def settings(self) -> dict[str, int | None]:
        """The number of the settings of each image, from 1 in the order of images; empty where all are the same."""
        known = [text for text in dict.fromkeys(one.settings for one in self.volumes) if text is not None]
        if len(known) < 2:
            return {}
        numbers = {text: number for number, text in enumerate(known, start=1)}
        return {one.image: None if one.settings is None else numbers[one.settings] for one in self.volumes}


def volume_folders(folder: Path) -> list[str]:
    """Return the names of the folders in ``folder``, sorted; of hidden ones, those that hold a run.

    Raises:
        UserError: it is no folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: {'is not a folder' if folder.exists() else 'no such folder'}")
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir())
    return [name for name in names if not name.startswith(".") or _holds_run(folder / name)]


def _holds_run(place: Path) -> bool:
    with suppress(OSError):  # another program's
        listed = files.list_runs(place)
        return listed.newest is not None or listed.failed is not None
    return False


def processes_for(names: Sequence[str]) -> int:
    """Return how many processes are worth their start for reading so many volumes."""
    return len(names) // VOLUMES_OF_A_PROCESS


def pieces_of(volumes: Sequence[Volume]) -> list[Sequence[Volume]]:
    """Cut volumes, or their names, into pieces of work."""
    return [volumes[start : start + VOLUMES_AT_ONCE] for start in range(0, len(volumes), VOLUMES_AT_ONCE)]


def list_volumes(folder: Path, names: Sequence[str], in_order: Map) -> Listing:
    """List the volumes ``names`` in ``folder``; folders written by the code of the published paper are listed as well.

    The log says which run of a volume counts where that is not simply the newest one, and in what settings differ.

    Raises:
        UserError: there is no run, all failed, or a manifest or a header is not what a run writes.
    """
    volumes: list[ListedVolume] = []
    failures: dict[str, str] = {}
    known: dict[str | None, str | None] = {}
    for one in chain.from_iterable(in_order(partial(_list_piece, folder), pieces_of(names))):
        one = replace(one, settings=known.setdefault(one.settings, one.settings))  # one text in memory, not 100,000
        if one.note is not None:
            LOGGER.warning("%s: %s", folder / one.image, one.note)
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
    if differences := differing(one.settings for one in volumes if one.settings is not None):
        LOGGER.warning("%s: its volumes were made with different settings: %s", folder, sentence(differences))
    return Listing(folder, volumes, failures)


def _list_piece(folder: Path, names: Sequence[str]) -> list[ListedVolume]:
    return [_listed(folder / image) for image in names]


def _listed(place: Path) -> ListedVolume:
    listed = files.list_runs(place)
    if listed.failed is not None:
        return ListedVolume(place.name, listed, files.failure_reason(place / listed.failed), note=listed.note)
    if listed.newest is None:
        return ListedVolume(place.name, listed)
    raw_data, header = place / listed.newest["raw_data"], _header(place / listed.newest["raw_data"])
    if "run" not in listed.newest:
        return ListedVolume(place.name, listed, header=header, note=listed.note)
    path = place / listed.newest["run"]
    record, note = files.read_manifest(path), listed.note
    part = None if note is not None else files.part_of_volume(record, raw_data)
    if part is not None:
        note = f"its only run is of a part ({part}), and counts, as there is no whole one"
    return ListedVolume(place.name, listed, None, volume_prompts(record, path), header, settings_of(record), note)


def _header(path: Path) -> tuple[str, ...]:
    """Return the columns of a raw_data table."""
    header: tuple[str, ...] = ()
    with suppress(OSError, ValueError, csv.Error), path.open(newline="", encoding="utf-8-sig") as file:
        header = tuple(next(csv.reader(file), ()))
    if not all(name in header for name in SLICE_COLUMNS):
        header = tuple(files.read_table(path, SLICE_COLUMNS).columns)  # which tells what is wrong with it
    if "image" in header:
        raise UserError(f"{path}: has a column 'image', where the names of volumes will stand")
    return header
