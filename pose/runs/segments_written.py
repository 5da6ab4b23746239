"""Masks as other programs take them, beside the NIfTI mask: .seg.nrrd, DICOM SEG and RTSTRUCT (``--write``)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pose.cli import UserError
from pose.prompts.prompt import Prompt
from pose.runs.case import Case
from pose.scans.dicom_files import without_warnings
from pose.scans.dicom_frames import headers_of
from pose.scans.masks import labels_of
from pose.scans.segments import Segment

if TYPE_CHECKING:
    from pydicom import Dataset

LOGGER = logging.getLogger(__name__)

# The files by what --write calls them: what their names begin with, before the time of the run, and end in.
FILES = {"nrrd": ("segments", ".seg.nrrd"), "seg": ("seg", ".dcm"), "rtstruct": ("rtstruct", ".dcm")}
OF_DICOM = ("seg", "rtstruct")


def check_writable(case: Case, kinds: Sequence[str]) -> None:
    """Refuse, before any work, what cannot be written of a volume.

    Raises:
        UserError: DICOM for a scan that is none, or a segmentation in space for one of unknown geometry.
    """
    for kind in kinds:
        if kind in OF_DICOM and case.volume.series is None:
            only = "a DICOM file refers to the images it was made from, and this scan is no DICOM series; nrrd can be"
            raise UserError(f"{case.job.image_path}: --write {kind}: {only}")
        if case.volume.affine is None:
            raise UserError(f"{case.job.image_path}: --write {kind}: needs a geometry, and that of the scan is unknown")
    if set(kinds) & set(OF_DICOM):
        # of headers that lack what is asked for, it is told now and not after the work
        labels = np.zeros(case.volume.voxels.shape, np.uint8)
        labels[:, :, 0] = 1
        try:
            writers(case, kinds, labels, [Segment(1, "a trial")], ("POSE", "0"), datetime.now())
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{case.job.image_path}: --write: its headers lack what is needed: {reason:.300}"
            ) from error


def segments_of(case: Case, prompts: Iterable[Prompt], object_ids: Sequence[int], per_label: bool) -> list[Segment]:
    """Return the objects of a run by name, in the colours of its pictures.

    Names are those of the prompts, or with ``per_label`` those of the ground truth from which the prompts came.
    """
    from pose.figures.drawing import OBJECTS

    known = {one.label: one for one in case.segments} if per_label else {}
    names = {label: one.name for label, one in known.items()}
    names |= {prompt.object_id: prompt.name for prompt in prompts if prompt.name}
    found = []
    for place, number in enumerate(object_ids):
        colour = known[number].colour if number in known else None
        text = OBJECTS[place % len(OBJECTS)][0]
        red, green, blue = colour or (int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16))
        found.append(Segment(number, names.get(number) or f"object {number}", (red, green, blue)))
    return found


def algorithm_of(manifest: Mapping[str, Any]) -> tuple[str, str]:
    """Return name and version of what a manifest says that made the masks."""
    from pose import __version__

    method, model = manifest.get("method") or "a prompt on every slice", manifest.get("model")
    return f"POSE, {method}" + (f" with {model}" if model else ""), __version__


def writers(
    case: Case,
    kinds: Sequence[str],
    labels: np.ndarray,
    segments: Sequence[Segment],
    algorithm: tuple[str, str],
    stamp: datetime,
) -> dict[str, tuple[str, Callable[[Path], object]]]:
    """Return what writes the files that are asked for, each with its suffix, by what their names begin with.

    Args:
        case: the volume, see :func:`check_writable`.
        kinds: of :data:`FILES`.
        labels: (rows, columns, slices) unsigned, the objects by their number.
        segments: the objects; of those without a voxel DICOM has none, which the log says.
        algorithm: name and version of what made the labels.
        stamp: when.
    """
    from pose.scans.dicom_seg import seg_of
    from pose.scans.rtstruct import rtstruct_of

    volume = case.volume
    if not kinds or volume.affine is None or volume.array_affine is None:
        return {}
    there = labels_of(labels)
    held = [one for one in segments if one.label in there]
    array_affine = volume.array_affine
    made: dict[str, Callable[..., Dataset]] = {"seg": seg_of, "rtstruct": rtstruct_of}
    found: dict[str, tuple[str, Callable[[Path], object]]] = {}
    for kind in dict.fromkeys(kinds):
        name, suffix = FILES[kind]
        if kind == "nrrd":
            found[name] = (suffix, lambda path: _write_nrrd(path, case, labels, segments))
            continue
        if lacking := [one.name for one in segments if one not in held]:
            LOGGER.warning("%s: --write %s: nothing was found of %s", case.job.name, kind, ", ".join(lacking))
        if held:
            content = made[kind](headers_of(volume), labels, array_affine, held, algorithm, stamp)
            found[name] = (suffix, partial(_save, content))
    return found


@without_warnings()
def _save(content: Dataset, path: Path) -> None:
    content.save_as(path, enforce_file_format=True)


def _write_nrrd(path: Path, case: Case, labels: np.ndarray, segments: Sequence[Segment]) -> None:
    from pose.scans.seg_nrrd import write_seg_nrrd

    volume = case.volume
    if volume.affine is None:
        raise ValueError(f"{path}: the geometry of the scan is unknown")
    in_file = labels.transpose(np.argsort(volume.axes))
    with path.open("wb") as file:
        write_seg_nrrd(file, in_file.astype(np.min_scalar_type(int(labels.max()))), volume.affine, segments)
