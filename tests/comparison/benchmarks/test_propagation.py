"""The published procedure that benchmarks compare with, and the weights that they run on."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

import process_video
from comparison.benchmarks import memory as benchmark_memory
from comparison.benchmarks import propagation as benchmark_propagation
from comparison.benchmarks import published_procedure, random_weights
from pose import cli
from pose.scans.intensity import WINDOWS, GreySlices, Intensity
from pose.scans.volume import read_volume
from pose.segmenters import models
from pose.segmenters.sam2.memory import Sam2Memory
from tests.cases import write_nifti, write_two_blocks
from tests.networks import TINY, save_random_weights
from tests.test_process_image import only


@pytest.fixture()
def tiny(tmp_path, monkeypatch) -> Path:
    """Weights of a tiny random SAM 2, which every model name stands for."""
    monkeypatch.setattr(models, "find_model", lambda *_: TINY)
    return save_random_weights(tmp_path / TINY.checkpoint)


def read_back(grey: GreySlices, tmp_path: Path) -> np.ndarray:
    """Return slices as their JPEG files hold them."""
    published_procedure.write_jpegs(tmp_path, grey, range(len(grey)))
    pictures = [Image.open(tmp_path / f"{index:05d}.jpg").convert("L") for index in range(len(grey))]
    return np.stack([np.asarray(picture) for picture in pictures], axis=2)


def test_process_video_makes_the_masks_of_the_published_procedure(tiny, tmp_path):
    image, masks = write_two_blocks(tmp_path)
    shared = ["-m", masks, "--checkpoint_file_path", tiny, "--device", "cpu"]
    published = tmp_path / "published.npz"
    assert published_procedure.main([str(word) for word in ["-i", image, *shared, "-o", published]]) == 0
    # JPEG loses something, which the published procedure cannot do without: give ours the same
    jpegs = write_nifti(
        tmp_path / "jpegs.nii.gz", read_back(GreySlices(read_volume(image), Intensity(WINDOWS["lung"])), tmp_path)
    )
    ours = [
        "-i",
        jpegs,
        *shared,
        "-b",
        "--window",
        "127.5",
        "255",
        "--precision",
        "fp32",
        "--no_swap_axes",
        "-r",
        tmp_path / "out",
    ]
    assert cli.run_main(process_video.main, [str(word) for word in ours]) == 0
    found = np.asanyarray(nibabel.load(only(tmp_path / "out" / "jpegs", "masks_*.nii.gz")).dataobj) > 0
    expected = np.load(published)["arr_0"]
    assert 0.01 < expected.mean() < 0.99
    np.testing.assert_array_equal(found, expected)


def test_random_weights_have_an_object_and_a_best_mask_and_keep_what_they_are_given(tiny, tmp_path, monkeypatch):
    known = save_random_weights(tmp_path / "image_only.pt", without=("memory_", "maskmem", "obj_ptr", "no_obj"), seed=3)
    path = random_weights.make_weights(tmp_path / "made.pt", TINY, image_weights=known)
    made, given = models.load_weights(path)[0], models.load_weights(known)[0]
    assert all(torch.equal(made[key], value) for key, value in given.items())
    assert random_weights.main(["-o", str(tmp_path / "random.pt")]) == 0
    segmenter = Sam2Memory(TINY, tmp_path / "random.pt", torch.device("cpu"))
    parts = list(segmenter.segment(benchmark_memory.MovingDisc(5), [benchmark_memory.prompt_on(2)]))
    assert all(part.objects[1].object_score > 1 for part in parts)


@pytest.mark.parametrize("way", ["ours", "sam2"])
def test_a_point_of_the_memory_benchmark(tiny, way):
    arguments = benchmark_memory.make_parser().parse_args(["--image_size", "128", "--precision", "fp32"])
    point = benchmark_memory.measure(way, 3, tiny, arguments)
    assert point["mb"] > 300 and point["gpu_mb"] is None and point["seconds"] > 0


def test_a_process_is_measured_and_its_failure_told(tmp_path):
    import sys

    seconds, peak = benchmark_propagation.run_process([sys.executable, "-c", "b = b'x' * 90_000_000; print(len(b))"])
    assert 0 < seconds < 30 and peak > 85
    with pytest.raises(cli.UserError, match="(?s)failed.*ZeroDivisionError"):
        benchmark_propagation.run_process([sys.executable, "-c", "1 / 0"])


def test_spread():
    assert benchmark_propagation.spread([3.0, 1.0, 2.0], 1) == "2.0 (1.0 to 3.0)"
