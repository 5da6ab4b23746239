"""pose/scans/nifti_geometry.py: masks lie where their scans do for ITK and nibabel, whatever the header says."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import nibabel
import numpy as np
import pytest

from pose.cli import UserError
from pose.scans.masks import read_mask
from pose.scans.nifti_geometry import FACT_KEYS, NiftiGeometry
from pose.scans.volume import read_volume, write_volume
from tests.header_kinds import (
    KINDS,
    SCANNER,
    SIDEWAYS,
    Kind,
    SimpleITK,
    block,
    nibabel_agrees,
    world_dice,
    write_kind,
    written_mask,
)

SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
# what is mended in the mask: the fields of these are not the scan's own
MENDED = ("too long", "sform of", "sform in", "qform of NaN", "sform alone")


def itk_affine(path: Path) -> np.ndarray:
    """Return where ITK sees voxels: (4, 4) to millimetres, its axes to the left and the back turned round."""
    image = SimpleITK.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1, -1, 1, 1]) @ affine


def save_as_itk(path: Path, labels: np.ndarray, like: Path) -> Path:
    """Write (x, y, z) labels as ITK-SNAP or 3D Slicer do that were drawn on the scan ``like``."""
    image = SimpleITK.GetImageFromArray(labels.transpose(2, 1, 0))
    image.CopyInformation(SimpleITK.ReadImage(str(like)))
    SimpleITK.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("title", KINDS)
@pytest.mark.parametrize(("through", "swap_axes"), [("", False), (".npz", False), (".npy", True)])
def test_a_mask_lies_where_its_scan_does(tmp_path: Path, title: str, through: str, swap_axes: bool) -> None:
    kind = KINDS[title]
    scan, mask = written_mask(tmp_path / "kind", kind, through, swap_axes)
    truth = write_kind(tmp_path / "truth.nii", kind, block(), readable=True)
    assert world_dice(truth, mask) == 1
    assert nibabel_agrees(scan, mask) is not False
    np.testing.assert_array_equal(np.asarray(nibabel.load(mask).dataobj), block())
    header_class = nibabel.Nifti2Header if kind.nifti2 else nibabel.Nifti1Header
    own, carried = (
        NiftiGeometry.of_header(one(path.read_bytes()[: one.template_dtype.itemsize], check=False))
        for one, path in ((header_class, scan), (nibabel.Nifti1Header, unpacked(mask)))
    )
    if not any(word in title for word in MENDED) and not kind.nifti2:
        assert carried == own
    assert carried.xyzt_units == own.xyzt_units


def unpacked(path: Path) -> Path:
    import gzip

    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    return path.with_suffix("")


@pytest.mark.parametrize("title", [title for title, kind in KINDS.items() if not (kind.reference or kind.nifti2)])
def test_truth_that_itk_saved_on_a_scan_is_taken(tmp_path: Path, title: str, caplog: pytest.LogCaptureFixture) -> None:
    kind = KINDS[title]
    scan_path = write_kind(tmp_path / "scan.nii", kind, block())
    scan = read_volume(scan_path, swap_axes=True)
    with caplog.at_level(logging.INFO):
        mask = read_mask(save_as_itk(tmp_path / "mask.nii.gz", block(), scan_path), like=scan)
    np.testing.assert_array_equal(mask.voxels, scan.voxels)
    places = [reading.affine for reading in scan.header.readings(block().shape)]
    assert any(np.allclose(itk_affine(scan_path), place, atol=1e-3) for place in places)
    elsewhere = not np.allclose(itk_affine(scan_path), places[0], atol=1e-3)
    assert ("mask.nii.gz: lies where" in caplog.text) is elsewhere


def test_a_quaternion_a_rounding_too_long_is_a_half_turn(tmp_path: Path) -> None:
    volume = read_volume(write_kind(tmp_path / "scan.nii", KINDS["quaternion 1e-05 too long"], block()))
    expected = itk_affine(tmp_path / "scan.nii")
    np.testing.assert_allclose(volume.affine, expected, atol=1e-4)
    assert volume.spacing_mm == pytest.approx((1.5, 2.0, 3.0))


@pytest.mark.parametrize("title", ["sform of zeros, qform", "sform of NaN, qform", "sform in a plane, qform"])
def test_an_sform_that_places_nothing_gives_way_to_the_qform(
    tmp_path: Path, title: str, caplog: pytest.LogCaptureFixture
) -> None:
    volume = read_volume(write_kind(tmp_path / "scan.nii", KINDS[title], block()))
    np.testing.assert_allclose(volume.affine, SIDEWAYS, atol=1e-6)
    (record,) = (record for record in caplog.records if record.name.startswith("pose"))
    assert record.levelname == "WARNING"
    assert "scan.nii: sform_code is 1, but its rows [" in record.getMessage()
    assert record.getMessage().endswith("place no voxels; the qform is taken")


@pytest.mark.parametrize("length", [1.1, 100.0, np.nan])
def test_a_quaternion_that_is_none_places_nothing(
    tmp_path: Path, length: float, caplog: pytest.LogCaptureFixture
) -> None:
    kind = Kind(None, (SIDEWAYS, 1), fields={"quatern_b": length, "quatern_c": 0, "quatern_d": 0})
    volume = read_volume(write_kind(tmp_path / "scan.nii", kind, block()))
    assert volume.affine is None
    assert "the geometry is taken as unknown" in caplog.text


def test_units_of_masks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A mask may state its place in another unit, or state none and mean that of the scan."""
    in_mm = np.diag([0.5, 0.4, 2, 1])
    scan = read_volume(
        write_kind(tmp_path / "scan.nii", Kind((in_mm * [1000, 1000, 1000, 1], 1), None, "micron"), block())
    )
    assert scan.spacing_mm == pytest.approx((0.5, 0.4, 2.0))
    for units, factor in (("mm", 1), ("meter", 0.001), ("unknown", 1000)):
        path = write_kind(
            tmp_path / f"{units}.nii", Kind((in_mm * [factor, factor, factor, 1], 1), None, units), block()
        )
        with caplog.at_level(logging.INFO):
            np.testing.assert_array_equal(read_mask(path, like=scan).voxels, block())
    assert "unknown.nii: taken by the unit of the scan, as it states none" in caplog.text
    wrong = write_kind(tmp_path / "wrong.nii", Kind((in_mm * [1000, 1000, 1000, 1], 1), None, "mm"), block())
    with pytest.raises(UserError, match="wrong.nii: spacing 500 x 400 x 2000 mm differs from 0.5 x 0.4 x 2 mm"):
        read_mask(wrong, like=scan)


def test_a_mask_elsewhere_by_its_own_header_is_refused_whatever_the_qform_of_the_scan(tmp_path: Path) -> None:
    scan = read_volume(write_kind(tmp_path / "scan.nii", KINDS["forms differ, sform 2 qform 1"], block()))
    moved = SCANNER.copy()
    moved[2, 3] += 3
    with pytest.raises(UserError, match="mask.nii: origin .* differs from .*; resample it"):
        read_mask(write_kind(tmp_path / "mask.nii", Kind((moved, 1), (moved, 1)), block()), like=scan)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("nifti_qform_code", -1),
        ("nifti_sform_code", 1.5),
        ("nifti_xyzt_units", 256),
        ("nifti_quatern", [0, 0]),
        ("nifti_pixdim", None),
        ("nifti_qoffset", [0, 0, 1e39]),
        ("nifti_srow", "text"),
    ],
)
def test_facts_that_are_no_header_fields(tmp_path: Path, key: str, value: object) -> None:
    write_volume(tmp_path / "scan.npy", read_volume(write_kind(tmp_path / "scan.nii", KINDS["both forms"], block())))
    facts = json.loads((tmp_path / "scan.json").read_text())
    assert set(FACT_KEYS) <= set(facts)
    (tmp_path / "scan.json").write_text(json.dumps({**facts, key: value}))
    with pytest.raises(UserError, match=rf"scan.json: {key} is .*; expected .*; convert the scan again"):
        read_volume(tmp_path / "scan.npy")


@pytest.mark.parametrize("code", [-4, -(2**31), 2**31 - 1, 2**15])
def test_a_code_of_nifti_2_that_nifti_1_has_no_room_for_is_none(code):
    header = nibabel.Nifti2Header()
    header["qform_code"] = header["sform_code"] = header["xyzt_units"] = code
    geometry = NiftiGeometry.of_header(header)
    assert (geometry.qform_code, geometry.sform_code, geometry.xyzt_units) == (0, 0, 0)
    geometry.fill(nibabel.Nifti1Header())


def test_a_sheared_sform_of_an_unknown_code_gets_its_qform_all_the_same():
    affine = np.array([[1.0, 0.3, 0, 5], [0, 1, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1]])
    header = nibabel.Nifti1Header()
    header.set_sform(affine, code="scanner")
    header["sform_code"] = 15
    geometry = NiftiGeometry.of_header(header)
    filled = nibabel.Nifti1Header()
    geometry.fill(filled)
    assert (int(filled["qform_code"]), int(filled["sform_code"])) == (15, 15)
