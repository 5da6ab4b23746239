"""Ways to segment, one file each, behind two protocols: one slice with its prompt, or a volume with few prompts.

Only this folder knows the conventions of SAM (x before y, RGB, logits). Outside it, points are (row, column), boxes are
(row_min, column_min, row_max, column_max) inclusive, slices are uint8 grey (rows, columns).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pose.models import ModelSpec
from pose.prompt import Prompt

if TYPE_CHECKING:
    import torch

    from pose.segmenters.embeddings import EmbeddingsCache


class GreySlices(Protocol):
    """A volume as a sequence of uint8 slices, each made when it is asked for: ``len(grey)``, ``grey[i]``."""

    shape: tuple[int, int, int]

    def __len__(self) -> int: ...

    def __getitem__(self, slice_index: int) -> np.ndarray: ...


@dataclass(frozen=True)
class Prediction:
    """One object on one slice.

    Attributes:
        mask: (rows, columns) bool.
        score: the model's estimate of the IoU of the mask (the paper's "SAM score"); None where it makes none.
        object_score: logit of the object being present on the slice (SAM 2); None where the model has none.
        logits: (rows, columns) float32 mask logits at the slice's own size, 0 at the contour; None where there are none.
    """

    mask: np.ndarray
    score: float | None = None
    object_score: float | None = None
    logits: np.ndarray | None = None


@dataclass(frozen=True)
class SlicePredictions:
    """All objects on one slice, and what they cost.

    Attributes:
        slice: index of the slice.
        objects: predictions by object id.
        set_image_time: seconds to prepare and encode the slice.
        predict_image_time: seconds to turn the prompts (or the memory) into masks.
        repetitions: both times of each repetition, the warm-up first, where the slice was segmented again and again.
    """

    slice: int
    objects: dict[int, Prediction] = field(default_factory=dict)
    set_image_time: float | None = None
    predict_image_time: float | None = None
    repetitions: tuple[tuple[float, float], ...] = ()


class SliceSegmenter(Protocol):
    """Segments a slice from a prompt on the same slice.

    ``prompt_kinds`` names what it takes of "points", "box", "mask". It ignores nothing silently: a prompt without any
    usable kind raises :class:`pose.cli.UserError`.
    """

    name: str
    prompt_kinds: frozenset[str]

    def set_image(self, grey: np.ndarray) -> None:
        """Encode one slice, (rows, columns) uint8; later calls of ``predict`` are about it."""

    def predict(self, prompt: Prompt, multimask_output: bool = False) -> Prediction:
        """Segment one object on the slice set last; with ``multimask_output`` the best of several masks by score."""


class VolumeSegmenter(Protocol):
    """Carries prompts on one slice or a few through a volume; yields each slice once, in whatever order it works."""

    name: str
    prompt_kinds: frozenset[str]

    def segment(self, grey: GreySlices, prompts: Sequence[Prompt]) -> Iterator[SlicePredictions]: ...


def segment_slices(
    segmenter: SliceSegmenter,
    grey: GreySlices,
    prompts: Sequence[Prompt],
    slices: Sequence[int],
    multimask_output: bool = False,
    repeat: int | None = None,
) -> Iterator[SlicePredictions]:
    """Segment each of ``slices`` from its own prompts; a slice without any is not shown to the model.

    With ``repeat``, each slice is segmented once to warm up and then so many times more, all from the beginning; its
    times are the medians of the latter.
    """
    by_slice: dict[int, list[Prompt]] = {}
    for prompt in prompts:
        by_slice.setdefault(prompt.slice, []).append(prompt)
    for index in slices:
        if index not in by_slice:
            yield SlicePredictions(index)
            continue
        times = []
        for _ in range(1 if repeat is None else 1 + repeat):
            start = perf_counter()
            segmenter.set_image(grey[index])
            encoded = perf_counter()
            objects = {prompt.object_id: segmenter.predict(prompt, multimask_output) for prompt in by_slice[index]}
            times.append((encoded - start, perf_counter() - encoded))
        counted = times if repeat is None else times[1:]
        set_image_time, predict_image_time = map(median, zip(*counted))
        repetitions = () if repeat is None else tuple(times)
        yield SlicePredictions(index, objects, set_image_time, predict_image_time, repetitions)


def build_slice_segmenter(
    spec: ModelSpec,
    checkpoint: Path,
    device: torch.device,
    precision: str,
    embeddings: EmbeddingsCache | None = None,
) -> SliceSegmenter:
    """Load the model that ``spec`` names, with the weights in ``checkpoint``, onto ``device``.

    Slices that ``embeddings`` holds are not encoded again.
    """
    if spec.family == "sam":
        from pose.segmenters.sam import Sam

        return Sam(spec, checkpoint, device, precision, embeddings)
    if spec.family == "sam2":
        from pose.segmenters.sam2_image import Sam2Image

        return Sam2Image(spec, checkpoint, device, precision, embeddings)
    from pose.segmenters.lite_medsam import LiteMedSam

    return LiteMedSam(checkpoint, device, precision, embeddings)
