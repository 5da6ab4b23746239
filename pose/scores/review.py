"""Which slices of a result a person should look at, from what the model itself says of its masks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

# Measured on a chest CT, for a Dice below 0.8: in chains of LiteMedSAM and of SAM 2 tiny, any value from 0.80 to 0.88
# finds nearly all there is to find, and lower ones lose most of it; with a prompt on every slice, 0.82 does best.
REVIEW_BELOW = 0.82


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
    chained: bool = False,
) -> dict[int, Review]:
    """Decide for each slice whether a person should look at it.

    An object counts with 0 where it is not found although it was prompted there, although the model says that it is
    present, or although slices before and after hold it; and where it is found although the model says that it is
    absent. Where the model says that it is absent beyond the slices that hold it, it counts with 1. Elsewhere it counts
    with its score. A slice of a chain knows only the slice before it, and cannot be better than what it was carried
    from: it counts with the least score on the way from the nearest prompted slice.

    Args:
        estimates: by slice, then by object; an object that a slice lacks was not looked for there.
        prompted: the prompted slices of each object.
        review_below: score below which a slice needs review, 0 to 1; with 0 none does.
        chained: whether masks were carried from slice to slice, without a memory of the prompted one.

    Returns:
        A review for each of the slices. One on which no object was looked for has no estimate.
    """
    by_object: dict[int, dict[int, Estimate]] = {}
    for slice_index, objects in estimates.items():
        for object_id, estimate in objects.items():
            by_object.setdefault(object_id, {})[slice_index] = estimate
    scores: dict[int, list[float | None]] = {slice_index: [] for slice_index in estimates}
    for object_id, along in by_object.items():
        for slice_index, score in _object_scores(along, sorted(prompted.get(object_id, ())), chained).items():
            scores[slice_index].append(score)
    return {slice_index: _of_slice(values, review_below) for slice_index, values in scores.items()}


def _of_slice(values: list[float | None], review_below: float) -> Review:
    known = [value for value in values if value is not None]
    least = min(known, default=None)
    if least is not None and least < review_below:
        return Review(least, True)
    return Review(least, False if known and len(known) == len(values) else None)


def _object_scores(along: Mapping[int, Estimate], prompted: list[int], chained: bool) -> dict[int, float | None]:
    held = [slice_index for slice_index, estimate in along.items() if estimate.found]
    scores: dict[int, float | None] = {}
    for slice_index, estimate in along.items():
        absent = None if estimate.object_score is None else estimate.object_score < 0
        if not estimate.found:
            within = bool(held) and min(held) < slice_index < max(held)
            against = within or slice_index in prompted or absent is False
            scores[slice_index] = 0.0 if against else 1.0 if absent else None
        elif absent:
            scores[slice_index] = 0.0
        elif estimate.score is None or not (chained and prompted):
            scores[slice_index] = estimate.score
        else:
            start = min(prompted, key=lambda candidate: abs(candidate - slice_index))
            way = range(min(start, slice_index), max(start, slice_index) + 1)
            scores[slice_index] = min(
                score for step in way if step in along and (score := along[step].score) is not None
            )
    return scores
