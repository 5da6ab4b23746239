"""What a person needs to know at the end of a run: what was found of each object, and what looks wrong about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from pose.prompts.reach import is_pointing
from pose.runs.case import Case
from pose.runs.segmentation import Segmentation
from pose.scans.intensity import Intensity, likely_unit, saturated_share
from pose.scans.volume import Volume
from pose.scores.likely_dice import UNLIKELY, LikelyDice
from pose.segmenters import Finding
from pose.segmenters.mask_parts import box_around, overlap_of_boxes
from pose.segmenters.region_growing import otsu_level, outside_of_body

# An object of more of the body, on the slices where it is, is rather what is round the one that was meant.
MOST_OF_BODY = 0.7
SLICES_OF_BODY = 9
# A box and the box round the mask that it gave should be much the same.
LEAST_FIT = 0.6
# Two parts of this share of a mask each, which come apart when its edge is taken off, are rather two organs.
LEAST_PART = 0.2
MOST_SATURATED = 0.5
MOST_TO_REVIEW = 0.5
LOOK_FIRST = 3


@dataclass(frozen=True)
class FoundObject:
    """What was found of an object.

    Attributes:
        object_id: its number.
        voxels: how many it has.
        ml: its volume in millilitres; None where the spacing is unknown.
        first_slice, last_slice: where it lies; None where nothing was found.
        dice: of the volume; None without ground truth for it.
        to_review: how many slices a person should look at, of those that hold it and the ones before and after.
        look_first: of these, the ones with the lowest review scores, the lowest first; at most :data:`LOOK_FIRST`.
        likely_dice: what its Dice is likely to be, by what the run says of itself; None where that cannot be told.
    """

    object_id: int
    voxels: int
    ml: float | None
    first_slice: int | None
    last_slice: int | None
    dice: float | None
    to_review: int
    look_first: tuple[int, ...] = ()
    likely_dice: LikelyDice | None = None

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> FoundObject:
        """Return what :meth:`Summary.to_json` wrote of an object."""
        likely = fields["likely_dice"]
        look_first = tuple(fields.get("look_first", ()))
        return cls(
            **{**fields, "look_first": look_first, "likely_dice": None if likely is None else LikelyDice(**likely)}
        )

    def __str__(self) -> str:
        if self.first_slice is None:
            return f"object {self.object_id}: nothing"
        where = f"slices {self.first_slice} to {self.last_slice}"
        first = f" (first {', '.join(map(str, self.look_first))})" if self.look_first else ""
        words = [f"object {self.object_id}: {self.voxels} voxels", where, f"{self.to_review} to review{first}"]
        if self.ml is not None:
            words.insert(1, f"{self.ml:.1f} ml")
        if self.dice is not None:
            words.insert(-1, f"Dice {self.dice:.3f}")
        if self.likely_dice is not None:
            words.append(str(self.likely_dice))
        return ", ".join(words)


class Warned(NamedTuple):
    """Something that looks wrong: a word for its kind, and what it is and what to do about it."""

    kind: str
    text: str


@dataclass(frozen=True)
class Summary:
    """The end of a run."""

    objects: list[FoundObject]
    warnings: list[Warned]

    def to_json(self) -> dict[str, Any]:
        """Return it as a run manifest holds it."""
        return {"objects": [asdict(one) for one in self.objects], "warnings": [one._asdict() for one in self.warnings]}


def summarise(case: Case, segmentation: Segmentation, per_label: bool, intensity: Intensity) -> Summary:
    """Look at what a run has found.

    Args:
        case: the volume with its ground truth, if it has any.
        segmentation: what was found.
        per_label: the number of an object is its label in the ground truth.
        intensity: how voxel values became grey levels.
    """
    object_ids = segmentation.object_ids
    alone = len(object_ids) == 1
    objects = [_found_object(case, segmentation, object_id, per_label, alone) for object_id in object_ids]
    found = [
        *_about_voxels(case.volume, intensity),
        *_about_truth(case),
        *_about_prompts(segmentation),
        *(warned for one in objects for warned in _about_object(case, segmentation, one)),
        *_about_whole_objects(segmentation),
        *_about_review(segmentation, objects),
    ]
    return Summary(objects, found)


def _found_object(case: Case, segmentation: Segmentation, object_id: int, per_label: bool, alone: bool) -> FoundObject:
    labels, spacing = segmentation.labels, case.volume.spacing_mm
    areas = segmentation.areas_of(object_id)
    held = np.flatnonzero(areas)
    dice = None
    if case.truth is not None and (per_label or alone):
        counts = np.zeros(3, dtype=np.int64)
        for slice_index in range(labels.shape[2]):
            if case.counted is not None and not case.counted.slices[slice_index]:
                continue
            truth = case.truth[:, :, slice_index] == object_id if per_label else case.truth[:, :, slice_index] > 0
            scored = labels[:, :, slice_index]
            if case.counted is not None:
                scored = case.counted.of_slice(scored, slice_index)
            here = scored == object_id
            counts += np.count_nonzero(truth), np.count_nonzero(here), np.count_nonzero(truth & here)
        if len(segmentation.estimates) == labels.shape[2] and counts[0]:
            dice = float(2 * counts[2] / (counts[0] + counts[1]))
    near = {index + step for index in held.tolist() for step in (-1, 0, 1)}
    to_review = sorted(
        near.intersection(segmentation.to_review), key=lambda index: segmentation.reviews[index].score or 0
    )
    return FoundObject(
        object_id,
        int(areas.sum()),
        None if spacing is None else float(areas.sum() * _voxel_ml(case.volume)),
        int(held[0]) if held.size else None,
        int(held[-1]) if held.size else None,
        dice,
        len(to_review),
        tuple(to_review[:LOOK_FIRST]),
        segmentation.likely_dice.get(object_id),
    )


def _voxel_ml(volume: Volume) -> float:
    """Return the volume of a voxel in millilitres, that of a sheared grid by its affine."""
    if volume.affine is not None:
        return float(abs(np.linalg.det(volume.affine[:3, :3]))) / 1000
    return float(np.prod(volume.spacing_mm or (np.nan,))) / 1000


def _about_voxels(volume: Volume, intensity: Intensity) -> Iterator[Warned]:
    if intensity.window is None:
        return
    unit = likely_unit(volume)
    if unit.is_hounsfield is False:
        text = f"the voxels are no Hounsfield units, for which the window was chosen ({unit.reason}); leave it out"
        yield Warned("not_hounsfield", text)
    level, width = intensity.window
    share = saturated_share(volume, (level - width / 2, level + width / 2))
    if share > MOST_SATURATED:
        text = f"{share:.0%} of the body is black or white in the window {level:g} {width:g}; choose another one"
        yield Warned("saturated", f"{text} (scripts/look.py suggests one)")


def _about_truth(case: Case) -> Iterator[Warned]:
    if case.truth is not None and len(case.masked_slices) == 1 and case.truth.shape[2] > 2:
        text = (
            f"the masks hold slice {case.masked_slices[0]} alone of {case.truth.shape[2]}; if that is a prompt rather "
        )
        text += "than ground truth, give it in --prompt_file_path: scores take all other slices for empty"
        yield Warned("one_slice", text)


def _about_prompts(segmentation: Segmentation) -> Iterator[Warned]:
    for prompt in segmentation.prompts:
        mask = segmentation.labels[:, :, prompt.slice] == prompt.object_id
        if not is_pointing(prompt) or prompt.slice not in segmentation.estimates or not mask.any():
            continue
        where = f"object {prompt.object_id}, slice {prompt.slice}"
        key = prompt.object_id, prompt.slice
        several = sum((one.object_id, one.slice) == key for one in segmentation.prompts) > 1
        if (
            prompt.box is not None
            and not several
            and (fit := overlap_of_boxes(prompt.box, box_around(mask))) < LEAST_FIT
        ):
            text = f"{where}: the mask fits its box badly (overlap {fit:.2f}), so that the rest may be wrong too; "
            yield Warned("prompt_fit", text + "look at the slice, give another box, window or slice, or a mask")
        elif missed := sum(not mask[point] for point in prompt.positive_points):
            yield Warned("prompt_fit", f"{where}: {missed} positive point(s) lie outside the mask; add points or a box")
        elif hit := sum(bool(mask[point]) for point in prompt.negative_points):
            yield Warned("prompt_fit", f"{where}: {hit} negative point(s) lie inside the mask; add points or a box")
        if parts := touching_parts(mask):
            text = f"{where}: the mask is one piece of two parts that barely touch ({parts[0]} and {parts[1]} pixels); "
            yield Warned("touching", text + "if these are two organs, give each its own box (--objects per_label)")


def _about_object(case: Case, segmentation: Segmentation, one: FoundObject) -> Iterator[Warned]:
    name, last = f"object {one.object_id}", segmentation.labels.shape[2] - 1
    if one.first_slice is None or one.last_slice is None:
        yield Warned("nothing", f"{name}: nothing was found; look at slice and prompt with scripts/look.py")
        return
    if segmentation.labels.shape[2] > 2 and len(segmentation.estimates) == segmentation.labels.shape[2]:
        ends = [end for end, reached in ((0, one.first_slice == 0), (last, one.last_slice == last)) if reached]
        if case.truth is not None:
            ends = [end for end in ends if not case.truth[:, :, end].any()]
        if ends:
            where = " and ".join(f"slice {end}, the {'first' if end == 0 else 'last'}" for end in ends)
            text = f"{name}: reaches {where} of the volume; if it ends before, say so: --slices FIRST LAST"
            yield Warned("reaches_end", text)
    share = share_of_body(segmentation, one)
    if share > MOST_OF_BODY:
        text = f"{name}: is {share:.0%} of the body on its slices, perhaps what is round the object; give a tighter box"
        yield Warned("whole_body", text)


def about_leaks(findings: Mapping[int, Finding]) -> Iterator[Warned]:
    """Yield a warning for each object that was ended because it had grown too large."""
    for object_id, finding in findings.items():
        if finding.leaked:
            where = " and ".join(map(str, finding.leaked))
            text = (
                f"object {object_id}: grew far beyond its area on the prompted slice, and was ended on slice {where}; "
            )
            yield Warned(
                "leaked", text + "if it is that large there, prompt a further slice, or raise --chain_largest_growth"
            )


def _about_whole_objects(segmentation: Segmentation) -> Iterator[Warned]:
    for object_id, likely in segmentation.likely_dice.items():
        if likely.dice < UNLIKELY and segmentation.areas_of(object_id).any():
            text = f"object {object_id}: {likely}, so that the object as a whole may be wrong, not single slices; "
            where = segmentation.next_slice
            further = "" if where is None else f", or prompt a further slice, such as {where}"
            yield Warned("unlikely", f"{text}look at the prompted slice, give another box or window{further}")


def _about_review(segmentation: Segmentation, objects: Sequence[FoundObject]) -> Iterator[Warned]:
    held = {
        slice_index
        for one in objects
        if one.first_slice is not None and one.last_slice is not None
        for slice_index in range(one.first_slice, one.last_slice + 1)
    }
    doubtful = held.intersection(segmentation.to_review)
    if held and len(doubtful) > MOST_TO_REVIEW * len(held):
        text = f"{len(doubtful)} of {len(held)} slices are to be reviewed: the model doubts most of what it found; "
        yield Warned("review", text + "look at needs_review in raw_data, and prompt a further slice")


def touching_parts(mask: np.ndarray) -> tuple[int, int] | None:
    """Return the pixels of the two largest parts of a connected (rows, columns) mask that barely touch, or None.

    Its edge is taken off, pixel by pixel up to a tenth of the root of its area; the parts into which it then falls
    count if both keep a fifth of its pixels.
    """
    from scipy import ndimage

    _, count = ndimage.label(mask, np.ones((3, 3)))
    if count != 1:
        return None
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    area = int(mask.sum())
    for taken in range(1, int(0.1 * np.sqrt(area)) + 1):
        labels, parts = ndimage.label(depth > taken)
        if parts < 2:
            continue
        first, second = sorted(np.bincount(labels.ravel())[1:].tolist())[::-1][:2]
        if second >= LEAST_PART * area:
            return int(first), int(second)
    return None


def share_of_body(segmentation: Segmentation, one: FoundObject) -> float:
    """Return which share of the body an object takes, 0 to 1, on at most nine of the slices that hold it."""
    if one.first_slice is None or one.last_slice is None:
        return 0.0
    count = min(SLICES_OF_BODY, one.last_slice - one.first_slice + 1)
    slices = np.linspace(one.first_slice, one.last_slice, count).round().astype(int).tolist()
    levels = [segmentation.grey[slice_index] for slice_index in slices]
    dark = otsu_level(np.sum([np.bincount(one_slice.ravel(), minlength=256) for one_slice in levels], axis=0))
    bodies = [~outside_of_body(one_slice, dark) for one_slice in levels]
    taken = sum(
        int((bodies[place] & (segmentation.labels[:, :, slice_index] == one.object_id)).sum())
        for place, slice_index in enumerate(slices)
    )
    return taken / max(sum(int(body.sum()) for body in bodies), 1)
