"""Small scans that more than one test file reads and writes."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

# 30 degrees about z, spacing 0.5 x 2 x 3 mm, x mirrored: nothing in it is symmetric
COS, SIN = np.cos(np.pi / 6), np.sin(np.pi / 6)
OBLIQUE = np.array(
    [[-0.5 * COS, 2 * SIN, 0, 10], [-0.5 * SIN, -2 * COS, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]], dtype=np.float64
).astype(np.float32)
SHEARED = np.array([[1, 0.5, 0, 1], [0, 2, 0.25, 2], [0, 0, 3, 3], [0, 0, 0, 1]], dtype=np.float64)


def counted(shape: tuple[int, ...] = (3, 4, 5), dtype: type = np.int16) -> np.ndarray:
    """Voxels that are all different, some negative where the dtype allows it."""
    values = np.arange(np.prod(shape)).reshape(shape)
    return (values - 7 if np.dtype(dtype).kind != "u" else values).astype(dtype)


def save_nifti(path: Path, voxels: np.ndarray, affine: np.ndarray = OBLIQUE) -> Path:
    nibabel.save(nibabel.Nifti1Image(voxels, affine, dtype=voxels.dtype), path)
    return path
