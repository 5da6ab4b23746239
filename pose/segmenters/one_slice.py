"""One prompted slice by itself: what a person sees of a prompt before it is carried anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pose.prompts.prompt import Prompt
from pose.scans.intensity import GreyStack
from pose.segmenters.auto import Auto
from pose.segmenters.chain import Chain
from pose.segmenters.protocols import SlicePredictions, VolumeSegmenter


class _OneSlice:
    """A slice of a stack as a stack of its own; see :class:`pose.scans.intensity.GreyStack`."""

    def __init__(self, grey: GreyStack, slice_index: int):
        self._grey = grey[slice_index]
        self.spacing_mm = grey.spacing_mm
        self.shape: tuple[int, int, int] = (*self._grey.shape, 1)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, slice_index: int) -> np.ndarray:
        return (self._grey,)[slice_index]


def segment_one_slice(segmenter: VolumeSegmenter, grey: GreyStack, prompts: Sequence[Prompt]) -> SlicePredictions:
    """Segment the objects prompted on one slice; no other slice is looked at.

    A chain begins with these masks, to the pixel. Auto may replace them by those of region growing where both agree;
    region growing and SAM 2's memory see the slice as if it were the volume.

    Args:
        segmenter: what would carry the prompts.
        grey: all slices.
        prompts: on one slice, each of which says where its object is.

    Raises:
        UserError: a prompt of a kind that the segmenter does not take.
    """
    (slice_index,) = {prompt.slice for prompt in prompts}
    chain = segmenter.chain if isinstance(segmenter, Auto) else segmenter
    if isinstance(chain, Chain):
        settings = replace(chain.settings, side_views=False, feature_weight=0.0)
        return Chain(chain.slice_segmenter, settings).start(grey, prompts)[1][slice_index]
    alone = [replace(prompt, slice=0, first_slice=None, last_slice=None) for prompt in prompts]
    (found,) = segmenter.segment(_OneSlice(grey, slice_index), alone)
    return replace(found, slice=slice_index)
