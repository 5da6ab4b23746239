"""A prompted slice by itself: what a chain begins with, and other methods on the slice alone."""

from __future__ import annotations

import numpy as np
import pytest

from pose.cli import UserError
from pose.prompts.prompt import Prompt
from pose.scans.intensity import GreySlices, Intensity
from pose.scans.phantom import RIGHT_LUNG, chest_ct
from pose.segmenters.auto import Auto
from pose.segmenters.chain import Chain
from pose.segmenters.one_slice import segment_one_slice
from pose.segmenters.region_growing import RegionGrowing
from tests.cases import DarkInBox


@pytest.fixture(scope="module")
def chest():
    volume, labels = chest_ct((64, 64, 9), seed=1)
    return GreySlices(volume, Intensity((-650.0, 1500.0))), labels == RIGHT_LUNG


def box_of(mask):
    rows, columns = np.nonzero(mask)
    return int(rows.min()), int(columns.min()), int(rows.max()), int(columns.max())


def test_it_is_what_a_chain_begins_with(chest):
    grey, lung = chest
    prompts = [Prompt(4, 1, box=box_of(lung[:, :, 4])), Prompt(4, 3, box=(0, 0, 5, 5))]
    chain = Chain(DarkInBox())
    found = segment_one_slice(chain, grey, prompts)
    (begun,) = (one for one in chain.segment(grey, prompts) if one.slice == 4)
    assert found.slice == 4 and list(found.objects) == [1, 3]
    for object_id in (1, 3):
        np.testing.assert_array_equal(found.objects[object_id].mask, begun.objects[object_id].mask)
    assert found.objects[1].mask.sum() > 100
    of_auto = segment_one_slice(Auto(chain, RegionGrowing()), grey, prompts)
    np.testing.assert_array_equal(of_auto.objects[1].mask, found.objects[1].mask)


def test_no_other_slice_is_looked_at(chest):
    class OneSliceAlone:
        shape, spacing_mm = chest[0].shape, chest[0].spacing_mm

        def __len__(self):
            return self.shape[2]

        def __getitem__(self, index):
            assert index == 4
            return chest[0][4]

    prompt = Prompt(4, box=box_of(chest[1][:, :, 4]), last_slice=5)
    for segmenter in (Chain(DarkInBox()), RegionGrowing()):
        found = segment_one_slice(segmenter, OneSliceAlone(), [prompt])
        overlap = 2 * (found.objects[1].mask & chest[1][:, :, 4]).sum()
        assert found.slice == 4
        assert overlap / (found.objects[1].mask.sum() + chest[1][:, :, 4].sum()) > 0.9


def test_a_prompt_of_another_kind_is_refused(chest):
    with pytest.raises(UserError, match="^dark_in_box: prompt of object 1 on slice 4: holds none of box, mask"):
        segment_one_slice(Chain(DarkInBox(boxes_only=True)), chest[0], [Prompt(4, 1, ((1, 1),))])
