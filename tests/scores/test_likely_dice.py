"""The likely Dice: what it weighs, how wide its interval is, and that it holds as often as it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparison import likely_dice as calibrating
from pose.scores.likely_dice import (
    CALIBRATIONS,
    COVERED,
    Calibration,
    LikelyDice,
    Signs,
    fitted,
    log_odds,
    residuals_of_other_scans,
    share,
    together,
)

USUAL = Signs(0.87, 0.82, False, 1.0)


def test_usual_signs_count_as_nothing_beside_the_constant():
    assert USUAL.numbers().tolist() == [1, 0, 0, 0, 0]
    assert Signs(0.92, None, True, np.e).numbers() == pytest.approx([1, 1, 0, 1, 1])


def test_the_estimate_of_known_weights():
    calibration = Calibration((log_odds(0.8), 1.0, 0, 0, 0), log_odds(0.9) - log_odds(0.8))
    found = calibration.estimate(USUAL)
    low = share(2 * log_odds(0.8) - log_odds(0.9))
    assert (found.dice, found.low, found.high) == pytest.approx((0.8, low, 0.9))
    assert str(found) == "likely Dice 0.80 (0.64 to 0.90)"
    assert calibration.estimate(Signs(0.92, 0.82, False, 1.0)).dice == pytest.approx(share(log_odds(0.8) + 1))


@given(st.floats(0, 1), st.one_of(st.none(), st.floats(0, 1)), st.booleans(), st.floats(1, 1000))
def test_whatever_a_run_says_the_interval_holds_the_estimate(score, side, grown, growth):
    found = CALIBRATIONS["lite_medsam"].estimate(Signs(score, side, grown, growth))
    assert 0 <= found.low <= found.dice <= found.high <= 1


def test_better_signs_promise_more():
    estimate = CALIBRATIONS["lite_medsam"].estimate
    better = [Signs(0.92, 0.82, False, 1), Signs(0.87, 0.92, False, 1), Signs(0.87, 0.82, True, 1)]
    assert all(estimate(one).dice > estimate(USUAL).dice > estimate(Signs(0.87, 0.82, False, 2)).dice for one in better)


def test_objects_together_count_by_their_voxels():
    parts = [LikelyDice(0.9, 0.8, 1.0), LikelyDice(0.5, 0.2, 0.6)]
    found = together(parts, [300, 100])
    assert (found.dice, found.low, found.high) == pytest.approx((0.8, 0.65, 0.9))


def made_runs(generator: np.random.Generator, scans: int = 12):
    """Two objects a scan, two runs an object, of which the score says the log-odds up to noise of 0.5."""
    signs, dice, of_scan, of_object = [], [], [], []
    for scan in range(scans):
        for number in range(4):
            signs.append(Signs(0.87 + 0.05 * generator.normal(), None, False, 1.0))
            dice.append(share(1 + signs[-1].numbers()[1] + generator.normal(0, 0.5)))
            of_scan.append(f"scan {scan}")
            of_object.append(f"object {scan} {number // 2}")
    return signs, dice, of_scan, of_object


def test_the_interval_holds_for_new_objects_as_often_as_it_says():
    generator = np.random.default_rng(1)
    inside = []
    for _ in range(40):
        calibration = fitted(*made_runs(generator))
        new, truth, *_ = made_runs(generator)
        ends = [calibration.estimate(one) for one in new]
        inside += [one.low <= dice <= one.high for one, dice in zip(ends, truth, strict=True)]
    assert COVERED - 0.02 < np.mean(inside) < COVERED + 0.08


def test_a_run_is_judged_without_its_own_scan():
    signs = [USUAL] * 4
    residuals = residuals_of_other_scans(signs, [0.9, 0.9, 0.5, 0.5], ["a", "a", "b", "b"], ["1", "1", "2", "2"])
    apart = log_odds(0.9) - log_odds(0.5)
    assert residuals == pytest.approx([apart, apart, -apart, -apart])
    with pytest.raises(ValueError, match="runs of 1 scan"):
        fitted(signs, [0.9] * 4, ["a"] * 4, ["1"] * 4)


def test_the_calibration_is_that_of_the_recorded_runs(capsys):
    assert calibrating.main([]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{CALIBRATIONS['lite_medsam']}\n")
    documented = (calibrating.PROJECT_ROOT / "comparison/README.md").read_text(encoding="utf-8")
    assert printed.split("\n\n")[1].strip() in documented
