"""pose/scans/masks.py: a written mask overlays its scan, one that is read is turned onto it; and what is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import nibabel
import numpy as np
import pytest

from pose.cli import UserError
from pose.scans import masks
from pose.scans.masks import read_mask, write_mask
from pose.scans.nifti_geometry import NiftiGeometry
from pose.scans.volume import Volume, read_volume, write_volume
from tests.scans.small_scans import OBLIQUE, SHEARED, counted, save_nifti


@pytest.mark.parametrize("affine", [np.diag([0.7, 0.8, 1.5, 1.0]), OBLIQUE, SHEARED])
@pytest.mark.parametrize("swap_axes", [False, True])
@pytest.mark.parametrize("through_working_data", [False, True])
def test_a_mask_overlays_its_source(
    tmp_path: Path, affine: np.ndarray, swap_axes: bool, through_working_data: bool
) -> None:
    source_path = save_nifti(tmp_path / "source.nii.gz", counted((5, 4, 3)), affine)
    scan = read_volume(source_path, swap_axes)
    if through_working_data:
        write_volume(tmp_path / "scan.npz", scan)
        scan = read_volume(tmp_path / "scan.npz")
    write_mask(tmp_path / "mask.nii.gz", scan.voxels > 20, scan)

    source, mask = nibabel.load(source_path), nibabel.load(tmp_path / "mask.nii.gz")
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(mask.affine, source.affine)
    np.testing.assert_array_equal(np.asarray(mask.dataobj), np.asarray(source.dataobj) > 20)
    if affine is not SHEARED:
        assert NiftiGeometry.of_header(mask.header) == NiftiGeometry.of_header(source.header)

    again = read_mask(tmp_path / "mask.nii.gz", like=scan)
    np.testing.assert_array_equal(again.voxels, scan.voxels > 20)
    assert again.swap_axes is swap_axes


@pytest.mark.parametrize("affine", [np.diag([0.7, 0.8, 1.5, 1.0]), OBLIQUE, SHEARED])
def test_a_mask_of_a_scan_without_header_states_its_affine(tmp_path: Path, affine: np.ndarray) -> None:
    write_mask(tmp_path / "mask.nii.gz", counted() > 20, Volume(counted(), affine.astype(np.float64)))
    header = nibabel.load(tmp_path / "mask.nii.gz").header
    assert header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(header.get_sform(), affine, atol=1e-6)
    quaternion, code = header.get_qform(coded=True)
    assert (code, int(header["sform_code"])) == (1, 1)
    if affine is not SHEARED:
        np.testing.assert_allclose(quaternion, affine, atol=1e-5)


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
@pytest.mark.parametrize("swap_axes", [False, True])
@pytest.mark.parametrize("through", ["", ".npz", ".npy"])
def test_slices_along_any_axis_are_undone_in_the_mask(
    tmp_path: Path, slice_axis: int, swap_axes: bool, through: str
) -> None:
    voxels = counted((5, 4, 3))
    source_path = save_nifti(tmp_path / "source.nii.gz", voxels)
    scan = read_volume(source_path, swap_axes, slice_axis)
    if through:
        write_volume(tmp_path / f"scan{through}", scan)
        scan = read_volume(tmp_path / f"scan{through}")
    in_plane = [axis for axis in range(3) if axis != slice_axis][:: -1 if swap_axes else 1]
    assert scan.axes == (*in_plane, slice_axis)
    np.testing.assert_array_equal(scan.voxels, voxels.transpose(scan.axes))
    assert scan.spacing_mm == pytest.approx([(0.5, 2.0, 3.0)[axis] for axis in scan.axes], rel=1e-6)
    place = scan.array_affine @ (2, 1, 1, 1)
    index = np.zeros(4)
    index[[*scan.axes, 3]] = 2, 1, 1, 1
    np.testing.assert_allclose(place, OBLIQUE @ index, rtol=1e-6)

    write_mask(tmp_path / "mask.nii.gz", scan.voxels > 20, scan)
    mask = nibabel.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), voxels > 20)
    np.testing.assert_array_equal(mask.affine, nibabel.load(source_path).affine)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii.gz", like=scan).voxels, scan.voxels > 20)


def test_masks_of_many_objects_and_without_geometry(tmp_path: Path) -> None:
    scan = Volume(counted(), np.eye(4), (1.0, 1.0, 1.0))
    labels = np.zeros((3, 4, 5), np.uint16)
    labels[0, 0, 0] = 300
    write_mask(tmp_path / "mask.nii.gz", labels, scan)
    assert nibabel.load(tmp_path / "mask.nii.gz").get_data_dtype() == np.uint16
    write_mask(tmp_path / "mask.npz", labels > 0, Volume(counted()))
    with np.load(tmp_path / "mask.npz") as archive:
        assert archive["voxels"].dtype == np.uint8
        assert archive["voxels"].sum() == 1
    with pytest.raises(ValueError, match="shape"):
        write_mask(tmp_path / "mask.nii.gz", labels[:2], scan)
    with pytest.raises(ValueError, match="from -7"):
        write_mask(tmp_path / "mask.nii.gz", counted(), scan)
    with pytest.raises(ValueError, match="float64"):
        write_mask(tmp_path / "mask.nii.gz", labels / 2, scan)


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        (np.array([0.0, 1.0, 2.0]), np.uint8),
        (np.array([0, 1, 300], np.int32), np.uint16),
        (np.array([0, 1, 255], np.int64), np.uint8),
        (np.array([False, True, True]), np.uint8),
        (np.array([0, 0, 0], np.uint8), np.uint8),
    ],
)
def test_labels_take_the_smallest_unsigned_dtype(tmp_path: Path, labels: np.ndarray, dtype: type) -> None:
    np.save(tmp_path / "mask.npy", labels.reshape(3, 1, 1))
    mask = read_mask(tmp_path / "mask.npy")
    assert mask.voxels.dtype == dtype
    assert mask.voxels.ravel().tolist() == labels.tolist()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 0.5, 1], "value 0.5;"),
        ([0, 0.9961, 1], "value 0.9961;"),
        ([0, 1, 2.0011], "value 2.0011;"),
        ([0, -1, 1], "values from -1 to 1;"),
        ([0, np.nan, 1], "1 voxels are NaN or infinite;"),
        ([-np.inf, np.inf, 1], "2 voxels are NaN or infinite;"),
        ([0, -0.25, 1], "values from -0.25 to 1.0;"),
    ],
)
def test_values_that_are_no_labels(tmp_path: Path, values: list[float], message: str) -> None:
    np.save(tmp_path / "mask.npy", np.array(values).reshape(3, 1, 1))
    with pytest.raises(UserError, match=rf"mask.npy: {message} the labels of a mask are whole numbers"):
        read_mask(tmp_path / "mask.npy")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_labels_that_carry_a_rounding_are_rounded_with_a_warning(
    tmp_path: Path, dtype: type, caplog: pytest.LogCaptureFixture
) -> None:
    values = np.array([0, 1.0000153, 0.99999, 2.0009, -0.0009, 300], dtype)
    np.save(tmp_path / "mask.npy", values.reshape(6, 1, 1))
    mask = read_mask(tmp_path / "mask.npy")
    assert (mask.voxels.ravel().tolist(), mask.voxels.dtype) == ([0, 1, 1, 2, 0, 300], np.uint16)
    assert "mask.npy: 4 voxels are no whole numbers, by less than 0.001; rounded" in caplog.text


def test_labels_that_are_no_whole_numbers_can_be_saved_as_is_said(tmp_path: Path) -> None:
    labels = np.array([0, 0.9961, 2.0235]).reshape(3, 1, 1)
    np.save(tmp_path / "mask.npy", labels)
    with pytest.raises(UserError, match=r"numpy\.rint\(labels\)\.astype\(numpy\.uint8\)"):
        read_mask(tmp_path / "mask.npy")
    np.save(tmp_path / "mask.npy", np.rint(labels).astype(np.uint8))
    assert read_mask(tmp_path / "mask.npy").voxels.ravel().tolist() == [0, 1, 2]


def test_a_mask_of_another_grid_is_refused_with_both_values(tmp_path: Path) -> None:
    scan = read_volume(save_nifti(tmp_path / "scan.nii.gz", counted()))
    save_nifti(tmp_path / "short.nii.gz", np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(UserError) as caught:
        read_mask(tmp_path / "short.nii.gz", like=scan)
    assert str(caught.value) == (
        f"{tmp_path / 'short.nii.gz'}: shape 3 x 4 x 4 differs from 3 x 4 x 5 of {tmp_path / 'scan.nii.gz'}; give the "
        "mask that was drawn on this scan, or resample it onto the voxels of the scan "
        "(nibabel.processing.resample_from_to with order=0)"
    )
    moved = OBLIQUE.copy()
    moved[0, 3] += 0.01
    save_nifti(tmp_path / "moved.nii.gz", np.zeros((3, 4, 5), np.uint8), moved)
    with pytest.raises(UserError, match=r"moved.nii.gz: origin \(10.01, .* differs from \(10, .*scan.nii.gz"):
        read_mask(tmp_path / "moved.nii.gz", like=scan)
    moved[0, 3] = OBLIQUE[0, 3] + 0.0005
    save_nifti(tmp_path / "near.nii.gz", np.zeros((3, 4, 5), np.uint8), moved)
    assert read_mask(tmp_path / "near.nii.gz", like=scan).voxels.sum() == 0


def test_a_mask_in_other_axes_is_turned_to_its_scan(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Saved as another orientation, or converted without the swap of the scan: the same voxels."""
    labels = (counted((4, 5, 6)) % 3).clip(0).astype(np.uint8)
    path = save_nifti(tmp_path / "scan.nii.gz", labels)
    mask = nibabel.load(path)
    nibabel.save(mask.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]])), tmp_path / "turned.nii.gz")
    write_volume(tmp_path / "raw.npz", read_volume(path))
    write_volume(tmp_path / "swapped.npy", read_volume(path, swap_axes=True))
    for arguments in ((False, 2), (True, 2), (True, 0)):
        scan = read_volume(path, *arguments)
        for name in ("turned.nii.gz", "raw.npz", "swapped.npy"):
            caplog.clear()
            with caplog.at_level(logging.INFO):
                found = read_mask(tmp_path / name, like=scan)
            np.testing.assert_array_equal(found.voxels, scan.voxels)
            assert (found.axes, found.header) == (scan.axes, scan.header)
            assert ("reoriented voxel by voxel" in caplog.text) is (name == "turned.nii.gz")


@pytest.mark.parametrize("arguments", [(False, 2), (True, 2), (True, 0)])
@pytest.mark.parametrize("through", ["", ".npz"])
def test_a_mask_elsewhere_is_taken_as_it_lies_where_that_is_allowed(
    tmp_path: Path, arguments: tuple[bool, int], through: str
) -> None:
    """Its axes in the order of the scan's, however that was turned."""
    labels = (counted((4, 5, 6)) % 3).clip(0).astype(np.uint8)
    moved = OBLIQUE.copy()
    moved[0, 3] += 5
    mask_path = save_nifti(tmp_path / "mask.nii.gz", labels, moved)
    scan = read_volume(save_nifti(tmp_path / "scan.nii.gz", labels), *arguments)
    if through:
        write_volume(tmp_path / f"scan{through}", scan)
        scan = read_volume(tmp_path / f"scan{through}")
    with pytest.raises(UserError, match="mask.nii.gz: origin"):
        read_mask(mask_path, like=scan)
    found = read_mask(mask_path, like=scan, allow_geometry_mismatch=True)
    np.testing.assert_array_equal(found.voxels, labels.transpose(scan.axes))


def test_a_mask_elsewhere_can_be_resampled_as_is_said(tmp_path: Path) -> None:
    from nibabel.processing import resample_from_to

    labels = np.zeros((8, 8, 6), np.uint8)
    labels[2:6, 2:6, 2:4] = 1
    scan_path = save_nifti(tmp_path / "scan.nii.gz", labels, np.diag([1.0, 1, 2, 1]))
    shifted = np.diag([1.0, 1, 2, 1])
    shifted[2, 3] = 2
    mask_path = save_nifti(tmp_path / "mask.nii.gz", labels, shifted)
    scan = read_volume(scan_path)
    with pytest.raises(UserError, match=r"resample it onto .* \(nibabel.processing.resample_from_to with order=0\)"):
        read_mask(mask_path, like=scan)
    nibabel.save(resample_from_to(nibabel.load(mask_path), nibabel.load(scan_path), order=0), mask_path)
    np.testing.assert_array_equal(read_mask(mask_path, like=scan).voxels[:, :, 3:5], labels[:, :, 2:4])


@pytest.mark.parametrize("swap_axes", [False, True])
@pytest.mark.parametrize("suffix", [".nii.gz", ".npy"])
def test_an_array_without_geometry_has_the_axes_of_the_scans_file(
    tmp_path: Path, swap_axes: bool, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One rule for NIfTI and plain arrays: what turns the scan turns the mask."""
    voxels = counted((4, 4, 5))
    path = tmp_path / f"scan{suffix}"
    np.save(path, voxels) if suffix == ".npy" else save_nifti(path, voxels)
    np.save(tmp_path / "mask.npy", (voxels > 20).astype(np.float64))
    scan = read_volume(path, swap_axes)
    with caplog.at_level(logging.INFO):
        mask = read_mask(tmp_path / "mask.npy", like=scan, swap_axes=swap_axes)
    np.testing.assert_array_equal(mask.voxels, scan.voxels > 20)
    said = "mask.npy: has no geometry; its axes are taken in the order of the file" in caplog.text
    assert said is (swap_axes and suffix == ".nii.gz")


def test_an_array_without_geometry_lies_as_working_data_lies(tmp_path: Path) -> None:
    write_volume(tmp_path / "scan.npz", read_volume(save_nifti(tmp_path / "scan.nii.gz", counted((4, 4, 5))), True))
    scan = read_volume(tmp_path / "scan.npz")
    np.save(tmp_path / "mask.npy", scan.voxels > 20)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.npy", like=scan).voxels, scan.voxels > 20)


def test_real_scan(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "ct_lung"
    scan = read_volume(folder / "lung1_001_ct.nii.gz", swap_axes=True)
    mask = read_mask(folder / "lung1_001_labels.nii.gz", like=scan)
    assert scan.voxels.shape == (158, 209, 93)
    assert scan.voxels.dtype == np.int16
    assert scan.spacing_mm == (1.953125, 1.953125, 3.0)
    assert np.unique(mask.voxels).tolist() == [0, 1, 2, 3, 4]
    # lungs are darker than the spinal cord: the mask lies where it belongs
    assert scan.voxels[mask.voxels == 1].mean() < -600
    assert scan.voxels[mask.voxels == 3].mean() > -100
    write_mask(tmp_path / "mask.nii.gz", mask.voxels, scan)
    written, source = (nibabel.load(path) for path in (tmp_path / "mask.nii.gz", folder / "lung1_001_labels.nii.gz"))
    np.testing.assert_array_equal(written.affine, source.affine)
    np.testing.assert_array_equal(np.asarray(written.dataobj), np.asarray(source.dataobj))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int64])
@pytest.mark.parametrize("most_compared", [0, 2, 16])
def test_labels_of_a_volume(dtype, most_compared, monkeypatch):
    monkeypatch.setattr(masks, "MOST_COMPARED", most_compared)
    labels = np.zeros((4, 5, 6), dtype)
    assert masks.labels_of(labels) == []
    labels[1, 2, 3] = labels[0, 0, 4] = 7
    labels[2, 2, 1], labels[3, 3, 4] = 1, 2
    assert masks.labels_of(labels) == ([1] if dtype is bool else [1, 2, 7])
    assert masks.labels_of(np.full((2, 2, 2), 3)) == [3]
