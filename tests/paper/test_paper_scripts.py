"""The shell scripts of paper/, each run whole on phantoms under the paper's names, by a SAM 2 of random weights."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pose.files.repository import REPOSITORY_FOLDER
from pose.scans.phantom import chest_ct
from pose.scans.volume import write_volume
from tests import warm_python
from tests.networks import TINY, save_random_weights

SCRIPTS = sorted((REPOSITORY_FOLDER / "paper").glob("[!s]*.sh")) + [REPOSITORY_FOLDER / "paper/single_prompt.sh"]
OTHER = f"{TINY.name}_2"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project that knows a model more, by two names, with its weights."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("pose", "paper", "scripts", "sam2_configs"):
        shutil.copytree(REPOSITORY_FOLDER / name, folder / name)
    for path in REPOSITORY_FOLDER.glob("*.py"):
        shutil.copy(path, folder)
    (folder / "model_checkpoints").mkdir()
    save_random_weights(folder / "model_checkpoints" / TINY.checkpoint)
    overrides = "\n".join(f'  - "{override}"' for override in TINY.overrides)
    for name in (TINY.name, OTHER):
        (folder / f"sam2_configs/{name}.yaml").write_text(
            f"name: {name}\nfamily: sam2\nconfig: {TINY.config}\ncheckpoint: {TINY.checkpoint}\n"
            f"image_size: {TINY.image_size}\noverrides:\n{overrides}\n"
        )
    return folder


def write_working_data(folder: Path, name: str, slices: int, seed: int = 0) -> None:
    """Write a phantom as working data: grey levels where the name is of a volume that has no Hounsfield units."""
    folder.mkdir(parents=True, exist_ok=True)
    volume, labels = chest_ct((48, 48, slices), seed)
    if not name.startswith("coronacases"):
        volume = replace(volume, voxels=np.clip((volume.voxels + 1400) / 1500 * 255, 0, 255).astype(np.uint8))
    write_volume(folder / f"image_{name}.npy", volume)
    write_volume(folder / f"masks_{name}.npy", replace(volume, voxels=labels))


def run_script(project: Path, script: str, working_data: Path, output: Path, *flags: str):
    environment = {**os.environ, "POSE_VENV": str(warm_python.environment()), "OMP_NUM_THREADS": "1"}
    folders = ["--working_data_folder_path", working_data, "--output_folder_path", output]
    command = [project / "paper" / script, *folders, *flags]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def working_data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("working data")
    write_working_data(folder, "coronacases_001", 204)
    write_working_data(folder, "radiopaedia_10_85902_3", 196, seed=1)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("figure", "pictures", "rows"),
    [
        (
            "figure_1",
            [
                f"{name}_{what}"
                for name in ("coronacases_001", "radiopaedia_10_85902_3")
                for what in ("prediction", "prompt")
            ],
            None,
        ),
        ("figure_2", ["inside", "outside"], None),
        ("figure_4", ["centre", "displaced"], ["centre", "displaced"]),
        (
            "figure_5",
            ["1_points", "2_negative_point", "3_contours", "4_box"],
            ["1_points", "2_negative_point", "3_contours", "4_box"],
        ),
    ],
)
def test_figures(project, working_data, tmp_path, figure, pictures, rows):
    flags = ["--rows", "-3"] if figure == "figure_4" else []
    done = run_script(project, f"{figure}.sh", working_data, tmp_path, "--model", TINY.name, *flags)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [f"{figure}_{picture}.png" for picture in pictures]
    drawn = []
    for path in sorted(tmp_path.glob("*.png")):
        with Image.open(path) as picture:
            assert picture.size == (770, 770)
            drawn.append(picture.tobytes())
    if figure != "figure_2":  # the centres of mass of a phantom are inside
        assert drawn[0] != drawn[-1]
    if rows is not None:
        table = pd.read_csv(tmp_path / f"{figure}.csv")
        assert table.loc[table["metric"] == "dice", "results"].tolist() == rows
        assert (table["n"] == 1).all()


@pytest.mark.slow
def test_one_prompt_beside_many_and_table_1(project, tmp_path):
    working_data, output = tmp_path / "working_data", tmp_path / "out"
    for seed, name in enumerate(("coronacases_001", "coronacases_002", "radiopaedia_4_85506_1")):
        write_working_data(working_data, name, 5, seed)
    done = run_script(project, "single_prompt.sh", working_data, output, "--model", TINY.name)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(output / "single_prompt.csv")
    over_all = table[(table["data_set"] == "all") & (table["metric"] == "dice")].set_index("results")
    # the seed's own volume is left out
    assert over_all["volumes"].to_dict() == {"every slice": 2, "one a volume": 2, "one in all": 2}
    assert over_all["prompts_used"]["one a volume"] == 2 and over_all["prompts_used"]["one in all"] == 1
    volumes = pd.read_csv(output / "single_prompt_volumes.csv")
    assert len(volumes) == 3 and volumes["dice one in all"].notna().all()

    done = run_script(project, "table_1.sh", working_data, output, "--sam", TINY.name, "--sam2", OTHER)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(output / "table_1.csv")
    assert set(table["data_set"]) == {"all", "coronacases", "radiopaedia"}
    assert set(table["results"]) == {f"SAM {TINY.name}", f"SAM 2 {OTHER}"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_help_is_the_scripts_head(script):
    done = subprocess.run([script, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and f"  paper/{script.name} [" in done.stdout and "set -" not in done.stdout


def test_what_is_missing_is_told_before_any_work(tmp_path):
    done = run_script(REPOSITORY_FOLDER, "figure_1.sh", tmp_path, tmp_path / "out")
    message = f"error: {tmp_path}/image_coronacases_001.npy: no such file; nifti_to_numpy.py makes it\n"
    assert (done.returncode, done.stderr) == (2, message)
    assert not (tmp_path / "out").exists()
    done = run_script(REPOSITORY_FOLDER, "figure_4.sh", tmp_path, tmp_path / "out", "--rows")
    assert (done.returncode, done.stderr) == (2, "error: --rows: needs a value\n")


def test_scripts_hold_no_path_that_is_not_relative():
    for path in (REPOSITORY_FOLDER / "paper").iterdir():
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            assert not any(word.startswith(("/home", "/Users", "/work", "/mnt", "~/")) for word in line.split()), line
