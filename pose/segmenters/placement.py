"""Placement: where the object of a seed lies on the scan of another patient, so that it can be prompted there.

The seed's mask is laid on the scan by registration (:mod:`pose.scans.registration`). That is right to a centimetre or
two: on the slices where the object should be large, what an encoder sees there is compared with what it saw of the
object and round it on the seed's slice, and the segmenter itself draws the contour.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from pose.prompts.prompt import Prompt
from pose.scans.intensity import GreyStack
from pose.scans.registration import Registration, Upright, upright
from pose.segmenters.mask_parts import box_around, compact_parts, components_touching, overlap_of_masks
from pose.segmenters.protocols import Features, SliceSegmenter

MASK_STEP_MM = 3.0  # of the grid on which a seed keeps its mask
PROTOTYPES = 8
ROUNDS = 20  # of k-means, which has settled by then
LEAST_AREA = 0.5  # of the largest area that the mask has on a slice: where slices are looked at
LARGEST_SHIFT = 0.25  # of the object's extent: how far the best slice may lie from the one paired with the seed's
MOST_CANDIDATES = 9
EROSION_MM, DILATION_MM = 5.0, 15.0  # how far registration is trusted, inside and outside of the mask
EROSION_SHARE = 0.5  # of its depth that a mask keeps in any case
# A lower score says that the object is perhaps not there.
DOUBTFUL_SCORE = 0.5


@dataclass(frozen=True)
class Prototypes:
    """What an encoder sees of an object and of what is round it.

    Attributes:
        inside, outside: (n, channels) float32 means of alike features.
    """

    inside: np.ndarray
    outside: np.ndarray

    def contrast(self, features: Features) -> np.ndarray:
        """Return (height, width) float32, above 0 where features are nearer to the object's than to the others."""
        values = features.comparable()
        flat = values.reshape(len(values), -1).T
        inside, outside = (_distances(flat, centres).min(axis=1) for centres in (self.inside, self.outside))
        return (outside - inside).reshape(features.values.shape[1:])


@dataclass(frozen=True)
class SeedObject:
    """An object of a seed, in millimetres of the seed's upright grid.

    Attributes:
        centre: (x, y, z) of the object on the prompted slice.
        share: (z, y, x) uint8, 255 where a voxel of 3 mm is all object; cut to the object. None where the slice alone
            is wanted.
        origin: (x, y, z) of the first voxel of ``share``.
        prototypes: of the prompted slice.
    """

    centre: np.ndarray
    share: np.ndarray | None = None
    origin: np.ndarray = field(default_factory=lambda: np.zeros(3))
    prototypes: Prototypes | None = None


@dataclass(frozen=True)
class SeedPlace:
    """A seed as it is found on the scans of others.

    Attributes:
        grey: its slices as models see them, on the upright grid.
        objects: by number.
        clip: the Hounsfield units that ``hounsfield`` has as 0 and 255; None for a seed that is no CT.
        hounsfield: (z, y, x) uint8 on the same grid.
    """

    grey: Upright
    objects: dict[int, SeedObject]
    clip: tuple[float, float] | None = None
    hounsfield: np.ndarray | None = None

    def scan_like(self, is_hounsfield: bool) -> Upright:
        """Return the seed's scan as it is laid on others: by Hounsfield units where both have them, else by levels."""
        if is_hounsfield and self.hounsfield is not None:
            return replace(self.grey, values=self.hounsfield)
        return self.grey


@dataclass(frozen=True)
class Placed:
    """Where an object was found.

    Attributes:
        prompt: the mask on the best slice.
        score: 0 to 1, how well the segmenter, the features and the registration agree on it.
        correlation: of the registration.
    """

    prompt: Prompt
    score: float
    correlation: float


class _Laid(NamedTuple):
    """A seed's object laid on a scan."""

    share: np.ndarray
    to_share: np.ndarray  # (4, 4) from voxels of the scan to those of ``share``
    shape: tuple[int, int, int]

    def on(self, slice_index: int, step: int = 1) -> np.ndarray:
        """Return (rows, columns) bool of a slice, of every ``step``-th row and column."""
        from scipy import ndimage

        rows, columns = (np.arange(0, length, step) for length in self.shape[:2])
        x, y, z = (
            row[0] * rows[:, None] + row[1] * columns[None] + row[2] * slice_index + row[3] for row in self.to_share[:3]
        )
        return ndimage.map_coordinates(self.share, (z, y, x), np.uint8, order=1, mode="constant") >= 128

    @property
    def pixel_mm(self) -> np.ndarray:
        """(row, column) distance of pixels in millimetres of the seed."""
        return np.linalg.norm(self.to_share[:3, :2], axis=0) * MASK_STEP_MM


def place(
    segmenter: SliceSegmenter,
    grey: GreyStack,
    seed: SeedObject,
    scan: Upright,
    registration: Registration,
    object_id: int = 1,
) -> Placed | None:
    """Find the object of a seed on a scan; None where registration lays it beside the scan, or nothing is found there.

    Args:
        segmenter: its features have found :attr:`SeedObject.prototypes`.
        grey: the slices as the segmenter sees them; in their frame the result is given.
        scan: the same slices on their grid.
        registration: of ``scan`` on the seed.
    """
    laid = lay(seed, scan, registration, grey.shape)
    best: tuple[float, int, np.ndarray] | None = None
    for slice_index in candidates(laid, paired_slice(seed.centre, scan, registration)):
        segmenter.set_image(grey[slice_index])
        found = _on_slice(segmenter, laid, seed.prototypes, slice_index, object_id)
        if found is not None and (best is None or found[0] > best[0]):
            best = (found[0], slice_index, found[1])
    if best is None:
        return None
    score, slice_index, mask = best
    return Placed(Prompt(slice_index, object_id, mask=mask), score, registration.correlation)


def lay(seed: SeedObject, scan: Upright, registration: Registration, shape: tuple[int, int, int]) -> _Laid:
    """Lay a seed's object on a scan of (rows, columns, slices).

    Raises:
        ValueError: the seed keeps no mask of it.
    """
    if seed.share is None:
        raise ValueError("the seed keeps no mask of its object")
    to_share = np.diag([1 / MASK_STEP_MM] * 3 + [1.0])
    to_share[:3, 3] = -seed.origin / MASK_STEP_MM
    return _Laid(seed.share, to_share @ registration.to_other @ np.linalg.inv(scan.to_voxel), shape)


def paired_slice(centre: np.ndarray, scan: Upright, registration: Registration) -> float:
    """Return where a point of the seed, (x, y, z) in millimetres, lies among the slices of a scan."""
    to_voxel = scan.to_voxel @ np.linalg.inv(registration.to_other)
    return float((to_voxel @ [*centre, 1.0])[2])


def candidates(laid: _Laid, paired: float) -> list[int]:
    """Return the slices to look at: where the object is large, and near the one that is paired with the seed's."""
    step = max(1, int(MASK_STEP_MM / laid.pixel_mm.max()))
    areas = np.array([np.count_nonzero(laid.on(slice_index, step)) for slice_index in range(laid.shape[2])])
    held = np.flatnonzero(areas)
    if not held.size:
        return []
    large = np.flatnonzero(areas >= LEAST_AREA * areas.max())
    near = large[np.abs(large - paired) <= LARGEST_SHIFT * (held[-1] - held[0] + 1)]
    if not near.size:
        near = large[[np.abs(large - paired).argmin()]]
    places = np.linspace(0, near.size - 1, min(MOST_CANDIDATES, near.size)).round().astype(int)
    return near[places].tolist()


def _on_slice(
    segmenter: SliceSegmenter, laid: _Laid, learnt: Prototypes | None, slice_index: int, object_id: int
) -> tuple[float, np.ndarray] | None:
    """Return the score and the mask of an object on the slice set last; None where nothing is found."""
    from scipy import ndimage

    expected = laid.on(slice_index)
    if not expected.any():
        return None
    features = segmenter.features()
    contrasts = [own.contrast(features) for own in (learnt, prototypes_of(features, expected, laid.pixel_mm)) if own]
    alike = features.on_slice(np.mean(contrasts, axis=0), expected.shape) > 0
    near = ndimage.distance_transform_edt(~expected, laid.pixel_mm) <= DILATION_MM
    alike = components_touching(alike & near, expected)
    parts = compact_parts(alike)
    if not parts:
        return None
    found = [segmenter.predict(Prompt(slice_index, object_id, box=box_around(part))) for part in parts]
    mask = np.any([one.mask for one in found], axis=0)
    if not mask.any():
        return None
    estimates = [1.0 if one.score is None else one.score for one in found]
    estimate = float(np.average(estimates, weights=[part.sum() for part in parts]))
    return float(np.clip(estimate, 0, 1)) * overlap_of_masks(mask, alike) * overlap_of_masks(mask, expected), mask


def seed_object(
    masks: np.ndarray, slice_index: int, scan: Upright, voxel_to_mm: np.ndarray, prototypes: Prototypes | None = None
) -> SeedObject | None:
    """Keep of a seed's object what finds it on other scans; None where it has no voxel on the prompted slice.

    Args:
        masks: (rows, columns, slices) bool, the object in the seed's own scan.
        slice_index: the prompted slice.
        scan: the seed's scan on its grid.
        voxel_to_mm: as :func:`pose.scans.registration.to_upright` gives it.
        prototypes: of the prompted slice.
    """
    here = masks[:, :, slice_index]
    if not here.any():
        return None
    fine = upright(lambda plane: masks[:, :, plane] * np.uint8(255), masks.shape, voxel_to_mm, step_mm=MASK_STEP_MM)
    to_grid = np.linalg.inv(scan.to_voxel)
    first = (to_grid @ fine.to_voxel)[:3, 3]
    marked = np.argwhere(fine.values > 0)
    low, high = marked.min(axis=0), marked.max(axis=0)
    share = fine.values[tuple(slice(one, other + 1) for one, other in zip(low, high))]
    centre = to_grid @ [*np.argwhere(here).mean(axis=0), slice_index, 1.0]
    return SeedObject(centre[:3], np.ascontiguousarray(share), first + low[::-1] * MASK_STEP_MM, prototypes)


def prototypes_of(features: Features, mask: np.ndarray, pixel_mm: np.ndarray | None = None) -> Prototypes | None:
    """Learn what an object looks like on a slice, and what is not the object; None where nothing else is there.

    Args:
        features: of the slice.
        mask: (rows, columns) bool, where the object is.
        pixel_mm: (row, column) distance of pixels, where the mask is right to about a centimetre; None where it is to
            the pixel.
    """
    from scipy import ndimage

    inside, outside = mask, ~mask
    if pixel_mm is not None:
        depth = ndimage.distance_transform_edt(mask, pixel_mm)
        inside = depth > min(EROSION_MM, EROSION_SHARE * depth.max())
        outside = ndimage.distance_transform_edt(~mask, pixel_mm) > DILATION_MM
    share, rest = (features.share_of(one) for one in (inside, outside))
    values = features.comparable()
    flat = values.reshape(len(values), -1).T
    of_object = flat[(share >= min(0.5, share.max())).ravel()]
    of_rest = flat[(rest >= 0.5).ravel()]
    if not of_rest.size or not share.max():
        return None
    return Prototypes(means_of(of_object), means_of(of_rest))


def means_of(points: np.ndarray, count: int = PROTOTYPES) -> np.ndarray:
    """Return up to ``count`` means of alike (n, channels) points by k-means, the same ones each time."""
    rng = np.random.default_rng(0)
    centres = points[[rng.integers(len(points))]]
    while len(centres) < count:
        far = _distances(points, centres).min(axis=1)
        if far.max() <= 0:
            break
        centres = np.vstack([centres, points[rng.choice(len(points), p=far / far.sum())]])
    for _ in range(ROUNDS):
        nearest = _distances(points, centres).argmin(axis=1)
        centres = np.stack(
            [
                points[nearest == one].mean(axis=0) if (nearest == one).any() else centres[one]
                for one in range(len(centres))
            ]
        )
    return centres.astype(np.float32)


def _distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return (points, centres) squared distances."""
    squares = (points**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1)[None] - 2 * points @ centres.T
    return np.maximum(squares, 0)
