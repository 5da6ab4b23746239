"""NRRD, MetaImage, NIfTI pairs and PNG through the one reader, against ITK and against bytes that are plain."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose.cli import UserError
from pose.scans.volume import data_file, read_volume, stem_of
from tests.header_kinds import SimpleITK

SHAPE = (4, 5, 6)
# oblique directions, columns of the matrix, in LPS
DIRECTIONS = np.array([[0.8, 0.0, 0.6], [0.0, -1.0, 0.0], [0.6, 0.0, -0.8]])
SPACING, ORIGIN = np.array([0.5, 0.75, 2.5]), np.array([10.0, -20.0, 30.5])
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
VOXELS = np.arange(120).reshape(SHAPE, order="F")


def affine() -> np.ndarray:
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = DIRECTIONS * SPACING, ORIGIN
    return LPS_TO_RAS @ made


def image(dtype: str) -> SimpleITK.Image:
    made = SimpleITK.GetImageFromArray(VOXELS.transpose(2, 1, 0).astype(dtype))
    made.SetDirection(DIRECTIONS.ravel().tolist())
    made.SetSpacing(SPACING.tolist())
    made.SetOrigin(ORIGIN.tolist())
    return made


def error_of(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_volume(path)
    return str(caught.value)


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64"]
)
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd", "a.hdr"])
def test_what_itk_writes_lies_where_itk_has_it(tmp_path: Path, name: str, compressed: bool, dtype: str) -> None:
    SimpleITK.WriteImage(image(dtype), str(tmp_path / name), compressed)
    volume = read_volume(tmp_path / name)
    assert volume.voxels.dtype == dtype
    np.testing.assert_array_equal(volume.voxels, VOXELS)
    # NIfTI holds numbers of single precision
    np.testing.assert_allclose(volume.affine, affine(), rtol=0, atol=1e-5 if name == "a.hdr" else 1e-6)
    np.testing.assert_allclose(volume.spacing_mm, SPACING, rtol=1e-6)


def test_the_other_file_of_a_pair_is_the_same_scan(tmp_path: Path) -> None:
    SimpleITK.WriteImage(image("int16"), str(tmp_path / "a.img.gz"), True)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.img.gz").voxels, VOXELS)
    SimpleITK.WriteImage(image("int16"), str(tmp_path / "b.img"), False)
    for name, other in (("b.hdr", "b.img"), ("b.img", "b.hdr")):
        np.testing.assert_array_equal(read_volume(tmp_path / name).voxels, VOXELS)
        assert data_file(tmp_path / name) == tmp_path / other
        assert stem_of(tmp_path / name) == "b"
    (tmp_path / "b.img").unlink()
    assert error_of(tmp_path / "b.hdr").startswith(f"{tmp_path / 'b.hdr'}: cannot be read as NIfTI: ")


@pytest.mark.parametrize(
    ("space", "signs"),
    [("left-posterior-superior", (-1, -1, 1)), ("RAS", (1, 1, 1)), ("left-anterior-superior", (-1, 1, 1))],
)
def test_nrrd_in_any_space_and_byte_order(tmp_path: Path, space: str, signs: tuple[int, ...]) -> None:
    head = (
        f"NRRD0005\n# a comment\ntype: unsigned short\ndimension: 3\nspace: {space}\nsizes: 4 5 6\n"
        "space directions: (2,0,0) (0,3,0) (0,0.5,4)\nendian: big\nencoding: gzip\nspace origin: (1,2,3)\nkey:=a: b\n\n"
    )
    (tmp_path / "a.nrrd").write_bytes(head.encode() + gzip.compress(VOXELS.astype(">u2").tobytes("F")))
    volume = read_volume(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(volume.voxels, VOXELS)
    assert volume.voxels.dtype == np.dtype("=u2")
    expected = np.diag([*signs, 1]) @ np.array([[2, 0, 0, 1], [0, 3, 0.5, 2], [0, 0, 4, 3], [0, 0, 0, 1]])
    np.testing.assert_array_equal(volume.affine, expected)


def test_a_nrrd_of_one_layer_is_the_volume_in_it(tmp_path: Path) -> None:
    head = (
        "NRRD0004\ntype: uchar\ndimension: 4\nspace: RAS\nsizes: 1 4 5 6\nkinds: list domain domain domain\n"
        "space directions: none (2,0,0) (0,3,0) (0,0,4)\nencoding: raw\nspace origin: (1,2,3)\n\n"
    )
    (tmp_path / "a.nrrd").write_bytes(head.encode() + VOXELS.astype("u1").tobytes("F"))
    volume = read_volume(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(volume.voxels, VOXELS)
    np.testing.assert_array_equal(volume.affine, [[2, 0, 0, 1], [0, 3, 0, 2], [0, 0, 4, 3], [0, 0, 0, 1]])


def test_nrrd_without_a_space_is_upright_and_of_unknown_place(tmp_path: Path) -> None:
    head = b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 4 5 6\nspacings: 0.5 0.75 2\nencoding: raw\n\n"
    (tmp_path / "a.nrrd").write_bytes(head + VOXELS.astype("u1").tobytes("F"))
    volume = read_volume(tmp_path / "a.nrrd", None, None)
    np.testing.assert_array_equal(volume.voxels, VOXELS.transpose(1, 0, 2))
    assert (volume.affine, volume.spacing_mm) == (None, (0.75, 0.5, 2.0))


def test_metaimage_with_data_that_has_a_header(tmp_path: Path) -> None:
    text = "NDims = 3\nDimSize = 4 5 6\nElementType = MET_SHORT\nHeaderSize = 7\nElementDataFile = a.raw\n"
    (tmp_path / "a.mhd").write_text(text)
    (tmp_path / "a.raw").write_bytes(b"1234567" + VOXELS.astype("<i2").tobytes("F"))
    volume = read_volume(tmp_path / "a.mhd")
    np.testing.assert_array_equal(volume.voxels, VOXELS)
    np.testing.assert_array_equal(volume.affine, LPS_TO_RAS)
    assert data_file(tmp_path / "a.mhd") == tmp_path / "a.raw"
    assert data_file(tmp_path / "a.raw") is None


NRRD = "NRRD0004\ntype: {type}\ndimension: 3\nsizes: {sizes}\nencoding: {encoding}\n{more}\n"
META = "NDims = 3\nDimSize = {sizes}\nElementType = {type}\n{more}ElementDataFile = LOCAL\n"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"type": "block"}, "its type is 'block'"),
        ({"encoding": "bzip2"}, "its encoding is 'bzip2'; save it as raw or gzip"),
        ({"sizes": "4 5 7"}, "its header promises 140 bytes of voxels, a.nrrd is shorter"),
        ({"sizes": "4 5 -6"}, "its sizes are '4 5 -6'"),
        ({"sizes": "4 5 99999999999"}, "its header promises 1999999999980 bytes"),
        ({"encoding": "gzip"}, "Error -3 while decompressing data"),
        ({"type": "short"}, "it has no endian: in which order its bytes are"),
        (
            {"sizes": "3 5 8 1", "more": "kinds: RGB-color domain domain domain\n"},
            "its sizes are 3 5 8 1, and axis 0 is",
        ),
        (
            {"sizes": "4 5 3 2", "more": "space: LPS\nspace directions: (1,0,0) (0,1,0) (0,0,1) none\n"},
            "its sizes are 4 5 3 2, and axis 3 is none of space; save one volume",
        ),
        ({"more": "byte skip: -1\n"}, "it skips lines or bytes of its data"),
        ({"more": "space: LPS\nspace directions: (1,0) (0,1,0) (0,0,1)\n"}, "'(1,0)' is no vector of three numbers"),
    ],
)
def test_nrrd_that_is_damaged_or_not_read(tmp_path: Path, fields: dict, says: str) -> None:
    text = NRRD.format(**{"type": "uchar", "sizes": "4 5 6", "encoding": "raw", "more": "", **fields})
    (tmp_path / "a.nrrd").write_bytes(text.encode() + bytes(120))
    assert error_of(tmp_path / "a.nrrd").startswith(f"{tmp_path / 'a.nrrd'}: cannot be read as NRRD: {says}")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"type": "MET_STRING"}, "its ElementType is 'MET_STRING'"),
        ({"sizes": "4 5"}, "NDims is 3, DimSize 4 5"),
        ({"sizes": "4 5 7"}, "its header promises 140 bytes of voxels, a.mha is shorter"),
        ({"more": "ElementNumberOfChannels = 3\n"}, "it has 3 channels; a scan has one number a voxel"),
        ({"more": "CompressedData = True\n"}, "Error -3"),
        ({"more": "BinaryData = False\n"}, "its BinaryData is False: numbers as text are not read"),
        ({"more": "TransformMatrix = 1 0 0 1\n"}, "its TransformMatrix has 4 numbers, not 9"),
        ({"more": "Offset = a b c\n"}, "could not convert string to float"),
    ],
)
def test_metaimage_that_is_damaged_or_not_read(tmp_path: Path, fields: dict, says: str) -> None:
    text = META.format(**{"type": "MET_UCHAR", "sizes": "4 5 6", "more": "", **fields})
    (tmp_path / "a.mha").write_bytes(text.encode() + bytes(120))
    assert error_of(tmp_path / "a.mha").startswith(f"{tmp_path / 'a.mha'}: cannot be read as MetaImage: {says}")


def test_compressed_voxels_are_as_many_as_the_header_says(tmp_path: Path) -> None:
    text = NRRD.format(type="uchar", sizes="4 5 6", encoding="gzip", more="").encode()
    for count, says in ((119, "promises 120 bytes of voxels, it holds 119"), (121, "holds more than the 120 bytes")):
        (tmp_path / "a.nrrd").write_bytes(text + gzip.compress(bytes(count)))
        assert says in error_of(tmp_path / "a.nrrd")
    whole = gzip.compress(bytes(120))
    (tmp_path / "a.nrrd").write_bytes(text + whole[:-8] + zlib.crc32(b"else").to_bytes(4, "little") + whole[-4:])
    assert "incorrect data check" in error_of(tmp_path / "a.nrrd")


@pytest.mark.parametrize("name", ["/etc/passwd", "../a.raw", "a\\..\\..\\b.raw", "LIST", "%03d.raw 1 9 1", "C:\\a.raw"])
def test_voxels_are_read_beside_their_header_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.nhdr").write_text(
        NRRD.format(type="uchar", sizes="4 5 6", encoding="raw", more=f"data file: {name}\n")
    )
    assert error_of(tmp_path / "a.nhdr").endswith(f"said to lie in {name!r}; a single file beside it is read")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_png_is_one_slice_of_rows_and_columns(tmp_path: Path, dtype: type) -> None:
    pixels = (np.arange(30).reshape(5, 6) * 8 if dtype is np.uint8 else np.arange(30).reshape(5, 6) * 2000).astype(
        dtype
    )
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    volume = read_volume(tmp_path / "a.png", None, None)
    assert volume.voxels.dtype == dtype
    np.testing.assert_array_equal(volume.voxels, pixels[:, :, np.newaxis])
    cv2.imwrite(str(tmp_path / "b.png"), np.stack([pixels] * 3, axis=2))
    np.testing.assert_array_equal(read_volume(tmp_path / "b.png", None, None).voxels, pixels[:, :, np.newaxis])


def test_png_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    assert "it is a colour picture; a scan has one grey value a pixel" in error_of(path)
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    assert "it has no end" in error_of(path)
    flipped = bytearray(content)
    flipped[-20] ^= 1
    path.write_bytes(flipped)
    assert "the checksum of its b'IDAT' is wrong" in error_of(path)
    head = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + content[24:29]
    path.write_bytes(content[:12] + head + zlib.crc32(head).to_bytes(4, "big") + content[33:])
    assert "its header promises 60000 x 60000 pixels" in error_of(path)
    path.write_bytes(b"GIF89a")
    assert "it does not begin as a PNG does" in error_of(path)


def test_real_scans_lie_where_itk_has_them(real_data: Path) -> None:
    files = [path for path in sorted(real_data.rglob("*")) if path.name.endswith((".nii.gz", ".nrrd"))]
    # the segmentations have names and layers, and tests of their own
    scans = [path for path in files if "seg" not in path.name.lower()]
    assert len(scans) >= 13
    for path in scans:
        volume = read_volume(path)
        found = SimpleITK.ReadImage(str(path))
        np.testing.assert_array_equal(volume.voxels.transpose(2, 1, 0), SimpleITK.GetArrayViewFromImage(found))
        expected = np.eye(4)
        expected[:3, :3] = np.reshape(found.GetDirection(), (3, 3)) * found.GetSpacing()
        expected[:3, 3] = found.GetOrigin()
        np.testing.assert_allclose(volume.affine, LPS_TO_RAS @ expected, rtol=0, atol=1e-6, err_msg=path.name)
