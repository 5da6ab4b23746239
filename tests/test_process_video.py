"""process_video.py from the command line: one prompt for a volume, by each method."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

import process_image
import process_video
from comparison.benchmarks import versions
from pose import cli, segmenters
from pose.runs.one_prompt import OnePrompt
from pose.scores.likely_dice import USUAL_SCORE
from pose.segmenters import loading, models
from scripts import make_phantom
from tests.cases import AFFINE, DarkInBox, two_blocks, write_nifti, write_two_blocks
from tests.networks import TINY, save_random_weights
from tests.test_process_image import TIMES, only


def run(*arguments) -> int:
    return cli.run_main(process_video.main, [str(argument) for argument in arguments])


@pytest.fixture()
def files(tmp_path) -> tuple[Path, Path]:
    return write_two_blocks(tmp_path)


def raw_data_of(folder: Path) -> pd.DataFrame:
    return pd.read_csv(only(folder, "raw_data_*.csv"))


@pytest.mark.parametrize("swap", [True, False])
@pytest.mark.parametrize("method", ["region_growing", "chain"])
def test_one_prompt_segments_the_volume_in_the_geometry_of_the_scan(files, tmp_path, monkeypatch, method, swap):
    monkeypatch.setattr(segmenters, "build_slice_segmenter", lambda *_: DarkInBox())
    monkeypatch.setattr(loading, "kinds_of", lambda spec: DarkInBox.prompt_kinds)
    image, masks = files
    assert (
        run(
            "-i",
            image,
            "-m",
            masks,
            *(["--swap_axes"] if swap else []),
            "-w",
            "-b",
            "--objects",
            "per_label",
            "--method",
            method,
            "--model",
            "lite_medsam",
        )
        == 0
    )
    folder = tmp_path / "results_video" / "case"
    written = nibabel.load(only(folder, "masks_*.nii.gz"))
    np.testing.assert_array_equal(written.affine, nibabel.load(image).affine)
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), two_blocks()[1])
    raw_data = raw_data_of(folder)
    assert raw_data["slice"].tolist() == list(range(7))
    assert raw_data["dice"].dropna().tolist() == [1.0] * 4 and raw_data["false_positive_voxels"].sum() == 0
    manifest = json.loads(only(folder, "run_*.json").read_text())
    assert manifest["method"] == method and manifest["prompted_slices"] == 1 and manifest["masked_slices"] == 4
    prompts = json.loads(only(folder, "sam_prompts_*.json").read_text())["prompts"]
    assert [(entry["slice"], entry["object_id"]) for entry in prompts] == [(4, 1), (4, 2)]


@pytest.mark.parametrize(
    ("arguments", "expected", "to_review"),
    [
        (["--method", "chain"], [-1, 1, 0, 0, 0, 0, 1], 2),
        (["--method", "chain", "--review_below", 0.9], [-1, 1, 1, 1, 1, 1, 1], 6),
        (["--method", "region_growing"], [-1] * 7, None),
    ],
)
def test_slices_that_need_review(files, tmp_path, monkeypatch, arguments, expected, to_review):
    monkeypatch.setattr(segmenters, "build_slice_segmenter", lambda *_: DarkInBox())  # its score is 0.75
    monkeypatch.setattr(loading, "kinds_of", lambda spec: DarkInBox.prompt_kinds)
    image, masks = files
    assert run("-i", image, "-m", masks, "-w", "-b", "--model", "lite_medsam", *arguments) == 0
    folder = tmp_path / "results_video" / "case"
    raw_data = raw_data_of(folder)
    assert raw_data["needs_review"].fillna(-1).tolist() == expected
    results = pd.read_csv(only(folder, "results_*.csv")).set_index("metric")
    if to_review is not None:
        # a block breaks off at both ends; such a low score is a doubt about all of it, which is said once
        assert raw_data["review_score"].tolist()[1:] == pytest.approx([0, *[USUAL_SCORE] * 4, 0], abs=1e-12)
        assert results.loc["likely_dice", "avg"] == pytest.approx(0.4827, abs=5e-5)  # as it is calibrated
        warnings = json.loads(only(folder, "run_*.json").read_text())["summary"]["warnings"]
        (unlikely,) = (one["text"] for one in warnings if one["kind"] == "unlikely")
        assert unlikely.startswith("object 1: likely Dice 0.48 (") and unlikely.endswith("further slice, such as 3")
    assert raw_data["review_score"].isna().tolist() == [one == -1 for one in expected]
    counted = results.loc["slices_to_review", ["avg", "n"]].tolist()
    assert counted[1] == 0 if to_review is None else counted == [to_review, 1]


def test_sam2_memory_fills_every_column(files, tmp_path, monkeypatch):
    checkpoint = save_random_weights(tmp_path / TINY.checkpoint)
    monkeypatch.setattr(models, "find_model", lambda *_: TINY)
    image, masks = files
    assert (
        run(
            "-i",
            image,
            "-m",
            masks,
            "-b",
            "--model",
            "tiny_random",
            "--checkpoint_file_path",
            checkpoint,
            "--precision",
            "fp32",
            "--device",
            "cpu",
            "-d",
        )
        == 0
    )
    folder = tmp_path / "results_video" / "case"
    raw_data = raw_data_of(folder)
    assert len(raw_data) == 7 and raw_data[["sam_score", "object_score", "predicted_voxels", *TIMES]].notna().all(
        axis=None
    )
    assert raw_data[["needs_review", "review_score"]].notna().all(axis=None)
    manifest = json.loads(only(folder, "run_*.json").read_text())
    assert manifest["method"] == "sam2_memory" and manifest["precision"] == "fp32" and manifest["device"] == "cpu"
    assert manifest["checkpoint"]["sha256"] == models.sha256_of(checkpoint)
    assert len(list((tmp_path / "results_video" / "case").glob("debug_*/slice_*_prediction.png"))) == 7


def test_sam2_memory_that_is_too_large_once_is_done_with_less(files, tmp_path, monkeypatch):
    import torch

    from pose.segmenters.sam2.half import HalfOfVolume

    asked, steered = [], HalfOfVolume._steered

    def too_large_at_first(self, *arguments):
        asked.append(self._settings.less_memory)
        if not self._settings.less_memory:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return steered(self, *arguments)

    monkeypatch.setattr(HalfOfVolume, "_steered", too_large_at_first)
    monkeypatch.setattr(models, "find_model", lambda *_: TINY)
    image, masks = files
    other = write_two_blocks(tmp_path, "other")
    checkpoint = save_random_weights(tmp_path / TINY.checkpoint)
    assert (
        run(
            "-i",
            image,
            other[0],
            "-m",
            masks,
            other[1],
            "-b",
            "--model",
            "tiny_random",
            "--checkpoint_file_path",
            checkpoint,
            "--precision",
            "fp32",
            "--device",
            "cpu",
        )
        == 0
    )
    for name in ("case", "other"):  # the second volume is tried in full again
        manifest = json.loads(only(tmp_path / "results_video" / name, "run_*.json").read_text())
        assert manifest["less_memory"] is True and manifest["method"] == "sam2_memory"
    volumes = "".join("L" if less else "f" for less in asked).replace("fL", "f L").split("Lf")
    assert len(volumes) == 2


@pytest.mark.parametrize("method", ["region_growing", "chain", "sam2_memory"])
def test_every_method_works_inside_a_crop_and_answers_in_the_whole_frame(files, tmp_path, monkeypatch, method):
    monkeypatch.setattr(segmenters, "build_slice_segmenter", lambda *_: DarkInBox())
    monkeypatch.setattr(loading, "kinds_of", lambda spec: DarkInBox.prompt_kinds)
    monkeypatch.setattr(models, "find_model", lambda *_: TINY)
    checkpoint = save_random_weights(tmp_path / TINY.checkpoint)
    scan, labels = two_blocks()
    in_air = np.full((100, 80, 7), -1000, dtype=np.int16)
    in_air[30:70, 20:50] = scan
    masks_in_air = np.zeros(in_air.shape, dtype=np.uint8)
    masks_in_air[30:70, 20:50] = labels
    image, masks = write_nifti(tmp_path / "air.nii.gz", in_air), write_nifti(tmp_path / "air_mask.nii.gz", masks_in_air)
    assert (
        run(
            "-i",
            image,
            "-m",
            masks,
            "--swap_axes",
            "-w",
            "-b",
            "--objects",
            "per_label",
            "--crop",
            "body",
            "--method",
            method,
            "--checkpoint_file_path",
            checkpoint,
            "--precision",
            "fp32",
            "--device",
            "cpu",
        )
        == 0
    )
    folder = tmp_path / "results_video" / "air"
    box = json.loads(only(folder, "run_*.json").read_text())["crop"]
    # rows are y: 20 to 49, columns are x: 30 to 69, and 2 pixels round them
    assert box == {"row_min": 18, "column_min": 28, "row_max": 51, "column_max": 71}
    found = np.asanyarray(nibabel.load(only(folder, "masks_*.nii.gz")).dataobj)
    if method == "sam2_memory":  # its weights are random: all that is known is that nothing lies outside the box
        assert raw_data_of(folder)["sam_score"].notna().all()
        found[28:72, 18:52] = 0
        assert not found.any()
    else:
        np.testing.assert_array_equal(found, masks_in_air)
        prompts = json.loads(only(folder, "sam_prompts_*.json").read_text())["prompts"]
        assert prompts[0]["box"] == {"row_min": 26, "column_min": 34, "row_max": 39, "column_max": 43}


@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize("script", [process_image, process_video])
def test_image_size_reaches_the_network_and_the_manifest(files, tmp_path, monkeypatch, script, size):
    from pose.segmenters.sam2 import image as sam2_image

    sizes = []
    build = sam2_image.fill_weights
    monkeypatch.setattr(
        sam2_image,
        "fill_weights",
        lambda network, *rest, **more: (sizes.append(network.image_size), build(network, *rest, **more))[1],
    )
    checkpoint = save_random_weights(tmp_path / TINY.checkpoint)
    monkeypatch.setattr(models, "find_model", lambda *_: TINY)
    image, masks = files
    command = [
        "-i",
        image,
        "-m",
        masks,
        "-b",
        "--image_size",
        size,
        "--checkpoint_file_path",
        checkpoint,
        "--precision",
        "fp32",
        "--device",
        "cpu",
        "-r",
        tmp_path / "results",
    ]
    assert cli.run_main(script.main, [str(word) for word in command]) == 0
    assert sizes == [size]
    assert json.loads(only(tmp_path / "results" / "case", "run_*.json").read_text())["image_size"] == size
    scores = raw_data_of(tmp_path / "results" / "case")["sam_score"]
    assert scores.notna().sum() == (4 if script is process_image else 7)


@pytest.mark.parametrize(("how", "expected"), [("centre", 4), ("largest", 2), ("3", 3)])
def test_the_prompted_slice(files, tmp_path, how, expected):
    image, masks = files
    assert run("-i", image, "-m", masks, "-w", "--method", "region_growing", "--prompt_slice", how) == 0
    folder = tmp_path / "results_video" / "case"
    assert json.loads(only(folder, "sam_prompts_*.json").read_text())["prompts"][0]["slice"] == expected


def test_prompts_from_the_user_without_ground_truth(files, tmp_path):
    image, masks = files
    assert run("-i", image, "--swap_axes", "-w", "--method", "region_growing", "-s", 3, "--box", 6, 4, 19, 13) == 0
    first = tmp_path / "results_video" / "case"
    raw_data = raw_data_of(first)
    assert raw_data["predicted_voxels"].tolist() == [0, 0, 140, 140, 140, 140, 0] and raw_data["dice"].isna().all()
    saved = only(first, "sam_prompts_*.json")
    assert (
        run(
            "-i",
            image,
            "-m",
            masks,
            "--swap_axes",
            "-w",
            "--method",
            "region_growing",
            "--prompt_file_path",
            saved,
            "-r",
            tmp_path / "again",
        )
        == 0
    )
    again = raw_data_of(tmp_path / "again" / "case")
    assert again["predicted_voxels"].tolist() == raw_data["predicted_voxels"].tolist() and again["dice"].notna().any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "sam2_memory", "--model", "lite_medsam"], "lite_medsam has no video memory"),
        (
            ["--method", "region_growing", "--prompt_slice", "0"],
            "slice 0 holds no label, the nearest one with a label is 2",
        ),
        (["--method", "region_growing", "--image_size", "64"], "--image_size 64: --method region_growing has no"),
        (["--model", "tiny", "--image_size", "48"], "--image_size 48: not a multiple of 32"),
        (["--model", "tiny"], "sam2_hiera_tiny.pt: the weights of --model tiny are not there"),
        (["--model", "lite_medsam"], "lite_medsam takes box and mask only"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_2(files, tmp_path, capsys, arguments, message):
    image, masks = files
    assert run("-i", image, "-m", masks, *arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert not (tmp_path / "results_video").exists()


def test_lite_medsam_carried_through_a_phantom(tmp_path):
    assert make_phantom.main(["-o", str(tmp_path), "--shape", "128", "128", "7", "--name", "p"]) == 0
    assert (
        run(
            "-i",
            tmp_path / "p_ct.nii.gz",
            "-m",
            tmp_path / "p_lungs.nii.gz",
            "--swap_axes",
            "-w",
            "-b",
            "--objects",
            "per_label",
            "--model",
            "lite_medsam",
        )
        == 0
    )
    results = pd.read_csv(only(tmp_path / "results_video" / "p_ct", "results_*.csv")).set_index("metric")
    assert results.loc["volume_dice", "avg"] >= 0.9


def write_vanishing_object(folder: Path) -> tuple[Path, Path]:
    """Write a noisy scan with an ellipse of air on slices 0 to 3, nothing on 4 and 5, and one elsewhere on 6 to 8."""
    x, y = np.ogrid[:96, :96]
    labels = np.zeros((96, 96, 9), dtype=np.uint8)
    for index in (0, 1, 2, 3, 6, 7, 8):
        centre = (30 + index, 32) if index < 4 else (62, 56 + index)
        labels[:, :, index] = ((x - centre[0]) / 16) ** 2 + ((y - centre[1]) / 20) ** 2 <= 1
    scan = np.random.default_rng(0).normal(np.where(labels, -800, 40), 30).astype(np.int16)
    # slices so far apart that a network is not shown the object from the side as well
    affine = AFFINE @ np.diag([1, 1, 12, 1])
    return (write_nifti(folder / "case.nii.gz", scan, affine), write_nifti(folder / "case_mask.nii.gz", labels, affine))


@pytest.mark.parametrize("method", [pytest.param("chain", marks=pytest.mark.slow), "region_growing"])
def test_a_prompt_on_a_further_slice_repairs_its_half(tmp_path, method):
    image, masks = write_vanishing_object(tmp_path)
    boxes = [
        {"slice": 2, "box": {"row_min": 12, "column_min": 16, "row_max": 52, "column_max": 48}},
        {"slice": 7, "box": {"row_min": 43, "column_min": 46, "row_max": 83, "column_max": 78}},
    ]
    found, dice = [], []
    # the second run takes the slices that the first has encoded
    kept = ["--embeddings_cache", tmp_path / "embeddings"] if method == "chain" else []
    for count in (1, 2):
        prompts = tmp_path / "prompts.json"
        prompts.write_text(json.dumps({"prompts": boxes[:count]}))
        results = tmp_path / f"with_{count}"
        assert (
            run(
                "-i",
                image,
                "-m",
                masks,
                "--swap_axes",
                "-w",
                "--method",
                method,
                "--model",
                "lite_medsam",
                "--prompt_file_path",
                prompts,
                "-r",
                results,
                *kept,
            )
            == 0
        )
        found.append(np.asanyarray(nibabel.load(only(results / "case", "masks_*.nii.gz")).dataobj))
        dice.append(raw_data_of(results / "case")["dice"].to_numpy())
    assert dice[0][:4].min() >= 0.9 and dice[0][6:].tolist() == [0, 0, 0]
    assert dice[1][6:].min() >= 0.9
    np.testing.assert_array_equal(found[0][:, :, :6], found[1][:, :, :6])
    assert not found[1][:, :, 4:6].any()
    # where the object is lost between slices that hold it, somebody should look
    assert raw_data_of(tmp_path / "with_2" / "case")["needs_review"].tolist()[4:6] == [1, 1]


def test_names_and_prompts_for_each_of_several_volumes(tmp_path):
    """Scans that are all called alike, one folder each, and prompts of their own."""
    images, prompts = [], []
    for patient, box in (("anna", (6, 4, 19, 13)), ("bert", (8, 22, 23, 35))):
        scan, _ = two_blocks()
        images.append(write_nifti(tmp_path / patient / "ct.nii.gz", scan))
        prompts.append(tmp_path / patient / "prompts.json")
        corners = dict(zip(("row_min", "column_min", "row_max", "column_max"), box, strict=True))
        prompts[-1].write_text(json.dumps({"prompts": [{"slice": 3, "box": corners}]}))
    results = tmp_path / "results"
    common = ("--swap_axes", "-w", "--method", "region_growing", "-r", results)
    assert run("-i", *images, "--names", "anna", "bert", "--prompt_file_path", *prompts, *common) == 0
    assert sorted(path.name for path in results.iterdir()) == ["anna", "bert"]
    labels = two_blocks()[1]
    for patient, label in (("anna", 1), ("bert", 2)):
        found = np.asanyarray(nibabel.load(only(results / patient, "masks_*.nii.gz")).dataobj)
        np.testing.assert_array_equal(found > 0, labels == label)
    # one file of prompts serves all, and a volume whose own prompts changed is done again
    assert run("-i", *images, "--names", "anna", "bert", "--prompt_file_path", prompts[0], *common, "--resume") == 0
    assert [len(list((results / patient).glob("run_*"))) for patient in ("anna", "bert")] == [1, 2]
    assert run("-i", *images, "--prompt_file_path", *prompts, *common) == cli.EXIT_USER_ERROR  # both are called ct


def test_what_is_written_beside_the_next_volume_is_the_same(tmp_path, monkeypatch, capsys):
    names = "abc"
    for name in names:
        write_two_blocks(tmp_path / name)
    scans = [tmp_path / name / "case.nii.gz" for name in names]
    masks = [tmp_path / name / "case_mask.nii.gz" for name in names]
    said = {}
    for how, free in (("at once", False), ("beside", True)):
        monkeypatch.setattr(OnePrompt, "leaves_cpu_free", lambda self, free=free: free)
        common = ["-i", *scans, "-m", *masks, "--names", *names, "-b", "-d", "--method", "region_growing"]
        assert run(*common, "-r", tmp_path / how) == 0
        said[how] = capsys.readouterr().out.replace(str(tmp_path / how), "")
    assert said["at once"] == said["beside"] and said["beside"].count(": results: ") == 3
    at_once, beside = versions.written(tmp_path / "at once"), versions.written(tmp_path / "beside")
    assert versions.differing(at_once, beside) == [] and len(beside) == 3 * len(versions.COMPARED)
