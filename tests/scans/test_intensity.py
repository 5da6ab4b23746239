"""pose/scans/intensity.py: known voxel values become known grey levels, whatever their dtype and the way they were
read.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from pose.cli import UserError
from pose.runs.crop import crop_volume
from pose.scans import intensity as intensity_module
from pose.scans.intensity import (
    WINDOWS,
    DisplaySlices,
    GreySlices,
    Intensity,
    body_values,
    chosen_intensity,
    coarse_values,
    display_limits,
    likely_unit,
    saturated_share,
    window_of_words,
)
from pose.scans.masks import read_mask
from pose.scans.volume import Volume, read_volume, write_volume

WAYS = {
    "percentiles": Intensity(),
    "window": Intensity(window=(40.0, 400.0)),
    "per_slice": Intensity(per_slice=True),
    "window_per_slice": Intensity(window=(40.0, 400.0), per_slice=True),
}


def column(*values: float, dtype: type = np.int16) -> Volume:
    """A volume of one slice with these voxels."""
    return Volume(np.array(values, dtype).reshape(-1, 1, 1))


def greys(volume: Volume, intensity: Intensity, index: int = 0) -> list[int]:
    return GreySlices(volume, intensity)[index].ravel().tolist()


def ct_like(shape: tuple[int, int, int] = (40, 30, 12), dtype: type = np.int16) -> np.ndarray:
    values = np.random.default_rng(0).normal(-300, 450, shape)
    return np.rint(values).clip(-1024, 3071).astype(dtype)


# windows


def test_lung_window_of_the_paper() -> None:
    # black at -1400, white at 100: 1500 HU over 255 levels, 100 HU are 17 levels
    volume = column(-3000, -1400, -1397, -1396, -1300, -1000, -650, -400, 0, 99, 100, 101, 3000)
    expected = [0, 0, 1, 1, 17, 68, 128, 170, 238, 255, 255, 255, 255]
    assert greys(volume, Intensity(window=WINDOWS["lung"])) == expected


def test_halves_are_rounded_upwards() -> None:
    # one unit is half a level: an even and an odd neighbour both go up
    volume = column(0, 1, 2, 3, 4, 5, 509, 510)
    assert greys(volume, Intensity(window=(255.0, 510.0))) == [0, 1, 1, 2, 2, 3, 255, 255]


def test_a_window_as_wide_as_the_levels_changes_nothing() -> None:
    volume = Volume(np.arange(256, dtype=np.uint8).reshape(16, 16, 1))
    assert greys(volume, Intensity(window=(127.5, 255.0))) == list(range(256))


def test_window_bounds_that_are_no_whole_numbers() -> None:
    assert GreySlices(column(0, 1), Intensity(window=(40.0, 81.0))).limits == (-0.5, 80.5)
    assert greys(column(-1, 0, 80, 81), Intensity(window=(40.0, 81.0))) == [0, 2, 253, 255]


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("lung", -1400, 100),
        ("mediastinum", -125, 225),
        ("soft_tissue", -160, 240),
        ("liver", -45, 105),
        ("brain", 0, 80),
        ("bone", -500, 1300),
    ],
)
def test_named_windows(name: str, low: float, high: float) -> None:
    assert GreySlices(column(0), Intensity(window=window_of_words([name]))).limits == (low, high)


def test_windows_from_words() -> None:
    assert set(WINDOWS) == {"lung", "mediastinum", "soft_tissue", "liver", "brain", "bone"}
    assert window_of_words(["Bone"]) == (400.0, 1800.0)
    assert window_of_words(["-650", "1500"]) == (-650.0, 1500.0)
    with pytest.raises(UserError, match="--window spleen: expected one of lung, mediastinum, soft_tissue"):
        window_of_words(["spleen"])
    for words in (["40"], ["40", "x"], ["40", "80", "120"], ["lung", "bone"]):
        with pytest.raises(UserError, match=f"--window {' '.join(words)}: expected"):
            window_of_words(words)
    for words in (["40", "0"], ["40", "-80"], ["nan", "80"], ["40", "inf"]):
        with pytest.raises(UserError, match=f"--window {' '.join(words)}: level and width"):
            window_of_words(words)


def test_chosen_intensity() -> None:
    assert chosen_intensity() == Intensity(None, False)
    assert chosen_intensity(apply_windowing=True) == Intensity((-650.0, 1500.0), False)
    assert chosen_intensity(window=["brain"]) == Intensity((40.0, 80.0), False)
    assert chosen_intensity(intensity="per_slice") == Intensity(None, True)
    both = dict(apply_windowing=True, intensity="per_slice")
    assert chosen_intensity(**both) == Intensity((-650.0, 1500.0), True)
    with pytest.raises(UserError, match="--window brain: not together with --apply_windowing"):
        chosen_intensity(apply_windowing=True, window=["brain"])


# percentiles over the volume


def test_percentiles_of_known_values() -> None:
    # 0 to 1000: percentiles 0.5 and 99.5 are 5 and 995
    volume = Volume(np.arange(1001, dtype=np.int16).reshape(7, 11, 13))
    grey = GreySlices(volume)
    assert grey.limits == (5.0, 995.0)
    for value, level in ((0, 0), (5, 0), (6, 0), (7, 1), (500, 128), (995, 255), (1000, 255)):
        row, col, index = np.argwhere(volume.voxels == value)[0]
        assert grey[index][row, col] == level


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.int64, np.float32, np.float64])
def test_percentiles_are_those_of_numpy(dtype: type) -> None:
    voxels = ct_like(dtype=np.int32) + (1024 if dtype == np.uint16 else 0)
    limits = GreySlices(Volume(voxels.astype(dtype))).limits
    assert limits == pytest.approx(np.percentile(voxels, (0.5, 99.5)).tolist(), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_percentiles_of_small_volumes_are_those_of_numpy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    voxels = rng.integers(-1000, 1000, (rng.integers(2, 9), 3, 2)).astype(np.int16)
    expected = np.percentile(voxels, (0.5, 99.5)).tolist()
    assert GreySlices(Volume(voxels)).limits == pytest.approx(expected, abs=1e-9)


def test_fractions_and_huge_ranges() -> None:
    voxels = np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32)
    expected = np.percentile(voxels.astype(np.float64), (0.5, 99.5)).tolist()
    assert GreySlices(Volume(voxels)).limits == pytest.approx(expected, abs=1e-12)
    # clipped at whole numbers, as resampled scans are, with fractions between
    clipped = voxels.clip(-3, 3)
    expected = np.percentile(clipped.astype(np.float64), (0.5, 99.5)).tolist()
    assert GreySlices(Volume(clipped)).limits == pytest.approx(expected, abs=1e-12)
    whole = np.array([-(2**31), 0, 5, 2**31 - 1], np.int32).reshape(2, 2, 1)
    # ranks 0 to 3: the percentiles lie 0.015 and 2.985 of the way
    expected = [-(2**31) * (1 - 0.015), 5 + 0.985 * (2**31 - 1 - 5)]
    assert GreySlices(Volume(whole)).limits == pytest.approx(expected, rel=1e-12)


def test_the_sample_of_a_large_volume_is_near_and_does_not_depend_on_the_order_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    voxels = np.random.default_rng(0).normal(size=(200, 150, 10)).astype(np.float32)
    whole = GreySlices(Volume(voxels)).limits
    monkeypatch.setattr(intensity_module, "MOST_SAMPLED_VOXELS", 60_000)
    sampled = GreySlices(Volume(voxels)).limits
    assert sampled == GreySlices(Volume(np.asfortranarray(voxels))).limits
    assert sampled != whole
    assert sampled == pytest.approx(whole, abs=0.05)


def test_eight_bit_volumes_are_stretched_too() -> None:
    volume = Volume(np.repeat(np.array([50, 100, 150], np.uint8), 100).reshape(3, 100, 1))
    assert GreySlices(volume)[0][:, 0].tolist() == [0, 128, 255]


def test_sparse_volumes_fall_back_to_their_range(caplog: pytest.LogCaptureFixture) -> None:
    voxels = np.zeros((10, 10, 10), np.uint8)
    voxels[5, 5, 5] = 4
    with caplog.at_level(logging.INFO):
        grey = GreySlices(Volume(voxels))
    assert grey.limits == (0.0, 4.0)
    assert grey[5][5, 5] == 255
    assert "both percentiles are 0" in caplog.text


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_constant_volumes_become_black(dtype: type, caplog: pytest.LogCaptureFixture) -> None:
    grey = GreySlices(Volume(np.full((3, 4, 2), 7, dtype), path=Path("flat.nii.gz")))
    assert grey[1].tolist() == np.zeros((3, 4)).tolist()
    assert [record.getMessage() for record in caplog.records] == [
        "flat.nii.gz: every slice is of one grey level, its voxels go from 7 to 7"
    ]


# slice by slice


def test_per_slice_stretches_each_slice() -> None:
    voxels = np.stack([np.array([[0, 10, 20]]), np.array([[100, 300, 200]])], axis=2).astype(np.int16)
    grey = GreySlices(Volume(voxels), Intensity(per_slice=True))
    assert grey.limits is None
    assert grey[0].tolist() == [[0, 128, 255]]
    assert grey[1].tolist() == [[0, 255, 128]]


def test_per_slice_inside_a_window() -> None:
    # the window is -1400 to 100; the slice reaches from -1000 to above it
    volume = column(-1000, -450, 100, 2000)
    assert greys(volume, Intensity(WINDOWS["lung"], per_slice=True)) == [0, 128, 255, 255]


def test_constant_slices_become_black(caplog: pytest.LogCaptureFixture) -> None:
    voxels = np.stack([np.array([[5, 5]]), np.array([[1, 2]])], axis=2).astype(np.float32)
    with caplog.at_level(logging.INFO):
        grey = GreySlices(Volume(voxels), Intensity(per_slice=True))
        assert grey[0].tolist() == [[0, 0]]
    assert [record.getMessage() for record in caplog.records] == ["volume: slice(s) 0 are of one grey level each"]
    assert grey[1].tolist() == [[0, 255]]
    assert greys(column(500, 900, 3000), Intensity(WINDOWS["lung"], per_slice=True)) == [0, 0, 0]


@pytest.mark.parametrize(
    ("intensity", "message"),
    [
        (Intensity(), "slice(s) 1, 3 to 4 are of one grey level each"),
        (Intensity(per_slice=True), "slice(s) 1, 3 to 4 are of one grey level each"),
        (Intensity((100.0, 100.0)), "slice(s) 1 to 5 are of one grey level each"),
        (Intensity((100.0, 100.0), per_slice=True), "slice(s) 1 to 5 are of one grey level each"),
        (Intensity((500.0, 100.0)), "every slice is of one grey level, its voxels go from 0 to 200"),
    ],
)
def test_what_shows_little_is_told_once_for_a_volume(
    intensity: Intensity, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = [(0, 200), (70, 70), (10, 20), (0, 0), (200, 200), (160, 190)]
    with caplog.at_level(logging.INFO):
        grey = GreySlices(Volume(np.array([[pair] for pair in pairs], np.int16).transpose(1, 2, 0)), intensity)
        for _ in range(2):
            list(grey)
    assert [record.getMessage() for record in caplog.records] == [f"volume: {message}"]


def test_a_volume_of_one_slice_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        GreySlices(column(1, 2))
    assert [record.getMessage() for record in caplog.records] == ["volume: is a volume of one slice"]


# voxels that are not finite


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("unit", ["hounsfield", "other"])
def test_voxels_that_are_not_finite_become_black_and_are_counted(
    way: str, unit: str, caplog: pytest.LogCaptureFixture
) -> None:
    voxels = ct_like(dtype=np.float32)
    if unit == "other":
        voxels[:] = np.abs(voxels)
    expected = GreySlices(Volume(voxels.copy()), WAYS["window"])[3]
    voxels[0, 0, 3], voxels[1, 1, 3], voxels[2, 2, 4] = np.nan, np.inf, -np.inf
    grey = GreySlices(Volume(voxels, path=Path("holes.npy")), WAYS[way])
    what = "count as air" if unit == "hounsfield" and "slice" not in way else "become black"
    assert f"holes.npy: 3 of 14400 voxels are NaN or infinite; they {what}" in caplog.text
    assert (grey[3][0, 0], grey[3][1, 1], grey[4][2, 2]) == (0, 0, 0)
    assert (grey[3].min(), grey[3].max()) == (0, 255)
    if way == "window":
        expected[0, 0] = expected[1, 1] = 0
        np.testing.assert_array_equal(grey[3], expected)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_finite_at_all(way: str) -> None:
    grey = GreySlices(Volume(np.full((2, 3, 2), np.nan, np.float32)), WAYS[way])
    assert grey[1].tolist() == [[0, 0, 0], [0, 0, 0]]


# as a sequence


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("swap_axes", [False, True])
def test_slices_are_as_models_want_them(way: str, swap_axes: bool) -> None:
    voxels = np.asfortranarray(ct_like())
    grey = GreySlices(Volume(voxels.swapaxes(0, 1) if swap_axes else voxels), WAYS[way])
    assert len(grey) == 12
    assert grey.shape == ((30, 40, 12) if swap_axes else (40, 30, 12))
    for image in grey:
        assert image.dtype == np.uint8
        assert image.shape == grey.shape[:2]
        assert image.flags.c_contiguous
    assert sum(1 for _ in grey) == 12
    np.testing.assert_array_equal(grey[-1], grey[11])
    with pytest.raises(IndexError):
        grey[12]
    image = grey[0]
    image[:] = 77
    assert grey[0].max() == 255


def test_reading_slices_leaves_the_voxels_alone() -> None:
    voxels = ct_like(dtype=np.float64)
    before = voxels.copy()
    for way in WAYS.values():
        list(GreySlices(Volume(voxels), way))
    np.testing.assert_array_equal(voxels, before)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.float64])
def test_whole_numbers_give_the_same_grey_in_every_dtype(way: str, dtype: type) -> None:
    for short, other in zip(
        GreySlices(Volume(ct_like()), WAYS[way]), GreySlices(Volume(ct_like(dtype=dtype)), WAYS[way]), strict=True
    ):
        np.testing.assert_array_equal(short, other)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("swap_axes", [False, True])
@pytest.mark.parametrize("kind", ["int16", "float32", "scaled"])
def test_nifti_and_working_data_give_the_same_grey(
    tmp_path: Path, way: str, swap_axes: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # so few that the large-volume path is taken by floating voxels
    monkeypatch.setattr(intensity_module, "MOST_SAMPLED_VOXELS", 5_000)
    voxels = ct_like() if kind == "int16" else np.random.default_rng(1).normal(0, 200, (40, 30, 12)).astype(np.float32)
    image = nibabel.Nifti1Image(voxels, np.diag([0.7, 0.9, 2.0, 1.0]))
    if kind == "scaled":
        image.set_data_dtype(np.int16)
    nibabel.save(image, tmp_path / "scan.nii.gz")
    direct = read_volume(tmp_path / "scan.nii.gz", swap_axes)
    expected = list(GreySlices(direct, WAYS[way]))
    assert expected[0].shape == ((30, 40) if swap_axes else (40, 30))
    for name in ("scan.npz", "scan.npy"):
        write_volume(tmp_path / name, direct)
        np.testing.assert_array_equal(list(GreySlices(read_volume(tmp_path / name), WAYS[way])), expected)


def test_real_scan(real_data: Path) -> None:
    scan = read_volume(real_data / "ct_lung" / "lung1_001_ct.nii.gz", swap_axes=True)
    grey = GreySlices(scan, Intensity(window=WINDOWS["lung"]))
    row, col = np.argwhere(scan.voxels[:, :, 46] == -650)[0]
    assert grey[46][row, col] == 128
    by_percentiles = np.stack(list(GreySlices(scan)))
    # half a percent of the voxels is cut off at each end
    assert (by_percentiles == 255).mean() == pytest.approx(0.005, abs=0.004)


def body_in_air(padding: float | None = None, bone: float = 300.0) -> np.ndarray:
    """A body of 40 (soft tissue from 20 to 60) with lungs of -850 and a bone, 64 x 64 x 8, in noisy air of -1000.

    Of 64 x 64 pixels a slice, rows and columns 16 to 47 are body (1024), of which 8 x 16 are lung and 4 x 4 bone.
    """
    rng = np.random.default_rng(0)
    voxels = rng.uniform(-1010, -990, (64, 64, 8))
    voxels[16:48, 16:48] = rng.uniform(20, 60, (32, 32, 8))
    voxels[24:32, 24:40] = rng.uniform(-870, -830, (8, 16, 8))
    voxels[40:44, 40:44] = bone
    if padding is not None:
        voxels[:, :8] = padding
    return voxels.round().astype(np.int16)


@pytest.mark.parametrize("padding", [None, -3024.0])
@pytest.mark.parametrize("bone", [300.0, 3000.0])
def test_pictures_show_the_tissue_whatever_lies_round_the_body(padding: float | None, bone: float) -> None:
    volume = Volume(body_in_air(padding, bone))
    assert body_values(volume).size == 32 * 32 * 8
    low, high = display_limits(volume)
    # black is in the lungs, and white at most three box lengths of about 20 above the tissue
    assert -870 <= low <= -830 and 60 < high <= 120
    grey = DisplaySlices(volume)
    assert grey.shape == (64, 64, 8) and len(grey) == 8 and grey[3].dtype == np.uint8
    assert grey[3][0, 0] == 0 and 200 < grey[3][20, 20] < 255 and grey[3][41, 41] == 255


def test_a_window_of_ones_own_for_pictures() -> None:
    volume = Volume(body_in_air())
    assert DisplaySlices(volume, (40.0, 400.0)).limits == (-160.0, 240.0)
    np.testing.assert_array_equal(
        DisplaySlices(volume, (40.0, 400.0))[2], GreySlices(volume, Intensity(window=(40.0, 400.0)))[2]
    )


@pytest.mark.parametrize(
    ("voxels", "expected"),
    [
        (np.full((4, 4, 2), 7.0), (7.0, 7.0)),
        (np.full((4, 4, 2), np.nan), (0.0, 0.0)),
        (np.array([0.0, 1.0] * 8).reshape(4, 4, 1), (0.0, 1.0)),
    ],
)
def test_pictures_of_next_to_nothing(voxels: np.ndarray, expected: tuple[float, float]) -> None:
    assert display_limits(Volume(voxels)) == pytest.approx(expected, abs=0.01)
    assert DisplaySlices(Volume(voxels))[0].shape == (4, 4)


def test_not_finite_voxels_have_no_part_in_pictures(caplog: pytest.LogCaptureFixture) -> None:
    voxels = body_in_air().astype(np.float32)
    limits = display_limits(Volume(voxels))
    voxels[:4], voxels[4:8] = np.nan, np.inf
    # the air that is left has another lowest value, and the threshold another place in the gap
    assert display_limits(Volume(voxels)) == pytest.approx(limits, abs=1)
    assert DisplaySlices(Volume(voxels))[0][0, 0] == 0
    assert caplog.text == ""


def test_a_large_volume_is_looked_at_on_a_coarser_grid() -> None:
    voxels = np.kron(body_in_air(), np.ones((5, 5, 1), np.int16))
    assert display_limits(Volume(voxels)) == pytest.approx(display_limits(Volume(body_in_air())), abs=5)


def test_share_of_the_body_that_a_window_saturates() -> None:
    volume = Volume(body_in_air())
    # lungs are 128 of 1024 pixels of the body, bone is 16
    assert saturated_share(volume, (-160.0, 240.0)) == pytest.approx(144 / 1024)
    assert saturated_share(volume, (-1400.0, 400.0)) == 0.0
    assert saturated_share(volume, (-1400.0, -900.0)) == 1.0


@pytest.mark.parametrize(
    ("made", "is_hounsfield", "has_lungs", "word"),
    [
        (lambda ct: ct, True, True, "% as soft tissue"),
        (lambda ct: np.where(ct < 0, -1000, ct), True, False, "as air or lung"),
        (lambda ct: (ct + 1024).clip(0).astype(np.uint16), False, False, "no value is below 0"),
        (lambda ct: (np.clip((ct + 1400) / 1500, 0, 1) * 255).astype(np.uint8), False, False, "grey levels of 8 bits"),
        (lambda ct: ((ct + 1024) / 4095).astype(np.float32), False, False, "no value is below 0"),
        (lambda ct: (ct + 990.0) / 100, None, False, "0% of the voxels are as air"),
        (lambda ct: ct * 0, None, False, "all voxels have one value"),
    ],
)
def test_likely_unit(made, is_hounsfield: bool | None, has_lungs: bool, word: str) -> None:
    found = likely_unit(Volume(made(body_in_air())))
    assert (found.is_hounsfield, found.has_lungs) == (is_hounsfield, has_lungs)
    assert word in found.reason


def test_units_and_pictures_of_real_scans(real_data: Path) -> None:
    for name, is_hounsfield, has_lungs in (
        ("ct_lung/lung1_001_ct.nii.gz", True, True),
        ("ct_lung_small/ct64.nii.gz", True, True),
        ("ct_tumour/image.nii.gz", True, False),
        ("organs/mr_abdomen.nii.gz", None, False),
    ):
        volume = read_volume(real_data / name)
        found = likely_unit(volume)
        assert (found.is_hounsfield, found.has_lungs) == (is_hounsfield, has_lungs), name
        assert saturated_share(volume, display_limits(volume)) < 0.06, name


# what lies outside the field of view


def outside_a_circle(volume: Volume) -> np.ndarray:
    """(rows, columns, 1) bool: what a round field of view as wide as the frame leaves out."""
    rows, columns = volume.voxels.shape[:2]
    row, column = np.ogrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    return (row**2 + column**2 > 1)[:, :, None]


def assert_same_picture(one: Volume, other: Volume) -> None:
    """In every window and without any, to models and to people, two scans have the same grey levels, voxel by voxel."""
    for intensity in (Intensity(), *(Intensity(window) for window in WINDOWS.values()), Intensity((-1500.0, 1200.0))):
        grey, expected = GreySlices(one, intensity), GreySlices(other, intensity)
        assert grey.limits == expected.limits
        np.testing.assert_array_equal(list(grey), list(expected))
    for window in (None, WINDOWS["lung"]):
        shown, expected_shown = DisplaySlices(one, window), DisplaySlices(other, window)
        assert shown.limits == expected_shown.limits
        np.testing.assert_array_equal(list(shown), list(expected_shown))
    assert crop_volume("body", GreySlices(one)).box == crop_volume("body", GreySlices(other)).box
    np.testing.assert_array_equal(body_values(one), body_values(other))
    found, expected_unit = likely_unit(one), likely_unit(other)
    assert found.is_hounsfield is True
    # of a clipped scan that is nearly all air, nobody can tell
    assert expected_unit.is_hounsfield is None or found.has_lungs == expected_unit.has_lungs


def noisy_body() -> np.ndarray:
    """:func:`body_in_air` with air down to -1100, as noise has it."""
    voxels = body_in_air()
    noise = np.random.default_rng(1).integers(-90, 90, voxels.shape)
    return np.where(voxels < -900, voxels + noise, voxels).astype(np.int16)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("padding", [-1025, -1500, -2000, -2048, -3024, -8192, -32768])
def test_padding_is_air(padding: int, dtype: type) -> None:
    voxels = noisy_body()
    padded = np.where(outside_a_circle(Volume(voxels)), padding, voxels).astype(dtype)
    padded.flags.writeable = False
    assert_same_picture(Volume(padded), Volume(np.maximum(padded, -1024)))


@pytest.mark.parametrize("share", [0.01, 0.4, 0.8, 0.95])
def test_however_much_is_padding(share: float) -> None:
    """A frame that a scan was put into: its own voxels are a part of them, on all slices or on a few."""
    voxels = noisy_body()
    wide = round(64 * (1 / (1 - share)) ** 0.5)
    frame = np.full((wide, wide, 8), -3024, np.int16)
    start = (wide - 64) // 2
    frame[start : start + 64, start : start + 64] = voxels
    slices = np.full((64, 64, round(8 / (1 - share))), -2000, np.int16)
    slices[:, :, -8:] = voxels
    for padded in (frame, slices):
        assert_same_picture(Volume(padded), Volume(np.maximum(padded, -1024)))


def test_two_kinds_of_padding_and_the_border_of_a_resampled_one() -> None:
    voxels = np.where(outside_a_circle(Volume(noisy_body())), -2000, noisy_body())
    voxels[:6] = -3024
    assert_same_picture(Volume(voxels), Volume(np.maximum(voxels, -1024)))
    smooth = np.where(outside_a_circle(Volume(noisy_body())), -3024.0, noisy_body())
    smooth[1:-1, 1:-1] = (smooth[:-2, 1:-1] + smooth[2:, 1:-1]) / 2
    assert_same_picture(Volume(smooth), Volume(np.maximum(smooth, -1024)))


def test_one_slice_and_padding_that_the_coarse_grid_does_not_meet() -> None:
    voxels = np.kron(noisy_body()[:, :, :1], np.ones((5, 5, 1), np.int16))
    voxels[1:320:5, 1] = -3024  # every third row and column is looked at
    assert not (coarse_values(Volume(voxels)) == -3024)[:, 1:].any()
    assert_same_picture(Volume(voxels), Volume(np.maximum(voxels, -1024)))


def test_a_field_of_view_without_air_inside_the_body() -> None:
    rng = np.random.default_rng(0)
    spine = rng.normal(30, 60, (64, 64, 6)).round()
    spine[20:30, 20:30] = rng.normal(500, 100, (10, 10, 6)).round()
    padded = np.where(outside_a_circle(Volume(spine)), -3024, spine).astype(np.int16)
    assert_same_picture(Volume(padded), Volume(np.maximum(padded, -1024)))


def test_what_is_not_finite_counts_as_air_too() -> None:
    voxels = noisy_body().astype(np.float32)
    outside = outside_a_circle(Volume(voxels))
    holes, air = np.where(outside, np.nan, voxels), np.where(outside, -1024, voxels)
    for intensity in (Intensity(WINDOWS["lung"]), Intensity(WINDOWS["bone"])):
        np.testing.assert_array_equal(
            list(GreySlices(Volume(holes), intensity)), list(GreySlices(Volume(air), intensity))
        )


@pytest.mark.parametrize(
    "make",
    [
        lambda rng: rng.integers(-4096, 4096, (40, 40, 6)),  # the phase of an MR signal
        lambda rng: rng.normal(0, 2500, (40, 40, 6)),
        lambda rng: rng.normal(-1500, 200, (40, 40, 6)),
    ],
)
def test_other_units_keep_what_lies_below_air(make) -> None:
    voxels = make(np.random.default_rng(0)).round().astype(np.int32)
    assert likely_unit(Volume(voxels)).is_hounsfield is None
    assert GreySlices(Volume(voxels)).limits == pytest.approx(np.percentile(voxels, (0.5, 99.5)).tolist(), abs=1e-9)
    low, high = -3000.0, 1000.0
    grey = GreySlices(Volume(voxels), Intensity(((low + high) / 2, high - low)))
    np.testing.assert_array_equal(
        np.stack(list(grey), axis=2), np.floor((voxels.clip(low, high) - low) * 255 / (high - low) + 0.5)
    )


@pytest.mark.parametrize("suffix", [".nii.gz", ".npz", ".npy"])
def test_padding_in_a_file(tmp_path: Path, suffix: str) -> None:
    """As scanners store it, unsigned with an intercept, and as working data."""
    voxels = np.where(outside_a_circle(Volume(noisy_body())), -3024, noisy_body()).astype(np.int16)
    image = nibabel.Nifti1Image((voxels.astype(np.int32) + 8192).astype(np.uint16), np.eye(4))
    image.header.set_slope_inter(1, -8192)
    nibabel.save(image, tmp_path / "stored.nii.gz")
    path = tmp_path / f"scan{suffix}"
    write_volume(path, read_volume(tmp_path / "stored.nii.gz"))
    assert_same_picture(read_volume(path), Volume(np.maximum(voxels, -1024)))


@pytest.mark.parametrize("intensity", [Intensity(WINDOWS["lung"]), Intensity(per_slice=True)])
def test_padding_is_told_of_and_darkens_slices_stretched_one_by_one(
    intensity: Intensity, caplog: pytest.LogCaptureFixture
) -> None:
    voxels = body_in_air(padding=-3024.0)
    with caplog.at_level(logging.INFO):
        grey = GreySlices(Volume(voxels), intensity)
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "volume: values down to -3024 lie below air, as outside a field of view"
    ]
    assert ("--intensity per_slice" in caplog.text) == intensity.per_slice
    # from padding, air is halfway up to bone
    assert grey[3][0, 0] == (0 if intensity.per_slice else 64)
    assert (grey[3][0, 12] > 140) == intensity.per_slice


def test_scans_without_padding_are_not_told_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        GreySlices(Volume(body_in_air()), Intensity(WINDOWS["lung"]))
    assert caplog.text == ""


# frames of one value round other images


def framed(voxels: np.ndarray, value: float, width: int = 6) -> np.ndarray:
    """Put a frame of one value round every slice."""
    return np.pad(voxels, ((width, width), (width, width), (0, 0)), constant_values=value)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [(np.uint16, 65535), (np.int16, 32767), (np.int16, -32768), (np.float32, 1e5), (np.float32, -9999.5)],
)
def test_a_frame_far_from_all_else_has_no_part_in_the_percentiles(
    dtype: type, value: float, caplog: pytest.LogCaptureFixture
) -> None:
    voxels = np.random.default_rng(0).integers(100, 900, (40, 40, 5)).astype(dtype)
    whole = framed(voxels, value)
    with caplog.at_level(logging.INFO):
        grey = GreySlices(Volume(whole))
    # exact where the frame is the least value; elsewhere the rest's other end may have shifted by its own share
    low, high = np.percentile(voxels, (0.5, 99.5))
    assert grey.limits == pytest.approx((low, high), abs=5)
    assert (grey.limits[0] if value < 0 else grey.limits[1]) == pytest.approx(low if value < 0 else high, abs=1e-9)
    assert f"a frame of {value:g} is left out of the percentiles" in caplog.text
    assert grey[2][0, 0] == (0 if value < 0 else 255)


@pytest.mark.parametrize(
    "make",
    [
        lambda body: framed(body, 0),  # what images have round them anyhow
        lambda body: framed(body, 950),  # no farther than the rest is wide
        lambda body: framed(body - 600, -1024),  # air round a body of 300 to -500 HU
        lambda body: np.where(np.indices(body.shape)[0] == 20, 30000, body),  # metal, not at the rim
    ],
)
def test_other_constants_keep_their_part(make) -> None:
    voxels = make(np.random.default_rng(0).integers(100, 900, (40, 40, 5))).astype(np.int16)
    assert GreySlices(Volume(voxels)).limits == pytest.approx(np.percentile(voxels, (0.5, 99.5)).tolist(), abs=1e-9)


def test_a_frame_round_two_values() -> None:
    voxels = framed(np.random.default_rng(0).integers(0, 2, (20, 20, 4)), 255).astype(np.uint8)
    assert GreySlices(Volume(voxels)).limits == (0.0, 1.0)
    only_frame = framed(np.zeros((20, 20, 4)), 255).astype(np.uint8)
    assert GreySlices(Volume(only_frame)).limits == (0.0, 255.0)


@pytest.mark.parametrize("name", ["ct_lung/lung1_001_ct.nii.gz", "ct_lung_small/ct64.nii.gz", "organs/ct_heart.nii.gz"])
def test_padding_of_real_scans_is_air(real_data: Path, name: str) -> None:
    scan = read_volume(real_data / name)
    padded = np.where(outside_a_circle(scan), -3024, scan.voxels).astype(np.int16)
    assert_same_picture(Volume(padded), Volume(np.maximum(padded, -1024)))


@pytest.mark.slow
def test_a_padded_chest_is_found_as_well_as_it_was(few_slices: Path) -> None:
    import pose
    from pose.prompts.prompt import prompts_from_mask

    scan = pose.read_scan(few_slices / "ct_lung_small/ct64.nii.gz")
    lungs = read_mask(few_slices / "ct_lung_small/ct64_lungs.nii.gz", scan).voxels > 0
    index = int(lungs.sum(axis=(0, 1)).argmax())
    prompts = prompts_from_mask(lungs[:, :, index], index, objects="per_component", use_bounding_box=True)
    model = pose.load_model("lite_medsam", device="cpu")
    padded = replace(scan, voxels=np.where(outside_a_circle(scan), -3024, scan.voxels).astype(np.int16))
    dice = [model.segment(one, prompts, window="lung").score(lungs)["volume_dice"] for one in (scan, padded)]
    assert dice[0] > 0.9
    assert dice[1] == pytest.approx(dice[0], abs=0.02)
