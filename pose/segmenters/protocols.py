"""What a segmenter takes and gives: predictions of objects on slices, and the two protocols behind which ways to
segment lie.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

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


# natural log: no pixel is surer than 98 % from its grey level, or from a network's logit, alone
LOG_ODDS_LIMIT = 4.0


def log_odds_of(prediction: Prediction) -> np.ndarray:
    """Return a network's logits limited to +-4, as the grey levels' are; +-4 by the mask where there are no logits."""
    if prediction.logits is None:
        return np.where(prediction.mask, LOG_ODDS_LIMIT, -LOG_ODDS_LIMIT).astype(np.float32)
    return np.clip(prediction.logits, -LOG_ODDS_LIMIT, LOG_ODDS_LIMIT)


@dataclass
class Finding:
    """What a segmenter learnt of an object beside its masks; all of it is known once every slice was yielded.

    Attributes:
        method: how the object was carried: "chain" or "region_growing".
        prompt_fit: IoU of the box round the object on its prompted slice with the box it was prompted by, the least of
            several; None without a box.
        side_planes: how many planes from the side found the object again.
        cut, seen, shared: pixels on these planes, on the slices that hold the object: of its masks, of what the planes
            show, of both.
        methods_agreement: Dice of the chain's and region growing's masks on the prompted slices; None where not
            compared.
        leaked: the slices on which it grew too large and was ended.
    """

    method: str = "chain"
    prompt_fit: float | None = None
    side_planes: int = 0
    cut: int = 0
    seen: int = 0
    shared: int = 0
    methods_agreement: float | None = None
    leaked: tuple[int, ...] = ()

    def compare(self, pixels: tuple[int, int, int]) -> None:
        """Take up the pixels on the planes of one slice: of the mask, of the planes, of both."""
        self.cut += pixels[0]
        self.seen += pixels[1]
        self.shared += pixels[2]

    @property
    def side_agreement(self) -> float | None:
        """Dice of the masks on the planes from the side with what these show; None without planes."""
        both = self.cut + self.seen
        return 2 * self.shared / both if self.side_planes and both else None

    def describe(self) -> dict[str, Any]:
        """Return it as a run manifest holds it."""
        names = "method", "prompt_fit", "side_planes", "side_agreement", "methods_agreement"
        return {**{name: getattr(self, name) for name in names}, "leaked": list(self.leaked)}


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
    """What an image encoder makes of a slice: a vector for each cell of a grid on it.

    Attributes:
        values: (channels, rows, columns) float32; the cells that hold some of the slice.
        extent: how many rows and columns of cells the slice covers; the last ones perhaps in part.
        by_direction: whether vectors are to be compared by their directions alone.
    """

    values: np.ndarray
    extent: tuple[float, float]
    by_direction: bool = True

    def comparable(self) -> np.ndarray:
        """Return vectors that are alike, by their distance, where the slice looks alike, (channels, rows, columns).

        Those of an encoder are taken from their mean and have length 1: their directions tell tissues apart, not what
        all of them share.
        """
        if not self.by_direction:
            return self.values
        values = self.values - self.values.mean(axis=(1, 2), keepdims=True)
        return values / np.maximum(np.linalg.norm(values, axis=0), 1e-6)

    def on_slice(self, of_cells: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return numbers of cells, (rows, columns) float32, as those of a slice's (rows, columns), linear between."""
        import cv2

        (rows, columns), (high, wide) = self.extent, shape
        # from the middle of a pixel to cells
        to_cells = np.array([[columns / wide, 0, columns / wide / 2 - 0.5], [0, rows / high, rows / high / 2 - 0.5]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        numbers = of_cells.astype(np.float32)
        return cv2.warpAffine(numbers, to_cells, (wide, high), flags=flags, borderMode=cv2.BORDER_REPLICATE)

    def share_of(self, mask: np.ndarray) -> np.ndarray:
        """Return which share of each cell a (rows, columns) mask takes, (rows, columns) of cells float64."""
        cells = self.values.shape[1:]
        places = [
            np.minimum(((np.arange(length) + 0.5) * extent / length).astype(int), count - 1)
            for length, extent, count in zip(mask.shape, self.extent, cells, strict=True)
        ]
        of_pixels = (places[0][:, None] * cells[1] + places[1][None, :]).ravel()
        pixels = np.bincount(of_pixels, minlength=cells[0] * cells[1])
        covered = np.bincount(of_pixels, weights=mask.ravel(), minlength=cells[0] * cells[1])
        return (covered / np.maximum(pixels, 1)).reshape(cells)


def features_on(values: np.ndarray, covered: tuple[float, float]) -> Features:
    """Return the features of a slice from those of an encoder's whole input.

    Args:
        values: (channels, rows, columns) of the input.
        covered: which share of its rows and columns the slice fills, from the top and the left; the rest is padding.
    """
    rows, columns = values.shape[1] * covered[0], values.shape[2] * covered[1]
    return Features(values[:, : math.ceil(rows - 1e-6), : math.ceil(columns - 1e-6)], (rows, columns))


class SliceSegmenter(Protocol):
    """Segments a slice from a prompt on the same slice.

    ``prompt_kinds`` names what it takes of "points", "box", "mask". It ignores nothing silently: a prompt without any
    usable kind raises :class:`pose.cli.UserError`.
    """

    name: str
    prompt_kinds: frozenset[str]

    def set_image(self, grey: np.ndarray) -> None:
        """Encode one slice, (rows, columns) uint8; later calls of ``predict`` and ``features`` are about it."""

    def predict(self, prompt: Prompt, multimask_output: bool = False) -> Prediction:
        """Segment one object on the slice set last; with ``multimask_output`` the best of several masks by score."""

    def features(self) -> Features:
        """Return what the encoder made of the slice set last."""


class VolumeSegmenter(Protocol):
    """Carries prompts on one slice or a few through a volume; yields each slice once, in whatever order it works."""

    name: str
    prompt_kinds: frozenset[str]

    def segment(self, grey: GreyStack, prompts: Sequence[Prompt]) -> Iterator[SlicePredictions]: ...
