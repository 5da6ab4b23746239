"""Pictures that a command line asks for: their names, what is drawn, how they lie."""

from __future__ import annotations

import argparse

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from pose import cli
from pose.cli import UserError
from pose.figures import overlays
from pose.figures.drawing import BOX, NEGATIVE, POSITIVE, PREDICTION, TRUTH
from pose.prompts.prompt import Prompt
from pose.runs import figure_files
from pose.runs.case import Case, Job
from pose.scans.volume import Volume
from tests.cases import AFFINE


def pictures_of(*words, images: int = 1, one_slice: bool = False) -> figure_files.Pictures:
    parser = argparse.ArgumentParser()
    cli.add_figure_arguments(parser)
    flags = vars(parser.parse_args(list(words)))
    given = {name: flags.pop(f"figure_{name}") for name in ("slices", "size")}
    return figure_files.plan_pictures(flags.pop("figure"), **given, **flags, images=images, one_slice=one_slice)


@pytest.fixture
def case(tmp_path):
    """30 rows, 40 columns, 3 slices; brighter to the right, truth on slice 1."""
    grey = np.tile(np.linspace(40, 200, 40), (30, 1)).astype(np.uint8)
    voxels = np.stack([grey] * 3, axis=2)
    truth = np.zeros(voxels.shape, np.uint8)
    truth[4:10, 5:20, 1] = 1
    job = Job(tmp_path / "chest.npz", None, tmp_path / "results/chest")
    return Case(job, Volume(voxels), truth, [grey] * 3)


@pytest.fixture
def prediction():
    labels = np.zeros((30, 40, 3), np.uint8)
    labels[15:25, 10:30, 1] = 1
    return labels


PROMPTS = [Prompt(1, 1, ((20, 20),), ((7, 30),), (13, 8, 26, 31))]


def pixels(path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def has(path, name: str) -> bool:
    """Whether a picture holds a pixel of the colour."""
    picture = pixels(path)
    return bool((np.abs(picture - np.round(np.array(to_rgb(name)) * 255)).max(axis=2) < 12).any())


def test_what_is_drawn_is_what_was_asked_for(tmp_path, case, prediction):
    files = {word: str(tmp_path / f"{word}.png") for word in ("prompt", "prediction", "truth", "none", "default")}
    words = [["--figure", path, *(() if word == "default" else (word,))] for word, path in files.items()]
    pictures = pictures_of(*sum(words, []), "--figure_slices", "1")
    written = figure_files.write_figures(case, PROMPTS, prediction, range(3), pictures)
    assert written == [tmp_path / f"{word}.png" for word in files]
    colours = {
        word: {name for name in (PREDICTION, TRUTH, POSITIVE, NEGATIVE, BOX) if has(path, name)}
        for word, path in files.items()
    }
    prompt = {POSITIVE, NEGATIVE, BOX}
    assert colours == {
        "prompt": prompt,
        "prediction": {PREDICTION},
        "truth": {TRUTH},
        "none": set(),
        "default": {*prompt, PREDICTION},
    }
    assert {pixels(path).shape for path in files.values()} == {(770, 770, 3)}


def test_slices_with_something_on_them_each_have_a_file(tmp_path, case, prediction):
    prediction[3, 3, 2] = 1
    pictures = pictures_of("--figure", str(tmp_path / "a/{image}_{slice:03}.png"))
    written = figure_files.write_figures(case, PROMPTS, prediction, range(3), pictures)
    assert [path.name for path in written] == ["chest_001.png", "chest_002.png"]
    assert sorted((tmp_path / "a").iterdir()) == written
    # the one slice that was worked on, whatever is on it
    assert len(figure_files.write_figures(case, [], prediction, [0], pictures)) == 1


def test_pictures_are_turned_and_keep_their_proportions(tmp_path, case, prediction):
    path = tmp_path / "f.png"
    pictures = pictures_of("--figure", str(path), "none", "--rotate", "90", "--figure_size", "400", one_slice=True)
    figure_files.write_figures(case, [], prediction, [1], pictures)
    picture = pixels(path)
    # 40 columns become rows, counter-clockwise: what was right is at the top; black beside the narrower picture
    assert picture.shape == (400, 400, 3)
    assert picture[10, 200, 0] > 190 and picture[390, 200, 0] < 50
    assert not picture[:, :49].any() and not picture[:, 351:].any() and picture[:, 51:349].all()


def test_figures_lie_as_the_geometry_says(case):
    # rows run to the patient's left and columns to the back, so that rows and columns change places
    known = Case(case.job, Volume(case.volume.voxels, AFFINE, (1.5, 2.0, 3.0)), case.truth, case.grey)
    turn = pictures_of().turn_of(known.volume)
    assert (turn.transpose, turn.flip_rows, turn.flip_columns) == (True, False, False)
    assert pictures_of("--gif", "--flip", "vertical").turn_of(known.volume).transpose is False
    assert pictures_of().turn_of(case.volume) == figure_files.Turn()


@pytest.mark.parametrize(
    ("words", "images", "error"),
    [
        (["--figure", "a.jpg"], 1, "--figure a.jpg: a picture is a .png"),
        (["--figure", "a.png"], 1, "several slices would have this name"),
        (["--figure", "{slice}.png"], 2, "2 images would have this name"),
        (["--figure", "{slice}_{patient}.png"], 1, "only {image} and {slice} may stand in braces"),
        (["--figure", "{slice}_{0}.png"], 1, "only {image} and {slice} may stand in braces"),
        (["--figure", "{slice.png"], 1, "only {image} and {slice} may stand in braces"),
        (["--figure", "{slice}.png", "masks"], 1, "masks is not among what can be drawn: prompt, prediction,"),
        (["--figure", "{slice}.png", "none", "truth"], 1, "none, and yet truth"),
        (["--figure", "{slice}.png", "--figure", "{slice}.png"], 1, "is asked for twice"),
        (["--figure_slices", "3"], 1, "--figure_slices 3: there is no --figure"),
        (["--rotate", "90"], 1, "--rotate 90: turns --figure and --gif, and there is neither"),
        (["--flip", "none"], 1, "--flip none: turns --figure and --gif, and there is neither"),
    ],
)
def test_mistakes_are_told_before_any_work(words, images, error):
    with pytest.raises(UserError) as raised:
        pictures_of(*words, images=images)
    assert error in str(raised.value)


def test_one_slice_needs_no_place_in_the_name():
    assert pictures_of("--figure", "a.png", images=1, one_slice=True)
    assert pictures_of("--figure", "a.png", "--figure_slices", "3", images=1)


def test_slices_and_truth_must_be_there(tmp_path, case, prediction):
    path = str(tmp_path / "a.png")
    with pytest.raises(UserError, match="--figure_slices 7 is not among the slices worked on, 0 to 2"):
        pictures = pictures_of("--figure", path, "--figure_slices", "7")
        figure_files.write_figures(case, [], prediction, range(3), pictures)
    without = Case(case.job, case.volume, None, case.grey)
    with pytest.raises(UserError, match=r"a.png: .*chest.npz has no ground truth to draw"):
        figure_files.write_figures(
            without, [], prediction, range(3), pictures_of("--figure", path, "truth", one_slice=True)
        )
    (tmp_path / "file").write_text("")
    pictures = pictures_of("--figure", str(tmp_path / "file/a.png"), one_slice=True)
    with pytest.raises(UserError, match="figures cannot be written here"):
        figure_files.write_figures(case, [], prediction, [1], pictures)


def test_print_figure_fills_its_square():
    grey = np.full((512, 512), 77, np.uint8)
    figure = overlays.print_figure(grey, 770)
    figure.canvas.draw()
    assert (np.asarray(figure.canvas.buffer_rgba())[:, :, :3] == 77).all()
