"""Auto: region growing where it and the network agree, the chain elsewhere."""

from __future__ import annotations

import numpy as np

from pose.prompts.prompt import Prompt
from pose.segmenters.auto import Auto
from pose.segmenters.chain import Chain
from pose.segmenters.chain_settings import ChainSettings
from pose.segmenters.mask_parts import box_around
from pose.segmenters.region_growing import RegionGrowing
from tests.segmenters.test_chain import Stack, dice, disc
from tests.segmenters.test_side_views import BrightInBox


def two_objects(bridge: bool = False) -> tuple[np.ndarray, Stack]:
    """Two bright cylinders on slices 5 to 14; with a bridge, the second runs into a slab of its own grey."""
    truth = np.zeros((64, 96, 20), dtype=np.uint8)
    for slice_index in range(5, 15):
        truth[:, :, slice_index][disc((64, 96), 30, 24, 10)] = 1
        truth[:, :, slice_index][disc((64, 96), 30, 70, 10)] = 2
    grey = np.where(truth > 0, 180, 60) + np.random.default_rng(0).integers(-5, 6, truth.shape)
    if bridge:
        grey[10:54, 56:90, 12:18] = 180
    return truth, Stack(grey.astype(np.uint8))


def labels_of(auto: Auto, grey: Stack, prompts: list[Prompt]) -> np.ndarray:
    labels = np.zeros(grey.shape, dtype=np.uint8)
    found = list(auto.segment(grey, prompts))
    assert sorted(one.slice for one in found) == list(range(grey.shape[2]))
    for one in found:
        for object_id, prediction in one.objects.items():
            assert not labels[:, :, one.slice][prediction.mask].any()
            labels[:, :, one.slice][prediction.mask] = object_id
    return labels


def boxes(truth: np.ndarray) -> list[Prompt]:
    return [Prompt(9, label, box=box_around(truth[:, :, 9] == label)) for label in (1, 2)]


def test_both_agree_and_the_network_sees_the_prompted_slice_alone():
    truth, grey = two_objects()
    model = BrightInBox()
    auto = Auto(Chain(model), RegionGrowing())
    np.testing.assert_array_equal(labels_of(auto, grey, boxes(truth)), truth)
    assert [auto.findings[key].method for key in (1, 2)] == ["region_growing"] * 2
    assert auto.findings[1].methods_agreement == 1.0 and len(model.shown) == 1


def test_an_object_that_leaks_is_left_to_the_chain():
    truth, grey = two_objects(bridge=True)
    auto = Auto(Chain(BrightInBox()), RegionGrowing())
    labels = labels_of(auto, grey, boxes(truth))
    assert [auto.findings[key].method for key in (1, 2)] == ["region_growing", "chain"]
    np.testing.assert_array_equal(labels == 1, truth == 1)
    assert dice(labels[:, :, :12] == 2, truth[:, :, :12] == 2) > 0.95


def test_a_network_that_sees_something_else_is_believed():
    truth, grey = two_objects()

    class UpperHalf(BrightInBox):
        def predict(self, prompt, multimask_output=False):
            found = super().predict(prompt)
            found.mask[30:] = False
            found.logits[30:] = -60.0
            return found

    auto = Auto(Chain(UpperHalf(), ChainSettings(evidence_weight=0.5, prompt_fit=0.0)), RegionGrowing())
    labels = labels_of(auto, grey, boxes(truth)[:1])
    assert auto.findings[1].method == "chain" and auto.findings[1].methods_agreement is None
    assert not (labels == 1)[32:].any()


def test_a_mask_that_grey_levels_gave_is_no_agreement_with_them():
    truth, grey = two_objects()

    class Sparse(BrightInBox):
        """Finds a cross in what is prompted first, and after that all of it."""

        def predict(self, prompt, multimask_output=False):
            found = super().predict(prompt)
            if prompt.slice == 9:
                cross = np.zeros_like(found.mask)
                cross[30] = cross[:, 24] = True
                found.mask[~cross] = False
                found.logits[~found.mask] = -60.0
            return found

    auto = Auto(Chain(Sparse(), ChainSettings(evidence_weight=0.0, feature_weight=0.0)), RegionGrowing())
    labels = labels_of(auto, grey, boxes(truth)[:1])
    assert auto.findings[1].method == "chain" and auto.findings[1].methods_agreement is None
    assert dice(labels == 1, truth == 1) > 0.98
