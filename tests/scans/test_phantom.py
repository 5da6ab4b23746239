"""The phantom: anatomy in its place, tissues at their Hounsfield units, files that overlay each other."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from pose.cli import UserError
from pose.scans.masks import read_mask
from pose.scans.phantom import LEFT_LUNG, RIGHT_LUNG, chest_ct
from pose.scans.volume import read_volume
from tests.cases import seconds_of_children

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "make_phantom.py"
EVERY_NEIGHBOUR = np.ones((3, 3, 3))


@pytest.fixture(scope="module")
def small():
    return chest_ct((128, 128, 30), seed=3)


def body_of(voxels: np.ndarray) -> np.ndarray:
    """The patient without the table: the largest thing on each slice, its holes filled."""
    body = np.zeros(voxels.shape, bool)
    for index in range(voxels.shape[2]):
        things, _ = ndimage.label(voxels[:, :, index] > -400)
        largest = np.bincount(things.ravel())[1:].argmax() + 1
        body[:, :, index] = ndimage.binary_fill_holes(things == largest)
    return body


def test_form_of_the_default_phantom():
    start = time.process_time()
    volume, labels = chest_ct()
    assert time.process_time() - start < 6.0
    assert volume.voxels.shape == labels.shape == (256, 256, 40)
    assert volume.voxels.dtype == np.int16 and labels.dtype == np.uint8
    assert volume.spacing_mm == pytest.approx((1.4, 1.4, 7.0)) and volume.swap_axes is True
    assert volume.voxels.min() >= -1024 and volume.voxels.max() <= 3071


def test_a_tiny_phantom_is_quick():
    start = time.process_time()
    chest_ct((64, 64, 12))
    assert time.process_time() - start < 1.0


def test_affine_is_that_of_a_scan_lying_on_its_back(small):
    volume, _ = small
    diagonal, origin = np.diag(volume.affine)[:3], volume.affine[:3, 3]
    assert volume.affine.shape == (4, 4) and volume.affine.dtype == np.float64
    assert nib.aff2axcodes(volume.affine) == ("L", "P", "S")
    np.testing.assert_allclose(diagonal, (-volume.spacing_mm[1], -volume.spacing_mm[0], volume.spacing_mm[2]))
    assert np.count_nonzero(volume.affine[:3, :3]) == 3 and np.all(origin != 0)


def test_tissues_have_their_hounsfield_units(small):
    voxels, labels = small[0].voxels, small[1]
    body, lungs = body_of(voxels), labels > 0
    corner = voxels[:8, :8]
    assert corner.mean() == pytest.approx(-1000, abs=4) and 12 < corner.std() < 24
    inside = ndimage.binary_erosion(lungs, iterations=1)
    assert -850 < voxels[inside].mean() < -760
    assert -880 < np.median(voxels[inside]) < -820
    assert (voxels[inside] > -300).mean() > 0.002, "no vessels"
    rim = body & ~ndimage.binary_erosion(body, np.ones((3, 3, 1)), iterations=3)
    rim &= ndimage.binary_erosion(body, np.ones((3, 3, 1)))
    assert -110 < np.median(voxels[rim]) < -60, "no fat below the skin"
    soft = voxels[body & ~lungs & (voxels > 0) & (voxels < 120)]
    assert 35 < np.median(soft) < 65
    assert (voxels[body] > 400).mean() > 0.005, "no bone"
    assert voxels[body].max() > 600


def test_a_lung_is_denser_at_the_back(small):
    voxels, labels = small[0].voxels, small[1]
    rows = np.nonzero(labels.any(axis=(1, 2)))[0]
    values = [np.median(voxels[row][labels[row] > 0]) for row in (rows[len(rows) // 5], rows[4 * len(rows) // 5])]
    assert 20 < values[1] - values[0] < 90


def test_trachea_is_air_and_not_lung(small):
    voxels, labels = small[0].voxels, small[1]
    top = voxels.shape[2] - 1
    air, count = ndimage.label(body_of(voxels)[:, :, top] & (voxels[:, :, top] < -700))
    sizes = np.bincount(air.ravel())[1:]
    assert count >= 1 and sizes.max() >= 12
    row, column = ndimage.center_of_mass(air == sizes.argmax() + 1)
    assert abs(column - 64) < 6
    assert not labels[:, :, top].any()


@pytest.mark.parametrize("shape", [(64, 64, 12), (48, 96, 20), (128, 128, 30)])
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_two_lungs_of_one_piece_each_on_their_side(shape, seed):
    voxels, labels = chest_ct(shape, seed)[0].voxels, chest_ct(shape, seed)[1]
    assert set(np.unique(labels)) == {0, LEFT_LUNG, RIGHT_LUNG}
    for label in (LEFT_LUNG, RIGHT_LUNG):
        assert ndimage.label(labels == label, EVERY_NEIGHBOUR)[1] == 1
    assert ndimage.label(labels > 0, EVERY_NEIGHBOUR)[1] == 2, "the lungs touch"
    middle = labels[:, :, shape[2] // 2]
    left, right = (np.nonzero(middle == label)[1] for label in (LEFT_LUNG, RIGHT_LUNG))
    assert left.min() > right.max(), "the patient's left is on the right of the picture"
    assert not labels[:, :, 0].any() and not labels[:, :, -1].any()
    edges = np.ones(shape[:2], bool)
    edges[1:-1, 1:-1] = False
    assert not labels[edges].any()
    assert (voxels[edges] < -850).all(), "the body touches the border"


def test_the_body_is_upright_with_its_spine_at_the_bottom(small):
    voxels = small[0].voxels
    middle = voxels[:, :, 15]
    body = body_of(voxels)[:, :, 15]
    rows = np.nonzero(body.any(axis=1))[0]
    hard = np.nonzero((middle > 300) & (np.abs(np.arange(128) - 64) < 12)[None, :])[0]
    assert np.median(hard) > rows.mean() + 0.5 * (rows.max() - rows.mean())
    below = middle[rows.max() + 2 :, 40:88]
    assert (below > -500).any(), "no table below the body"
    assert (middle[: rows.min() - 2] < -850).all()


def test_lungs_change_shape_through_the_slices(small):
    labels = small[1]
    area = (labels > 0).sum(axis=(0, 1))
    filled = np.nonzero(area)[0]
    largest = area.argmax()
    assert filled[0] >= 1 and filled[-1] <= 28
    np.testing.assert_array_equal(filled, np.arange(filled[0], filled[-1] + 1))
    assert area[filled[0]] < 0.4 * area[largest] and area[filled[-1]] < 0.25 * area[largest]

    # At the base the lung is a crescent round the diaphragm, higher up it is a compact shape.
    def fullness(index: int) -> float:
        piece = labels[:, :, index] == RIGHT_LUNG
        rows, columns = np.nonzero(piece)
        return piece.sum() / (np.ptp(rows) + 1) / (np.ptp(columns) + 1)

    assert fullness(filled[1]) < 0.55 < fullness(20)


def test_the_heart_takes_its_place_from_the_left_lung(small):
    labels = small[1]
    ratio = [(labels[:, :, i] == LEFT_LUNG).sum() / (labels[:, :, i] == RIGHT_LUNG).sum() for i in (12, 22)]
    assert ratio[0] < 0.85 < ratio[1]


def test_the_seed_decides():
    volume, labels = chest_ct((64, 64, 12), seed=5)
    again, labels_again = chest_ct((64, 64, 12), seed=5)
    np.testing.assert_array_equal(volume.voxels, again.voxels)
    np.testing.assert_array_equal(labels, labels_again)
    sizes = {int((chest_ct((64, 64, 12), seed=seed)[1] > 0).sum()) for seed in range(8)}
    assert len(sizes) == 8 and max(sizes) > 1.15 * min(sizes)


def test_spacing_asked_for_is_kept():
    volume, labels = chest_ct((64, 80, 10), spacing_mm=(3.0, 2.0, 5.0))
    assert volume.spacing_mm == (3.0, 2.0, 5.0)
    np.testing.assert_array_equal(np.diag(volume.affine), (-2.0, -3.0, 5.0, 1.0))
    rows, columns = (np.nonzero(labels.any(axis=axes))[0] for axes in ((1, 2), (0, 2)))
    assert np.ptp(columns) * 2.0 > np.ptp(rows) * 3.0, "a chest is wider than deep, in millimetres"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"shape": (16, 64, 12)}, "16, 64, 12"),
        ({"shape": (64, 64, 2)}, "64, 64, 2"),
        ({"shape": (64, 64)}, "too small"),
        ({"shape": (64, 64, 12), "seed": -1}, "seed -1"),
        ({"shape": (64, 64, 12), "spacing_mm": (1.0, 0.0, 1.0)}, "spacing"),
        ({"shape": (64, 64, 12), "spacing_mm": (1.0, float("nan"), 1.0)}, "spacing"),
    ],
)
def test_mistakes_are_named(arguments, words):
    with pytest.raises(UserError, match=words):
        chest_ct(**arguments)


def run_script(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=60)


def test_script_writes_files_that_come_rows_first_and_upright(tmp_path):
    folder = tmp_path / "new" / "folder"
    done = run_script(
        "--output_folder_path", str(folder), "--seed", "2", "--shape", "64", "72", "12", "--name", "thorax"
    )
    assert done.returncode == 0, done.stderr
    paths = [folder / "thorax_ct.nii.gz", folder / "thorax_lungs.nii.gz"]
    assert done.stdout.split() == [str(path) for path in paths]
    assert sorted(folder.iterdir()) == paths, "nothing temporary is left"

    volume, labels = chest_ct((64, 72, 12), seed=2)
    image = nib.load(paths[0])
    assert image.shape == (72, 64, 12) and image.get_data_dtype() == np.int16
    np.testing.assert_allclose(image.affine, volume.affine, atol=1e-4)
    scan = read_volume(paths[0], swap_axes=True)
    np.testing.assert_array_equal(scan.voxels, volume.voxels)
    mask = read_mask(paths[1], like=scan, swap_axes=True)
    np.testing.assert_array_equal(mask.voxels, labels)
    np.testing.assert_array_equal(nib.load(paths[1]).affine, image.affine)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--shape", "10", "64", "12"), "10, 64, 12"),
        (("--shape", "64", "64"), "--shape"),
        (("--seed", "-4"), "-4"),
        (("--name", "a/b"), "a/b"),
    ],
)
def test_script_refuses_in_one_line(tmp_path, arguments, words):
    done = run_script("--output_folder_path", str(tmp_path / "out"), *arguments)
    assert done.returncode == 2 and words in done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.rglob("*.nii.gz"))


def test_script_refuses_a_file_as_folder(tmp_path):
    path = tmp_path / "taken"
    path.write_text("mine")
    done = run_script("--output_folder_path", str(path), "--shape", "32", "32", "3")
    assert done.returncode == 2 and str(path) in done.stderr and path.read_text() == "mine"


def test_script_help_answers_at_once():
    start = seconds_of_children()
    done = run_script("--help")
    assert done.returncode == 0 and "--output_folder_path" in done.stdout
    assert seconds_of_children() - start < 2.0
