"""paper/figure_3.sh on results of a few slices."""

from __future__ import annotations

import os
import subprocess

import pandas as pd
import pytest

from pose.files.repository import REPOSITORY_FOLDER
from tests import warm_python
from tests.result_runs import write_run


def run(*arguments) -> subprocess.CompletedProcess:
    environment = {**os.environ, "POSE_VENV": str(warm_python.environment())}
    command = ["bash", str(REPOSITORY_FOLDER / "paper" / "figure_3.sh"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


@pytest.fixture
def working_data(tmp_path):
    for model, dice in (("vit_l", 0.8), ("large", 0.9)):
        for image in ("image_coronacases_001", "image_radiopaedia_4_85506_1"):
            write_run(tmp_path / f"results_{model}" / image, [None, dice, dice + 0.05])
    return tmp_path


def test_boxes_of_both_models_in_all_subsets(working_data, tmp_path):
    done = run("--working_data_folder_path", working_data, "--output_folder_path", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "out" / "figure_3.csv")
    names = table[["metric", "subset", "results"]].to_numpy().tolist()
    assert names == [
        [metric, subset, results]
        for metric in ("jaccard", "dice")
        for subset in ("all", "coronacases", "radiopaedia")
        for results in ("SAM vit_l", "SAM 2 large")
    ]
    dice = table[table["metric"] == "dice"]
    assert dice["n"].tolist() == [4, 4, 2, 2, 2, 2]
    assert dice["mean"].tolist() == pytest.approx([0.825, 0.925] * 3)
    assert (tmp_path / "out" / "figure_3.pdf").is_file() and (tmp_path / "out" / "figure_3.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sam2", "tiny"], "results_tiny: no such folder; scripts/process_covid_images.sh --model tiny"),
        (["--sam"], "--sam: needs a value"),
    ],
)
def test_mistakes(working_data, arguments, message):
    done = run("--working_data_folder_path", working_data, *arguments)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1


def test_help():
    done = run("--help")
    assert done.returncode == 0 and done.stdout.startswith("Figure 3: ") and "--sam2 NAME" in done.stdout
