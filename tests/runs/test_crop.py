"""The crop: where the body is, prompts on their way in, predictions on their way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pose.prompts.prompt import Prompt
from pose.runs.crop import (
    OUTSIDE_LOGIT,
    Crop,
    CroppedSlices,
    body_box,
    box_of_prompt,
    brightest_of_blocks,
    crop_volume,
    darkest_of_body,
    moved_into,
)
from pose.scans.intensity import WINDOWS, GreySlices, Intensity
from pose.scans.masks import read_mask
from pose.scans.volume import read_volume
from pose.segmenters import Features, Prediction, SlicePredictions, segment_slices

AIR, LUNG, TISSUE = 68, 94, 245
ROWS, COLUMNS, SLICES = 12, 17, 3
WHOLE = (0, 0, ROWS - 1, COLUMNS - 1)


class Slices:
    """Grey slices of a (rows, columns, slices) array."""

    def __init__(self, levels: np.ndarray):
        self.levels = levels.astype(np.uint8)
        self.shape = levels.shape
        self.spacing_mm = None

    def __len__(self) -> int:
        return self.shape[2]

    def __getitem__(self, index: int) -> np.ndarray:
        return np.ascontiguousarray(self.levels[:, :, index])


def chest(shape=(200, 240), slices: int = 3) -> np.ndarray:
    """A trunk in rows 50 to 149 and columns 40 to 179 with two lungs and noisy air round it, seed fixed."""
    levels = np.random.default_rng(0).normal(AIR, 3, (*shape, slices)).round()
    levels[50:150, 40:180] = TISSUE
    levels[65:135, 55:100] = LUNG
    levels[65:135, 120:165] = LUNG
    return levels


# the margin is 2 % of 240 columns, rounded up
CHEST_BOX = (45, 35, 154, 184)


# ---------------------------------------------------------------------------------------------------- the body


def test_a_trunk_with_its_lungs_and_a_margin():
    assert body_box(Slices(chest())) == CHEST_BOX


def test_the_box_is_the_union_over_slices():
    levels = chest()
    levels[20:120, 100:200, 2] = TISSUE
    assert body_box(Slices(levels)) == (15, 35, 154, 204)


def table(levels):
    """A hollow table top, closed all round, not touching the trunk."""
    levels[160:180, 20:220] = TISSUE
    levels[163:177, 23:217] = AIR


def table_alone_on_a_slice(levels):
    levels[:, :, 0] = AIR
    table(levels)


def wires(levels):
    levels[10, 5:230] = 255
    levels[5:50, 90:92] = 255  # this one lies on the skin


def black_borders(levels):
    levels[:25] = levels[:, :25] = levels[-25:] = levels[:, -25:] = 0


@pytest.mark.parametrize("add", [table, table_alone_on_a_slice, wires, black_borders])
def test_what_is_no_body_is_left_out(add):
    levels = chest()
    add(levels)
    assert body_box(Slices(levels)) == CHEST_BOX


def test_arms_beside_a_trunk_belong_to_the_body():
    levels = chest()
    levels[80:115, 5:35] = levels[80:115, 190:225] = TISSUE
    assert body_box(Slices(levels)) == (45, 0, 154, 229)


def test_two_legs_are_both_body():
    levels = np.full((100, 100, 2), AIR)
    levels[40:70, 10:40] = levels[35:70, 60:95] = TISSUE
    assert body_box(Slices(levels)) == (33, 8, 71, 96)


def test_dark_fat_under_skin_is_body_also_in_a_large_scan():
    levels = np.zeros((600, 600, 1))
    levels[100:500, 100:500] = 120
    levels[101:499, 101:499] = 10
    levels[200:400, 200:400] = 120
    # looked for in blocks of 3 pixels: rows 99 to 500, and 12 pixels round them
    assert body_box(Slices(levels)) == (87, 87, 512, 512)


def test_a_picture_that_the_body_fills_is_kept_whole():
    levels = np.full((90, 120, 1), 200)
    levels[20:70, 20:55] = levels[20:70, 65:100] = 60
    levels[:6, :15] = 0
    assert body_box(Slices(levels)) == (0, 0, 89, 119)


@pytest.mark.parametrize("level", [0, 77, 255])
def test_a_constant_volume_is_kept_whole(level):
    assert body_box(Slices(np.full((30, 40, 2), level))) == (0, 0, 29, 39)


def test_specks_alone_are_no_body():
    levels = np.zeros((30, 40, 2))
    levels[3, 4] = levels[20:22, 20:22] = 255
    assert body_box(Slices(levels)) == (0, 0, 29, 39)


def test_the_first_level_of_the_body_is_a_quarter_of_the_way_from_dark_to_bright():
    counts = np.zeros(256, dtype=int)
    counts[[60, 80, 240]] = 5, 5, 3
    assert darkest_of_body(counts) == 70 + 42 + 1
    counts[:] = 0
    counts[9] = 4
    assert darkest_of_body(counts) == 0


def test_blocks_keep_their_brightest_pixel():
    levels = np.arange(15, dtype=np.uint8).reshape(3, 5)
    assert brightest_of_blocks(levels, 2).tolist() == [[6, 8, 9], [11, 13, 14]]
    assert brightest_of_blocks(levels, 1).tolist() == levels.tolist()


@pytest.mark.parametrize("window", ["lung", "mediastinum", None])
@pytest.mark.parametrize(
    ("scan", "masks"),
    [("ct_lung/lung1_001_ct", "ct_lung/lung1_001_labels"), ("ct_lung_small/ct64", "ct_lung_small/ct64_lungs")],
)
def test_real_scans_keep_their_organs(real_data, scan, masks, window):
    volume = read_volume(real_data / f"{scan}.nii.gz")
    labelled = read_mask(real_data / f"{masks}.nii.gz", volume).voxels.any(axis=2)
    box = body_box(GreySlices(volume, Intensity(WINDOWS[window] if window else None)))
    crop = CroppedSlices(Slices(labelled[:, :, None]), box)
    assert crop[0].sum() == labelled.sum()


@pytest.mark.parametrize("index", [98, 122])
def test_a_real_slice_loses_its_table_and_its_air(real_data, index):
    volume = read_volume(real_data / f"ct_slices/coronacases_001_image_slice_{index}.npy")
    assert 0.60 <= crop_volume("body", GreySlices(volume, Intensity(WINDOWS["lung"]))).share <= 0.64


# ------------------------------------------------------------------------------------------- prompts and predictions


@st.composite
def boxes(draw) -> tuple[int, int, int, int]:
    top, bottom = sorted(draw(st.lists(st.integers(0, ROWS - 1), min_size=2, max_size=2)))
    left, right = sorted(draw(st.lists(st.integers(0, COLUMNS - 1), min_size=2, max_size=2)))
    return top, left, bottom, right


points = st.lists(st.tuples(st.integers(0, ROWS - 1), st.integers(0, COLUMNS - 1)), max_size=3).map(tuple)
masks = arrays(bool, (ROWS, COLUMNS)).filter(np.any)
prompts = st.builds(
    Prompt, st.integers(0, SLICES - 1), st.integers(1, 3), points, points, st.none() | boxes(), st.none() | masks
).filter(lambda prompt: prompt.positive_points or prompt.box is not None or prompt.mask is not None)
volumes = arrays(np.uint8, (ROWS, COLUMNS, SLICES))


@given(prompts)
def test_every_part_of_a_prompt_lies_in_its_box_and_touches_each_side(prompt):
    pixels = [*prompt.positive_points, *prompt.negative_points]
    if prompt.box is not None:
        pixels += [prompt.box[:2], prompt.box[2:]]
    if prompt.mask is not None:
        pixels += [tuple(pixel) for pixel in np.argwhere(prompt.mask).tolist()]
    rows, columns = zip(*pixels)
    assert box_of_prompt(prompt) == (min(rows), min(columns), max(rows), max(columns))


@settings(max_examples=200)
@given(volumes, st.lists(prompts, min_size=1, max_size=3))
def test_a_prompt_in_the_crop_points_at_the_same_pixels(levels, given_prompts):
    crop = crop_volume("body", Slices(levels), given_prompts)
    top, left, bottom, right = crop.box
    assert crop.grey.shape == (bottom - top + 1, right - left + 1, SLICES)
    for before, after in zip(given_prompts, crop.prompts(given_prompts), strict=True):
        assert (after.slice, after.object_id) == (before.slice, before.object_id)
        for name in ("positive_points", "negative_points"):
            back = tuple((row + top, column + left) for row, column in getattr(after, name))
            assert back == getattr(before, name)
            for row, column in getattr(after, name):
                assert row >= 0 and column >= 0
                whole = levels[row + top, column + left, after.slice]
                assert crop.grey[after.slice][row, column] == whole
        if before.box is None:
            assert after.box is None
        else:
            assert tuple(np.add(after.box, (top, left, top, left))) == before.box
        if before.mask is None:
            assert after.mask is None
        else:
            assert after.mask.flags["C_CONTIGUOUS"] and after.mask.shape == crop.grey.shape[:2]
            restored = crop.restore(SlicePredictions(before.slice, {1: Prediction(after.mask)}))
            np.testing.assert_array_equal(restored.objects[1].mask, before.mask)


@given(boxes(), st.data())
def test_masks_and_logits_come_back_in_their_place_and_nothing_outside(box, data):
    top, left, bottom, right = box
    logits = data.draw(arrays(np.float32, (bottom - top + 1, right - left + 1), elements=st.floats(-50, 50, width=32)))
    crop = Crop(Slices(np.zeros((ROWS, COLUMNS, SLICES))), box)
    found = SlicePredictions(2, {4: Prediction(logits > 0, 0.5, 7.0, logits), 9: Prediction(logits > 0)}, 1.5, 2.5)
    restored = crop.restore(found)
    assert (restored.slice, restored.set_image_time, restored.predict_image_time) == (2, 1.5, 2.5)
    first, second = restored.objects[4], restored.objects[9]
    assert (first.score, first.object_score, second.score, second.logits) == (0.5, 7.0, None, None)
    assert first.mask.dtype == bool and first.logits.dtype == np.float32
    expected = np.full((ROWS, COLUMNS), OUTSIDE_LOGIT)
    expected[top : bottom + 1, left : right + 1] = logits
    np.testing.assert_array_equal(first.logits, expected)
    np.testing.assert_array_equal(first.mask, expected > 0)
    np.testing.assert_array_equal(second.mask, expected > 0)


@given(volumes, boxes())
def test_cropped_slices_keep_the_protocol(levels, box):
    top, left, bottom, right = box
    cropped = CroppedSlices(Slices(levels), box)
    assert len(cropped) == SLICES and cropped.shape == (bottom - top + 1, right - left + 1, SLICES)
    for index in range(SLICES):
        part = cropped[index]
        assert part.dtype == np.uint8 and part.flags["C_CONTIGUOUS"] and part.shape == cropped.shape[:2]
        np.testing.assert_array_equal(part, levels[top : bottom + 1, left : right + 1, index])
    with pytest.raises(IndexError):
        cropped[SLICES]


class PromptedBox:
    """A slice segmenter that returns the box of its prompt, as a mask and as logits."""

    name, prompt_kinds = "prompted_box", frozenset({"box"})

    def set_image(self, grey: np.ndarray) -> None:
        self.shape = grey.shape

    def features(self) -> Features:
        return Features(np.zeros((1, 8, 8), dtype=np.float32), (8, 8))

    def predict(self, prompt: Prompt, multimask_output: bool = False) -> Prediction:
        row_min, column_min, row_max, column_max = prompt.box
        mask = np.zeros(self.shape, dtype=bool)
        mask[row_min : row_max + 1, column_min : column_max + 1] = True
        return Prediction(mask, logits=np.where(mask, 5, OUTSIDE_LOGIT).astype(np.float32))


@given(volumes, st.lists(st.builds(Prompt, slice=st.integers(0, SLICES - 1), box=boxes()), min_size=1, max_size=3))
def test_a_segmenter_of_boxes_gives_the_same_with_and_without_a_crop(levels, given_prompts):
    grey = Slices(levels)
    found = []
    for how in ("none", "body"):
        crop = crop_volume(how, grey, given_prompts)
        predictions = segment_slices(PromptedBox(), crop.grey, crop.prompts(given_prompts), range(SLICES))
        found.append([crop.restore(one).objects for one in predictions])
    for whole, cropped in zip(*found, strict=True):
        assert whole.keys() == cropped.keys()
        for key in whole:
            np.testing.assert_array_equal(whole[key].mask, cropped[key].mask)
            np.testing.assert_array_equal(whole[key].logits, cropped[key].logits)


def test_a_prompt_outside_the_body_widens_the_box():
    grey = Slices(chest())
    assert crop_volume("body", grey).box == CHEST_BOX
    assert crop_volume("body", grey, [Prompt(0, 1, ((100, 100),), ((2, 3),))]).box == (2, 3, 154, 184)
    assert crop_volume("body", grey, [Prompt(1, box=(60, 60, 199, 90)), Prompt(2, box=(60, 60, 70, 239))]).box == (
        45,
        35,
        199,
        239,
    )


def test_what_the_model_sees_is_said_and_described(caplog):
    with caplog.at_level("INFO"):
        crop = crop_volume("body", Slices(chest()))
    assert caplog.messages == ["the model sees rows 45 to 154 and columns 35 to 184, 34 % of the frame"]
    assert crop.describe() == {"row_min": 45, "column_min": 35, "row_max": 154, "column_max": 184}
    assert crop.share == 110 * 150 / (200 * 240)
    assert crop_volume("none", Slices(chest())).describe() == {
        "row_min": 0,
        "column_min": 0,
        "row_max": 199,
        "column_max": 239,
    }


def test_mistakes_of_the_caller_are_refused():
    with pytest.raises(ValueError, match="how must be one of none, body, got 'head'"):
        crop_volume("head", Slices(chest()))
    for outside in (Prompt(3, 2, ((5, 5),), ((4, 6),)), Prompt(3, 2, box=(5, 5, 11, 10))):
        with pytest.raises(ValueError, match="slice 3, object 2: the prompt does not lie in the crop"):
            moved_into((5, 5, 10, 10), outside)
