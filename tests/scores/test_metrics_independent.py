"""pose/scores/metrics.py against independent implementations on 1,000 random pairs, and
comparison/benchmarks/metric_comparison.py.

Equal to 1e-9 on every pair: Jaccard and Dice of scipy.spatial; 95 % Hausdorff distance and surface Dice by scipy, each
point of one surface against each of the other; Jaccard of MONAI, the Dice of its channels, and its edges and distance
transform; scikit-image's Hausdorff distance on spacings of 1. MONAI pads a mask before it erodes it, so that its edges
are ours at the border of the array as well. What differs, and why, each checked on the pair itself:

- Both masks empty. Ours is undefined (nan), so that an empty slice does not raise a mean. MONAI has nan or 1, by a flag
  that would also take lost slices out of the mean (it is off here); scipy has a Jaccard of 1, scikit-image a distance
  of 0.
- One mask empty. Ours is infinite. MONAI interpolates between infinite distances, which is nan.
- MONAI keeps results and distances in single precision, and takes the percentile with a weight in it: up to 1e-4 mm.
- A tolerance of 1 mm includes 1.00000001 mm with us, because NIfTI keeps 0.1 mm in single precision, which is a little
  more.
- DeepMind's surface-distance has another definition of surface Dice: elements of surface between voxels, weighted by
  their area.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from comparison.benchmarks import metric_comparison as comparison
from comparison.benchmarks.mask_pairs import KINDS, Pair, mask_pairs
from pose import cli
from pose.scores import metrics, surface

PAIRS = 1000
SCIPY, MONAI, PARTS, SCIKIT = (name for name in comparison.IMPLEMENTATIONS if name != comparison.SUBVOXELS)


def measured_once(measure: Callable[[Pair], comparison.Values]) -> Callable[[Pair], comparison.Values]:
    """Keep what an implementation of others says of a pair: no fault of ours changes it."""
    kept: dict[int, tuple[Pair, comparison.Values]] = {}

    def measure_or_recall(pair: Pair) -> comparison.Values:
        if id(pair) not in kept:
            kept[id(pair)] = pair, measure(pair)
        return kept[id(pair)][1]

    return measure_or_recall


SAME_DEFINITION = {name: measured_once(comparison.IMPLEMENTATIONS[name]) for name in (SCIPY, MONAI, PARTS, SCIKIT)}
DISTANCE_METRICS = ("hd95_mm", *comparison.SURFACE_DICE)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return list(mask_pairs(PAIRS, seed=0))


@pytest.fixture(scope="module")
def outcomes(pairs) -> dict[tuple[str, str], comparison.Outcome]:
    return {(one.metric, one.implementation): one for one in comparison.compare(pairs, SAME_DEFINITION)}


def emptiness(pair: Pair) -> int:
    """Return how many masks of the pair are empty."""
    return sum(not mask.any() for mask in (pair.truth, pair.prediction))


def test_the_pairs_are_of_every_kind(pairs):
    kinds = Counter(pair.kind for pair in pairs)
    assert set(kinds) == set(KINDS) and min(kinds.values()) == 90
    assert Counter(pair.truth.ndim for pair in pairs) == {2: 500, 3: 500}
    assert sum(set(pair.spacing_mm) == {1.0} for pair in pairs) == 334
    assert sum(len(set(pair.spacing_mm)) == pair.truth.ndim for pair in pairs) > 600
    assert max(max(pair.truth.shape) for pair in pairs) == 24 and sum(1 in pair.truth.shape for pair in pairs) > 150
    assert all(mask.dtype == bool for pair in pairs for mask in (pair.truth, pair.prediction))
    by_kind = {kind: [(pair.truth, pair.prediction) for pair in pairs if pair.kind == kind] for kind in KINDS}
    for truth, prediction in by_kind["touching"]:
        assert not (truth & prediction).any() and (ndimage.binary_dilation(truth) & prediction).any()
    assert all((truth >= prediction).all() and prediction.any() for truth, prediction in by_kind["nested"])
    assert sum((truth > prediction).any() for truth, prediction in by_kind["nested"]) > 80
    assert all(truth.sum() == prediction.sum() == 1 for truth, prediction in by_kind["one voxel each"])
    assert all(truth.all() or prediction.all() for truth, prediction in by_kind["full"])
    assert {bool(truth.any()) for truth, _ in by_kind["one empty"]} == {True, False}
    assert all(truth.any() != prediction.any() for truth, prediction in by_kind["one empty"])
    assert not any(truth.any() or prediction.any() for truth, prediction in by_kind["both empty"])
    assert all(truth.mean() >= 0.5 and prediction.mean() >= 0.5 for truth, prediction in by_kind["at the border"])


def test_a_seed_gives_the_same_pairs_again(pairs):
    for first, again in zip(pairs[:50], mask_pairs(50, seed=0), strict=True):
        assert first.spacing_mm == again.spacing_mm
        np.testing.assert_array_equal(first.truth, again.truth)
    other = next(mask_pairs(1, seed=1))
    assert other.truth.shape != pairs[0].truth.shape or (other.truth != pairs[0].truth).any()


def test_no_difference_is_left_unexplained(outcomes):
    assert {name: one.unexplained for name, one in outcomes.items() if one.unexplained} == {}


def test_what_each_implementation_was_compared_on(pairs, outcomes):
    empty = Counter(emptiness(pair) for pair in pairs)
    assert empty[2] >= 90 and empty[1] >= 91
    expected = {(metric, name): PAIRS for metric in ("jaccard", "dice", *DISTANCE_METRICS) for name in (SCIPY, MONAI)}
    expected[("dice", PARTS)] = PAIRS
    expected.update({(metric, PARTS): empty[0] for metric in DISTANCE_METRICS})
    expected[("largest_distance_mm", SCIKIT)] = 334
    assert {name: one.pairs for name, one in outcomes.items()} == expected


def test_equal_to_1e_9_by_the_same_definition(pairs, outcomes):
    """In double precision nothing differs but both masks empty, and distances at the very tolerance."""
    both_empty = sum(emptiness(pair) == 2 for pair in pairs)
    for metric, name in (("jaccard", SCIPY), ("jaccard", MONAI), ("dice", PARTS)):
        assert outcomes[metric, name].reasons == {comparison.BOTH_EMPTY: both_empty}
    for metric, name in (("dice", SCIPY), ("hd95_mm", SCIPY), ("hd95_mm", PARTS)):
        assert not outcomes[metric, name].reasons
    for metric, name in (("jaccard", SCIPY), ("dice", SCIPY), ("dice", PARTS), ("hd95_mm", SCIPY), ("hd95_mm", PARTS)):
        assert outcomes[metric, name].largest_difference < 1e-12
    assert set(outcomes["largest_distance_mm", SCIKIT].reasons) == {comparison.EMPTY_DISTANCE}
    assert outcomes["largest_distance_mm", SCIKIT].largest_difference < 1e-12
    for metric in comparison.SURFACE_DICE:
        for name in (SCIPY, PARTS):
            assert set(outcomes[metric, name].reasons) == {comparison.MARGIN}
            assert outcomes[metric, name].reasons.total() < 0.05 * PAIRS


def test_only_spacings_in_single_precision_meet_the_margin_of_a_tolerance(pairs):
    exact = [pair for number, pair in enumerate(pairs) if number % 3 != 2]
    for one in comparison.compare(exact, {SCIPY: SAME_DEFINITION[SCIPY]}):
        assert one.pairs == 667 and not one.unexplained and comparison.MARGIN not in one.reasons


def test_monai_as_it_comes_differs_by_single_precision_and_where_masks_are_empty(pairs, outcomes):
    empty = Counter(emptiness(pair) for pair in pairs)
    rest = {metric: Counter(outcomes[metric, MONAI].reasons) for metric in ("dice", *DISTANCE_METRICS)}
    assert rest["dice"].pop(comparison.BOTH_EMPTY) == empty[2]
    # of one distance the percentile is that distance, and nothing is interpolated
    assert rest["hd95_mm"].pop(comparison.ONE_EMPTY) <= empty[1]
    for metric, reasons in rest.items():
        assert set(reasons) == {comparison.SINGLE}
        assert outcomes[metric, MONAI].largest_difference < (1e-3 if metric == "hd95_mm" else 2**-24)


def test_scores_of_slices_are_those_of_volumes_of_one_slice(pairs):
    flat = [pair for pair in pairs if pair.truth.ndim == 2]
    for pair in flat:
        values = metrics.slice_metrics(pair.truth, pair.prediction, pair.spacing_mm)
        expected = comparison.pose_values(pair)
        for name in ("jaccard", "dice", "hd95_mm"):
            assert comparison.is_equal(values[name], expected[name], limit=0)
        assert values["false_positive_voxels"] == (0 if pair.truth.any() else pair.prediction.sum())
    assert len(flat) == 500


def test_the_definition_of_surface_distance_agrees_on_what_is_empty_or_equal(pairs):
    some = pairs[:165]
    for one in comparison.compare(some, {comparison.SUBVOXELS: comparison.monai_subvoxel_values}):
        assert one.metric in comparison.SURFACE_DICE and one.pairs == 165
        alike = sum(emptiness(pair) > 0 or (pair.truth == pair.prediction).all() for pair in some)
        assert one.equal >= alike > 35 and set(one.reasons) == {comparison.OTHER_DEFINITION}


def full_neighbours(mask):
    return mask & ~ndimage.binary_erosion(mask, np.ones([3] * mask.ndim))


def border_is_no_surface(mask):
    return mask & ~ndimage.binary_erosion(mask, border_value=1)


def spacing_backwards(truth, prediction, spacing_mm):
    return MEASURE(truth, prediction, tuple(spacing_mm)[::-1])


def mean_of_directions(distances, tolerance_mm):
    directed = (distances.truth_to_prediction, distances.prediction_to_truth)
    return float(np.mean([np.mean(one <= tolerance_mm * (1 + 1e-6)) if one.size else math.nan for one in directed]))


def one_direction(distances):
    forth = distances.truth_to_prediction
    with np.errstate(invalid="ignore"):
        return float(np.percentile(forth, 95)) if forth.size else math.nan


MEASURE, HAUSDORFF, OVERLAP = metrics.surface_distances, metrics.SurfaceDistances.hausdorff_95_mm, metrics._dice_of
FAULTS = {
    "surface by all neighbours": (surface, "outer_voxels", full_neighbours),
    "border is no surface": (surface, "outer_voxels", border_is_no_surface),
    "spacing backwards": (metrics, "surface_distances", spacing_backwards),
    "margin of a percent": (metrics, "_TOLERANCE_MARGIN", 1.01),
    "mean of directions": (metrics.SurfaceDistances, "surface_dice", mean_of_directions),
    "one direction": (metrics.SurfaceDistances, "hausdorff_95_mm", one_direction),
    "lost objects are undefined": (
        metrics.SurfaceDistances,
        "hausdorff_95_mm",
        lambda one: math.nan if HAUSDORFF(one) == math.inf else HAUSDORFF(one),
    ),
    "empty slices are perfect": (metrics, "_dice_of", lambda common, both: OVERLAP(common, both) if both else 1.0),
    "lost slices are undefined": (
        metrics,
        "_dice_of",
        lambda common, both: OVERLAP(common, both) if common else math.nan,
    ),
    "one voxel too many": (metrics, "_dice_of", lambda common, both: OVERLAP(common, both) * (1 - 1e-8)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_metric_that_lies_is_found(fault, pairs, monkeypatch):
    monkeypatch.setattr(*FAULTS[fault])
    found = comparison.compare(pairs[:165], {name: SAME_DEFINITION[name] for name in (SCIPY, PARTS)})
    assert any(one.unexplained for one in found)


def test_the_percentile_by_hand():
    assert comparison.percentile_95(np.array([3.0])) == 3.0
    # position 0.95 * 4 = 3.8 of 0, 1, 2, 4, 9
    assert comparison.percentile_95(np.array([9.0, 1.0, 0.0, 4.0, 2.0])) == pytest.approx(4 + 0.8 * 5, abs=1e-12)
    assert comparison.percentile_95(np.arange(21.0)) == 19.0


def test_points_by_hand():
    truth, prediction = np.zeros((2, 3, 4), dtype=bool)
    truth[0, 0] = prediction[2, 1] = prediction[0, 3] = True
    forth, back = comparison.distances_of_points(Pair("by hand", truth, prediction, (2.0, 0.5)))
    assert forth.tolist() == [1.5]
    assert back.tolist() == [1.5, math.hypot(4.0, 0.5)]


@pytest.mark.parametrize(
    ("ours", "theirs", "equal"),
    [
        (math.nan, math.nan, True),
        (math.inf, math.inf, True),
        (1.0, 1.0 + 5e-10, True),
        (1.0, 1.0 + 2e-9, False),
        (math.nan, 0.0, False),
        (1.0, math.nan, False),
        (math.inf, 1e300, False),
        (math.inf, -math.inf, False),
    ],
)
def test_what_is_equal(ours, theirs, equal):
    assert comparison.is_equal(ours, theirs) is equal


def test_the_script_prints_and_writes_its_table(tmp_path, capsys):
    path = tmp_path / "table.csv"
    assert comparison.main(["--pairs", "33", "--seed", "3", "-o", str(path)]) == 0
    printed = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    with path.open(newline="") as file:
        written = list(csv.reader(file))
    assert printed[0] == written[0] == list(comparison.COLUMNS)
    assert [line[:7] for line in printed[2:]] == [line[:7] for line in written[1:]]
    assert len(written) == 18 and {line[2] for line in written[1:]} == {"33", "11", "26"}
    assert [line[0] for line in written[1:3]] == ["jaccard", "jaccard"]
    assert all(line[5] == "0" for line in written[1:])


def test_the_script_fails_where_a_metric_lies(capsys, monkeypatch):
    monkeypatch.setattr(*FAULTS["one direction"])
    assert comparison.main(["--pairs", "11"]) == 1
    output = capsys.readouterr()
    assert "| hd95_mm | scipy, point by point | 11 |" in output.out
    assert "\nhd95_mm, scipy, point by point: unexplained on pairs " in f"\n{output.err}"


def test_a_folder_that_is_not_there(tmp_path, capsys):
    path = tmp_path / "none" / "table.csv"
    assert cli.run_main(comparison.main, ["--pairs", "1", "-o", str(path)]) == 2
    assert capsys.readouterr().err == f"error: --output_file_path {path}: there is no folder {path.parent}\n"
