"""SAM 2's image encoder on the slices of a volume: from grey levels to what the mask decoder and the memory take."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from pose.scans.intensity import GreyStack
from pose.segmenters.embeddings import EmbeddingsCache
from pose.segmenters.models import Network
from pose.segmenters.sam2 import hiera
from pose.segmenters.sam_inputs import Share, Stopwatch, autocast, cast_weights_once, wait_for

# mean and standard deviation of the pictures that SAM 2 was trained on, over red, green and blue
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)

LEVELS = ("stride_4", "stride_8", "stride_16")


def square_of(grey: np.ndarray, size: int) -> torch.Tensor:
    """Return a slice, (rows, columns) uint8, as (size, size) uint8, squashed."""
    from PIL import Image

    # the same resampling as sam2's own video reader, so that a slice gives the same frame
    return torch.from_numpy(np.array(Image.fromarray(grey).resize((size, size))))


def normalised(squares: torch.Tensor) -> torch.Tensor:
    """Return (slices, size, size) uint8 as the (slices, 3, size, size) float32 frames that SAM 2's video reader makes,
    where they are.
    """
    mean, std = (torch.tensor(values, device=squares.device)[:, None, None] for values in (IMAGE_MEAN, IMAGE_STD))
    return ((squares.float() / 255.0)[:, None].expand(-1, 3, -1, -1) - mean) / std


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

    def square(self, grey: np.ndarray) -> torch.Tensor:
        """Return one slice, (rows, columns) uint8, as :meth:`encode` takes it, on the CPU."""
        return square_of(grey, self._network.image_size)

    def encode(self, squares: torch.Tensor) -> list[torch.Tensor]:
        """Return the levels of (slices, size, size) uint8, finest first, as (slices, channels, height, width), each in
        the type it was computed in.

        The last one is what memories are made of.
        """
        return self.encode_frames(normalised(squares.to(self.device)))

    def encode_frames(self, frames: torch.Tensor) -> list[torch.Tensor]:
        """The same from normalised (slices, 3, size, size) float32."""
        frames = frames.to(self.device)
        if self._encoder is not None:
            found = [self._encoder(frame[None]) for frame in frames]
            return [torch.cat(level) if len(level) > 1 else level[0] for level in zip(*found, strict=True)]
        with autocast(self.device, self._precision):
            return self._network.forward_image(frames)["backbone_fpn"]

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
        at_once: int = 1,
    ):
        """Read ``grey`` on ``worker``.

        Args:
            embeddings: slices that it holds are not encoded again.
            at_once: encode so many slices in one batch where it is known which come next.
        """
        self.shape = grey.shape[:2]
        self._encoder = encoder
        self._grey = grey
        self._worker = worker
        self._embeddings = embeddings
        self._at_once = at_once
        self._waiting: dict[int, Future[_Ready]] = {}
        self._last_put: Future[None] | None = None
        self._kept: dict[int, list[torch.Tensor]] = {}
        self._encoded: dict[int, list[torch.Tensor]] = {}
        self._times: dict[int, Share] = {}

    def prepare(self, upcoming: Sequence[int]) -> None:
        """Let the slices that will be asked for next be made ready for the encoder meanwhile."""
        # what fills the batch after the one that the next of them is in
        for slice_index in upcoming[: 2 * self._at_once - 1]:
            if not any(slice_index in known for known in (self._kept, self._encoded, self._waiting)):
                self._waiting[slice_index] = self._worker.submit(self._ready, slice_index)

    def features_of(self, slice_index: int, keep: bool = False, upcoming: Sequence[int] = ()) -> list[torch.Tensor]:
        """Return the levels of a slice, finest first, as (1, channels, height, width) float32.

        Several threads may ask at once, for different slices or for kept ones, unless slices are encoded in batches.

        Args:
            keep: they are kept: for a slice that will be asked for again.
            upcoming: the slices that will be asked for next, in their order.
        """
        if slice_index in self._kept:
            return self._kept[slice_index]
        if slice_index not in self._encoded:
            self._encode([slice_index, *upcoming][: self._at_once])
        features = self._encoded.pop(slice_index)
        if keep:
            self._kept[slice_index] = features
        return features

    def _encode(self, slices: Sequence[int]) -> None:
        """Encode slices in one batch, but for those that are encoded already."""
        watch = Stopwatch(self._encoder.device)
        slices = [index for index in slices if index not in self._kept and index not in self._encoded]
        for slice_index in slices:
            self.prepare([slice_index])
        ready = {slice_index: self._waiting.pop(slice_index).result() for slice_index in slices}
        levels_of = {slice_index: one.levels for slice_index, one in ready.items()}
        fresh = {slice_index: one.square for slice_index, one in ready.items() if one.square is not None}
        if fresh:
            found = self._encoder.encode(torch.stack(list(fresh.values())))
            for place, slice_index in enumerate(fresh):
                levels = levels_of[slice_index] = [level[place : place + 1] for level in found]
                if self._embeddings is not None:
                    # by the one thread that also looks for slices
                    self._put(self._embeddings, ready[slice_index].grey, levels)
        for slice_index, levels in levels_of.items():
            self._encoded[slice_index] = [level.to(self._encoder.device, torch.float32) for level in levels]
        if self._encoder.device.type != "cuda":
            wait_for(self._encoder.device)
        watch.stop()
        for slice_index in slices:
            self._times[slice_index] = Share(watch, 1 / len(slices))

    def _put(self, embeddings: EmbeddingsCache, grey: np.ndarray, levels: list[torch.Tensor]) -> None:
        if self._last_put is not None:
            self._last_put.result()  # an error of the thread shows here
        self._last_put = self._worker.submit(embeddings.put, grey, dict(zip(LEVELS, levels)))

    def encode_time_of(self, slice_index: int) -> float:
        """Return the seconds that encoding a slice took, once; 0 where it was asked before."""
        return self._times.pop(slice_index).seconds if slice_index in self._times else 0.0

    def _ready(self, slice_index: int) -> _Ready:
        grey = self._grey[slice_index]
        known = None if self._embeddings is None else self._embeddings.get(grey)
        if known is None:
            return _Ready(grey, self._encoder.square(grey), [])
        return _Ready(grey, None, [known[level] for level in LEVELS])


@dataclass(frozen=True)
class _Ready:
    """A slice on its way: as the encoder takes it, or, where they are known, its levels."""

    grey: np.ndarray
    square: torch.Tensor | None
    levels: list[torch.Tensor]
