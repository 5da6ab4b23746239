"""Prompts as they are clicked, one after the other."""

from __future__ import annotations

import numpy as np
import pytest

from pose.cli import UserError
from pose.page.clicks import Clicks
from pose.prompts.prompt import Prompt

BOX, OTHER_BOX = (1, 2, 8, 9), (20, 21, 28, 29)


@pytest.fixture
def clicks() -> Clicks:
    return Clicks((30, 40, 7))


def test_points_and_a_box_of_an_object_are_one_prompt(clicks):
    clicks.add_point(1, 3, (4, 5), inside=True)
    clicks.add_point(1, 3, (6, 7), inside=False)
    clicks.add_box(1, 3, BOX)
    clicks.add_point(1, 3, (8, 9), inside=True)
    assert clicks.prompts == [Prompt(3, 1, ((4, 5), (8, 9)), ((6, 7),), BOX)]


def test_a_point_that_is_clicked_again_means_what_it_means_last(clicks):
    clicks.add_point(1, 3, (4, 5), inside=True)
    clicks.add_point(1, 3, (4, 5), inside=False)
    assert clicks.prompts == [Prompt(3, 1, (), ((4, 5),))]


def test_a_new_box_takes_the_place_of_all_and_a_further_one_is_added(clicks):
    clicks.add_box(1, 3, BOX)
    clicks.add_box(1, 3, OTHER_BOX, further=True)
    assert clicks.prompts == [Prompt(3, 1, box=BOX), Prompt(3, 1, box=OTHER_BOX)]
    clicks.add_box(1, 3, (0, 0, 1, 1))
    assert clicks.prompts == [Prompt(3, 1, box=(0, 0, 1, 1))]


def test_absent_takes_the_place_of_what_was_clicked_and_the_other_way_round(clicks):
    clicks.add_box(1, 3, BOX)
    clicks.set_absent(1, 3, True)
    assert clicks.prompts == [Prompt(3, 1, absent=True)]
    clicks.add_box(1, 3, OTHER_BOX)
    assert clicks.prompts == [Prompt(3, 1, box=OTHER_BOX)]
    clicks.set_absent(1, 3, True)
    clicks.set_absent(1, 3, False)
    assert clicks.prompts == []


def test_objects_and_slices_do_not_touch_each_other(clicks):
    clicks.add_box(2, 3, BOX)
    clicks.add_box(1, 4, BOX)
    clicks.add_box(1, 3, OTHER_BOX)
    clicks.clear(1, 4)
    assert clicks.prompts == [Prompt(3, 1, box=OTHER_BOX), Prompt(3, 2, box=BOX)]
    assert clicks.at(3, 2) == [Prompt(3, 2, box=BOX)]
    clicks.remove_object(1)
    assert clicks.prompts == [Prompt(3, 2, box=BOX)]


def test_a_mask_of_a_file_stays_beside_what_is_clicked(clicks):
    painted = Prompt(3, 1, mask=np.eye(30, 40, dtype=bool), mask_file_path="/painted.nii.gz")
    clicks.prompts = [painted]
    clicks.add_point(1, 3, (4, 5), inside=True)
    assert clicks.prompts == [Prompt(3, 1, ((4, 5),)), painted]


def test_undo_goes_back_step_by_step_and_says_where(clicks):
    clicks.add_box(1, 3, BOX)
    clicks.add_point(1, 5, (4, 5), inside=True)
    assert clicks.can_undo
    assert clicks.undo() == [5]
    assert clicks.prompts == [Prompt(3, 1, box=BOX)]
    assert clicks.undo() == [3]
    assert (clicks.prompts, clicks.can_undo, clicks.undo()) == ([], False, [])


def test_what_changes_nothing_is_no_step(clicks):
    clicks.clear(1, 3)
    clicks.remove_object(4)
    assert not clicks.can_undo


@pytest.mark.parametrize(
    "click, says",
    [
        (lambda c: c.add_point(1, 7, (0, 0), True), "slice 7: no such slice, they count from 0 to 6"),
        (lambda c: c.add_point(1, 3, (30, 0), True), "row 30, column 0: outside the image of 30 x 40 (rows x columns)"),
        (lambda c: c.add_box(1, 3, (0, -1, 2, 2)), "row 0, column -1: outside the image of 30 x 40 (rows x columns)"),
        (lambda c: c.add_box(1, 3, (5, 0, 2, 2)), "the box (5, 0, 2, 2) ends before it begins"),
        (lambda c: c.set_absent(1, -1, True), "slice -1: no such slice, they count from 0 to 6"),
    ],
)
def test_what_lies_outside_is_refused_and_changes_nothing(clicks, click, says):
    with pytest.raises(UserError) as raised:
        click(clicks)
    assert str(raised.value) == says
    assert clicks.prompts == [] and not clicks.can_undo


def test_prompts_that_say_too_little_are_not_carried(clicks):
    with pytest.raises(UserError, match="^scan: nothing says where an object is; click into it"):
        clicks.to_carry("scan")
    clicks.add_box(1, 3, BOX)
    clicks.set_absent(2, 4, True)
    with pytest.raises(UserError, match="^scan: slice 4, object 2: the prompt has no positive point, no box"):
        clicks.to_carry("scan")
    clicks.clear(2, 4)
    assert clicks.to_carry("scan") == [Prompt(3, 1, box=BOX)]
