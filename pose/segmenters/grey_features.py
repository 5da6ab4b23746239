"""Grey features: a slice as its grey levels describe it, for what has no network to describe it by."""

from __future__ import annotations

import numpy as np

from pose.prompts.prompt import Prompt
from pose.segmenters.protocols import Features, Prediction
from pose.segmenters.region_growing import prompted_region

MOST_CELLS = 128  # a side
SMOOTHINGS = (0.0, 1.0, 3.0)  # standard deviations in cells


class GreyFeatures:
    """A slice segmenter without a network; see :class:`pose.segmenters.SliceSegmenter`."""

    name = "grey_features"
    prompt_kinds = frozenset({"points", "box", "mask"})

    def __init__(self) -> None:
        self._grey: np.ndarray | None = None

    def set_image(self, grey: np.ndarray) -> None:
        """Take up one slice, (rows, columns) uint8."""
        self._grey = grey

    def features(self) -> Features:
        """Return the grey levels of the slice set last, blurred more and more."""
        import cv2
        from scipy import ndimage

        grey = self._slice()
        rows, columns = (-(-length // -(-max(grey.shape) // MOST_CELLS)) for length in grey.shape)
        coarse = cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        blurred = [ndimage.gaussian_filter(coarse, sigma) if sigma else coarse for sigma in SMOOTHINGS]
        return Features(np.stack(blurred), (float(rows), float(columns)), by_direction=False)

    def predict(self, prompt: Prompt, multimask_output: bool = False) -> Prediction:
        """Return what region growing takes for the prompted object; there is no score."""
        return Prediction(prompted_region(self._slice(), prompt))

    def _slice(self) -> np.ndarray:
        if self._grey is None:
            raise RuntimeError("GreyFeatures was asked about a slice before set_image")
        return self._grey
