"""Tests of pose/scores/metrics.py: exact values on small masks, rules for empty ones, MONAI as a second
implementation.
"""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from pose.scores import metrics

EMPTY = np.zeros((5, 6), dtype=bool)
FULL = np.ones((5, 6), dtype=bool)


def rectangle(row_min, column_min, row_max, column_max, shape=(5, 6)):
    mask = np.zeros(shape, dtype=bool)
    mask[row_min : row_max + 1, column_min : column_max + 1] = True
    return mask


ONE = rectangle(2, 3, 2, 3)


@pytest.mark.parametrize(
    ("truth", "prediction", "jaccard", "dice"),
    [
        pytest.param(EMPTY, ONE, 0.0, 0.0, id="truth empty"),
        pytest.param(ONE, EMPTY, 0.0, 0.0, id="prediction empty"),
        pytest.param(ONE, ONE, 1.0, 1.0, id="one voxel"),
        pytest.param(ONE, FULL, 1 / 30, 2 / 31, id="one voxel, everything predicted"),
        pytest.param(FULL, FULL, 1.0, 1.0, id="full"),
        pytest.param(rectangle(0, 0, 1, 2), rectangle(1, 0, 2, 2), 3 / 9, 6 / 12, id="half overlap"),
        pytest.param(rectangle(0, 0, 0, 0), rectangle(4, 5, 4, 5), 0.0, 0.0, id="apart"),
        pytest.param(rectangle(0, 0, 1, 3), rectangle(0, 0, 1, 1), 4 / 8, 8 / 12, id="part"),
    ],
)
def test_overlap(truth, prediction, jaccard, dice):
    assert metrics.jaccard(truth, prediction) == jaccard
    assert metrics.dice(truth, prediction) == dice
    assert metrics.jaccard(np.dstack([truth, truth]), np.dstack([prediction, prediction])) == jaccard


def test_overlap_of_two_empty_masks_is_undefined():
    assert math.isnan(metrics.jaccard(EMPTY, EMPTY))
    assert math.isnan(metrics.dice(EMPTY, EMPTY))


def test_overlap_counts_labels_as_foreground():
    labels = rectangle(0, 0, 1, 2).astype(np.uint8) * 255
    assert metrics.jaccard(labels, rectangle(0, 0, 1, 2)) == 1.0
    assert metrics.dice(labels, labels) == 1.0


def test_overlap_refuses_different_shapes():
    with pytest.raises(ValueError, match=r"truth \(5, 6\), prediction \(6, 5\)"):
        metrics.jaccard(EMPTY, EMPTY.T)
    with pytest.raises(ValueError, match="different shapes"):
        metrics.dice(EMPTY, EMPTY[:1])


def test_surface_is_what_an_erosion_takes_away():
    # 5 x 6 all foreground: the frame of 18 pixels is surface, because beyond the border lies background.
    distances = metrics.surface_distances(FULL, ONE, (1.0, 1.0))
    assert distances.truth_to_prediction.size == 18
    assert distances.prediction_to_truth.tolist() == [2.0]


def test_surface_distances_by_hand_with_anisotropic_spacing():
    truth, prediction = rectangle(1, 1, 1, 1), rectangle(4, 5, 4, 5)
    distances = metrics.surface_distances(truth, prediction, (2.0, 0.5))
    expected = math.hypot(3 * 2.0, 4 * 0.5)
    assert distances.truth_to_prediction.tolist() == [expected]
    assert distances.prediction_to_truth.tolist() == [expected]
    assert distances.hausdorff_95_mm() == expected


def test_surface_distances_by_hand_in_three_dimensions():
    truth = np.zeros((3, 4, 5), dtype=bool)
    truth[0, 0, 0] = True
    prediction = np.zeros_like(truth)
    prediction[0, 0, 0] = prediction[2, 3, 4] = True
    distances = metrics.surface_distances(truth, prediction, (0.5, 1.0, 3.0))
    assert distances.truth_to_prediction.tolist() == [0.0]
    assert distances.prediction_to_truth.tolist() == [0.0, math.sqrt(1 + 9 + 144)]
    # linear interpolation between the two distances, as the 95th percentile of two values has it
    assert distances.hausdorff_95_mm() == pytest.approx(0.95 * math.sqrt(154), abs=1e-12)
    assert distances.surface_dice(1.0) == 2 / 3
    assert distances.surface_dice(13.0) == 1.0


def test_hausdorff_is_the_larger_of_the_two_directions():
    line = rectangle(2, 0, 2, 5)
    far = ONE | rectangle(0, 0, 0, 0)
    forth = metrics.surface_distances(line, far, (1.0, 1.0))
    back = metrics.surface_distances(far, line, (1.0, 1.0))
    assert forth.hausdorff_95_mm() == back.hausdorff_95_mm()
    assert forth.hausdorff_95_mm() == max(
        np.percentile(forth.truth_to_prediction, 95), np.percentile(forth.prediction_to_truth, 95)
    )
    assert np.percentile(forth.truth_to_prediction, 95) != np.percentile(forth.prediction_to_truth, 95)


@pytest.mark.parametrize("offset", [0, 1, 2, 3])
def test_surface_dice_of_a_shifted_line(offset):
    truth, prediction = rectangle(1, 0, 1, 5), rectangle(1 + offset, 0, 1 + offset, 5)
    distances = metrics.surface_distances(truth, prediction, (1.0, 1.0))
    assert distances.surface_dice(1) == (1.0 if offset <= 1 else 0.0)
    assert distances.surface_dice(2) == (1.0 if offset <= 2 else 0.0)
    assert distances.hausdorff_95_mm() == offset


def test_tolerance_is_not_missed_by_single_precision_spacing():
    spacing = float(np.float32(0.1))
    truth = np.zeros((1, 12), dtype=bool)
    prediction = truth.copy()
    truth[0, 0] = prediction[0, 10] = True
    distances = metrics.surface_distances(truth, prediction, (spacing, spacing))
    assert distances.hausdorff_95_mm() > 1.0
    assert distances.surface_dice(1) == 1.0


def test_surface_distances_of_empty_masks():
    both = metrics.surface_distances(EMPTY, EMPTY, (1.0, 1.0))
    assert math.isnan(both.hausdorff_95_mm())
    assert math.isnan(both.surface_dice(1))
    for truth, prediction in ((EMPTY, ONE), (ONE, EMPTY), (FULL, EMPTY)):
        distances = metrics.surface_distances(truth, prediction, (1.0, 1.0))
        assert distances.hausdorff_95_mm() == math.inf
        assert distances.surface_dice(1) == 0.0


@pytest.mark.parametrize("mask", [ONE, FULL], ids=["one voxel", "full"])
def test_surface_distances_of_equal_masks(mask):
    distances = metrics.surface_distances(mask, mask, (0.7, 3.0))
    assert distances.hausdorff_95_mm() == 0.0
    assert distances.surface_dice(0) == 1.0


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 1.0, 1.0), (0.0, 1.0), (1.0, -1.0), (math.nan, 1.0)])
def test_surface_distances_refuse_a_spacing_that_does_not_fit(spacing):
    with pytest.raises(ValueError, match="2 distances above 0"):
        metrics.surface_distances(ONE, ONE, spacing)


def test_slice_metrics_with_truth_and_prediction():
    truth, prediction = rectangle(0, 0, 1, 2), rectangle(1, 0, 2, 2)
    values = metrics.slice_metrics(truth, prediction, (2.0, 1.0, 9.0))
    assert values == {
        "jaccard": 3 / 9,
        "dice": 6 / 12,
        "ground_truth_voxels": 6,
        "predicted_voxels": 6,
        "false_positive_voxels": 0,
        "hd95_mm": 2.0,
    }
    assert list(values) == [
        "jaccard",
        "dice",
        "ground_truth_voxels",
        "predicted_voxels",
        "false_positive_voxels",
        "hd95_mm",
    ]


def test_slice_metrics_prediction_on_a_slice_without_truth_is_counted():
    values = metrics.slice_metrics(EMPTY, rectangle(0, 0, 1, 2), (1.0, 1.0))
    assert values == {
        "jaccard": 0.0,
        "dice": 0.0,
        "ground_truth_voxels": 0,
        "predicted_voxels": 6,
        "false_positive_voxels": 6,
        "hd95_mm": math.inf,
    }


def test_slice_metrics_lost_object_scores_zero():
    values = metrics.slice_metrics(ONE, EMPTY, (1.0, 1.0))
    assert (values["jaccard"], values["dice"], values["hd95_mm"]) == (0.0, 0.0, math.inf)
    assert (values["ground_truth_voxels"], values["predicted_voxels"], values["false_positive_voxels"]) == (1, 0, 0)


def test_slice_metrics_of_nothing_are_undefined():
    values = metrics.slice_metrics(EMPTY, EMPTY, (1.0, 1.0))
    assert all(math.isnan(values[name]) for name in ("jaccard", "dice", "hd95_mm"))
    assert (values["ground_truth_voxels"], values["predicted_voxels"], values["false_positive_voxels"]) == (0, 0, 0)


def test_slice_metrics_without_spacing_or_without_truth():
    unknown_spacing = metrics.slice_metrics(FULL, FULL, None)
    assert math.isnan(unknown_spacing["hd95_mm"])
    assert unknown_spacing["dice"] == 1.0
    no_truth = metrics.slice_metrics(None, FULL, (1.0, 1.0))
    assert all(math.isnan(no_truth[name]) for name in ("jaccard", "dice", "hd95_mm"))
    assert no_truth["ground_truth_voxels"] is None
    assert no_truth["false_positive_voxels"] is None
    assert no_truth["predicted_voxels"] == 30


def volume_pair():
    """Four slices: agreement, a lost object, a false positive, nothing."""
    truth = np.dstack([FULL, ONE, EMPTY, EMPTY])
    prediction = np.dstack([FULL, EMPTY, rectangle(0, 0, 1, 2), EMPTY])
    return truth, prediction


def test_volume_metrics():
    truth, prediction = volume_pair()
    values = metrics.volume_metrics(truth, prediction, (1.0, 1.0, 5.0))
    assert list(values) == [
        "volume_jaccard",
        "volume_dice",
        "volume_hd95_mm",
        "volume_surface_dice_1mm",
        "volume_surface_dice_2mm",
        "false_positive_voxels",
        "missed_slices",
    ]
    assert values["volume_jaccard"] == 30 / 37
    assert values["volume_dice"] == 60 / 67
    assert values["false_positive_voxels"] == 6
    assert values["missed_slices"] == 1
    distances = metrics.surface_distances(truth, prediction, (1.0, 1.0, 5.0))
    # Slice 0 lies at the border, so all its 30 voxels are surface in both; nothing else is within 2 mm.
    assert sorted(distances.truth_to_prediction.tolist()) == [0.0] * 30 + [5.0]
    assert values["volume_surface_dice_1mm"] == values["volume_surface_dice_2mm"] == 60 / 67
    # The 6 false voxels on slice 2 are nearest to the single voxel at row 2, column 3 of slice 1. Of 36 distances the
    # 95th percentile lies a quarter of the way from the third largest, from (0, 1), to the second, from (1, 0).
    third, second = math.sqrt(2**2 + 2**2 + 5**2), math.sqrt(1**2 + 3**2 + 5**2)
    assert values["volume_hd95_mm"] == pytest.approx(third + 0.25 * (second - third), abs=1e-12)


def test_volume_metrics_without_spacing_leave_out_millimetres():
    assert list(metrics.volume_metrics(*volume_pair(), None)) == [
        "volume_jaccard",
        "volume_dice",
        "false_positive_voxels",
        "missed_slices",
    ]


def test_volume_metrics_of_empty_masks():
    empty, full = np.zeros((4, 4, 3), dtype=bool), np.ones((4, 4, 3), dtype=bool)
    both = metrics.volume_metrics(empty, empty, (1.0, 1.0, 1.0))
    assert all(math.isnan(value) for name, value in both.items() if name.startswith("volume_"))
    assert (both["false_positive_voxels"], both["missed_slices"]) == (0, 0)
    lost = metrics.volume_metrics(full, empty, (1.0, 1.0, 1.0))
    assert lost["volume_dice"] == lost["volume_jaccard"] == lost["volume_surface_dice_2mm"] == 0.0
    assert lost["volume_hd95_mm"] == math.inf
    assert (lost["false_positive_voxels"], lost["missed_slices"]) == (0, 3)
    invented = metrics.volume_metrics(empty, full, (1.0, 1.0, 1.0))
    assert invented["volume_hd95_mm"] == math.inf
    assert (invented["false_positive_voxels"], invented["missed_slices"]) == (48, 0)


def test_volume_metrics_of_a_single_slice_are_measured_in_plane():
    truth = np.zeros((9, 9), dtype=bool)
    truth[1:8, 1:8] = True
    prediction = np.zeros_like(truth)
    prediction[1:8, 1:6] = True
    values = metrics.volume_metrics(truth[:, :, None], prediction[:, :, None], (1.0, 1.0, 1.0))
    in_plane = metrics.surface_distances(truth, prediction, (1.0, 1.0))
    assert in_plane.truth_to_prediction.size == 24
    assert values["volume_surface_dice_1mm"] == in_plane.surface_dice(1)
    assert values["volume_hd95_mm"] == in_plane.hausdorff_95_mm() == 2.0


def test_far_apart_surfaces_take_no_longer_than_close_ones():
    """An ellipsoid against everything predicted: a search for neighbours point by point would take much longer."""
    shape = (160, 160, 100)
    row, column, slice_ = np.ogrid[: shape[0], : shape[1], : shape[2]]
    truth = ((row - 80) / 40) ** 2 + ((column - 80) / 40) ** 2 + ((slice_ - 50) / 25) ** 2 < 1
    start = time.process_time()
    values = metrics.volume_metrics(truth, np.ones(shape, dtype=bool), (1.0, 1.0, 1.0))
    assert time.process_time() - start < 8
    assert values["false_positive_voxels"] == 160 * 160 * int((~truth.any(axis=(0, 1))).sum())
    assert values["missed_slices"] == 0
