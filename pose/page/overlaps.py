"""How well the masks on the page overlap the ground truth; counted slice by slice, and again where masks change."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from pose.runs.case import Case

Counts = tuple[int, int]


class Overlaps:
    """Twice the pixels that truth and masks share, and the pixels of both, of each slice that was asked for."""

    def __init__(self, case: Case):
        self._case = case
        self._counts: dict[int, Counts] = {}

    def forget(self, slice_index: int | None = None) -> None:
        """Count a slice again when it is asked for, or all of them: its masks have changed."""
        if slice_index is None:
            self._counts.clear()
        else:
            self._counts.pop(slice_index, None)

    def dice(self, slices: Iterable[int], labels_of: Callable[[int], np.ndarray]) -> float | None:
        """Return the Dice of all objects on some slices, as raw_data has it; None where nothing is scored.

        Args:
            slices: their indices.
            labels_of: from the index of a slice to its (rows, columns) masks as they are now.
        """
        found = [counts for index in slices if (counts := self._of(index, labels_of)) is not None]
        sizes = sum(size for _, size in found)
        return sum(both for both, _ in found) / sizes if sizes else None

    def _of(self, slice_index: int, labels_of: Callable[[int], np.ndarray]) -> Counts | None:
        truth, part = self._case.truth, self._case.counted
        if truth is None or (part is not None and not part.slices[slice_index]):
            return None
        if slice_index not in self._counts:
            labels = labels_of(slice_index)
            here = (labels if part is None else part.of_slice(labels, slice_index)) > 0
            true = truth[:, :, slice_index] > 0
            sizes = np.count_nonzero(here) + np.count_nonzero(true)
            self._counts[slice_index] = 2 * int(np.count_nonzero(here & true)), int(sizes)
        return self._counts[slice_index]
