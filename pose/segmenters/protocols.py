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


@dataclass(frozen=True)
class Features:
    """What an encoder sees on a slice: vectors that are alike, by their distance, where the slice looks alike.

    Attributes:
        values: (channels, height, width) float32, a vector for each cell of the slice.
        cells: (down, across) how many cells a pixel of the slice has; the first cell begins at the first pixel.
    """

    values: np.ndarray
    cells: tuple[float, float]

    def on_slice(self, of_cells: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return (height, width) numbers of cells as those of the (rows, columns) of the slice, linear between."""
        import cv2

        down, across = self.cells
        height, width = of_cells.shape
        rows, columns = (
            np.clip((np.arange(length) + 0.5) * scale - 0.5, 0, count - 1).astype(np.float32)
            for length, scale, count in zip(shape, (down, across), (height, width))
        )
        columns, rows = np.meshgrid(columns, rows)
        return cv2.remap(of_cells.astype(np.float32), columns, rows, cv2.INTER_LINEAR)

    def share_of(self, mask: np.ndarray) -> np.ndarray:
        """Return (height, width) float32, which share of each cell a (rows, columns) mask takes."""
        import cv2

        height, width = (
            max(1, min(round(length * scale), count))
            for length, scale, count in zip(mask.shape, self.cells, self.values.shape[1:])
        )
        share = np.zeros(self.values.shape[1:], dtype=np.float32)
        share[:height, :width] = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        return share


def features_of_encoder(embedding: np.ndarray, cells: tuple[float, float], shape: tuple[int, ...]) -> Features:
    """Return an encoder's (channels, height, width) embedding as features of a slice of ``shape``.

    What lies beyond the slice is left out. Vectors are taken from their mean and have length 1: their directions tell
    tissues apart, not what all of them share.
    """
    height, width = (
        max(1, min(int(np.ceil(length * scale - 1e-6)), count))
        for length, scale, count in zip(shape, cells, embedding.shape[1:])
    )
    values = embedding[:, :height, :width].astype(np.float32)
    values = values - values.mean(axis=(1, 2), keepdims=True)
    return Features(values / np.maximum(np.linalg.norm(values, axis=0), 1e-6), cells)


class SliceSegmenter(Protocol):
    """Segments a slice from a prompt on the same slice.

    ``prompt_kinds`` names what it takes of "points", "box", "mask". It ignores nothing silently: a prompt without any
    usable kind raises :class:`pose.cli.UserError`.
    """

    name: str
    prompt_kinds: frozenset[str]

    def set_image(self, grey: np.ndarray) -> None:
        """Encode one slice, (rows, columns) uint8; later calls of ``predict`` and ``features`` are about it."""

    def features(self) -> Features:
        """Return what the encoder sees on the slice set last."""

    def predict(self, prompt: Prompt, multimask_output: bool = False) -> Prediction:
        """Segment one object on the slice set last; with ``multimask_output`` the best of several masks by score."""


class VolumeSegmenter(Protocol):
    """Carries prompts on one slice or a few through a volume; yields each slice once, in whatever order it works."""

    name: str
    prompt_kinds: frozenset[str]

    def segment(self, grey: GreyStack, prompts: Sequence[Prompt]) -> Iterator[SlicePredictions]: ...
