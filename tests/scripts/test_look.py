"""scripts/look.py from the command line: the picture, the words, and what is refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pose.scans.phantom import chest_ct
from pose.scans.volume import write_volume
from tests.warm_python import run_script

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    """A chest of 48 x 56 voxels and 10 slices, as NIfTI: without a swap of axes it has 56 rows and 48 columns."""
    path = tmp_path_factory.mktemp("scans") / "a$b_$c.nii.gz"
    write_volume(path, chest_ct((48, 56, 10), seed=1)[0])
    return path


def look(*words: object, folder: Path) -> subprocess.CompletedProcess:
    return run_script([str(ROOT / "scripts" / "look.py"), *map(str, words)], folder)


def test_picture_and_words(phantom, tmp_path):
    done = look(phantom, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:-1]] == [
        "shape",
        "spacing",
        "orientation",
        "values",
        "unit",
        "window",
    ]
    assert lines[0] == "shape:       48 rows x 56 columns x 10 slices; they count from 0"
    assert "likely Hounsfield units" in lines[4] and "--window lung" in lines[5]
    assert lines[-1] == "picture:     look_a$b_$c.png"
    with Image.open(tmp_path / lines[-1].removeprefix("picture:     ")) as picture:
        assert picture.width > 700 and len(np.unique(np.asarray(picture)[:, :, 0])) > 100


def test_swapped_axes_turn_the_numbers_and_not_the_picture(phantom, tmp_path):
    plain = look(phantom, "-s", 4, "-o", "plain.png", "--no_swap_axes", folder=tmp_path)
    swapped = look(phantom, "-s", 4, "-o", "swapped.png", "--swap_axes", folder=tmp_path)
    assert plain.stdout.startswith("shape:       56 rows x 48 columns")
    assert swapped.stdout.startswith("shape:       48 rows x 56 columns")
    first, second = (np.asarray(Image.open(tmp_path / name)) for name in ("plain.png", "swapped.png"))
    # both show the same slice, row names and column names change places
    assert first.shape == second.shape
    assert 0 < (first != second).any(axis=-1).mean() < 0.05


def test_a_prompt_is_drawn_from_the_command_line_and_from_json(phantom, tmp_path):
    prompt = {"slice": 4, "points": [{"row": 20, "column": 15, "label": 1}]}
    prompt["box"] = {"row_min": 5, "column_min": 6, "row_max": 40, "column_max": 30}
    (tmp_path / "prompt.json").write_text(json.dumps([prompt]))
    asked = ("-s", 4, "--point", 20, 15, "--box", 5, 6, 40, 30)
    assert look(phantom, *asked, "-o", "words.png", folder=tmp_path).returncode == 0
    done = look(phantom, "--prompt_file_path", "prompt.json", "-o", "new/json.png", folder=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "picture:     new/json.png")
    assert (tmp_path / "words.png").read_bytes() == (tmp_path / "new" / "json.png").read_bytes()
    pixels = np.asarray(Image.open(tmp_path / "words.png")).reshape(-1, 3).astype(int)
    for colour in ((0x00, 0x9E, 0x73), (0xF0, 0xE4, 0x42)):
        assert (np.abs(pixels - colour).max(axis=1) < 10).sum() > 20


def test_a_window_changes_picture_and_words(phantom, tmp_path):
    assert look(phantom, "-s", 4, "-o", "body.png", folder=tmp_path).returncode == 0
    done = look(phantom, "-s", 4, "--window", "bone", "-o", "bone.png", folder=tmp_path)
    assert "window:      400 1800: -500 is black and 1300 white; " in done.stdout
    assert (tmp_path / "bone.png").read_bytes() != (tmp_path / "body.png").read_bytes()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("-o", "picture.jpg"), "--output_file_path picture.jpg: a picture is a .png"),
        (("-s", 10), "--slice 10 is not among its slices 0 to 9"),
        (("--point", 1, 1), "--point, --negative_point and --box need --slice"),
        (("-s", 3, "--point", 56, 1), "the point row 56, column 1 lies outside the image of 48 x 56"),
        (("-s", 3, "--box", 9, 9, 5, 20), "ends before it begins"),
        (("-s", 3, "--window", "liverish"), "--window liverish: expected one of"),
        (("--prompt_file_path", "no.json"), "no.json: no such file"),
        (("-s", 3, "--point", 1, 1, "--prompt_file_path", "no.json"), "--prompt_file_path no.json: not together with"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(phantom, tmp_path, words, error):
    done = look(phantom, *words, folder=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert error in done.stderr and len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_scan_that_is_none(tmp_path):
    done = look("nothing.nii.gz", folder=tmp_path)
    assert (done.returncode, done.stderr) == (2, "error: nothing.nii.gz: no such file\n")
