"""Region growing: the classical baseline without a network; grey levels like the prompted ones, connected in 3D."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from pose.cli import UserError
from pose.prompts.prompt import Prompt
from pose.prompts.reach import corrections, objects_pointed_at, stretches, without_parts
from pose.scans.intensity import GreyStack
from pose.segmenters.connected import PackedMask, connected_to_seeds
from pose.segmenters.protocols import Prediction, SlicePredictions

BOX_SURROUNDINGS = 5  # pixels round a box that show what the object is not


@dataclass(frozen=True)
class RegionGrowingSettings:
    """How a region grows.

    Attributes:
        levels: first and last grey level (0 to 255) of the object; None learns them from the prompted slice.
        opening: pixels by which slices are opened before voxels are connected, so that an object does not leak through
            thin bridges; 0 for none.
        largest_hole: holes of a slice up to this share of the object's area there are filled.
        outside_air: True lets the dark voxels outside the body be part of an object.
    """

    levels: tuple[int, int] | None = None
    opening: int = 0
    largest_hole: float = 0.02
    outside_air: bool = False

    def __post_init__(self) -> None:
        if self.levels is not None and not 0 <= self.levels[0] <= self.levels[1] <= 255:
            raise UserError(f"--growing_levels {self.levels[0]} {self.levels[1]}: not a range within 0 to 255")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each of :class:`RegionGrowingSettings`."""
    default = RegionGrowingSettings()
    group = parser.add_argument_group("region growing", "how --method region_growing finds an object")
    group.add_argument(
        "--growing_levels",
        type=int,
        nargs=2,
        metavar=("FIRST", "LAST"),
        help="grey levels of the object, 0 to 255 (default: learnt from the prompted slice)",
    )
    group.add_argument(
        "--growing_opening",
        type=int,
        default=default.opening,
        metavar="PIXELS",
        help="cut bridges up to about twice as wide (default: %(default)s)",
    )
    group.add_argument(
        "--growing_largest_hole",
        type=float,
        default=default.largest_hole,
        metavar="SHARE",
        help="fill holes of a slice up to this share of the object's area (default: %(default)s)",
    )
    group.add_argument("--growing_outside_air", action="store_true", help="let the air outside the body be an object")


class RegionGrowing:
    """Grows regions from prompts.

    On a prompted slice the pixels in and round the box, or all those of the slice, fall into a dark and a bright class
    (Otsu). The object is the class that is rarer round the box than inside it; without a box, that of the positive
    points, as far as it is connected to them. A mask is the object itself. The levels more frequent in the object than
    in a ring round it make its range, all its levels where nothing is round it. Voxels in that range which are
    connected to it in three dimensions are the object; the air outside the body, dark and connected to the rim of a
    slice, is not. Of objects that are connected to each other, each takes the voxels nearest to its prompt along the
    way. Several prompted slices add their ranges and their seeds.
    """

    name = "region_growing"
    prompt_kinds = frozenset({"points", "box", "mask"})

    def __init__(self, settings: RegionGrowingSettings = RegionGrowingSettings()):
        self.settings = settings

    def segment(self, grey: GreyStack, prompts: Sequence[Prompt]) -> Iterator[SlicePredictions]:
        """Yield the predictions of every slice, the first one first.

        ``set_image_time`` is the time to read a slice and find its candidates, ``predict_image_time`` the slice's even
        share of the time to connect them.

        Raises:
            UserError: a prompt on a slice that is not there, or one that says nothing of where the object is.
        """
        from pose.segmenters.mask_parts import fill_small_holes

        began = perf_counter()
        pointed = objects_pointed_at(prompts)
        object_ids = sorted({prompt.object_id for prompt in pointed})
        seeds, ranges = self._seeds(grey, pointed)
        allowed, cuts = stretches(prompts, len(grey)), corrections(prompts)
        learning = perf_counter() - began
        candidates = {object_id: PackedMask(grey.shape) for object_id in object_ids}
        outside_level = None if self.settings.outside_air else otsu_level(level_counts(grey))
        read_times = []
        for slice_index in range(len(grey)):
            began = perf_counter()
            slice_grey = grey[slice_index]
            inside = None if outside_level is None else ~outside_of_body(slice_grey, outside_level)
            for object_id in object_ids:
                if not allowed[object_id][slice_index]:
                    continue
                here = self._in_ranges(slice_grey, ranges[object_id])
                if points := cuts.get((object_id, slice_index)):
                    here = without_parts(here, points)
                candidates[object_id][slice_index] = here if inside is None else here & inside
            read_times.append(perf_counter() - began)
        began = perf_counter()
        masks = connected_to_seeds(candidates, seeds)
        del candidates
        share = (learning + perf_counter() - began) / len(grey)
        for slice_index in range(len(grey)):
            began = perf_counter()
            objects = {}
            taken = np.zeros(grey.shape[:2], dtype=bool)
            for object_id in object_ids:
                others = [masks[other][slice_index] for other in object_ids if other != object_id]
                mask = fill_small_holes(masks[object_id][slice_index], self.settings.largest_hole)
                mask &= ~np.any([taken, *others], axis=0)
                taken |= mask
                objects[object_id] = Prediction(mask)
            yield SlicePredictions(slice_index, objects, read_times[slice_index], share + perf_counter() - began)

    def _seeds(
        self, grey: GreyStack, prompts: Sequence[Prompt]
    ) -> tuple[dict[int, list[tuple[int, np.ndarray]]], dict[int, list[tuple[float, int, int]]]]:
        """Return, by object, (slice, mask) of its seeds and (smoothing, first, last) of its grey levels."""
        from pose.segmenters.grey_levels import learn_grey_levels

        seeds: dict[int, list[tuple[int, np.ndarray]]] = {prompt.object_id: [] for prompt in prompts}
        ranges: dict[int, list[tuple[float, int, int]]] = {object_id: [] for object_id in seeds}
        for slice_index in sorted({prompt.slice for prompt in prompts}):
            if not 0 <= slice_index < len(grey):
                last = len(grey) - 1
                raise UserError(f"{self.name}: a prompt lies on slice {slice_index}, the volume has slices 0 to {last}")
            slice_grey = grey[slice_index]
            here = [prompt for prompt in prompts if prompt.slice == slice_index]
            found: dict[int, np.ndarray] = {}
            for prompt in here:
                region = prompted_region(slice_grey, prompt)
                found[prompt.object_id] = region | found.get(prompt.object_id, np.zeros_like(region))
            for object_id, mask in found.items():
                if not mask.any():
                    continue
                others = np.any([np.zeros_like(mask), *(found[key] for key in found if key != object_id)], axis=0)
                seeds[object_id].append((slice_index, mask))
                if self.settings.levels is not None:
                    ranges[object_id].append((0, *self.settings.levels))
                    continue
                levels = learn_grey_levels(slice_grey, mask, others)
                first_and_last = levels.typical_range() or (slice_grey[mask].min(), slice_grey[mask].max())
                ranges[object_id].append((levels.smoothing, *first_and_last))
        return seeds, ranges

    def _in_ranges(self, grey: np.ndarray, ranges: Sequence[tuple[float, int, int]]) -> np.ndarray:
        from scipy import ndimage

        from pose.segmenters.grey_levels import smooth

        inside = np.zeros(grey.shape, dtype=bool)
        for smoothing, first, last in ranges:
            levels = smooth(grey, smoothing)
            inside |= (levels >= first) & (levels <= last)
        if self.settings.opening:
            inside = ndimage.binary_opening(inside, iterations=self.settings.opening)
        return inside


def level_counts(grey: GreyStack | Sequence[np.ndarray]) -> np.ndarray:
    """Return how many voxels of a volume have each of the 256 grey levels."""
    return np.sum([np.bincount(grey[slice_index].ravel(), minlength=256) for slice_index in range(len(grey))], axis=0)


def otsu_level(counts: np.ndarray) -> int:
    """Return the last grey level of the dark class that Otsu's method finds in (256,) counts; -1 for a single level."""
    from skimage.filters import threshold_otsu

    present = np.flatnonzero(counts)
    if present.size < 2:
        return -1
    levels = np.arange(present[0], present[-1] + 1)  # an empty class at either end would divide by zero
    return int(threshold_otsu(hist=(counts[levels], levels)))


def outside_of_body(grey: np.ndarray, dark_level: int) -> np.ndarray:
    """Return the pixels of a slice up to ``dark_level`` that are connected to its rim: the air round a body."""
    import cc3d

    labels = cc3d.connected_components(grey <= dark_level, connectivity=4)
    at_rim = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return np.isin(labels, at_rim[at_rim > 0])


def prompted_region(grey: np.ndarray, prompt: Prompt) -> np.ndarray:
    """Return the object on its prompted slice by grey level alone, (rows, columns) bool; see :class:`RegionGrowing`.

    Raises:
        UserError: the prompt has no positive point, no box and no mask.
    """
    from scipy import ndimage

    if prompt.mask is not None:
        return prompt.mask > 0
    if prompt.box is None and not prompt.positive_points:
        raise UserError(
            f"region_growing: the prompt of object {prompt.object_id} on slice {prompt.slice} has no positive point, "
            "no box and no mask"
        )
    allowed = np.ones(grey.shape, dtype=bool)
    if prompt.box is not None:
        row_min, column_min, row_max, column_max = prompt.box
        allowed[:] = False
        allowed[row_min : row_max + 1, column_min : column_max + 1] = True
    surroundings = ndimage.binary_dilation(allowed, iterations=BOX_SURROUNDINGS)
    dark = grey <= otsu_level(np.bincount(grey[surroundings], minlength=256))
    if prompt.box is not None:
        # rather than the points: one of them may lie on a vessel
        ring = surroundings & ~allowed
        is_dark = not ring.any() or dark[allowed].mean() > dark[ring].mean()
    else:
        rows, columns = np.transpose(prompt.positive_points)
        is_dark = dark[rows, columns].mean() >= 0.5
    region = (dark if is_dark else ~dark) & allowed
    if prompt.box is None:
        labels, _ = ndimage.label(region)
        pointed_at = np.unique(labels[rows, columns])
        region = np.isin(labels, pointed_at[pointed_at > 0])
    return region
