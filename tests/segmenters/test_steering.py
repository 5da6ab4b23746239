"""What a person says of where an object is not: chain, region growing and SAM 2's memory obey alike."""

from __future__ import annotations

import numpy as np
import pytest

from pose.prompts.prompt import Prompt
from pose.segmenters import segment_slices
from pose.segmenters.chain import Chain
from pose.segmenters.point_box import box_of_points
from pose.segmenters.region_growing import RegionGrowing
from tests.cases import DarkInBox
from tests.segmenters.test_chain import Stack, disc

SHAPE, SLICES = (60, 80), 12
LEFT, RIGHT = disc(SHAPE, 30, 24, 12), disc(SHAPE, 30, 56, 12)
BOX_LEFT, BOX_RIGHT = (18, 12, 42, 36), (18, 44, 42, 68)


def dark(mask: np.ndarray) -> np.ndarray:
    return np.where(mask, 60, 200).astype(np.uint8)


@pytest.fixture
def grey() -> Stack:
    """Two dark discs on all twelve slices."""
    return Stack(np.stack([dark(LEFT | RIGHT)] * SLICES, axis=2))


def chain():
    return Chain(DarkInBox())


WAYS = pytest.mark.parametrize("way", [chain, RegionGrowing], ids=["chain", "region_growing"])


def found_on(way, grey: Stack, prompts: list[Prompt], object_id: int = 1) -> list[int]:
    """The slices on which an object was found; every slice must come, once."""
    found = list(way().segment(grey, prompts))
    assert sorted(one.slice for one in found) == list(range(len(grey)))
    return sorted(one.slice for one in found if one.objects[object_id].mask.any())


@WAYS
def test_nothing_is_found_from_an_absent_slice_on(way, grey):
    box = Prompt(5, box=BOX_LEFT)
    assert found_on(way, grey, [box]) == list(range(12))
    assert found_on(way, grey, [box, Prompt(8, absent=True)]) == list(range(8))
    assert found_on(way, grey, [box, Prompt(8, absent=True), Prompt(2, absent=True)]) == [3, 4, 5, 6, 7]


@WAYS
def test_an_object_lies_between_its_first_and_its_last_slice(way, grey):
    assert found_on(way, grey, [Prompt(5, box=BOX_LEFT, first_slice=4, last_slice=9)]) == [4, 5, 6, 7, 8, 9]


@WAYS
def test_beyond_an_absent_slice_an_object_is_carried_from_the_prompt_there(way, grey):
    prompts = [Prompt(2, box=BOX_LEFT), Prompt(10, box=BOX_LEFT), Prompt(3, absent=True)]
    assert found_on(way, grey, prompts) == [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11]


@WAYS
def test_what_is_said_of_one_object_does_not_hold_for_another(way, grey):
    prompts = [Prompt(5, 1, box=BOX_LEFT), Prompt(5, 2, box=BOX_RIGHT), Prompt(7, 1, absent=True)]
    assert found_on(way, grey, prompts, 1) == list(range(7)) and found_on(way, grey, prompts, 2) == list(range(12))


@WAYS
def test_a_negative_point_alone_removes_the_part_it_lies_in(way, grey):
    both = [Prompt(5, box=(18, 12, 42, 68))]
    cut = Prompt(8, 1, (), ((30, 56),))
    found = {one.slice: one.objects[1].mask for one in way().segment(grey, [*both, cut])}
    assert (found[7] & RIGHT).any() and (found[8] & LEFT).any()
    assert not (found[8] & RIGHT).any()
    if way is chain:  # and what is gone is not carried on
        assert not any((found[index] & RIGHT).any() for index in range(8, 12))


@WAYS
def test_several_prompts_of_an_object_on_a_slice_are_united(way, grey):
    prompts = [Prompt(5, box=BOX_LEFT), Prompt(5, box=BOX_RIGHT)]
    found = {one.slice: one.objects[1].mask for one in way().segment(grey, prompts)}
    for index in (0, 5, 11):
        np.testing.assert_array_equal(found[index], LEFT | RIGHT)


def test_slice_by_slice_too(grey):
    prompts = [Prompt(5, box=BOX_LEFT), Prompt(5, box=BOX_RIGHT), Prompt(6, absent=True), Prompt(7, 1, (), ((1, 1),))]
    found = list(segment_slices(DarkInBox(), grey, prompts, range(SLICES)))
    assert [one.slice for one in found if one.objects] == [5]
    np.testing.assert_array_equal(found[5].objects[1].mask, LEFT | RIGHT)


def test_a_point_becomes_the_box_of_what_looks_like_it():
    noise = np.random.default_rng(0).integers(-6, 7, SHAPE)
    grey = (dark(LEFT | RIGHT) + noise).astype(np.uint8)
    assert box_of_points(grey, Prompt(0, 1, ((30, 24),))) == BOX_LEFT
    # of a part alike that a bridge of two pixels joins, nothing
    grey[30:32, 34:48] = 60
    assert box_of_points(grey, Prompt(0, 1, ((30, 20),))) == BOX_LEFT
    assert box_of_points(grey, Prompt(0, 1, ((30, 24), (30, 56)))) == (18, 12, 42, 68)


def test_a_negative_point_tightens_the_box():
    grey = dark(LEFT)
    grey[10:50, 36:60] = 72  # a neighbour that is a little brighter
    near = box_of_points(grey, Prompt(0, 1, ((30, 20),), ((30, 50),)))
    assert near[3] <= 38
