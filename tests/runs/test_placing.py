"""Placing: seeds of real volumes, averaged and registered once however many of their slices are prompted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pose
from pose.cli import UserError
from pose.prompts.prompt import prompts_from_mask
from pose.runs import placing
from pose.runs.case import Case, Job, ShownAs, load_case
from pose.scans.intensity import WINDOWS, Intensity
from pose.scans.phantom import chest_ct
from tests.cases import write_nifti

SHOWN = ShownAs(intensity=Intensity(WINDOWS["lung"]))
PROMPTED = (7, 10)


@pytest.fixture(scope="module")
def chests(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """Two phantoms of chests with their lungs."""
    folder = tmp_path_factory.mktemp("chests")
    cases = []
    for number, shape in enumerate([(64, 64, 18), (72, 60, 24)]):
        volume, labels = chest_ct(shape, number)
        lungs = (labels > 0).astype(np.uint8).swapaxes(0, 1)
        image = write_nifti(folder / f"{number}.nii.gz", volume.voxels.swapaxes(0, 1), volume.affine)
        masks = write_nifti(folder / f"{number}_mask.nii.gz", lungs, volume.affine)
        cases.append(load_case(Job(image, masks, Path()), SHOWN))
    return cases


@pytest.fixture()
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was computed, in order: upright grids of 6 mm and registrations."""
    calls: list[str] = []
    for what in (placing.upright, placing.register):

        def counted(*given, what=what, **more):
            calls.append(what.__name__)
            return what(*given, **more)

        monkeypatch.setattr(placing, what.__name__, counted)
    return calls


def boxes_of(case: Case) -> list[pose.Prompt]:
    truth = case.required_truth()
    return [
        prompt
        for slice_index in PROMPTED
        for prompt in prompts_from_mask(truth[:, :, slice_index], slice_index, use_bounding_box=True)
    ]


def test_a_seed_with_two_prompted_slices_is_averaged_once(chests: list[Case], asked: list[str]) -> None:
    model = pose.load_model(method="region_growing")
    first, second = placing.places_of_seed(model, chests[0], boxes_of(chests[0]), "none")
    # by grey level, and by the Hounsfield units of lungs
    assert asked == ["upright", "upright"]
    assert first.clip == second.clip == placing.LUNG_CLIP
    assert first.grey is second.grey and first.hounsfield is second.hounsfield
    assert first.objects[1].centre[2] < second.objects[1].centre[2]


def test_a_volume_is_averaged_and_laid_on_both_slices_of_a_seed_once(chests: list[Case], asked: list[str]) -> None:
    model = pose.load_model(method="region_growing")
    seeds = placing.places_of_seed(model, chests[0], boxes_of(chests[0]), "none")
    asked.clear()
    (found,) = placing.find(model, chests[1], seeds, "none")
    assert asked == ["upright", "register"]
    apart = [placing.find(model, chests[1], [seed], "none")[0] for seed in seeds]
    best = max(range(2), key=lambda number: apart[number].placed.score)
    assert (found.seed, found.placed.prompt.slice) == (best, apart[best].placed.prompt.slice)
    assert found.placed.score == apart[best].placed.score


def test_centres_are_those_of_the_prompts_themselves(chests: list[Case], asked: list[str]) -> None:
    places = placing.centres_of_seed(chests[0], boxes_of(chests[0]))
    assert asked == ["upright", "upright"]
    assert [one.objects[1].share for one in places] == [None, None]
    for slice_index, one in zip(PROMPTED, places, strict=True):
        assert (one.grey.to_voxel @ [*one.objects[1].centre, 1.0])[2] == pytest.approx(slice_index)
        assert placing.slice_like_seeds(chests[0], [one]) == slice_index


def test_an_object_that_is_nowhere_is_a_mistake(chests: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    model = pose.load_model(method="region_growing")
    seeds = placing.places_of_seed(model, chests[0], boxes_of(chests[0])[:1], "none")
    monkeypatch.setattr(placing, "place", lambda *_: None)
    with pytest.raises(UserError, match=r"1\.nii\.gz: object 1 of the seed was not found in this scan"):
        placing.find(model, chests[1], seeds, "none")
