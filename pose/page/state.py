"""What the page is told of a session: numbers and words as JSON, slices and masks as bytes, upright."""

from __future__ import annotations

from typing import Any

import numpy as np

from pose.figures.drawing import looks_of
from pose.figures.upright import axis_directions, edges_of, letters_of, upright
from pose.page.carrying import Task
from pose.page.session import Session
from pose.prompts.prompt import Prompt
from pose.scans.intensity import WINDOWS, likely_unit
from pose.scans.volume import Volume


def about_scan(session: Session) -> dict[str, Any]:
    """Return what does not change: how large the scan is, how its slices are turned, and how they may be shown."""
    case, volume = session.case, session.case.volume
    turn = upright(volume)
    edges = edges_of(volume, turn)
    axes = axis_directions(volume)
    rows, columns, slices = volume.voxels.shape
    low, high = case.displayed.limits  # type: ignore[attr-defined]
    windows = {"auto": [(low + high) / 2, max(high - low, 1e-6)]}
    limits = case.grey.limits
    if limits is not None and limits[0] < limits[1]:
        windows["as the model sees"] = [(limits[0] + limits[1]) / 2, limits[1] - limits[0]]
    if likely_unit(volume).is_hounsfield:
        windows.update({name.replace("_", " "): list(window) for name, window in WINDOWS.items()})
    return {
        "name": case.job.name,
        "rows": rows,
        "columns": columns,
        "slices": slices,
        "spacing": None if volume.spacing_mm is None else list(volume.spacing_mm),
        "turn": {"transpose": turn.transpose, "flip_rows": turn.flip_rows, "flip_columns": turn.flip_columns},
        "edges": None if edges is None else edges._asdict(),
        "slices_towards": None if axes is None else letters_of(axes[2])[0],
        "type": pixel_type(volume),
        "windows": windows,
        "truth": case.truth is not None,
        "model": session.model.about.get("model") or session.model.method,
        "takes_points": "points" in session.model.segmenter.prompt_kinds,
    }


def state_of(session: Session) -> dict[str, Any]:
    """Return what changes: objects, prompts, masks and what is under way."""
    # what has ended first: what it left behind is then there below
    ended = list(session.ended)
    task, carried, slices = session.task, session.carried, session.clicks.shape[2]
    seen = session.running or carried
    looks = looks_of(list(session.names))
    held: dict[int, list[int]] = {}
    review: list[int] = []
    if seen is not None:
        held = {
            index: sorted(key for key, one in objects.items() if one.found)
            for index, objects in list(seen.found.estimates.items())
        }
    if carried is not None and task is None:
        review = carried.found.to_review
    dice = None
    if session.case.truth is not None:
        dice = {"volume": session.volume_dice(), "slices": [session.dice(index) for index in range(slices)]}
    saved = session.saved
    return {
        "changes": session.changes,
        "objects": [{"id": key, "name": name, "colour": looks[key].on_slice} for key, name in session.names.items()],
        "prompts": [_prompt(one) for one in session.clicks.prompts],
        "can_undo": session.clicks.can_undo,
        "carried": session.is_carried,
        "has_masks": carried is not None,
        "seconds_carried": None if carried is None else carried.seconds,
        "held": held,
        "review": review,
        "task": None if task is None else _task(task, slices),
        "ended": ended,
        "message": session.message,
        "dice": dice,
        "saved": None if saved is None else {key: saved[key] for key in saved if key != "contact_sheet"},
    }


def _task(task: Task, slices: int) -> dict[str, Any]:
    return {"kind": task.kind, "done": list(task.done), "slices": slices, "cancelled": task.cancelled.is_set()}


def _prompt(prompt: Prompt) -> dict[str, Any]:
    return {
        "object": prompt.object_id,
        "slice": prompt.slice,
        "points": [[*point, 1] for point in prompt.positive_points] + [[*point, 0] for point in prompt.negative_points],
        "box": prompt.box,
        "mask": prompt.mask is not None,
        "absent": prompt.absent,
    }


def pixel_type(volume: Volume) -> str:
    """Return how the voxels of a scan are sent: "int16" where they fit, and else "float32"."""
    whole = volume.voxels.dtype.kind in "iub"
    fits = whole and volume.voxels.min() >= -(2**15) and volume.voxels.max() < 2**15
    return "int16" if fits else "float32"


def pixels_of(session: Session, slice_index: int) -> np.ndarray:
    """Return the voxel values of a slice, upright, little-endian, in :func:`pixel_type`; what is not finite is 0."""
    volume = session.case.volume
    values = upright(volume).slice(volume.voxels[:, :, slice_index])
    if pixel_type(volume) == "float32":
        values = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return values.astype("<i2" if pixel_type(volume) == "int16" else "<f4")


def upright_labels(session: Session, slice_index: int) -> np.ndarray:
    """Return the masks of a slice, upright: uint16, little-endian, the number of the object."""
    return upright(session.case.volume).slice(session.labels(slice_index)).astype("<u2")


def upright_truth(session: Session, slice_index: int) -> np.ndarray:
    """Return the ground truth of a slice, upright: uint16, little-endian, 1 where it is."""
    truth = session.case.required_truth()
    return upright(session.case.volume).slice(truth[:, :, slice_index] > 0).astype("<u2")
