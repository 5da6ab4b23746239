"""process_image.py from the command line: files, scores, geometry, prompts given and saved, mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import nifti_to_numpy
import process_image
from pose import cli, segmenters
from pose.files.repository import REPOSITORY_FOLDER
from pose.results import newest_run
from pose.segmenters import loading, models
from scripts import make_phantom
from tests.cases import DarkInBox, two_blocks, write_nifti, write_two_blocks

TIMES = ["set_image_time", "predict_image_time", "process_image_time"]


@pytest.fixture()
def real_model_files(tmp_path) -> tuple[Path, Path]:
    return write_two_blocks(tmp_path)


@pytest.fixture()
def files(real_model_files, monkeypatch) -> tuple[Path, Path]:
    """The same files, and a stand-in in the place of the model."""
    monkeypatch.setattr(segmenters, "build_slice_segmenter", lambda *_: DarkInBox())
    monkeypatch.setattr(loading, "kinds_of", lambda spec: DarkInBox.prompt_kinds)
    return real_model_files


def run(*arguments) -> int:
    return cli.run_main(process_image.main, [str(argument) for argument in arguments])


def only(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    assert len(found) == 1, (pattern, sorted(folder.iterdir()))
    return found[0]


def test_every_file_of_a_run_and_its_numbers(files, tmp_path):
    image, masks = files
    assert run("-i", image, "-m", masks, "--swap_axes", "-w", "-b", "--model", "lite_medsam") == 0
    folder = tmp_path / "results" / "case"
    assert len(list(folder.iterdir())) == 6
    raw_data = pd.read_csv(only(folder, "raw_data_*.csv"))
    assert list(raw_data.columns[:4]) == ["slice", "jaccard", "dice", "sam_score"]
    assert raw_data["slice"].tolist() == list(range(7))
    assert raw_data["jaccard"].isna().tolist() == [True, True, False, False, False, False, True]
    assert raw_data["dice"].dropna().tolist() == [1.0] * 4
    assert raw_data["sam_score"].dropna().tolist() == [0.75] * 4
    assert raw_data["ground_truth_voxels"].tolist() == [0, 0, 364, 364, 364, 364, 0]
    assert raw_data["needs_review"].fillna(-1).tolist() == [-1, -1, 1, 1, 1, 1, -1]
    results = pd.read_csv(only(folder, "results_*.csv")).set_index("metric")
    assert list(results.columns[:4]) == ["min", "max", "avg", "std"]
    assert results.loc["volume_dice", "avg"] == 1 and results.loc["volume_hd95_mm", "avg"] == 0
    assert results.loc["slices_to_review", "avg"] == 4
    prompts = json.loads(only(folder, "sam_prompts_*.json").read_text())
    assert prompts["shape"] == {"rows": 30, "columns": 40, "slices": 7} and prompts["swap_axes"] is True
    assert [entry["slice"] for entry in prompts["prompts"]] == [2, 3, 4, 5]
    assert prompts["prompts"][0]["box"] == {"row_min": 6, "column_min": 4, "row_max": 23, "column_max": 35}
    manifest = json.loads(only(folder, "run_*.json").read_text())
    assert manifest["status"] == "done" and manifest["model"] == "lite_medsam"
    assert manifest["checkpoint"]["sha256"] == "0" * 64 and manifest["prompted_slices"] == 4
    assert manifest["arguments"]["use_bounding_box"] is True and len(manifest["image"]["sha256"]) == 64
    assert only(folder, "contact_sheet_*.png").stat().st_size > 10_000


def test_flags_for_figures_change_prompts_and_write_pictures(files, tmp_path):
    image, masks = files
    figure = tmp_path / "figures" / "{slice}.png"
    flags = ["--swap_axes", "-w", "--model", "lite_medsam"]
    drawn = ["--gif", "contour", "--figure", figure, "prediction", "truth"]
    assert run("-i", image, "-m", masks, *flags, *drawn, "--displace_negative_point", "-2") == 0
    assert sorted(path.name for path in figure.parent.iterdir()) == ["2.png", "3.png", "4.png", "5.png"]
    folder = tmp_path / "results" / "case"
    with Image.open(only(folder, "predictions_*.gif")) as gif:
        assert gif.n_frames == 6 and gif.size == (320, 320)
    manifest = json.loads(only(folder, "run_*.json").read_text())
    assert manifest["arguments"]["figure"] == [[str(figure), "prediction", "truth"]]
    assert manifest["files"]["predictions"] == only(folder, "predictions_*.gif").name

    def negative_points(results_folder: Path) -> list[tuple[int, int]]:
        prompts = json.loads(only(results_folder / "case", "sam_prompts_*.json").read_text())["prompts"]
        return [(point["row"], point["column"]) for point in prompts[0]["points"] if point["label"] == 0]

    assert negative_points(tmp_path / "results") == [(13, 20)]
    assert run("-i", image, "-m", masks, *flags, "--no_negative_point", "-r", tmp_path / "r") == 0
    assert negative_points(tmp_path / "r") == []


def test_a_centre_of_mass_stays_outside_where_asked(files, tmp_path):
    labels = np.zeros((40, 30, 1), np.uint8)
    labels[5:35, 5:25] = 1
    labels[10:30, 10:30] = 0  # a corner, whose centre of mass is outside
    image = write_nifti(tmp_path / "corner.nii.gz", np.where(labels, -800, 40).astype(np.int16))
    masks = write_nifti(tmp_path / "corner_mask.nii.gz", labels)
    points = []
    for flags in ([], ["--no_move_centroids"]):
        folder = tmp_path / f"results_{len(flags)}"
        assert (
            run("-i", image, "-m", masks, "-w", "--model", "lite_medsam", "-r", folder, "--no_swap_axes", *flags) == 0
        )
        prompts = json.loads(only(folder / "corner", "sam_prompts_*.json").read_text())["prompts"]
        points.append([(point["row"], point["column"]) for point in prompts[0]["points"] if point["label"] == 1][0])
    assert labels[points[0]] == 1
    assert points[1] == tuple(np.argwhere(labels[:, :, 0]).mean(axis=0).round().astype(int)) and labels[points[1]] == 0


@pytest.mark.parametrize("swap", [True, False])
def test_masks_overlay_the_scan(files, tmp_path, swap):
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
            "--model",
            "lite_medsam",
        )
        == 0
    )
    written = nibabel.load(only(tmp_path / "results" / "case", "masks_*.nii.gz"))
    np.testing.assert_array_equal(written.affine, nibabel.load(image).affine)
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), two_blocks()[1])
    assert written.get_data_dtype() == np.uint8


def test_working_data_and_nifti_give_the_same_to_the_bit(files, tmp_path):
    rows, masks_found = [], []
    image, masks = files
    for suffix in (".npz", ".npy"):
        for source in files:
            nifti_to_numpy.main(
                ["-i", str(source), "-o", str(tmp_path / suffix[1:] / (source.name[:-7] + suffix)), "-s"]
            )
    for folder, suffix in ((tmp_path, ".nii.gz"), (tmp_path / "npz", ".npz"), (tmp_path / "npy", ".npy")):
        swap = ["--swap_axes"] if suffix == ".nii.gz" else []
        assert (
            run(
                "-i",
                folder / f"case{suffix}",
                "-m",
                folder / f"case_mask{suffix}",
                *swap,
                "-b",
                "--model",
                "lite_medsam",
            )
            == 0
        )
        results = folder / "results" / "case"
        rows.append(pd.read_csv(only(results, "raw_data_*.csv")).drop(columns=TIMES))
        masks_found.append(nibabel.load(only(results, "masks_*.nii.gz")))
    for other_rows, other_masks in zip(rows[1:], masks_found[1:]):
        pd.testing.assert_frame_equal(rows[0], other_rows, check_exact=True)
        np.testing.assert_array_equal(masks_found[0].dataobj, other_masks.dataobj)
        np.testing.assert_array_equal(masks_found[0].affine, other_masks.affine)


def test_saved_prompts_reproduce_the_run(files, tmp_path):
    image, masks = files
    common = [
        "-i",
        image,
        "-m",
        masks,
        "-s",
        "3",
        "--swap_axes",
        "-w",
        "--model",
        "lite_medsam",
        "--objects",
        "per_label",
    ]
    assert run(*common, "-b", "-r", tmp_path / "first") == 0
    saved = only(tmp_path / "first" / "case", "sam_prompts_*.json")
    assert run(*common, "--prompt_file_path", saved, "-r", tmp_path / "second") == 0
    first, second = (pd.read_csv(only(tmp_path / name / "case", "raw_data_*.csv")) for name in ("first", "second"))
    pd.testing.assert_frame_equal(first.drop(columns=TIMES), second.drop(columns=TIMES), check_exact=True)
    assert only(tmp_path / "second" / "case", "sam_prompts_*.json").read_text() == saved.read_text()
    assert first[["jaccard_label_1", "dice_label_2"]].to_numpy().tolist() == [[1.0, 1.0]]


def test_one_slice_alone(files, tmp_path):
    image, masks = files
    assert run("-i", image, "-m", masks, "--swap_axes", "-s", 4, "-b", "-w", "-d", "--model", "lite_medsam") == 0
    folder = tmp_path / "results" / "case"
    assert pd.read_csv(only(folder, "raw_data_*.csv"))["slice"].tolist() == [4]
    assert "volume_dice" not in pd.read_csv(only(folder, "results_*.csv"))["metric"].tolist()
    manifest = json.loads(only(folder, "run_*.json").read_text())
    assert (manifest["slices"], manifest["prompted_slices"], manifest["masked_slices"]) == (1, 1, 1)
    [debug] = (tmp_path / "results" / "case").glob("debug_*")
    assert sorted(path.name for path in debug.iterdir()) == ["slice_4_prediction.png", "slice_4_prompt.json"]
    assert json.loads((debug / "slice_4_prompt.json").read_text())["prompts"][0]["slice"] == 4


def test_prompts_from_the_user_need_no_ground_truth(files, tmp_path):
    image, _ = files
    assert (
        run(
            "-i",
            image,
            "--swap_axes",
            "-w",
            "-s",
            3,
            "--box",
            6,
            4,
            19,
            13,
            "--point",
            10,
            8,
            "--negative_point",
            0,
            0,
            "--model",
            "lite_medsam",
        )
        == 0
    )
    folder = tmp_path / "results" / "case"
    raw_data = pd.read_csv(only(folder, "raw_data_*.csv"))
    assert raw_data["predicted_voxels"].tolist() == [140] and raw_data["jaccard"].isna().all()
    assert json.loads(only(folder, "run_*.json").read_text())["masked_slices"] is None
    prompt = json.loads(only(folder, "sam_prompts_*.json").read_text())["prompts"][0]
    assert prompt["points"] == [{"row": 10, "column": 8, "label": 1}, {"row": 0, "column": 0, "label": 0}]


def test_labels_that_do_not_count_are_left_out(files, tmp_path):
    image, masks = files
    assert run("-i", image, "-m", masks, "--labels", 2, "--swap_axes", "-w", "-b", "--model", "lite_medsam") == 0
    raw_data = pd.read_csv(only(tmp_path / "results" / "case", "raw_data_*.csv"))
    assert raw_data["ground_truth_voxels"].max() == 14 * 16


def test_a_crop_changes_nothing_but_what_the_model_sees(files, tmp_path, monkeypatch):
    seen = []

    class Watched(DarkInBox):
        def set_image(self, grey):
            seen.append(grey.shape)
            super().set_image(grey)

    monkeypatch.setattr(segmenters, "build_slice_segmenter", lambda *_: Watched())
    monkeypatch.setattr(loading, "kinds_of", lambda spec: DarkInBox.prompt_kinds)
    _, masks = files
    scan, _ = two_blocks()
    scan[:2] = scan[39:] = scan[:, :3] = scan[:, 28:] = -1000  # air round the blocks' surroundings, x and y
    image = write_nifti(tmp_path / "in_air.nii.gz", scan)
    for crop in ("none", "body"):
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
                crop,
                "--model",
                "lite_medsam",
                "-d",
                "-r",
                tmp_path / crop,
            )
            == 0
        )
    assert seen == [(30, 40)] * 4 + [(27, 39)] * 4
    whole, cropped = (tmp_path / crop / "in_air" for crop in ("none", "body"))
    tables = [pd.read_csv(only(folder, "raw_data_*.csv")).drop(columns=TIMES) for folder in (whole, cropped)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert tables[0]["dice"].dropna().tolist() == [1.0] * 4
    assert only(whole, "sam_prompts_*.json").read_text() == only(cropped, "sam_prompts_*.json").read_text()
    written = [nibabel.load(only(folder, "masks_*.nii.gz")) for folder in (whole, cropped)]
    np.testing.assert_array_equal(written[1].dataobj, two_blocks()[1])
    np.testing.assert_array_equal(written[0].affine, written[1].affine)
    boxes = [json.loads(only(folder, "run_*.json").read_text())["crop"] for folder in (whole, cropped)]
    assert boxes == [
        {"row_min": 0, "column_min": 0, "row_max": 29, "column_max": 39},
        {"row_min": 2, "column_min": 1, "row_max": 28, "column_max": 39},
    ]


def test_repetitions_are_written_and_the_medians_of_those_counted(files, tmp_path, monkeypatch):
    calls = []

    class Slower(DarkInBox):
        """Its k-th call takes k milliseconds by the clock of the test."""

        def set_image(self, grey):
            calls.append("set_image")
            super().set_image(grey)

        def predict(self, prompt, multimask_output=False):
            calls.append("predict")
            return super().predict(prompt, multimask_output)

    monkeypatch.setattr(segmenters, "build_slice_segmenter", lambda *_: Slower())
    monkeypatch.setattr(loading, "kinds_of", lambda spec: DarkInBox.prompt_kinds)
    monkeypatch.setattr("pose.segmenters.slice_by_slice.perf_counter", lambda: len(calls) * (len(calls) + 1) / 2000)
    image, masks = files
    other, other_masks = write_two_blocks(tmp_path, "other")
    assert (
        run(
            "-i",
            image,
            other,
            "-m",
            masks,
            other_masks,
            "--swap_axes",
            "-w",
            "-b",
            "--model",
            "lite_medsam",
            "--repeat",
            3,
            "-r",
            tmp_path / "results",
        )
        == 0
    )
    assert calls == ["set_image", "predict"] * 4 * 8
    folder = tmp_path / "results" / "case"
    times = pd.read_csv(only(folder, "times_*.csv"))
    assert times["slice"].tolist() == [slice_index for slice_index in (2, 3, 4, 5) for _ in range(4)]
    assert times["repetition"].tolist() == [0, 1, 2, 3] * 4
    first = times[times["slice"] == 2]
    assert first["set_image_time"].tolist() == pytest.approx([0.001, 0.003, 0.005, 0.007])
    assert first["predict_image_time"].tolist() == pytest.approx([0.002, 0.004, 0.006, 0.008])
    assert first["process_image_time"].tolist() == pytest.approx([0.003, 0.007, 0.011, 0.015])
    raw_data = pd.read_csv(only(folder, "raw_data_*.csv")).set_index("slice")
    assert raw_data.loc[2, TIMES].tolist() == pytest.approx([0.005, 0.006, 0.011])
    assert raw_data["dice"].dropna().tolist() == [1.0] * 4
    timings = [json.loads(only(folder.parent / name, "run_*.json").read_text())["timing"] for name in ("case", "other")]
    assert [timing["repeat"] for timing in timings] == [3, 3]
    assert [timing["first_of_process"] for timing in timings] == [True, False]
    assert newest_run(folder).times == only(folder, "times_*.csv")


def test_without_repetitions_the_manifest_tells_where_the_warm_up_is(files, tmp_path):
    image, masks = files
    other, other_masks = write_two_blocks(tmp_path, "other")
    assert run("-i", image, other, "-m", masks, other_masks, "-w", "-b", "--model", "lite_medsam") == 0
    folder = tmp_path / "results"
    timings = [json.loads(only(folder / name, "run_*.json").read_text())["timing"] for name in ("case", "other")]
    assert timings[0] == {
        "repeat": None,
        "first_of_process": True,
        "warm_up": "the first slice segmented is the model's first of this process, and is counted in raw_data",
    }
    assert timings[1]["first_of_process"] is False
    assert not list(folder.rglob("times_*"))


def test_dry_run_writes_the_picture_of_the_prompts_alone(files, tmp_path, capsys):
    image, masks = files
    before = sorted(tmp_path.rglob("*"))
    assert run("-i", image, "-m", masks, "-n", "-b", "--model", "lite_medsam") == 0
    out = capsys.readouterr().out
    picture = tmp_path / "results" / "case_prompt.png"
    assert "case: would prompt lite_medsam on 4 of 7 slices" in out and out.endswith(f"picture: {picture}\n")
    assert sorted(tmp_path.rglob("*")) == sorted([*before, picture.parent, picture])
    assert len(Image.open(picture).convert("RGB").getcolors(1 << 20)) > 20


def test_a_failed_volume_does_not_stop_the_rest(files, tmp_path, capsys):
    image, masks = files
    empty = write_nifti(tmp_path / "empty.nii.gz", np.zeros((40, 30, 7), dtype=np.int16))
    no_labels = write_nifti(tmp_path / "no_labels.nii.gz", np.zeros((40, 30, 7), dtype=np.uint8))
    assert run("-i", empty, image, "-m", no_labels, masks, "-b", "--model", "lite_medsam") == 1
    errors = capsys.readouterr().err
    assert "1 of 2 volumes failed:" in errors and f"  {empty}: {no_labels}: no slice holds a label" in errors
    assert only(tmp_path / "results" / "case", "raw_data_*.csv")
    record = json.loads(only(tmp_path / "results" / "empty", "*").read_text())
    assert (record["status"], record["reason"]) == (
        "failed",
        f"{no_labels}: no slice holds a label, there is nothing to take a prompt from",
    )


def test_resume_skips_what_is_done_and_redoes_what_changed(files, tmp_path, capsys):
    image, masks = files
    command = ["-i", image, "-m", masks, "-b", "--model", "lite_medsam", "--resume"]
    assert run(*command) == 0 and run(*command, "-n") == 0
    assert "case: done already" in capsys.readouterr().out
    assert run(*command, "--debug") == 0
    seen = capsys.readouterr()
    assert "1 of 1 volumes were done already" in seen.out and not list(tmp_path.rglob("debug_*"))
    assert run(*command, "-w") == 0
    assert len(list((tmp_path / "results" / "case").glob("run_*.json"))) == 2


def test_out_of_memory_on_the_device_goes_to_the_cpu(real_model_files, tmp_path, monkeypatch, caplog):
    import torch

    class TooLarge(DarkInBox):
        def set_image(self, grey):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    built = []

    def build(spec, checkpoint, device, *_):
        built.append(device.type)
        return DarkInBox() if device.type == "cpu" else TooLarge()

    monkeypatch.setattr(segmenters, "build_slice_segmenter", build)
    monkeypatch.setattr(loading, "kinds_of", lambda spec: DarkInBox.prompt_kinds)
    monkeypatch.setattr(models, "choose_device", lambda name: torch.device("meta" if name == "auto" else name))
    image, masks = real_model_files
    assert run("-i", image, "-m", masks, "-w", "-b", "--model", "lite_medsam") == 0
    manifest = json.loads(only(tmp_path / "results" / "case", "run_*.json").read_text())
    assert built == ["meta", "cpu"] and (manifest["device"], manifest["less_memory"]) == ("cpu", True)
    assert "CUDA out of memory. Tried to allocate 2.00 GiB.; once more with less memory" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "{mask}", "--model", "huge"], "--model huge: unknown"),
        (["-m", "{mask}", "--model", "vit_b"], "sam_vit_b_01ec64.pth: the weights of --model vit_b are not there"),
        (["--model", "lite_medsam"], "case.nii.gz: no prompt; give --masks_file_path"),
        (["-m", "{mask}", "{mask}", "--model", "lite_medsam"], "--masks_file_path: 2 files for 1 images"),
        (["-m", "{mask}", "-s", "7", "--model", "lite_medsam"], "--slice 7 is not among its slices 0 to 6"),
        (
            ["-m", "{mask}", "-s", "0", "--model", "lite_medsam"],
            "slice 0 holds no label, the nearest one with a label is 2",
        ),
        (["-m", "{mask}", "--labels", "9", "--model", "lite_medsam"], "holds no label 9 (--labels); it holds [1, 2]"),
        (["--point", "1", "2", "--model", "lite_medsam"], "need --slice"),
        (["-s", "1", "--point", "1", "99", "--model", "lite_medsam"], "column 99"),
        (["-m", "{mask}", "--window", "moon", "--model", "lite_medsam"], "--window moon"),
        (["-m", "{mask}", "--image_size", "512", "--model", "lite_medsam"], "lite_medsam sees slices at 256 pixels"),
        (["-m", "{mask}", "--image_size", "500", "--model", "tiny"], "--image_size 500: not a multiple of 32"),
        (["-m", "{mask}", "--repeat", "2", "--embeddings_cache", "x", "--model", "lite_medsam"], "--repeat 2: times"),
        (["-m", "{mask}", "--device", "abacus", "--model", "lite_medsam"], "--device abacus"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_2(files, tmp_path, capsys, arguments, message):
    image, masks = files
    assert run("-i", image, *(argument.format(mask=masks) for argument in arguments)) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and message in error and "\n" not in error
    assert not (tmp_path / "results").exists()


def test_two_images_of_one_name_are_refused(tmp_path, capsys):
    first, _ = write_two_blocks(tmp_path / "a")
    second, _ = write_two_blocks(tmp_path / "b")
    assert run("-i", first, second, "-r", tmp_path / "results", "-s", "1", "--point", 1, 1) == 2
    assert "has the same name as" in capsys.readouterr().err


def test_lite_medsam_needs_a_box_and_says_so(real_model_files, capsys):
    image, masks = real_model_files
    assert run("-i", image, "-m", masks, "-s", 3, "--model", "lite_medsam") == 2
    error = capsys.readouterr().err
    assert "box" in error and "--use_bounding_box" in error


def test_lite_medsam_segments_the_lungs_of_a_phantom(tmp_path):
    assert make_phantom.main(["-o", str(tmp_path), "--shape", "128", "128", "9", "--name", "p"]) == 0
    assert (
        run(
            "-i",
            tmp_path / "p_ct.nii.gz",
            "-m",
            tmp_path / "p_lungs.nii.gz",
            "--swap_axes",
            "-s",
            5,
            "-w",
            "-b",
            "--objects",
            "per_label",
            "--model",
            "lite_medsam",
        )
        == 0
    )
    raw_data = pd.read_csv(only(tmp_path / "results" / "p_ct", "raw_data_*.csv"))
    assert raw_data["dice"].item() >= 0.9 and 0 < raw_data["sam_score"].item() <= 1


@pytest.mark.parametrize("script", ["process_image.py", "process_video.py", "join_results.py", "nifti_to_numpy.py"])
def test_help_imports_nothing_heavy(script):
    code = (
        "import runpy, sys; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_path({script!r}, run_name='__main__')\n"
        "except SystemExit as end: print(end.code, [m for m in ('torch', 'pandas', 'matplotlib', 'cv2', 'skimage', "
        "'nibabel')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY_FOLDER)
    assert done.stdout.strip().splitlines()[-1] == "0 []", done.stderr


def test_slices_without_a_prompt_are_a_mistake_of_one_line(files, tmp_path, capsys):
    image, masks = files
    command = ["-i", image, "-m", masks, "-b", "--model", "lite_medsam", "-r", tmp_path / "r"]
    assert run(*command, "--slices", 0, 1) == 2
    assert "--slices 0 1: no prompt lies on them" in capsys.readouterr().err
    assert run(*command, "--slices", 3, 4) == 0
    manifest = json.loads(only(tmp_path / "r" / "case", "run_*.json").read_text())
    assert manifest["prompted_slices"] == 2
