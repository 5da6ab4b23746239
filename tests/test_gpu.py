"""What only a GPU can show: its masks against those of the CPU, and what happens where its memory does not suffice."""

from __future__ import annotations

import gc
import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

import process_image
import process_video
from comparison.benchmarks.memory import MovingDisc
from comparison.benchmarks.random_weights import make_weights
from pose import cli
from pose.prompts.prompt import Prompt
from pose.scores import metrics
from pose.segmenters import models
from pose.segmenters.sam2.memory import Sam2Memory
from scripts import make_phantom
from tests.networks import TINY, save_random_weights
from tests.segmenters.sam2.test_memory import (
    COLUMNS,
    PROMPTS,
    ROWS,
    SLICES,
    ArraySlices,
    largest_difference,
    like_sam2,
    logits_of,
    published_way,
    random_network,
    with_float_memories,
)
from tests.test_process_image import only

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU with CUDA")
CUDA = torch.device("cuda")
# PyTorch lets convolutions round to TensorFloat-32 on CUDA, as sam2's own predictor does there
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return save_random_weights(tmp_path_factory.mktemp("weights") / TINY.checkpoint)


@pytest.fixture(scope="module")
def tiny_512(tmp_path_factory) -> tuple[models.ModelSpec, Path]:
    """SAM 2.1 tiny at 512 pixels with random weights."""
    spec = replace(models.find_model("2.1_tiny"), image_size=512)
    return spec, make_weights(tmp_path_factory.mktemp("weights") / "2.1_tiny.pt", spec)


@pytest.fixture(scope="module")
def chest(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("chest")
    assert make_phantom.main(["-o", str(folder), "--shape", "128", "128", "16", "--name", "a"]) == 0
    return folder / "a_ct.nii.gz", folder / "a_lungs.nii.gz"


@pytest.fixture()
def limited():
    """Sets the most memory, in bytes, that PyTorch may take of the GPU; all of it again afterwards."""
    total = torch.cuda.get_device_properties(CUDA).total_memory

    def limit(most: float) -> None:
        empty_gpu()
        torch.cuda.set_per_process_memory_fraction(most / total)

    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0)


def empty_gpu() -> None:
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def random_slices() -> ArraySlices:
    return ArraySlices(np.random.default_rng(0).integers(0, 255, (ROWS, COLUMNS, SLICES), dtype=np.uint8))


def run(script, *arguments) -> int:
    return cli.run_main(script.main, [str(argument) for argument in arguments])


def words_for(chest: tuple[Path, Path]) -> list:
    return ["-i", chest[0], "-m", chest[1], "--swap_axes", "--apply_windowing"]


def masks_in(folder: Path) -> np.ndarray:
    return np.asanyarray(nibabel.load(only(folder / "a_ct", "masks_*")).dataobj) > 0


def manifest_in(folder: Path) -> dict:
    return json.loads(only(folder / "a_ct", "run_*").read_text())


@like_sam2
@pytest.mark.parametrize("in_step", [True, False], ids=["halves in step", "one after the other"])
@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS.keys())
def test_logits_equal_those_of_sam2s_predictor_on_the_cpu(tiny, prompts, in_step, monkeypatch):
    expected = published_way(with_float_memories(random_network(video=True)), random_slices(), prompts, monkeypatch)
    found = logits_of(Sam2Memory(TINY, tiny, CUDA, in_step=in_step).segment(random_slices(), prompts))
    difference = largest_difference(found, expected)
    print(f"largest difference of logits: {difference:.1e}")
    assert difference <= TOLERANCE


@pytest.mark.parametrize("name", ["two objects", "mask"])
def test_bfloat16_differs_from_float32_by_its_rounding(tiny, name):
    exact, rounded = (
        logits_of(Sam2Memory(TINY, tiny, CUDA, precision).segment(random_slices(), PROMPTS[name]))
        for precision in ("fp32", "bf16")
    )
    error = np.sqrt(np.mean([np.square(rounded[key] - exact[key]).mean() for key in exact]))
    spread = np.sqrt(np.mean([exact[key].var() for key in exact]))
    print(f"error {error / spread:.4f} of the spread")
    assert 0 < error < 0.05 * spread


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_masks_of_a_real_architecture_are_those_of_the_cpu(tiny_512, precision):
    spec, weights = tiny_512
    grey, prompts = MovingDisc(9), [Prompt(4, 1, ((128, 128),), (), (64, 64, 192, 192))]
    expected, found = (
        logits_of(Sam2Memory(spec, weights, device, way).segment(grey, prompts))
        for device, way in ((torch.device("cpu"), "fp32"), (CUDA, precision))
    )
    masks = [np.stack([logits[key] > 0 for key in sorted(expected)]) for logits in (expected, found)]
    dice = metrics.dice(*masks)
    print(f"{precision}: Dice {dice:.5f}, largest difference of logits {largest_difference(found, expected):.1e}")
    assert 0 < masks[0].mean() < 1 and dice >= (0.9999 if precision == "fp32" else 0.98)


@pytest.mark.parametrize("script", [process_image, process_video])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_lite_medsam_segments_as_on_the_cpu(chest, tmp_path, script, precision):
    shared = [*words_for(chest), "-b", "--objects", "per_label", "--model", "lite_medsam"]
    for device, way in (("cpu", "fp32"), ("cuda", precision)):
        assert run(script, *shared, "--device", device, "--precision", way, "-r", tmp_path / device) == 0
    dice = metrics.dice(masks_in(tmp_path / "cpu"), masks_in(tmp_path / "cuda"))
    print(f"{script.__name__}, {precision}: Dice {dice:.5f}")
    assert dice >= (0.9999 if precision == "fp32" else 0.99)
    assert manifest_in(tmp_path / "cuda")["device_name"] == torch.cuda.get_device_name(CUDA)


@pytest.mark.parametrize("script", [process_image, process_video])
def test_sam_2_segments_as_on_the_cpu(chest, tiny_512, tmp_path, script):
    shared = [*words_for(chest), "-b", "--objects", "per_label", "--precision", "fp32"]
    shared += ["--model", "2.1_tiny", "--image_size", "512", "--checkpoint_file_path", tiny_512[1]]
    for device in ("cpu", "cuda"):
        assert run(script, *shared, "--device", device, "-r", tmp_path / device) == 0
    dice = metrics.dice(masks_in(tmp_path / "cpu"), masks_in(tmp_path / "cuda"))
    print(f"{script.__name__}: Dice {dice:.5f}")
    assert dice >= 0.999


def test_sam_2s_memory_does_with_less_of_the_gpus_where_it_must(chest, tiny_512, tmp_path, limited):
    spec, weights = tiny_512
    # eight objects, so that one at a time takes much less
    corners = ("row_min", "column_min", "row_max", "column_max")
    prompts = [
        {"slice": 8, "object_id": number, "box": dict(zip(corners, (8 * number, 20, 8 * number + 40, 90)))}
        for number in range(1, 9)
    ]
    asked = tmp_path / "prompts.json"
    asked.write_text(json.dumps({"prompts": prompts}))
    shared = [*words_for(chest), "--prompt_file_path", asked, "--precision", "fp32"]
    shared += ["--model", spec.name, "--image_size", 512, "--checkpoint_file_path", weights, "--device", "cuda"]
    empty_gpu()
    assert run(process_video, *shared, "-r", tmp_path / "whole") == 0
    needed = torch.cuda.max_memory_reserved()
    assert manifest_in(tmp_path / "whole")["less_memory"] is False

    limited(0.75 * needed)
    assert run(process_video, *shared, "-r", tmp_path / "less") == 0
    print(f"{needed / 1e6:.0f} MB at once; with 3/4 of it {torch.cuda.max_memory_reserved() / 1e6:.0f} MB at the most")
    manifest = manifest_in(tmp_path / "less")
    assert manifest["less_memory"] is True and manifest["device"] == "cuda" and manifest["status"] == "done"
    assert metrics.dice(masks_in(tmp_path / "whole"), masks_in(tmp_path / "less")) >= 0.999


@pytest.mark.parametrize("megabytes", [8, 60], ids=["does not hold the weights", "holds the weights alone"])
def test_a_chain_goes_on_on_the_cpu_where_the_gpus_memory_is_too_small(chest, tmp_path, limited, megabytes):
    shared = [*words_for(chest), "-b", "--model", "lite_medsam", "--precision", "fp32"]
    limited(megabytes * 1e6)
    assert run(process_video, *shared, "--device", "cuda", "-r", tmp_path / "limited") == 0
    limited(torch.cuda.get_device_properties(CUDA).total_memory)
    assert run(process_video, *shared, "--device", "cpu", "-r", tmp_path / "cpu") == 0
    manifest = manifest_in(tmp_path / "limited")
    assert (manifest["less_memory"], manifest["device"]) == (True, "cpu")
    np.testing.assert_array_equal(masks_in(tmp_path / "limited"), masks_in(tmp_path / "cpu"))
