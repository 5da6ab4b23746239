"""Volume: voxels and geometry; reading and writing of .nii, .nii.gz, .npz and .npy."""

from __future__ import annotations

import json
import logging
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from pose.cli import UserError, existing_file
from pose.files.atomic import failure_named, remove_leftovers, temporary_beside, write_atomically
from pose.scans import nifti, npy
from pose.scans.geometry import Grid, affine_text, check_same_grid, geometry_of_facts, is_geometry

LOGGER = logging.getLogger(__name__)

SUFFIXES = (".nii.gz", ".nii", ".npz", ".npy")
GEOMETRY_KEYS = ("affine", "spacing_mm", "swap_axes")

# Level 1 is the fastest that compresses: on a noisy CT, level 6 takes 7 times as long and saves 2 %.
DEFLATE_LEVEL = 1

# What libraries raise on a file that is cut, damaged, encrypted, no such format, or larger than the memory.
DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    SyntaxError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    zlib.error,
    zipfile.BadZipFile,
)
# those of them that only a file in transit suffers
BROKEN = (EOFError, zlib.error, zipfile.BadZipFile)


@dataclass(frozen=True)
class Volume:
    """A scan or a mask in memory.

    Attributes:
        voxels: (rows, columns, slices), in the dtype of the file.
        affine: (4, 4) float64, from voxel indices *of the source file* (before any swap of axes) to millimetres;
            None where the geometry is unknown.
        spacing_mm: (row, column, slice) distance in millimetres of ``voxels``; None where unknown.
        swap_axes: True where the first two axes of the source were swapped, so that rows come first.
        path: the file it was read from.
    """

    voxels: np.ndarray
    affine: np.ndarray | None = None
    spacing_mm: tuple[float, float, float] | None = None
    swap_axes: bool = False
    path: Path | None = None

    @property
    def grid(self) -> Grid:
        """Where its voxels lie."""
        return Grid(str(self.path or "the scan"), self.voxels.shape, self.affine, self.swap_axes)


def read_volume(path: Path | str, swap_axes: bool = False) -> Volume:
    """Read a scan or a mask from NIfTI (.nii, .nii.gz) or working data (.npz, .npy).

    Integer NIfTI data stays integer, also through a slope and an intercept that keep whole numbers whole; other scaled
    integers become float32. A two-dimensional array becomes one slice.

    Args:
        path: the file.
        swap_axes: swap the first two axes of a NIfTI file, or of an array without known geometry. Working data that
            records its own swap is left as it is.

    Returns:
        The volume, voxels (rows, columns, slices) of an integer or floating dtype in native byte order.

    Raises:
        UserError: the file is missing, damaged, of another format or shape, holds pickles, or is working data that
            was made without the swap asked for.
    """
    path = existing_file(Path(path))
    suffix = volume_suffix(path)
    volume = {".npz": _read_npz, ".npy": _read_npy}.get(suffix, _read_nifti)(path)
    if not swap_axes or volume.swap_axes:
        return volume
    if volume.affine is not None and suffix in (".npz", ".npy"):
        raise UserError(f"{path}: --swap_axes asked for, but this working data was made without it; convert it again")
    spacing = volume.spacing_mm and (volume.spacing_mm[1], volume.spacing_mm[0], volume.spacing_mm[2])
    return replace(volume, voxels=volume.voxels.swapaxes(0, 1), spacing_mm=spacing, swap_axes=True)


def read_mask(
    path: Path | str, like: Volume | None = None, swap_axes: bool = False, allow_geometry_mismatch: bool = False
) -> Volume:
    """Read a mask of whole, non-negative labels (0 is background), checked against the scan it belongs to.

    Args:
        path: the file, of any format that :func:`read_volume` takes.
        like: the scan. Its shape must equal the mask's, and where both geometries are known they must agree.
        swap_axes: as for :func:`read_volume`; a NIfTI mask is also swapped where ``like`` was.
        allow_geometry_mismatch: take a mask of another orientation or origin as its voxels lie, with a warning.

    Returns:
        The mask in the smallest unsigned dtype that holds its labels.

    Raises:
        UserError: the file cannot be read, holds something else than labels, or does not fit ``like``.
    """
    follows = like is not None and like.swap_axes and volume_suffix(Path(path)) in (".nii", ".nii.gz")
    mask = read_volume(path, swap_axes or follows)
    if like is not None:
        check_same_grid(mask.grid, like.grid, allow_geometry_mismatch)
    voxels = mask.voxels
    if unusable := count_not_finite(voxels):
        raise UserError(f"{path}: {unusable} voxels are NaN or infinite; the labels of a mask are whole numbers from 0")
    lowest, highest = voxels.min(), voxels.max()
    if not (lowest >= 0 and highest < 2**64):
        raise UserError(f"{path}: values from {lowest} to {highest}; the labels of a mask are whole numbers from 0")
    labels = voxels.astype(np.min_scalar_type(int(highest)), copy=False)
    if labels.dtype != voxels.dtype and voxels.dtype.kind == "f":
        fractional = labels != voxels
        if fractional.any():
            raise UserError(f"{path}: value {voxels[fractional][0]}; the labels of a mask are whole numbers")
    return replace(mask, voxels=labels)


def write_volume(path: Path | str, volume: Volume) -> None:
    """Write a volume to exactly ``path``: .npz, .npy (with its geometry in a .json beside it), .nii or .nii.gz.

    The file appears whole or not at all. A slice at a time is copied, never the volume. NIfTI undoes the swap of axes
    and needs a known geometry.

    Raises:
        UserError: another suffix, a folder that cannot be written to, or a foreign .json beside the .npy.
        ValueError: NIfTI asked for a volume without an affine.
    """
    path = Path(path)
    suffix = volume_suffix(path)
    with failure_named(path):
        remove_leftovers(path.parent)
        if suffix == ".npy":
            _write_npy_and_geometry(path, volume)
        else:
            write = _write_npz if suffix == ".npz" else _write_nifti
            write_atomically(path, lambda temporary: write(temporary, volume))


def write_mask(path: Path | str, labels: np.ndarray, like: Volume) -> None:
    """Write labels in the geometry of the scan they were found on, so that they overlay it in any viewer.

    They are stored as uint8, above 255 in the next larger unsigned dtype that holds them.

    Args:
        path: .nii.gz or .nii, or .npz where the geometry of ``like`` is unknown.
        labels: (rows, columns, slices) bool or integer from 0, in the axes of ``like.voxels``.
        like: the scan.

    Raises:
        UserError: as for :func:`write_volume`.
        ValueError: ``labels`` has another shape than ``like.voxels``, or other values.
    """
    if labels.shape != like.voxels.shape:
        raise ValueError(f"labels of shape {labels.shape} for a scan of shape {like.voxels.shape}")
    if labels.dtype.kind not in "bui" or labels.min() < 0:
        raise ValueError(f"labels are bool or integers from 0, not {labels.dtype} from {labels.min()}")
    write_volume(path, replace(like, voxels=labels.astype(np.min_scalar_type(int(labels.max())), copy=False)))


def count_not_finite(voxels: np.ndarray) -> int:
    """Return how many voxels are NaN or infinite; a slice at a time, so that a large volume needs little memory."""
    if voxels.dtype.kind != "f":
        return 0
    return voxels.size - sum(int(np.isfinite(voxels[..., index]).sum()) for index in range(voxels.shape[-1]))


def stem_of(path: Path) -> str:
    """Return the name of a volume's file without the suffix, both parts of it for .nii.gz."""
    return path.name[: -len(volume_suffix(path))]


def volume_suffix(path: Path) -> str:
    """Return the suffix of ``path`` that tells its format; raise :class:`UserError` for any other format."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return suffix
    has = f"the suffix {path.suffix}" if path.suffix else "no suffix"
    raise UserError(f"{path}: has {has}; a volume is one of {', '.join(SUFFIXES)}")


@contextmanager
def _damage_as_user_error(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        if "llow_pickle" in str(error):
            raise UserError(f"{path}: holds pickled Python objects, which are never loaded") from error
        reason = " ".join(str(error).split()) or type(error).__name__
        advice = "; the file is damaged or cut, get it again" if isinstance(error, BROKEN) else ""
        raise UserError(f"{path}: cannot be read as {what}: {reason}{advice}") from error


def _read_nifti(path: Path) -> Volume:
    with _damage_as_user_error(path, "NIfTI"):
        image, stored = nifti.read_stored(path)
        _check_form(path, stored.shape, stored.dtype)
        voxels = _three_dimensional(nifti.scaled(_native(stored), image.dataobj.slope, image.dataobj.inter))
    affine, spacing = nifti.geometry(image)
    if not is_geometry(affine):
        what = "singular" if np.isfinite(affine).all() else "not finite"
        text = "%s: its affine %s is %s; the geometry is taken as unknown, so that no distances are measured in mm"
        LOGGER.warning(text, path, affine_text(affine), what)
        return Volume(voxels, path=path)
    return Volume(voxels, affine, tuple(spacing.tolist()), path=path)


def _read_npz(path: Path) -> Volume:
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: is not an .npz archive, or is cut; get the file again")
    with _damage_as_user_error(path, ".npz"), zipfile.ZipFile(path) as archive:
        voxels, facts = npy.read_archive(archive, path, partial(_check_form, path), GEOMETRY_KEYS)
        voxels = _native(voxels)
    return _with_geometry(path, path, voxels, facts)


def _read_npy(path: Path) -> Volume:
    with _damage_as_user_error(path, ".npy"):
        voxels = npy.read_array(lambda: path.open("rb"), path.stat().st_size, partial(_check_form, path))
    geometry_path = path.with_suffix(".json")
    facts = _read_geometry_file(geometry_path) if geometry_path.is_file() else {}
    if facts is None:
        LOGGER.warning("%s: holds no geometry of %s, which is taken as unknown", geometry_path, path.name)
    elif facts:
        _check_belongs(path, geometry_path, voxels, facts)
    return _with_geometry(path, geometry_path, _native(voxels), facts or {})


def _check_belongs(path: Path, geometry_path: Path, voxels: np.ndarray, facts: dict[str, Any]) -> None:
    """Refuse the .json beside a .npy that was made for another array; one without a checksum is told by the shape."""
    remedy = f"convert the scan again, or remove {geometry_path.name} to go on without geometry"
    if facts.get("shape") != list(voxels.shape):
        raise UserError(f"{geometry_path}: shape {facts.get('shape')}, but {path} has {list(voxels.shape)}; {remedy}")
    if "crc32" in facts and facts["crc32"] != (found := zlib.crc32((voxels.T if voxels.flags.fnc else voxels).data)):
        raise UserError(
            f"{geometry_path}: crc32 {facts['crc32']}, but that of the voxels of {path} is {found}: one of them is "
            f"damaged or belongs to another scan; {remedy}"
        )


def _read_geometry_file(path: Path) -> dict[str, Any] | None:
    """Read the .json beside a .npy; None where it is about something else than geometry."""
    with _damage_as_user_error(path, "JSON"):
        facts = json.loads(path.read_text(encoding="utf-8"))
    return facts if isinstance(facts, dict) and set(GEOMETRY_KEYS) <= set(facts) else None


def _with_geometry(path: Path, facts_path: Path, voxels: np.ndarray, facts: dict[str, Any]) -> Volume:
    """Put together a volume from working data; ``facts_path`` is named where a fact is no geometry."""
    return Volume(_three_dimensional(voxels), *geometry_of_facts(facts_path, facts), path)


def _check_form(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if dtype.kind not in "biuf":
        raise UserError(f"{path}: voxels of type {dtype.names or dtype}; expected one whole or floating number each")
    if 0 in shape:
        raise UserError(f"{path}: shape {shape} has no voxels")
    if len(shape) < 2 or any(size != 1 for size in shape[3:]):
        advice = "; save one volume of the series as a file of its own" if len(shape) > 3 else ""
        raise UserError(f"{path}: shape {shape}; expected (rows, columns, slices){advice}")


def _three_dimensional(voxels: np.ndarray) -> np.ndarray:
    return voxels[..., np.newaxis] if voxels.ndim == 2 else voxels.reshape(voxels.shape[:3], order="A")


def _native(voxels: np.ndarray) -> np.ndarray:
    """Return numbers in the byte order of this machine, bool as uint8."""
    dtype = np.dtype(np.uint8) if voxels.dtype.kind == "b" else voxels.dtype.newbyteorder("=")
    return voxels.astype(dtype, copy=False)


def _write_array(file: IO[bytes], voxels: np.ndarray) -> int:
    """Write in .npy format, slice after slice (Fortran order), whatever the order in memory; return their CRC-32."""
    description = {"descr": np.lib.format.dtype_to_descr(voxels.dtype), "fortran_order": True, "shape": voxels.shape}
    np.lib.format.write_array_header_1_0(file, description)
    checksum = 0
    for index in range(voxels.shape[-1]):
        plane = np.asfortranarray(voxels[..., index]).T.data
        file.write(plane)
        checksum = zlib.crc32(plane, checksum)
    return checksum


def _write_npz(path: Path, volume: Volume) -> None:
    arrays = {"swap_axes": np.array(volume.swap_axes)}
    if volume.affine is not None:
        arrays["affine"] = np.asarray(volume.affine, dtype=np.float64)
    if volume.spacing_mm is not None:
        arrays["spacing_mm"] = np.array(volume.spacing_mm, dtype=np.float64)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=DEFLATE_LEVEL) as archive:
        with archive.open("voxels.npy", "w", force_zip64=True) as member:
            _write_array(member, volume.voxels)
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _write_npy_and_geometry(path: Path, volume: Volume) -> None:
    facts = {
        "shape": list(volume.voxels.shape),
        "affine": None if volume.affine is None else np.asarray(volume.affine).tolist(),
        "spacing_mm": None if volume.spacing_mm is None else list(volume.spacing_mm),
        "swap_axes": volume.swap_axes,
    }
    geometry_path = path.with_suffix(".json")
    if geometry_path.exists() and _read_geometry_file(geometry_path) is None:
        raise UserError(f"{geometry_path}: exists and is no geometry; it would be overwritten by that of {path.name}")
    with temporary_beside(path) as array, temporary_beside(geometry_path) as geometry:
        with array.open("wb") as file:
            facts["crc32"] = _write_array(file, volume.voxels)
        geometry.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        # in this order: an array without its geometry would be read, an old one beside a new geometry is refused
        os.replace(geometry, geometry_path)
        os.replace(array, path)


def _write_nifti(path: Path, volume: Volume) -> None:
    if volume.affine is None:
        raise ValueError(f"{path}: NIfTI needs a geometry, and that of {volume.path or 'the volume'} is unknown")
    voxels = volume.voxels.swapaxes(0, 1) if volume.swap_axes else volume.voxels
    with path.open("wb") as file:
        nifti.write_image(file, voxels, volume.affine, compressed=volume_suffix(path) == ".nii.gz")
