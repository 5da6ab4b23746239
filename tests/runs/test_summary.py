"""pose/runs/summary.py: what is said of each object at the end of a run, and each warning on what it is about."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import nibabel
import numpy as np
import pytest

import process_video
from pose import cli
from pose.prompts.prompt import Prompt
from pose.runs.case import Case, Job
from pose.runs.segmentation import Segmentation
from pose.runs.summary import FoundObject, summarise, touching_parts
from pose.scans.intensity import WINDOWS, GreySlices, Intensity
from pose.scans.volume import Volume
from pose.segmenters import Prediction, SlicePredictions
from pose.segmenters.mask_parts import overlap_of_boxes
from tests.cases import write_nifti, write_two_blocks
from tests.segmenters.test_chain import disc

SHAPE, SLICES = (60, 80), 8
BODY, ORGAN = disc(SHAPE, 30, 40, 28), disc(SHAPE, 30, 40, 8)
PROMPT = Prompt(4, box=(22, 32, 38, 48))


def scan(lung: int = -800) -> Volume:
    """A body of 40 HU in air, an organ in its middle."""
    slice_voxels = np.where(ORGAN, lung, np.where(BODY, 40, -1000)).astype(np.int16)
    return Volume(np.stack([slice_voxels] * SLICES, axis=2), spacing_mm=(1.0, 2.0, 5.0), path=Path("ct.npz"))


def summary_of(
    masks: dict[int, np.ndarray],
    prompt: Prompt = PROMPT,
    truth: np.ndarray | None = None,
    score: float | None = 0.9,
    volume: Volume | None = None,
    intensity: Intensity = Intensity(),
):
    """Summarise a run that found ``masks`` by slice, and nothing on the others."""
    volume = volume or scan()
    grey = GreySlices(volume, intensity)
    segmentation = Segmentation(volume, grey, [prompt])
    for index in range(SLICES):
        mask = masks.get(index, np.zeros(SHAPE, bool))
        segmentation.add(SlicePredictions(index, {1: Prediction(mask, score)}))
    return summarise(Case(Job(Path("ct.npz"), None, Path("r")), volume, truth, grey), segmentation, False, intensity)


def organ_on(*slices: int) -> dict[int, np.ndarray]:
    return {index: ORGAN for index in slices}


def kinds(summary) -> list[str]:
    return [warned.kind for warned in summary.warnings]


def test_what_is_said_of_an_object():
    truth = np.zeros((*SHAPE, SLICES), np.uint8)
    truth[ORGAN, 2:6] = 1
    found = summary_of(organ_on(3, 4, 5, 6), truth=truth)
    area = int(ORGAN.sum())
    assert found.objects == [FoundObject(1, 4 * area, 4 * area * 0.01, 3, 6, 0.75, 0)] and found.warnings == []
    assert str(found.objects[0]) == (
        f"object 1: {4 * area} voxels, {0.04 * area:.1f} ml, slices 3 to 6, Dice 0.750, 0 to review"
    )
    json.dumps(found.to_json())


def test_the_worst_slices_are_named_first():
    volume = scan()
    segmentation = Segmentation(volume, GreySlices(volume), [PROMPT])
    for index, score in enumerate((None, None, 0.5, 0.8, 0.9, 0.6, 0.4, None)):
        mask = ORGAN if score else np.zeros(SHAPE, bool)
        segmentation.add(SlicePredictions(index, {1: Prediction(mask, score)}))
    case = Case(Job(Path("ct.npz"), None, Path("r")), volume, None, segmentation.grey)
    (one,) = summarise(case, segmentation, False, Intensity()).objects
    assert (one.to_review, one.look_first) == (4, (6, 2, 5)) and str(one).endswith("4 to review (first 6, 2, 5)")
    assert FoundObject.from_json(json.loads(json.dumps(asdict(one)))) == one


def test_the_dice_of_an_object_is_that_of_what_counts(tmp_path, capsys):
    image, masks = write_two_blocks(tmp_path)
    labels = np.asarray(nibabel.load(masks).dataobj)
    labels[:, :, [2, 4]] = 0  # only two of four slices were annotated
    part = write_nifti(tmp_path / "part.nii.gz", (labels > 0).astype(np.uint8))
    command = ["-i", image, "-m", part, "-b", "--method", "region_growing", "--annotated_slices_only"]
    assert cli.run_main(process_video.main, [*map(str, command), "-r", str(tmp_path / "r")]) == 0
    assert "slices 2 to 5, Dice 1.000" in capsys.readouterr().out


def test_nothing_found():
    found = summary_of({})
    assert kinds(found) == ["nothing"] and str(found.objects[0]) == "object 1: nothing"
    assert "scripts/look.py" in found.warnings[0].text


@pytest.mark.parametrize(
    ("slices", "said"),
    [
        ((0, 1, 2, 3, 4), "slice 0, the first"),
        ((4, 5, 6, 7), "slice 7, the last"),
        (range(8), "slice 0, the first and slice 7"),
    ],
)
def test_an_object_that_never_ended(slices, said):
    found = summary_of(organ_on(*slices))
    assert kinds(found) == ["reaches_end"] and said in found.warnings[0].text and "--slices" in found.warnings[0].text


def test_an_end_that_the_ground_truth_has_as_well_is_none():
    truth = np.ones((*SHAPE, SLICES), np.uint8) * ORGAN[:, :, None]
    assert kinds(summary_of(organ_on(*range(8)), truth=truth)) == []


def test_nearly_the_whole_body():
    found = summary_of({index: BODY & ~ORGAN for index in (3, 4, 5)}, Prompt(4, box=(2, 12, 58, 68)))
    assert "whole_body" in kinds(found) and "% of the body" in found.warnings[-1].text


def test_a_mask_that_is_not_what_the_box_was_round():
    found = summary_of(organ_on(3, 4, 5), Prompt(4, box=(10, 20, 50, 60)))
    assert kinds(found) == ["prompt_fit"] and "overlap 0.17" in found.warnings[0].text
    assert kinds(summary_of(organ_on(3, 4, 5), Prompt(4, box=(21, 31, 39, 49)))) == []


def test_points_on_the_wrong_side():
    assert kinds(summary_of(organ_on(4), Prompt(4, 1, ((30, 40),), ((5, 40),)))) == []
    assert "1 positive point" in summary_of(organ_on(4), Prompt(4, 1, ((5, 40),))).warnings[0].text
    assert "1 negative point" in summary_of(organ_on(4), Prompt(4, 1, ((30, 40),), ((31, 40),))).warnings[0].text


def test_two_organs_that_touch():
    two = disc(SHAPE, 30, 28, 12) | disc(SHAPE, 30, 52, 12)
    two[29:32, 38:43] = True
    found = summary_of({4: two}, Prompt(4, box=(18, 16, 42, 64)))
    assert kinds(found) == ["touching"] and "--objects per_label" in found.warnings[0].text
    assert touching_parts(disc(SHAPE, 30, 40, 20)) is None
    assert touching_parts(disc(SHAPE, 30, 28, 10) | disc(SHAPE, 30, 56, 10)) is None, "two pieces touch nowhere"
    long = np.zeros(SHAPE, bool)
    long[28:33, 5:75] = True
    assert touching_parts(long) is None


def test_masks_of_one_slice():
    truth = np.zeros((*SHAPE, SLICES), np.uint8)
    truth[ORGAN, 4] = 1
    assert kinds(summary_of(organ_on(3, 4, 5), truth=truth)) == ["one_slice"]


def test_windows():
    assert kinds(summary_of(organ_on(4), intensity=Intensity(WINDOWS["lung"]))) == []
    assert kinds(summary_of(organ_on(4), intensity=Intensity((400.0, 300.0)))) == ["saturated"]
    grey = Volume(np.clip(scan().voxels // 8 + 130, 0, 255).astype(np.uint8))
    assert kinds(summary_of(organ_on(4), volume=grey, intensity=Intensity((120.0, 260.0)))) == ["not_hounsfield"]


def test_most_slices_to_review():
    assert kinds(summary_of(organ_on(3, 4, 5), score=0.2)) == ["review"]


@pytest.mark.parametrize(
    ("one", "other", "iou"), [((0, 0, 1, 1), (0, 0, 1, 1), 1), ((0, 0, 1, 1), (1, 1, 2, 2), 1 / 7)]
)
def test_overlap_of_boxes(one, other, iou):
    assert overlap_of_boxes(one, other) == pytest.approx(iou)


def test_the_end_of_a_run(tmp_path, capsys):
    image, masks = write_two_blocks(tmp_path)
    command = ["-i", image, "-m", masks, "-b", "--objects", "per_label", "--method", "region_growing", "--swap_axes"]
    words = [*map(str, command), "-r", str(tmp_path / "r")]
    assert cli.run_main(process_video.main, [*words, "--strict"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out == [
        "case: object 1: 560 voxels, 5.0 ml, slices 2 to 5, Dice 1.000, 0 to review",
        "case: object 2: 896 voxels, 8.1 ml, slices 2 to 5, Dice 1.000, 0 to review",
        f"case: results: {tmp_path / 'r' / 'case'}",
    ]
    write_nifti(tmp_path / "empty.nii.gz", np.full((40, 30, 7), 40, np.int16))
    words = ["-i", tmp_path / "empty.nii.gz", "--slice", 3, "--box", 6, 4, 19, 13, "--method", "region_growing"]
    words = [*map(str, words), "-r", str(tmp_path / "r")]
    assert cli.run_main(process_video.main, words) == 0
    assert "empty: warning: object 1:" in capsys.readouterr().out
    assert cli.run_main(process_video.main, [*words, "--strict"]) == 1
    assert "(--strict)" in capsys.readouterr().err
    newest = max((tmp_path / "r" / "empty").glob("run_*.json"))
    manifest = json.loads(newest.read_text())
    assert manifest["summary"]["warnings"] and manifest["status"] == "done"
    table = max((tmp_path / "r" / "empty").glob("results_*.csv")).read_text()
    [row] = [line.split(",") for line in table.splitlines() if line.startswith("warnings,")]
    assert float(row[3]) == len(manifest["summary"]["warnings"])


def test_where_an_object_was_said_not_to_be_there_is_nothing_to_review():
    volume = scan()
    absent = Prompt(PROMPT.slice + 2, absent=True)
    segmentation = Segmentation(volume, GreySlices(volume), [PROMPT, absent])
    for index in range(SLICES):
        mask = ORGAN if index in (PROMPT.slice, PROMPT.slice + 1) else np.zeros(SHAPE, bool)
        segmentation.add(SlicePredictions(index, {1: Prediction(mask, 0.9 if mask.any() else None)}))
    assert segmentation.to_review == []
    assert segmentation.reviews[absent.slice].score is None
