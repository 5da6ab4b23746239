"""SAM 2's image encoder on the slices of a volume: from grey levels to what the mask decoder and the memory take."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter

import numpy as np
import torch

from pose.scans.intensity import GreyStack
from pose.segmenters.embeddings import EmbeddingsCache
from pose.segmenters.models import Network
from pose.segmenters.sam2 import hiera
from pose.segmenters.sam_inputs import autocast, cast_weights_once, wait_for

# mean and standard deviation of the pictures that SAM 2 was trained on, over red, green and blue
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)

LEVELS = ("stride_4", "stride_8", "stride_16")


def frame_of(grey: np.ndarray, size: int) -> torch.Tensor:
    """Return a slice, (rows, columns) uint8, as the normalised (3, size, size) float32 frame that SAM 2's video reader
    makes.
    """
    from PIL import Image

    # the same resampling as sam2's own video reader, so that a slice gives the same frame
    resized = Image.fromarray(grey).resize((size, size))
    levels = torch.from_numpy(np.array(resized, dtype=np.float32) / 255.0)
    mean, std = torch.tensor(IMAGE_MEAN)[:, None, None], torch.tensor(IMAGE_STD)[:, None, None]
    return (levels.expand(3, -1, -1) - mean) / std


class SliceEncoder:
    """Encodes slices with the image encoder of a SAM 2 network."""

    def __init__(self, network: Network, device: torch.device, precision: str):
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
        """Return the levels of a frame, finest first, as (1, channels, height, width), each in the type it was computed
        in.

        The last one is what memories are made of.
        """
        image = frame.to(self.device)[None]
        if self._encoder is not None:
            return self._encoder(image)
        with autocast(self.device, self._precision):
            return self._network.forward_image(image)["backbone_fpn"]

    def position_of(self, level: torch.Tensor) -> torch.Tensor:
        """Return the encoding of positions that belongs to a level, of the same shape."""
        return self._network.image_encoder.neck.position_encoding(level)


class EncodedSlices:
    """The slices of a volume on their way into the network: made in time by a thread, encoded when asked for."""

    def __init__(
        self,
        encoder: SliceEncoder,
        grey: GreyStack,
        worker: ThreadPoolExecutor,
        embeddings: EmbeddingsCache | None = None,
    ):
        """Read ``grey`` on ``worker``; slices that ``embeddings`` holds are not encoded again."""
        self.shape = grey.shape[:2]
        self._encoder = encoder
        self._grey = grey
        self._worker = worker
        self._embeddings = embeddings
        self._waiting: dict[int, Future] = {}
        self._last_put: Future | None = None
        self._kept: dict[int, list[torch.Tensor]] = {}
        self._times: dict[int, float] = {}

    def prepare(self, slice_index: int) -> None:
        """Let a slice be made ready for the encoder meanwhile."""
        if slice_index not in self._kept and slice_index not in self._waiting:
            self._waiting[slice_index] = self._worker.submit(self._ready, slice_index)

    def features_of(self, slice_index: int, keep: bool = False) -> list[torch.Tensor]:
        """Return the levels of a slice, finest first, as (1, channels, height, width) float32.

        With ``keep`` they are kept: for a slice that will be asked for again. Several threads may ask at once, for
        different slices or for kept ones.
        """
        features = self._kept.get(slice_index)
        if features is None:
            start = perf_counter()
            self.prepare(slice_index)
            grey, frame, levels = self._waiting.pop(slice_index).result()
            if levels is None:
                levels = self._encoder.encode(frame)
                if self._embeddings is not None:
                    # by the one thread that also looks for slices
                    self._put(self._embeddings, grey, levels)
            features = [level.to(self._encoder.device, torch.float32) for level in levels]
            wait_for(self._encoder.device)
            self._times[slice_index] = perf_counter() - start
            if keep:
                self._kept[slice_index] = features
        return features

    def _put(self, embeddings: EmbeddingsCache, grey: np.ndarray, levels: list[torch.Tensor]) -> None:
        if self._last_put is not None:
            self._last_put.result()  # an error of the thread shows here
        self._last_put = self._worker.submit(embeddings.put, grey, dict(zip(LEVELS, levels)))

    def encode_time_of(self, slice_index: int) -> float:
        """Return the seconds that encoding a slice took, once; 0 where it was asked before."""
        return self._times.pop(slice_index, 0.0)

    def _ready(self, slice_index: int) -> tuple[np.ndarray, torch.Tensor | None, list[torch.Tensor] | None]:
        """Return a slice as (grey, frame, None), or (grey, None, levels) where they are known."""
        grey = self._grey[slice_index]
        known = None if self._embeddings is None else self._embeddings.get(grey)
        if known is None:
            return grey, self._encoder.frame(grey), None
        return grey, None, [known[level] for level in LEVELS]
