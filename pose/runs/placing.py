"""Placing: a seed kept by where it lies and what it looks like, and prompts for other volumes made of it.

Beside :mod:`pose.segmenters.placement`, which works on arrays, this knows of volumes, crops and models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pose.cli import UserError
from pose.prompts.prompt import Prompt
from pose.runs.case import Case
from pose.runs.crop import Crop, crop_volume
from pose.runs.model import Model
from pose.runs.summary import Warned
from pose.scans.intensity import likely_unit
from pose.scans.registration import AmbiguousTurnError, Registration, Upright, register, to_upright, upright
from pose.segmenters import SliceSegmenter
from pose.segmenters.grey_features import GreyFeatures
from pose.segmenters.mask_parts import box_around
from pose.segmenters.placement import (
    DOUBTFUL_SCORE,
    Placed,
    SeedObject,
    SeedPlace,
    paired_slice,
    place,
    prototypes_of,
    seed_object,
)

# Hounsfield units between which scans are compared. In the wide clip an abdomen is one grey; in the narrow one a lung
# is as black as the air round the body.
LUNG_CLIP, SOFT_TISSUE_CLIP = (-1000.0, 300.0), (-200.0, 300.0)
# Median of an object's values below which it is lung, or another thing with air in it.
MOST_OF_LUNG_HU = -300.0


@dataclass(frozen=True)
class Found:
    """An object of a seed in a volume.

    Attributes:
        placed: where.
        seed: the number of the seed that was the best, from 0.
    """

    placed: Placed
    seed: int

    def describe(self) -> dict[str, Any]:
        """Return what a run manifest says of it."""
        prompt = self.placed.prompt
        return {
            "object_id": prompt.object_id,
            "slice": prompt.slice,
            "score": round(self.placed.score, 4),
            "correlation": round(self.placed.correlation, 4),
            "seed": self.seed,
        }

    def doubt(self) -> Warned | None:
        """Return the warning that the object is perhaps not there."""
        if self.placed.score >= DOUBTFUL_SCORE:
            return None
        prompt, score = self.placed.prompt, self.placed.score
        text = f"object {prompt.object_id}: the object may not be in this scan (score {score:.2f} on slice "
        return Warned("doubtful_place", f"{text}{prompt.slice}); look at it, or prompt this scan by itself")


def places_of_seed(model: Model, case: Case, prompts: Sequence[Prompt], crop: str) -> list[SeedPlace]:
    """Carry a seed's prompts through its own volume, and keep what finds its objects elsewhere, for each slice.

    Args:
        prompts: of kinds that the model takes.

    Raises:
        UserError: nothing is found on a prompted slice.
    """
    shape = case.volume.voxels.shape
    masks = {prompt.object_id: np.zeros(shape, dtype=bool) for prompt in prompts}
    carried = model.carry(case.grey, prompts, crop)
    for found in carried.predictions:
        for object_id, one in found.objects.items():
            masks[object_id][:, :, found.slice] = one.mask
    encoder, voxel_to_mm, grid = slice_segmenter_of(model), _voxel_to_mm(case), _Grid(case)
    places = []
    for slice_index in sorted({prompt.slice for prompt in prompts}):
        here = sorted({prompt.object_id for prompt in prompts if prompt.slice == slice_index})
        inside = np.any([masks[object_id][:, :, slice_index] for object_id in here], axis=0)
        scan, hounsfield, clip = _scan_of_seed(grid, slice_index, inside)
        encoder.set_image(carried.crop.grey[slice_index])
        features = encoder.features()
        objects = {}
        for object_id in here:
            seen = _inside(carried.crop, masks[object_id][:, :, slice_index])
            prototypes = prototypes_of(features, seen) if seen.any() else None
            kept = seed_object(masks[object_id], slice_index, scan, voxel_to_mm, prototypes)
            if kept is None:
                what = f"nothing was found of object {object_id} on the prompted slice {slice_index} of the seed"
                raise UserError(f"{case.job.image_path}: {what}; look at its prompt and window")
            objects[object_id] = kept
        places.append(SeedPlace(scan, objects, clip, hounsfield))
    return places


def centres_of_seed(case: Case, prompts: Sequence[Prompt]) -> list[SeedPlace]:
    """Keep where a seed's prompts lie in it, for each slice, without a mask: enough to find the slice elsewhere."""
    places, grid = [], _Grid(case)
    for slice_index in sorted({prompt.slice for prompt in prompts}):
        marked: dict[int, np.ndarray] = {}
        for prompt in (one for one in prompts if one.slice == slice_index):
            pixels = _pointed_at(prompt, case.volume.voxels.shape[:2])
            marked[prompt.object_id] = pixels | marked.get(prompt.object_id, np.zeros_like(pixels))
        scan, hounsfield, clip = _scan_of_seed(grid, slice_index, np.any(list(marked.values()), axis=0))
        to_grid = np.linalg.inv(scan.to_voxel)
        objects = {
            object_id: SeedObject((to_grid @ [*np.argwhere(pixels).mean(axis=0), slice_index, 1.0])[:3])
            for object_id, pixels in sorted(marked.items())
        }
        places.append(SeedPlace(scan, objects, clip, hounsfield))
    return places


def find(model: Model, case: Case, seeds: Sequence[SeedPlace], crop: str) -> list[Found]:
    """Find the objects of seeds in a volume: each where, of all seeds, the score is the best.

    Raises:
        UserError: an object is not found, or a volume of unknown geometry could lie in several ways.
    """
    encoder, seen, grid = slice_segmenter_of(model), crop_volume(crop, case.grey), _Grid(case)
    best: dict[int, Found | None] = {object_id: None for seed in seeds for object_id in seed.objects}
    for number, seed in enumerate(seeds):
        scan, laid = grid.laid_on(seed)
        shift = np.eye(4)
        shift[:2, 3] = [-edge for edge in seen.box[:2]]
        for object_id, one in seed.objects.items():
            here = replace(scan, to_voxel=shift @ scan.to_voxel)
            placed = place(encoder, seen.grey, one, here, laid, object_id)
            before = best[object_id]
            if placed is not None and (before is None or placed.score > before.placed.score):
                best[object_id] = Found(_prompting(model, _restored(seen, placed)), number)
    for object_id, found in best.items():
        if found is None:
            raise UserError(f"{case.job.image_path}: object {object_id} of the seed was not found in this scan")
    return [found for _, found in sorted(best.items()) if found is not None]


def slice_like_seeds(case: Case, seeds: Sequence[SeedPlace]) -> int:
    """Return the slice of a volume that is paired with the prompted one of the seed that correlates best.

    Raises:
        UserError: a volume of unknown geometry could lie in several ways.
    """
    pairs, grid = [], _Grid(case)
    for seed in seeds:
        scan, laid = grid.laid_on(seed)
        centre = np.mean([one.centre for one in seed.objects.values()], axis=0)
        pairs.append((laid.correlation, paired_slice(centre, scan, laid)))
    last = case.volume.voxels.shape[2] - 1
    return int(np.clip(round(max(pairs)[1]), 0, last))


def slice_segmenter_of(model: Model) -> SliceSegmenter:
    """Return what sees and segments slices for a model that has no video memory."""
    if model.method == "region_growing":
        return GreyFeatures()
    return (model.segmenter.chain if model.method == "auto" else model.segmenter).slice_segmenter


class _Grid:
    """A volume on its upright grid: averaged once, and laid once on each seed, however many slices are prompted."""

    def __init__(self, case: Case):
        self.case = case
        self._averaged: dict[tuple[float, float] | None, Upright] = {}
        self._laid: list[tuple[Upright, Upright, Registration]] = []

    def within(self, clip: tuple[float, float] | None) -> Upright:
        """Return the volume's Hounsfield units within ``clip``, or for None the grey levels that models see."""
        if clip not in self._averaged:
            self._averaged[clip] = _upright(self.case, clip)
        return self._averaged[clip]

    def laid_on(self, seed: SeedPlace) -> tuple[Upright, Registration]:
        """Return the volume on its grid, and how it lies on a seed.

        Raises:
            UserError: a volume of unknown geometry could lie in several ways.
        """
        is_hounsfield = seed.clip is not None and bool(likely_unit(self.case.volume).is_hounsfield)
        scan, other = self.within(seed.clip if is_hounsfield else None), seed.scan_like(is_hounsfield)
        for one, before, laid in self._laid:
            if one is scan and before.values is other.values:
                return scan, laid
        try:
            laid = register(scan, other)
        except AmbiguousTurnError as error:
            advice = "convert it again with its affine, or prompt it by itself"
            raise UserError(f"{self.case.job.image_path}: geometry unknown, and {error}; {advice}") from None
        self._laid.append((scan, other, laid))
        return scan, laid


def _scan_of_seed(
    grid: _Grid, slice_index: int, inside: np.ndarray
) -> tuple[Upright, np.ndarray | None, tuple[float, float] | None]:
    """Return a seed on its grid by grey level, and in Hounsfield units with the clip that suits what is ``inside``."""
    grey, volume = grid.within(None), grid.case.volume
    if not likely_unit(volume).is_hounsfield or not inside.any():
        return grey, None, None
    is_lung = np.median(volume.voxels[:, :, slice_index][inside]) < MOST_OF_LUNG_HU
    clip = LUNG_CLIP if is_lung else SOFT_TISSUE_CLIP
    return grey, grid.within(clip).values, clip


def _upright(case: Case, clip: tuple[float, float] | None) -> Upright:
    """Return a volume on its grid: Hounsfield units within ``clip``, or the grey levels that models see."""
    volume = case.volume

    def clipped(slice_index: int) -> np.ndarray:
        low, high = clip or (0.0, 1.0)
        values = np.nan_to_num(volume.voxels[:, :, slice_index].astype(np.float32), nan=low, posinf=high, neginf=low)
        return (np.clip(values, low, high) - low) * (255 / (high - low))

    slices = case.grey.__getitem__ if clip is None else clipped
    return upright(slices, volume.voxels.shape, _voxel_to_mm(case), known=volume.affine is not None)


def _voxel_to_mm(case: Case) -> np.ndarray:
    volume = case.volume
    return to_upright(volume.array_affine, volume.voxels.shape, volume.spacing_mm)


def _pointed_at(prompt: Prompt, shape: tuple[int, ...]) -> np.ndarray:
    """Return the (rows, columns) pixels that a prompt speaks of."""
    pixels = np.zeros(shape, dtype=bool)
    if prompt.mask is not None:
        return prompt.mask > 0
    if prompt.box is not None:
        row_min, column_min, row_max, column_max = prompt.box
        pixels[row_min : row_max + 1, column_min : column_max + 1] = True
        return pixels
    for point in prompt.positive_points:
        pixels[point] = True
    return pixels


def _inside(crop: Crop, mask: np.ndarray) -> np.ndarray:
    row_min, column_min, row_max, column_max = crop.box
    return mask[row_min : row_max + 1, column_min : column_max + 1]


def _restored(crop: Crop, placed: Placed) -> Placed:
    """Return what was found in a crop in the whole frame."""
    whole = np.zeros(crop.whole.shape[:2], dtype=bool)
    _inside(crop, whole)[:] = placed.prompt.mask
    return replace(placed, prompt=replace(placed.prompt, mask=whole))


def _prompting(model: Model, placed: Placed) -> Placed:
    """Return what the model carries on: a chain the mask, region growing the box round it, as it prompts by boxes."""
    mask = placed.prompt.mask
    if model.method != "region_growing" or mask is None:
        return placed
    return replace(placed, prompt=replace(placed.prompt, mask=None, box=box_around(mask)))
