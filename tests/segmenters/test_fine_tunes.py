"""Fine-tuned models from the command line: MedSAM2, and one of the user's own described by five lines of YAML."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import process_image
import process_video
from pose import cli
from pose.files.repository import REPOSITORY_FOLDER
from pose.segmenters import models
from scripts import make_phantom
from tests.networks import random_network, save_random_weights
from tests.test_process_image import TIMES, only

SLICES = 4


@pytest.fixture()
def phantom(tmp_path) -> tuple[Path, Path]:
    assert make_phantom.main(["-o", str(tmp_path), "--shape", "64", "64", str(SLICES), "--name", "p"]) == 0
    return tmp_path / "p_ct.nii.gz", tmp_path / "p_lungs.nii.gz"


@pytest.fixture()
def checkpoints(tmp_path, monkeypatch) -> Path:
    """An empty folder in the place of model_checkpoints/."""
    folder = tmp_path / "model_checkpoints"
    folder.mkdir()
    monkeypatch.setattr(models, "CHECKPOINTS_FOLDER", folder)
    yield folder
    for path in folder.glob("*.pt"):  # 160 MB each, which pytest would keep
        path.unlink()


def run_both(phantom: tuple[Path, Path], model: str) -> None:
    """Run the model through every slice of the phantom and through its memory, and check that each slice was worked."""
    image, masks = phantom
    arguments = ["-i", image, "-m", masks, "--swap_axes", "-w", "-b", "--model", model]
    arguments += ["--precision", "fp32", "--device", "cpu"]
    for script, folder, method in ((process_image, "results", None), (process_video, "results_video", "sam2_memory")):
        assert cli.run_main(script.main, [str(argument) for argument in arguments]) == 0
        results = image.parent / folder / "p_ct"
        raw_data = pd.read_csv(only(results, "raw_data_*.csv"))
        assert raw_data["slice"].tolist() == list(range(SLICES))
        # process_image.py has no prompt on a slice without lungs
        worked = raw_data if method else raw_data[raw_data["ground_truth_voxels"] > 0]
        assert len(worked) >= 2 and worked[["sam_score", "object_score", *TIMES]].notna().all(axis=None)
        manifest = json.loads(only(results, "run_*.json").read_text())
        assert (manifest["model"], manifest["family"], manifest.get("method")) == (model, "sam2", method)


@pytest.mark.slow
def test_medsam2_runs_as_every_other_model(phantom, checkpoints):
    spec = models.find_model("medsam2")
    save_random_weights(checkpoints / spec.checkpoint, spec=spec)
    record = checkpoints / (spec.checkpoint + ".sha256")
    record.write_text(f"{models.sha256_of(checkpoints / spec.checkpoint)}  {spec.checkpoint}\n")
    run_both(phantom, "medsam2")


@pytest.mark.slow
def test_medsam2_has_the_shapes_of_sam_2_1_tiny():
    """What lets weights tuned at 512 pixels be those of a network published for 1024."""
    tuned = random_network(video=True, spec=models.find_model("medsam2"))
    published = random_network(video=True, spec=models.find_model("2.1_tiny"))
    shapes = [{key: value.shape for key, value in one.state_dict().items()} for one in (tuned, published)]
    assert shapes[0] == shapes[1]
    assert tuned.image_size == 512
    assert tuned.memory_attention.layers[0].self_attn.freqs_cis.shape[0] == 32 * 32
    assert tuned.memory_attention.layers[0].cross_attn_image.freqs_cis.shape[0] == 32 * 32


def test_ones_own_fine_tune_as_the_readme_says(phantom, checkpoints, tmp_path, monkeypatch):
    """The five lines of scripts/README.md, with a small image so that the test is quick."""
    readme = (REPOSITORY_FOLDER / "scripts" / "README.md").read_text(encoding="utf-8")
    described = re.search(r"```yaml\n(.*?)```", readme, flags=re.DOTALL).group(1)
    assert len(described.splitlines()) == 5
    folder = tmp_path / "sam2_configs"
    folder.mkdir()
    (folder / "liver.yaml").write_text(described)
    monkeypatch.setattr(models, "CONFIGS_FOLDER", folder)
    models.registry.cache_clear()
    try:
        spec = models.find_model("liver")
        assert (spec.image_size, spec.checkpoint) == (512, "liver.pt")
        (folder / "liver.yaml").write_text(described.replace("512", "128"))
        models.registry.cache_clear()
        save_random_weights(checkpoints / spec.checkpoint, spec=replace(spec, image_size=128))
        run_both(phantom, "liver")
    finally:
        models.registry.cache_clear()
