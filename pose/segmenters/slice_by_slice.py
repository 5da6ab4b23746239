"""Slice by slice: every slice is segmented from prompts of its own, and one place that knows which model is which
class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from pose.prompts.prompt import Prompt
from pose.prompts.reach import pointing
from pose.scans.intensity import GreyStack
from pose.segmenters.models import ModelSpec
from pose.segmenters.protocols import SlicePredictions, SliceSegmenter, united

if TYPE_CHECKING:
    import torch

    from pose.segmenters.embeddings import EmbeddingsCache


def segment_slices(
    segmenter: SliceSegmenter,
    grey: GreyStack,
    prompts: Sequence[Prompt],
    slices: Sequence[int],
    multimask_output: bool = False,
    repeat: int | None = None,
) -> Iterator[SlicePredictions]:
    """Segment each of ``slices`` from its own prompts; a slice without any is not shown to the model.

    With ``repeat``, each slice is segmented once to warm up and then so many times more, all from the beginning; its
    times are the medians of the latter.
    """
    by_slice: dict[int, dict[int, list[Prompt]]] = {}
    for prompt in pointing(prompts):
        by_slice.setdefault(prompt.slice, {}).setdefault(prompt.object_id, []).append(prompt)
    for slice_index in slices:
        if slice_index not in by_slice:
            yield SlicePredictions(slice_index)
            continue
        times = []
        for _ in range(1 if repeat is None else 1 + repeat):
            start = perf_counter()
            segmenter.set_image(grey[slice_index])
            encoded = perf_counter()
            objects = {
                object_id: united([segmenter.predict(prompt, multimask_output) for prompt in own])
                for object_id, own in by_slice[slice_index].items()
            }
            times.append((encoded - start, perf_counter() - encoded))
        counted = times if repeat is None else times[1:]
        set_image_time, predict_image_time = map(median, zip(*counted))
        repetitions = () if repeat is None else tuple(times)
        yield SlicePredictions(slice_index, objects, set_image_time, predict_image_time, repetitions)


def build_slice_segmenter(
    spec: ModelSpec, checkpoint: Path, device: torch.device, precision: str, embeddings: EmbeddingsCache | None = None
) -> SliceSegmenter:
    """Load the model that ``spec`` names, with the weights in ``checkpoint``, onto ``device``.

    Slices that ``embeddings`` holds are not encoded again.
    """
    if spec.family == "sam":
        from pose.segmenters.sam import Sam

        return Sam(spec, checkpoint, device, precision, embeddings)
    if spec.family == "sam2":
        from pose.segmenters.sam2.image import Sam2Image

        return Sam2Image(spec, checkpoint, device, precision, embeddings)
    from pose.segmenters.lite_medsam import LiteMedSam

    return LiteMedSam(checkpoint, device, precision, embeddings)
