"""Views from the side: planes, boxes that settle, what they confirm, and what a chain makes of that."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from pose.prompts.prompt import Prompt
from pose.segmenters import Features, Prediction
from pose.segmenters.chain import Chain
from pose.segmenters.chain_settings import WITHOUT_SIDE_VIEWS, ChainSettings
from pose.segmenters.mask_parts import box_around
from pose.segmenters.side_views import SidePlane, SideViews, look_from_the_side, settled
from tests.segmenters.test_chain import Stack, dice, disc

SIDE, SLICES = 64, 40


@dataclass
class BrightInBox:
    """A slice segmenter without a network: all that is bright inside the box, on whatever it is shown."""

    name: str = "bright_in_box"
    prompt_kinds: frozenset[str] = frozenset({"box"})
    shown: list[tuple[int, ...]] = field(default_factory=list)
    asked: int = 0

    def set_image(self, grey: np.ndarray) -> None:
        self.grey = grey
        self.shown.append(grey.shape)

    def features(self) -> Features:
        return Features(np.zeros((1, 8, 8), dtype=np.float32), (8, 8))

    def predict(self, prompt: Prompt, multimask_output: bool = False) -> Prediction:
        self.asked += 1
        top, left, bottom, right = prompt.box
        inside = np.zeros(self.grey.shape, dtype=bool)
        inside[top : bottom + 1, left : right + 1] = True
        mask = inside & (self.grey > 128)
        return Prediction(mask, 0.9, logits=np.where(mask, 6.0, -6.0).astype(np.float32))


def volume(spacing_mm=(1.0, 1.0, 1.0), first=10, last=29):
    """A bright cylinder of radius 12 from one slice to another, in dark noise."""
    truth = np.zeros((SIDE, SIDE, SLICES), dtype=bool)
    truth[:, :, first : last + 1] = disc((SIDE, SIDE), 32, 30, 12)[:, :, None]
    rng = np.random.default_rng(0)
    stack = Stack((np.where(truth, 180, 60) + rng.integers(-8, 9, truth.shape)).astype(np.uint8))
    stack.spacing_mm = spacing_mm
    return truth, stack


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (1.0, 1.0, 3.0), (2.0, 2.0, 1.0)])
def test_planes_find_the_whole_object(spacing_mm):
    truth, grey = volume(spacing_mm)
    model = BrightInBox()
    views = look_from_the_side(model, grey, 20, truth[:, :, 20], None, 1.0)
    assert [plane.axis for plane in views.planes] == [0, 0, 0, 1, 1, 1]
    assert views.planes[1].at == 32 and views.planes[4].at == 30
    for plane in views.planes:
        along = truth[plane.at] if plane.axis == 0 else truth[:, plane.at]
        assert dice(plane.mask, along) > 0.98
    width = round(SLICES * spacing_mm[2] / spacing_mm[0])
    assert model.shown == [(SIDE, width)] * 6
    assert model.asked <= 6 * 7  # no box swings
    assert views.confirmed(20, truth[:, :, 20]) == 1.0
    assert views.confirmed(5, truth[:, :, 20]) == 0.0
    assert views.confirmed(20, np.zeros((SIDE, SIDE), dtype=bool)) is None
    cut, seen, shared = views.pixels(20, truth[:, :, 20])
    assert cut == seen == shared > 0


def test_where_planes_have_no_say():
    truth, grey = volume()
    looks = BrightInBox(), grey, 20
    assert look_from_the_side(*looks, truth[:, :, 20] & disc((SIDE, SIDE), 32, 30, 5), None, 1.0) == SideViews()
    grey.spacing_mm = None
    assert look_from_the_side(*looks, truth[:, :, 20], None, 1.0) == SideViews()
    grey.spacing_mm = (1.0, 1.0, 30.0)
    assert look_from_the_side(*looks, truth[:, :, 20], None, 1.0) == SideViews()


def test_planes_that_do_not_find_the_line_again_do_not_count():
    truth, grey = volume()
    model = BrightInBox()
    model.predict = lambda prompt, multimask_output=False: Prediction(np.zeros(model.grey.shape, bool), 0.9)
    assert look_from_the_side(model, grey, 20, truth[:, :, 20], None, 0.0).planes == ()


@pytest.mark.parametrize(("first", "last"), [(0, 99), (40, 60), (48, 52), (10, 55)])
def test_sides_of_a_box_settle_at_the_ends_of_the_object(first, last):
    asked = []

    def mask_in(box):
        asked.append(box)
        mask = np.zeros((50, 100), dtype=bool)
        mask[20:30, first : last + 1] = True
        inside = np.zeros_like(mask)
        inside[box[0] : box[2] + 1, box[1] : box[3] + 1] = True
        return mask & inside

    mask = settled(mask_in, (20, 45, 29, 55), 50, (50, 100))
    assert box_around(mask) == (20, first, 29, last) and len(asked) <= 7


def test_the_cut_of_a_plane():
    mask = np.arange(12).reshape(3, 4) % 2 == 0
    np.testing.assert_array_equal(SidePlane(0, 1, mask).cut(mask), mask[1])
    np.testing.assert_array_equal(SidePlane(1, 2, mask).cut(mask), mask[:, 2])


def test_parts_that_planes_confirm():
    """Three squares; the plane along row 3 cuts two of them in 4 pixels each and shows 1 and 0 of these."""
    mask, seen = np.zeros((12, 12), bool), np.zeros((12, 2), bool)
    mask[2:6, 0:4] = mask[2:6, 6:10] = mask[8:12, 0:4] = True
    seen[3, 1] = True
    views = SideViews((SidePlane(0, 3, seen),))
    assert views.confirmed(1, mask) == 1 / 8
    first = np.zeros_like(mask)
    first[2:6, 0:4] = True
    np.testing.assert_array_equal(views.confirmed_parts(1, mask, 0.25), first)
    assert not views.confirmed_parts(1, mask, 0.26).any() and not views.confirmed_parts(0, mask, 0.1).any()


def test_a_chain_ends_where_the_views_say_so():
    """Grey levels cannot tell the object from what follows it beyond a dark slice that a chain skips."""
    truth, grey = volume(first=10, last=24)
    grey.voxels[:, :, 26:36] = grey.voxels[:, :, 10:20]
    grey.voxels[:, :, 25] = np.where(disc((SIDE, SIDE), 32, 30, 6), 180, 60)  # a thin bridge
    prompt = [Prompt(17, box=box_around(truth[:, :, 17]))]

    def labels_by(settings):
        chain = Chain(BrightInBox(), settings)
        found = {one.slice: one.objects[1].mask for one in chain.segment(grey, prompt)}
        return np.stack([found[index] for index in range(SLICES)], axis=2), chain

    beyond, _ = labels_by(WITHOUT_SIDE_VIEWS)
    assert beyond[:, :, 26:36].any()
    with_views, chain = labels_by(ChainSettings())
    finding = chain.findings[1]
    assert finding.side_planes == 6 and finding.side_agreement > 0.9 and finding.prompt_fit == 1.0
    assert dice(with_views[:, :, :25], truth[:, :, :25]) > 0.98


def test_a_mask_that_does_not_fit_its_box_gives_way_to_grey_levels():
    truth, grey = volume()
    box = box_around(truth[:, :, 20])

    class Wrong(BrightInBox):
        def predict(self, prompt, multimask_output=False):
            found = super().predict(prompt)
            mask = found.mask & (np.arange(found.mask.shape[0])[:, None] < 30)  # the upper half alone
            return Prediction(mask, 0.9, logits=np.where(mask, 6.0, -60.0).astype(np.float32))

    for settings, fits in ((ChainSettings(evidence_weight=0.0), True), (WITHOUT_SIDE_VIEWS, False)):
        chain = Chain(Wrong(), settings)
        if not fits:
            chain = Chain(Wrong(), ChainSettings(evidence_weight=0.0, prompt_fit=0.0))
        here = next(one for one in chain.segment(grey, [Prompt(20, box=box)]) if one.slice == 20)
        assert (dice(here.objects[1].mask, truth[:, :, 20]) > 0.98) is fits
        assert (chain.findings[1].prompt_fit > 0.9) is fits


class ShortSighted(BrightInBox):
    """Sees the object on planes from the side so far only from where it is prompted: the six planes 8 to 13 slices."""

    def predict(self, prompt, multimask_output=False):
        found = super().predict(prompt)
        if self.grey.shape == (SIDE, SLICES):
            seen = sum(shape == (SIDE, SLICES) for shape in self.shown)
            found.mask[:, np.abs(np.arange(SLICES) - prompt.slice) > 8 + (seen - 1) % 6] = False
            found.logits[~found.mask] = -9.0
        return found


@pytest.mark.parametrize(
    ("look_again", "narrows", "last", "planes"),
    # of the planes through slice 4, 2 of 6 confirm the object on slice 16, none on slice 18
    [(0.35, False, 37, 18), (0.0, False, 17, 6), (0.35, True, 17, 6)],
)
def test_planes_are_laid_anew_through_an_object_that_leaves_them_as_large_as_before(look_again, narrows, last, planes):
    truth, grey = volume(first=2, last=37)
    if narrows:
        truth[:, :, 10:] &= disc((SIDE, SIDE), 32, 30, 8)[:, :, None]
        grey.voxels[:, :, 10:] = np.where(truth[:, :, 10:], 180, 60)
    model = ShortSighted()
    chain = Chain(model, ChainSettings(look_again=look_again))
    prompt = Prompt(4, box=box_around(truth[:, :, 4]))
    found = {one.slice: one.objects[1].mask for one in chain.segment(grey, [prompt])}
    held = [index for index in range(SLICES) if found[index].any()]
    assert held == list(range(2, last + 1))
    assert model.shown.count((SIDE, SLICES)) == planes
    assert chain.findings[1].side_planes == 6


def frame(thick):
    """Everything in a disc; a frame of it of so many pixels, which reaches as far as the disc does."""
    whole = disc((SIDE, SIDE), 32, 30, 12)
    return whole, whole & ~disc((SIDE, SIDE), 32, 30, 12 - thick)


def replaced_by_grey_levels(grey, mask, **settings):
    """Return whether the mask that a network gives for the box round it is replaced on the prompted slice."""

    class Given(BrightInBox):
        def predict(self, prompt, multimask_output=False):
            return Prediction(mask, 0.9, logits=np.where(mask, 6.0, -60.0).astype(np.float32))

    chain = Chain(Given(), ChainSettings(evidence_weight=0.0, side_views=False, feature_weight=0.0, **settings))
    prompt = [Prompt(0, box=box_around(disc((SIDE, SIDE), 32, 30, 12)))]
    here = next(one for one in chain.segment(Stack(grey[:, :, None]), prompt) if one.slice == 0)
    return not np.array_equal(here.objects[1].mask, mask)


def test_a_mask_that_fills_little_of_its_box_gives_way_where_grey_levels_tell_another_better():
    whole, thin = frame(3)
    assert thin.sum() < whole.sum() / 2 and thin.sum() < 25 * 25 / 3
    grey = np.where(whole, 180, 60).astype(np.uint8)
    assert replaced_by_grey_levels(grey, thin)
    assert not replaced_by_grey_levels(grey, thin, prompt_fit=0.0)
    # one that fills more of it is believed
    assert not replaced_by_grey_levels(grey, frame(5)[1])
    # the frame alone is bright: grey levels tell nothing better
    assert not replaced_by_grey_levels(np.where(thin, 180, 60).astype(np.uint8), thin)
