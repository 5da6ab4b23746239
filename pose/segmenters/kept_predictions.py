"""Predictions of a slice segmenter, kept: what was asked of the same slice before is not computed again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import numpy as np

from pose.prompts.prompt import Prompt
from pose.segmenters.protocols import Features, Prediction, SliceSegmenter

LIMIT_BYTES = 10**9

_Key = tuple[object, ...]


class KeptPredictions:
    """A slice segmenter that answers what it was asked before; see :class:`pose.segmenters.SliceSegmenter`.

    A prediction depends on the slice and the prompt alone. Whatever carries prompts from slice to slice therefore gives
    the same masks with it, to the byte, and asks the network only what has changed.

    Attributes:
        limit_bytes: the predictions may take as much memory. Those that the volume at hand has used stay, and others
            go for them.
        asked: how many predictions the network was asked for.
    """

    def __init__(self, segmenter: SliceSegmenter, limit_bytes: int = LIMIT_BYTES):
        self.segmenter = segmenter
        self.name, self.prompt_kinds = segmenter.name, segmenter.prompt_kinds
        self.limit_bytes = limit_bytes
        self.asked = 0
        self._kept: OrderedDict[_Key, tuple[Prediction, int]] = OrderedDict()
        self._bytes = 0
        self._turn = 0
        self._slice: np.ndarray | None = None
        self._digest = b""
        self._encoded = False

    def begin(self) -> None:
        """Say that a volume is carried from here on: what it does not use may go for what it does."""
        self._turn += 1

    def set_image(self, grey: np.ndarray) -> None:
        """Take up one slice, (rows, columns) uint8; it is encoded once something new is asked of it."""
        self._slice = grey
        self._digest = hashlib.sha256(f"{grey.shape} ".encode() + grey.tobytes()).digest()
        self._encoded = False

    def predict(self, prompt: Prompt, multimask_output: bool = False) -> Prediction:
        """Return what the segmenter says of a prompt on the slice set last; its arrays are not to be written to."""
        mask = None if prompt.mask is None else prompt.mask.tobytes()
        asked = prompt.positive_points, prompt.negative_points, prompt.box, mask, multimask_output
        key = self._digest, *asked
        if (kept := self._kept.get(key)) is not None:
            self._kept[key] = kept[0], self._turn
            self._kept.move_to_end(key)
            return kept[0]
        self.asked += 1
        found = self._encoding().predict(prompt, multimask_output)
        for array in (found.mask, found.logits):
            if array is not None:
                array.setflags(write=False)
        self._keep(key, found)
        return found

    def features(self) -> Features:
        """Return what the encoder made of the slice set last."""
        return self._encoding().features()

    def _encoding(self) -> SliceSegmenter:
        if not self._encoded:
            if self._slice is None:
                raise RuntimeError("KeptPredictions was asked before set_image")
            self.segmenter.set_image(self._slice)
            self._encoded = True
        return self.segmenter

    def _keep(self, key: _Key, found: Prediction) -> None:
        size = _bytes_of(found)
        while self._bytes + size > self.limit_bytes:
            if not self._kept:
                return
            oldest, (prediction, turn) = next(iter(self._kept.items()))
            if turn == self._turn:
                return
            del self._kept[oldest]
            self._bytes -= _bytes_of(prediction)
        self._kept[key] = found, self._turn
        self._bytes += size


def _bytes_of(found: Prediction) -> int:
    return found.mask.nbytes + (0 if found.logits is None else found.logits.nbytes)
