"""pose/scans/npy.py: what a header promises against what there is; the arrays of an archive."""

from __future__ import annotations

import io
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pose.cli import UserError
from pose.scans.npy import read_archive, read_array
from tests.fuzz_mutations import npy_bytes, npy_with_header

COUNTED = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
FACTS = ("affine", "spacing_mm")


def read(content: bytes, check=lambda shape, dtype: None) -> np.ndarray:
    return read_array(partial(io.BytesIO, content), len(content), check)


def read_npz(folder: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED):
    path = folder / "scan.npz"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with zipfile.ZipFile(path) as archive:
        return read_archive(archive, path, lambda shape, dtype: None, FACTS)


@pytest.mark.parametrize(
    "array", [COUNTED, np.asfortranarray(COUNTED), COUNTED.astype(">f4"), np.zeros((2, 0, 3), bool)]
)
def test_an_array_comes_back(array: np.ndarray) -> None:
    back = read(npy_bytes(array))
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_version_2_is_read_and_others_are_refused() -> None:
    header = b"{'descr': '<i2', 'fortran_order': False, 'shape': (3, 4, 5)}"
    np.testing.assert_array_equal(read(npy_with_header(header, COUNTED.tobytes(), (2, 0))), COUNTED)
    with pytest.raises(ValueError, match=r"version \(3, 0\)"):
        read(npy_with_header(header, COUNTED.tobytes(), (3, 0)))


@pytest.mark.parametrize(
    ("shape", "cut"), [((3, 4, 4), 0), ((3, 4, 6), 0), ((3, 4, 5), 1), ((-3, -4, 5), 0), ((2**63, 4), 0)]
)
def test_a_header_promises_what_there_is_to_the_byte(shape: tuple[int, ...], cut: int) -> None:
    header = f"{{'descr': '<i2', 'fortran_order': False, 'shape': {shape}}}".encode()
    with pytest.raises(ValueError, match=f"promises .*; there are {120 - cut}"):
        read(npy_with_header(header, COUNTED.tobytes()[: 120 - cut]))


def test_the_check_comes_before_the_numbers() -> None:
    def check(shape: tuple[int, ...], dtype: np.dtype) -> None:
        raise UserError(f"{shape} {dtype}")

    with pytest.raises(UserError, match=r"^\(3, 4, 5\) int16$"):
        read(npy_with_header(b"{'descr': '<i2', 'fortran_order': False, 'shape': (3, 4, 5)}", b""), check)


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<i2', 'fortran_order': False, 'shape': (3,",
        b"{'descr': ('<i2',), 'fortran_order': False, 'shape': (3,)}",
    ],
)
def test_what_the_parser_of_headers_stumbles_over_is_a_value_error(header: bytes) -> None:
    with pytest.raises(ValueError, match="its header cannot be parsed"):
        read(npy_with_header(header, b""))


def test_objects_are_refused() -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        read(npy_bytes(np.array([None])))


def test_voxels_come_with_the_facts_that_are_there(tmp_path: Path) -> None:
    spacing = npy_bytes(np.array([1.0, 2.0, 3.0]))
    members = {"spacing_mm.npy": spacing, "voxels.npy": npy_bytes(COUNTED), "notes.txt": b"text"}
    voxels, facts = read_npz(tmp_path, members)
    np.testing.assert_array_equal(voxels, COUNTED)
    assert facts == {"spacing_mm": [1.0, 2.0, 3.0]}


def test_one_array_of_any_name_is_the_voxels(tmp_path: Path) -> None:
    voxels, facts = read_npz(tmp_path, {"affine.npy": npy_bytes(COUNTED)})
    np.testing.assert_array_equal(voxels, COUNTED)
    assert facts == {}
    with pytest.raises(UserError, match="holds the arrays a, b; expected"):
        read_npz(tmp_path, {"a.npy": npy_bytes(COUNTED), "b.npy": npy_bytes(COUNTED)})


def test_a_fact_is_a_few_numbers(tmp_path: Path) -> None:
    for fact, named in ((np.zeros(17), r"float64 of shape \(17,\)"), (np.array("text"), r"<U4 of shape \(\)")):
        with pytest.raises(UserError, match=f"scan.npz: affine is {named}, which is no geometry"):
            read_npz(tmp_path, {"voxels.npy": npy_bytes(COUNTED), "affine.npy": npy_bytes(fact)})


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_numpy_does_not_write_is_refused(tmp_path: Path, compression: int) -> None:
    with pytest.raises(ValueError, match=f"is compressed by method {compression}"):
        read_npz(tmp_path, {"voxels.npy": npy_bytes(COUNTED)}, compression)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_checksum_of_a_large_member_is_compared(tmp_path: Path, compression: int) -> None:
    """Larger than what is read of it for its header: a member that was wound back would not be checked any more."""
    array = np.random.default_rng(0).integers(0, 255, (64, 64, 64), np.uint8)
    read_npz(tmp_path, {"voxels.npy": npy_bytes(array)}, compression)
    path = tmp_path / "scan.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    # deflate may notice by itself
    with zipfile.ZipFile(path) as archive, pytest.raises((zipfile.BadZipFile, zipfile.zlib.error)):
        read_archive(archive, path, lambda shape, dtype: None, FACTS)
