"""What SAM and SAM 2 share: prompts as (x, y) arrays, and layers whose weights are cast to bfloat16 once."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from pose.cli import UserError
from pose.prompts.prompt import Prompt
from pose.segmenters.protocols import Prediction

if TYPE_CHECKING:
    import torch


def point_arrays(prompt: Prompt) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return (n, 2) float32 points as (x, y) and their (n,) int32 labels, 1 inside the object and 0 outside; or None,
    None.
    """
    points = [*prompt.positive_points, *prompt.negative_points]
    if not points:
        return None, None
    coordinates = np.array([(column, row) for row, column in points], dtype=np.float32)
    labels = np.array([1] * len(prompt.positive_points) + [0] * len(prompt.negative_points), dtype=np.int32)
    return coordinates, labels


def box_array(prompt: Prompt) -> np.ndarray | None:
    """Return the box as float32 (x_min, y_min, x_max, y_max), or None.

    The last row and column keep their index: SAM adds half a pixel to every coordinate, box corners included.
    """
    if prompt.box is None:
        return None
    row_min, column_min, row_max, column_max = prompt.box
    return np.array([column_min, row_min, column_max, row_max], dtype=np.float32)


def tight_box(mask: np.ndarray) -> np.ndarray:
    """Return the box round a (rows, columns) mask as float32 (x_min, y_min, x_max, y_max)."""
    rows, columns = np.nonzero(mask)
    return np.array([columns.min(), rows.min(), columns.max(), rows.max()], dtype=np.float32)


def mask_logits(mask: np.ndarray, size: int, keep_aspect: bool) -> np.ndarray:
    """Return a (rows, columns) mask as the (1, size, size) logits that SAM takes for "the mask so far".

    Args:
        keep_aspect: True scales the longest side to ``size`` and pads right and bottom (SAM); False squashes (SAM 2).
    """
    import cv2

    rows, columns = mask.shape
    scale = size / max(rows, columns)
    height, width = (max(1, round(rows * scale)), max(1, round(columns * scale))) if keep_aspect else (size, size)
    resized = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    logits = np.full((1, size, size), -10.0, dtype=np.float32)
    logits[0, :height, :width] = resized * 20.0 - 10.0
    return logits


def predict_with(predictor: Any, prompt: Prompt, mask_input: np.ndarray | None, multimask_output: bool) -> Prediction:
    """Call ``predict`` of SAM's or SAM 2's image predictor; both have the same signature.

    A prompt that is a mask alone gives the mask as logits together with the box round it: SAM hardly follows logits
    alone. With ``multimask_output`` the best of three masks by score is returned, as in the paper.
    """
    coordinates, labels = point_arrays(prompt)
    box = box_array(prompt)
    if prompt.mask is not None and mask_input is not None and coordinates is None and box is None:
        box = tight_box(prompt.mask)
    if coordinates is None and box is None:
        raise UserError(f"prompt of object {prompt.object_id} on slice {prompt.slice}: holds no point, box or mask")
    logits, scores, _ = predictor.predict(
        point_coords=coordinates,
        point_labels=labels,
        box=box,
        mask_input=mask_input,
        multimask_output=multimask_output,
        return_logits=True,
    )
    best = int(np.argmax(scores))
    return Prediction(mask=logits[best] > 0, score=float(scores[best]), logits=logits[best])


def cast_weights_once(module: torch.nn.Module) -> None:
    """Turn the weights of linear layers and convolutions into bfloat16, in place.

    Autocast would cast them again at every call, a quarter of the time on a CPU; cast beforehand, it computes the same.
    """
    import torch

    for layer in module.modules():
        if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            layer.to(torch.bfloat16)


def compute_linear_layers_in_bfloat16(module: torch.nn.Module) -> None:
    """Let the linear layers of ``module`` take any type and compute in bfloat16; all other layers stay as they are."""
    import torch

    for layer in module.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.to(torch.bfloat16)
            layer.register_forward_pre_hook(lambda _, inputs: (inputs[0].to(torch.bfloat16),))


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """Return the context in which a network computes in ``precision`` ("fp32" or "bf16")."""
    import torch

    if precision == "bf16":
        return torch.autocast(device_type=device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


class Stopwatch:
    """The seconds between its making and :meth:`stop`, on a device; nobody waits for them until they are asked for."""

    def __init__(self, device: torch.device):
        """Start."""
        self._device = device
        self._start, self._end = self._now(), self._now()

    def _now(self) -> Any:
        import torch

        if self._device.type != "cuda":
            return perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def stop(self) -> None:
        """Take the time; on Apple's GPU what it was given may still be under way."""
        self._end = self._now()

    @property
    def seconds(self) -> float:
        """How long it took; waits for a GPU with CUDA."""
        if self._device.type != "cuda":
            return float(self._end - self._start)
        self._end.synchronize()
        return float(self._start.elapsed_time(self._end)) / 1000


@dataclass(frozen=True)
class Share:
    """A share of what a stopwatch took."""

    watch: Stopwatch
    share: float

    @property
    def seconds(self) -> float:
        """The seconds; waits for a GPU with CUDA."""
        return self.watch.seconds * self.share


def wait_for(device: torch.device) -> None:
    """Wait until ``device`` has finished what it was given, so that a clock read afterwards is right."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
