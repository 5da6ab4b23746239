"""Which slices of a result a person should look at, from what the model itself says of its masks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from pose.scores.likely_dice import USUAL_SCORE

# Measured on a chest CT, for a Dice below 0.8: in chains of LiteMedSAM and of SAM 2 tiny, any value from 0.80 to 0.88
# finds nearly all there is to find, and lower ones lose most of it; with a prompt on every slice, 0.82 does best.
REVIEW_BELOW = 0.82
# Objects taper off; one whose last mask has this share of its largest area breaks off: of 50 ends measured, 11 did, and
# 10 of these were too early.
BREAKS_OFF = 0.4
# Slices on either side that a prompt helps, too.
NEAR = 2


@dataclass(frozen=True)
class Estimate:
    """What a segmenter says of one object on one slice.

    Attributes:
        found: whether the mask has a pixel.
        score: estimate of the IoU of the mask; None where there is none.
        object_score: logit of the object being present, negative for absent; None where there is none.
    """

    found: bool
    score: float | None = None
    object_score: float | None = None


@dataclass(frozen=True)
class Course:
    """How the masks of an object go from slice to slice, where they were carried so without a memory.

    Attributes:
        areas: (slices,) its pixels.
        overlaps: (slices - 1,) Dice of its masks on a slice and the next one; 0 where both are empty.
        allowed: (slices,) bool, where it may be, by what the prompts say.
    """

    areas: np.ndarray
    overlaps: np.ndarray
    allowed: np.ndarray

    def kept(self, slice_index: int, start: int) -> float:
        """Return the least overlap on the way from ``start`` to a slice, as a share of the object's usual one, at most
        1.
        """
        way = self.overlaps[min(slice_index, start) : max(slice_index, start)]
        if not way.size or not way.min():
            return float(not way.size)
        return min(float(way.min() / np.median(self.overlaps[self.overlaps > 0])), 1.0)

    def breaks_off_before(self, slice_index: int) -> bool:
        """Tell whether the object ends next to a slice on which it might be, and has not tapered off."""
        held = np.flatnonzero(self.areas)
        if not held.size or slice_index not in (held[0] - 1, held[-1] + 1) or not self.allowed[slice_index]:
            return False
        end = held[0] if slice_index < held[0] else held[-1]
        return bool(self.areas[end] >= BREAKS_OFF * self.areas.max())


@dataclass(frozen=True)
class Review:
    """What speaks for the masks of a slice.

    Attributes:
        score: the least over its objects; 0 where something other than a low estimate speaks against a mask; None where
            there is no estimate.
        needed: True where ``score`` is below the limit; None where it is not, and an object has no estimate.
    """

    score: float | None
    needed: bool | None


def review(
    estimates: Mapping[int, Mapping[int, Estimate]],
    prompted: Mapping[int, Collection[int]],
    *,
    review_below: float = REVIEW_BELOW,
    courses: Mapping[int, Course] | None = None,
) -> dict[int, Review]:
    """Decide for each slice whether a person should look at it.

    An object counts with 0 where it is not found although it was prompted there, although the model says that it is
    present, or although slices before and after hold it; and where it is found although the model says that it is
    absent. Where the model says that it is absent beyond the slices that hold it, it counts with 1. Elsewhere it counts
    with its score.

    A slice of a chain knows only the slice before it, and cannot be better than what it was carried from: it counts
    with the least score on the way from the nearest prompted slice, times the least overlap of two masks on that way,
    as a share of what is usual for the object. Where the prompted slice itself scores less than is usual,
    the whole object is in doubt, which marks no slice: scores then count as shares of it. Without scores, as in region
    growing, the overlaps alone count. The slice before which an object breaks off counts with 0.

    Args:
        estimates: by slice, then by object; an object that a slice lacks was not looked for there.
        prompted: the prompted slices of each object.
        review_below: score below which a slice needs review, 0 to 1; with 0 none does.
        courses: of each object, where masks were carried from slice to slice without a memory of the prompted one.

    Returns:
        A review for each of the slices. One on which no object was looked for has no estimate.
    """
    by_object: dict[int, dict[int, Estimate]] = {}
    for slice_index, objects in estimates.items():
        for object_id, estimate in objects.items():
            by_object.setdefault(object_id, {})[slice_index] = estimate
    scores: dict[int, list[float | None]] = {slice_index: [] for slice_index in estimates}
    for object_id, along in by_object.items():
        course = (courses or {}).get(object_id)
        for slice_index, score in _object_scores(along, sorted(prompted.get(object_id, ())), course).items():
            scores[slice_index].append(score)
    return {slice_index: _of_slice(values, review_below) for slice_index, values in scores.items()}


def _of_slice(values: list[float | None], review_below: float) -> Review:
    known = [value for value in values if value is not None]
    least = min(known, default=None)
    if least is not None and least < review_below:
        return Review(least, True)
    return Review(least, False if known and len(known) == len(values) else None)


def _object_scores(
    along: Mapping[int, Estimate], prompted: list[int], course: Course | None
) -> dict[int, float | None]:
    held = [slice_index for slice_index, estimate in along.items() if estimate.found]
    scores: dict[int, float | None] = {}
    for slice_index, estimate in along.items():
        absent = None if estimate.object_score is None else estimate.object_score < 0
        if not estimate.found:
            within = bool(held) and min(held) < slice_index < max(held)
            broken = course is not None and course.breaks_off_before(slice_index)
            against = within or broken or slice_index in prompted or absent is False
            scores[slice_index] = 0.0 if against else 1.0 if absent else None
        elif absent:
            scores[slice_index] = 0.0
        elif course is None or not prompted:
            scores[slice_index] = estimate.score
        else:
            start = min(prompted, key=lambda candidate: abs(candidate - slice_index))
            scores[slice_index] = _carried_score(along, slice_index, start, course)
    return scores


def _carried_score(along: Mapping[int, Estimate], slice_index: int, start: int, course: Course) -> float | None:
    if along[slice_index].score is None:
        return None if slice_index == start else course.kept(slice_index, start)
    way = range(min(start, slice_index), max(start, slice_index) + 1)
    least = min(score for step in way if step in along and (score := along[step].score) is not None)
    first = along[start].score if start in along else None
    whole = min(first / USUAL_SCORE, 1.0) if first else 1.0
    return least / whole * course.kept(slice_index, start)


def next_slice(scores: Mapping[int, float | None], areas: Mapping[int, int], prompted: Collection[int]) -> int | None:
    """Return the slice to look at next, and to prompt where it is wrong: round it, most pixels are in doubt.

    A slice puts as much of its area in doubt as its score lacks of 1; what counts is the sum over it and the two slices
    on either side. Without any score it is the one halfway from the prompts to the farther end of what was found.

    Args:
        scores: of :class:`Review`, by slice.
        areas: pixels found on each of these slices.
        prompted: the slices that were prompted; none of them is returned.

    Returns:
        One of the slices that hold something; None where no other than the prompted ones does.
    """
    held = sorted(slice_index for slice_index, area in areas.items() if area)
    choice = [slice_index for slice_index in held if slice_index not in prompted]
    if not choice:
        return None
    doubts = {
        slice_index: (1 - score) * areas[slice_index]
        for slice_index in held
        if (score := scores[slice_index]) is not None and slice_index not in prompted
    }
    if doubts:
        near = range(-NEAR, NEAR + 1)
        return max(choice, key=lambda index: sum(doubts.get(index + step, 0.0) for step in near))
    away = {end: min((abs(end - one) for one in prompted), default=0) for end in (held[0], held[-1])}
    end = max(away, key=lambda end: away[end])
    start = min(prompted, key=lambda one: abs(one - end), default=held[0])
    return min(choice, key=lambda index: abs(2 * index - start - end))
