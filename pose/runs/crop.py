"""Crop: show a model the box round the body instead of the whole frame, and put what it finds back in its place.

A chest fills about half of a CT's frame; the rest is air and table, on which a model of a fixed size wastes its pixels.
There is one box for a whole volume, so that slices keep fitting each other.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from pose.prompts.prompt import Box, Prompt
from pose.scans.intensity import GreyStack
from pose.segmenters.protocols import Prediction, SlicePredictions

LOGGER = logging.getLogger(__name__)

CROPS = ("none", "body")
MARGIN_SHARE = 0.02  # of the frame's longer side, left round the body
LONGEST_SIDE = 256  # pixels at which the body is looked for: a box needs no more, and large scans take seconds
# Of the way from the mean of the dark voxels to that of the bright ones: where the body begins. Half the way would cut
# off fat in a narrow window and the dark neck of an X-ray; a mattress is darker.
BODY_LEVEL_SHARE = 0.25
# Of the thickness of the volume's thickest part. Table tops, cushions and wires are thinner than that beside a trunk,
# arms, legs and necks are thicker.
THINNEST_SHARE = 0.25
OUTSIDE_LOGIT = -1024.0  # what SAM 2 itself gives to an object that is not there


@dataclass(frozen=True)
class Crop:
    """A box of a volume's frame, and the way into it and back.

    Attributes:
        whole: the slices of the whole frame.
        box: (row_min, column_min, row_max, column_max) of the frame, inclusive; the same on every slice.
    """

    whole: GreyStack
    box: Box

    @property
    def share(self) -> float:
        """How much of the frame the box keeps, 0 to 1."""
        row_min, column_min, row_max, column_max = self.box
        rows, columns = self.whole.shape[:2]
        return (row_max - row_min + 1) * (column_max - column_min + 1) / (rows * columns)

    @cached_property
    def grey(self) -> GreyStack:
        """The slices inside the box, made when they are asked for."""
        return CroppedSlices(self.whole, self.box)

    def prompts(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Return prompts of the whole frame as prompts of :attr:`grey`.

        Raises:
            ValueError: a prompt that does not lie inside the box.
        """
        return [moved_into(self.box, prompt) for prompt in prompts]

    def restore(self, predictions: SlicePredictions) -> SlicePredictions:
        """Return what was found on a slice of :attr:`grey` in the whole frame: nothing is found outside the box."""
        objects = {key: self._restored(found) for key, found in predictions.objects.items()}
        return replace(predictions, objects=objects)

    def _restored(self, found: Prediction) -> Prediction:
        row_min, column_min, row_max, column_max = self.box
        inside = slice(row_min, row_max + 1), slice(column_min, column_max + 1)
        mask = np.zeros(self.whole.shape[:2], dtype=bool)
        mask[inside] = found.mask
        logits = None
        if found.logits is not None:
            logits = np.full(mask.shape, OUTSIDE_LOGIT, dtype=np.float32)
            logits[inside] = found.logits
        return replace(found, mask=mask, logits=logits)

    def describe(self) -> dict[str, int]:
        """Return the box as a run manifest holds it."""
        return dict(zip(("row_min", "column_min", "row_max", "column_max"), self.box))


class CroppedSlices:
    """The part of every slice that lies in a box; see :class:`pose.scans.intensity.GreyStack`."""

    def __init__(self, whole: GreyStack, box: Box):
        self._whole = whole
        row_min, column_min, row_max, column_max = box
        self._inside = slice(row_min, row_max + 1), slice(column_min, column_max + 1)
        self.spacing_mm = whole.spacing_mm
        self.shape: tuple[int, int, int] = (row_max - row_min + 1, column_max - column_min + 1, len(whole))

    def __len__(self) -> int:
        return self.shape[2]

    def __getitem__(self, slice_index: int) -> np.ndarray:
        """Return one slice, (rows, columns) uint8, C-contiguous; raise IndexError where there is none."""
        return np.ascontiguousarray(self._whole[slice_index][self._inside])


def crop_volume(how: str, grey: GreyStack, prompts: Sequence[Prompt] = ()) -> Crop:
    """Return the crop of a volume that holds all its prompts; what the model will see is logged.

    Args:
        how: "none", the whole frame; "body", the box of :func:`body_box`, extended to the prompts.
        grey: the slices as models see them.
        prompts: prompts on these slices, points that are negative and masks included.

    Raises:
        ValueError: an unknown word for ``how``.
    """
    if how not in CROPS:
        raise ValueError(f"how must be one of {', '.join(CROPS)}, got {how!r}")
    rows, columns = grey.shape[:2]
    if how == "none":
        return Crop(grey, (0, 0, rows - 1, columns - 1))
    crop = Crop(grey, box_round([body_box(grey), *(box_of_prompt(prompt) for prompt in prompts if says_where(prompt))]))
    top, left, bottom, right = crop.box
    LOGGER.info(
        "the model sees rows %d to %d and columns %d to %d, %.0f %% of the frame",
        top,
        bottom,
        left,
        right,
        100 * crop.share,
    )
    return crop


def body_box(grey: GreyStack) -> Box:
    """Return the box round the body in all slices, with a margin; the whole frame where no body stands out.

    What is dark (:func:`darkest_of_body`) and connected to the rim of a slice is outside; all else is body, lungs
    included, if it is thick enough (:data:`THINNEST_SHARE`): tables and wires are not, as far as they can be cut off by
    removing bridges of two pixels. A body that reaches the rim, as on an X-ray, keeps the frame up to there.
    """
    from scipy import ndimage

    from pose.segmenters.mask_parts import EIGHT_NEIGHBOURS
    from pose.segmenters.region_growing import level_counts, outside_of_body

    rows, columns = grey.shape[:2]
    step = -(-max(rows, columns) // LONGEST_SIDE)
    slices = [brightest_of_blocks(grey[slice_index], step) for slice_index in range(len(grey))]
    dark_level = darkest_of_body(level_counts(slices)) - 1
    parts: list[tuple[float, Box]] = []
    for levels in slices:
        body = ~outside_of_body(levels, dark_level)
        bodies, count = ndimage.label(ndimage.binary_opening(body, EIGHT_NEIGHBOURS))
        # all beyond the frame counts as outside, or a slice that is all body would have no depth
        depth = ndimage.distance_transform_edt(np.pad(bodies > 0, 1))[1:-1, 1:-1]
        depths = ndimage.maximum(depth, bodies, range(1, count + 1))
        for thickness, (part_rows, part_columns) in zip(depths, ndimage.find_objects(bodies)):
            parts.append((thickness, (part_rows.start, part_columns.start, part_rows.stop, part_columns.stop)))
    thickest = max((thickness for thickness, _ in parts), default=0)
    boxes = [box for thickness, box in parts if thickness >= THINNEST_SHARE * thickest]
    if not boxes:
        return (0, 0, rows - 1, columns - 1)
    top, left, bottom, right = box_round(boxes)
    margin = -(-max(rows, columns) * MARGIN_SHARE // 1)
    return (
        int(max(top * step - margin, 0)),
        int(max(left * step - margin, 0)),
        int(min(bottom * step - 1 + margin, rows - 1)),
        int(min(right * step - 1 + margin, columns - 1)),
    )


def darkest_of_body(counts: np.ndarray) -> int:
    """Return the first grey level that may be body, from (256,) counts of voxels; 0 where all have the same level.

    Otsu's method parts the levels into dark and bright; the body begins at a quarter of the way between their means.
    """
    from pose.segmenters.region_growing import otsu_level

    last_dark = otsu_level(counts)
    if last_dark < 0:
        return 0
    levels = np.arange(256)
    dark, bright = (
        np.average(levels[part], weights=counts[part]) for part in (slice(last_dark + 1), slice(last_dark + 1, None))
    )
    return int(dark + BODY_LEVEL_SHARE * (bright - dark)) + 1


def brightest_of_blocks(levels: np.ndarray, step: int) -> np.ndarray:
    """Return a slice ``step`` times smaller, each pixel the brightest of its block: skin round fat stays closed."""
    if step == 1:
        return levels
    rows, columns = levels.shape
    # the last blocks are filled up with their own edge
    padded = np.pad(levels, ((0, -rows % step), (0, -columns % step)), mode="edge")
    return padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step).max(axis=(1, 3))


def box_round(boxes: Sequence[Box]) -> Box:
    """Return the smallest box that holds all ``boxes``, of which there must be one."""
    tops, lefts, bottoms, rights = zip(*boxes)
    return min(tops), min(lefts), max(bottoms), max(rights)


def says_where(prompt: Prompt) -> bool:
    """Tell whether a prompt names pixels, rather than slices alone."""
    return bool(prompt.positive_points or prompt.negative_points or prompt.box) or prompt.mask is not None


def box_of_prompt(prompt: Prompt) -> Box:
    """Return the smallest box that holds every point, the box and the mask of a prompt, which must have one of them."""
    boxes = [(row, column, row, column) for row, column in (*prompt.positive_points, *prompt.negative_points)]
    if prompt.box is not None:
        boxes.append(prompt.box)
    if prompt.mask is not None and prompt.mask.any():
        marked = np.argwhere(prompt.mask)
        boxes.append((*marked.min(axis=0).tolist(), *marked.max(axis=0).tolist()))
    return box_round(boxes)


def moved_into(box: Box, prompt: Prompt) -> Prompt:
    """Return a prompt of the whole frame as one of the frame that ``box`` cuts out.

    Raises:
        ValueError: the prompt does not lie inside the box.
    """
    if not says_where(prompt):
        return prompt
    if box_round([box, box_of_prompt(prompt)]) != box:
        raise ValueError(f"slice {prompt.slice}, object {prompt.object_id}: the prompt does not lie in the crop {box}")
    top, left, bottom, right = box
    moved_box = None
    if prompt.box is not None:
        row_min, column_min, row_max, column_max = prompt.box
        moved_box = (row_min - top, column_min - left, row_max - top, column_max - left)
    return replace(
        prompt,
        positive_points=tuple((row - top, column - left) for row, column in prompt.positive_points),
        negative_points=tuple((row - top, column - left) for row, column in prompt.negative_points),
        box=moved_box,
        mask=None if prompt.mask is None else np.ascontiguousarray(prompt.mask[top : bottom + 1, left : right + 1]),
    )
