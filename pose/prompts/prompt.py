"""Prompt: points, a box or a mask on one slice, for one object; taken from a mask or typed, and checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import cast

import numpy as np

from pose.cli import UserError
from pose.prompts.regions import regions_of_objects, rounded

Point = tuple[int, int]
Box = tuple[int, int, int, int]

BOX_KEYS = ("row_min", "column_min", "row_max", "column_max")


@dataclass(frozen=True)
class Prompt:
    """What a person points at, for one object on one slice.

    Attributes:
        slice: index of the slice, from 0.
        object_id: which object the prompt is for, 1 to 65535. An object may have prompts on several slices, and several
            on one slice, which are united.
        positive_points: (row, column) pixels inside the object.
        negative_points: (row, column) pixels outside it. Alone on a slice, they remove the part they lie in.
        box: (row_min, column_min, row_max, column_max), inclusive of its last row and column.
        mask: (rows, columns) bool, the object itself.
        mask_file_path: the file that ``mask`` came from, so that the prompt can be written to JSON.
        absent: the object is not on this slice, nor beyond it: nothing else is said then.
        first_slice, last_slice: the object is on no slice before or after these.
        mask_label: the label of the mask file that ``mask`` is; None where it is all that the file marks.
        name: what the object is called; None where nobody said.
    """

    slice: int
    object_id: int = 1
    positive_points: tuple[Point, ...] = ()
    negative_points: tuple[Point, ...] = ()
    box: Box | None = None
    mask: np.ndarray | None = field(default=None, hash=False)
    mask_file_path: str | None = None
    absent: bool = False
    first_slice: int | None = None
    last_slice: int | None = None
    mask_label: int | None = None
    name: str | None = None

    def __eq__(self, other: object) -> bool:
        """Equal in every attribute, masks voxel by voxel (the comparison a dataclass generates raises on arrays)."""
        if not isinstance(other, Prompt):
            return NotImplemented
        names = (part.name for part in fields(self) if part.name != "mask")
        alike = all(getattr(self, name) == getattr(other, name) for name in names)
        if self.mask is None or other.mask is None:
            return alike and self.mask is other.mask
        return alike and np.array_equal(self.mask, other.mask)


@dataclass(frozen=True)
class PromptRules:
    """How prompts are taken from ground truth; :func:`prompts_from_mask` says what each of these means."""

    objects: str = "union"
    use_bounding_box: bool = False
    use_masks_contours: bool = False
    move_centroids: bool = True
    negative_point: bool = True
    displace_negative_point: int = 0


def prompts_from_mask(
    labels_slice: np.ndarray,
    slice_index: int,
    *,
    objects: str = "union",
    use_bounding_box: bool = False,
    use_masks_contours: bool = False,
    move_centroids: bool = True,
    negative_point: bool = True,
    displace_negative_point: int = 0,
    source: str | Path = "mask",
) -> list[Prompt]:
    """Prompts as a person would give them who sees the objects in the mask; the same mask gives the same prompts.

    A positive point is the centre of mass of a label, rounded. Where that pixel is not the label's, it moves to the
    nearest one that lies well inside it (:meth:`pose.prompts.regions.Region.point` says how well): a point on the edge
    of a thin crescent tells a model little. The negative point is the centre of the object's box, rounded, and is left
    out where it would lie in any label. The box is tight.

    Args:
        labels_slice: (rows, columns) whole numbers, 0 is background.
        slice_index: copied into the prompts.
        objects: "union" (all labels together are object 1), "per_label" or "per_component", with numbers and in the
            order of :func:`pose.prompts.regions.regions_of_objects`.
        use_bounding_box: give the box too.
        use_masks_contours: a positive point for each connected component (outer contour), not for each label.
        move_centroids: False leaves a centre of mass that is outside its label where it is.
        negative_point: False leaves the negative point out.
        displace_negative_point: rows that it moves down (up where negative) before it is seen whether a label is there.
        source: names the mask in errors.

    Returns:
        One prompt for each object, in ascending order; none for a slice without labels.

    Raises:
        UserError: labels that are not whole numbers, or below 1 where they would number objects; a negative point that
            is moved out of the slice.
        ValueError: an array that is not two-dimensional, or an unknown word for ``objects``.
    """
    labels = np.asarray(labels_slice)
    prompts = []
    for object_id, regions in regions_of_objects(labels, objects, f"{source}, slice {slice_index}").items():
        tops, lefts, bottoms, rights = zip(*(region.box for region in regions))
        box = (min(tops), min(lefts), max(bottoms), max(rights))
        pointed_at = [part for region in regions for part in region.components()] if use_masks_contours else regions
        positive = tuple(part.point(move_centroids) for part in pointed_at)
        centre = (rounded(box[0] + box[2], 2) + displace_negative_point, rounded(box[1] + box[3], 2))
        if not 0 <= centre[0] < labels.shape[0]:
            moved = f"--displace_negative_point {displace_negative_point} moves the negative point to row {centre[0]}"
            last = labels.shape[0] - 1
            raise UserError(f"{source}, slice {slice_index}: {moved}, the slice has the rows 0 to {last}")
        # A centre of mass that was not moved may lie outside its label, and just where the negative point would.
        negative = (centre,) if negative_point and not labels[centre] and centre not in positive else ()
        prompts.append(Prompt(int(slice_index), object_id, positive, negative, box if use_bounding_box else None))
    return prompts


def prompt_slice(labels_volume: np.ndarray, how: str | int, *, source: str | Path = "mask") -> int:
    """Choose the slice that the one prompt of a volume is given on.

    Args:
        labels_volume: (rows, columns, slices), 0 is background.
        how: "centre", the middle one of the slices that hold a label (the later of two); "largest", the one with the
            most labelled pixels (the first of equals); or the index of a slice.
        source: names the mask in errors.

    Raises:
        UserError: no slice holds a label, or the one asked for holds none or is not there.
        ValueError: an unknown word for ``how``.
    """
    areas = np.count_nonzero(labels_volume, axis=(0, 1))
    masked = np.flatnonzero(areas)
    if masked.size == 0:
        raise UserError(f"{source}: no slice holds a label, there is nothing to take a prompt from")
    if how == "centre":
        return int(masked[masked.size // 2])
    if how == "largest":
        return int(np.argmax(areas))
    if not isinstance(how, (int, np.integer)) or isinstance(how, bool):
        raise ValueError(f"how must be centre, largest or the index of a slice, got {how!r}")
    if how not in masked:
        nearest = masked[np.argmin(np.abs(masked - how))]
        reason = "holds no label" if 0 <= how < areas.size else f"is not one of the slices 0 to {areas.size - 1}"
        raise UserError(f"{source}: slice {how} {reason}, the nearest one with a label is {nearest}")
    return int(how)


def check_prompts(prompts: Sequence[Prompt], shape: Sequence[int] | None, source: str | Path) -> None:
    """Refuse prompts that cannot be meant for an image.

    Args:
        prompts: what to check.
        shape: (rows, columns, slices) of the image; None where it is not known, which leaves only the bounds at 0.
        source: the file, or where else the prompts came from, for the error.

    Raises:
        UserError: a slice, point or box outside the image, a box that ends before it begins, a mask of another shape or
            without a voxel, an object of which no prompt says where it is, a slice on which an object is and is not.
    """
    rows, columns, slices = shape or (float("inf"),) * 3
    size = f"the image of {shape_text(shape[:2])} (rows x columns)" if shape is not None else "any image"
    pointed = {
        (prompt.object_id, prompt.slice)
        for prompt in prompts
        if prompt.positive_points or prompt.box is not None or prompt.mask is not None
    }
    for prompt in prompts:
        where = f"{source}: slice {prompt.slice}, object {prompt.object_id}"
        if not 0 <= prompt.slice < slices:
            raise UserError(f"{where}: no such slice, they count from 0" + (f" to {slices - 1}" if shape else ""))
        if prompt.object_id not in {object_id for object_id, _ in pointed}:
            raise UserError(f"{where}: the prompt has no positive point, no box and no mask, it needs one of them")
        if prompt.absent and (prompt.object_id, prompt.slice) in pointed:
            raise UserError(f"{where}: the object is absent and yet prompted")
        first, last = prompt.first_slice, prompt.last_slice
        if first is not None and last is not None and first > last:
            raise UserError(f"{where}: its first slice {first} lies after its last slice {last}")
        if shape is not None and (outside := max(first or 0, last or 0)) >= slices:
            raise UserError(f"{where}: no slice {outside}, they count from 0 to {slices - 1}")
        for object_id, slice_index in pointed:
            if object_id == prompt.object_id and not (first or 0) <= slice_index <= (slices if last is None else last):
                limits = f"{first or 0} to {'the end' if last is None else last}"
                raise UserError(f"{where}: the object lies on slices {limits}, and is prompted on slice {slice_index}")
        if not (prompt.absent or prompt.negative_points or first is not None or last is not None):
            if (prompt.object_id, prompt.slice) not in pointed:
                raise UserError(f"{where}: the prompt says nothing: no point, no box, no mask, not even absent")
        for row, column in (*prompt.positive_points, *prompt.negative_points):
            if not (0 <= row < rows and 0 <= column < columns):
                raise UserError(f"{where}: the point row {row}, column {column} lies outside {size}")
        if prompt.box is not None:
            row_min, column_min, row_max, column_max = prompt.box
            named = "the box " + ", ".join(f"{key} {value}" for key, value in zip(BOX_KEYS, prompt.box))
            if row_max < row_min or column_max < column_min:
                raise UserError(f"{where}: {named} ends before it begins")
            if min(prompt.box) < 0 or row_max >= rows or column_max >= columns:
                raise UserError(f"{where}: {named} reaches outside {size}")
        if prompt.mask is not None:
            name = prompt.mask_file_path or "its mask"
            if shape is not None and prompt.mask.shape != (rows, columns):
                has = f"{name} has slices of {shape_text(prompt.mask.shape)}"
                raise UserError(f"{where}: {has}, the image {shape_text(shape[:2])}")
            if not prompt.mask.any():
                raise UserError(f"{where}: {name} marks nothing on this slice")


def typed_prompt(
    slice_index: int | None,
    points: Iterable[Sequence[int]] | None = None,
    negative_points: Iterable[Sequence[int]] | None = None,
    box: Sequence[int] | None = None,
) -> Prompt:
    """The prompt of ``--slice N --point ROW COLUMN --negative_point ROW COLUMN --box R0 C0 R1 C1``, for object 1.

    None stands for a flag not given. Only what needs no image is checked here; :func:`check_prompts` does the rest.

    Raises:
        UserError: no slice, neither a point nor a box, or values that fit no image.
    """
    if slice_index is None:
        raise UserError("command line: --point, --negative_point and --box need --slice")
    positive, negative = (tuple((row, column) for row, column in given or ()) for given in (points, negative_points))
    prompt = Prompt(slice_index, 1, positive, negative, None if box is None else cast(Box, tuple(box)))
    check_prompts([prompt], None, "command line")
    return prompt


def shape_text(shape: Sequence[int]) -> str:
    """Return a shape as errors show it, such as 512 x 512 x 60."""
    return " x ".join(map(str, shape))
