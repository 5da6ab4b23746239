"""Which voxels ground truth tells of, where somebody annotated a part of a volume alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Counted:
    """The part of a volume that is scored; what was predicted elsewhere is neither right nor wrong.

    Attributes:
        slices: (slices,) bool, those that were annotated.
        ignored: (rows, columns, slices) bool, voxels that nobody judged; None without any.
    """

    slices: np.ndarray
    ignored: np.ndarray | None = None

    def of_slice(self, labels: np.ndarray, slice_index: int) -> np.ndarray:
        """Return (rows, columns) labels of the slice ``slice_index`` with 0 where they do not count."""
        return labels if self.ignored is None else np.where(self.ignored[:, :, slice_index], 0, labels)

    def of_volume(self, labels: np.ndarray) -> np.ndarray:
        """Return (rows, columns, slices) labels with 0 where ignored voxels are; a copy where there are any."""
        return labels if self.ignored is None else np.where(self.ignored, 0, labels)


def counted(truth: np.ndarray, ignore_label: int | None = None, annotated_slices_only: bool = False) -> Counted | None:
    """Return which part of a volume its ground truth tells of; None for all of it.

    Args:
        truth: (rows, columns, slices) labels as they were drawn.
        ignore_label: the label of voxels that nobody judged.
        annotated_slices_only: a slice without any label was not annotated, rather than holds nothing.

    Returns:
        A slice on which all is ignored does not count either.
    """
    if ignore_label is None and not annotated_slices_only:
        return None
    ignored = None if ignore_label is None else truth == ignore_label
    slices = np.ones(truth.shape[2], bool) if ignored is None else ~ignored.all(axis=(0, 1))
    if annotated_slices_only:
        slices &= truth.any(axis=(0, 1))
    return Counted(slices, ignored if ignored is not None and ignored.any() else None)
