"""Region growing on phantoms, rule by rule, and on real scans where there are any."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from pose import cli
from pose.cli import UserError
from pose.prompts.prompt import Prompt
from pose.segmenters.mask_parts import box_around
from pose.segmenters.region_growing import (
    RegionGrowing,
    RegionGrowingSettings,
    add_arguments,
    otsu_level,
    outside_of_body,
    prompted_region,
)
from tests.segmenters.test_chain import Stack, dice, disc

AIR, LUNG, TISSUE = 5, 50, 180


@pytest.fixture(scope="module")
def chest() -> tuple[np.ndarray, np.ndarray]:
    """A body in air with two lungs that meet on slice 4 of 9, and air of the stomach beside them: voxels and labels."""
    labels = np.zeros((70, 100, 9), dtype=np.uint8)
    voxels = np.full(labels.shape, AIR, dtype=np.uint8)
    rows, columns = np.indices((70, 100))
    for index in range(9):
        voxels[:, :, index][((rows - 35) / 32) ** 2 + ((columns - 50) / 46) ** 2 <= 1] = TISSUE
        if 1 <= index <= 7:
            labels[:, :, index][disc((70, 100), 35, 30, 14)] = 1
            labels[:, :, index][disc((70, 100), 35, 70, 14)] = 2
        if index == 4:
            labels[34:37, 40:50, 4] = 1
            labels[34:37, 50:60, 4] = 2
    voxels[labels > 0] = LUNG
    voxels[8:12, 48:52, 2:6] = LUNG
    rng = np.random.default_rng(0)
    return (voxels + rng.integers(0, 10, voxels.shape)).astype(np.uint8), labels


def grown(voxels: np.ndarray, prompts: list[Prompt], **settings) -> np.ndarray:
    labels = np.zeros(voxels.shape, dtype=int)
    found = list(RegionGrowing(RegionGrowingSettings(**settings)).segment(Stack(voxels), prompts))
    assert [one.slice for one in found] == list(range(voxels.shape[2]))
    for one in found:
        assert one.set_image_time >= 0 and one.predict_image_time >= 0
        for object_id, prediction in one.objects.items():
            assert not labels[:, :, one.slice][prediction.mask].any(), "a voxel belongs to two objects"
            labels[:, :, one.slice][prediction.mask] = object_id
    return labels


def box_prompts(labels: np.ndarray, index: int) -> list[Prompt]:
    return [Prompt(index, label, box=box_around(labels[:, :, index] == label)) for label in (1, 2)]


def test_two_lungs_from_a_box_each(chest):
    voxels, labels = chest
    found = grown(voxels, box_prompts(labels, 2))
    np.testing.assert_array_equal(found > 0, labels > 0)
    assert np.count_nonzero(found != labels) <= 6  # they meet on a bridge, not just where the labels do


def test_both_lungs_as_one_object_from_points(chest):
    voxels, labels = chest
    prompt = Prompt(2, positive_points=((35, 30), (35, 70)), negative_points=((35, 50),))
    np.testing.assert_array_equal(grown(voxels, [prompt]) > 0, labels > 0)


def test_both_lungs_from_one_box_round_both(chest):
    voxels, labels = chest
    np.testing.assert_array_equal(grown(voxels, [Prompt(6, box=box_around(labels[:, :, 6] > 0))]) > 0, labels > 0)


def test_a_mask_as_the_prompt(chest):
    voxels, labels = chest
    np.testing.assert_array_equal(grown(voxels, [Prompt(2, mask=labels[:, :, 2] > 0)]) > 0, labels > 0)


def test_outside_air_is_an_object_only_on_demand(chest):
    voxels, _ = chest
    corner = Prompt(4, positive_points=((1, 1),))
    assert not grown(voxels, [corner]).any()
    air = grown(voxels, [corner], outside_air=True)
    assert air[0, 0, 8] == 1 and not air[voxels > 100].any()


def test_given_levels_are_used(chest):
    voxels, labels = chest
    body = grown(voxels, [Prompt(4, box=box_around(labels[:, :, 4] > 0))], levels=(100, 255))
    assert not body.any()  # no level of the object's, so no voxel to start from
    body = grown(voxels, [Prompt(4, positive_points=((35, 12),))], levels=(100, 255), largest_hole=0.0)
    np.testing.assert_array_equal(body > 0, voxels >= 100)


def test_an_opening_cuts_a_bridge():
    voxels = np.full((60, 60, 3), TISSUE, dtype=np.uint8)
    voxels[10:30, 10:30] = LUNG
    voxels[10:30, 40:55] = LUNG
    voxels[20, 30:40, 1] = LUNG
    prompt = Prompt(0, box=(10, 10, 29, 29))
    assert grown(voxels, [prompt])[15, 50].all()
    cut = grown(voxels, [prompt], opening=1)
    assert not cut[:, 31:].any() and dice(cut[:, 10:30] > 0, voxels[:, 10:30] == LUNG) > 0.98


def test_small_holes_are_filled_and_large_ones_are_not():
    voxels = np.full((60, 60, 2), TISSUE, dtype=np.uint8)
    voxels[10:50, 10:50] = LUNG
    voxels[20:23, 20:23] = TISSUE
    voxels[30:42, 30:42] = TISSUE
    labels = grown(voxels, [Prompt(0, box=(10, 10, 49, 49))])
    assert labels[21, 21].all() and not labels[35, 35].any()
    assert not grown(voxels, [Prompt(0, box=(10, 10, 49, 49))], largest_hole=0.0)[21, 21].any()


def test_several_prompted_slices_add_what_they_reach():
    voxels = np.full((40, 40, 9), TISSUE, dtype=np.uint8)
    voxels[10:20, 10:20, 1:3] = LUNG
    voxels[15:30, 15:30, 5:8] = LUNG + 40
    first, second = Prompt(1, box=(10, 10, 19, 19)), Prompt(6, box=(15, 15, 29, 29))
    np.testing.assert_array_equal(grown(voxels, [first, second]) > 0, voxels < TISSUE)
    assert not grown(voxels, [first])[:, :, 3:].any()


def test_an_object_of_one_level_with_nothing_round_it():
    assert grown(np.full((8, 8, 2), 9, dtype=np.uint8), [Prompt(0, mask=np.ones((8, 8), dtype=bool))]).all()


def test_prompts_that_say_nothing(chest):
    with pytest.raises(UserError, match="object 1 on slice 4 has no positive point, no box and no mask"):
        grown(chest[0], [Prompt(4, negative_points=((3, 3),))])
    with pytest.raises(UserError, match="slice 9, the volume has slices 0 to 8"):
        grown(chest[0], [Prompt(9, box=(1, 1, 3, 3))])


def test_otsu_level():
    counts = np.zeros(256, dtype=int)
    counts[[10, 12, 200]] = [30, 20, 40]
    assert 12 <= otsu_level(counts) < 200
    counts[:] = 0
    counts[7] = 5
    assert otsu_level(counts) == -1


def test_outside_of_body():
    grey = np.full((12, 12), AIR, dtype=np.uint8)
    grey[3:10, 3:10] = TISSUE
    grey[5:7, 5:7] = AIR
    outside = outside_of_body(grey, 100)
    assert outside[0, 0] and outside[11, 11] and not outside[5, 5] and outside.sum() == 144 - 49


def test_a_box_takes_the_class_that_is_rarer_round_it():
    grey = np.full((40, 40), LUNG, dtype=np.uint8)
    grey[10:20, 10:20] = TISSUE
    region = prompted_region(grey, Prompt(0, box=(9, 9, 20, 20)))
    np.testing.assert_array_equal(region, grey == TISSUE)
    on_the_other_class = Prompt(0, box=(9, 9, 20, 20), positive_points=((9, 9),))
    np.testing.assert_array_equal(prompted_region(grey, on_the_other_class), region)  # as a point on a vessel would be


def test_settings_from_the_command_line():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert cli.take(RegionGrowingSettings, vars(parser.parse_args([])), "growing_") == RegionGrowingSettings()
    given = parser.parse_args(["--growing_levels", "20", "90", "--growing_opening", "1", "--growing_outside_air"])
    assert cli.take(RegionGrowingSettings, vars(given), "growing_") == RegionGrowingSettings(
        (20, 90), 1, outside_air=True
    )
    with pytest.raises(UserError, match="--growing_levels 90 20: not a range"):
        cli.take(RegionGrowingSettings, vars(parser.parse_args(["--growing_levels", "90", "20"])), "growing_")


@pytest.mark.parametrize(
    ("scan", "masks", "wanted", "start", "least"),
    [
        ("ct_lung/lung1_001_ct.nii.gz", "ct_lung/lung1_001_labels.nii.gz", (1, 2), 46, 0.96),
        ("ct_lung_small/ct64.nii.gz", "ct_lung_small/ct64_lungs.nii.gz", (1,), 41, 0.975),
    ],
)
def test_lungs_of_a_real_scan(real_data, scan, masks, wanted, start, least):
    from pose.scans.intensity import WINDOWS, GreySlices, Intensity
    from pose.scans.masks import read_mask
    from pose.scans.volume import read_volume

    volume = read_volume(real_data / scan, swap_axes=True)
    truth = read_mask(real_data / masks, like=volume).voxels
    grey = GreySlices(volume, Intensity(WINDOWS["lung"]))
    prompts = [Prompt(start, label, box=box_around(truth[:, :, start] == label)) for label in wanted]
    predicted = np.zeros(truth.shape, dtype=bool)
    for found in RegionGrowing().segment(grey, prompts):
        predicted[:, :, found.slice] = np.any([prediction.mask for prediction in found.objects.values()], axis=0)
    assert dice(predicted, np.isin(truth, wanted)) >= least
