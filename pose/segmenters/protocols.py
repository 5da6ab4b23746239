"""What a segmenter takes and gives: predictions of objects on slices, and the two protocols behind which ways to
segment lie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from pose.prompts.prompt import Prompt
from pose.scans.intensity import GreyStack


@dataclass(frozen=True)
class Prediction:
    """One object on one slice.

    Attributes:
        mask: (rows, columns) bool.
        score: the model's estimate of the IoU of the mask (the paper's "SAM score"); None where it makes none.
        object_score: logit of the object being present on the slice (SAM 2); None where the model has none.
        logits: (rows, columns) float32 mask logits at the slice's own size, 0 at the contour; None where there are
            none.
    """

    mask: np.ndarray
    score: float | None = None
    object_score: float | None = None
    logits: np.ndarray | None = None


def united(predictions: Sequence[Prediction]) -> Prediction:
    """Return what several prompts of one object found on a slice as one: what any of them found, at the least score."""
    if len(predictions) == 1:
        return predictions[0]
    logits = [one.logits for one in predictions if one.logits is not None]
    scores = {
        name: [value for one in predictions if (value := getattr(one, name)) is not None]
        for name in ("score", "object_score")
    }
    return Prediction(
        np.any([one.mask for one in predictions], axis=0),
        min(scores["score"], default=None),
        max(scores["object_score"], default=None),
        np.max(logits, axis=0) if len(logits) == len(predictions) else None,
    )


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

    def segment(self, grey: GreyStack, prompts: Sequence[Prompt]) -> Iterator[SlicePredictions]: ...
