"""Chain: any slice segmenter carried through a volume; the mask of one slice gives the boxes for the next."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np

from pose.cli import UserError
from pose.prompts.prompt import Point, Prompt
from pose.prompts.reach import corrections, objects_pointed_at, stretches, without_parts
from pose.scans.intensity import GreyStack
from pose.segmenters.grey_levels import LOG_ODDS_LIMIT, GreyLevels, learn_grey_levels
from pose.segmenters.mask_parts import (
    box_around,
    compact_parts,
    components_touching,
    fill_small_holes,
    opened,
    reach_of,
    stretched_box,
    widened,
)
from pose.segmenters.protocols import Prediction, SlicePredictions, SliceSegmenter, united

SMALLEST_REACH = 4  # pixels
PROMPTED_REACH = 3  # pixels that grey levels may add round the network's mask on a prompted slice

RULES = """\
how a chain carries an object from slice to slice:
  The prompted slice is segmented from the prompt as it was given; a prompt that is a mask is the object itself. Its
  grey levels are compared with those round it, which gives each level a log-likelihood of being the object's: the
  evidence. On the next slice
  1. the object may lie only within reach of its last mask (--chain_reach), and no nearer to another object's;
  2. where evidence tells object and surroundings apart on the prompted slice (--chain_separation), each connected part
     of what looks like the object and touches the last mask gives a box: parts split, merge, grow and come back.
     Elsewhere the last mask is stretched or squeezed, side by side, to gather the most evidence, and gives the box;
     what moving a side gains must have more evidence than --chain_inertia;
  3. the network segments each box, widened by --chain_margin; its log-odds plus the evidence (times
     --chain_evidence_weight) decide on each pixel;
  4. what does not touch the last mask is dropped, small holes are filled;
  5. the object has ended where less than --chain_smallest_area is left, or where the mask looks, on average, more like
     the surroundings than --chain_end_evidence allows. It stays ended on all further slices of that direction.
  A slice between two prompted ones is carried from the nearer (of equally near ones, from the lower)."""


@dataclass(frozen=True)
class ChainSettings:
    """How a chain decides.

    Attributes:
        reach: how far a mask may move from slice to slice, as a share of the square root of its area; at least 4
            pixels.
        separation: the share of pixels (0.5 to 1) that grey levels alone must put on the right side, on the prompted
            slice, for the boxes to follow them.
        inertia: mean log-odds that the pixels gained by moving a side of the box must have, where grey levels alone do
            not tell object and surroundings apart; high values keep the box as it was.
        margin: pixels by which every box is widened on each side before the network sees it.
        evidence_weight: of the grey levels' log-odds against the network's; 0 leaves all to the network.
        end_evidence: mean log-odds of a mask's grey levels below which the object has ended.
        smallest_area: pixels below which the object has ended.
        largest_hole: holes up to this share of a mask's area are filled.
    """

    reach: float = 0.2
    separation: float = 0.85
    inertia: float = 0.3
    margin: int = 0
    evidence_weight: float = 1.0
    end_evidence: float = 0.0
    smallest_area: int = 8
    largest_hole: float = 0.02


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each of :class:`ChainSettings`."""
    default = ChainSettings()
    group = parser.add_argument_group("chain", "how --method chain carries an object; the rules stand below")
    group.add_argument(
        "--chain_reach",
        type=float,
        default=default.reach,
        metavar="SHARE",
        help="how far a mask may move a slice, as a share of the root of its area (default: %(default)s)",
    )
    group.add_argument(
        "--chain_separation",
        type=float,
        default=default.separation,
        metavar="SHARE",
        help="share of pixels that grey levels must tell apart to give the boxes (default: %(default)s)",
    )
    group.add_argument(
        "--chain_inertia",
        type=float,
        default=default.inertia,
        metavar="LOG_ODDS",
        help="evidence that moving a side of a box needs where they do not (default: %(default)s)",
    )
    group.add_argument(
        "--chain_margin",
        type=int,
        default=default.margin,
        metavar="PIXELS",
        help="widen every box on each side before the network sees it (default: %(default)s)",
    )
    group.add_argument(
        "--chain_evidence_weight",
        type=float,
        default=default.evidence_weight,
        metavar="WEIGHT",
        help="weight of grey levels against the network, 0 for none (default: %(default)s)",
    )
    group.add_argument(
        "--chain_end_evidence",
        type=float,
        default=default.end_evidence,
        metavar="LOG_ODDS",
        help="mean evidence of a mask below which the object has ended (default: %(default)s)",
    )
    group.add_argument(
        "--chain_smallest_area",
        type=int,
        default=default.smallest_area,
        metavar="PIXELS",
        help="area below which the object has ended (default: %(default)s)",
    )


def describe_rules() -> str:
    """Return the rules of the chain as a paragraph for ``--help``."""
    return RULES


@dataclass(frozen=True)
class _Track:
    """An object on its way: its last mask, and what the prompted slice taught of its grey levels."""

    levels: GreyLevels
    mask: np.ndarray
    log_odds: np.ndarray = field(repr=False)
    score: float | None = None
    object_score: float | None = None

    def prediction(self) -> Prediction:
        return Prediction(self.mask, self.score, self.object_score)


class Chain:
    """Carries prompts through a volume with a segmenter of single slices; see :func:`describe_rules`.

    Prompted slices come first, then those above, then those below. A slice is encoded once; one that objects prompted
    on different slices reach from both sides, twice; one on which all have ended, never.
    """

    def __init__(self, slice_segmenter: SliceSegmenter, settings: ChainSettings = ChainSettings()):
        self.slice_segmenter = slice_segmenter
        self.settings = settings
        self.name = slice_segmenter.name
        self.prompt_kinds = slice_segmenter.prompt_kinds | {"mask"}

    def segment(self, grey: GreyStack, prompts: Sequence[Prompt]) -> Iterator[SlicePredictions]:
        """Yield the predictions of every slice, once; an object that has ended or was not found has an empty mask.

        Raises:
            UserError: a prompt of a kind that the slice segmenter does not take, or on a slice that is not there.
        """
        pointed = objects_pointed_at(prompts)
        self._check(pointed, len(grey))
        object_ids = sorted({prompt.object_id for prompt in pointed})
        gathered = _Gathering(object_ids)
        steering = stretches(prompts, len(grey)), corrections(prompts)
        starts: dict[tuple[int, int], _Track | None] = {}
        for index in sorted({prompt.slice for prompt in pointed}):
            here = [prompt for prompt in pointed if prompt.slice == index]
            tracks, times = self._segment_prompted(grey[index], here)
            starts.update({(object_id, index): track for object_id, track in tracks.items()})
            yield from gathered.add(index, tracks, times, grey.shape[:2])
        for direction in (1, -1):
            yield from self._sweep(grey, starts, direction, gathered, *steering)

    def _check(self, prompts: Sequence[Prompt], slices: int) -> None:
        for prompt in prompts:
            where = f"{self.name}: prompt of object {prompt.object_id} on slice {prompt.slice}"
            if not 0 <= prompt.slice < slices:
                raise UserError(f"{where}: the volume has slices 0 to {slices - 1}")
            given = {
                "points": bool(prompt.positive_points),
                "box": prompt.box is not None,
                "mask": prompt.mask is not None,
            }
            if not any(given[kind] for kind in self.prompt_kinds):
                raise UserError(f"{where}: holds none of {', '.join(sorted(self.prompt_kinds))}")

    def _segment_prompted(
        self, grey: np.ndarray, prompts: Sequence[Prompt]
    ) -> tuple[dict[int, _Track | None], tuple[float | None, float]]:
        """Segment the objects prompted on a slice and learn their grey levels; None for an object that is not found."""
        began = perf_counter()
        encode_time = None
        if any(prompt.mask is None for prompt in prompts):
            self.slice_segmenter.set_image(grey)
            encode_time = perf_counter() - began
        own: dict[int, list[Prompt]] = {}
        for prompt in prompts:
            own.setdefault(prompt.object_id, []).append(prompt)
        predictions = {
            object_id: united(
                [
                    self.slice_segmenter.predict(prompt) if prompt.mask is None else Prediction(prompt.mask > 0)
                    for prompt in of_object
                ]
            )
            for object_id, of_object in own.items()
        }
        tracks: dict[int, _Track | None] = {}
        for object_id, found in predictions.items():
            if not found.mask.any():
                tracks[object_id] = None
                continue
            others = [other.mask for key, other in predictions.items() if key != object_id]
            levels = learn_grey_levels(grey, found.mask, np.any(others, axis=0) if others else None)
            track = _Track(levels, found.mask, log_odds_of(found), found.score, found.object_score)
            if all(prompt.mask is None for prompt in own[object_id]):
                reach = reach_of(found.mask, PROMPTED_REACH, others)
                track = self._weigh(track, grey, log_odds_of(found), reach)
            tracks[object_id] = track
        return without_overlaps(tracks), (encode_time, perf_counter() - began - (encode_time or 0.0))

    def _weigh(self, track: _Track, grey: np.ndarray, log_odds: np.ndarray, reach: np.ndarray) -> _Track:
        """Return the track with the mask on which the network's log-odds and the grey levels' agree, within reach."""
        total = log_odds + self.settings.evidence_weight * track.levels.evidence(grey)
        mask = components_touching((total > 0) & reach, track.mask)
        return replace(track, mask=fill_small_holes(mask, self.settings.largest_hole), log_odds=total)

    def _sweep(
        self,
        grey: GreyStack,
        starts: dict[tuple[int, int], _Track | None],
        direction: int,
        gathered: _Gathering,
        allowed: dict[int, np.ndarray],
        cuts: dict[tuple[int, int], list[Point]],
    ) -> Iterator[SlicePredictions]:
        """Carry every object in one direction as far as the slices nearer to its prompt than to its next one.

        Args:
            allowed, cuts: where objects may be, see :func:`pose.prompts.reach.stretches` and ``corrections``.
        """
        prompted = {key: sorted(index for other, index in starts if other == key) for key, _ in starts}
        live: dict[int, _Track | None] = {}
        for index in range(len(grey))[::direction]:
            tracks = {}
            for object_id, slices in prompted.items():
                stretch = allowed[object_id]
                reached = [one for one in slices if stretch[index] and stretch[one] == stretch[index]]
                source = min(reached or slices, key=lambda candidate: abs(candidate - index))
                if index == source:
                    live[object_id] = starts[object_id, index]
                elif (index - source) * direction > 0:
                    tracks[object_id] = live[object_id] if reached else None
            if tracks:
                carried, times = self._carry(grey, index, tracks)
                carried = {
                    object_id: _without_parts(track, cuts.get((object_id, index)))
                    for object_id, track in carried.items()
                }
                live.update(carried)
                yield from gathered.add(index, carried, times, grey.shape[:2])

    def _carry(
        self, grey: GreyStack, index: int, tracks: dict[int, _Track | None]
    ) -> tuple[dict[int, _Track | None], tuple[float | None, float | None]]:
        """Segment the slice ``index`` for objects whose last masks lie on the slice before; None has ended."""
        if all(track is None for track in tracks.values()):
            return tracks, (None, None)
        began = perf_counter()
        slice_grey = grey[index]
        self.slice_segmenter.set_image(slice_grey)
        encoded = perf_counter()
        carried = {}
        for object_id, track in tracks.items():
            others = [other.mask for key, other in tracks.items() if key != object_id and other is not None]
            if track is not None:
                track = self._carry_object(slice_grey, index, object_id, track, others)
            carried[object_id] = track
        return without_overlaps(carried), (encoded - began, perf_counter() - encoded)

    def _carry_object(
        self, grey: np.ndarray, index: int, object_id: int, track: _Track, others: list[np.ndarray]
    ) -> _Track | None:
        settings = self.settings
        evidence = track.levels.evidence(grey)
        farthest = max(SMALLEST_REACH, settings.reach * np.sqrt(track.mask.sum()))
        reach = reach_of(track.mask, farthest, others)
        if track.levels.separation >= settings.separation:
            alike = components_touching(opened((evidence > 0) & reach), track.mask)
            alike = fill_small_holes(alike, settings.largest_hole)
            parts = compact_parts(alike) if alike.sum() >= settings.smallest_area else []
            boxes = [box_around(part) for part in parts]
        else:
            parts = compact_parts(track.mask)
            boxes = [stretched_box(part, evidence, farthest, settings.inertia) for part in parts]
        if not boxes:
            return None
        found = [
            self.slice_segmenter.predict(Prompt(index, object_id, box=widened(box, settings.margin, grey.shape)))
            for box in boxes
        ]
        carried = self._weigh(track, grey, np.max([log_odds_of(one) for one in found], axis=0), reach)
        area = int(carried.mask.sum())
        if area < settings.smallest_area or evidence[carried.mask].mean() < settings.end_evidence:
            return None
        score, object_score = (_mean(found, name, parts) for name in ("score", "object_score"))
        return replace(carried, score=score, object_score=object_score)


def _without_parts(track: _Track | None, points: list[Point] | None) -> _Track | None:
    """Return an object without the parts at ``points``; None where nothing is left."""
    if track is None or not points:
        return track
    mask = without_parts(track.mask, points)
    return replace(track, mask=mask) if mask.any() else None


class _Gathering:
    """Predictions that wait until their slice has all objects."""

    def __init__(self, object_ids: Sequence[int]):
        self.object_ids = object_ids
        self.waiting: dict[int, SlicePredictions] = {}

    def add(
        self,
        index: int,
        tracks: dict[int, _Track | None],
        times: tuple[float | None, float | None],
        shape: tuple[int, int],
    ) -> Iterator[SlicePredictions]:
        """Add objects of a slice, those that have ended with an empty mask; yield the slice once it is complete."""
        before = self.waiting.pop(index, SlicePredictions(index))
        objects = {
            object_id: Prediction(np.zeros(shape, dtype=bool)) if track is None else track.prediction()
            for object_id, track in tracks.items()
        }
        together = SlicePredictions(
            index,
            dict(sorted({**before.objects, **objects}.items())),
            _sum_of(before.set_image_time, times[0]),
            _sum_of(before.predict_image_time, times[1]),
        )
        if len(together.objects) == len(self.object_ids):
            yield together
        else:
            self.waiting[index] = together


def log_odds_of(prediction: Prediction) -> np.ndarray:
    """Return a network's logits limited to +-4, as the grey levels' are; +-4 by the mask where there are no logits."""
    if prediction.logits is None:
        return np.where(prediction.mask, LOG_ODDS_LIMIT, -LOG_ODDS_LIMIT).astype(np.float32)
    return np.clip(prediction.logits, -LOG_ODDS_LIMIT, LOG_ODDS_LIMIT)


def without_overlaps(tracks: dict[int, _Track | None]) -> dict[int, _Track | None]:
    """Give each pixel that several objects claim to the one with the highest log-odds, of equals to the lowest id."""
    found = {object_id: track for object_id, track in sorted(tracks.items()) if track is not None}
    if len(found) < 2:
        return tracks
    claims = np.stack([np.where(track.mask, track.log_odds, -np.inf) for track in found.values()])
    winner = claims.argmax(axis=0)
    result = dict(tracks)
    for rank, (object_id, track) in enumerate(found.items()):
        mask = track.mask & (winner == rank)
        result[object_id] = replace(track, mask=mask) if mask.any() else None
    return result


def _mean(found: Sequence[Prediction], name: str, parts: Sequence[np.ndarray]) -> float | None:
    """Return a score of an object as the mean over its parts, weighted by their areas."""
    values = [getattr(one, name) for one in found]
    return None if None in values else float(np.average(values, weights=[part.sum() for part in parts]))


def _sum_of(*times: float | None) -> float | None:
    known = [time for time in times if time is not None]
    return sum(known) if known else None
