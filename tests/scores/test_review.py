"""Which slices need review: every rule on its own, exactly, and what always holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pose.scores.review import REVIEW_BELOW, Course, Estimate, Review, next_slice, review

GONE = Estimate(False)


def one_object(*estimates: Estimate, prompted=(), course: Course | None = None, **settings) -> list[Review]:
    """Review slices 0, 1, 2 … of object 1."""
    courses = None if course is None else {1: course}
    along = {index: {1: one} for index, one in enumerate(estimates)}
    found = review(along, {1: set(prompted)}, courses=courses, **settings)
    return [found[index] for index in range(len(estimates))]


def seen(*scores: float | None) -> list[Estimate]:
    return [Estimate(True, score) for score in scores]


def course(*areas: int, overlaps=None, allowed=None) -> Course:
    """Return how an object of these areas goes: masks that overlap as usual where nothing is said."""
    steps = [0.9 if one and next_one else 0.0 for one, next_one in zip(areas, areas[1:])]
    anywhere = np.ones(len(areas), bool) if allowed is None else np.array(allowed)
    return Course(np.array(areas), np.array(steps if overlaps is None else overlaps), anywhere)


def test_a_score_below_the_limit_needs_review():
    assert one_object(*seen(0.9, 0.82, 0.81, None)) == [
        Review(0.9, False),
        Review(0.82, False),
        Review(0.81, True),
        Review(None, None),
    ]
    assert REVIEW_BELOW == 0.82
    assert [one.needed for one in one_object(*seen(0.9, 0.5), review_below=0.95)] == [True, True]
    assert [one.needed for one in one_object(*seen(0.9, 0.0), review_below=0)] == [False, False]


def test_the_least_score_of_several_objects_counts():
    assert review({4: {1: Estimate(True, 0.95), 2: Estimate(True, 0.7)}}, {}) == {4: Review(0.7, True)}


def test_an_object_without_an_estimate_leaves_a_slice_unknown_unless_another_is_low():
    assert review({4: {1: Estimate(True, 0.95), 2: GONE}}, {}) == {4: Review(0.95, None)}
    assert review({4: {1: Estimate(True, 0.7), 2: GONE}}, {}) == {4: Review(0.7, True)}


def test_a_slice_on_which_nothing_was_looked_for_is_unknown():
    assert review({0: {}, 1: {1: Estimate(True, 0.9)}, 2: {}}, {}) == {
        0: Review(None, None),
        1: Review(0.9, False),
        2: Review(None, None),
    }
    # slices that were not asked for are no gap between those that were
    assert review({0: {1: Estimate(True, 0.9)}, 1: {}, 2: {1: Estimate(True, 0.9)}}, {})[1].needed is None


def test_in_a_chain_a_slice_is_no_better_than_the_way_to_it():
    scores = [0.95, 0.6, 0.9, 0.99, 0.9, 0.85, 0.95, 0.97]
    carried = [one.score for one in one_object(*seen(*scores), prompted=[3], course=course(*[50] * 8))]
    assert carried == [0.6, 0.6, 0.9, 0.99, 0.9, 0.85, 0.85, 0.85]
    assert [one.score for one in one_object(*seen(*scores), prompted=[3])] == scores


def test_in_a_chain_a_slice_is_no_better_than_the_worst_step_to_it():
    """Steps count as shares of the usual one, their median over the object."""
    way = course(*[50] * 6, overlaps=[0.8, 0.9, 0.9, 0.45, 0.95])
    scores = [one.score for one in one_object(*seen(*[0.9] * 6), prompted=[2], course=way)]
    assert scores == pytest.approx([0.8, 0.9, 0.9, 0.9, 0.45, 0.45])
    # a step without any overlap is a break, whatever is usual
    apart = course(50, 50, 50, overlaps=[0.0, 0.0])
    assert [one.score for one in one_object(*seen(*[0.9] * 3), prompted=[1], course=apart)] == [0.0, 0.9, 0.0]


def test_a_low_score_of_the_prompted_slice_is_about_the_object_and_marks_no_slice():
    scores = [one.score for one in one_object(*seen(0.6, 0.5, 0.58), prompted=[0], course=course(9, 9, 9))]
    assert scores == pytest.approx([0.87, 0.87 * 5 / 6, 0.87 * 5 / 6])
    assert [one.score for one in one_object(*seen(0.0, 0.5), prompted=[0], course=course(9, 9))] == [0.0, 0.0]


def test_without_scores_the_steps_alone_count():
    way = course(50, 50, 50, 50, overlaps=[0.9, 0.9, 0.63])
    found = one_object(*seen(0.7, None, None, None), prompted=[0], course=way)
    assert [one.score for one in found] == pytest.approx([0.87, 1, 1, 0.7])
    assert [one.needed for one in found] == [False, False, False, True]


def test_a_further_prompt_starts_anew_and_equally_near_slices_come_from_the_lower():
    scores = [0.99, 0.7, 0.9, 0.9, 0.98]
    found = one_object(*seen(*scores), prompted=[4, 0], course=course(*[50] * 5))
    assert [one.score for one in found] == [0.99, 0.7, 0.7, 0.9, 0.98]


def test_a_mask_that_was_given_has_no_estimate_and_does_not_break_the_chain():
    assert one_object(*seen(0.9, None, 0.7, 0.9), prompted=[1], course=course(*[50] * 4)) == [
        Review(0.9, False),
        Review(None, None),
        Review(0.7, True),
        Review(0.7, True),
    ]


@pytest.mark.parametrize(
    ("areas", "allowed", "expected"),
    [
        ([0, 0, 40, 100, 50, 0, 0], None, [None, True, False, False, False, True, None]),
        ([0, 0, 39, 100, 39, 0, 0], None, [None, None, False, False, False, None, None]),
        ([0, 0, 90, 100, 50, 0, 0], [0, 0, 1, 1, 1, 1, 1], [None, None, False, False, False, True, None]),
        ([100, 100, 100, 100, 100, 100, 20], None, [False] * 7),
    ],
)
def test_the_slice_before_which_an_object_breaks_off_needs_review(areas, allowed, expected):
    way = course(*areas, allowed=None if allowed is None else np.array(allowed, bool))
    estimates = [Estimate(area > 0, 0.9 if area else None) for area in areas]
    assert [one.needed for one in one_object(*estimates, prompted=[3], course=way)] == expected


def test_an_object_that_has_ended_is_unknown_and_one_that_is_lost_between_needs_review():
    estimates = [GONE, *seen(0.9), GONE, GONE, *seen(0.9), GONE]
    assert [one.needed for one in one_object(*estimates, prompted=[1, 4])] == [None, False, True, True, False, None]


def test_nothing_found_where_it_was_prompted_needs_review():
    assert one_object(Estimate(False, 0.99), prompted=[0]) == [Review(0.0, True)]
    assert one_object(GONE, *seen(0.9), prompted=[0, 1])[0] == Review(0.0, True)


def test_the_object_score_tells_absent_from_lost():
    estimates = [
        Estimate(False, 0.3, -5.0),
        Estimate(True, 0.9, 4.0),
        Estimate(False, 0.9, -1.0),
        Estimate(True, 0.9, 2.0),
        Estimate(True, 0.9, -0.5),
        Estimate(False, 0.9, 3.0),
    ]
    assert one_object(*estimates, prompted=[1]) == [
        Review(1.0, False),
        Review(0.9, False),
        Review(0.0, True),
        Review(0.9, False),
        Review(0.0, True),
        Review(0.0, True),
    ]


ESTIMATES = st.builds(
    Estimate, st.booleans(), st.none() | st.floats(0, 1), st.none() | st.floats(-10, 10, exclude_min=True)
)


@given(
    st.dictionaries(st.integers(0, 9), st.dictionaries(st.integers(1, 3), ESTIMATES, max_size=3), max_size=8),
    st.dictionaries(st.integers(1, 3), st.sets(st.integers(0, 9), max_size=3), max_size=3),
    st.floats(0.01, 1),
    st.booleans(),
    st.lists(st.floats(0, 1), min_size=9, max_size=9),
)
def test_what_always_holds(estimates, prompted, limit, chained, overlaps):
    courses = None
    if chained:
        held = {
            key: [key in estimates.get(at, {}) and estimates[at][key].found for at in range(10)] for key in (1, 2, 3)
        }
        courses = {key: course(*map(int, of_object), overlaps=overlaps) for key, of_object in held.items()}
    found = review(estimates, prompted, review_below=limit, courses=courses)
    assert list(found) == list(estimates)
    for index, one in found.items():
        assert (one.needed is True) == (one.score is not None and one.score < limit)
        if one.needed is False and not chained:
            assert all(estimate.score is not None or not estimate.found for estimate in estimates[index].values())
    stricter = review(estimates, prompted, review_below=min(1.0, limit + 0.1), courses=courses)
    assert all(stricter[index].needed for index, one in found.items() if one.needed)


def test_the_next_slice_is_where_most_pixels_are_in_doubt():
    areas = dict.fromkeys(range(20), 100) | {0: 0, 19: 0}
    scores = dict.fromkeys(range(20), 0.9)
    assert next_slice(scores | {12: 0.2, 13: 0.5}, areas, {5}) in (11, 12, 13, 14)
    assert next_slice(scores | {12: 0.0}, areas | {4: 100_000}, {12}) in (2, 3, 4, 5, 6)
    assert next_slice(scores | {0: 0.0}, areas, {5}) != 0


def test_without_scores_the_next_slice_is_halfway_to_the_farther_end():
    unknown = dict.fromkeys(range(20))
    areas = {index: int(2 <= index <= 16) for index in range(20)}
    assert next_slice(unknown, areas, {4}) == 10
    assert next_slice(unknown, areas, {16}) == 9
    assert next_slice(unknown, {4: 5, 5: 0}, {4}) is None
    assert next_slice(unknown, dict.fromkeys(range(20), 0), {4}) is None
