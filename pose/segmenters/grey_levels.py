"""Grey levels of an object against those round it: how likely each pixel of another slice belongs to the object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pose.segmenters.protocols import LOG_ODDS_LIMIT

SMOOTHING_SCALES = (0, 1, 2)  # pixels; noise hides small contrasts unless neighbours are averaged
SMOOTHING_GAIN = 0.01  # separation that a wider smoothing must add to be taken
HISTOGRAM_WIDTH = 4.0  # grey levels; a histogram of a few hundred pixels is ragged
BACKGROUND_SHARE = 2e-4  # share of a grey level that neither side has shown
RING_SHARE = 0.25  # width of the surroundings, of the square root of the object's area
RING_LIMITS = (4, 20)  # pixels


@dataclass(frozen=True)
class GreyLevels:
    """What one slice taught about an object's grey levels.

    Attributes:
        log_odds: (256,) float32, natural log of how much more frequent a grey level is in the object than round it,
            limited to +-4.
        smoothing: standard deviation in pixels of the Gaussian that a slice gets before its levels are looked up.
        separation: share of pixels that the levels alone put on the right side, object and surroundings weighing the
            same: 0.5 says nothing, 1.0 everything.
    """

    log_odds: np.ndarray
    smoothing: float
    separation: float

    def evidence(self, grey: np.ndarray) -> np.ndarray:
        """Return log-odds of each pixel of a (rows, columns) uint8 slice, float32; above 0 it looks like the object."""
        return self.log_odds[smooth(grey, self.smoothing)]

    def typical_range(self) -> tuple[int, int] | None:
        """Return the first and last grey level of the unbroken run of object-like levels that holds the likeliest one.

        None where no level is more frequent in the object than round it.
        """
        best = int(self.log_odds.argmax())
        unlike = np.flatnonzero(self.log_odds <= 0)
        if best in unlike:
            return None
        low = int(max(unlike[unlike < best], default=-1)) + 1
        high = int(min(unlike[unlike > best], default=256)) - 1
        return low, high


def smooth(grey: np.ndarray, smoothing: float) -> np.ndarray:
    """Return a slice blurred by a Gaussian of ``smoothing`` pixels, uint8 as before."""
    from scipy import ndimage

    if smoothing == 0:
        return grey
    return ndimage.gaussian_filter(grey.astype(np.float32), smoothing).round().astype(np.uint8)


def learn_grey_levels(grey: np.ndarray, mask: np.ndarray, excluded: np.ndarray | None = None) -> GreyLevels:
    """Compare the grey levels of an object with those of the ring round it.

    Args:
        grey: (rows, columns) uint8.
        mask: (rows, columns) bool, the object; at least one pixel.
        excluded: (rows, columns) bool, pixels that are not surroundings either, such as other objects.

    Returns:
        The levels; with ``separation`` 0.5 and no evidence anywhere where the object has no surroundings.
    """
    from scipy import ndimage

    width = int(np.clip(RING_SHARE * np.sqrt(mask.sum()), *RING_LIMITS))
    ring = ndimage.binary_dilation(mask, iterations=width) & ~mask
    if excluded is not None:
        ring &= ~excluded
    best = GreyLevels(np.zeros(256, dtype=np.float32), 0, 0.5)
    if not ring.any():
        return best
    for smoothing in SMOOTHING_SCALES:
        levels = smooth(grey, smoothing)
        inside, outside = _frequencies(levels[mask]), _frequencies(levels[ring])
        separation = float(inside[inside > outside].sum() + outside[outside >= inside].sum()) / 2
        if separation > best.separation + SMOOTHING_GAIN:
            log_odds = np.log((inside + BACKGROUND_SHARE) / (outside + BACKGROUND_SHARE))
            log_odds = np.clip(log_odds, -LOG_ODDS_LIMIT, LOG_ODDS_LIMIT).astype(np.float32)
            best = GreyLevels(log_odds, smoothing, separation)
    return best


def _frequencies(levels: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    counts = np.bincount(levels, minlength=256).astype(np.float64)
    return ndimage.gaussian_filter1d(counts, HISTOGRAM_WIDTH) / counts.sum()
