"""SAM 2's image encoder on the slices of a volume: from grey levels to what the mask decoder and the memory take."""

from __future__ import annotations

import numpy as np
import torch

from pose.segmenters import hiera
from pose.segmenters.sam_inputs import autocast, cast_weights_once

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
