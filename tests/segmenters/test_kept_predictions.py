"""Predictions that are kept: asked again, the network is not; asked anything else, it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pose.prompts.prompt import Prompt
from pose.segmenters.kept_predictions import KeptPredictions
from pose.segmenters.protocols import Prediction

DARK, BRIGHT = np.zeros((4, 6), np.uint8), np.full((4, 6), 200, np.uint8)
BOX = Prompt(0, 1, box=(0, 1, 2, 3))
SIZE = 4 * 6 * (1 + 4)  # bytes of a mask and its logits


class Counting:
    """Says how often it was asked; its logits are that number."""

    name, prompt_kinds = "counting", frozenset({"points", "box", "mask"})

    def __init__(self):
        self.encoded = []
        self.asked = 0

    def set_image(self, grey):
        self.encoded.append(grey)

    def predict(self, prompt, multimask_output=False):
        self.asked += 1
        return Prediction(np.ones(self.encoded[-1].shape, bool), 0.5, None, np.full((4, 6), self.asked, np.float32))

    def features(self):
        return len(self.encoded)


@pytest.fixture
def counting():
    return Counting()


def answer(kept, grey, prompt, *more):
    kept.set_image(grey)
    return kept.predict(prompt, *more).logits[0, 0]


def test_what_was_asked_before_is_answered_without_the_network(counting):
    kept = KeptPredictions(counting)
    assert (kept.name, kept.prompt_kinds) == ("counting", counting.prompt_kinds)
    assert [answer(kept, grey, BOX) for grey in (DARK, BRIGHT, DARK, BRIGHT.copy())] == [1, 2, 1, 2]
    assert counting.asked == kept.asked == 2 and len(counting.encoded) == 2
    # whose prompt it is, and how the slices are numbered, is nothing to the network
    assert answer(kept, DARK, replace(BOX, slice=7, object_id=3)) == 1
    assert kept.features() == 3 and counting.encoded[-1] is DARK


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(0, 1, box=(0, 1, 2, 4)),
        Prompt(0, 1, ((1, 2),), box=(0, 1, 2, 3)),
        Prompt(0, 1, (), ((1, 2),), box=(0, 1, 2, 3)),
        Prompt(0, 1, box=(0, 1, 2, 3), mask=DARK > 0),
    ],
)
def test_another_prompt_is_asked(counting, prompt):
    kept = KeptPredictions(counting)
    assert [answer(kept, DARK, BOX), answer(kept, DARK, prompt), answer(kept, DARK, prompt)] == [1, 2, 2]


def test_other_slices_and_other_ways_are_asked(counting):
    kept = KeptPredictions(counting)
    turned = DARK.reshape(6, 4)
    masks = [Prompt(0, 1, mask=mask > 0) for mask in (DARK, BRIGHT)]
    asked = [(DARK, BOX), (DARK, BOX, True), (turned, BOX), (DARK, masks[0]), (DARK, masks[1])]
    assert [answer(kept, *one) for one in asked] == [1, 2, 3, 4, 5]
    assert [answer(kept, *one) for one in asked] == [1, 2, 3, 4, 5]


def test_no_one_can_write_to_what_is_kept(counting):
    kept = KeptPredictions(counting)
    kept.set_image(DARK)
    found = kept.predict(BOX)
    for array in (found.mask, found.logits):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 0


def test_asked_before_a_slice_was_set(counting):
    with pytest.raises(RuntimeError, match="before set_image"):
        KeptPredictions(counting).predict(BOX)


def test_within_the_limit_what_a_volume_uses_stays_and_what_it_does_not_goes(counting):
    kept = KeptPredictions(counting, limit_bytes=2 * SIZE)
    slices = [np.full((4, 6), level, np.uint8) for level in range(4)]
    kept.begin()
    # the third finds no room: the first two are of this volume
    assert [answer(kept, one, BOX) for one in slices[:3]] == [1, 2, 3]
    kept.begin()
    assert [answer(kept, one, BOX) for one in (slices[0], slices[1], slices[2])] == [1, 2, 4]
    kept.begin()
    # the first is used again, the second goes for the fourth
    assert [answer(kept, slices[index], BOX) for index in (0, 3, 0, 3, 1)] == [1, 5, 1, 5, 6]
    nothing = KeptPredictions(counting, limit_bytes=SIZE - 1)
    assert [answer(nothing, DARK, BOX), answer(nothing, DARK, BOX)] == [7, 8]
