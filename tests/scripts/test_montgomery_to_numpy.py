"""scripts/montgomery_to_numpy.py: X-rays and masks to working data, what is kept, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pose.cli import run_main
from pose.scans.masks import read_mask
from pose.scans.volume import read_volume
from scripts import montgomery_to_numpy
from tests.miniature import montgomery_archive, png_bytes, write_files, xray

NAMES = ["MCUCXR_0001_1", "MCUCXR_0002_0"]


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    write_files(tmp_path / "unpacked", montgomery_archive(2))
    return tmp_path / "unpacked" / "MontgomerySet"


def convert(source: Path, target: Path) -> int:
    words = ["--input_folder_path", source, "--output_folder_path", target]
    return run_main(montgomery_to_numpy.main, [str(word) for word in words])


def test_xrays_and_masks_become_volumes_of_one_slice(data_set: Path, tmp_path: Path, capsys) -> None:
    target = tmp_path / "working" / "data"
    assert convert(data_set, target) == 0
    assert capsys.readouterr().out == f"working data in {target}: 2 X-rays converted, 0 there already\n"
    stems = [f"{kind}_{name}" for kind in ("image", "masks") for name in NAMES]
    written = sorted(path.name for path in target.iterdir())
    assert written == sorted(f"{stem}.{end}" for stem in stems for end in ("json", "npy"))
    for number, (name, dtype, factor) in enumerate(zip(NAMES, (np.uint8, np.uint16), (1, 16)), start=1):
        grey, left, right = xray(number)
        image = read_volume(target / f"image_{name}.npy")
        assert image.voxels.dtype == dtype
        np.testing.assert_array_equal(image.voxels, grey.astype(dtype)[:, :, np.newaxis] * factor)
        assert (image.affine, image.spacing_mm, image.swap_axes) == (None, None, False)
        labels = read_mask(target / f"masks_{name}.npy", like=image).voxels
        np.testing.assert_array_equal(labels[:, :, 0], np.where(left, 1, np.where(right, 2, 0)))


def test_what_is_newer_than_its_sources_is_kept(data_set: Path, tmp_path: Path, capsys) -> None:
    target = tmp_path / "working"
    assert convert(data_set, target) == 0
    before = {path: path.stat().st_mtime_ns for path in target.iterdir()}
    assert convert(data_set, target) == 0
    assert capsys.readouterr().out.endswith("0 X-rays converted, 2 there already\n")
    assert {path: path.stat().st_mtime_ns for path in target.iterdir()} == before

    later = max(before.values()) + 10**9
    os.utime(data_set / "ManualMask/rightMask" / f"{NAMES[0]}.png", ns=(later, later))
    (target / f"image_{NAMES[1]}.npy").unlink()
    assert convert(data_set, target) == 0
    assert capsys.readouterr().out.endswith("2 X-rays converted, 0 there already\n")


@pytest.mark.parametrize("shape", [(4020, 4892), (4892, 4020)])
def test_the_published_size_has_the_published_spacing(tmp_path: Path, shape: tuple[int, int]) -> None:
    names = [tmp_path / f"{name}.png" for name in ("xray", "left", "right")]
    pixels = np.zeros(shape, dtype=np.uint8)
    for path in names:
        Image.fromarray(pixels).save(path, compress_level=1)
    image, labels = montgomery_to_numpy.read_xray(*names)
    assert image.spacing_mm == labels.spacing_mm == (0.0875, 0.0875, 1.0)
    assert image.voxels.shape == (*shape, 1)


def test_pictures_of_other_modes_are_grey(tmp_path: Path) -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    picture = Image.fromarray(grey)
    for mode in ("RGB", "P"):
        picture.convert(mode).save(tmp_path / "x.png")
        np.testing.assert_array_equal(montgomery_to_numpy.read_grey(tmp_path / "x.png"), grey)


def test_lungs_that_overlap_are_told(tmp_path: Path, caplog) -> None:
    paths = [tmp_path / name for name in ("xray.png", "left.png", "right.png")]
    left, right = (np.zeros((3, 4), dtype=bool) for _ in range(2))
    left[:, :3], right[:, 2:] = True, True
    for path, pixels in zip(paths, (np.zeros((3, 4), dtype=np.uint8), left, right)):
        path.write_bytes(png_bytes(pixels))
    labels = montgomery_to_numpy.read_xray(*paths)[1].voxels[:, :, 0]
    np.testing.assert_array_equal(labels, [[1, 1, 2, 2]] * 3)
    assert f"{paths[2]}: 3 of its pixels are those of the other lung in {paths[1]}, too" in caplog.text


def colour(path: Path) -> None:
    Image.fromarray(np.arange(36, dtype=np.uint8).reshape(3, 4, 3)).save(path)


@pytest.mark.parametrize(
    ("where", "damage", "message"),
    [
        ("ManualMask/leftMask", Path.unlink, "no such file"),
        (
            "ManualMask/rightMask",
            lambda path: path.write_bytes(png_bytes(np.zeros((60, 51), bool))),
            "has 60 x 51 pixels, its X-ray",
        ),
        ("CXR_png", lambda path: path.write_bytes(path.read_bytes()[:200]), "cannot be read as a picture"),
        ("CXR_png", lambda path: path.write_bytes(b"no picture"), "cannot be read as a picture"),
        ("CXR_png", colour, "has colours or transparency (3 channels)"),
    ],
)
def test_a_faulty_file_is_named_and_the_others_are_converted(
    data_set: Path, tmp_path: Path, capsys, where: str, damage, message: str
) -> None:
    path = data_set / where / f"{NAMES[0]}.png"
    damage(path)
    assert convert(data_set, tmp_path / "working") == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {path}: {message}") and captured.err.count("\n") == 1
    assert captured.out == f"working data in {tmp_path / 'working'}: 1 X-rays converted, 0 there already, 1 failed\n"
    written = sorted(path.name for path in (tmp_path / "working").glob("*.npy"))
    assert written == [f"image_{NAMES[1]}.npy", f"masks_{NAMES[1]}.npy"]


def test_an_empty_folder_tells_where_the_data_comes_from(tmp_path: Path, capsys) -> None:
    assert convert(tmp_path, tmp_path / "working") == 2
    message = "holds no .png; scripts/download_montgomery_dataset.sh downloads them"
    assert capsys.readouterr().err == f"error: {tmp_path / 'CXR_png'}: {message}\n"
