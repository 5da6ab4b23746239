"""GIFs of predictions: which slices, how they lie, in which colours, and how small they are."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image, ImageSequence

from pose.figures import animation
from pose.figures.drawing import BOX, FILL_ALPHA, NEGATIVE, OBJECTS, POSITIVE, PREDICTION
from pose.figures.upright import Edges, Turn
from pose.prompts.prompt import Prompt


def volume(slices: int = 12, side: int = 160):
    """Grey levels 0 to 255 from left to right, and a square that is predicted on slices 3 to 8, wider on each."""
    grey = [np.tile(np.linspace(0, 255, side).astype(np.uint8), (side, 1)) for _ in range(slices)]
    labels = np.zeros((side, side, slices), np.uint8)
    for index in range(3, 9):
        labels[40:80, 40 : 80 + 2 * index, index] = 1
    return grey, labels


def frames_of(gif: bytes) -> list[np.ndarray]:
    return [
        np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(Image.open(io.BytesIO(gif)))
    ]


def colour(name: str) -> np.ndarray:
    return np.round(np.array(to_rgb(name)) * 255).astype(int)


def near(pixel: np.ndarray, expected) -> bool:
    return bool(np.abs(pixel - np.asarray(expected)).max() <= 3)


def test_frames_show_what_is_predicted():
    grey, labels = volume()
    gif = animation.predictions_gif(grey, labels)
    picture = Image.open(io.BytesIO(gif))
    assert (picture.size, picture.n_frames, picture.info["duration"], picture.info["loop"]) == ((320, 320), 8, 120, 0)
    frames = frames_of(gif)
    # slices 2 and 9 hold nothing; on slice 3 the square ends at column 86; a column takes two pixels
    assert near(frames[0][120, 120], [97] * 3)
    inside = FILL_ALPHA * colour(PREDICTION) + (1 - FILL_ALPHA) * 97
    assert np.abs(frames[1][120, 120] - inside).max() <= 4
    assert near(frames[1][120, 80], colour(PREDICTION)) and near(frames[1][120, 171], colour(PREDICTION))
    assert near(frames[1][120, 79], colour(PREDICTION)) and near(frames[1][120, 172], colour(PREDICTION))
    assert near(frames[1][120, 200], [160] * 3)


def test_contours_alone():
    grey, labels = volume()
    frame = frames_of(animation.predictions_gif(grey, labels, filled=False))[1]
    assert near(frame[120, 120], [97] * 3)
    assert near(frame[120, 80], colour(PREDICTION))


def test_prompts_turn_with_the_slice():
    grey, labels = volume()
    prompt = Prompt(5, 1, ((20, 100),), ((120, 30),), (30, 30, 139, 149))
    frames = frames_of(animation.predictions_gif(grey, labels, prompts=[prompt], turn=Turn(flip_rows=True)))
    frame = frames[3]
    assert near(frame[2 * (159 - 20) + 1, 2 * 100 + 1], colour(POSITIVE))
    assert near(frame[2 * (159 - 120) + 1, 2 * 30 + 1], colour(NEGATIVE))
    assert near(frame[2 * (159 - 139), 200], colour(BOX))
    assert not near(frames[4][2 * (159 - 20) + 1, 2 * 100 + 1], colour(POSITIVE))


def test_only_slices_that_were_worked_on():
    grey, labels = volume()
    assert len(frames_of(animation.predictions_gif(grey, labels, [5]))) == 1
    assert len(frames_of(animation.predictions_gif(grey, np.zeros_like(labels), [5]))) == 1


def test_proportions_are_those_of_the_body():
    grey, labels = volume(side=100)
    gif = animation.predictions_gif(grey, labels, spacing_mm=(1.0, 2.0, 5.0), turn=Turn(transpose=True))
    assert Image.open(io.BytesIO(gif)).size == (160, 320)


def test_noise_is_made_small_enough():
    noise = np.random.default_rng(0).integers(0, 256, (100, 320, 320), dtype=np.uint8)
    labels = np.ones((320, 320, 100), np.uint8)
    gif = animation.predictions_gif(list(noise), labels)
    assert len(gif) <= 2_000_000
    picture = Image.open(io.BytesIO(gif))
    assert picture.n_frames == 60 and max(picture.size) < 320


@pytest.mark.parametrize("labels_on", [[], [0], [11]])
def test_ends_of_the_volume(labels_on):
    grey, labels = volume()
    labels[:] = 0
    labels[10:20, 10:20, labels_on] = 3
    assert len(frames_of(animation.predictions_gif(grey, labels))) == (12 if not labels_on else 2)


def written(frame: np.ndarray, rows: slice, columns: slice) -> bool:
    """Whether white stands on black there."""
    part = frame[rows, columns]
    return bool((part == 255).all(axis=-1).any() and (part == 0).all(axis=-1).any())


def test_letters_stand_in_the_middle_of_the_edges():
    _, labels = volume()
    grey = [np.full((160, 160), 120, np.uint8)] * 12
    middle, start, end = slice(150, 170), slice(0, 18), slice(302, 320)
    places = [(start, middle), (end, middle), (middle, start), (middle, end)]
    frame = frames_of(animation.predictions_gif(grey, labels, edges=Edges("A", "P", "R", "L")))[1]
    assert all(written(frame, *place) for place in places)
    frame = frames_of(animation.predictions_gif(grey, labels))[1]
    assert not any(written(frame, *place) for place in places)


def test_ticks_count_the_rows_and_columns_of_the_array():
    _, labels = volume()
    grey = [np.full((160, 160), 120, np.uint8)] * 12
    # two pixels a row; ticks of 20, so that row 40 lies at 81 from the top, or from the bottom where it is turned
    plain = frames_of(animation.predictions_gif(grey, labels))[1]
    turned = frames_of(animation.predictions_gif(grey, labels, turn=Turn(flip_rows=True)))[1]
    white_rows = [np.flatnonzero((frame[:, 0] == 255).all(axis=-1)).tolist() for frame in (plain, turned)]
    assert white_rows == [[41, 81, 121, 201, 241, 281], [39, 79, 119, 199, 239, 279]]
    assert np.flatnonzero((plain[0] == 255).all(axis=-1)).tolist() == [41, 81, 121, 201, 241, 281]


def test_each_object_has_its_colour_and_its_number():
    grey, labels = volume()
    labels[100:140, 40:80, 3:9] = 7
    frame = frames_of(animation.predictions_gif(grey, labels))[3]
    first, second = (colour(pair[0]) for pair in OBJECTS[:2])
    for row, expected in ((120, first), (240, second)):
        assert np.abs(frame[row, 100] - (FILL_ALPHA * expected + (1 - FILL_ALPHA) * 79)).max() <= 8
        assert near(frame[row, 80], expected)
    corner = frame[300:320, 280:320].reshape(-1, 3)
    assert all((np.abs(corner - one).max(axis=-1) <= 3).any() for one in (first, second))
    alone = frames_of(animation.predictions_gif(*volume()))[3][300:320, 280:320].reshape(-1, 3)
    assert not (np.abs(alone - first).max(axis=-1) <= 3).any()


def test_more_objects_than_colours_share_the_last():
    grey, labels = volume(side=80)
    labels[:] = 0
    for number in range(1, 31):
        labels[2 * number, :, 4] = number
    frame = frames_of(animation.predictions_gif(grey, labels, filled=False))[1]
    assert len(np.unique(frame.reshape(-1, 3), axis=0)) <= 256
    assert near(frame[4 * 60, 200], colour("#B0B0B0"))
