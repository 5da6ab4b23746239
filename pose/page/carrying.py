"""What takes longer than a click: prompts on their way through the volume, and what became of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pose.prompts.prompt import Prompt
from pose.runs.case import Case
from pose.runs.crop import Crop
from pose.runs.model import Model
from pose.runs.one_prompt import OnePrompt
from pose.runs.segmentation import Segmentation
from pose.segmenters import SlicePredictions
from pose.segmenters.loading import CHAINED


@dataclass
class CarriedMasks:
    """What became of prompts in the volume.

    Attributes:
        clicked: the prompts as they were clicked.
        asked: what the model was asked of them.
        crop: what of the slices it saw.
        found: the masks, as far as they are there.
        slices: the predictions by which results are written, in the order they came.
        seconds: how long it took.
    """

    clicked: list[Prompt]
    asked: list[Prompt]
    crop: Crop
    found: Segmentation
    slices: list[SlicePredictions] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, one: SlicePredictions) -> None:
        """Take up a slice."""
        self.found.add(one)
        self.slices.append(_without_logits(one))


@dataclass
class Task:
    """What takes longer than a click: "carry" or "save".

    Attributes:
        done: the slices that are there, in the order they came.
        cancelled: whether it was asked to end.
    """

    kind: str
    done: list[int] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)


def begin(
    case: Case, model: Model, work: OnePrompt, clicked: Sequence[Prompt], prompts: Sequence[Prompt]
) -> tuple[CarriedMasks, Iterator[SlicePredictions]]:
    """Begin to carry prompts through a volume.

    Args:
        case, model, work: what is carried through, by what, and how.
        clicked: the prompts as they were clicked.
        prompts: the same as the model takes them.

    Returns:
        What takes the masks up, and the slices as they come, which are to be added to it.

    Raises:
        UserError: a prompt of a kind that the model does not take.
    """
    through = model.carry(case.grey, prompts, work.shown.crop)
    chained, limit = model.method in CHAINED, work.settings.review_below
    found = Segmentation(case.volume, case.grey, through.prompts, chained, limit, model.calibration)
    return CarriedMasks(list(clicked), through.prompts, through.crop, found), through.predictions


def _without_logits(found: SlicePredictions) -> SlicePredictions:
    """Return predictions with their logits only where objects overlap: there these decide what is whose."""
    masks = [one.mask for one in found.objects.values()]
    if len(masks) > 1 and np.sum(masks, axis=0).max() > 1:
        return found
    return replace(found, objects={key: replace(one, logits=None) for key, one in found.objects.items()})
