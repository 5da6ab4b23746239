"""What was found in a volume: its labels, what the model says of them, and what can be done with them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pose.cli import UserError
from pose.prompts.prompt import Prompt
from pose.prompts.reach import pointing, stretches
from pose.scans.intensity import DisplaySlices, GreyStack
from pose.scans.masks import read_mask, write_mask
from pose.scans.volume import Volume, volume_suffix
from pose.scores import metrics
from pose.scores.likely_dice import Calibration, LikelyDice, Signs, together
from pose.scores.review import REVIEW_BELOW, Course, Estimate, Review, next_slice, review
from pose.segmenters import Finding, Prediction, SlicePredictions

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass
class Segmentation:
    """The objects found in a scan.

    Attributes:
        scan: the scan.
        grey: its slices as the model saw them.
        prompts: what the model was asked.
        chained: whether masks were carried from slice to slice, without a memory of the prompted one.
        review_below: a slice with a lower score is to be reviewed.
        calibration: what makes a likely Dice of what the run says of itself; None where nobody calibrated that.
        findings: what was learnt of each object beside its masks; there once all slices are.
        labels: (rows, columns, slices), 0 for background, and the number of the object elsewhere.
        estimates: what the model says of each object, by slice.
        areas: pixels of each object, by slice.
    """

    scan: Volume
    grey: GreyStack
    prompts: Sequence[Prompt]
    chained: bool = False
    review_below: float = REVIEW_BELOW
    calibration: Calibration | None = None
    findings: Mapping[int, Finding] = field(default_factory=dict)
    labels: np.ndarray = field(init=False)
    estimates: dict[int, dict[int, Estimate]] = field(default_factory=dict)
    areas: dict[int, dict[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows, columns, slices = self.grey.shape
        self.labels = np.zeros((slices, rows, columns), np.uint8).transpose(1, 2, 0)  # a slice lies in one piece

    def add(self, found: SlicePredictions) -> None:
        """Take up the objects of one slice."""
        if max(found.objects, default=0) > np.iinfo(self.labels.dtype).max:
            self.labels = self.labels.astype(np.uint16)
        here = label_map(found.objects, self.labels.shape[:2])
        self.labels[:, :, found.slice] = here
        counts = np.bincount(here.ravel(), minlength=max(found.objects, default=0) + 1).tolist()
        self.areas[found.slice] = {object_id: counts[object_id] for object_id in found.objects}
        self.estimates[found.slice] = {
            object_id: Estimate(bool(one.mask.any()), one.score, one.object_score)
            for object_id, one in found.objects.items()
        }

    @property
    def object_ids(self) -> list[int]:
        """The numbers of the objects that were looked for."""
        return sorted({object_id for objects in self.estimates.values() for object_id in objects})

    def areas_of(self, object_id: int) -> np.ndarray:
        """Return (slices,) how many pixels an object has on each slice."""
        counts = [self.areas.get(index, {}).get(object_id, 0) for index in range(self.labels.shape[2])]
        return np.array(counts, dtype=np.int64)

    def signs(self, object_id: int) -> Signs | None:
        """Return what speaks for an object as a whole; None where nothing was found or learnt of it."""
        finding = self.findings.get(object_id)
        of_object = {index: objects[object_id] for index, objects in self.estimates.items() if object_id in objects}
        scores = [one.score for one in of_object.values() if one.found and one.score is not None]
        if finding is None or not scores:
            return None
        areas = self.areas_of(object_id)
        prompted = max((int(areas[one.slice]) for one in self.prompts if one.object_id == object_id), default=0)
        growth = float(areas.max() / max(prompted, 1))
        region_grown = finding.method == "region_growing"
        return Signs(float(np.mean(scores)), finding.side_agreement, region_grown, growth)

    @cached_property
    def likely_dice(self) -> dict[int, LikelyDice]:
        """The Dice that each object is likely to have, of those of which it can be told; once all slices are there."""
        if self.calibration is None:
            return {}
        signs = {object_id: self.signs(object_id) for object_id in self.object_ids}
        return {object_id: self.calibration.estimate(one) for object_id, one in signs.items() if one is not None}

    @property
    def likely_dice_of_volume(self) -> LikelyDice | None:
        """The Dice that all objects together are likely to have, each counting by its voxels; None where it cannot be
        told of each that was found.
        """
        numbers = {object_id: int(self.areas_of(object_id).sum()) for object_id in self.object_ids}
        found = {object_id: number for object_id, number in numbers.items() if number}
        if not found or not found.keys() <= self.likely_dice.keys():
            return None
        return together([self.likely_dice[object_id] for object_id in found], list(found.values()))

    @cached_property
    def reviews(self) -> dict[int, Review]:
        """What speaks for the masks of each slice; to be asked for once all slices are there."""
        prompted: dict[int, set[int]] = {}
        for prompt in pointing(self.prompts):  # where an object was said not to be, it is not missing
            prompted.setdefault(prompt.object_id, set()).add(prompt.slice)
        courses = self._courses() if self.chained else None
        return review(self.estimates, prompted, review_below=self.review_below, courses=courses)

    def _courses(self) -> dict[int, Course]:
        """Return how the masks of each object go from slice to slice."""
        ids, slices = self.object_ids, self.labels.shape[2]
        areas = {object_id: self.areas_of(object_id) for object_id in ids}
        shared = np.zeros((slices - 1, max(ids, default=0) + 1), dtype=np.int64)
        for index in range(slices - 1):
            here = self.labels[:, :, index]
            same = here[(here > 0) & (here == self.labels[:, :, index + 1])]
            shared[index] = np.bincount(same, minlength=shared.shape[1])
        anywhere = np.ones(slices, dtype=bool)
        allowed = stretches(self.prompts, slices)
        courses = {}
        for object_id, counts in areas.items():
            overlaps = 2 * shared[:, object_id] / np.maximum(counts[1:] + counts[:-1], 1)
            courses[object_id] = Course(counts, overlaps, allowed.get(object_id, anywhere) > 0)
        return courses

    @property
    def next_slice(self) -> int | None:
        """The slice to look at next, and to prompt where it is wrong, see :func:`pose.scores.review.next_slice`."""
        prompted = {prompt.slice for prompt in self.prompts}
        areas = {index: sum(self.areas[index].values()) for index in self.reviews}
        return next_slice({index: one.score for index, one in self.reviews.items()}, areas, prompted)

    @property
    def scores(self) -> np.ndarray:
        """(slices,) the model's estimate of the IoU, the mean over the objects of a slice; NaN where it makes none."""
        scores = np.full(self.labels.shape[2], np.nan)
        for slice_index, objects in self.estimates.items():
            mean = mean_of(estimate.score for estimate in objects.values())
            scores[slice_index] = np.nan if mean is None else mean
        return scores

    @property
    def to_review(self) -> list[int]:
        """The slices that a person should look at."""
        return sorted(slice_index for slice_index, one in self.reviews.items() if one.needed)

    def write_mask(self, path: Path | str) -> None:
        """Write the labels in the geometry of the scan: .nii.gz or .nii, or .npz where the geometry is unknown.

        Raises:
            UserError: another suffix, NIfTI for a scan of unknown geometry, or a folder that cannot be written to.
        """
        if self.scan.affine is None and volume_suffix(Path(path)) in (".nii", ".nii.gz"):
            raise UserError(f"{path}: NIfTI needs a geometry, and that of {self.scan.grid.name} is unknown; write .npz")
        write_mask(path, self.labels, self.scan)

    def score(self, truth: Volume | np.ndarray | Path | str) -> dict[str, float | int]:
        """Return Dice, Jaccard, surface distances … of the volume, see :func:`pose.scores.metrics.volume_metrics`.

        Args:
            truth: (rows, columns, slices) labels, or a file of them; all that is not 0 is the object.

        Raises:
            UserError: a file that cannot be read, or is no mask of this scan.
        """
        return metrics.volume_metrics(self._truth(truth), self.labels, self.scan.voxel_mm)

    def show(self, truth: Volume | np.ndarray | Path | str | None = None, title: str | None = None) -> Image:
        """Return the contact sheet as a picture; a notebook displays it, elsewhere ``.show()`` or ``.save(path)``."""
        from PIL import Image

        from pose.figures import overlays
        from pose.figures.upright import edges_of, upright

        known = None if truth is None else self._truth(truth)
        dice = None
        if known is not None:
            pairs = [
                (known[:, :, slice_index] > 0, self.labels[:, :, slice_index] > 0)
                for slice_index in range(known.shape[2])
            ]
            dice = [metrics.dice(*pair) for pair in pairs]
        turn = upright(self.scan)
        figure = overlays.contact_sheet_figure(
            DisplaySlices(self.scan),
            self.labels,
            known,
            dice,
            prompts=self.prompts,
            title=title,
            spacing_mm=self.scan.spacing_mm,
            turn=turn,
            edges=edges_of(self.scan, turn),
            objects=self.object_ids,
        )
        return Image.open(io.BytesIO(overlays.png_of(figure)))

    def _truth(self, truth: Volume | np.ndarray | Path | str) -> np.ndarray:
        if isinstance(truth, (str, Path)):
            truth = read_mask(truth, self.scan)
        return truth.voxels if isinstance(truth, Volume) else np.asarray(truth)


def label_map(objects: dict[int, Prediction], shape: tuple[int, ...]) -> np.ndarray:
    """Paint the objects of a slice with their ids; where two overlap, the one with the larger logit (or lower id) wins.

    Returns:
        (rows, columns) uint16.
    """
    labels = np.zeros(shape, dtype=np.uint16)
    strongest = np.full(shape, -np.inf, dtype=np.float32)
    for object_id, prediction in sorted(objects.items()):
        strength = prediction.logits if prediction.logits is not None else np.zeros(shape, dtype=np.float32)
        wins = prediction.mask & (strength > strongest)
        labels[wins] = object_id
        strongest[wins] = strength[wins]
    return labels


def mean_of(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are there, or None."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
