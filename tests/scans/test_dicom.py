"""DICOM through the one reader: voxels and places that are known, the choice of a series, and what is refused."""

from __future__ import annotations

import locale
import logging
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.pixels import apply_modality_lut
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from pose.cli import UserError
from pose.scans import dicom_files
from pose.scans.dicom import headers, series_in
from pose.scans.masks import write_mask
from pose.scans.volume import Volume, read_volume
from tests.header_kinds import SimpleITK
from tests.scans import made_dicom as made

# an axial series: columns to the left, rows to the back, slices to the head, in RAS
AXIAL_AFFINE = np.array([[-0.5, 0, 0, 30], [0, -0.75, 0, -12.5], [0, 0, 2.5, -100], [0, 0, 0, 1]])
HU = np.stack([made.stored(index) - 1024 for index in range(made.SLICES)], axis=2)
COS, SIN = np.cos(np.radians(20)), np.sin(np.radians(20))
OBLIQUE = (COS, SIN, 0, -SIN * COS, COS * COS, SIN)


def error_of(path: Path, **how: object) -> str:
    with pytest.raises(UserError) as caught:
        read_volume(path, None, None, **how)
    return str(caught.value)


def of_itk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (x, y, z) and affine (RAS) as ITK reads a series."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    found = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(found.GetDirection(), (3, 3)) * found.GetSpacing()
    affine[:3, 3] = found.GetOrigin()
    return SimpleITK.GetArrayFromImage(found).transpose(2, 1, 0), np.diag([-1, -1, 1, 1]) @ affine


def test_a_series_is_upright_in_hounsfield_units_whatever_its_files_are_called(tmp_path: Path) -> None:
    volume = read_volume(made.write(tmp_path / "a" / "b", made.series()).parent, None, None)
    np.testing.assert_array_equal(volume.voxels, HU)
    assert volume.voxels.dtype == np.int16
    np.testing.assert_array_equal(volume.affine, AXIAL_AFFINE)
    assert volume.spacing_mm == (0.75, 0.5, 2.5)
    assert volume.swap_axes and volume.orientation == "PLS"
    series = volume.series
    assert (series.number, series.description, series.date, series.modality) == (3, "Thorax 2.5", "2026-01-02", "CT")
    assert [frame.sop_uid for frame in series.frames] == [made.uid(f"series {index}") for index in range(4)]
    assert [header.InstanceNumber for header in headers(series)] == [1, 2, 3, 4]
    assert series.frame_of_reference_uid == made.uid("frame")


def test_without_a_swap_its_axes_are_those_of_a_nifti_file_made_of_it(tmp_path: Path) -> None:
    volume = read_volume(made.write(tmp_path, made.series()))
    np.testing.assert_array_equal(volume.voxels, HU.transpose(1, 0, 2))
    assert volume.spacing_mm == (0.5, 0.75, 2.5)


@pytest.mark.parametrize(
    ("cosines", "orientation"),
    [
        (made.AXIAL, "PLS"),
        (made.SAGITTAL, "IPR"),
        (made.CORONAL, "ILP"),
        (OBLIQUE, "PLS"),
        ((-1, 0, 0, 0, -1, 0), "ARS"),
    ],
    ids=["axial", "sagittal", "coronal", "oblique", "on its head"],
)
def test_any_orientation_lies_where_itk_has_it(tmp_path: Path, cosines: tuple[float, ...], orientation: str) -> None:
    folder = made.write(tmp_path, made.oriented(cosines))
    volume = read_volume(folder, None, None)
    voxels, affine = of_itk(folder)
    np.testing.assert_allclose(volume.affine, affine, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(volume.voxels, voxels.transpose(1, 0, 2))
    np.testing.assert_array_equal(volume.voxels, HU)
    assert volume.orientation == orientation


def test_a_tilted_gantry_shears_the_affine(tmp_path: Path) -> None:
    volume = read_volume(made.write(tmp_path, made.oriented(made.AXIAL, shear=(0, 0.875, 0))), None, None)
    expected = AXIAL_AFFINE.copy()
    expected[1, 2] = -0.875
    np.testing.assert_allclose(volume.affine, expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(volume.voxels, HU)
    assert volume.spacing_mm[2] == pytest.approx(np.hypot(2.5, 0.875))


def test_a_zip_a_file_and_a_list_of_files_are_read(tmp_path: Path) -> None:
    folder = made.write(tmp_path / "dicom", made.series())
    files = sorted(folder.iterdir())
    with zipfile.ZipFile(tmp_path / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, f"study/{path.name}")
        archive.writestr("README.txt", "no scan")
    for given_path in (tmp_path / "scan.zip", files, list(reversed(files))):
        volume = read_volume(given_path, None, None)
        np.testing.assert_array_equal(volume.voxels, HU)
        np.testing.assert_array_equal(volume.affine, AXIAL_AFFINE)
        assert [header.InstanceNumber for header in headers(volume.series)] == [1, 2, 3, 4]
    one = read_volume(volume.series.files[2], None, None)
    np.testing.assert_array_equal(one.voxels, HU[:, :, 2:3])
    # a slice alone has its own thickness
    np.testing.assert_array_equal(one.affine[:3, 2:].T, [[0, 0, 1.25], [30, -12.5, -95]])


@pytest.mark.parametrize("name", ["a/B c/{}", "./a/{}", "a//b/{}", "./{}", "a\\b\\{}", "Ä/{}", "a/./b/{}"], ids=str)
def test_a_zip_is_read_however_its_folders_are_written(tmp_path: Path, name: str) -> None:
    folder = made.write(tmp_path / "dicom", made.series())
    with zipfile.ZipFile(tmp_path / "SCAN.ZIP", "w") as archive:
        archive.writestr("a/", b"")
        for number, path in enumerate(sorted(folder.iterdir())):
            archive.writestr(name.format(f"{number % 2}/{path.name.upper()}"), path.read_bytes())
            archive.writestr(f"__MACOSX/a/._{path.name}", b"\0\5\x16\7 of another system")
    volume = read_volume(tmp_path / "SCAN.ZIP", None, None)
    np.testing.assert_array_equal(volume.voxels, HU)
    np.testing.assert_array_equal(volume.affine, AXIAL_AFFINE)
    assert [header.InstanceNumber for header in headers(volume.series)] == [1, 2, 3, 4]


def test_a_zip_that_holds_a_file_twice_is_refused_however_its_name_is_written(tmp_path: Path) -> None:
    (path,) = made.write(tmp_path / "dicom", made.series(1)).iterdir()
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for name in ("a/1.dcm", "./a/1.dcm"):
            archive.writestr(name, path.read_bytes())
    assert error_of(tmp_path / "scan.zip") == f"{tmp_path / 'scan.zip'}: holds 'a/1.dcm' twice; pack it again"


SYNTAXES = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "big endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
}


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_any_native_syntax_is_read_from_folder_and_zip(tmp_path: Path, syntax: str) -> None:
    folder = tmp_path / "dicom"
    folder.mkdir()
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for index, one in enumerate(made.series()):
            content = made.bytes_of(one, SYNTAXES[syntax])
            (folder / f"IM{index}").write_bytes(content)
            archive.writestr(f"IM{index}", content)
    for path in (folder, tmp_path / "scan.zip"):
        volume = read_volume(path, None, None)
        np.testing.assert_array_equal(volume.voxels, HU)
        np.testing.assert_array_equal(volume.affine, AXIAL_AFFINE)


@pytest.mark.parametrize("name", ["IM{}", "{}.dcm"])
@pytest.mark.parametrize("what", ["implicit", "explicit", "big endian", "with its meta"])
def test_old_files_without_preamble_are_read(tmp_path: Path, what: str, name: str) -> None:
    (tmp_path / "noise").write_bytes(b"\x08\0\x05\0CS\x0a\0 but then no DICOM at all")
    (tmp_path / "text").write_text("no scan")
    for index, one in enumerate(made.series()):
        content = made.bytes_of(one, SYNTAXES.get(what, ExplicitVRLittleEndian))
        meta = 132 + 12 + int.from_bytes(content[140:144], "little")
        content = content[132 if what == "with its meta" else meta :]
        (tmp_path / name.format(index)).write_bytes(content)
    volume = read_volume(tmp_path, None, None)
    np.testing.assert_array_equal(volume.voxels, HU)
    np.testing.assert_array_equal(volume.affine, AXIAL_AFFINE)
    assert [header.InstanceNumber for header in headers(volume.series)] == [1, 2, 3, 4]
    assert read_volume(tmp_path / name.format(2), None, None).voxels.shape == (5, 6, 1)


def test_a_deflated_file_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = made.bytes_of(made.image(0, np.zeros((300, 300))), DeflatedExplicitVRLittleEndian)
    (tmp_path / "a.dcm").write_bytes(content)
    assert read_volume(tmp_path / "a.dcm", None, None).voxels.shape == (300, 300, 1)
    (tmp_path / "cut.dcm").write_bytes(content[:-20])
    assert "its deflated part has no end" in error_of(tmp_path / "cut.dcm")
    monkeypatch.setattr(dicom_files, "LARGEST_ZIP", 1000)
    assert f"holds more than {100 * len(content)} bytes in {len(content)}" in error_of(tmp_path / "a.dcm")


def test_files_without_suffix_are_known_by_their_first_bytes(tmp_path: Path) -> None:
    made.write(tmp_path / "dicom", made.series(), name="IM{:05}")
    (tmp_path / "dicom" / "LICENSE").write_text("text")
    np.testing.assert_array_equal(read_volume(tmp_path / "dicom", None, None).voxels, HU)
    assert read_volume(tmp_path / "dicom" / "IM00040", None, None).voxels.shape == (5, 6, 1)


# JPEG 2000 halves an image five times
LARGE = [made.stored(index, (40, 48)) for index in range(3)]


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_compressed_pixels(tmp_path: Path, syntax: UID) -> None:
    slices = [made.image(index, pixels) for index, pixels in enumerate(LARGE)]
    volume = read_volume(made.write(tmp_path, made.compressed(slices, syntax)), None, None)
    assert {frame.syntax for frame in volume.series.frames} == {syntax}
    np.testing.assert_array_equal(volume.voxels, np.stack(LARGE, axis=2) - 1024)


def test_jpeg_lossless_as_scanners_write_it(tmp_path: Path) -> None:
    for index, pixels in enumerate(LARGE):
        path = made.save(
            made.image(index, pixels, PixelRepresentation=0, RescaleIntercept=0), tmp_path / f"{index}.dcm"
        )
        writer = SimpleITK.ImageFileWriter()
        writer.SetFileName(str(path))
        writer.KeepOriginalImageUIDOn()
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG")
        before = locale.setlocale(locale.LC_ALL)
        writer.Execute(SimpleITK.ReadImage(str(path)))
        # which ITK sets for the whole process when it writes DICOM
        locale.setlocale(locale.LC_ALL, before)
    volume = read_volume(tmp_path, None, None)
    assert {frame.syntax for frame in volume.series.frames} == {"1.2.840.10008.1.2.4.70"}
    np.testing.assert_array_equal(volume.voxels, np.stack(LARGE, axis=2))


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 3, 1)])
def test_an_enhanced_multi_frame_is_a_series(tmp_path: Path, order: tuple[int, ...]) -> None:
    path = made.save(made.multi_frame(order), tmp_path / "enhanced.dcm")
    volume = read_volume(path, None, None)
    np.testing.assert_array_equal(volume.voxels, HU)
    np.testing.assert_array_equal(volume.affine, AXIAL_AFFINE)
    assert [frame.number for frame in volume.series.frames] == [order.index(index) for index in range(4)]
    assert volume.series.files == (path,)
    import highdicom

    theirs = highdicom.imread(path).get_volume(apply_real_world_transform=False, apply_modality_transform=True)
    np.testing.assert_array_equal(theirs.array.transpose(1, 2, 0)[:, :, :: 1 if theirs.affine[2, 0] > 0 else -1], HU)


@settings(max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3), tilt=st.floats(-20, 20), order=st.permutations(range(made.SLICES))
)
def test_any_plane_and_any_order_of_files(
    tmp_path: Path, angles: tuple[float, ...], tilt: float, order: list[int]
) -> None:
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    shear = turn[:, 1] * made.STEP * np.tan(np.radians(tilt))
    slices = made.oriented((*turn[:, 0], *turn[:, 1]), shear=shear)
    folder = tmp_path / "series"
    for number, index in enumerate(order):
        made.save(slices[index], folder / f"{number}.dcm")
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.voxels, HU.transpose(1, 0, 2))
    lps = np.column_stack([turn[:, 0] * 0.5, turn[:, 1] * 0.75, turn[:, 2] * made.STEP + shear])
    np.testing.assert_allclose(volume.affine[:3, :3], np.diag([-1, -1, 1]) @ lps, rtol=0, atol=1e-6)
    np.testing.assert_allclose(volume.affine[:3, 3], [30, -12.5, -100], rtol=0, atol=1e-9)


# what numbers mean


def test_a_slope_that_is_no_whole_number_makes_floating_numbers(tmp_path: Path) -> None:
    volume = read_volume(made.write(tmp_path, made.series(RescaleSlope="0.25", RescaleIntercept="-10")), None, None)
    assert volume.voxels.dtype == np.float32
    np.testing.assert_array_equal(volume.voxels, (HU + 1024) * 0.25 - 10)


def test_values_that_do_not_fit_16_bits_are_kept(tmp_path: Path) -> None:
    pixels = made.stored(0)
    slices = made.series()
    slices[2] = made.image(2, pixels - 32768)
    volume = read_volume(made.write(tmp_path, slices), None, None)
    assert volume.voxels.dtype == np.int32
    np.testing.assert_array_equal(volume.voxels[:, :, 2], pixels - 32768 - 1024)
    np.testing.assert_array_equal(volume.voxels[:, :, :2], HU[:, :, :2])


def test_unsigned_numbers_without_scale_stay_as_they_are(tmp_path: Path) -> None:
    pixels = made.stored(0) + 60000
    slices = [made.image(index, pixels, PixelRepresentation=0, RescaleIntercept=0) for index in range(3)]
    volume = read_volume(made.write(tmp_path, slices), None, None)
    assert volume.voxels.dtype == np.uint16
    np.testing.assert_array_equal(volume.voxels, np.stack([pixels] * 3, axis=2))


@pytest.mark.parametrize(
    ("fields", "padded", "becomes"),
    [
        ({"PixelPaddingValue": 3000}, 3000, -1024),
        ({"PixelPaddingValue": 3000, "PixelPaddingRangeLimit": 3100}, 3050, -1024),
        ({"PixelPaddingValue": -2000}, -2000, -3024),
    ],
    ids=["high", "a range", "below air"],
)
def test_declared_padding_of_a_ct_is_air(tmp_path: Path, fields: dict, padded: int, becomes: int) -> None:
    slices = [made.image(index, np.where(np.eye(5, 6), padded, 1000), **fields) for index in range(3)]
    volume = read_volume(made.write(tmp_path, slices), None, None)
    np.testing.assert_array_equal(
        volume.voxels, np.where(np.eye(5, 6), becomes, -24)[:, :, np.newaxis].repeat(3, axis=2)
    )


def test_padding_of_a_ct_that_is_not_declared_is_a_value(tmp_path: Path) -> None:
    slices = [made.image(index, np.where(np.eye(5, 6), 3000, 1000)) for index in range(3)]
    assert (read_volume(made.write(tmp_path, slices), None, None).voxels[0, 0] == 1976).all()


def test_pet_keeps_the_slope_of_each_slice_and_becomes_suv(tmp_path: Path) -> None:
    folder = made.write(tmp_path, made.pet())
    activity = np.stack([made.stored(index) * (0.5 + index) for index in range(3)], axis=2)
    np.testing.assert_array_equal(read_volume(folder, None, None).voxels, activity.astype(np.float32))
    volume = read_volume(folder, None, None, suv=True)
    # 70 kg, 200 MBq, an hour of a half-life of 6586.2 s
    factor = 70_000 / (2e8 * 2 ** (-3600 / 6586.2))
    np.testing.assert_allclose(volume.voxels, activity * factor, rtol=1e-6)


def test_suv_of_values_that_are_it_and_of_doses_given_for_the_injection(tmp_path: Path) -> None:
    same = read_volume(made.write(tmp_path / "gml", made.pet(Units="GML")), None, None, suv=True)
    np.testing.assert_array_equal(same.voxels[:, :, 1], (made.stored(1) * 1.5).astype(np.float32))
    at_injection = read_volume(made.write(tmp_path / "admin", made.pet(DecayCorrection="ADMIN")), None, None, suv=True)
    np.testing.assert_allclose(at_injection.voxels[:, :, 1], made.stored(1) * 1.5 * 70_000 / 2e8, rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"Modality": "CT"}, "Modality is 'CT', not PT"),
        ({"Units": "CNTS"}, "Units are 'CNTS'"),
        ({"CorrectedImage": ["ATTN", "NORM"]}, "CorrectedImage is ['ATTN', 'NORM'], without DECY"),
        ({"PatientWeight": None}, "PatientWeight is missing"),
        ({"DecayCorrection": "NONE"}, "DecayCorrection is 'NONE'"),
        ({"RadiopharmaceuticalInformationSequence": None}, "RadiopharmaceuticalInformationSequence is missing"),
        ({"SeriesTime": "120000"}, "SeriesTime is later than AcquisitionTime"),
        ({"SeriesTime": None}, "SeriesTime is missing"),
    ],
)
def test_suv_that_cannot_be_had_names_the_tag(tmp_path: Path, fields: dict, says: str) -> None:
    message = error_of(made.write(tmp_path, made.pet(**fields)), suv=True)
    assert f"--suv: {says}" in message.replace("SeriesDate or SeriesTime", "SeriesTime")


def test_an_xray_is_one_slice_and_a_film_is_turned_to_bright_bone(tmp_path: Path) -> None:
    pixels = made.stored(0) * 100
    plain = read_volume(made.save(made.xray(pixels), tmp_path / "a.dcm"), None, None)
    np.testing.assert_array_equal(plain.voxels, pixels[:, :, np.newaxis])
    assert (plain.voxels.dtype, plain.affine, plain.spacing_mm) == (np.dtype(np.uint16), None, (0.15, 0.2, 1.0))
    film = made.xray(pixels, PhotometricInterpretation="MONOCHROME1")
    inverted = read_volume(made.save(film, tmp_path / "b.dcm"), None, None)
    np.testing.assert_array_equal(inverted.voxels, 4095 - pixels[:, :, np.newaxis])


def test_hounsfield_units_are_not_inverted(tmp_path: Path) -> None:
    folder = made.write(tmp_path, made.series(PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(read_volume(folder, None, None).voxels, HU)


# which series


def two_series(folder: Path) -> Path:
    made.write(folder / "a", made.series())
    other = {"series": "other", "SeriesNumber": 7, "SeriesDescription": "Lung", "SeriesDate": "20260103"}
    made.write(folder / "b", made.series(3, **other))
    return folder


def test_a_table_says_what_stored_numbers_are(tmp_path: Path) -> None:
    pixels = np.arange(30).reshape(5, 6)
    table = [5000 - 100 * index for index in range(20)]
    expected = np.array(table)[np.clip(pixels - 4, 0, 19)]
    for name, of_bytes, film in (("a", False, False), ("b", True, False), ("c", False, True)):
        photometric = "MONOCHROME1" if film else "MONOCHROME2"
        one = made.with_table(made.xray(pixels, PhotometricInterpretation=photometric), table, 4, of_bytes=of_bytes)
        volume = read_volume(made.save(one, tmp_path / f"{name}.dcm"), None, None)
        np.testing.assert_array_equal(volume.voxels[:, :, 0], 5000 - expected if film else expected)
        assert volume.voxels.dtype == np.uint16
    by_pydicom = apply_modality_lut(pixels.astype(np.uint16), made.with_table(made.xray(pixels), table, 4))
    np.testing.assert_array_equal(expected, by_pydicom)


def test_several_series_are_listed_and_chosen_by_number_or_uid(tmp_path: Path) -> None:
    folder = two_series(tmp_path)
    assert error_of(folder) == (
        f"{folder}: holds 2 series; choose by --series NUMBER or UID: 3 'Thorax 2.5' (CT, 5 x 6 x 4, 2026-01-02, UID "
        f"{made.uid('series')}); 7 'Lung' (CT, 5 x 6 x 3, 2026-01-03, UID {made.uid('other')})"
    )
    assert read_volume(folder, series="7").voxels.shape == (6, 5, 3)
    assert read_volume(folder, series=str(made.uid("series"))).voxels.shape == (6, 5, 4)
    assert error_of(folder, series="9").startswith(f"{folder}: --series 9: no such series; there are 3 'Thorax 2.5'")


def test_a_number_that_two_series_have_needs_a_uid(tmp_path: Path) -> None:
    made.write(tmp_path / "a", made.series())
    made.write(tmp_path / "b", made.series(3, series="other"))
    assert "--series 3: several series have this number; give a UID" in error_of(tmp_path, series="3")


def test_what_is_no_scan_is_left_out_with_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made.write(tmp_path / "a", made.series())
    made.save(made.image(9, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), tmp_path / "scout.dcm")
    capture = made.image(0, series="capture", SOPClassUID=UID("1.2.840.10008.5.1.4.1.1.7"))
    made.save(capture, tmp_path / "capture.dcm")
    report = made.image(0, series="report", SOPClassUID=UID("1.2.840.10008.5.1.4.1.1.88.67"), Rows=None)
    made.save(report, tmp_path / "dose.dcm")
    made.save(made.image(0, series="seg", SOPClassUID=UID("1.2.840.10008.5.1.4.1.1.66.4")), tmp_path / "seg.dcm")
    structures = made.image(0, series="rt", SOPClassUID=UID("1.2.840.10008.5.1.4.1.1.481.3"), Rows=None)
    made.save(structures, tmp_path / "rt.dcm")
    with caplog.at_level(logging.INFO):
        volume = read_volume(tmp_path, None, None)
    np.testing.assert_array_equal(volume.voxels, HU)
    words = [record.getMessage().split("left out: ")[1] for record in caplog.records if "left out: " in record.msg]
    assert sorted(word.split(" 3 ")[0] for word in words) == [
        "localiser",
        "radiotherapy object",
        "report",
        "secondary capture",
        "segmentation or registration",
    ]


def test_a_folder_of_other_objects_alone_says_what_is_there(tmp_path: Path) -> None:
    for index in range(2):
        made.save(made.image(index, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), tmp_path / f"{index}.dcm")
    assert error_of(tmp_path) == f"{tmp_path}: holds no scan, but 1 localiser"
    # one that is asked for is read
    assert read_volume(tmp_path / "0.dcm", None, None).voxels.shape == (5, 6, 1)


# what is refused


def without(slices: list, *left_out: int) -> list:
    return [one for index, one in enumerate(slices) if index not in left_out]


def moved(index: int, by: float) -> list:
    slices = made.series(6)
    slices[index].ImagePositionPatient = made.place(index + by)
    return slices


FAULTS: dict[str, tuple[Callable[[], list], str]] = {
    "a slice is missing": (lambda: without(made.series(6), 3), ": 1 slice is missing: 5 mm lie between "),
    "slices are missing": (lambda: without(made.series(9), 3, 4, 6), ": 3 slices are missing: 7.5 mm lie between "),
    "a slice twice": (lambda: [*made.series(), made.image(2, series="series")], ": two slices at the same place, "),
    "uneven": (lambda: moved(2, 0.4), ": slices are not evenly spaced (gaps of 1.5 to 3.5 mm): "),
    "a little uneven": (lambda: moved(2, 0.06), ": slices are not evenly spaced (gaps of 2.35 to 2.65 mm): "),
    "two orientations": (
        lambda: [*made.series(), made.image(7, ImageOrientationPatient=list(made.CORONAL))],
        ": slices of different orientation, ",
    ),
    "two sizes": (
        lambda: [*made.series(), made.image(4, np.zeros((4, 6)))],
        ": slices of different size, 4 x 6 and 5 x 6 (rows x columns): ",
    ),
    "two pixel spacings": (
        lambda: [*made.series(), made.image(4, PixelSpacing=[1, 1])],
        ": slices of different pixel spacing, (1.0, 1.0) and (0.75, 0.5): ",
    ),
    "no position": (
        lambda: [*made.series(), made.image(4, ImagePositionPatient=None)],
        "has no ImagePositionPatient or ImageOrientationPatient, as other slices have",
    ),
    "no positions": (
        lambda: made.series(ImagePositionPatient=None),
        ": 4 pictures without ImagePositionPatient; give one of the files",
    ),
    "no spacing": (lambda: made.series(PixelSpacing=None), ": has no PixelSpacing"),
    "no orientation": (
        lambda: made.series(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]),
        ": ImageOrientationPatient [1.0, 0.0, 0.0, 1.0, 0.0, 0.0] is no orientation",
    ),
    "two frames of reference": (
        lambda: [*made.series(), made.image(4, FrameOfReferenceUID=made.uid("elsewhere"))],
        ": slices of different frames of reference: ",
    ),
    "colours": (
        lambda: [made.image(0, SamplesPerPixel=3, PhotometricInterpretation="RGB", BitsAllocated=8, BitsStored=8)],
        ": is a colour image; scans have one grey value a pixel",
    ),
    "a table without values": (
        lambda: made.series(ModalityLUTSequence=[made.Dataset()]),
        "'Dataset' object has no attribute 'LUTDescriptor'",
    ),
    "a table that is cut": (
        lambda: [made.with_table(made.image(0), [1, 2, 3], count=4)],
        "its ModalityLUTSequence holds 3 values, it promises 4",
    ),
    "a table on some slices": (
        lambda: [*made.series(3), made.with_table(made.image(3), [1, 2, 3])],
        ": slices with and without RescaleSlope or RescaleIntercept: ",
    ),
    "a slope on some slices": (
        lambda: [*made.series(3), made.image(3, RescaleSlope=None, RescaleIntercept=None)],
        ": slices with and without RescaleSlope or RescaleIntercept: ",
    ),
    "an image twice": (
        lambda: [*made.series(), made.image(2)],
        f"; they are the same image, SOPInstanceUID {made.uid('series 2')}: give one of the files alone",
    ),
    "a series in time": (
        lambda: [
            made.image(index, SOPInstanceUID=made.uid(f"{time} {index}")) for time in (0, 1) for index in range(4)
        ],
        "; 8 slices at 4 places may be a series in time: give the files of one time alone",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_series_with_a_fault_is_one_line(tmp_path: Path, fault: str) -> None:
    slices, says = FAULTS[fault]
    folder = made.write(tmp_path / "series", slices())
    message = error_of(folder)
    assert says in message
    assert message.startswith(str(folder))


def test_a_missing_slice_names_the_files_beside_it(tmp_path: Path) -> None:
    for index in (0, 1, 3, 4):
        made.save(made.image(index), tmp_path / f"{index}.dcm")
    where = "1 slice is missing: 5 mm lie between 1.dcm and 3.dcm, elsewhere 2.5 mm"
    assert error_of(tmp_path) == f"{tmp_path}: {where}"


def test_places_rounded_to_a_hundredth_are_even(tmp_path: Path) -> None:
    slices = made.series(7)
    for index, one in enumerate(slices):
        one.ImagePositionPatient = [-30, 12.5, round(-100 + index * 0.6251, 2)]
    volume = read_volume(made.write(tmp_path, slices), None, None)
    assert volume.spacing_mm[2] == pytest.approx(0.625, abs=1e-12)


def test_cut_pixels_and_cut_headers(tmp_path: Path) -> None:
    folder = made.write(tmp_path, made.series())
    path = folder / "003.dcm"
    content = path.read_bytes()
    for keep in (len(content) - 12, len(content) - 61):
        path.write_bytes(content[:keep])
        assert error_of(folder).startswith(f"{path}: cannot be read as DICOM: ")
    for keep in (0, 100, 140, 300):
        path.write_bytes(content[:keep])
        assert str(path) in error_of(folder)


def test_a_syntax_without_decoder_is_said_before_pixels(tmp_path: Path) -> None:
    slices = made.compressed(made.series())
    for one in slices:
        one.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.92")
    message = error_of(made.write(tmp_path, slices))
    name = "JPEG 2000 Part 2 Multi-component Image Compression (Lossless Only)"
    says = f": its transfer syntax ({name}) has no decoder here; decompress it, e.g. by gdcmconv"
    assert message in {f"{path}{says}" for path in tmp_path.iterdir()}


@pytest.mark.parametrize("damaged", [b"1.2.826.0.1", b"1.2.840.10008.1.2.1"], ids=["series", "syntax"])
def test_values_that_are_none_are_told_in_no_warning(tmp_path: Path, damaged: bytes) -> None:
    content = made.bytes_of(made.image(0), ExplicitVRLittleEndian)
    (tmp_path / "a.dcm").write_bytes(content.replace(damaged, b"?" + damaged[1:]))
    # a warning fails the test
    if damaged.startswith(b"1.2.840"):
        assert "transfer syntax" in error_of(tmp_path / "a.dcm")
    else:
        assert read_volume(tmp_path / "a.dcm", None, None).series.uid.startswith("?.2.826")


def test_a_file_that_is_called_dicom_and_is_none(tmp_path: Path) -> None:
    folder = made.write(tmp_path, made.series())
    (folder / "notes.dcm").write_text("no scan")
    assert error_of(folder) == f"{folder / 'notes.dcm'}: is no DICOM file"


def test_zips_that_are_not_to_be_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_files, "LARGEST_ZIP", 1 << 20)
    path = tmp_path / "scan.zip"
    for name in ("../../scan.dcm", "/etc/scan.dcm", "C:\\scan.dcm", "a\\..\\..\\scan.dcm"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, b"x")
        assert "which leads out of it; the file is not to be trusted" in error_of(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("bomb.dcm", "w", force_zip64=True) as member:
            for _ in range(2):
                member.write(bytes(1 << 20))
    assert "as no scan does; unpack it yourself" in error_of(path)
    path.write_bytes(path.read_bytes()[:-30])
    assert error_of(path) == f"{path}: is no zip, or is cut; get the file again"


def test_flags_of_dicom_are_refused_for_other_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5)))
    assert error_of(tmp_path / "a.npy", series="3") == f"{tmp_path / 'a.npy'}: --series is for DICOM"
    assert error_of(tmp_path / "a.npy", suv=True) == f"{tmp_path / 'a.npy'}: --suv is for DICOM"


# masks, and what is told of patients


def test_masks_overlay_the_series_as_itk_has_it(tmp_path: Path) -> None:
    folder = made.write(tmp_path / "dicom", made.oriented(OBLIQUE))
    volume = read_volume(folder, None, None)
    labels = (volume.voxels > 500).astype(np.uint8)
    write_mask(tmp_path / "mask.nii.gz", labels, volume)
    mask = SimpleITK.ReadImage(str(tmp_path / "mask.nii.gz"))
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    scan = reader.Execute()
    np.testing.assert_allclose(mask.GetOrigin(), scan.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(mask.GetDirection(), scan.GetDirection(), atol=1e-6)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(mask), SimpleITK.GetArrayFromImage(scan) > 500)


def test_working_data_of_a_series_is_the_series(tmp_path: Path) -> None:
    from pose.scans.volume import write_volume

    volume = read_volume(made.write(tmp_path / "dicom", made.oriented(OBLIQUE)), None, None)
    write_volume(tmp_path / "scan.npz", volume)
    again = read_volume(tmp_path / "scan.npz")
    np.testing.assert_array_equal(again.voxels, volume.voxels)
    np.testing.assert_array_equal(again.affine, volume.affine)


def test_nothing_of_the_patient_is_kept_of_a_header(tmp_path: Path) -> None:
    text = repr(series_in(made.write(tmp_path, made.series())))
    assert str(made.uid("series")) in text
    assert not any(word in text for word in ("Mustermann", "PID4711", "19640812"))


# real series


def test_a_real_series_equals_its_nifti_file(real_data: Path) -> None:
    dicom = read_volume(real_data / "dicom_sts_001", None, None)
    nifti = read_volume(real_data / "ct_tumour/image.nii.gz", None, None)
    np.testing.assert_array_equal(dicom.voxels, nifti.voxels)
    assert np.abs(dicom.affine - nifti.affine).max() < 1e-4
    assert (dicom.axes, dicom.orientation) == (nifti.axes, nifti.orientation)
    voxels, affine = of_itk(real_data / "dicom_sts_001")
    np.testing.assert_array_equal(dicom.voxels, voxels.transpose(1, 0, 2))
    np.testing.assert_allclose(dicom.affine, affine, rtol=0, atol=1e-6)


def test_real_slices_beside_a_segmentation(real_data: Path) -> None:
    volume = read_volume(real_data / "dicom_seg", None, None)
    files = [str(real_data / "dicom_seg" / f"0{number}.dcm") for number in (1, 2, 3)]
    assert sorted(path.name for path in volume.series.files) == ["01.dcm", "02.dcm", "03.dcm"]
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(sorted(files, key=lambda name: float(SimpleITK.ReadImage(name).GetOrigin()[2])))
    scan = reader.Execute()
    np.testing.assert_array_equal(volume.voxels, SimpleITK.GetArrayFromImage(scan).transpose(1, 2, 0))
    np.testing.assert_allclose(volume.affine[:3, 3], np.multiply(scan.GetOrigin(), (-1, -1, 1)), atol=1e-6)
    steps = np.reshape(scan.GetDirection(), (3, 3)) * scan.GetSpacing()
    np.testing.assert_allclose(volume.affine[:3, :3], np.diag([-1, -1, 1]) @ steps, rtol=0, atol=1e-6)


def test_a_thousand_slices_are_in_memory_once(tmp_path: Path) -> None:
    import tracemalloc

    shape = (64, 64)
    for index in range(120):
        made.save(made.image(index, made.stored(0, shape)), tmp_path / f"{random.Random(index).random()}.dcm")
    read_volume(tmp_path)
    tracemalloc.start()
    try:
        volume = read_volume(tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(volume, Volume)
    assert volume.voxels.nbytes == 120 * 64 * 64 * 2
    assert peak < volume.voxels.nbytes + (3 << 20)
