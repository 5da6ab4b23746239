"""pose/prompts/reach.py: on which slices an object may be, and which parts it is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pose.cli import UserError
from pose.prompts.prompt import Prompt, check_prompts
from pose.prompts.reach import corrections, is_pointing, pointing, stretches, within, without_parts

POINT = ((1, 1),)
BOX = (0, 0, 2, 2)


def stretch(*prompts: Prompt, slices: int = 8) -> list[int]:
    [found] = stretches(prompts, slices).values()
    return found.tolist()


def test_without_a_word_an_object_may_be_everywhere():
    assert stretch(Prompt(3, box=BOX)) == [1] * 8
    assert stretches([Prompt(3, 2, POINT), Prompt(1, 5, POINT)], 8).keys() == {2, 5}


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ([Prompt(3, box=BOX, first_slice=2)], [0, 0, 1, 1, 1, 1, 1, 1]),
        ([Prompt(3, box=BOX, last_slice=4)], [1, 1, 1, 1, 1, 0, 0, 0]),
        ([Prompt(3, box=BOX, first_slice=2, last_slice=3)], [0, 0, 1, 1, 0, 0, 0, 0]),
        # beyond an absent slice as well, where no prompt points
        ([Prompt(3, box=BOX), Prompt(5, absent=True)], [1, 1, 1, 1, 1, 0, 0, 0]),
        ([Prompt(3, box=BOX), Prompt(0, absent=True), Prompt(5, absent=True)], [0, 1, 1, 1, 1, 0, 0, 0]),
        # two prompted stretches with a gap between them
        ([Prompt(1, box=BOX), Prompt(6, box=BOX), Prompt(3, absent=True)], [1, 1, 1, 0, 2, 2, 2, 2]),
        # limits may stand at any prompt of the object, a negative point too
        ([Prompt(3, box=BOX), Prompt(6, 1, (), POINT, last_slice=6)], [1] * 7 + [0]),
    ],
)
def test_where_an_object_may_be(prompts, expected):
    found = stretch(*prompts)
    assert [bool(number) for number in found] == [bool(number) for number in expected]
    assert [a == b for a, b in zip(found, found[1:])] == [a == b for a, b in zip(expected, expected[1:])]


@given(
    st.lists(st.integers(0, 19), min_size=1, max_size=4, unique=True),
    st.lists(st.integers(0, 19), max_size=4, unique=True),
)
def test_every_slice_of_a_stretch_is_reached_from_a_prompt_without_crossing_an_absent_one(prompted, absent):
    absent = [index for index in absent if index not in prompted]
    found = stretch(*(Prompt(i, box=BOX) for i in prompted), *(Prompt(i, absent=True) for i in absent), slices=20)
    for index in range(20):
        reached = any(not any(min(index, start) <= one <= max(index, start) for one in absent) for start in prompted)
        assert bool(found[index]) == reached


def test_a_negative_point_alone_is_a_correction_and_beside_a_box_it_is_not():
    alone, beside = Prompt(5, 1, (), ((2, 3),)), Prompt(3, 1, (), ((4, 4),), BOX)
    assert corrections([alone, beside]) == {(1, 5): [(2, 3)]}
    assert pointing([alone, beside, Prompt(7, absent=True)]) == [beside] and not is_pointing(alone)


def test_a_part_is_removed_with_what_touches_it_diagonally():
    mask = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 1]], bool)
    assert without_parts(mask, [(1, 1)]).tolist() == [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1]]
    assert without_parts(mask, [(2, 0)]).tolist() == mask.tolist(), "background is no part"


def test_limits_of_the_command_line_narrow_those_of_a_file():
    one, other = within([Prompt(3, box=BOX, last_slice=4), Prompt(5, 2, box=BOX)], 2, 6)
    assert (one.first_slice, one.last_slice, other.first_slice, other.last_slice) == (2, 4, 2, 6)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([Prompt(5, absent=True)], "no positive point, no box and no mask, it needs one of them"),
        ([Prompt(5, 1, (), POINT)], "no positive point, no box and no mask"),
        ([Prompt(3, box=BOX), Prompt(3, absent=True)], "slice 3, object 1: the object is absent and yet prompted"),
        ([Prompt(3, box=BOX, first_slice=5, last_slice=4)], "first slice 5 lies after its last slice 4"),
        ([Prompt(3, box=BOX, first_slice=4)], "the object lies on slices 4 to the end, and is prompted on slice 3"),
        ([Prompt(3, box=BOX, last_slice=9)], "no slice 9, they count from 0 to 7"),
        ([Prompt(3, box=BOX), Prompt(4)], "slice 4, object 1: the prompt says nothing"),
    ],
)
def test_words_that_contradict_each_other(prompts, message):
    with pytest.raises(UserError, match=message):
        check_prompts(prompts, (4, 4, 8), "prompts.json")


def test_prompts_that_fit():
    several = [Prompt(3, box=BOX), Prompt(3, box=(1, 1, 3, 3)), Prompt(3, 1, POINT), Prompt(5, 1, (), POINT)]
    check_prompts([*several, Prompt(6, absent=True), Prompt(3, 2, POINT, last_slice=4)], (4, 4, 8), "prompts.json")
