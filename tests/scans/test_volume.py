"""pose/scans/volume.py and pose/scans/nifti.py: every format in and out, geometry, the swap of axes, and what is
refused.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import pickle
import struct
import time
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from pose.cli import UserError
from pose.scans import nifti
from pose.scans.volume import Volume, count_not_finite, read_volume, stem_of, write_volume
from tests.scans.small_scans import OBLIQUE, SHEARED, counted, save_nifti


def save_scaled_nifti(path: Path, stored: np.ndarray, slope: float, intercept: float) -> Path:
    """Write stored numbers beside a slope and an intercept, which nibabel's own writer would choose by itself."""
    header = nibabel.Nifti1Header()
    header.set_data_shape(stored.shape)
    header.set_data_dtype(stored.dtype)
    header.set_sform(np.eye(4), code=1)
    header["vox_offset"] = 352
    header["scl_slope"], header["scl_inter"] = slope, intercept
    header["magic"] = b"n+1"
    path.write_bytes(header.binaryblock + bytes(4) + stored.tobytes(order="F"))
    return path


def error_of(path: Path, **arguments: object) -> str:
    with pytest.raises(UserError) as caught:
        read_volume(path, **arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


# NIfTI


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_nifti_keeps_values_dtype_and_geometry(tmp_path: Path, suffix: str, dtype: type) -> None:
    voxels = counted(dtype=dtype)
    volume = read_volume(save_nifti(tmp_path / f"scan{suffix}", voxels))
    assert volume.voxels.dtype == dtype
    np.testing.assert_array_equal(volume.voxels, voxels)
    np.testing.assert_array_equal(volume.affine, OBLIQUE)
    assert volume.affine.dtype == np.float64
    assert volume.spacing_mm == pytest.approx((0.5, 2.0, 3.0), rel=1e-6)
    assert volume.swap_axes is False
    assert volume.path == tmp_path / f"scan{suffix}"


def test_swap_puts_rows_first_and_leaves_the_affine_of_the_source(tmp_path: Path) -> None:
    voxels = counted()
    volume = read_volume(str(save_nifti(tmp_path / "scan.nii.gz", voxels)), swap_axes=True)
    assert volume.voxels.shape == (4, 3, 5)
    assert volume.voxels[3, 1, 2] == voxels[1, 3, 2]
    np.testing.assert_array_equal(volume.voxels, voxels.transpose(1, 0, 2))
    np.testing.assert_array_equal(volume.affine, OBLIQUE)
    assert volume.spacing_mm == pytest.approx((2.0, 0.5, 3.0), rel=1e-6)
    assert volume.swap_axes is True


@pytest.mark.parametrize(
    ("stored", "slope", "intercept", "dtype", "expected"),
    [
        (np.array([0, 24, 4095], np.uint16), 1, -1024, np.int16, [-1024, -1000, 3071]),
        (np.array([0, 1, 255], np.uint8), 1, -1000, np.int16, [-1000, -999, -745]),
        (np.array([0, 100, 40000], np.uint16), 2, 0, np.int32, [0, 200, 80000]),
        (np.array([-5, 0, 3], np.int16), -2, 1, np.int16, [11, 1, -5]),
        (np.array([0, 1, 2**31 - 1], np.int32), 4, 0, np.int64, [0, 4, 2**33 - 4]),
        (np.array([0, 1, 3], np.int16), 0.5, 10, np.float32, [10.0, 10.5, 11.5]),
        (np.array([0.5, 1, 3], np.float64), 2, 1, np.float64, [2.0, 3.0, 7.0]),
        (np.array([7, 8, 9], np.int16), 0, 5, np.int16, [7, 8, 9]),
        (np.array([7, 8, 9], np.int16), np.nan, 5, np.int16, [7, 8, 9]),
    ],
)
def test_slope_and_intercept(
    tmp_path: Path, stored: np.ndarray, slope: float, intercept: float, dtype: type, expected: list
) -> None:
    volume = read_volume(save_scaled_nifti(tmp_path / "scan.nii", stored.reshape(3, 1, 1), slope, intercept))
    assert volume.voxels.dtype == dtype
    assert volume.voxels.ravel().tolist() == expected


def test_values_agree_with_nibabel(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 4096, (7, 6, 5)).astype(np.uint16)
    path = save_scaled_nifti(tmp_path / "scan.nii", stored, 0.75, -12.5)
    np.testing.assert_array_equal(read_volume(path).voxels, nibabel.load(path).get_fdata().astype(np.float32))


def test_big_endian_becomes_native(tmp_path: Path) -> None:
    voxels = counted()
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, OBLIQUE, header), tmp_path / "scan.nii.gz")
    volume = read_volume(tmp_path / "scan.nii.gz")
    assert volume.voxels.dtype == np.int16
    assert volume.voxels.dtype.isnative
    np.testing.assert_array_equal(volume.voxels, voxels)


def test_units_other_than_millimetres(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(counted(), np.diag([500.0, 250.0, 1000.0, 1.0]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "scan.nii")
    volume = read_volume(tmp_path / "scan.nii")
    assert volume.spacing_mm == (0.5, 0.25, 1.0)
    np.testing.assert_allclose(volume.affine, np.diag([0.5, 0.25, 1.0, 1.0]))


def test_two_dimensions_become_one_slice_and_trailing_ones_are_dropped(tmp_path: Path) -> None:
    assert read_volume(save_nifti(tmp_path / "a.nii.gz", counted((3, 4)))).voxels.shape == (3, 4, 1)
    assert read_volume(save_nifti(tmp_path / "b.nii.gz", counted((3, 4, 5, 1)))).voxels.shape == (3, 4, 5)
    message = error_of(save_nifti(tmp_path / "c.nii.gz", counted((3, 4, 5, 2))))
    assert str(tmp_path / "c.nii.gz") in message
    assert "(3, 4, 5, 2)" in message


def test_gzip_in_several_members_and_with_padding(tmp_path: Path) -> None:
    voxels = counted((30, 20, 10))
    content = save_nifti(tmp_path / "plain.nii", voxels).read_bytes()
    packed = gzip.compress(content[:100]) + gzip.compress(content[100:5000]) + gzip.compress(content[5000:])
    (tmp_path / "scan.nii.gz").write_bytes(packed + bytes(512))
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.nii.gz").voxels, voxels)


def test_an_affine_without_extent_is_no_geometry(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save_scaled_nifti(tmp_path / "scan.nii", counted(), 1, 0)
    content = bytearray(path.read_bytes())
    content[280:328] = bytes(48)
    path.write_bytes(content)
    volume = read_volume(path)
    assert volume.affine is None
    assert volume.spacing_mm is None
    assert "is singular; the geometry is taken as unknown" in caplog.text


# damaged and foreign files


def test_missing_folder_and_unknown_suffix(tmp_path: Path) -> None:
    assert error_of(tmp_path / "none.nii.gz") == f"{tmp_path / 'none.nii.gz'}: no such file"
    assert "is a folder" in error_of(tmp_path)
    (tmp_path / "scan.mha").write_bytes(b"x")
    assert ".mha" in error_of(tmp_path / "scan.mha")


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99, -1])
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.npz", "scan.npy"])
def test_cut_files_are_refused(tmp_path: Path, name: str, keep: float) -> None:
    voxels = np.random.default_rng(0).integers(-1000, 1000, (16, 16, 16)).astype(np.int16)
    path = tmp_path / name
    write_volume(path, Volume(voxels, OBLIQUE, (0.5, 2, 3)))
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if 0 < keep < 1 else keep])
    assert str(path) in error_of(path)


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.npz"])
def test_one_flipped_bit_is_noticed(tmp_path: Path, name: str) -> None:
    voxels = np.random.default_rng(0).integers(-1000, 1000, (16, 16, 16)).astype(np.int16)
    path = tmp_path / name
    write_volume(path, Volume(voxels, OBLIQUE, (0.5, 2, 3)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    assert "cannot be read" in error_of(path)


def test_a_header_that_promises_too_much(tmp_path: Path) -> None:
    for name in ("scan.nii", "scan.nii.gz"):
        content = bytearray(save_nifti(tmp_path / "plain.nii", counted()).read_bytes())
        content[42:48] = struct.pack("<3h", 30000, 30000, 30000)
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
        assert "its header promises 54000000000000 bytes" in error_of(tmp_path / name)


def edited_nifti(path: Path, extension: bytes = b"", **fields: object) -> Path:
    """Write a NIfTI file with other values in its header, ``extension`` announced and put behind it."""
    header = nibabel.Nifti1Header()
    header.set_data_shape((3, 4, 5))
    header.set_data_dtype(np.int16)
    header.set_sform(OBLIQUE, code=1)
    header["vox_offset"] = 352 + len(extension)
    header["magic"] = b"n+1"
    for name, value in fields.items():
        header[name] = value
    content = header.binaryblock + bytes([bool(extension), 0, 0, 0]) + extension + counted().tobytes(order="F")
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_headers_that_misplace_the_voxels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii"
    assert "the voxels begin at byte 0" in error_of(edited_nifti(path, vox_offset=0))
    assert "the shape (3, -4, 5)" in error_of(edited_nifti(path, dim=[3, 3, -4, 5, 1, 1, 1, 1]))


@pytest.mark.parametrize("size", [8, 0, -16, 2**31 - 16])
def test_extensions_are_passed_over_whatever_they_claim(tmp_path: Path, size: int) -> None:
    extension = struct.pack("<ii", size, 6) * 4
    for name in ("scan.nii", "scan.nii.gz"):
        volume = read_volume(edited_nifti(tmp_path / name, extension))
        np.testing.assert_array_equal(volume.voxels, counted())


def test_a_unit_that_does_not_exist_is_taken_as_millimetres(tmp_path: Path) -> None:
    volume = read_volume(edited_nifti(tmp_path / "scan.nii", xyzt_units=5))
    np.testing.assert_allclose(volume.spacing_mm, (0.5, 2.0, 3.0), rtol=1e-6)


def test_a_slope_beyond_int64_gives_float32(tmp_path: Path) -> None:
    voxels = read_volume(save_scaled_nifti(tmp_path / "scan.nii", np.zeros((3, 4, 5), np.int8), 1e30, 1)).voxels
    assert voxels.dtype == np.float32
    assert (voxels == 1).all()


def test_many_small_members_of_a_gzip_file_are_read_in_no_time(tmp_path: Path) -> None:
    path = edited_nifti(tmp_path / "scan.nii.gz")
    path.write_bytes(path.read_bytes() + gzip.compress(b"") * 50_000)
    start = time.process_time()
    np.testing.assert_array_equal(read_volume(path).voxels, counted())
    # 0.3 s; in pieces of a megabyte 2.5 s
    assert time.process_time() - start < 1.5


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.npz", "scan.npy"])
@pytest.mark.parametrize(
    "content", [b"", b"no volume, but long enough text " * 20, gzip.compress(b"text" * 100, mtime=0)]
)
def test_foreign_content_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert str(tmp_path / name) in error_of(tmp_path / name)


def test_a_plain_file_named_gz_is_refused(tmp_path: Path) -> None:
    content = save_nifti(tmp_path / "plain.nii", counted()).read_bytes()
    (tmp_path / "scan.nii.gz").write_bytes(content)
    assert "cannot be read as NIfTI" in error_of(tmp_path / "scan.nii.gz")


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", np.array([[None]], dtype=object))
    for name in ("a.npy", "b.npz"):
        assert "pickled" in error_of(tmp_path / name)
    (tmp_path / "c.npy").write_bytes(pickle.dumps(counted()))
    assert "cannot be read as .npy" in error_of(tmp_path / "c.npy")


def test_types_that_are_no_intensities(tmp_path: Path) -> None:
    np.save(tmp_path / "complex.npy", np.zeros((2, 2, 2), complex))
    np.save(tmp_path / "text.npy", np.zeros((2, 2, 2), "U3"))
    np.save(tmp_path / "structured.npy", np.zeros((2, 2, 2), [("r", "u1"), ("g", "u1")]))
    save_nifti(tmp_path / "colour.nii.gz", np.zeros((2, 2, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")]))
    save_nifti(tmp_path / "complex.nii.gz", np.zeros((2, 2, 2), np.complex64))
    for name in ("complex.npy", "text.npy", "structured.npy", "colour.nii.gz", "complex.nii.gz"):
        assert "voxels of type" in error_of(tmp_path / name)


@pytest.mark.parametrize("shape", [(), (5,), (0, 4, 4), (2, 3, 4, 5), (1, 3, 4, 5)])
def test_shapes_that_are_no_volume(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "scan.npy", np.zeros(shape))
    message = error_of(tmp_path / "scan.npy")
    assert str(tmp_path / "scan.npy") in message
    assert str(shape) in message


# working data


@pytest.mark.parametrize("name", ["scan.npz", "scan.npy"])
@pytest.mark.parametrize("swap_axes", [False, True])
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32])
def test_working_data_round_trip(tmp_path: Path, name: str, swap_axes: bool, dtype: type) -> None:
    source = read_volume(save_nifti(tmp_path / "source.nii.gz", counted(dtype=dtype)), swap_axes)
    write_volume(tmp_path / name, source)
    volume = read_volume(tmp_path / name)
    assert volume.voxels.dtype == dtype
    np.testing.assert_array_equal(volume.voxels, source.voxels)
    np.testing.assert_array_equal(volume.affine, source.affine)
    assert volume.spacing_mm == source.spacing_mm
    assert volume.swap_axes is swap_axes
    assert volume.path == tmp_path / name


@pytest.mark.parametrize("name", ["scan.npz", "scan.npy"])
def test_working_data_without_geometry(tmp_path: Path, name: str) -> None:
    write_volume(tmp_path / name, Volume(counted(), swap_axes=True))
    volume = read_volume(tmp_path / name)
    assert (volume.affine, volume.spacing_mm, volume.swap_axes) == (None, None, True)
    np.testing.assert_array_equal(volume.voxels, counted())


def test_npz_is_plain_numpy_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    volume = Volume(counted().swapaxes(0, 1), OBLIQUE.astype(np.float64), (2.0, 0.5, 3.0), swap_axes=True)
    write_volume(tmp_path / "a.npz", volume)
    write_volume(tmp_path / "b.npz", volume)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert sorted(archive.files) == ["affine", "spacing_mm", "swap_axes", "voxels"]
        np.testing.assert_array_equal(archive["voxels"], volume.voxels)
        np.testing.assert_array_equal(archive["affine"], volume.affine)
        assert archive["spacing_mm"].tolist() == [2.0, 0.5, 3.0]
        assert archive["swap_axes"].item() is True
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert archive.getinfo("voxels.npy").compress_type == zipfile.ZIP_DEFLATED


def test_npy_is_plain_numpy_with_a_readable_geometry(tmp_path: Path) -> None:
    write_volume(tmp_path / "scan.npy", Volume(counted(), SHEARED, (1.0, 2.0, 3.0)))
    np.testing.assert_array_equal(np.load(tmp_path / "scan.npy", allow_pickle=False), counted())
    assert json.loads((tmp_path / "scan.json").read_text()) == {
        "shape": [3, 4, 5],
        "affine": SHEARED.tolist(),
        "spacing_mm": [1.0, 2.0, 3.0],
        "swap_axes": False,
        "crc32": zlib.crc32(counted().tobytes(order="F")),
    }
    assert sorted(os.listdir(tmp_path)) == ["scan.json", "scan.npy"]


def test_files_of_the_published_code(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "image.npy", counted().astype(np.float64))
    volume = read_volume(tmp_path / "image.npy.npz")
    assert volume.voxels.dtype == np.float64
    np.testing.assert_array_equal(volume.voxels, counted())
    assert (volume.affine, volume.spacing_mm, volume.swap_axes) == (None, None, False)


def test_bare_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "slice.npy", counted((3, 4)))
    np.testing.assert_array_equal(read_volume(tmp_path / "slice.npy").voxels, counted((3, 4))[:, :, None])
    np.save(tmp_path / "big_endian.npy", counted().astype(">i2"))
    assert read_volume(tmp_path / "big_endian.npy").voxels.dtype == np.dtype("=i2")
    np.testing.assert_array_equal(read_volume(tmp_path / "big_endian.npy").voxels, counted())
    np.save(tmp_path / "bool.npy", counted() > 0)
    assert read_volume(tmp_path / "bool.npy").voxels.dtype == np.uint8
    assert read_volume(tmp_path / "bool.npy").affine is None


def test_several_unnamed_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "scan.npz", counted(), counted())
    assert "arr_0, arr_1" in error_of(tmp_path / "scan.npz")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("affine", np.eye(3)),
        ("affine", np.full((4, 4), np.nan)),
        ("affine", "text"),
        ("spacing_mm", [1.0, 2.0]),
        ("spacing_mm", [1.0, 0.0, 1.0]),
        ("swap_axes", 3),
        ("swap_axes", np.zeros(17)),
        ("affine", np.diag([1.0, 0, 1, 1])),
        ("affine", np.diag([1e10, 1, 1, 1])),
        ("affine", np.ones((4, 4))),
    ],
)
def test_facts_that_are_no_geometry(tmp_path: Path, key: str, value: object) -> None:
    np.savez(tmp_path / "scan.npz", voxels=counted(), **{key: value})
    assert f"scan.npz: {key} is" in error_of(tmp_path / "scan.npz")


def test_swap_asked_for_on_working_data(tmp_path: Path) -> None:
    known = Volume(counted(), OBLIQUE.astype(np.float64), (0.5, 2.0, 3.0))
    write_volume(tmp_path / "without.npz", known)
    write_volume(tmp_path / "with.npz", Volume(counted(), known.affine, (2.0, 0.5, 3.0), swap_axes=True))
    np.save(tmp_path / "unknown.npy", counted())
    assert "--swap_axes" in error_of(tmp_path / "without.npz", swap_axes=True)
    recorded = read_volume(tmp_path / "with.npz", swap_axes=True)
    np.testing.assert_array_equal(recorded.voxels, counted())
    assert recorded.spacing_mm == (2.0, 0.5, 3.0)
    unknown = read_volume(tmp_path / "unknown.npy", swap_axes=True)
    np.testing.assert_array_equal(unknown.voxels, counted().transpose(1, 0, 2))
    assert unknown.swap_axes is True
    assert unknown.spacing_mm is None


def test_json_beside_npy(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_volume(tmp_path / "scan.npy", Volume(counted(), SHEARED, (1.0, 2.0, 3.0)))
    np.save(tmp_path / "scan.npy", counted((3, 4, 6)))
    message = error_of(tmp_path / "scan.npy")
    assert "scan.json: shape [3, 4, 5]" in message
    assert "[3, 4, 6]" in message

    (tmp_path / "scan.json").write_text("{cut")
    assert "scan.json: cannot be read as JSON" in error_of(tmp_path / "scan.npy")

    (tmp_path / "scan.json").write_text('{"prompts": []}')
    with caplog.at_level(logging.WARNING):
        assert read_volume(tmp_path / "scan.npy").affine is None
    assert "scan.json" in caplog.text
    with pytest.raises(UserError, match="scan.json: exists and is no geometry"):
        write_volume(tmp_path / "scan.npy", Volume(counted()))
    assert (tmp_path / "scan.json").read_text() == '{"prompts": []}'
    assert np.load(tmp_path / "scan.npy").shape == (3, 4, 6)


@pytest.mark.parametrize("order", ["C", "F"])
def test_json_of_another_array_of_the_same_shape(tmp_path: Path, order: str) -> None:
    write_volume(tmp_path / "scan.npy", Volume(np.asarray(counted(), order=order), SHEARED, (1.0, 2.0, 3.0)))
    kept = (tmp_path / "scan.json").read_text()
    assert read_volume(tmp_path / "scan.npy").spacing_mm == (1.0, 2.0, 3.0)
    write_volume(tmp_path / "scan.npy", Volume(counted()[::-1]))
    (tmp_path / "scan.json").write_text(kept)
    message = error_of(tmp_path / "scan.npy")
    checksums = [zlib.crc32(voxels.tobytes(order="F")) for voxels in (counted(), counted()[::-1])]
    about = f"crc32 {checksums[0]}, but that of the voxels of {tmp_path / 'scan.npy'} is {checksums[1]}: one of them"
    assert message.startswith(f"{tmp_path / 'scan.json'}: {about}")
    assert message.endswith("convert the scan again, or remove scan.json to go on without geometry")
    # files written before there was a checksum
    facts = json.loads(kept)
    del facts["crc32"]
    (tmp_path / "scan.json").write_text(json.dumps(facts))
    assert read_volume(tmp_path / "scan.npy").spacing_mm == (1.0, 2.0, 3.0)


def test_what_is_not_finite_is_counted() -> None:
    voxels = counted(dtype=np.float32)
    voxels[0, 0, 0], voxels[1, 2, 3], voxels[2, 3, 4] = np.nan, np.inf, -np.inf
    assert (count_not_finite(voxels), count_not_finite(voxels[..., 1:]), count_not_finite(counted())) == (3, 2, 0)


@pytest.mark.parametrize("name", ["scan.npz", "scan.npy", "scan.nii.gz", "scan.nii"])
def test_the_file_written_is_the_one_asked_for_or_none(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Volume(counted(), OBLIQUE.astype(np.float64), (0.5, 2.0, 3.0))
    write_volume(tmp_path / name, first)
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    assert set(before) == {name} | ({"scan.json"} if name.endswith("npy") else set())

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full_disk)
    monkeypatch.setattr(nifti, "_write_image", full_disk)
    with pytest.raises(UserError, match=rf"{name}: cannot be written: No space left"):
        write_volume(tmp_path / name, Volume(counted((9, 9, 9)), first.affine, first.spacing_mm))
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


def test_an_array_never_lies_beside_the_geometry_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_volume(tmp_path / "scan.npy", Volume(counted(), np.eye(4), (1.0, 1.0, 1.0)))

    def replace_json_only(source: Path, target: Path, rename: object = os.replace) -> None:
        if target.suffix == ".npy":
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "replace", replace_json_only)
    with pytest.raises(UserError, match="scan.npy: cannot be written"):
        write_volume(tmp_path / "scan.npy", Volume(counted() + 1, np.diag([2.0, 2, 2, 1]), (2.0, 2.0, 2.0)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan.json", "scan.npy"]
    with pytest.raises(UserError, match="scan.json: crc32 .* convert the scan again"):
        read_volume(tmp_path / "scan.npy")


def test_writing_where_it_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none/scan.npz: cannot be written"):
        write_volume(tmp_path / "none" / "scan.npz", Volume(counted()))
    with pytest.raises(UserError, match=".txt"):
        write_volume(tmp_path / "scan.txt", Volume(counted()))
    with pytest.raises(ValueError, match="geometry"):
        write_volume(tmp_path / "scan.nii.gz", Volume(counted()))
    assert list(tmp_path.iterdir()) == []


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    write_volume(tmp_path / "scan.npz", Volume(counted()))
    assert (tmp_path / "scan.npz").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_slices_and_rows_are_found_where_they_are_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save_nifti(tmp_path / "sagittal.nii.gz", counted((3, 6, 7)), np.diag([5, 0.5, 0.5, 1.0]))
    with caplog.at_level(logging.INFO):
        volume = read_volume(path, None, None)
    assert (volume.axes, volume.voxels.shape, volume.spacing_mm) == ((2, 1, 0), (7, 6, 3), (0.5, 0.5, 5.0))
    assert f"{path}: slices are taken along axis 0 (sagittal; voxels of 5 x 0.5 x 0.5 mm)" in caplog.text
    assert read_volume(path).axes == (0, 1, 2)
    assert read_volume(path, None, 2).axes == (1, 0, 2)
    assert read_volume(save_nifti(tmp_path / "axial.nii.gz", counted()), None, None).axes == (1, 0, 2)
    np.save(tmp_path / "plain.npy", counted())
    assert read_volume(tmp_path / "plain.npy", None, None).axes == (0, 1, 2)


def test_working_data_made_along_another_axis(tmp_path: Path) -> None:
    scan = read_volume(save_nifti(tmp_path / "scan.nii.gz", counted()), slice_axis=0)
    for name in ("scan.npz", "scan.npy"):
        write_volume(tmp_path / name, scan)
        assert read_volume(tmp_path / name, None, None).slice_axis == 0
        assert "--slice_axis 1 asked for, but this working data" in error_of(tmp_path / name, slice_axis=1)


def test_a_header_of_another_place_is_refused(tmp_path: Path) -> None:
    scan = read_volume(save_nifti(tmp_path / "scan.nii.gz", counted()))
    with pytest.raises(ValueError, match="the header fields say affine"):
        replace(scan, affine=np.eye(4))
    write_volume(tmp_path / "scan.npz", scan)
    with np.load(tmp_path / "scan.npz") as archive:
        members = dict(archive)
    np.savez(tmp_path / "moved.npz", **{**members, "affine": np.eye(4)})
    assert "moved.npz: the header fields say affine" in error_of(tmp_path / "moved.npz")
    del members["nifti_srow"]
    np.savez(tmp_path / "part.npz", **members)
    assert "part.npz: nifti_srow is None; expected 3 x 4 numbers" in error_of(tmp_path / "part.npz")
    older = {name: members[name] for name in ("voxels", "affine", "spacing_mm", "swap_axes")}
    np.savez(tmp_path / "older.npz", **older)
    assert read_volume(tmp_path / "older.npz").header is None


def test_stem_of() -> None:
    assert stem_of(Path("a/coronacases_001.nii.gz")) == "coronacases_001"
    assert stem_of(Path("a/scan.2.NPZ")) == "scan.2"
    with pytest.raises(UserError, match="no suffix"):
        stem_of(Path("a/scan"))
