"""Files of prompts: the JSON that a run saves of them and a person may write by hand, and those of other programs."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from pose.cli import UserError, existing_file
from pose.files.json_checks import check_keys, whole_number, whole_numbers
from pose.prompts.other_files import is_markups, kind_of, prompts_of_fcsv, prompts_of_markups, prompts_of_mask
from pose.prompts.prompt import BOX_KEYS, Box, Point, Prompt, check_prompts, shape_text
from pose.prompts.regions import LAST_OBJECT_ID
from pose.scans.geometry import Reorientation, turn_between
from pose.scans.masks import is_one_slice, mask_on, read_mask
from pose.scans.segmentations import kind_of as kind_of_segments
from pose.scans.volume import Volume

LOGGER = logging.getLogger(__name__)

JSON_FORMAT, JSON_VERSION = "pose_prompts", 1
# of a mask that says by itself on which slice it lies
UNKNOWN_SLICE = -1
_SHAPE_KEYS = ("rows", "columns", "slices")
_POINT_KEYS = ("row", "column", "label")
_LIMIT_KEYS = ("first_slice", "last_slice")


def prompts_to_json(
    prompts: Sequence[Prompt],
    *,
    image_file_path: str | Path,
    shape: tuple[int, int, int],
    swap_axes: bool | None,
    folder: str | Path | None = None,
    orientation: str | None = None,
) -> dict:
    """Prompts as :func:`read_prompts` takes them, ready for ``json.dump``.

    Args:
        prompts: what to write.
        image_file_path: the image they are for; its name is written.
        shape: (rows, columns, slices) of the image.
        swap_axes: whether the first two axes of the source image were swapped; None where that is not known.
        folder: where the JSON file will lie. A mask file in or under it is named relative to it, so that the folder can
            be moved; any other one by its absolute path.
        orientation: directions of rows, columns and slices (:attr:`pose.scans.volume.Volume.orientation`); None where
            unknown.

    Raises:
        ValueError: a mask that came from no file.
    """
    entries = []
    for prompt in prompts:
        entry: dict = {"slice": int(prompt.slice), "object_id": int(prompt.object_id)}
        points = [(*point, 1) for point in prompt.positive_points] + [(*point, 0) for point in prompt.negative_points]
        if points:
            entry["points"] = [{key: int(value) for key, value in zip(_POINT_KEYS, point)} for point in points]
        if prompt.box is not None:
            entry["box"] = {key: int(value) for key, value in zip(BOX_KEYS, prompt.box)}
        if prompt.mask is not None and prompt.mask_file_path is None:
            raise ValueError(f"slice {prompt.slice}, object {prompt.object_id}: a mask without a file is not writable")
        if prompt.mask_file_path is not None:
            path = Path(os.path.abspath(prompt.mask_file_path))
            if folder is not None and path.is_relative_to(os.path.abspath(folder)):
                path = path.relative_to(os.path.abspath(folder))
            entry["mask_file_path"] = path.as_posix()
        if prompt.mask_label is not None:
            entry["label"] = int(prompt.mask_label)
        if prompt.name is not None:
            entry["name"] = prompt.name
        if prompt.absent:
            entry["absent"] = True
        for key in ("first_slice", "last_slice"):
            if (limit := getattr(prompt, key)) is not None:
                entry[key] = int(limit)
        entries.append(entry)
    about = {"format": JSON_FORMAT, "version": JSON_VERSION, "image": Path(image_file_path).name}
    about["shape"] = {key: int(length) for key, length in zip(_SHAPE_KEYS, shape)}
    about["swap_axes"] = None if swap_axes is None else bool(swap_axes)
    if orientation is not None:
        about["orientation"] = orientation
    return {**about, "prompts": entries}


def read_prompts(
    path: str | Path,
    shape: Sequence[int] | None = None,
    swap_axes: bool | None = None,
    like: Volume | None = None,
    allow_geometry_mismatch: bool = False,
) -> list[Prompt]:
    """Read prompts that a run saved, a person wrote, or another program: the content tells which.

    Markups of 3D Slicer (.mrk.json, .fcsv) and masks painted on a few slices are taken as
    :func:`pose.prompts.in_space.prompts_of_marks` and :func:`pose.prompts.other_files.prompts_of_mask` say.

    The file holds an object with "prompts" (what :func:`prompts_to_json` puts beside it is optional), or the bare list.
    Each prompt has a "slice" and some of "points", "box" and "mask_file_path"; "object_id" is 1 if not given. The path
    of a mask, absolute or seen from the JSON file, comes back absolute; of a mask with several slices the prompt's is
    taken, and all that is not 0 is the object. ``"absent": true`` says that the object is not on this slice, nor beyond
    it, "first_slice" and "last_slice" between which slices it lies. Of a mask file with several labels, "label" chooses
    one; without it and without an "object_id", each label of the slice is an object of its number. The slice of a mask
    may be left out where the mask marks a single one.

    Prompts that were made when the axes of the scan lay or ran otherwise are turned, which the log says; masks are
    fitted as ground truth is (:func:`pose.scans.masks.mask_on`). A file that does not say how the axes lay is taken
    for the slices as they are shown.

    Args:
        path: the file.
        shape: (rows, columns, slices) of the image; None checks against what the file says.
        swap_axes: whether the axes of the image were swapped, and so masks must be; None takes the file's word.
        like: the image itself, in place of both; files of other programs need it.
        allow_geometry_mismatch: take masks of another orientation or origin than ``like`` as their voxels lie, with a
            warning.

    Raises:
        UserError: the file is not there or no JSON, has a wrong type, value or key, is for an image of another shape or
            for slices along another axis, names a mask that cannot be read or lies elsewhere than the image, or fails
            :func:`check_prompts`.
    """
    path = Path(path)
    if like is not None:
        shape, swap_axes = like.voxels.shape, None if like.affine is None else like.swap_axes
    try:
        if (kind := kind_of(existing_file(path))) == "mask":
            return prompts_of_mask(path, like, allow_geometry_mismatch)
        if kind == "fcsv":
            return prompts_of_fcsv(path, like)
        # Editors on Windows put a byte order mark in front, which json refuses.
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}") from error
    if is_markups(document):
        return prompts_of_markups(path, document, like)
    document = {"prompts": document} if isinstance(document, list) else document
    about = ("format", "version", "image", "shape", "swap_axes", "orientation")
    check_keys(document, ("prompts",), about, f"{path}: the file")
    for key, right in (("format", JSON_FORMAT), ("version", JSON_VERSION)):
        value = document.get(key, right)
        if value != right or type(value) is not type(right):
            raise UserError(f"{path}: {key} must be {right!r}, got {value!r:.60}")
    kinds = (("image", str, "a file name"), ("swap_axes", bool, "true, false or null"), ("orientation", str, "letters"))
    for key, of_type, what in kinds:
        if document.get(key) is not None and not isinstance(document[key], of_type):
            raise UserError(f"{path}: {key} must be {what}, got {document[key]!r:.60}")
    made_swapped, made_for = document.get("swap_axes"), document.get("shape")
    turn = Reorientation() if like is None else _turn(path, document.get("orientation"), made_swapped, like)
    if made_for is not None:
        made_for = whole_numbers(made_for, _SHAPE_KEYS, f"{path}: shape", least=1)
        if shape is not None and tuple(made_for[axis] for axis in turn.axes) != tuple(shape):
            of_file = f"{shape_text(made_for)} (rows x columns x slices)"
            raise UserError(f"{path}: shape is {of_file}, the image's is {shape_text(shape)}")
    if like is None and swap_axes is not None and made_swapped is not None and made_swapped != swap_axes:
        raise UserError(f"{path}: swap_axes is {made_swapped}, the image's is {swap_axes}")
    entries = document["prompts"]
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path}: prompts must be a list of at least one prompt, got {entries!r:.60}")
    shape = made_for if shape is None else tuple(shape)
    swap_axes = made_swapped if swap_axes is None else swap_axes
    prompts: list[Prompt] = []
    masks: dict[str, Volume] = {}
    for number, entry in enumerate(entries):
        where = f"{path}: prompts[{number}]"
        prompt = _prompt(entry, number, path)
        if turn != Reorientation():
            prompt = _turned(prompt, turn, shape or ())
        if prompt.mask_file_path is None:
            prompts.append(prompt)
            continue
        if like is not None:
            labels = _labels_on(like, prompt, path, turn, masks, allow_geometry_mismatch, entry.get("label"))
        else:
            labels = _labels_of(prompt, where, path, shape, swap_axes, masks)
        prompts += _with_masks(prompt, labels, entry, where)
    check_prompts(prompts, shape, path)
    return prompts


def _turn(path: Path, orientation: str | None, made_swapped: bool | None, like: Volume) -> Reorientation:
    """Return how the axes of a JSON file are turned to those of an image; a file that does not say is not turned."""
    if like.affine is None:
        return Reorientation()
    turn, of_image = Reorientation(), f"that of {like.path or 'the image'} {like.orientation}"
    if orientation is not None:
        try:
            turn = turn_between(orientation, str(like.orientation))
        except ValueError:
            raise UserError(f"{path}: orientation must be letters such as PLS, got {orientation!r:.60}") from None
        if turn.axes[2] != 2:
            said = f"orientation is {orientation}, {of_image}"
            raise UserError(f"{path}: {said}: its slices run along another axis; give --slice_axis as it was then")
        if turn != Reorientation():
            LOGGER.info("%s: orientation is %s, %s; its prompts are turned", path, orientation, of_image)
    elif made_swapped is not None and made_swapped != like.swap_axes:
        turn = Reorientation((1, 0, 2))
        text = "%s: swap_axes is %s, the image's is %s; rows and columns of its prompts are swapped"
        LOGGER.info(text, path, made_swapped, like.swap_axes)
    return turn


def _turned(prompt: Prompt, turn: Reorientation, shape: Sequence[int]) -> Prompt:
    """Turn a prompt to an image of ``shape``."""
    before = [0, 0, 0]
    for axis, length in zip(turn.axes, shape):
        before[axis] = length

    def point(row: int, column: int) -> Point:
        return turn.place((row, column, 0), tuple(before))[:2]

    box = prompt.box
    if box is not None:
        is_box = box[0] <= box[2] and box[1] <= box[3]  # one that ends before it begins stays so, and is refused
        (row, column), (other_row, other_column) = point(box[0], box[1]), point(box[2], box[3])
        if is_box:
            row, other_row = sorted((row, other_row))
            column, other_column = sorted((column, other_column))
        box = (row, column, other_row, other_column)

    def slice_of(slice_index: int) -> int:
        return turn.place((0, 0, slice_index), tuple(before))[2]

    limits = tuple(None if one is None else slice_of(one) for one in (prompt.first_slice, prompt.last_slice))
    first, last = limits[::-1] if slice_of(0) > slice_of(1) else limits
    return replace(
        prompt,
        slice=prompt.slice if prompt.slice == UNKNOWN_SLICE else slice_of(prompt.slice),
        first_slice=first,
        last_slice=last,
        positive_points=tuple(point(*one) for one in prompt.positive_points),
        negative_points=tuple(point(*one) for one in prompt.negative_points),
        box=box,
    )


def _prompt(entry: Any, number: int, path: Path) -> Prompt:
    """One prompt of a JSON file, as it stands there; its mask is not read yet."""
    where = f"{path}: prompts[{number}]"
    optional = ("object_id", "points", "box", "mask_file_path", "absent", *_LIMIT_KEYS, "name")
    if isinstance(entry, dict) and entry.get("mask_file_path") is not None:
        check_keys(entry, (), ("slice", *optional, "label"), where)
        if entry.get("label") is not None:
            whole_number(entry["label"], 1, f"{where}.label")
    else:
        check_keys(entry, ("slice",), optional, where)
    slice_index = whole_number(entry["slice"], 0, f"{where}.slice") if "slice" in entry else UNKNOWN_SLICE
    object_id = whole_number(entry.get("object_id", 1), 1, f"{where}.object_id", LAST_OBJECT_ID)
    if not isinstance(listed := entry.get("points", []), list):
        raise UserError(f"{where}.points must be a list, got {listed!r:.60}")
    points: tuple[list[Point], list[Point]] = ([], [])
    for i, point in enumerate(listed):
        row, column, label = whole_numbers(point, _POINT_KEYS, f"{where}.points[{i}]")
        if label > 1:
            raise UserError(f"{where}.points[{i}].label must be 1 (object) or 0 (background), got {label}")
        points[label].append((row, column))
    if not isinstance(absent := entry.get("absent", False), bool):
        raise UserError(f"{where}.absent must be true or false, got {absent!r:.60}")
    limits = [None if entry.get(key) is None else whole_number(entry[key], 0, f"{where}.{key}") for key in _LIMIT_KEYS]
    box = None if entry.get("box") is None else cast(Box, whole_numbers(entry["box"], BOX_KEYS, f"{where}.box"))
    if not isinstance(name := entry.get("name"), (str, type(None))):
        raise UserError(f"{where}.name must be text, got {name!r:.60}")
    mask_file_path = entry.get("mask_file_path")
    if not isinstance(mask_file_path, (str, type(None))):
        raise UserError(f"{where}.mask_file_path must be a path, got {mask_file_path!r:.60}")
    if mask_file_path is not None:
        mask_file_path = os.path.abspath(path.parent / mask_file_path)
    return Prompt(
        slice_index,
        object_id,
        tuple(points[1]),
        tuple(points[0]),
        box,
        mask_file_path=mask_file_path,
        absent=absent,
        first_slice=limits[0],
        last_slice=limits[1],
        name=name,
    )


def _labels_on(
    like: Volume,
    prompt: Prompt,
    path: Path,
    turn: Reorientation,
    masks: dict[str, Volume],
    allow_mismatch: bool,
    label: int | None,
) -> np.ndarray:
    """The labels of a mask file on an image, (rows, columns, slices) or of one slice; ``masks`` keeps what was read."""
    name = str(prompt.mask_file_path)
    if kind_of_segments(Path(name)) is not None:
        # of segments that overlap, the one that is asked for can be read
        key = f"{name}\n{label}"
        if key not in masks:
            masks[key] = read_mask(name, like, labels=None if label is None else [label])
        return masks[key].voxels
    if name not in masks:
        mask = read_mask(name)
        if any(turn.flips) and mask.affine is None:
            raise UserError(f"{path}: {name} has no geometry, and cannot be turned with the prompts; save it as NIfTI")
        masks[name] = mask if is_one_slice(mask, like) else mask_on(like, mask, allow_mismatch)
    if is_one_slice(masks[name], like):
        slice_index = min(max(prompt.slice, 0), like.voxels.shape[2] - 1)
        return mask_on(like, masks[name], allow_mismatch, at_slice=slice_index).voxels
    return masks[name].voxels


def _labels_of(
    prompt: Prompt, where: str, path: Path, shape: tuple | None, swap_axes: bool | None, masks: dict[str, Volume]
) -> np.ndarray:
    """The labels of a mask file for an image of which the shape alone may be known."""
    name = str(prompt.mask_file_path)
    if name not in masks:
        masks[name] = read_mask(name, swap_axes=bool(swap_axes))
    if masks[name].swap_axes and swap_axes is False:
        raise UserError(f"{path}: {name} was made with --swap_axes, the image without it")
    slices = masks[name].voxels.shape[2]
    needed = shape[2] if shape is not None else max(slices, prompt.slice + 1)
    if slices not in (1, needed):
        raise UserError(f"{where}: {name} has {slices} slices, it needs 1 or {needed}")
    return masks[name].voxels


def _with_masks(prompt: Prompt, labels: np.ndarray, entry: dict, where: str) -> list[Prompt]:
    """Return a prompt with its mask, or one for each label of the slice; the slice is found where it is not named."""
    name, label = prompt.mask_file_path, entry.get("label")
    chosen = labels if label is None else np.where(labels == label, labels, 0)
    marked = np.flatnonzero(chosen.any(axis=(0, 1))).tolist()
    what = "nothing" if label is None else f"nothing with the label {label}"
    if not marked:
        raise UserError(f"{where}: {name} marks {what}")
    named = ", ".join(map(str, marked[:5])) + (", ..." if len(marked) > 5 else "")
    slice_index = prompt.slice
    if slice_index == UNKNOWN_SLICE:
        if labels.shape[2] == 1 or len(marked) > 1:
            raise UserError(f"{where} has no 'slice', and {name} marks the slices {named}; choose one")
        slice_index = marked[0]
    here = chosen[:, :, min(slice_index, labels.shape[2] - 1)]
    if not here.any():
        raise UserError(f"{where}: {name} marks {what} on slice {slice_index}; it marks the slice(s) {named}")
    present = [int(one) for one in np.unique(here) if one > 0]
    if label is not None or entry.get("object_id") is not None or len(present) == 1:
        return [replace(prompt, slice=slice_index, mask=here != 0, mask_label=label)]
    return [replace(prompt, slice=slice_index, object_id=one, mask=here == one, mask_label=one) for one in present]
