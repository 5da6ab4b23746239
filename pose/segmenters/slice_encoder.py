"""SAM 2's image encoder on the slices of a volume: from grey levels to what the mask decoder and the memory take."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter

import numpy as np
import torch

from pose.segmenters import GreySlices, hiera
from pose.segmenters.sam_inputs import autocast, cast_weights_once, wait_for

# mean and standard deviation of the pictures that SAM 2 was trained on, over red, green and blue
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


def frame_of(grey: np.ndarray, size: int) -> torch.Tensor:
    """Return a slice, (rows, columns) uint8, as the normalised (3, size, size) float32 frame that SAM 2's video reader makes."""
    from PIL import Image

    # the same resampling as sam2's own video reader, so that a slice gives the same frame
    resized = Image.fromarray(grey).resize((size, size))
    levels = torch.from_numpy(np.array(resized, dtype=np.float32) / 255.0)
    mean, std = torch.tensor(IMAGE_MEAN)[:, None, None], torch.tensor(IMAGE_STD)[:, None, None]
    return (levels.expand(3, -1, -1) - mean) / std


class SliceEncoder:
    """Encodes slices with the image encoder of a SAM 2 network."""

    def __init__(self, network: torch.nn.Module, device: torch.device, precision: str):
        """Take over the encoder of ``network``, which is not to be used by itself any more."""
        self.device = device
        self._network = network
        self._precision = precision
        self._encoder = None
        if device.type == "cpu" and hiera.fits(network):
            self._encoder = hiera.CacheFriendlyEncoder(network, precision)
        elif precision == "bf16":
            cast_weights_once(network.image_encoder)

    def frame(self, grey: np.ndarray) -> torch.Tensor:
        """Return one slice, (rows, columns) uint8, as a frame on the CPU."""
        return frame_of(grey, self._network.image_size)

    def encode(self, frame: torch.Tensor) -> list[torch.Tensor]:
        """Return the levels of a frame, finest first, as (1, channels, height, width) float32; the last one is remembered."""
        image = frame.to(self.device)[None]
        if self._encoder is not None:
            return self._encoder(image)
        with autocast(self.device, self._precision):
            return [level.float() for level in self._network.forward_image(image)["backbone_fpn"]]

    def position_of(self, level: torch.Tensor) -> torch.Tensor:
        """Return the encoding of positions that belongs to a level, of the same shape."""
        return self._network.image_encoder.neck.position_encoding(level)


class EncodedSlices:
    """The slices of a volume on their way into the network: made in time by a thread, encoded when asked for."""

    def __init__(self, encoder: SliceEncoder, grey: GreySlices, worker: ThreadPoolExecutor):
        self.shape = grey.shape[:2]
        self._encoder = encoder
        self._grey = grey
        self._worker = worker
        self._waiting: dict[int, Future] = {}
        self._kept: dict[int, list[torch.Tensor] | None] = {}
        self._times: dict[int, float] = {}

    def keep(self, index: int) -> None:
        """Keep the features of a slice, which both halves will ask for."""
        self._kept.setdefault(index, None)

    def prepare(self, index: int) -> None:
        """Let the frame of a slice be made meanwhile."""
        if self._kept.get(index) is None and index not in self._waiting:
            self._waiting[index] = self._worker.submit(lambda: self._encoder.frame(self._grey[index]))

    def features_of(self, index: int, keep: bool = False) -> list[torch.Tensor]:
        """Return the features of a slice."""
        if keep:
            self.keep(index)
        features = self._kept.get(index)
        if features is None:
            start = perf_counter()
            self.prepare(index)
            features = self._encoder.encode(self._waiting.pop(index).result())
            wait_for(self._encoder.device)
            self._times[index] = perf_counter() - start
            if index in self._kept:
                self._kept[index] = features
        return features

    def encode_time_of(self, index: int) -> float:
        """Return the seconds that encoding a slice took, once; 0 where it was asked before."""
        return self._times.pop(index, 0.0)
