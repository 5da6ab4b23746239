"""Random pairs of masks, of every kind that a metric of overlap or distance could get wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

LONGEST_AXIS = 24


@dataclass(frozen=True)
class Pair:
    """Two masks of equal shape, of two or three dimensions.

    Attributes:
        kind: a key of :data:`KINDS`.
        truth: bool mask.
        prediction: bool mask.
        spacing_mm: distance between voxels along each axis.
    """

    kind: str
    truth: np.ndarray
    prediction: np.ndarray
    spacing_mm: tuple[float, ...]


Shape = tuple[int, ...]
Masks = tuple[np.ndarray, np.ndarray]


def _blob(rng: np.random.Generator, shape: Shape, least_share: float = 0.03, largest_share: float = 0.4) -> np.ndarray:
    smooth = ndimage.gaussian_filter(rng.standard_normal(shape), 2)
    return smooth >= np.quantile(smooth, 1 - rng.uniform(least_share, largest_share))


def _one_voxel(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(rng.integers(shape))] = True
    return mask


def _blobs(rng: np.random.Generator, shape: Shape) -> Masks:
    return _blob(rng, shape), _blob(rng, shape)


def _touching(rng: np.random.Generator, shape: Shape) -> Masks:
    """A block cut in two along its longest axis: the parts share a face and no voxel."""
    axis = int(np.argmax(shape))
    block = []
    for length in shape:
        start = rng.integers(length // 2) if length > 1 else 0
        block.append((start, rng.integers(max(start + 1, length // 2 + 1), length + 1)))
    start, stop = block[axis]
    cut = rng.integers(start + 1, stop)
    parts = []
    for begin, end in ((start, cut), (cut, stop)):
        part = np.zeros(shape, dtype=bool)
        part[tuple(slice(*((begin, end) if along == axis else edges)) for along, edges in enumerate(block))] = True
        parts.append(part)
    return parts[0], parts[1]


def _nested(rng: np.random.Generator, shape: Shape) -> Masks:
    smooth = ndimage.gaussian_filter(rng.standard_normal(shape), 2)
    outer, inner = rng.uniform(0.3, 0.7), rng.uniform(0.02, 0.3)
    return smooth >= np.quantile(smooth, 1 - outer), smooth >= np.quantile(smooth, 1 - inner)


def _shifted(rng: np.random.Generator, shape: Shape) -> Masks:
    truth = _blob(rng, shape)
    return truth, ndimage.shift(truth, rng.integers(-2, 3, len(shape)), order=0)


def _at_the_border(rng: np.random.Generator, shape: Shape) -> Masks:
    return _blob(rng, shape, 0.6, 0.95), _blob(rng, shape, 0.6, 0.95)


def _noise(rng: np.random.Generator, shape: Shape) -> Masks:
    truth, prediction = (rng.random(shape) < rng.uniform(0.01, 0.2) for _ in range(2))
    return truth, prediction


def _one_voxel_each(rng: np.random.Generator, shape: Shape) -> Masks:
    return _one_voxel(rng, shape), _one_voxel(rng, shape)


def _one_voxel_against_a_blob(rng: np.random.Generator, shape: Shape) -> Masks:
    return _in_random_order(rng, _one_voxel(rng, shape), _blob(rng, shape))


def _full(rng: np.random.Generator, shape: Shape) -> Masks:
    full = np.ones(shape, dtype=bool)
    return _in_random_order(rng, full, full if rng.random() < 0.3 else _blob(rng, shape))


def _one_empty(rng: np.random.Generator, shape: Shape) -> Masks:
    other = (np.ones(shape, dtype=bool), _one_voxel(rng, shape), _blob(rng, shape))[rng.integers(3)]
    return _in_random_order(rng, np.zeros(shape, dtype=bool), other)


def _both_empty(rng: np.random.Generator, shape: Shape) -> Masks:
    return np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)


def _in_random_order(rng: np.random.Generator, one: np.ndarray, other: np.ndarray) -> Masks:
    return (one, other) if rng.random() < 0.5 else (other, one)


KINDS: dict[str, Callable[[np.random.Generator, Shape], Masks]] = {
    "blobs": _blobs,
    "touching": _touching,
    "nested": _nested,
    "shifted": _shifted,
    "at the border": _at_the_border,
    "noise": _noise,
    "one voxel each": _one_voxel_each,
    "one voxel against a blob": _one_voxel_against_a_blob,
    "full": _full,
    "one empty": _one_empty,
    "both empty": _both_empty,
}


def mask_pairs(count: int, seed: int = 0) -> Iterator[Pair]:
    """Yield random pairs: kinds, two and three dimensions, and spacings take turns, so that all meet all.

    A spacing is 1 along each axis, or drawn from 0.3 to 5 mm, or tenths of a millimetre in single precision, as NIfTI
    has them. Each axis has 2 to 24 voxels; every fifth time around, the first has 1 alone.
    """
    rng = np.random.default_rng(seed)
    kinds = list(KINDS)
    for number in range(count):
        dimensions, kind = 2 + number % 2, kinds[number % len(kinds)]
        shape = rng.integers(2, LONGEST_AXIS + 1, dimensions)
        if number // len(kinds) % 5 == 4:
            shape[0] = 1
        spacing = (
            np.ones(dimensions),
            rng.uniform(0.3, 5, dimensions),
            np.float32(rng.integers(1, 21, dimensions) / 10).astype(np.float64),
        )[number % 3]
        truth, prediction = KINDS[kind](rng, tuple(shape.tolist()))
        yield Pair(kind, truth, prediction, tuple(spacing.tolist()))
