"""Chain: any slice segmenter carried through a volume; the mask of one slice gives the boxes for the next."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np

from pose.cli import UserError
from pose.prompts.prompt import Point, Prompt
from pose.prompts.reach import corrections, objects_pointed_at, stretches, without_parts
from pose.scans.intensity import GreyStack
from pose.segmenters.appearance import Appearance, learn_appearance
from pose.segmenters.chain_settings import ChainSettings
from pose.segmenters.grey_levels import GreyLevels, learn_grey_levels
from pose.segmenters.mask_parts import (
    box_around,
    compact_parts,
    components_touching,
    fill_small_holes,
    opened,
    overlap_of_boxes,
    reach_of,
    stretched_box,
    widened,
)
from pose.segmenters.protocols import (
    LOG_ODDS_LIMIT,
    Finding,
    Prediction,
    SlicePredictions,
    SliceSegmenter,
    log_odds_of,
    united,
)
from pose.segmenters.region_growing import prompted_region
from pose.segmenters.side_views import SideViews, look_from_the_side

LOGGER = logging.getLogger(__name__)

SMALLEST_REACH = 4  # pixels
WELL_FILLED = 0.9  # IoU of the box round what grey levels find with the prompted box
SPARSE = 1 / 3  # of its box; of a mask that fills less of it, the network has seen the rim or a part
PROMPTED_REACH = 3  # pixels that grey levels may add round the network's mask on a prompted slice
STEADY = (0.5, 1.5)  # times its prompted area: an object of such a size has neither leaked nor is about to end
LOOKS_APART = 8  # slices


@dataclass(frozen=True)
class _Track:
    """An object on its way: its last mask, and what the prompted slice taught of it.

    Attributes:
        levels, appearance: its grey levels, and its features where the encoder's cells are fine enough for it.
        mask, log_odds: (rows, columns) on the last slice.
        score, object_score: what the network said of that.
        prompted_area: pixels on the prompted slice.
        views: what planes from the side say.
        by_grey_levels: whether they gave its mask on the prompted slice, in place of the network's.
        looked_on: the slice through whose mask such planes were looked for last.
    """

    levels: GreyLevels
    mask: np.ndarray
    log_odds: np.ndarray = field(repr=False)
    score: float | None = None
    object_score: float | None = None
    appearance: Appearance | None = None
    prompted_area: int = 0
    views: SideViews = SideViews()
    by_grey_levels: bool = False
    looked_on: int = 0

    def prediction(self) -> Prediction:
        return Prediction(self.mask, self.score, self.object_score)


# what lies on the prompted slices, by (object, slice); None where nothing was found
Starts = dict[tuple[int, int], _Track | None]


class Chain:
    """Carries prompts through a volume with a segmenter of single slices; see :mod:`pose.segmenters.chain_settings`.

    Prompted slices come first, then those above, then those below. A slice is encoded once; one that objects prompted
    on different slices reach from both sides, twice; one on which all have ended, never.

    Attributes:
        findings: what was learnt of each object of the volume segmented last, beside its masks.
    """

    def __init__(self, slice_segmenter: SliceSegmenter, settings: ChainSettings = ChainSettings()):
        self.slice_segmenter = slice_segmenter
        self.settings = settings
        self.name = slice_segmenter.name
        self.prompt_kinds = slice_segmenter.prompt_kinds | {"mask"}
        self.findings: dict[int, Finding] = {}

    def segment(self, grey: GreyStack, prompts: Sequence[Prompt]) -> Iterator[SlicePredictions]:
        """Yield the predictions of every slice, once; an object that has ended or was not found has an empty mask.

        Raises:
            UserError: a prompt of a kind that the slice segmenter does not take, or on a slice that is not there.
        """
        starts, begun = self.start(grey, prompts)
        yield from self.carry(grey, prompts, starts, begun)

    def start(self, grey: GreyStack, prompts: Sequence[Prompt]) -> tuple[Starts, dict[int, SlicePredictions]]:
        """Segment the prompted slices.

        Returns:
            The objects on them, and the predictions of these slices, by slice.

        Raises:
            UserError: as :meth:`segment`.
        """
        pointed = objects_pointed_at(prompts)
        self._check(pointed, len(grey))
        if self.settings.side_views and grey.spacing_mm is None:
            LOGGER.info("%s: without the spacing of the slices there are no views from the side", self.name)
        self.findings = {object_id: Finding() for object_id in sorted({prompt.object_id for prompt in pointed})}
        starts: Starts = {}
        begun = {}
        for slice_index in sorted({prompt.slice for prompt in pointed}):
            here = [prompt for prompt in pointed if prompt.slice == slice_index]
            tracks, times = self._segment_prompted(grey, slice_index, here)
            starts.update({(object_id, slice_index): track for object_id, track in tracks.items()})
            begun[slice_index] = _predictions(slice_index, tracks, times, grey.shape[:2])
        return starts, begun

    def carry(
        self, grey: GreyStack, prompts: Sequence[Prompt], starts: Starts, begun: dict[int, SlicePredictions]
    ) -> Iterator[SlicePredictions]:
        """Carry what :meth:`start` found through the volume; yield every slice once."""
        gathered = _Gathering(len({object_id for object_id, _ in starts}))
        for predictions in begun.values():
            yield from gathered.add(predictions)
        steering = stretches(prompts, len(grey)), corrections(prompts)
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
        self, volume: GreyStack, slice_index: int, prompts: Sequence[Prompt]
    ) -> tuple[dict[int, _Track | None], tuple[float | None, float]]:
        """Segment the objects prompted on a slice and learn what they look like; None for one that is not found."""
        began = perf_counter()
        grey = volume[slice_index]
        encode_time = None
        if any(prompt.mask is None for prompt in prompts) or self.settings.feature_weight:
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
                evidence = self.settings.evidence_weight * track.levels.evidence(grey)
                track = self._weigh(track, log_odds_of(found) + evidence, reach)
                track = self._fitting(track, grey, own[object_id])
            tracks[object_id] = track
        tracks = without_overlaps(tracks)
        if self.settings.feature_weight:
            features = self.slice_segmenter.features()
            tracks = {
                object_id: track and replace(track, appearance=learn_appearance(features, track.mask))
                for object_id, track in tracks.items()
            }
        tracks = self._seen_from_the_side(volume, slice_index, tracks)
        return tracks, (encode_time, perf_counter() - began - (encode_time or 0.0))

    def _fitting(self, track: _Track, grey: np.ndarray, prompts: Sequence[Prompt]) -> _Track:
        """Return the track; where its mask does not fit its box, and grey levels give one that does, with that."""
        boxes = [prompt.box for prompt in prompts if prompt.box is not None]
        if len(boxes) < len(prompts):
            return track
        asked = min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes)
        fit = overlap_of_boxes(box_around(track.mask), asked) if track.mask.any() else 0.0
        wrong = fit < self.settings.prompt_fit
        filled_share = track.mask.sum() / sum((b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in boxes)
        if wrong or (self.settings.prompt_fit and filled_share < SPARSE):
            region = np.any([prompted_region(grey, prompt) for prompt in prompts], axis=0)
            region = np.any([np.zeros_like(region), *compact_parts(region)], axis=0)
            filled = overlap_of_boxes(box_around(region), asked) if region.any() else 0.0
            levels = learn_grey_levels(grey, region) if filled > WELL_FILLED else None
            if levels is not None and (wrong or levels.separation > track.levels.separation):
                fit = filled
                log_odds = log_odds_of(Prediction(region))
                track = replace(track, levels=levels, mask=region, log_odds=log_odds, by_grey_levels=True)
        finding = self.findings[prompts[0].object_id]
        finding.prompt_fit = fit if finding.prompt_fit is None else min(fit, finding.prompt_fit)
        return track

    def _seen_from_the_side(
        self, grey: GreyStack, slice_index: int, tracks: dict[int, _Track | None]
    ) -> dict[int, _Track | None]:
        """Return the objects of a prompted slice with what planes from the side say of each."""
        seen: dict[int, _Track | None] = {}
        for object_id, track in tracks.items():
            if track is not None:
                track = replace(track, prompted_area=int(track.mask.sum()), looked_on=slice_index)
                if self.settings.side_views:
                    views = self._views_of(grey, slice_index, object_id, tracks)
                    track = replace(track, views=views)
                    self.findings[object_id].side_planes += len(views.planes)
                    self.findings[object_id].compare(views.pixels(slice_index, track.mask))
            seen[object_id] = track
        return seen

    def _seen_again(
        self, grey: GreyStack, slice_index: int, tracks: dict[int, _Track | None]
    ) -> dict[int, _Track | None]:
        """Return the objects of a slice; those that leave their planes as large as before, with planes through them."""
        seen = dict(tracks)
        for object_id, track in tracks.items():
            confirmed = None if track is None else track.views.confirmed(slice_index, track.mask)
            if track is None or confirmed is None or confirmed >= self.settings.look_again:
                continue
            size = track.mask.sum() / track.prompted_area
            if abs(slice_index - track.looked_on) < LOOKS_APART or not STEADY[0] <= size <= STEADY[1]:
                continue
            views = self._views_of(grey, slice_index, object_id, tracks)
            seen[object_id] = replace(track, views=views if views.planes else track.views, looked_on=slice_index)
        return seen

    def _views_of(
        self, grey: GreyStack, slice_index: int, object_id: int, tracks: dict[int, _Track | None]
    ) -> SideViews:
        """Return what planes through one of the objects of a slice say of it."""
        masks = {key: track.mask for key, track in tracks.items() if track is not None}
        mask = masks.pop(object_id)
        others = np.any(list(masks.values()), axis=0) if masks else None
        return look_from_the_side(self.slice_segmenter, grey, slice_index, mask, others, self.settings.evidence_weight)

    def _weigh(self, track: _Track, log_odds: np.ndarray, reach: np.ndarray) -> _Track:
        """Return the track with the mask that all log-odds together make, within reach and touching its last one."""
        mask = components_touching((log_odds > 0) & reach, track.mask)
        return replace(track, mask=fill_small_holes(mask, self.settings.largest_hole), log_odds=log_odds)

    def _sweep(
        self,
        grey: GreyStack,
        starts: Starts,
        direction: int,
        gathered: _Gathering,
        allowed: dict[int, np.ndarray],
        cuts: dict[tuple[int, int], list[Point]],
    ) -> Iterator[SlicePredictions]:
        """Carry every object in one direction as far as the slices nearer to its prompt than to its next one.

        Args:
            allowed, cuts: where objects may be, see :func:`pose.prompts.reach.stretches` and ``corrections``.
        """
        prompted = {key: sorted(slice_index for other, slice_index in starts if other == key) for key, _ in starts}
        live: dict[int, _Track | None] = {}
        for slice_index in range(len(grey))[::direction]:
            tracks = {}
            for object_id, slices in prompted.items():
                stretch = allowed[object_id]
                reached = [one for one in slices if stretch[slice_index] and stretch[one] == stretch[slice_index]]
                source = min(reached or slices, key=lambda candidate: abs(candidate - slice_index))
                if slice_index == source:
                    live[object_id] = starts[object_id, slice_index]
                elif (slice_index - source) * direction > 0:
                    tracks[object_id] = live[object_id] if reached else None
            if tracks:
                carried, times = self._carry(grey, slice_index, tracks)
                carried = {
                    object_id: _without_parts(track, cuts.get((object_id, slice_index)))
                    for object_id, track in carried.items()
                }
                live.update(carried)
                yield from gathered.add(_predictions(slice_index, carried, times, grey.shape[:2]))

    def _carry(
        self, grey: GreyStack, slice_index: int, tracks: dict[int, _Track | None]
    ) -> tuple[dict[int, _Track | None], tuple[float | None, float | None]]:
        """Segment the slice ``slice_index`` for objects whose last masks lie on the slice before; None has ended."""
        if all(track is None for track in tracks.values()):
            return tracks, (None, None)
        began = perf_counter()
        slice_grey = grey[slice_index]
        self.slice_segmenter.set_image(slice_grey)
        encoded = perf_counter()
        carried = {}
        for object_id, track in tracks.items():
            others = [other.mask for key, other in tracks.items() if key != object_id and other is not None]
            if track is not None:
                track = self._carry_object(slice_grey, slice_index, object_id, track, others)
            carried[object_id] = track
        carried = self._seen_again(grey, slice_index, without_overlaps(carried))
        return carried, (encoded - began, perf_counter() - encoded)

    def _carry_object(
        self, grey: np.ndarray, slice_index: int, object_id: int, track: _Track, others: list[np.ndarray]
    ) -> _Track | None:
        settings = self.settings
        evidence = track.levels.evidence(grey)
        features = np.zeros_like(evidence)
        if track.appearance is not None:
            features = settings.feature_weight * track.appearance.evidence(self.slice_segmenter.features(), grey.shape)
        looks = evidence + features
        farthest = max(SMALLEST_REACH, settings.reach * np.sqrt(track.mask.sum()))
        reach = reach_of(track.mask, farthest, others)
        if track.levels.separation >= settings.separation:
            alike = components_touching(opened((looks > 0) & reach), track.mask)
            alike = fill_small_holes(alike, settings.largest_hole)
            parts = compact_parts(alike) if alike.sum() >= settings.smallest_area else []
            boxes = [box_around(part) for part in parts]
        else:
            parts = compact_parts(track.mask)
            boxes = [stretched_box(part, looks, farthest, settings.inertia) for part in parts]
        if not boxes:
            return None
        found = [
            self.slice_segmenter.predict(Prompt(slice_index, object_id, box=widened(box, settings.margin, grey.shape)))
            for box in boxes
        ]
        log_odds = np.max([log_odds_of(one) for one in found], axis=0)
        log_odds = log_odds + settings.evidence_weight * evidence + features
        if settings.persistence:
            before = np.clip(track.log_odds, -2 * LOG_ODDS_LIMIT, 2 * LOG_ODDS_LIMIT)
            log_odds = log_odds + settings.persistence * before
        carried = self._weigh(track, log_odds, reach)
        area = int(carried.mask.sum())
        if area < settings.smallest_area or looks[carried.mask].mean() < settings.end_evidence:
            return None
        finding = self.findings[object_id]
        if area > settings.largest_growth * track.prompted_area:
            finding.leaked = (*finding.leaked, slice_index)
            return None
        confirmed = track.views.confirmed(slice_index, carried.mask)
        if confirmed is not None and confirmed < settings.confirmed:
            # one part may have leaked where another is still right
            carried = replace(carried, mask=track.views.confirmed_parts(slice_index, carried.mask, settings.confirmed))
            if carried.mask.sum() < settings.smallest_area:
                return None
        finding.compare(track.views.pixels(slice_index, carried.mask))
        score, object_score = (_mean(found, name, parts) for name in ("score", "object_score"))
        return replace(carried, score=score, object_score=object_score)


def _without_parts(track: _Track | None, points: list[Point] | None) -> _Track | None:
    """Return an object without the parts at ``points``; None where nothing is left."""
    if track is None or not points:
        return track
    mask = without_parts(track.mask, points)
    return replace(track, mask=mask) if mask.any() else None


def _predictions(
    slice_index: int, tracks: dict[int, _Track | None], times: tuple[float | None, float | None], shape: tuple[int, int]
) -> SlicePredictions:
    """Return objects of a slice as predictions; those that have ended have an empty mask."""
    objects = {
        object_id: Prediction(np.zeros(shape, dtype=bool)) if track is None else track.prediction()
        for object_id, track in tracks.items()
    }
    return SlicePredictions(slice_index, objects, *times)


class _Gathering:
    """Predictions that wait until their slice has all of so many objects."""

    def __init__(self, objects: int):
        self.objects = objects
        self.waiting: dict[int, SlicePredictions] = {}

    def add(self, more: SlicePredictions) -> Iterator[SlicePredictions]:
        """Add objects of a slice; yield the slice once it is complete."""
        before = self.waiting.pop(more.slice, SlicePredictions(more.slice))
        together = SlicePredictions(
            more.slice,
            dict(sorted({**before.objects, **more.objects}.items())),
            _sum_of(before.set_image_time, more.set_image_time),
            _sum_of(before.predict_image_time, more.predict_image_time),
        )
        if len(together.objects) == self.objects:
            yield together
        else:
            self.waiting[more.slice] = together


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
