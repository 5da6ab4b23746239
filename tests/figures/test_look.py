"""A look before any prompt: which slices are shown, how they lie, and what is said of a scan."""

from __future__ import annotations

import numpy as np
import pytest

from pose.figures.look import describe, look_figure
from pose.prompts.prompt import Prompt
from pose.scans.phantom import chest_ct
from pose.scans.volume import Volume

DIRECTIONS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


def scan(codes: str = "LPS", shape=(40, 60, 30), swap_axes: bool = False) -> Volume:
    """Soft tissue in air in Hounsfield units, with a bright pixel at row 10, column 50 of each slice."""
    rng = np.random.default_rng(0)
    voxels = rng.integers(-1010, -990, shape).astype(np.int16)
    voxels[5:35, 5:55] = rng.integers(20, 60, (30, 50, shape[2]))
    voxels[9:12, 49:52] = 300
    affine = np.eye(4)
    affine[:3, :3] = np.array([DIRECTIONS[code] for code in codes]).T * (1.0, 2.0, 5.0)
    return Volume(voxels, affine, (2.0, 1.0, 5.0) if swap_axes else (1.0, 2.0, 5.0), swap_axes)


def brightest(figure, axes) -> tuple[float, float]:
    """Where in the axes, from 0 to 1 from the left and from the top, the bright pixel lies."""
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[:, :, 0]
    box = axes.get_window_extent()
    height = round(figure.bbox.height)
    part = picture[height - round(box.y1) : height - round(box.y0), round(box.x0) : round(box.x1)]
    rows, columns = np.nonzero(part == 255)
    corner = (columns < 0.9 * part.shape[1]) & (columns > 0.1 * part.shape[1]) & (rows > 0.1 * part.shape[0])
    return float(np.median(columns[corner]) / part.shape[1]), float(np.median(rows[corner]) / part.shape[0])


def test_24_slices_of_many_with_their_numbers():
    figure = look_figure(scan(), title="a scan")
    expected = np.linspace(0, 29, 24).round().astype(int)
    assert [axes.get_title() for axes in figure.axes] == [f"slice {number}" for number in expected]
    assert figure.texts[0].get_text() == "a scan" and figure.legends == []


# the bright pixel lies a quarter down the rows and 5/6 along the columns of the array
@pytest.mark.parametrize(
    ("codes", "swap_axes", "expected"),
    [
        ("LPS", False, (0.25, 0.83)),
        ("RAS", False, (0.75, 0.17)),
        ("LAS", False, (0.25, 0.17)),
        ("PLS", False, (0.83, 0.25)),
        ("LPS", True, (0.83, 0.25)),
        ("LAI", True, (0.83, 0.75)),
    ],
)
def test_upright_from_any_orientation(codes, swap_axes, expected):
    figure = look_figure(scan(codes, swap_axes=swap_axes), slices=[3])
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["A", "P", "R", "L"]
    assert brightest(figure, axes) == pytest.approx(expected, abs=0.03)


def test_a_prompt_is_drawn_on_its_slice_alone():
    prompt = Prompt(7, 1, ((10, 50),), box=(5, 5, 34, 54))
    figure = look_figure(scan(), prompts=[prompt], title="a scan")
    assert figure.texts[0].get_text() == "a scan, slice 7" and len(figure.axes) == 1
    entries = [text.get_text() for text in figure.legends[0].get_texts()]
    assert entries == ["positive point", "box"]
    # LPS without a swap is transposed: rows run to the right
    (point,) = [line for line in figure.axes[0].lines if line.get_marker() == "*"]
    assert (list(point.get_xdata()), list(point.get_ydata())) == ([10], [50])


def test_prompts_on_several_slices_in_a_grid():
    prompts = [Prompt(7, 1, ((10, 50),)), Prompt(2, 1, ((10, 50),)), Prompt(7, 2, box=(5, 5, 9, 9))]
    figure = look_figure(scan(), prompts=prompts)
    assert [axes.get_title() for axes in figure.axes] == ["slice 2", "slice 7"]


def test_a_slice_without_its_neighbours_prompts():
    figure = look_figure(scan(), prompts=[Prompt(7, 1, ((10, 50),))], slices=[3])
    assert figure.legends == []


def test_words_of_a_scan_in_hounsfield_units():
    words = describe(scan("PLS"))
    assert list(words) == ["shape", "spacing", "orientation", "values", "unit", "window"]
    assert words["shape"] == "40 rows x 60 columns x 30 slices; they count from 0"
    assert words["spacing"] == "1 x 2 x 5 mm (row, column, slice)"
    assert words["orientation"] == (
        "axial slices; rows count towards the back (P), columns count towards the left (L), "
        "slices count towards the head (S)"
    )
    assert words["values"] == "-1010 to 300, int16"
    assert words["unit"].startswith("likely Hounsfield units: ")
    assert words["window"] == ("--window soft_tissue (40 400) or bone (400 1800), by what is to be segmented: no lungs")


def test_words_of_lungs():
    volume, _ = chest_ct((64, 64, 12), seed=0)
    assert describe(volume)["window"].startswith("--window lung (-650 1500) or mediastinum (50 350)")


def test_words_of_a_window_that_is_thought_of():
    volume = scan()
    assert describe(volume, (-650.0, 1500.0))["window"] == (
        "-650 1500: -1400 is black and 100 white; 1% of the body is one or the other"
    )
    assert describe(volume, (-650.0, 500.0))["window"].endswith("100% of the body is one or the other")


def test_words_where_the_default_shows_the_body_and_where_it_does_not():
    voxels = scan().voxels.astype(np.float64)
    voxels[voxels < 0] = 0
    words = describe(Volume(voxels))
    assert words["orientation"] == "unknown; pictures show the slices as they lie"
    assert words["spacing"] == "unknown" and words["unit"].startswith("not Hounsfield units: no value is below 0")
    assert words["window"].startswith("none is needed; without --window: 0 is black and ")
    # a few voxels that are far brighter than all others leave the body black
    voxels[:, 55:, :4] = 1e6
    words = describe(Volume(voxels))["window"]
    assert "without --window: 0 is black and 1e+06 white; " in words
    level, width = (float(word.rstrip(";")) for word in words.split()[1:3])
    assert level < 200 and width < 400


def test_words_of_other_planes_and_of_values_that_are_none():
    assert describe(scan("LSP"))["orientation"].startswith("coronal slices; ")
    assert describe(scan("PSL"))["orientation"].startswith("sagittal slices; ")
    oblique = scan()
    turn = np.deg2rad(20)
    about_y = [[np.cos(turn), 0, np.sin(turn), 0], [0, 1, 0, 0], [-np.sin(turn), 0, np.cos(turn), 0], [0, 0, 0, 1]]
    volume = Volume(oblique.voxels.astype(np.float32), np.array(about_y) @ oblique.affine, oblique.spacing_mm)
    volume.voxels[0, 0, :5] = np.nan
    words = describe(volume)
    assert words["orientation"].startswith("oblique, nearly axial slices; rows count towards the left and head (LS)")
    assert words["values"] == "-1010 to 300, float32; 5 of 72000 voxels are NaN or infinite"
