"""Volumes on disk and a stand-in for a model, for the tests of the scripts."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np

from pose.cli import UserError
from pose.prompts.prompt import Prompt
from pose.segmenters import Prediction
from pose.segmenters.grey_features import GreyFeatures
from pose.segmenters.protocols import Features

# x, y, z as NIfTI has them; the affine mirrors x and y, as CT files do
AFFINE = np.array([[-1.5, 0, 0, 40.0], [0, -2.0, 0, 60.0], [0, 0, 3.0, -100.0], [0, 0, 0, 1]])
SHAPE_XYZ = (40, 30, 7)


def two_blocks() -> tuple[np.ndarray, np.ndarray]:
    """Return a scan of 40 HU with two blocks of -800 HU, and their labels 1 and 2, both (x, y, z), on slices 2 to 5."""
    scan = np.full(SHAPE_XYZ, 40, dtype=np.int16)
    labels = np.zeros(SHAPE_XYZ, dtype=np.uint8)
    labels[4:14, 6:20, 2:6] = 1
    labels[22:36, 8:24, 2:6] = 2
    scan[labels > 0] = -800
    return scan, labels


def write_nifti(path: Path, voxels: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """Write voxels (x, y, z) as NIfTI and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    return path


def write_two_blocks(folder: Path, name: str = "case") -> tuple[Path, Path]:
    """Write :func:`two_blocks` as NIfTI; returns the paths of the scan and of its mask."""
    scan, labels = two_blocks()
    return write_nifti(folder / f"{name}.nii.gz", scan), write_nifti(folder / f"{name}_mask.nii.gz", labels)


def seconds_of_children() -> float:
    """Return the processor time of the processes started and ended so far, which a busy machine does not lengthen."""
    times = os.times()
    return times.children_user + times.children_system


class DarkInBox:
    """A slice segmenter without a network: what is dark inside the prompt's box, or everywhere without one."""

    name = "dark_in_box"
    prompt_kinds = frozenset({"points", "box", "mask"})
    checkpoint_sha256 = "0" * 64

    def __init__(self, boxes_only: bool = False):
        if boxes_only:
            self.prompt_kinds = frozenset({"box"})

    def set_image(self, grey: np.ndarray) -> None:
        self.grey = grey

    def features(self) -> Features:
        by_grey_level = GreyFeatures()
        by_grey_level.set_image(self.grey)
        return by_grey_level.features()

    def predict(self, prompt: Prompt, multimask_output: bool = False) -> Prediction:
        if prompt.box is None and "points" not in self.prompt_kinds:
            raise UserError(f"slice {prompt.slice}: takes boxes only")
        mask = np.zeros(self.grey.shape, dtype=bool)
        row_min, column_min, row_max, column_max = prompt.box or (0, 0, *self.grey.shape)
        mask[row_min : row_max + 1, column_min : column_max + 1] = True
        return Prediction(mask & (self.grey < 128), score=0.75)
