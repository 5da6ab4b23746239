"""The chain on phantoms with a stand-in for the network, the rules one by one, and real scans where there are any."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from pose.cli import UserError
from pose.prompts.prompt import Prompt
from pose.segmenters import Prediction
from pose.segmenters.chain import Chain
from pose.segmenters.chain_settings import WITHOUT_SIDE_VIEWS, ChainSettings, add_arguments, chosen, describe_rules
from pose.segmenters.grey_levels import LOG_ODDS_LIMIT, GreyLevels, learn_grey_levels
from pose.segmenters.mask_parts import (
    box_around,
    compact_parts,
    components_touching,
    fill_small_holes,
    reach_of,
    stretched_box,
    widened,
)
from pose.segmenters.protocols import Features, log_odds_of

OBJECT, TISSUE = 60, 160


class Stack:
    """Slices in memory."""

    def __init__(self, voxels: np.ndarray):
        self.voxels = voxels
        self.shape = voxels.shape
        self.spacing_mm = None

    def __len__(self) -> int:
        return self.shape[2]

    def __getitem__(self, index: int) -> np.ndarray:
        return self.voxels[:, :, index]


@dataclass
class Ellipses:
    """A slice segmenter that knows the truth and, like a network, always finds something in a box: all objects there.

    Where no object lies in the box, it returns the ellipse that fills the box.
    """

    truth: np.ndarray
    prompt_kinds: frozenset[str] = frozenset({"box"})
    name: str = "ellipses"
    calls: list[Prompt] = field(default_factory=list)
    encoded: int = 0

    def __post_init__(self):
        self.grey = np.where(self.truth > 0, OBJECT, TISSUE).astype(np.uint8)
        rng = np.random.default_rng(0)
        self.grey = (self.grey + rng.integers(-8, 9, self.grey.shape)).astype(np.uint8)

    def set_image(self, grey: np.ndarray) -> None:
        self.encoded += 1

    def features(self) -> Features:
        return Features(np.zeros((1, 8, 8), dtype=np.float32), (8, 8))

    def predict(self, prompt: Prompt, multimask_output: bool = False) -> Prediction:
        self.calls.append(prompt)
        row_min, column_min, row_max, column_max = prompt.box or box_around(np.ones(self.truth.shape[:2], dtype=bool))
        inside = np.zeros(self.truth.shape[:2], dtype=bool)
        inside[row_min : row_max + 1, column_min : column_max + 1] = True
        mask = inside & (self.truth[:, :, prompt.slice] > 0)
        if not mask.any():
            rows, columns = np.indices(mask.shape)
            radii = max(row_max - row_min, 1) / 2, max(column_max - column_min, 1) / 2
            centre = (row_min + row_max) / 2, (column_min + column_max) / 2
            mask = ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2 <= 1
        return Prediction(mask, score=0.8, logits=np.where(mask, 6.0, -6.0).astype(np.float32))


def disc(shape: tuple[int, int], row: float, column: float, radius: float) -> np.ndarray:
    rows, columns = np.indices(shape)
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def carried(model: Ellipses, prompts: list[Prompt], **settings) -> tuple[np.ndarray, list]:
    """Run a chain; returns the volume labelled with object ids and the predictions in the order they came."""
    found = list(Chain(model, ChainSettings(**settings)).segment(Stack(model.grey), prompts))
    labels = np.zeros(model.truth.shape, dtype=int)
    for one in found:
        for object_id, prediction in one.objects.items():
            assert not labels[:, :, one.slice][prediction.mask].any(), "a pixel belongs to two objects"
            labels[:, :, one.slice][prediction.mask] = object_id
    assert sorted(one.slice for one in found) == list(range(model.truth.shape[2]))
    return labels, found


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second))


@pytest.fixture()
def shrinking() -> Ellipses:
    """A ball on slices 3 to 13 of 20; widest, radius 18, on slice 8."""
    truth = np.zeros((64, 64, 20), dtype=np.uint8)
    for index in range(3, 14):
        truth[:, :, index] = disc((64, 64), 32, 30, np.sqrt(18**2 - (3.2 * (index - 8)) ** 2))
    return Ellipses(truth)


def test_an_object_that_ends_is_found_to_end(shrinking):
    truth = shrinking.truth > 0
    labels, found = carried(shrinking, [Prompt(8, box=box_around(truth[:, :, 8]))])
    assert dice(labels == 1, truth) > 0.97
    assert not labels[:, :, :3].any() and not labels[:, :, 14:].any()
    assert [one.slice for one in found] == [8, *range(9, 20), *range(7, -1, -1)]


def test_slices_beyond_the_end_cost_no_encoding(shrinking):
    _, found = carried(shrinking, [Prompt(8, box=box_around(shrinking.truth[:, :, 8] > 0))])
    encoded = {one.slice for one in found if one.set_image_time is not None}
    assert encoded == set(range(2, 15)) and shrinking.encoded == 13  # a slice beyond either end shows that it is one
    assert all((one.predict_image_time is None) == (one.slice not in encoded) for one in found)
    beyond = next(one for one in found if one.slice == 19)
    assert not beyond.objects[1].mask.any() and beyond.objects[1].score is None


def test_a_score_is_the_networks(shrinking):
    _, found = carried(shrinking, [Prompt(8, box=box_around(shrinking.truth[:, :, 8] > 0))])
    assert {one.objects[1].score for one in found if one.objects[1].mask.any()} == {0.8}


def test_an_object_that_splits_and_merges_keeps_both_parts():
    truth = np.zeros((64, 96, 15), dtype=np.uint8)
    for index in range(15):
        apart = 3.0 * min(index, 14 - index)
        truth[:, :, index] = disc((64, 96), 32, 48 - apart, 12) | disc((64, 96), 32, 48 + apart, 12)
    model = Ellipses(truth)
    labels, _ = carried(model, [Prompt(0, box=box_around(truth[:, :, 0] > 0))])
    assert min(dice(labels[:, :, index] > 0, truth[:, :, index] > 0) for index in range(15)) > 0.97
    assert len([call for call in model.calls if call.slice == 7]) == 2  # a box for each part


def test_two_objects_that_approach_each_other_stay_apart():
    truth = np.zeros((64, 96, 12), dtype=np.uint8)
    for index in range(12):
        apart = max(13.0, 26.0 - 2 * index)  # radius 13: they touch from slice 7 on
        truth[:, :, index][disc((64, 96), 32, 48 - apart, 13)] = 1
        truth[:, :, index][disc((64, 96), 32, 48 + apart, 13)] = 2
    model = Ellipses(truth)
    prompts = [Prompt(0, object_id, box=box_around(truth[:, :, 0] == object_id)) for object_id in (1, 2)]
    labels, _ = carried(model, prompts)
    for object_id in (1, 2):
        assert dice(labels == object_id, truth == object_id) > 0.97
        assert dice(labels[:, :, 11] == object_id, truth[:, :, 11] == object_id) > 0.95
    assert model.encoded == 12


def test_a_growing_object_outgrows_its_last_box():
    truth = np.zeros((64, 64, 9), dtype=np.uint8)
    for index in range(9):
        truth[:, :, index] = disc((64, 64), 32, 32, 8 + 2 * index)
    box = box_around(truth[:, :, 0] > 0)
    labels, _ = carried(Ellipses(truth), [Prompt(0, box=box)], largest_growth=np.inf)
    assert dice(labels > 0, truth > 0) > 0.97
    # nine times the area is a leak, for all that is known
    model = Ellipses(truth)
    chain = Chain(model, ChainSettings(largest_growth=3.0))
    areas = {
        one.slice: int(one.objects[1].mask.sum()) for one in chain.segment(Stack(model.grey), [Prompt(0, box=box)])
    }
    (leaked,) = chain.findings[1].leaked
    assert 0 < areas[leaked - 1] <= 3 * areas[0] and not any(areas[index] for index in range(leaked, 9))


def test_grey_levels_that_say_nothing_leave_the_box_with_the_last_mask(shrinking):
    shrinking.grey[:] = np.random.default_rng(1).integers(90, 110, shrinking.grey.shape)
    labels, found = carried(shrinking, [Prompt(8, box=box_around(shrinking.truth[:, :, 8] > 0))], end_evidence=-9.0)
    assert shrinking.encoded == 20  # nothing tells that the object has ended
    assert dice(labels[:, :, 4:13] > 0, shrinking.truth[:, :, 4:13] > 0) > 0.9


def test_a_second_prompted_slice_restarts_the_object_and_takes_its_half(shrinking):
    truth = shrinking.truth
    moved = truth.copy()
    moved[:, :, 13:] = 0
    moved[:, :, 15:18] = disc((64, 64), 20, 44, 8)[:, :, None]  # on its own: no carrying leads there
    model = Ellipses(moved)
    prompts = [Prompt(index, box=box_around(moved[:, :, index] > 0)) for index in (8, 16)]
    labels, found = carried(model, prompts)
    assert dice(labels > 0, moved > 0) > 0.97
    assert [one.slice for one in found][:2] == [8, 16]
    assert {call.slice for call in model.calls if call.slice > 8 and call.slice <= 12} == {9, 10, 11, 12}
    carried_down = [call.slice for call in model.calls].index(15)
    assert [call.slice for call in model.calls][carried_down:] == [15, 7, 6, 5, 4, 3]


def test_objects_prompted_on_different_slices_share_the_slices_between():
    truth = np.zeros((48, 96, 9), dtype=np.uint8)
    truth[10:30, 10:30] = 1
    truth[12:36, 50:80] = 2
    model = Ellipses(truth)
    labels, found = carried(model, [Prompt(2, 1, box=(10, 10, 29, 29)), Prompt(6, 2, box=(12, 50, 35, 79))])
    np.testing.assert_array_equal(labels, truth)
    assert all(set(one.objects) == {1, 2} for one in found)
    # 2 and 6, and those beyond: once; the slices between, and the prompted ones for the other object: from both sides
    assert model.encoded == 2 + 6 + 6


def test_a_mask_as_the_prompt_is_the_object_on_its_slice(shrinking):
    drawn = shrinking.truth[:, :, 8] > 0
    drawn[30, 28] = False
    labels, found = carried(shrinking, [Prompt(8, mask=drawn)], feature_weight=0)
    np.testing.assert_array_equal(found[0].objects[1].mask, drawn)
    assert found[0].set_image_time is None and found[0].objects[1].score is None
    assert dice(labels > 0, shrinking.truth > 0) > 0.97


def test_points_alone_where_the_network_takes_points(shrinking):
    shrinking.prompt_kinds = frozenset({"points", "box"})
    labels, _ = carried(shrinking, [Prompt(8, positive_points=((32, 30),))])
    assert dice(labels > 0, shrinking.truth > 0) > 0.97


def test_nothing_found_on_the_prompted_slice_gives_empty_masks(shrinking):
    shrinking.predict = lambda prompt, multimask_output=False: Prediction(np.zeros((64, 64), dtype=bool), 0.1)
    labels, _ = carried(shrinking, [Prompt(8, box=(3, 3, 9, 9))])
    assert not labels.any() and shrinking.encoded == 1


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([Prompt(8, positive_points=((32, 30),))], "object 1 on slice 8: holds none of box, mask"),
        ([Prompt(20, box=(1, 1, 9, 9))], "object 1 on slice 20: the volume has slices 0 to 19"),
    ],
)
def test_prompts_that_cannot_be_carried(shrinking, prompts, message):
    with pytest.raises(UserError, match=message):
        list(Chain(shrinking).segment(Stack(shrinking.grey), prompts))
    assert shrinking.encoded == 0


def test_grey_levels_of_two_flat_regions():
    grey = np.full((40, 40), 200, dtype=np.uint8)
    mask = np.zeros((40, 40), dtype=bool)
    mask[10:30, 10:30] = True
    grey[mask] = 50
    levels = learn_grey_levels(grey, mask)
    assert levels.smoothing == 0 and levels.separation == pytest.approx(1.0)
    np.testing.assert_array_equal(levels.evidence(grey), np.where(mask, LOG_ODDS_LIMIT, -LOG_ODDS_LIMIT))
    low, high = levels.typical_range()
    assert 30 < low < 50 < high < 70


def test_smoothing_is_taken_where_noise_hides_the_contrast():
    rng = np.random.default_rng(3)
    mask = disc((80, 80), 40, 40, 20)
    grey = np.clip(np.where(mask, 100, 120) + rng.normal(0, 30, mask.shape), 0, 255).astype(np.uint8)
    levels = learn_grey_levels(grey, mask)
    assert levels.smoothing == 2 and 0.8 < levels.separation < 1.0


def test_other_objects_are_no_surroundings():
    grey = np.full((40, 60), 200, dtype=np.uint8)
    first, second = np.zeros((2, 40, 60), dtype=bool)
    first[10:30, 5:25] = True
    second[10:30, 26:46] = True
    grey[first | second] = 50
    alone, together = learn_grey_levels(grey, first), learn_grey_levels(grey, first, second)
    assert alone.separation < 0.95 and together.separation == pytest.approx(1.0)


def test_an_object_without_surroundings_gives_no_evidence():
    levels = learn_grey_levels(np.full((9, 9), 7, dtype=np.uint8), np.ones((9, 9), dtype=bool))
    assert levels.separation == 0.5 and not levels.log_odds.any() and levels.typical_range() is None


def test_typical_range_stops_at_the_first_unlikely_level():
    log_odds = np.full(256, -1.0, dtype=np.float32)
    log_odds[40:61] = 1.0
    log_odds[50] = 2.0
    log_odds[100:120] = 1.5
    assert GreyLevels(log_odds, 0, 0.9).typical_range() == (40, 60)


def test_boxes():
    mask = np.zeros((10, 12), dtype=bool)
    mask[2:5, 7:12] = True
    assert box_around(mask) == (2, 7, 4, 11)
    assert widened((2, 7, 4, 11), 3, (10, 12)) == (0, 4, 7, 11)


def test_compact_parts_are_components_and_halves_of_slim_ones():
    mask = np.zeros((60, 60), dtype=bool)
    mask[5:15, 5:15] = True
    np.fill_diagonal(mask[20:50, 20:50], True)
    mask[0, 59] = True  # a speck
    parts = compact_parts(mask)
    assert [int(part.sum()) for part in parts] == [100, 15, 15]
    assert compact_parts(np.zeros((5, 5), dtype=bool)) == []
    assert len(compact_parts(np.eye(5, dtype=bool))) == 1


def test_components_holes_and_reach():
    mask = np.zeros((20, 20), dtype=bool)
    mask[2:8, 2:8] = True
    mask[12:18, 12:18] = True
    seed = np.zeros_like(mask)
    seed[7, 7] = True
    kept = components_touching(mask, seed)
    assert kept.sum() == 36 and kept[2, 2] and not kept[12, 12]
    kept[4:6, 4:6] = False
    assert not fill_small_holes(kept, 0.1)[4, 4] and fill_small_holes(kept, 0.2)[4, 4]
    first, second = np.zeros((2, 1, 20), dtype=bool)
    first[0, 2], second[0, 9] = True, True
    assert np.flatnonzero(reach_of(first, 5, [second])).tolist() == [0, 1, 2, 3, 4, 5]
    assert np.flatnonzero(reach_of(first, 2, [np.zeros_like(first)])).tolist() == [0, 1, 2, 3, 4]


def random_masks(count: int, seed: int = 0) -> list[np.ndarray]:
    """Return smooth masks with holes and islands, of one shape; some touch the border, some are empty."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    noise = [ndimage.gaussian_filter(rng.normal(size=(50, 64)), rng.uniform(0.7, 5)) for _ in range(count)]
    return [one > np.quantile(one, rng.choice([0.5, 0.8, 0.97, 1.0])) for one in noise]


def test_reach_is_that_of_distances_over_the_whole_slice():
    from scipy.ndimage import distance_transform_edt

    compared = 0
    for mask, *others in zip(*(random_masks(60, seed) for seed in range(3))):
        for distance in (0, 1, 2.5, 11.3, 40) if mask.any() else ():
            expected = distance_transform_edt(~mask) <= distance
            for other in (other for other in others if other.any()):
                expected &= distance_transform_edt(~mask) <= distance_transform_edt(~other)
            np.testing.assert_array_equal(reach_of(mask, distance, others), expected)
            compared += not expected.all()
    assert compared > 100


@pytest.mark.parametrize("share", [0, 0.003, 0.02, 1])
def test_holes_are_those_that_scipy_fills(share):
    from scipy import ndimage

    filled = 0
    for mask in random_masks(60):
        labels, count = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)
        small = [number for number in range(1, count + 1) if (labels == number).sum() <= share * mask.sum()]
        expected = mask | np.isin(labels, small)
        np.testing.assert_array_equal(fill_small_holes(mask, share), expected)
        filled += len(small)
    assert filled > 10 or share == 0


def test_a_stretched_box_follows_the_evidence_and_not_beyond_its_reach():
    now, before = np.zeros((2, 60, 60), dtype=bool)
    now[15:45, 12:40] = True
    before[18:42, 15:35] = True
    evidence = np.where(now, 1.0, -1.0).astype(np.float32)
    assert stretched_box(before, evidence, 10, 0.3) == (15, 12, 44, 39)
    assert stretched_box(before, evidence, 2, 0.3) == (16, 13, 43, 36)
    assert stretched_box(before, evidence, 10, 5.0) == (18, 15, 41, 34)


def test_log_odds_are_limited():
    logits = np.array([[9.0, -9.0, 0.5]], dtype=np.float32)
    np.testing.assert_array_equal(log_odds_of(Prediction(logits > 0, logits=logits)), [[4.0, -4.0, 0.5]])
    np.testing.assert_array_equal(log_odds_of(Prediction(logits > 0)), [[4.0, -4.0, 4.0]])


def test_settings_from_the_command_line():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert chosen(vars(parser.parse_args([]))) == ChainSettings()
    given = parser.parse_args(["--chain_reach", "0.5", "--chain_margin", "3", "--chain_smallest_area", "20"])
    assert chosen(vars(given)) == ChainSettings(reach=0.5, margin=3, smallest_area=20)
    plain = parser.parse_args(["--side_views", "off", "--chain_largest_growth", "2"])
    assert chosen(vars(plain)) == replace(WITHOUT_SIDE_VIEWS, largest_growth=2)
    flags = {word.rstrip(";,.)") for word in describe_rules().replace("(", " ").split() if "--chain" in word}
    assert flags <= {option for action in parser._actions for option in action.option_strings} and len(flags) == 13


def test_lite_medsam_carried_over_slices_of_a_real_scan(real_data):
    from pose.scans.intensity import WINDOWS, GreySlices, Intensity
    from pose.scans.masks import read_mask
    from pose.scans.volume import read_volume
    from pose.segmenters.lite_medsam import LiteMedSam
    from pose.segmenters.models import checkpoint_path, find_model

    volume = read_volume(real_data / "ct_lung_small/ct64.nii.gz", swap_axes=True)
    truth = read_mask(real_data / "ct_lung_small/ct64_lungs.nii.gz", like=volume).voxels[:, :, 39:44]
    grey = GreySlices(volume, Intensity(WINDOWS["lung"]))
    few = Stack(np.stack([grey[index] for index in range(39, 44)], axis=2))
    chain = Chain(LiteMedSam(checkpoint_path(find_model("lite_medsam"))), WITHOUT_SIDE_VIEWS)
    predicted = np.zeros(truth.shape, dtype=bool)
    for found in chain.segment(few, [Prompt(2, box=box_around(truth[:, :, 2] > 0))]):
        predicted[:, :, found.slice] = found.objects[1].mask
    assert dice(predicted, truth > 0) >= 0.93
