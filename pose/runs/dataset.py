"""A data set as scripts/Snakefile works on it: its settings, its volumes, and the batches that are done in one job.

Imports nothing but Python's own: the workflow engine may live in an environment of its own.
"""

from __future__ import annotations

import csv
import glob
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pose.cli import UserError

NAME = "{name}"
SCRIPTS = ("process_video", "process_image")
SEED_KEYS = ("image", "masks", "slice", "prompts", "window")
MOST_FAULTS_SHOWN = 10


@dataclass(frozen=True)
class Volume:
    """A volume of a data set; what it has not got is "".

    Attributes:
        name: what its folder of results is called.
        image: the scan.
        masks: its ground truth.
        prompts: a JSON file with prompts for it.
        window: the CT window, in words as --window takes them.
        batch: the number of the job that segments it, together with others that are shown alike.
    """

    name: str
    image: str
    masks: str = ""
    prompts: str = ""
    window: str = ""
    batch: int = 0


@dataclass(frozen=True)
class Settings:
    """What dataset.yaml says; the file itself explains each.

    Attributes:
        window: pairs of a pattern of names and a window in words, of which the first that fits counts.
        series, suv: of DICOM, the series to read, and whether a PET becomes standardised uptake values.
        flags: further arguments for the script that segments.
        seed: the seed slice of one patient that serves the whole data set, by :data:`SEED_KEYS`; empty without one.
    """

    images: str
    masks: str = ""
    prompts: str = ""
    exclude: tuple[str, ...] = ()
    output_folder: str = "results_workflow"
    convert: bool = True
    swap_axes: bool = False
    series: str = ""
    suv: bool = False
    script: str = SCRIPTS[0]
    model: str = ""
    method: str = ""
    window: tuple[tuple[str, str], ...] = (("*", ""),)
    flags: tuple[str, ...] = ()
    seed: Mapping[str, str] = field(default_factory=dict)
    batch_size: int = 1
    threads: int = 1
    gpu: int = 0

    def process_arguments(self) -> list[str]:
        """Return what the script that segments gets for every volume, and for the seed."""
        arguments = ["--swap_axes"] if self.swap_axes else []
        if not self.convert:
            arguments += self.dicom_arguments()
        for name in ("model", "method"):
            if value := getattr(self, name):
                arguments += [f"--{name}", value]
        return [*arguments, *self.flags]

    def dicom_arguments(self) -> list[str]:
        """Return what of DICOM is read, for the script that reads the scans."""
        return [*(["--series", self.series] if self.series else []), *(["--suv"] if self.suv else [])]

    def seed_arguments(self) -> list[str]:
        """Return the arguments of process_video.py that say what the seed is."""
        arguments = []
        for key, flag in (("image", "image"), ("masks", "masks"), ("prompts", "prompt")):
            if value := self.seed.get(key):
                arguments += [f"--seed_{flag}_file_path", value]
        if "slice" in self.seed:
            arguments += ["--seed_slice", self.seed["slice"]]
        if window := self.seed.get("window"):
            arguments += ["--seed_window", *window.split()]
        return arguments


def read_settings(config: Mapping[str, Any]) -> Settings:
    """Return the settings that a YAML file holds.

    Raises:
        UserError: a key that is unknown or missing, or a value that is none for it.
    """
    if not config:
        raise UserError("no settings; give --configfile with a copy of scripts/dataset.yaml")
    known = {one.name for one in fields(Settings)}
    for key in config:
        if key not in known:
            raise UserError(f"{key}: no such setting of a data set; they are {', '.join(sorted(known))}")
    given = {key: value for key, value in config.items() if value is not None}
    if "images" not in given:
        raise UserError("images: missing; where the scans are, such as data/{name}_ct.nii.gz")
    readers: dict[str, Any] = {
        "images": _pattern,
        "masks": _pattern,
        "prompts": _pattern,
        "exclude": _words,
        "convert": _truth,
        "swap_axes": _truth,
        "suv": _truth,
        "window": _windows,
        "flags": _flags,
        "seed": _seed,
        "batch_size": _count,
        "threads": _count,
        "gpu": _count,
    }
    settings = Settings(**{key: readers.get(key, _text)(key, value) for key, value in given.items()})
    least = {"batch_size": 1, "threads": 1}
    for key, number in least.items():
        if getattr(settings, key) < number:
            raise UserError(f"{key}: {getattr(settings, key)} is not a count from {number}")
    if settings.script not in SCRIPTS:
        raise UserError(f"script: {settings.script} is none of {', '.join(SCRIPTS)}")
    if settings.convert and settings.images.lower().endswith((".npz", ".npy")):
        raise UserError(f"images: {settings.images} is working data already; set convert: false")
    if settings.seed and settings.script != "process_video":
        raise UserError(f"seed: {settings.script} has no use for a seed; it is for process_video")
    if settings.seed and settings.prompts:
        raise UserError(
            f"prompts: {settings.prompts}: not together with a seed, whose prompt serves the whole data set"
        )
    return settings


def find_volumes(settings: Settings) -> list[Volume]:
    """Return the volumes whose images are there, in the order of their names; batches are not given out yet.

    Raises:
        UserError: there is none, a name is none for a folder, or files that belong to images are missing: all are
            named.
    """
    looking = re.compile(
        "(?P<name>[^/]+)".join(map(re.escape, settings.images.split(NAME, 1))).replace(re.escape(NAME), "(?P=name)")
    )
    names: dict[str, str] = {}
    for path in glob.iglob("*".join(map(glob.escape, settings.images.split(NAME)))):
        if match := looking.fullmatch(path):
            names[match["name"]] = path
    excluded = [name for name in names if any(fnmatchcase(name, pattern) for pattern in settings.exclude)]
    if not names.keys() - set(excluded):
        left_out = f", beside {len(excluded)} that are excluded" if excluded else ""
        raise UserError(f"images: {settings.images}: no such file{left_out}")
    volumes, faults = [], []
    for name in sorted(names.keys() - set(excluded)):
        beside = {key: getattr(settings, key).replace(NAME, name) for key in ("masks", "prompts")}
        faults += [f"{key}: {path}: no such file" for key, path in beside.items() if path and not os.path.isfile(path)]
        window = next((words for pattern, words in settings.window if fnmatchcase(name, pattern)), None)
        if window is None:
            faults.append(f"window: no pattern fits {name}")
        volumes.append(Volume(name, names[name], **beside, window=window or ""))
    if faults:
        more = f", and {len(faults) - MOST_FAULTS_SHOWN} more" if len(faults) > MOST_FAULTS_SHOWN else ""
        raise UserError("; ".join(faults[:MOST_FAULTS_SHOWN]) + more)
    return volumes


def give_batches(volumes: Sequence[Volume], batch_size: int, before: Sequence[Volume] = ()) -> list[Volume]:
    """Return the volumes with the batches they are done in, each of volumes with one window.

    A volume stays in the batch that it was in ``before``, so that volumes that come or go later change no other batch.
    """
    window_of = {one.name: one.window for one in volumes}
    old: dict[int, list[str]] = {}
    for one in before:
        old.setdefault(one.batch, []).append(one.name)
    batch_of: dict[str, int] = {}
    for batch, names in old.items():
        if len({window_of[name] for name in names if name in window_of}) == 1:
            batch_of.update(dict.fromkeys(names, batch))
    by_window: dict[str, list[str]] = {}
    for one in volumes:
        if one.name not in batch_of:
            by_window.setdefault(one.window, []).append(one.name)
    number = max(old, default=0)
    for names in by_window.values():
        for start in range(0, len(names), batch_size):
            number += 1
            batch_of.update(dict.fromkeys(names[start : start + batch_size], number))
    return [replace(one, batch=batch_of[one.name]) for one in volumes]


def write_list(path: Path, volumes: Iterable[Volume]) -> None:
    """Write volumes as CSV, a row each; the file is there whole or not at all."""
    from pose.files.atomic import write_atomically

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(one.name for one in fields(Volume))
            writer.writerows([getattr(volume, one.name) for one in fields(Volume)] for volume in volumes)

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, write)


def read_list(path: Path) -> list[Volume]:
    """Read what :func:`write_list` wrote.

    Raises:
        UserError: the file is no such list.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            rows: list[dict[str, Any]] = list(table)
        if table.fieldnames != [one.name for one in fields(Volume)]:
            raise ValueError(f"its columns are {table.fieldnames}")
        return [Volume(**{**row, "batch": int(row["batch"])}) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{path}: no list of volumes and batches ({error}); remove it, and it is made anew") from None


def _text(key: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise UserError(f"{key}: a word is expected, got {value!r:.60}")
    return str(value)


def _pattern(key: str, value: Any) -> str:
    text = os.path.normpath(_text(key, value))
    if NAME not in text:
        raise UserError(f"{key}: {value}: has no {NAME}, which stands for what a volume is called")
    return text


def _words(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise UserError(f"{key}: a list is expected, got {value!r:.60}")
    return tuple(_text(key, one) for one in value)


def _flags(key: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, (list, tuple)):
        return _words(key, value)
    try:
        return tuple(shlex.split(_text(key, value)))
    except ValueError as error:
        raise UserError(f"{key}: {value}: {error}") from None


def _truth(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise UserError(f"{key}: true or false is expected, got {value!r:.60}")
    return value


def _count(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UserError(f"{key}: a whole number is expected, got {value!r:.60}")
    return value


def _window(key: str, value: Any) -> str:
    """Return a window as --window takes it: a name, or level and width; "" for none."""
    if value in (None, "none"):
        return ""
    return " ".join(_words(key, value)) if isinstance(value, (list, tuple)) else _text(key, value)


def _windows(key: str, value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        return (("*", _window(key, value)),)
    return tuple((str(pattern), _window(f"{key}: {pattern}", one)) for pattern, one in value.items())


def _seed(key: str, value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise UserError(f"{key}: {', '.join(SEED_KEYS)} are expected, got {value!r:.60}")
    for name in value:
        if name not in SEED_KEYS:
            raise UserError(f"{key}: {name}: no such setting of a seed; they are {', '.join(SEED_KEYS)}")
    found = {
        name: _window(f"{key}: window", one) if name == "window" else _text(f"{key}: {name}", one)
        for name, one in value.items()
        if one is not None
    }
    if "image" not in found or ("masks" in found) == ("prompts" in found):
        raise UserError(f"{key}: an image is needed, and either masks or prompts; got {', '.join(found) or 'nothing'}")
    return found
