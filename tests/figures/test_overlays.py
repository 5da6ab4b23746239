"""Figures: what is drawn is where it should be, named in the legend, and never cut off."""

from __future__ import annotations

import subprocess
import sys
import time
from itertools import combinations, product

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from pose.cli import UserError
from pose.figures import drawing, overlays
from pose.figures.upright import Edges, Turn
from pose.prompts.prompt import Prompt
from pose.scans.volume import read_volume


def pixels(figure) -> np.ndarray:
    """(rows, columns, 3) of what the figure looks like."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[:, :, :3].astype(int)


def place(figure, axes, row: float, column: float) -> tuple[int, int]:
    """Pixel of the picture in which a point of the slice lies."""
    x, y = axes.transData.transform((column, row))
    return int(figure.bbox.height - y), int(x)


def around(picture: np.ndarray, where: tuple[int, int]) -> np.ndarray:
    """The nine pixels at a place: a line that ends between two pixels covers either."""
    row, column = where
    return picture[row - 1 : row + 2, column - 1 : column + 2].reshape(-1, 3)


def colour(name: str) -> np.ndarray:
    return np.array([255 * part for part in to_rgb(name)])


def is_near(found: np.ndarray, name: str, tolerance: int = 40) -> bool:
    """Whether any of the pixels found, (3,) or (n, 3), has the colour."""
    return bool((np.abs(found - colour(name)) <= tolerance).all(axis=-1).any())


def texts(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def tile_titles(figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes[:-1]]


def drawn_text(text) -> str:
    """What is drawn of a text: no dollar of it may start a formula."""
    shown, is_maths = text._preprocess_math(text.get_text())
    assert not is_maths, text.get_text()
    return shown


def ticks(axis) -> list[tuple[float, str]]:
    """(position, label) of the ticks of an axis."""
    return [(tick.get_loc(), tick.label1.get_text()) for tick in axis.get_major_ticks()]


def everything_inside(figure) -> None:
    """Nothing that is drawn leaves the picture."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    artists = [*figure.texts, *figure.legends]
    for axes in figure.axes:
        artists += [axes.title, axes._left_title, axes._right_title]
        if axes.axison:
            artists += [axes.xaxis.label, axes.yaxis.label]
            for axis in (axes.xaxis, axes.yaxis):
                low, high = sorted(axis.get_view_interval())
                artists += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    for artist in artists:
        box = artist.get_window_extent(renderer)
        if box.width > 0:
            assert box.x0 >= 0 and box.y0 >= 0, artist
            assert box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height, artist


@pytest.fixture
def square():
    """A grey slice of 64 x 64; the truth is rows 10 to 29, columns 20 to 39, and the prediction lies 5 rows lower."""
    truth = np.zeros((64, 64), np.uint8)
    truth[10:30, 20:40] = 1
    return np.full((64, 64), 100, np.uint8), np.roll(truth, 5, axis=0), truth


@pytest.fixture
def volume():
    """Twelve slices of 40 x 50 with a ball of two labels in slices 2 to 9; nothing is predicted below slice 4, and no
    labels are told apart.
    """
    rows, columns, slices = np.indices((40, 50, 12))
    truth = ((rows - 20) ** 2 + (columns - 25) ** 2 + (3 * (slices - 5.5)) ** 2 < 150).astype(np.uint8)
    truth[:, 25:][truth[:, 25:] > 0] = 2
    prediction = np.where(slices < 4, 0, truth > 0).astype(np.uint8)
    grey = [np.full((40, 50), 20 * index, np.uint8) for index in range(12)]
    return grey, prediction, truth


def test_overlay_draws_outlines_along_the_edges_of_pixels(square):
    grey, prediction, truth = square
    figure = overlays.overlay(grey, prediction=prediction, truth=truth)
    picture, axes = pixels(figure), figure.axes[0]
    # Rows of the truth begin at 9.5, those of the prediction at 14.5; columns at 19.5 for both.
    for edge, drawn, other in (
        (9.5, drawing.TRUTH, drawing.PREDICTION),
        (29.5, drawing.TRUTH, drawing.PREDICTION),
        (14.5, drawing.PREDICTION, drawing.TRUTH),
        (34.5, drawing.PREDICTION, drawing.TRUTH),
    ):
        found = around(picture, place(figure, axes, edge, 30))
        assert is_near(found, drawn) and not is_near(found, other), edge
    # Where both agree, the prediction runs in the middle of the truth.
    row, column = place(figure, axes, 22, 19.5)
    across = picture[row, column - 4 : column + 5]
    assert is_near(across, drawing.TRUTH) and is_near(across, drawing.PREDICTION, 60)
    # Elsewhere the slice is as it was, and inside the prediction tinted.
    np.testing.assert_array_equal(picture[place(figure, axes, 50, 50)], (100, 100, 100))
    np.testing.assert_array_equal(picture[place(figure, axes, 12, 30)], (100, 100, 100))
    tinted = 100 + drawing.FILL_ALPHA * (colour(drawing.PREDICTION) - 100)
    np.testing.assert_allclose(picture[place(figure, axes, 32, 30)], tinted, atol=3)


def test_outline_separates_labels_that_touch():
    labels = np.zeros((32, 32), np.uint8)
    labels[8:24, 8:16], labels[8:24, 16:24] = 1, 2
    for mask, expected in ((labels, True), (labels > 0, False)):
        figure = overlays.overlay(np.zeros((32, 32), np.uint8), truth=mask)
        found = around(pixels(figure), place(figure, figure.axes[0], 16, 15.5))
        assert is_near(found, drawing.TRUTH) is expected


def test_outline_of_a_mask_at_the_border_is_closed():
    figure = overlays.overlay(np.full((32, 32), 50, np.uint8), truth=np.ones((32, 32), bool))
    picture, axes = pixels(figure), figure.axes[0]
    for row, column in ((-0.4, 16), (31.4, 16), (16, -0.4), (16, 31.4)):
        assert is_near(around(picture, place(figure, axes, row, column)), drawing.TRUTH), (row, column)


def test_runs_are_where_true_is():
    change = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [0, 1, 1, 1]], bool)
    line, start, stop = drawing._runs(change)
    assert list(zip(line.tolist(), start.tolist(), stop.tolist(), strict=True)) == [(0, 0, 2), (0, 3, 4), (2, 1, 4)]


def test_prompts_are_drawn_where_they_point(square):
    grey, _, _ = square
    prompt = Prompt(0, 1, positive_points=((20, 30),), negative_points=((50, 10),), box=(5, 15, 35, 45))
    figure = overlays.overlay(grey, prompts=[prompt])
    picture, axes = pixels(figure), figure.axes[0]
    assert is_near(picture[place(figure, axes, 20, 30)], drawing.POSITIVE)
    assert is_near(picture[place(figure, axes, 50, 10)], drawing.NEGATIVE)
    # The box holds its last row and column: its lower edge is at 35.5, its right edge at 45.5.
    for line, row, column in (("level", 4.5, 25), ("level", 35.5, 25), ("upright", 20, 14.5), ("upright", 20, 45.5)):
        row, column = place(figure, axes, row, column)
        patch = picture[row - 1 : row + 2, column - 40 : column + 40]
        if line == "upright":
            patch = picture[row - 40 : row + 40, column - 1 : column + 2].swapaxes(0, 1)
        yellow = [is_near(patch[:, i], drawing.BOX, 50) for i in range(80)]
        assert 20 < sum(yellow) < 75, "yellow dashes"


def test_a_mask_prompt_is_outlined():
    mask = np.zeros((32, 32), bool)
    mask[10:20, 10:20] = True
    figure = overlays.overlay(np.zeros((32, 32), np.uint8), prompts=[Prompt(0, mask=mask)])
    assert is_near(around(pixels(figure), place(figure, figure.axes[0], 9.5, 15)), drawing.BOX)
    assert texts(figure) == ["mask prompt"]


def test_objects_are_numbered_only_where_there_are_several(square):
    one = [Prompt(0, 1, ((20, 30),)), Prompt(0, 1, ((22, 30),))]
    several = [Prompt(0, 1, ((20, 30),)), Prompt(0, 7, box=(1, 1, 9, 9))]
    assert [text.get_text() for text in overlays.overlay(square[0], prompts=one).axes[0].texts] == []
    assert [text.get_text() for text in overlays.overlay(square[0], prompts=several).axes[0].texts] == ["1", "7"]


def test_legend_names_what_is_drawn_and_nothing_else(square):
    grey, prediction, truth = square
    prompt = Prompt(0, 1, ((20, 30),), ((50, 10),), (5, 15, 35, 45))
    full = overlays.overlay(grey, prediction=prediction, truth=truth, prompts=[prompt])
    assert texts(full) == ["prediction", "ground truth", "positive point", "negative point", "box"]
    assert texts(overlays.overlay(grey, prediction=prediction)) == ["prediction"]
    assert overlays.overlay(grey).legends == []
    assert overlays.overlay(grey, prediction=prediction, legend=False).legends == []


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "expected"),
    [
        ((64, 64), None, (768, 768)),
        ((64, 48), (2.0, 2.0, 5.0), (768, 576)),
        ((512, 512), None, (512, 512)),
        ((512, 400), None, (512, 400)),
        ((2048, 1024), None, (1024, 512)),
        ((100, 100), (3.0, 1.0), (600, 200)),
        ((40, 1000), None, (40, 1000)),
    ],
)
def test_slice_is_shown_in_its_proportions(shape, spacing_mm, expected):
    figure = overlays.overlay(np.zeros(shape, np.uint8), spacing_mm=spacing_mm)
    box = figure.axes[0].get_window_extent()
    assert (round(box.height), round(box.width)) == expected
    assert (box.x0, box.y0) == pytest.approx((round(box.x0), round(box.y0)), abs=1e-3), "between two pixels"


def test_pixels_of_a_slice_are_kept_exactly():
    grey = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    figure = overlays.overlay(grey, legend=False)
    top, left = place(figure, figure.axes[0], -0.5, -0.5)
    shown = pixels(figure)[top : top + 768, left : left + 768]
    np.testing.assert_array_equal(shown[:, :, 0], np.kron(grey, np.ones((12, 12), int)))


@pytest.mark.parametrize(
    "title", [None, "short", "a title that goes on " * 12, "one_word_without_a_blank_" * 10, "50 % $of$ $x_{1$ \\frac"]
)
@pytest.mark.parametrize("shape", [(64, 64), (30, 900), (900, 30), (1, 1), (512, 512)])
def test_nothing_is_cut_off(shape, title):
    prompt = Prompt(0, 1, ((0, 0),), ((shape[0] - 1, shape[1] - 1),), (0, 0, shape[0] - 1, shape[1] - 1))
    mask = np.ones(shape, bool)
    figure = overlays.overlay(np.zeros(shape, np.uint8), prediction=mask, truth=mask, prompts=[prompt], title=title)
    everything_inside(figure)
    if title and "$" in title:
        assert drawn_text(figure.texts[0]).replace("\n", " ") == title


def test_saved_overlay_is_a_png_of_the_figure(tmp_path, square):
    grey, prediction, truth = square
    path = tmp_path / "slice_3.png"
    overlays.save_overlay(path, grey, prediction=prediction, truth=truth, title="slice 3: Dice 0.750")
    figure = overlays.overlay(grey, prediction=prediction, truth=truth, title="slice 3: Dice 0.750")
    with Image.open(path) as picture:
        assert picture.format == "PNG" and picture.mode == "RGB"
        assert picture.size == (round(figure.bbox.width), round(figure.bbox.height))
        np.testing.assert_array_equal(np.asarray(picture), pixels(figure))
    assert list(tmp_path.iterdir()) == [path]


def test_failed_picture_leaves_no_file(tmp_path, square, monkeypatch):
    def fail(self, target, **keywords):
        target.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(UserError, match="cannot be written: disk full"):
        overlays.save_overlay(tmp_path / "a.png", square[0])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["prediction", "truth"])
def test_masks_of_another_shape_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} of shape"):
        overlays.overlay(np.zeros((8, 8), np.uint8), **{name: np.zeros((8, 9), bool)})


def test_users_settings_neither_change_a_picture_nor_are_changed(square):
    plain = pixels(overlays.overlay(square[0], prediction=square[1], title="title"))
    with matplotlib.rc_context({"font.size": 30, "text.color": "red", "savefig.bbox": "tight", "font.family": "serif"}):
        before = dict(matplotlib.rcParams)
        np.testing.assert_array_equal(pixels(overlays.overlay(square[0], prediction=square[1], title="title")), plain)
        assert dict(matplotlib.rcParams) == before


def test_pyplot_is_never_loaded():
    code = "import sys, pose.figures.overlays; sys.exit('matplotlib.pyplot' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=overlays.__file__.rsplit("/", 3)[0]).returncode == 0


def test_contact_sheet_shows_each_slice_with_its_dice(volume):
    grey, prediction, truth = volume
    dice = [None if not truth[:, :, i].any() else float(prediction[:, :, i].any()) for i in range(12)]
    prompts = [Prompt(5, 1, ((20, 25),)), Prompt(5, 2, box=(10, 10, 30, 30))]
    figure = overlays.contact_sheet_figure(grey, prediction, truth, dice, prompts=prompts, title="ball")
    shown = np.flatnonzero(truth.any(axis=(0, 1)))
    expected = list(range(shown[0] - 1, shown[-1] + 2))
    scores = ["–" if dice[i] is None else f"{dice[i]:.3f}" for i in expected]
    assert tile_titles(figure) == [f"slice {i} · Dice {score}" for i, score in zip(expected, scores, strict=True)]
    bold = [axes.title.get_fontweight() == "bold" for axes in figure.axes[:-1]]
    assert [expected[i] for i in np.flatnonzero(bold)] == [5]
    assert texts(figure) == ["prediction", "ground truth", "positive point", "box", "prompted slice"]
    everything_inside(figure)

    curve = figure.axes[-1]
    drawn = next(line for line in curve.lines if len(line.get_xdata()) == 12)
    np.testing.assert_array_equal(drawn.get_ydata(), [np.nan if d is None else d for d in dice])
    assert curve.get_ylabel() == "Dice" and curve.get_ylim() == (0.0, 1.0)
    marks = [line for line in curve.lines if line.get_color() == drawing.PROMPTED]
    assert [list(line.get_xdata()) for line in marks] == [[5, 5]]
    defined = [d for d in dice if d is not None]
    assert curve.get_title(loc="right") == f"mean Dice {np.mean(defined):.3f}, slices: {len(defined)}"


def test_contact_sheet_draws_contours_on_the_right_tile(volume):
    grey, prediction, truth = volume
    figure = overlays.contact_sheet_figure(grey, prediction, truth, [0.5] * 12)
    picture = pixels(figure)
    tiles = {int(axes.get_title().split()[1]): axes for axes in figure.axes[:-1]}
    for index, expected in ((3, drawing.TRUTH), (6, drawing.PREDICTION)):
        edge = np.flatnonzero(truth[:, 24, index])[0] - 0.5
        row, column = place(figure, tiles[index], edge, 24)
        near = picture[row - 2 : row + 3, column].reshape(-1, 3)
        assert min(np.abs(near - colour(expected)).max(axis=1)) < 70, index
    # Slice 3 holds no prediction: its grey is untinted. Slice 6 is tinted inside.
    np.testing.assert_array_equal(picture[place(figure, tiles[3], 18, 22)], (60, 60, 60))
    tinted = 120 + drawing.FILL_ALPHA * (colour(drawing.PREDICTION) - 120)
    np.testing.assert_allclose(picture[place(figure, tiles[6], 18, 22)], tinted, atol=3)


def test_contact_sheet_without_truth_counts_voxels(volume):
    grey, prediction, _ = volume
    figure = overlays.contact_sheet_figure(grey, prediction)
    curve = figure.axes[-1]
    assert curve.get_ylabel() == "voxels" and texts(figure) == ["prediction"]
    np.testing.assert_array_equal(curve.lines[0].get_ydata(), np.count_nonzero(prediction, axis=(0, 1)))
    assert all("Dice" not in title for title in tile_titles(figure))


def test_false_positive_slices_are_marked(volume):
    grey, prediction, truth = volume
    prediction = prediction.copy()
    prediction[3:6, 3:6, [0, 11]] = 1
    figure = overlays.contact_sheet_figure(grey, prediction, truth, [0.9] * 12)
    crosses = [line for line in figure.axes[-1].lines if line.get_color() == drawing.NEGATIVE]
    assert [list(line.get_xdata()) for line in crosses] == [[0, 11]]
    assert "predicted without ground truth" in texts(figure)


def test_many_prompted_slices_are_counted_not_lined(volume):
    grey, prediction, truth = volume
    grey, prediction = grey * 4, np.concatenate((prediction,) * 4, axis=2)
    prompts = [Prompt(i, 1, ((20, 25),)) for i in range(30)]
    figure = overlays.contact_sheet_figure(grey, prediction, prompts=prompts)
    assert figure.axes[-1].get_xlabel() == "slice (30 of 48 prompted)"
    assert not [line for line in figure.axes[-1].lines if line.get_color() == drawing.PROMPTED]
    assert len(figure.axes) - 1 == 24 and "prompted slice" not in texts(figure)


@pytest.mark.parametrize("shape", [(40, 50, 1), (64, 64, 3), (20, 600, 30), (600, 20, 30), (1, 1, 2), (512, 512, 40)])
@pytest.mark.parametrize("filled", [False, True])
def test_contact_sheet_of_any_shape(tmp_path, shape, filled):
    prediction = np.full(shape, filled, np.uint8)
    grey = [np.full(shape[:2], 90, np.uint8)] * shape[2]
    dice = [0.5] * shape[2] if filled else None
    prompts = [Prompt(0, 1, ((0, 0),))]
    figure = overlays.contact_sheet_figure(grey, prediction, None, dice, prompts=prompts, title="name_of_the_volume")
    everything_inside(figure)
    assert len(figure.axes) - 1 == min(shape[2], 24)
    assert round(figure.bbox.width) <= overlays.SHEET_WIDTH
    tiles = [axes.get_window_extent() for axes in figure.axes]
    for first, second in combinations(tiles, 2):
        assert not first.overlaps(second)
    path = tmp_path / "contact_sheet.png"
    overlays.save_png(path, figure)
    with Image.open(path) as picture:
        assert picture.size == (round(figure.bbox.width), round(figure.bbox.height))
        assert len(np.unique(np.asarray(picture)[:, :, 0])) > 10, "blank"
    assert path.stat().st_size < 2_000_000


def test_contact_sheet_of_a_real_scan_is_small_and_quick(tmp_path, real_data):
    scan = read_volume(real_data / "ct_lung" / "lung1_001_ct.nii.gz", swap_axes=True)
    lungs = read_volume(real_data / "ct_lung" / "lung1_001_labels.nii.gz", swap_axes=True).voxels
    grey = np.clip((scan.voxels + 1400.0) / 1500.0 * 255.0, 0, 255).astype(np.uint8)
    path, start = tmp_path / "contact_sheet.png", time.process_time()
    slices = [grey[:, :, i] for i in range(grey.shape[2])]
    overlays.save_png(
        path, overlays.contact_sheet_figure(slices, lungs, lungs, title="lung1_001_ct", spacing_mm=scan.spacing_mm)
    )
    assert time.process_time() - start < 5.0
    assert 200_000 < path.stat().st_size < 2_000_000


def test_saved_contact_sheet_is_a_png_of_the_figure(tmp_path, volume):
    path = tmp_path / "contact_sheet_2025-04-15_10-30-00.png"
    look = {"prompts": [Prompt(5, 1, ((20, 25),))], "title": "ball", "max_tiles": 4}
    overlays.save_png(path, overlays.contact_sheet_figure(*volume, [0.5] * 12, **look))
    figure = overlays.contact_sheet_figure(*volume, [0.5] * 12, **look)
    assert len(figure.axes) == 5
    with Image.open(path) as picture:
        np.testing.assert_array_equal(np.asarray(picture), pixels(figure))
    assert list(tmp_path.iterdir()) == [path]


def test_tiles_keep_the_proportions_of_the_scan():
    grey, prediction = [np.zeros((50, 100), np.uint8)] * 4, np.ones((50, 100, 4), bool)
    figure = overlays.contact_sheet_figure(grey, prediction, spacing_mm=(3, 1, 5))
    box = figure.axes[0].get_window_extent()
    assert box.height / box.width == pytest.approx(1.5, rel=0.01)


def test_contact_sheet_refuses_what_does_not_fit(volume):
    grey, prediction, truth = volume
    with pytest.raises(ValueError, match="12 slices"):
        overlays.contact_sheet_figure(grey, prediction[:, :, :11])
    with pytest.raises(ValueError, match="truth of shape"):
        overlays.contact_sheet_figure(grey, prediction, truth[:, :, :11])
    with pytest.raises(ValueError, match="3 values of Dice"):
        overlays.contact_sheet_figure(grey, prediction, truth, [0.1, 0.2, 0.3])


@pytest.mark.parametrize("turn", [Turn(*flags) for flags in product((False, True), repeat=3)])
def test_ticks_count_the_rows_and_columns_of_the_array(turn):
    # one bright pixel at row 20, column 60, where prompts would have it
    grey = np.zeros((64, 96), np.uint8)
    grey[20, 60] = 255
    figure = overlays.overlay(grey, turn=turn)
    picture, axes = pixels(figure), figure.axes[0]
    names = (axes.get_ylabel(), axes.get_xlabel())
    assert names == (("column", "row") if turn.transpose else ("row", "column"))
    found = {}
    for name, axis in zip(names, (axes.yaxis, axes.xaxis), strict=True):
        (found[name],) = [at for at, label in ticks(axis) if label == {"row": "20", "column": "60"}[name]]
    across, down = (found["row"], found["column"]) if turn.transpose else (found["column"], found["row"])
    assert (picture[place(figure, axes, down, across)] == 255).all()
    assert (np.argwhere(turn.slice(grey) == 255) == [[down, across]]).all()
    everything_inside(figure)


def test_tick_labels_of_a_known_slice():
    figure = overlays.overlay(np.zeros((64, 96), np.uint8), turn=Turn(transpose=True, flip_columns=True))
    axes = figure.axes[0]
    assert ticks(axes.yaxis) == [(float(at), str(at)) for at in range(0, 96, 10)]
    assert ticks(axes.xaxis) == [(float(63 - at), str(at)) for at in range(60, -10, -10)]


@pytest.mark.parametrize(
    ("count", "letters", "expected"),
    [(512, 30, 100), (512, 60, 50), (64, 64, 5), (10, 64, 1), (1, 1, 1), (9, 2, 10), (512, 4, 1000)],
)
def test_tick_steps(count, letters, expected):
    assert drawing.tick_step(count, letters) == expected


def test_letters_stand_at_their_edges():
    edges = Edges("A", "P", "R", "LS")
    figure = overlays.overlay(np.zeros((64, 96), np.uint8), edges=edges)
    axes, renderer = figure.axes[0], figure.canvas.get_renderer()
    figure.canvas.draw()
    picture, at = axes.get_window_extent(), {}
    for text in axes.texts:
        extent = text.get_window_extent(renderer)
        middle = (extent.x0 + extent.x1) / 2 - picture.x0, (extent.y0 + extent.y1) / 2 - picture.y0
        at[text.get_text()] = (round(middle[0] / picture.width, 1), round(middle[1] / picture.height, 1))
        assert extent.x0 > picture.x0 and extent.x1 < picture.x1
        assert extent.y0 > picture.y0 and extent.y1 < picture.y1
    assert at == {"A": (0.5, 1.0), "P": (0.5, 0.0), "R": (0.0, 0.5), "LS": (1.0, 0.5)}


def test_no_letters_where_the_geometry_is_unknown(volume):
    assert not overlays.overlay(volume[0][0]).axes[0].texts
    assert all(not axes.texts for axes in overlays.contact_sheet_figure(*volume).axes)


def test_a_contact_sheet_is_turned_with_everything_on_it(volume):
    grey, prediction, truth = volume
    turn = Turn(transpose=True, flip_rows=True)
    figure = overlays.contact_sheet_figure(
        grey, prediction, truth, [0.5] * 12, turn=turn, edges=Edges("A", "P", "R", "L"), spacing_mm=(2, 1, 5)
    )
    everything_inside(figure)
    picture, tiles = pixels(figure), figure.axes[:-1]
    # row 20, column 22 of slice 6 is predicted
    tile = next(axes for axes in tiles if axes.get_title().startswith("slice 6"))
    down, across = 49 - 22, 20
    tinted = 120 + drawing.FILL_ALPHA * (colour(drawing.PREDICTION) - 120)
    np.testing.assert_allclose(picture[place(figure, tile, down, across)], tinted, atol=3)
    box = tile.get_window_extent()
    assert box.width / box.height == pytest.approx(80 / 50, rel=0.02)
    assert [text.get_text() for text in tile.texts] == ["A", "R"]
    assert tiles[0].get_ylabel() == "column" and tiles[-1].get_xlabel() == "row"
    labels = [label for _, label in ticks(tiles[0].yaxis)]
    assert labels == [str(number) for number in range(40, -10, -10)]
    assert [at for at, _ in ticks(tiles[0].yaxis)] == [49 - number for number in range(40, -10, -10)]
    assert {label for _, label in ticks(tiles[1].yaxis)} == {""}


@pytest.fixture
def two_objects():
    """Objects 3 and 9 side by side on slices 1 to 4 of 6, and the truth with the first one row lower."""
    prediction = np.zeros((40, 50, 6), np.uint16)
    prediction[10:30, 10:20, 1:5], prediction[10:30, 30:40, 1:5] = 3, 9
    truth = prediction.copy()
    truth[:, :25] = np.roll(truth[:, :25], 1, axis=0)
    return [np.full((40, 50), 90, np.uint8)] * 6, prediction, truth


def test_each_object_has_a_colour_a_legend_entry_and_a_curve(two_objects):
    grey, prediction, truth = two_objects
    dice = {3: [None, 0.95, 0.95, 0.95, 0.95, None], 9: [None, 1.0, 1.0, 1.0, 1.0, None]}
    union = [None, 0.97, 0.97, 0.97, 0.97, None]
    figure = overlays.contact_sheet_figure(grey, prediction, truth, union, dice_of_objects=dice)
    assert texts(figure) == ["object 3", "object 9", "ground truth"]
    (first, first_on_paper), (second, second_on_paper) = drawing.OBJECTS[:2]
    patches = figure.legends[0].get_patches()
    assert [to_rgb(patch.get_edgecolor()) for patch in patches] == [to_rgb(first), to_rgb(second)]
    curves = {line.get_color(): line for line in figure.axes[-1].lines if len(line.get_xdata()) == 6}
    for number, look in ((3, first_on_paper), (9, second_on_paper)):
        expected = [np.nan if value is None else value for value in dice[number]]
        np.testing.assert_array_equal(curves[look].get_ydata(), expected)
    assert figure.axes[-1].get_ylabel() == "Dice"
    assert figure.axes[-1].get_title(loc="right") == "mean Dice 0.970, slices: 4"
    tile = next(axes for axes in figure.axes if axes.get_title().startswith("slice 2"))
    for column, expected in ((15, first), (35, second)):
        tinted = 90 + drawing.FILL_ALPHA * (colour(expected) - 90)
        np.testing.assert_allclose(pixels(figure)[place(figure, tile, 20, column)], tinted, atol=3)


def test_objects_without_a_dice_of_their_own_have_their_voxels(two_objects):
    grey, prediction, truth = two_objects
    figure = overlays.contact_sheet_figure(grey, prediction, (truth > 0).astype(np.uint8), [0.97] * 6)
    curve = figure.axes[-1]
    assert curve.get_ylabel() == "voxels"
    drawn = [line.get_ydata().tolist() for line in curve.lines if len(line.get_xdata()) == 6]
    assert drawn == [[0, 200, 200, 200, 200, 0]] * 2
    assert tile_titles(figure)[1] == "slice 1 · Dice 0.970"


def test_an_object_keeps_its_colour_and_number_on_every_slice(two_objects):
    grey, prediction, _ = two_objects
    alone = np.where(prediction[:, :, 2] == 9, 9, 0)
    figure = overlays.overlay(grey[2], prediction=alone, objects=[3, 9])
    assert texts(figure) == ["object 3", "object 9"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["9"]
    assert figure.axes[0].texts[0].xy == (35, 20)
    second = drawing.OBJECTS[1][0]
    assert is_near(around(pixels(figure), place(figure, figure.axes[0], 9.5, 35)), second)


def test_the_last_of_very_many_objects_share_a_colour():
    looks = drawing.looks_of(range(1, 21))
    assert len({look.on_slice for look in looks.values()}) == len(drawing.OBJECTS) + 1
    assert looks[20] == looks[8] and looks[8].name == "13 other objects"
    assert [look.name for look in drawing.looks_of([5]).values()] == ["prediction"]


def test_object_colours_stand_out_and_differ():
    on_slice = [pair[0] for pair in drawing.OBJECTS] + [drawing.TRUTH]
    for one, other in combinations(on_slice, 2):
        assert np.linalg.norm(colour(one) - colour(other)) > 60, (one, other)
    for dark, paper in drawing.OBJECTS:
        assert (relative_luminance(dark) + 0.05) / (relative_luminance("#3A3A3A") + 0.05) > 3.0, dark
        assert 1.05 / (relative_luminance(paper) + 0.05) > 3.5, paper


def test_slices_with_prompts_alone():
    grey = [np.zeros((40, 50), np.uint8)] * 9
    prompts = [Prompt(2, 1, ((20, 25),)), Prompt(7, 1, box=(5, 5, 30, 30)), Prompt(8, 1, ((1, 1),))]
    figure = overlays.slices_figure(grey, [2, 5, 7], prompts=prompts, title="scan_1", edges=Edges("A", "P", "R", "L"))
    assert [axes.get_title() for axes in figure.axes] == ["slice 2", "slice 5", "slice 7"]
    assert texts(figure) == ["positive point", "box", "prompted slice"]
    everything_inside(figure)


def filled_slices(slices: int, start: int, stop: int) -> np.ndarray:
    index = np.arange(slices)
    return (index >= start) & (index < stop)


@pytest.mark.parametrize(
    ("filled", "prompted", "max_tiles", "expected"),
    [
        (filled_slices(10, 0, 0), [], 4, [0, 3, 6, 9]),
        (filled_slices(10, 3, 6), [], 24, [2, 3, 4, 5, 6]),
        (filled_slices(10, 3, 6), [9], 24, [2, 3, 4, 5, 6, 9]),
        (filled_slices(10, 0, 10), [4], 4, [0, 4, 6, 9]),
        (filled_slices(100, 10, 91), [], 3, [9, 50, 91]),
        (filled_slices(100, 10, 91), [50, 51, 52], 3, [50, 51, 52]),
        (filled_slices(100, 20, 40), list(range(30, 60)), 5, [19, 29, 40, 50, 60]),
        (filled_slices(1, 0, 1), [0, 5, -1], 24, [0]),
        (filled_slices(5, 0, 5), [], 0, [0]),
    ],
)
def test_slices_chosen(filled, prompted, max_tiles, expected):
    assert overlays.choose_slices(filled, prompted, max_tiles) == expected


def relative_luminance(name: str) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(name)]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_colours_can_be_told_apart_by_the_colour_blind():
    # Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
    blindness = {
        "protanopia": ((0.1523, 1.0526, -0.2049), (0.1145, 0.7863, 0.0992), (-0.0039, -0.0481, 1.0520)),
        "deuteranopia": ((0.3673, 0.8606, -0.2280), (0.2801, 0.6725, 0.0474), (-0.0118, 0.0429, 0.9689)),
        "tritanopia": ((1.2555, -0.0767, -0.1788), (-0.0784, 0.9308, 0.1476), (0.0047, 0.6914, 0.3039)),
    }
    linear = [np.array(to_rgb(name)) ** 2.2 for name in (drawing.PREDICTION, drawing.TRUTH)]
    for kind, matrix in blindness.items():
        seen = [np.clip(np.array(matrix) @ part, 0, 1) ** (1 / 2.2) for part in linear]
        assert np.linalg.norm(seen[0] - seen[1]) > 0.5, kind
    assert drawing.POINTS["positive point"][0] != drawing.POINTS["negative point"][0], "shape tells points apart"
    # On a dark lung and on the legend every colour stands out; on white paper the curve does.
    for name in (drawing.PREDICTION, drawing.TRUTH, drawing.BOX, drawing.PROMPTED):
        assert (relative_luminance(name) + 0.05) / (relative_luminance("#3A3A3A") + 0.05) > 3.0, name
    assert 1.05 / (relative_luminance(drawing.PREDICTION_ON_WHITE) + 0.05) > 4.5
