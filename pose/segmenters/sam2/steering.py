"""Where a person says that objects are not, on the way of SAM 2's memory through a volume."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pose.prompts.prompt import Prompt
from pose.prompts.reach import corrections, stretches, without_parts


class Steering:
    """What a person says of where objects are not, see :mod:`pose.prompts.reach`."""

    def __init__(self, prompts: Sequence[Prompt], slices: int):
        self._stretches = stretches(prompts, slices)
        self._corrections = corrections(prompts)

    def is_wanted(self, slice_index: int, object_ids: Iterable[int]) -> bool:
        """Tell whether one of the objects may be on a slice."""
        return any(
            object_id not in self._stretches or self._stretches[object_id][slice_index] > 0 for object_id in object_ids
        )

    def is_steered(self, object_ids: Iterable[int], slice_index: int) -> bool:
        """Tell whether something is said of one of the objects on a slice."""
        return any(
            not self.is_wanted(slice_index, [object_id]) or (object_id, slice_index) in self._corrections
            for object_id in object_ids
        )

    def kept(self, object_id: int, slice_index: int, mask: np.ndarray) -> np.ndarray | None:
        """Return what is left of the (rows, columns) mask of an object; None where it is not on the slice at all."""
        if not self.is_wanted(slice_index, [object_id]):
            return None
        points = self._corrections.get((object_id, slice_index))
        return without_parts(mask, points) if points else mask
