"""pose/figures/box_plots.py: statistics worked out by hand, and what is drawn of them."""

from __future__ import annotations

import numpy as np
import pytest

from pose.figures.box_plots import BOX_COLUMNS, FAILURE_COLOUR, box_statistics, draw_boxes
from pose.figures.plots import new_plot


def test_statistics_by_hand():
    box = box_statistics([0.0, 0.8, 0.84, 0.86, 0.9])
    # quartiles 0.8 and 0.86: whiskers reach as far as 0.71 and 0.95
    expected = {
        "n": 5,
        "mean": 0.68,
        "min": 0.0,
        "whisker_low": 0.8,
        "q1": 0.8,
        "median": 0.84,
        "q3": 0.86,
        "whisker_high": 0.9,
        "max": 0.9,
    }
    assert {name: box[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert box["std"] == pytest.approx(np.std([0.0, 0.8, 0.84, 0.86, 0.9], ddof=1))
    assert box["outliers"].tolist() == [0.0]


def test_one_value_and_none():
    one = box_statistics([0.5])
    assert [one[name] for name in BOX_COLUMNS if name != "std"] == [0.5] * 8 and np.isnan(one["std"])
    none = box_statistics([])
    assert none["n"] == 0 and np.isnan([none[name] for name in BOX_COLUMNS]).all() and none["outliers"].size == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_no_box_can_hold_is_refused(value):
    with pytest.raises(ValueError, match="finite"):
        box_statistics([0.1, value])


def test_failures_are_drawn_each_by_itself_and_an_empty_box_keeps_its_place():
    boxes = [box_statistics([0.0, 0.0, 0.3, *[0.9] * 20]), box_statistics([]), box_statistics([0.5, 0.7])]
    with new_plot() as figure:
        axes = figure.add_subplot()
        draw_boxes(axes, boxes, ["a", "b", "c"], ["blue", "red", "green"], failure_value=0.0)
    crosses = [line for line in axes.lines if line.get_color() == FAILURE_COLOUR and len(line.get_xdata())]
    assert [line.get_xdata().tolist() for line in crosses] == [[-0.25, 0.25]]
    points = [line.get_ydata().tolist() for line in axes.lines if line.get_marker() == "o" and len(line.get_ydata())]
    assert points == [[0.3]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    assert axes.get_xlim() == (-0.6, 2.6) and len(axes.patches) == 2
