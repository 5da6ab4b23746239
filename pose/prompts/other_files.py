"""Prompts from files of other programs, told apart by content: markups of 3D Slicer, and painted masks."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from pose.cli import UserError
from pose.prompts.in_space import prompts_of_marks
from pose.prompts.markups import read_fcsv, read_markups
from pose.prompts.prompt import Prompt, check_prompts
from pose.prompts.regions import LAST_OBJECT_ID
from pose.scans.dicom_files import begins_as_dicom
from pose.scans.masks import read_mask
from pose.scans.volume import Volume

LOGGER = logging.getLogger(__name__)

# what the files of volumes and of masks begin with: NIfTI compressed and as .npz, .npy, NRRD; others have it further on
_VOLUME_STARTS = (b"\x1f\x8b", b"PK\x03\x04", b"\x93NUMPY", b"NRRD")
_NIFTI_SIZES = (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c", b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")


def kind_of(path: Path) -> str:
    """Return what a file of prompts is by its first bytes: "mask", "fcsv", or "json" for all else."""
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith((*_VOLUME_STARTS, *_NIFTI_SIZES)) or begins_as_dicom(head):
        return "mask"
    return "fcsv" if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"#") else "json"


def is_markups(document: Any) -> bool:
    """Tell whether JSON is a .mrk.json rather than the project's own."""
    return isinstance(document, dict) and "markups" in document


def prompts_of_markups(path: Path, document: dict[str, Any], like: Volume | None) -> list[Prompt]:
    """Return the prompts that a .mrk.json is on a scan.

    Raises:
        UserError: see :func:`pose.prompts.markups.read_markups` and :func:`pose.prompts.in_space.prompts_of_marks`.
    """
    return prompts_of_marks(read_markups(path, document), _required(path, like), path)


def prompts_of_fcsv(path: Path, like: Volume | None) -> list[Prompt]:
    """Return the prompts that a .fcsv is on a scan.

    Raises:
        UserError: see :func:`pose.prompts.markups.read_fcsv` and :func:`pose.prompts.in_space.prompts_of_marks`.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as text: {error}") from error
    return prompts_of_marks(read_fcsv(path, text), _required(path, like), path)


def prompts_of_mask(path: Path, like: Volume | None, allow_geometry_mismatch: bool = False) -> list[Prompt]:
    """Return the prompts that a painted mask is: each label is an object, on each slice that it marks.

    Raises:
        UserError: it cannot be read or does not fit the scan, marks nothing, or has a label that can number no object.
    """
    scan = _required(path, like)
    mask = read_mask(path, scan, allow_geometry_mismatch=allow_geometry_mismatch)
    names = {one.label: one.name for one in mask.segments}
    prompts = []
    for slice_index in np.flatnonzero(mask.voxels.any(axis=(0, 1))).tolist():
        here = mask.voxels[:, :, slice_index]
        for label in np.unique(here[here > 0]).tolist():
            if label > LAST_OBJECT_ID:
                raise UserError(f"{path}: label {label} cannot number an object, they count from 1 to {LAST_OBJECT_ID}")
            painted = {"mask": here == label, "mask_label": label, "mask_file_path": os.path.abspath(path)}
            prompts.append(Prompt(slice_index, label, **painted, name=names.get(label)))
    if not prompts:
        raise UserError(f"{path}: marks nothing")
    slices = sorted({prompt.slice for prompt in prompts})
    shown = ", ".join(map(str, slices[:5])) + (f", ... ({len(slices)} in all)" if len(slices) > 5 else "")
    LOGGER.info("%s: a mask painted on slice %s is the prompt", path, shown)
    check_prompts(prompts, scan.voxels.shape, path)
    return prompts


def _required(path: Path, scan: Volume | None) -> Volume:
    if scan is None:
        raise UserError(f"{path}: lies in space or on voxels, so that the scan is needed to read it")
    return scan
