"""Volume: voxels and geometry; the one reader of all formats, and the writer of .nii, .nii.gz, .npz and .npy."""

from __future__ import annotations

import json
import logging
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from pose.cli import UserError, existing_file
from pose.files.atomic import failure_named, remove_leftovers, temporary_beside, write_atomically
from pose.scans import dicom_files, nifti, npy
from pose.scans import facts as recorded
from pose.scans.damage import BROKEN, DAMAGE
from pose.scans.geometry import (
    Grid,
    Reading,
    affine_text,
    is_geometry,
    is_sheared,
    orientation_of,
    plane_of,
    rows_first,
    slice_axis_of,
    spacing_of,
)
from pose.scans.itk_formats import META_SUFFIXES, NRRD_SUFFIXES, named_data_file, read_metaimage, read_nrrd
from pose.scans.nifti_geometry import NiftiGeometry
from pose.scans.pictures import read_png
from pose.scans.segments import Segment
from pose.scans.series import Series

LOGGER = logging.getLogger(__name__)

# that are written, and read
SUFFIXES = (".nii.gz", ".nii", ".npz", ".npy")
READ_SUFFIXES = (*SUFFIXES, *nifti.PAIR_SUFFIXES, *NRRD_SUFFIXES, *META_SUFFIXES, ".png", ".zip", *dicom_files.SUFFIXES)
# Level 1 is the fastest that compresses: on a noisy CT, level 6 takes 7 times as long and saves 2 %.
DEFLATE_LEVEL = 1


@dataclass(frozen=True)
class Volume:
    """A scan or a mask in memory.

    Attributes:
        voxels: (rows, columns, slices), in the dtype of the file.
        affine: (4, 4) float64, from voxel indices *of the source file* (before any swap of axes) to millimetres;
            None where the geometry is unknown.
        spacing_mm: (row, column, slice) distance in millimetres of ``voxels``; None where unknown.
        swap_axes: True where the two axes of a slice were swapped, so that rows come first.
        path: the file it was read from.
        slice_axis: axis of the source along which the slices lie.
        header: the geometry fields of the NIfTI file it came from, which masks found on it carry.
        file_axes: for each axis of ``voxels``, the axis of the array in ``path``: other than (0, 1, 2) where they were
            turned when they were read.
        segments: what the labels of a mask are called, where its file says so.
        series: the DICOM series it was read from; None for other files.

    Raises:
        ValueError: ``header`` says another place than ``affine``.
    """

    voxels: np.ndarray
    affine: np.ndarray | None = None
    spacing_mm: tuple[float, float, float] | None = None
    swap_axes: bool = False
    path: Path | None = None
    slice_axis: int = 2
    header: NiftiGeometry | None = None
    file_axes: tuple[int, int, int] = (0, 1, 2)
    segments: tuple[Segment, ...] = ()
    series: Series | None = None

    def __post_init__(self) -> None:
        if self.header is None:
            return
        stated = self.header.affine(self._source_shape)
        if self.affine is None or not np.allclose(stated, self.affine, rtol=1e-5, atol=1e-3):
            has = "unknown" if self.affine is None else affine_text(self.affine)
            raise ValueError(f"the header fields say affine {affine_text(stated)}, the affine is {has}")

    @property
    def axes(self) -> tuple[int, int, int]:
        """For each axis of ``voxels``, the axis of the source."""
        in_plane = [axis for axis in range(3) if axis != self.slice_axis]
        return (*(reversed(in_plane) if self.swap_axes else in_plane), self.slice_axis)

    @property
    def array_affine(self) -> np.ndarray | None:
        """(4, 4) from (row, column, slice) to millimetres; None where the geometry is unknown."""
        return None if self.affine is None else self.affine[:, [*self.axes, 3]]

    @property
    def orientation(self) -> str | None:
        """Directions of rows, columns and slices, such as PLS; None where the geometry is unknown."""
        affine = self.array_affine
        return None if affine is None else orientation_of(affine)

    @property
    def voxel_mm(self) -> np.ndarray | tuple[float, float, float] | None:
        """What distances are measured by: ``spacing_mm``, or where the axes are not at right angles the (3, 3) matrix
        from (row, column, slice) to millimetres; None where unknown.
        """
        affine = self.array_affine
        return self.spacing_mm if affine is None or not is_sheared(affine) else affine[:3, :3]

    @property
    def grid(self) -> Grid:
        """Where its voxels lie, as the viewers have it."""
        name = str(self.path or "the scan")
        if self.affine is None:
            return Grid(name, self.voxels.shape)
        readings = [Reading("", self.affine)]
        if self.header is not None:
            readings += self.header.readings(self._source_shape)[1:]
        columns = [*self.axes, 3]
        return Grid(name, self.voxels.shape, tuple(Reading(what, affine[:, columns]) for what, affine in readings))

    @property
    def _source_shape(self) -> tuple[int, ...]:
        return tuple(self.voxels.shape[axis] for axis in np.argsort(self.axes))


def read_volume(
    path: Path | str | Sequence[Path | str],
    swap_axes: bool | None = False,
    slice_axis: int | None = 2,
    series: str | None = None,
    suv: bool = False,
) -> Volume:
    """Read a scan or a mask: NIfTI (.nii, .nii.gz, pairs of .hdr and .img), NRRD, MetaImage, PNG, DICOM, working data.

    DICOM is a folder, searched below, a .zip, a file or several files of one series; its axes are columns, rows and
    slices, as of a NIfTI file made of it, and are swapped like those.

    Integer NIfTI data stays integer, also through a slope and an intercept that keep whole numbers whole; other scaled
    integers become float32. A two-dimensional array becomes one slice. Working data that records its geometry has been
    turned already, and is left as it lies.

    Args:
        path: the file or folder; several files of a DICOM series.
        swap_axes: swap the two axes of a slice of a NIfTI file, or of an array without known geometry; None swaps them
            where rows then come first (:func:`pose.scans.geometry.rows_first`), an array without geometry never.
        slice_axis: the axis of the file along which slices lie; None finds it
            (:func:`pose.scans.geometry.slice_axis_of`), and says so where it is not the last.
        series: of DICOM, the SeriesInstanceUID or the SeriesNumber; None for the only scan.
        suv: make standardised uptake values (body weight) of a PET.

    Returns:
        The volume, voxels (rows, columns, slices) of an integer or floating dtype in native byte order.

    Raises:
        UserError: the file is missing, damaged, of another format or shape, holds pickles, or is working data that
            was made without the swap or along another axis than asked for; of DICOM, as
            :func:`pose.scans.dicom.choose_series` and :func:`pose.scans.dicom_volume.read_series`.
    """
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]
    path = paths[0]
    if len(paths) > 1 or dicom_files.is_dicom(path):
        return _oriented(_read_dicom(paths, series, suv), swap_axes, slice_axis)
    for flag, given in (("--series", series), ("--suv", suv)):
        if given:
            raise UserError(f"{path}: {flag} is for DICOM")
    path = existing_file(path)
    suffix = volume_suffix(path, READ_SUFFIXES)
    volume = _READERS.get(suffix, _read_nifti)(path)
    again = "but this working data was made without it; convert it again"
    if suffix in (".npz", ".npy") and (volume.affine is not None or volume.swap_axes or volume.slice_axis != 2):
        if swap_axes and not volume.swap_axes:
            raise UserError(f"{path}: --swap_axes asked for, {again}")
        if slice_axis in (0, 1) and slice_axis != volume.slice_axis:
            raise UserError(f"{path}: --slice_axis {slice_axis} asked for, {again}")
        return volume
    return _oriented(volume, swap_axes, slice_axis)


def _oriented(volume: Volume, swap_axes: bool | None, slice_axis: int | None) -> Volume:
    """Turn a volume that lies as its file has it, as asked for or found."""
    if slice_axis is None:
        slice_axis = 2 if volume.affine is None else slice_axis_of(volume.affine, volume.voxels.shape)
        if slice_axis != 2 and volume.affine is not None and volume.spacing_mm is not None:
            spacing = " x ".join(f"{distance:.4g}" for distance in volume.spacing_mm)
            text = "%s: slices are taken along axis %d (%s; voxels of %s mm); --slice_axis 2 takes the last axis"
            LOGGER.info(text, volume.path, slice_axis, plane_of(volume.affine, slice_axis), spacing)
    if swap_axes is None:
        swap_axes = volume.affine is not None and rows_first(volume.affine, slice_axis)
    return _turned(volume, swap_axes, slice_axis)


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


def count_not_finite(voxels: np.ndarray) -> int:
    """Return how many voxels are NaN or infinite; a slice at a time, so that a large volume needs little memory."""
    if voxels.dtype.kind != "f":
        return 0
    return voxels.size - sum(
        int(np.isfinite(voxels[..., slice_index]).sum()) for slice_index in range(voxels.shape[-1])
    )


def stem_of(path: Path) -> str:
    """Return the name of a volume: that of its folder, or of its file without the suffix, both parts for .nii.gz."""
    if path.is_dir():
        return path.name if path.name not in ("", "..") else path.resolve().name
    suffix = next((one for one in READ_SUFFIXES if path.name.lower().endswith(one)), "")
    if suffix == "" and not dicom_files.is_dicom(path):
        volume_suffix(path, READ_SUFFIXES)
    return path.name[: len(path.name) - len(suffix)]


def volume_suffix(path: Path, suffixes: Sequence[str] = SUFFIXES) -> str:
    """Return the suffix of ``path`` that tells its format; raise :class:`UserError` for any other format."""
    for suffix in suffixes:
        if path.name.lower().endswith(suffix):
            return suffix
    has = f"the suffix {path.suffix}" if path.suffix else "no suffix"
    raise UserError(f"{path}: has {has}; a volume is one of {', '.join(suffixes)}")


def data_file(path: Path) -> Path | None:
    """Return the file that holds the voxels of the header in ``path``, or the header of the voxels; None without."""
    lower = path.name.lower()
    if lower.endswith(nifti.PAIR_SUFFIXES):
        header, voxels = nifti.pair_of(path)
        return voxels if path == header else header
    if lower.endswith((".nhdr", ".mhd")):
        with _damage_as_user_error(path, "NRRD" if lower.endswith(".nhdr") else "MetaImage"):
            return named_data_file(path)
    return None


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


def _read_dicom(paths: Sequence[Path], series: str | None, suv: bool) -> Volume:
    from pose.scans.dicom import choose_series, series_in
    from pose.scans.dicom_volume import read_series

    path = paths[0]
    chosen = choose_series(path, series_in(paths), series)
    found = read_series(path, chosen, suv)
    return Volume(found.voxels, found.affine, found.spacing_mm, path=path, series=found.series)


def _read_nifti(path: Path) -> Volume:
    with _damage_as_user_error(path, "NIfTI"):
        stored = nifti.read_stored(path)
        _check_form(path, stored.numbers.shape, stored.numbers.dtype)
        voxels = _three_dimensional(nifti.scaled(_native(stored.numbers), stored.slope, stored.intercept))
    header = stored.geometry.usable(lambda text: LOGGER.warning("%s: %s", path, text))
    affine = (header or stored.geometry).affine(voxels.shape)
    if header is None or not is_geometry(affine):
        what = f"its affine {affine_text(affine)} is {'singular' if np.isfinite(affine).all() else 'not finite'}"
        if is_geometry(affine):
            what = f"its quaternion {stored.geometry.quatern} is longer than 1"
        text = "%s: %s; the geometry is taken as unknown, so that no distances are measured in mm"
        LOGGER.warning(text, path, what)
        return Volume(voxels, path=path)
    return Volume(voxels, affine, tuple(spacing_of(affine).tolist()), path=path, header=header)


def _read_itk(path: Path) -> Volume:
    what, read = ("NRRD", read_nrrd) if path.name.lower().endswith(NRRD_SUFFIXES) else ("MetaImage", read_metaimage)
    with _damage_as_user_error(path, what):
        stored = read(path)
        _check_form(path, stored.numbers.shape, stored.numbers.dtype)
        voxels = _three_dimensional(_native(stored.numbers))
    if stored.affine is not None and is_geometry(stored.affine) and voxels.shape == stored.numbers.shape:
        return Volume(voxels, stored.affine, tuple(spacing_of(stored.affine).tolist()), path=path)
    text = "%s: does not say where its voxels lie in the patient; the geometry is taken as unknown"
    LOGGER.warning(text, path)
    steps = (*(stored.spacing_mm or ()), 1.0, 1.0)[:3]
    known = stored.spacing_mm is not None and all(0 < step < math.inf for step in steps)
    spacing = (steps[1], steps[0], steps[2]) if known else None
    return Volume(voxels.transpose(1, 0, 2), None, spacing, path=path)  # rows are the second axis of such files


def _read_png(path: Path) -> Volume:
    with _damage_as_user_error(path, "PNG"):
        return Volume(_three_dimensional(read_png(path)), path=path)


def _read_npz(path: Path) -> Volume:
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: is not an .npz archive, or is cut; get the file again")
    with _damage_as_user_error(path, ".npz"), zipfile.ZipFile(path) as archive:
        voxels, facts = npy.read_archive(archive, path, partial(_check_form, path), recorded.KEYS)
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


_READERS: dict[str, Callable[[Path], Volume]] = {
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".png": _read_png,
    **dict.fromkeys((*NRRD_SUFFIXES, *META_SUFFIXES), _read_itk),
}


def _turned(volume: Volume, swap_axes: bool, slice_axis: int) -> Volume:
    """Turn a volume that lies as its file has it."""
    axes = replace(volume, header=None, swap_axes=swap_axes, slice_axis=slice_axis).axes
    spacing = volume.spacing_mm and (volume.spacing_mm[axes[0]], volume.spacing_mm[axes[1]], volume.spacing_mm[axes[2]])
    return replace(
        volume,
        voxels=volume.voxels.transpose(axes),
        spacing_mm=spacing,
        swap_axes=swap_axes,
        slice_axis=slice_axis,
        file_axes=axes,
    )


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
    return facts if isinstance(facts, dict) and set(recorded.FIRST_KEYS) <= set(facts) else None


def _with_geometry(path: Path, facts_path: Path, voxels: np.ndarray, facts: dict[str, Any]) -> Volume:
    """Put together a volume from working data; ``facts_path`` is named where a fact is no geometry."""
    fields = recorded.geometry_of_facts(facts_path, facts)
    try:
        return Volume(_three_dimensional(voxels), path=path, **fields)
    except ValueError as error:
        raise UserError(f"{facts_path}: {error}; convert the scan again") from error


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
    for slice_index in range(voxels.shape[-1]):
        plane = np.asfortranarray(voxels[..., slice_index]).T.data
        file.write(plane)
        checksum = zlib.crc32(plane, checksum)
    return checksum


def _facts(volume: Volume) -> dict[str, Any]:
    return recorded.facts_of(volume.affine, volume.spacing_mm, volume.swap_axes, volume.slice_axis, volume.header)


def _write_npz(path: Path, volume: Volume) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=DEFLATE_LEVEL) as archive:
        with archive.open("voxels.npy", "w", force_zip64=True) as member:
            _write_array(member, volume.voxels)
        for name, fact in _facts(volume).items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.array(fact), allow_pickle=False)


def _write_npy_and_geometry(path: Path, volume: Volume) -> None:
    facts = {"shape": list(volume.voxels.shape), **dict.fromkeys(recorded.FIRST_KEYS), **_facts(volume)}
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
    voxels = volume.voxels.transpose(np.argsort(volume.axes))
    geometry = NiftiGeometry.of_affine(volume.affine) if volume.header is None else volume.header
    with path.open("wb") as file:
        nifti.write_image(file, voxels, geometry, compressed=volume_suffix(path) == ".nii.gz")
