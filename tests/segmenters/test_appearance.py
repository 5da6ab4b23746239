"""Appearance: objects told from their surroundings by an encoder's features."""

from __future__ import annotations

import numpy as np
import pytest

from pose.segmenters.appearance import learn_appearance
from pose.segmenters.protocols import Features, features_on
from tests.segmenters.test_chain import disc


def features_of(mask: np.ndarray, cells: tuple[int, int], seed: int = 0) -> Features:
    """Features of which one channel tells the object, in noise."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(5, *cells)).astype(np.float32)
    rows, columns = (np.arange(count) * length // count for count, length in zip(cells, mask.shape))
    values[2] += 6 * mask[np.ix_(rows, columns)]
    return Features(values, (float(cells[0]), float(cells[1])))


def test_an_object_is_recognised_on_another_slice():
    before, after = disc((96, 128), 40, 50, 25), disc((96, 128), 48, 60, 22)
    learnt = learn_appearance(features_of(before, (48, 64)), before)
    evidence = learnt.evidence(features_of(after, (48, 64), seed=1), after.shape)
    assert evidence.shape == after.shape and evidence.dtype == np.float32 and np.abs(evidence).max() <= 4
    found = evidence > 0
    assert 2 * (found & after).sum() / (found.sum() + after.sum()) > 0.93


def test_log_odds_lie_four_apart_on_average():
    mask = disc((64, 64), 32, 32, 18)
    features = features_of(mask, (64, 64))
    learnt = learn_appearance(features, mask)
    log_odds = np.tensordot(learnt.direction, features.values, 1) + learnt.offset
    near = disc((64, 64), 32, 32, 26) & ~disc((64, 64), 32, 32, 19)
    assert log_odds[mask].mean() == pytest.approx(2.0, abs=0.2) and log_odds[near].mean() == pytest.approx(-2, abs=0.5)


@pytest.mark.parametrize("radius", [3, 60])
def test_too_few_cells_teach_nothing(radius):
    mask = disc((64, 64), 32, 32, radius)
    assert learn_appearance(features_of(mask, (32, 32)), mask) is None


def test_equal_features_teach_nothing():
    features = Features(np.ones((3, 32, 32), np.float32), (32.0, 32.0))
    assert learn_appearance(features, disc((64, 64), 32, 32, 16)) is None


def test_padding_is_left_out():
    features = features_on(np.ones((2, 64, 64), dtype=np.float32), (0.5, 199 / 256))
    assert features.extent == (32.0, 49.75) and features.values.shape == (2, 32, 50)
