"""Tests of what ground truth tells of, where a part of a volume was annotated."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pose.scores import metrics
from pose.scores.counted import counted


@pytest.fixture
def drawn():
    """(6, 6, 4) labels: a square of 9 voxels on slices 0 and 2, an ignored column on slice 0, slice 3 all ignored."""
    truth = np.zeros((6, 6, 4), np.uint8)
    truth[1:4, 1:4, [0, 2]] = 1
    truth[:, 5, 0] = 255
    truth[:, :, 3] = 255
    return truth


def test_all_counts_unless_told(drawn):
    assert counted(drawn) is None


@pytest.mark.parametrize(
    ("ignore_label", "annotated", "slices"),
    [(255, False, [0, 1, 2]), (255, True, [0, 2]), (None, True, [0, 2, 3]), (7, True, [0, 2, 3])],
)
def test_slices(drawn, ignore_label, annotated, slices):
    part = counted(drawn, ignore_label, annotated)
    assert np.flatnonzero(part.slices).tolist() == slices
    assert (part.ignored is None) is (ignore_label != 255)


def test_what_does_not_count_is_neither_right_nor_wrong(drawn):
    part = counted(drawn, 255)
    prediction = np.ones(drawn.shape, np.uint8)
    scored = part.of_volume(prediction)
    assert [int(scored[:, :, index].sum()) for index in range(4)] == [30, 36, 36, 0]
    assert part.of_slice(prediction[:, :, 0], 0).tolist() == scored[:, :, 0].tolist()
    assert prediction.all()


def test_scores_of_a_volume_are_those_of_its_annotated_slices(drawn):
    """Slices 0 and 2 count: 9 of 9 and 6 of 9 found, and 2 mm in plane from the row that was missed."""
    truth, part = (drawn == 1).astype(np.uint8), counted(drawn, 255, True)
    prediction = np.ones(drawn.shape, np.uint8)
    prediction[:, :, [0, 2]] = truth[:, :, [0, 2]]
    prediction[1, :, 2] = 0
    found = metrics.volume_metrics(truth, part.of_volume(prediction), (2, 1, 5), part.slices)
    assert found["volume_dice"] == 2 * 15 / (18 + 15) and found["volume_jaccard"] == 15 / 18
    assert (found["false_positive_voxels"], found["missed_slices"]) == (0, 0)
    assert found["volume_hd95_mm"] == 2 and found["volume_surface_dice_1mm"] == pytest.approx(
        (16 + 14 - 3 - 1) / 30, abs=0.1
    )
    perfect = metrics.volume_metrics(truth, truth, (2, 1, 5), part.slices)
    assert (perfect["volume_dice"], perfect["volume_hd95_mm"], perfect["volume_surface_dice_1mm"]) == (1, 0, 1)


def test_an_annotated_slice_that_was_missed(drawn):
    truth, part = (drawn == 1).astype(np.uint8), counted(drawn, 255, True)
    prediction = truth.copy()
    prediction[:, :, 2] = 0
    found = metrics.volume_metrics(truth, prediction, (1, 1, 1), part.slices)
    assert found["volume_hd95_mm"] == math.inf and found["missed_slices"] == 1
