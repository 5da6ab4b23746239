"""Intensity: from voxels to the uint8 grey slices that models see, by CT window, percentiles or slice by slice."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from pose.cli import UserError
from pose.scans.hounsfield import LOWEST_HU
from pose.scans.volume import Volume, count_not_finite

LOGGER = logging.getLogger(__name__)

# (level, width) in Hounsfield units, as radiologists use them; lung is the paper's.
WINDOWS: dict[str, tuple[float, float]] = {
    "lung": (-650.0, 1500.0),
    "mediastinum": (50.0, 350.0),
    "soft_tissue": (40.0, 400.0),
    "liver": (30.0, 150.0),
    "brain": (40.0, 80.0),
    "bone": (400.0, 1800.0),
}
PERCENTILES = (0.5, 99.5)
# A histogram with one bin a value gives exact percentiles; above so many values it would be larger than a sample.
MOST_HISTOGRAM_BINS = 1 << 22
MOST_SAMPLED_VOXELS = 4_000_000
# For people, not for models: what is to be seen of a body, and how finely it is looked for.
DISPLAY_PERCENTILES = (1.0, 99.5)
BODY_GRID = (128, 128, 64)
# Of the rim of all slices: what a frame of one value takes at least.
LEAST_OF_RIM = 0.5
LEAST_BODY = 0.1
# Hounsfield units by what every body has: air in or around it, and soft tissue.
AIR_HU, TISSUE_HU, LUNG_HU = (-1100.0, -700.0), (-200.0, 200.0), (-950.0, -500.0)
LEAST_AIR, LEAST_TISSUE, LEAST_LUNG = 0.01, 0.05, 0.1
# Where all the air of a scan is padding, fat and bone, or muscle with contrast, tell its unit.
FAT_HU, DENSE_HU, LEAST_FAT_OR_DENSE = -50.0, 50.0, 0.01
# A scan resampled after it was padded has values between padding and air along that border; the phase of an MR signal,
# which runs from -4096 to 4095, has a third of its values below air.
MOST_BELOW_AIR = 0.1


@dataclass(frozen=True)
class Intensity:
    """Which voxel values become black (0) and white (255).

    Attributes:
        window: (level, width); level - width / 2 becomes black, level + width / 2 white. None: percentiles 0.5 and 99.5
            of all voxels, also where these are 8-bit grey already.
        per_slice: stretch each slice from its own minimum to its own maximum (inside the window, if there is one), as
            the published numbers had it. Brightness then jumps between neighbours, and padding sets the contrast.
    """

    window: tuple[float, float] | None = None
    per_slice: bool = False


def chosen_intensity(apply_windowing: bool = False, window: Sequence[str] = (), intensity: str = "volume") -> Intensity:
    """Return what ``--apply_windowing``, ``--window`` and ``--intensity`` (``volume`` or ``per_slice``) ask for.

    Raises:
        UserError: both windows are asked for, or the window is none.
    """
    if apply_windowing and window:
        raise UserError(f"--window {' '.join(window)}: not together with --apply_windowing")
    shown = WINDOWS["lung"] if apply_windowing else window_of_words(window) if window else None
    return Intensity(shown, per_slice=intensity == "per_slice")


def window_of_words(words: Sequence[str]) -> tuple[float, float]:
    """Return (level, width) in Hounsfield units from a name (``["bone"]``) or two numbers (``["400", "1800"]``).

    Raises:
        UserError: no such name, not two finite numbers, or a width that is not above 0.
    """
    given = " ".join(words)
    if len(words) == 1 and words[0].lower() in WINDOWS:
        return WINDOWS[words[0].lower()]
    try:
        level, width = (float(word) for word in words)
    except ValueError:
        raise UserError(f"--window {given}: expected one of {', '.join(WINDOWS)}, or a level and a width") from None
    if not (math.isfinite(level) and math.isfinite(width) and width > 0):
        raise UserError(f"--window {given}: level and width must be finite, and the width above 0")
    return level, width


def words_of_window(window: tuple[float, float]) -> list[str]:
    """Return the words that :func:`window_of_words` makes ``window`` of: its name, or level and width."""
    names = [name for name, known in WINDOWS.items() if known == window]
    return names or [f"{value:g}" for value in window]


class GreyStack(Protocol):
    """A volume as a sequence of uint8 slices, each made when it is asked for: ``len(grey)``, ``grey[i]``.

    ``spacing_mm`` is the (row, column, slice) distance of its voxels in millimetres, None where unknown.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float] | None

    def __len__(self) -> int: ...

    def __getitem__(self, slice_index: int) -> np.ndarray: ...


class GreySlices:
    """A volume as a sequence of uint8 slices, each made when it is asked for and not kept.

    Values between black and white map linearly to 0 to 255 and are rounded to the nearest level, halves upwards; what
    lies outside is clipped. Voxels that are not finite become black. The arithmetic is in float64, where whole numbers
    are exact, so that a scan gives the same grey levels whatever dtype it is stored in.

    What lies outside the field of view has no say in the contrast: in a scan of Hounsfield units
    (:func:`likely_unit`), all below -1024 and all that is not finite counts as -1024, unless each slice is stretched on
    its own; of other scans see :func:`_percentile_limits`.

    Attributes:
        shape: (rows, columns, slices).
        limits: (black, white) voxel values for the volume; None where each slice has its own.
    """

    def __init__(self, volume: Volume, intensity: Intensity = Intensity()):
        self._voxels = volume.voxels
        self.shape: tuple[int, int, int] = volume.voxels.shape
        self.spacing_mm = volume.spacing_mm
        name = str(volume.path or "volume")
        floor = lowest_level(volume)
        self._floor = -math.inf if intensity.per_slice else floor
        if unusable := count_not_finite(self._voxels):
            text = "%s: %d of %d voxels are NaN or infinite; they become black"
            if not math.isinf(self._floor):
                text = "%s: %d of %d voxels are NaN or infinite; they count as air"
            LOGGER.warning(text, name, unusable, self._voxels.size)
        ranges = [_finite_range(self._voxels[:, :, index]) for index in range(len(self))]
        if (lowest := _widest(ranges)[0]) < floor:
            text = "%s: values down to %g lie below air, as outside a field of view; they count as air"
            if intensity.per_slice:
                text = "%s: values down to %g lie below air, as outside a field of view; they darken slices that hold "
                text += "them, as --intensity per_slice stretches each from its own minimum"
            LOGGER.info(text, name, lowest)
        ranges = [(max(low, self._floor), max(high, self._floor)) for low, high in ranges]
        limits = None
        if intensity.window is not None:
            level, width = intensity.window
            limits = (level - width / 2, level + width / 2)
        elif not intensity.per_slice:
            limits = _percentile_limits(self._voxels, ranges, name, self._floor)
        self.limits: tuple[float, float] | None = None if intensity.per_slice else limits
        self._limits_within_slice = limits
        self._log_what_shows_little(ranges, name)

    def __len__(self) -> int:
        return self.shape[2]

    def __getitem__(self, slice_index: int) -> np.ndarray:
        """Return one slice, (rows, columns) uint8, C-contiguous; raise IndexError where there is none."""
        values = self._voxels[:, :, slice_index]
        if self.limits is not None:
            return _grey(values, *self.limits, self._floor)
        return _grey(values, *self._stretched(*_finite_range(values)))

    def _stretched(self, low: float, high: float) -> tuple[float, float]:
        """Return the values that become black and white on a slice with this range; nan is none."""
        if self.limits is not None:
            return self.limits
        if math.isnan(low):
            return 0.0, 0.0
        if self._limits_within_slice is not None:
            low, high = np.clip((low, high), *self._limits_within_slice).tolist()
        return low, high

    def _log_what_shows_little(self, ranges: Sequence[tuple[float, float]], name: str) -> None:
        """Tell of a volume of one slice, and which slices are of one grey level: models find nothing there."""
        if len(self) == 1:
            LOGGER.info("%s: is a volume of one slice", name)
        ends = (_grey(np.array([one]), *self._stretched(*one)) for one in ranges)
        flat = [index for index, ((darkest, brightest),) in enumerate(ends) if darkest == brightest]
        if len(flat) == len(self):
            LOGGER.warning("%s: every slice is of one grey level, its voxels go from %g to %g", name, *_widest(ranges))
        elif flat:
            LOGGER.info("%s: slice(s) %s are of one grey level each", name, _as_spans(flat))


class DisplaySlices(GreySlices):
    """A volume as a sequence of uint8 slices for people to look at, whatever window a model sees it through.

    Without a window, see :func:`display_limits`. The log is left to the slices that models see.

    Attributes:
        shape: (rows, columns, slices).
        limits: (black, white) voxel values.
    """

    def __init__(self, volume: Volume, window: tuple[float, float] | None = None):
        self._voxels = volume.voxels
        self._floor = lowest_level(volume)
        self.shape = volume.voxels.shape
        self.spacing_mm = volume.spacing_mm
        if window is None:
            self.limits: tuple[float, float] = display_limits(volume)
        else:
            self.limits = (window[0] - window[1] / 2, window[0] + window[1] / 2)


def display_limits(volume: Volume) -> tuple[float, float]:
    """Return the voxel values that become black and white where people look; one value twice for a constant volume.

    They are the percentiles 1 and 99.5 of the body, so that neither padding nor air round it counts; and white is no
    further above its tissue than Tukey's outer fence, so that bone and metal do not leave the tissue dark.
    """
    body, tissue = _body_and_tissue(volume)
    if not body.size:
        return 0.0, 0.0
    low, high = np.percentile(body, DISPLAY_PERCENTILES).tolist()
    first, third = np.percentile(tissue, (25, 75)).tolist()
    if first < third:
        high = min(high, third + 3 * (third - first))
    return (low, high) if low < high else (float(body.min()), float(body.max()))


def body_values(volume: Volume) -> np.ndarray:
    """Return the values of the body, (voxels,) float64, of a large volume those of a coarser grid.

    The body is all that is brighter than what Otsu's threshold separates from it, its tissue, and what that encloses on
    a slice (lungs are body). The lowest value is padding, or air that was cut off, and has no part in the threshold.
    Where this leaves little, there was no other air, and the body is all above the lowest value.
    """
    return _body_and_tissue(volume)[0]


def _body_and_tissue(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    values = coarse_values(volume)
    values = np.maximum(values, LOWEST_HU if _unit_of(values).is_hounsfield else -math.inf)
    finite = np.isfinite(values)
    known = values[finite]
    above_padding = known[known > known.min()] if known.size else known
    if above_padding.size < 2 or above_padding.min() == above_padding.max():
        return known, known
    from scipy import ndimage

    tissue = finite & (values > _otsu(above_padding))
    filled = [ndimage.binary_fill_holes(tissue[:, :, index]) for index in range(tissue.shape[2])]
    body = values[np.stack(filled, axis=2) & finite]
    if body.size < LEAST_BODY * above_padding.size:
        return above_padding, above_padding
    return body, values[tissue]


def coarse_values(volume: Volume) -> np.ndarray:
    """Return every n-th row, column and slice, so that there are at most 128 x 128 x 64 values, float64."""
    shape = volume.voxels.shape
    grid = tuple(slice(None, None, -(-length // most)) for length, most in zip(shape, BODY_GRID))
    return volume.voxels[grid].astype(np.float64)


def _otsu(values: np.ndarray) -> float:
    """Return the value between two groups of ``values`` that differ most; extremes of both ends do not count."""
    low, high = np.percentile(values, (0.5, 99.5))
    counts, edges = np.histogram(values, bins=256, range=(low, high) if low < high else None)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    sums = np.cumsum(counts * middles)
    above = counts.sum() - below
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    return float(edges[1:-1][np.nanargmax(apart)])


def saturated_share(volume: Volume, limits: tuple[float, float]) -> float:
    """Return which share of the body, 0 to 1, becomes black (0) or white (255) between ``limits``."""
    levels = _grey(body_values(volume), *limits)
    return float(np.mean((levels == 0) | (levels == 255))) if levels.size else 0.0


@dataclass(frozen=True)
class LikelyUnit:
    """What the values of a scan are, as far as they tell.

    Attributes:
        is_hounsfield: None where they do not tell.
        reason: why, in words.
        has_lungs: whether a good part of the body is as lungs are in Hounsfield units.
    """

    is_hounsfield: bool | None
    reason: str
    has_lungs: bool = False


def likely_unit(volume: Volume) -> LikelyUnit:
    """Tell Hounsfield units from others: there, air lies near -1000, soft tissue near 0, and there is much of both.

    One value far below air, as outside a field of view, has no share in this. Where it takes the place of all air,
    there must be fat and something dense besides; where much else lies below air, the unit is another.
    """
    values = coarse_values(volume)
    unit = _unit_of(values)
    if not unit.is_hounsfield:
        return unit
    body = body_values(volume)
    lungs = float(np.mean((body >= LUNG_HU[0]) & (body <= LUNG_HU[1])))
    return replace(unit, has_lungs=lungs >= LEAST_LUNG)


def lowest_level(volume: Volume) -> float:
    """Return the value as which all lower ones count: that of air in Hounsfield units, in other units -inf."""
    return LOWEST_HU if _unit_of(coarse_values(volume)).is_hounsfield else -math.inf


def _unit_of(values: np.ndarray) -> LikelyUnit:
    """Return what values are, as :func:`likely_unit`, without a word on lungs."""
    values = values[np.isfinite(values)]
    if not values.size or values.min() == values.max():
        return LikelyUnit(None, "all voxels have one value")
    below = values[values < AIR_HU[0]]
    values = values[values >= AIR_HU[0]]
    padded, beside = 0, ""
    if below.size:
        levels, counts = np.unique(below, return_counts=True)
        # one value outside the field of view, and another where a scan was moved or resampled
        padded = int(np.sort(counts)[-2:].sum())
        beside = f", beside padding of {levels[counts.argmax()]:g}"
    if values.size == 0 or below.size - padded > MOST_BELOW_AIR * values.size:
        return LikelyUnit(None, f"{below.size - padded} of {below.size + values.size} voxels lie below air")
    air, tissue = (float(np.mean((values >= low) & (values <= high))) for low, high in (AIR_HU, TISSUE_HU))
    if values.min() >= 0:
        grey = ", and none above 255: grey levels of 8 bits" if 1 < values.max() <= 255 else ""
        return LikelyUnit(False, f"no value is below 0{beside}{grey}")
    shares = f"{air:.0%} of the voxels are as air or lung ({AIR_HU[0]:g} to {AIR_HU[1]:g}), {tissue:.0%} as soft tissue"
    shares += f" ({TISSUE_HU[0]:g} to {TISSUE_HU[1]:g}){beside}"
    has_air = air >= LEAST_AIR
    if padded >= LEAST_AIR * values.size:
        rare = min(np.mean(values <= FAT_HU), np.mean(values >= DENSE_HU))
        has_air = has_air or bool(rare >= LEAST_FAT_OR_DENSE)
    return LikelyUnit(True if has_air and tissue >= LEAST_TISSUE else None, shares)


def _grey(values: np.ndarray, low: float, high: float, floor: float = -math.inf) -> np.ndarray:
    """Map (rows, columns) values from low..high to 0..255 uint8; all 0 where low equals high.

    What is lower than ``floor`` or not finite counts as ``floor``.
    """
    if low == high:
        return np.zeros(values.shape, np.uint8)
    levels = np.array(values, dtype=np.float64, order="C")
    if values.dtype.kind == "f":
        levels[~np.isfinite(levels)] = low
    np.clip(levels, min(max(low, floor), high), high, out=levels)
    levels -= low
    # multiplied before divided: whole numbers and half levels stay exact, so that halves round the same everywhere
    levels *= 255.0
    levels /= high - low
    levels += 0.5
    return levels.astype(np.uint8)


def _finite_range(values: np.ndarray) -> tuple[float, float]:
    """Return the smallest and the largest finite value; nan twice where there is none."""
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if values.size else (math.nan, math.nan)


def _widest(ranges: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the smallest and the largest value of all ranges; (0, 0) where no slice has a finite one."""
    known = [one for one in ranges if not math.isnan(one[0])]
    return (min(low for low, _ in known), max(high for _, high in known)) if known else (0.0, 0.0)


def _as_spans(numbers: Sequence[int]) -> str:
    """Return ascending whole numbers as text, neighbours together: "0 to 3, 7"."""
    starts = [number for number in numbers if number - 1 not in numbers]
    ends = [number for number in numbers if number + 1 not in numbers]
    return ", ".join(str(start) if start == end else f"{start} to {end}" for start, end in zip(starts, ends))


def _percentile_limits(
    voxels: np.ndarray, ranges: Sequence[tuple[float, float]], name: str, floor: float
) -> tuple[float, float]:
    """Return the percentiles, or where these are one value, the range; one value twice for a constant volume.

    A frame of one value has no part in them where it is farther from all other values than these are apart: an X-ray
    that software has put on a white ground, an MR image padded with -32768. One of 0 is what images have round them,
    one of air is what CT has; these stay.
    """
    lowest, highest = _widest(ranges)
    if lowest == highest:
        return lowest, highest
    histogram = _histogram(voxels, lowest, highest)
    if histogram is None:
        sample = _sample(voxels, lowest)

        def percentiles(frames: Sequence[float] = ()) -> tuple[float, float]:
            kept = sample[~np.isin(sample, frames)] if frames else sample
            low, high = np.percentile(kept, PERCENTILES).tolist() if kept.size else (0.0, 0.0)
            return low, high
    else:
        counts = histogram

        def percentiles(frames: Sequence[float] = ()) -> tuple[float, float]:
            kept = counts.copy()
            kept[[int(frame - lowest) for frame in frames]] = 0
            low, high = (_percentile(kept, percent) + lowest for percent in PERCENTILES) if kept.any() else (0.0, 0.0)
            return low, high

    low, high = percentiles()
    if low == high:
        LOGGER.info("%s: both percentiles are %g; stretched from %g to %g instead", name, low, lowest, highest)
        return lowest, highest
    ends = [lowest, highest] if lowest < 0 and math.isinf(floor) else [highest]
    frames = [end for end in ends if end in (low, high) and _share_of_rim(voxels, end) >= LEAST_OF_RIM]
    rest = percentiles(frames) if frames else (0.0, 0.0)
    if rest[0] == rest[1]:
        return low, high
    apart = rest[1] - rest[0]
    if low in frames and rest[0] - low > apart:
        LOGGER.info("%s: a frame of %g is left out of the percentiles", name, low)
        low = rest[0]
    if high in frames and high - rest[1] > apart:
        LOGGER.info("%s: a frame of %g is left out of the percentiles", name, high)
        high = rest[1]
    return low, high


def _share_of_rim(voxels: np.ndarray, value: float) -> float:
    """Return which share of the voxels at the rim of the slices has this value, 0 to 1."""
    rims = voxels[0], voxels[-1], voxels[:, 0], voxels[:, -1]
    return sum(int(np.count_nonzero(rim == value)) for rim in rims) / sum(rim.size for rim in rims)


def _histogram(voxels: np.ndarray, lowest: float, highest: float) -> np.ndarray | None:
    """Count the finite voxels of each whole number from ``lowest`` on; None where there are others, or too many.

    What is lower counts as ``lowest``.
    """
    if highest - lowest >= MOST_HISTOGRAM_BINS or not lowest.is_integer():
        return None
    counts = np.zeros(int(highest - lowest) + 1, np.int64)
    for index in range(voxels.shape[2]):
        values = voxels[:, :, index].ravel(order="K")
        if values.dtype.kind == "f":
            values = np.maximum(values[np.isfinite(values)], lowest)
            if (values != np.rint(values)).any():
                return None
        counts += np.bincount(np.maximum(values.astype(np.int64) - int(lowest), 0), minlength=len(counts))
    return counts


def _percentile(histogram: np.ndarray, percent: float) -> float:
    """Return the percentile of bin numbers, linear between neighbouring ranks, as numpy.percentile has it."""
    ranks = np.cumsum(histogram)
    position = percent / 100 * float(ranks[-1] - 1)
    below = math.floor(position)
    first, second = np.searchsorted(ranks, (below, below + 1), side="right").tolist()
    return first if below == position else first + (second - first) * (position - below)


def _sample(voxels: np.ndarray, lowest: float) -> np.ndarray:
    """Return all finite voxels, of a large volume every n-th row and column: by index, whatever the order in memory.

    What is lower than ``lowest`` counts as that.
    """
    step = 1
    while math.prod(voxels[::step, ::step].shape) > MOST_SAMPLED_VOXELS and step < max(voxels.shape[:2]):
        step += 1
    values = voxels[::step, ::step].astype(np.float64)
    return np.maximum(values[np.isfinite(values)], lowest)
