"""paper/report.py: its numbers by hand, the page as HTML, its pictures, and how a real browser shows it."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

import process_video
from paper.report import page as report
from paper.report import plots as report_plots
from paper.report import tables as report_tables
from paper.report.data import distance_edges, mean_interval, quartiles, read_results, slice_spacing
from paper.report.latex import escape, latex
from paper.report.pictures import palette, pictures_of_worst, worst_slices
from paper.report.tables import Table
from pose import results
from pose.cli import run_main
from pose.figures import overlays
from pose.figures.drawing import OBJECTS, OTHER_OBJECTS
from pose.figures.names import shown_name
from pose.figures.upright import edges_of, upright
from pose.scans.volume import read_volume
from tests.browser import browser, sandbox
from tests.cases import write_two_blocks

SECTIONS = (
    "What was read",
    "Scores",
    "Box plots",
    "Every volume",
    "Worst slices",
    "Dice by distance",
    "Where to look next",
    "Times",
    "Prompts saved",
    "Failures",
    "Settings",
    "Versions",
)


def write_volume(folder, dice, prompts=(), spacing=2.5, volume_dice=None, **manifest):
    rows = [
        {
            "slice": index,
            "dice": value,
            "jaccard": None if value is None else value / (2 - value),
            "ground_truth_voxels": 10 * index,
            "process_image_time": 0.5,
        }
        for index, value in enumerate(dice)
    ]
    record = {"image": {"spacing_mm": [1.0, 1.0, spacing]}, "arguments": {}, "total_seconds": 4.0, **manifest}
    return results.write_results(
        folder,
        rows=rows,
        volume_metrics={"volume_dice": volume_dice},
        prompts_json={"prompts": [{"slice": index} for index in prompts]},
        manifest=record,
    )


@pytest.fixture
def hand_made(tmp_path):
    folder = tmp_path / "hand"
    facts = {"model": "tiny", "masked_slices": 3, "prompted_slices": 1, "versions": {"numpy": "1.0"}}
    write_volume(folder / "a", [None, 0.9, 0.8, 0.0], [1], 2.5, 0.8, **facts)
    write_volume(folder / "b", [0.5, 0.6, 0.0], [0, 2], 10.0, 0.6, model="large", masked_slices=3, prompted_slices=2)
    results.write_failure(folder / "c", "c.npy: <script>alert('& too large')</script>", {})
    return folder


def rows_of(table):
    return [dict(zip(table.header, row, strict=True)) for row in table.rows]


def test_the_interval_draws_whole_volumes():
    volumes = pd.Series(["a", "a", "b"])
    # both a: 0; one of each: 1/3; both b: 1, with shares 1/4, 1/2, 1/4
    assert mean_interval(pd.Series([0.0, 0.0, 1.0]), volumes) == (0.0, 1.0)
    assert mean_interval(pd.Series([0.2, 0.4, 0.3]), volumes) == pytest.approx((0.3, 0.3), abs=1e-12)
    assert mean_interval(pd.Series([0.2, 0.4, np.nan]), volumes) == pytest.approx((math.nan, math.nan), nan_ok=True)
    assert mean_interval(pd.Series([0.2, 0.4, np.inf]), volumes) == pytest.approx((0.3, math.inf))
    assert all(math.isnan(end) for end in mean_interval(pd.Series([], dtype="float64"), pd.Series([], dtype=str)))


def test_the_interval_is_that_of_means_of_volumes_where_slices_repeat_their_volume():
    means = np.random.default_rng(5).normal(0.8, 0.1, 40)
    volumes = pd.Series(np.repeat(np.arange(40), 25))
    low, high = mean_interval(pd.Series(np.repeat(means, 25)), volumes)
    expected = 1.96 * means.std() / math.sqrt(40)
    assert (means.mean() - low, high - means.mean()) == pytest.approx((expected, expected), rel=0.1)
    assert mean_interval(pd.Series(np.repeat(means, 25)), volumes) == (low, high)


def test_quartiles_with_infinite_and_missing_values():
    assert quartiles(pd.Series([1.0, 2.0, None, 3.0, 4.0])) == (1.75, 2.5, 3.25)
    assert quartiles(pd.Series([1.0, 2.0, np.inf, np.inf, np.inf])) == (2.0, np.inf, np.inf)
    assert all(math.isnan(value) for value in quartiles(pd.Series([None], dtype="float64")))


@pytest.mark.parametrize(
    ("largest", "edges"),
    [
        (0.0, [0.0]),
        (120.0, [10.0 * step for step in range(13)]),
        (121.0, [20.0 * step for step in range(8)]),
        (7.5, [float(step) for step in range(9)]),
        (0.3, [pytest.approx(0.05 * step) for step in range(7)]),
    ],
)
def test_bins_of_distance(largest, edges):
    assert distance_edges(largest) == edges


@pytest.mark.parametrize("spacing", [None, [1, 2], [1, 1, 0], [1, 1, "2"], 3])
def test_a_spacing_that_is_not_known(spacing):
    assert slice_spacing({"image": {"spacing_mm": spacing}}) is None
    assert slice_spacing({"image": [spacing]}) is None


def test_distances_from_the_nearest_prompt(hand_made):
    table = read_results("hand", hand_made).distances
    assert table[["image", "slice", "distance_mm"]].values.tolist() == [
        ["a", 1, 0.0],
        ["a", 2, 2.5],
        ["a", 3, 5.0],
        ["b", 0, 0.0],
        ["b", 1, 10.0],
        ["b", 2, 0.0],
    ]
    binned = rows_of(report_tables.by_distance([read_results("hand", hand_made)]))
    assert [(row["Distance (mm)"], row["Slices"], row["Volumes"], row["Mean Dice"]) for row in binned] == [
        ("prompted slice", "3", "2", "0.4667"),
        ("2 to 3", "1", "1", "0.8000"),
        ("4 to 5", "1", "1", "0.0000"),
        ("9 to 10", "1", "1", "0.6000"),
    ]


def test_the_tables_by_hand(hand_made):
    sets = [read_results("hand", hand_made)]
    (over,) = rows_of(report_tables.overview(sets))
    assert (over["Model or method"], over["Volumes"], over["Failed"], over["Slices"]) == ("tiny / large", "2", "1", "7")
    summary = {row["Metric"]: row for row in rows_of(report_tables.summary(sets))}
    dice, whole = summary["Dice"], summary["Dice of the volume"]
    # volumes' means are 1.7 / 3 and 1.1 / 3, of three slices each: the ends are those of either drawn twice
    assert [dice[name] for name in ("n", "Mean", "95 % interval", "Median", "Least", "Most")] == [
        "6",
        "0.4667",
        "0.3667 to 0.5667",
        "0.5500",
        "0.0000",
        "0.9000",
    ]
    assert [whole[name] for name in ("Over", "n", "Mean", "95 % interval")] == [
        "volumes",
        "2",
        "0.7000",
        "0.6000 to 0.8000",
    ]
    volumes = rows_of(report_tables.per_volume(sets))
    assert [(row["Volume"], row["Slices"], row["Mean Dice"], row["Dice of the volume"]) for row in volumes] == [
        ("a", "4", "0.5667", "0.8000"),
        ("b", "3", "0.3667", "0.6000"),
    ]
    times = rows_of(report_tables.times(sets))
    assert [(row["What"], row["n"], row["Mean"], row["Sum"]) for row in times] == [
        ("set image and predict, a slice", "7", "0.5000", "3.5"),
        ("a volume, in all", "2", "4.0000", "8.0"),
    ]
    assert report_tables.saved(sets).rows == (("hand", "2", "3", "6", "50.00"),)
    assert report_tables.failures(sets).rows == (("c", "hand", "c.npy: <script>alert('& too large')</script>"),)
    assert dict(report_tables.settings(sets).rows) == {"model": "tiny (1); large (1)"}
    made_with = {row[0]: row[1:] for row in report_tables.versions(sets).rows}
    assert made_with["numpy"] == ("1.0 (1); not given (1)", np.__version__)


def test_settings_are_flags_that_were_given(tmp_path):
    flags = {"window": ["40", "400"], "swap_axes": True, "debug": True, "labels": None, "point": [], "resume": False}
    write_volume(tmp_path / "a", [0.5], arguments=flags)
    write_volume(tmp_path / "b", [0.5], arguments={**flags, "labels": [1, 2]})
    assert report_tables.settings([read_results("r", tmp_path)]).rows == (
        ("--window", "40 400"),
        ("--swap_axes", "given"),
        ("--labels", "1 2 (1); not given (1)"),
    )


def test_the_worst_slices_and_their_order(hand_made):
    one = read_results("hand", hand_made)
    # of the two with 0, that of slice 3 has the larger object
    assert worst_slices(one, 4)[["image", "slice"]].values.tolist() == [["a", 3], ["b", 2], ["b", 0], ["b", 1]]
    pictures = pictures_of_worst(one, 2)
    assert [(picture.image, picture.slice, picture.value, picture.png) for picture in pictures] == [
        ("a", 3, 0.0, None),
        ("b", 2, 0.0, None),
    ]
    assert pictures[0].word == "No picture: the run left no masks, or no manifest"


def test_without_ground_truth_the_models_own_score_ranks(tmp_path):
    rows = [{"slice": index, "sam_score": score, "review_score": score} for index, score in enumerate((0.9, 0.3, 0.5))]
    results.write_results(tmp_path / "r" / "a", rows=rows, prompts_json={}, manifest={})
    assert worst_slices(read_results("r", tmp_path / "r"), 2)["slice"].tolist() == [1, 2]
    assert report.main(["-r", str(tmp_path / "r")]) == 0
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert "Without ground truth, r is ranked by the model&#39;s own score." in page and "No slice has a Dice." in page


def test_seed_patients_do_not_count_unless_asked_for(tmp_path):
    seed = {"seeds": [{"slice_sha256": "0" * 64}], "seed_patient": True}
    write_volume(tmp_path / "a", [1.0], seed=seed)
    write_volume(tmp_path / "b", [0.5], seed={**seed, "seed_patient": False})
    assert read_results("r", tmp_path).slices["dice"].tolist() == [0.5]
    assert read_results("r", tmp_path, include_seed_patient=True).slices["dice"].tolist() == [1.0, 0.5]
    marked = [row[0] for row in report_tables.per_volume([read_results("r", tmp_path)]).rows]
    assert marked == ["a (seed, left out of the statistics)", "b"]


def test_latex_escapes_and_aligns():
    assert escape("50 % of a_b & --flag <x> {~^} \\ – −1 ∞\n#$") == (
        r"50 \% of a\_b \& -{}-flag \textless{}x\textgreater{} \{\textasciitilde{}\textasciicircum{}\} "
        r"\textbackslash{} -- $-$1 $\infty$ \#\$"
    )
    short = latex([Table("t", "A & b", ("Name", "n"), (("a_b", "1"),))])
    assert short.splitlines()[2:] == [
        r"\begin{table}[htbp]",
        r"\centering",
        r"\caption{A \& b}\label{tab:t}",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"Name & n \\",
        r"\midrule",
        r"a\_b & 1 \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    long = latex([Table("t", "c", ("Name", "n"), tuple(("a", str(row)) for row in range(41)))])
    assert long.count(r" \\" + "\n") == 43 and r"\begin{longtable}{lr}" in long and r"\end{longtable}" in long
    assert "tabular" not in latex([Table("t", "c", ("Name",), ())])


class Page(HTMLParser):
    """What a page holds: elements with their attributes, and the text of tables."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.tables, self.text, self.open = [], {}, [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append((tag, attributes))
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)
        if tag == "table":
            self.table = self.tables.setdefault(attributes["id"], [])
        elif tag == "tr":
            self.table.append([])
        elif tag in ("th", "td"):
            self.table[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1] in ("th", "td"):
            self.table[-1][-1] += data

    def all(self, *tags):
        return [attributes for tag, attributes in self.elements if tag in tags]


def pictures_in(page):
    return [
        Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2], validate=True)))
        for image in page.all("img")
    ]


def check_structure(text):
    page = Page(text)
    assert not page.open
    identifiers = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    for link in page.all("a"):
        assert link["href"][0] == "#" and link["href"][1:] in identifiers
    for _, attributes in page.elements:
        assert attributes.get("aria-labelledby", identifiers[0]) in identifiers
        assert not any(name.startswith("on") for name in attributes)
        assert re.match(r"data:image/png;base64,|data:,$", attributes.get("src", "data:,"))
    assert not page.all("script", "iframe", "object", "embed", "base")
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    assert "url(" not in text and "@import" not in text and not re.search(r"https?://", text)
    assert len(page.all("caption")) == len(page.all("table")) == len(page.tables)
    assert all(cell["scope"] in ("col", "row") for cell in page.all("th"))
    assert all(len(row) == len(rows[0]) for rows in page.tables.values() for row in rows)
    for image, picture in zip(page.all("img"), pictures_in(page), strict=True):
        picture.load()
        assert picture.width > 300 and picture.height > 100 and len(np.unique(np.asarray(picture.convert("L")))) > 10
        assert len(image["alt"]) > 10
    return page


def test_the_page_stands_alone_and_says_what_the_tables_say(hand_made, tmp_path, capsys):
    path = tmp_path / "new" / "page.html"
    assert report.main(["-r", f"<b>={hand_made}", str(hand_made), "-o", str(path), "--title", "A <title>"]) == 0
    assert capsys.readouterr().out.splitlines() == ["4 volumes, 14 slices", str(path), str(path.with_suffix(".tex"))]
    text = path.read_text(encoding="utf-8")
    page = check_structure(text)
    assert "A <title>" in page.text and "<script>alert" not in text
    assert len(page.all("img")) == 3 and set(page.tables) == {
        f"table-{name}"
        for name in (
            "overview",
            "summary",
            "volumes",
            "distance",
            "times",
            "prompts",
            "failures",
            "settings",
            "versions",
        )
    }
    sets = [read_results("<b>", hand_made), read_results("hand", hand_made)]
    for table in (report_tables.summary(sets), report_tables.failures(sets)):
        assert page.tables[f"table-{table.name}"] == [list(table.header), *map(list, table.rows)]
    tables = path.with_suffix(".tex").read_text(encoding="utf-8")
    assert tables.count(r"\begin{tabular}") == tables.count(r"\end{table}") == 9
    assert sorted(item.name for item in path.parent.iterdir()) == ["page.html", "page.tex"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{0}", "{0}"], "two folders are named hand; give names: NAME=FOLDER"),
        (["{0}", "-o", "page.pdf"], "page.pdf: must end in .html"),
        (["{0}/nowhere"], "nowhere: no such folder"),
        (["{0}", "-o", "{0}/a/run.html/x.html"], "run.html: "),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(hand_made, arguments, message, capsys):
    (hand_made / "a" / "run.html").write_text("")
    before = sorted(hand_made.rglob("*"))
    assert run_main(report.main, ["-r", *(part.format(hand_made) for part in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert sorted(hand_made.rglob("*")) == before


@pytest.mark.parametrize("prompts", [{"prompts": [{"slice": True}]}, {"prompts": [3]}, {"prompts": "all"}])
def test_prompts_that_no_run_wrote(hand_made, prompts, capsys):
    (path,) = (hand_made / "a").glob("sam_prompts_*.json")
    path.write_text(json.dumps(prompts))
    assert run_main(report.main, ["-r", str(hand_made)]) == 2
    assert f"{path}: prompts must be a list of objects with a slice" in capsys.readouterr().err


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmented")
    scans, masks = zip(*(write_two_blocks(folder, name) for name in ("one", "two")), strict=True)
    flags = ["--swap_axes", "--apply_windowing", "--use_bounding_box", "--method", "region_growing"]
    files = ["-i", *map(str, scans), "-m", *map(str, masks), "-r", str(folder / "found")]
    assert process_video.main([*files, *flags]) == 0
    return folder


def orange(png):
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    return int((np.abs(pixels - (0xE6, 0x9F, 0x00)).sum(axis=2) < 60).sum())


def test_pictures_are_drawn_only_of_files_that_are_as_they_were(segmented, tmp_path):
    copy = Path(shutil.copytree(segmented, tmp_path / "copy"))
    for path in copy.glob("found/*/run_*.json"):
        path.write_text(path.read_text().replace(str(segmented), str(copy)))
    whole = pictures_of_worst(read_results("found", copy / "found"), 8)
    assert [picture.word for picture in whole] == [""] * 8 and all(orange(picture.png) > 500 for picture in whole)
    # blocks of 64 x 64 voxels: an enlarged slice, and room for numbers left of it and below
    width, height = Image.open(io.BytesIO(whole[0].png)).size
    assert width > 768 + 60 and height > 768 + 60
    (copy / "one_mask.nii.gz").unlink()
    with (copy / "two.nii.gz").open("ab") as file:
        file.write(b"\0")
    found = pictures_of_worst(read_results("found", copy / "found"), 8)
    assert {(picture.image, picture.word, picture.png is None) for picture in found} == {
        ("one", f"Without ground truth: {copy / 'one_mask.nii.gz'}: no such file", False),
        ("two", f"No picture: {copy / 'two.nii.gz'}: is not the file that the run read, by its SHA-256", True),
    }
    assert all(orange(picture.png) == 0 for picture in found if picture.image == "one")


def test_the_palette_has_the_greys_and_the_marks():
    one = palette(["#56B4E9"])
    colours = {tuple(colour) for colour in one.tolist()}
    assert len(colours) == len(one) <= 256
    assert {(0, 0, 0), (255, 255, 255), (0xE6, 0x9F, 0x00), (0x56, 0xB4, 0xE9), (0x00, 0x9E, 0x73)} <= colours
    greys = sorted(colour[0] for colour in colours if len(set(colour)) == 1)
    assert np.diff(greys).max() <= 3


@pytest.mark.parametrize("count", range(2, 9))
def test_the_palette_has_a_colour_for_each_object(count):
    tints = [*(pair[0] for pair in OBJECTS), OTHER_OBJECTS[0]][:count]
    colours = palette(tints)
    assert len(colours) <= 256
    for tint in (*tints, "#E69F00", "#F0E442", "#000000", "#FFFFFF"):
        assert [round(255 * part) for part in to_rgb(tint)] in colours.tolist(), tint


def test_pictures_are_upright_and_numbered(segmented, tmp_path, monkeypatch):
    figures, drawn = [], overlays.overlay
    monkeypatch.setattr(overlays, "overlay", lambda *one, **two: figures.append(drawn(*one, **two)) or figures[-1])
    pictures_of_worst(read_results("found", segmented / "found"), 1)
    (axes,) = figures[0].axes
    assert [text.get_text() for text in axes.texts[:4]] == list(edges_of_segmented(segmented))
    assert {axes.get_xlabel(), axes.get_ylabel()} == {"row", "column"}
    assert len(axes.get_xticks()) > 3 and axes.get_xticklabels()[0].get_fontsize() == 18.0


def edges_of_segmented(folder):
    volume = read_volume(folder / "one.nii.gz", swap_axes=True)
    return edges_of(volume, upright(volume))


def figures_of(monkeypatch, draw, sets):
    """What a function of report_plots draws, before it becomes a file."""
    figures = []
    monkeypatch.setattr(report_plots, "png_of", lambda figure: figures.append(figure) or b"")
    draw(sets)
    figures[0].canvas.draw()
    return figures[0]


def test_names_in_plots_are_shown_as_they_are(tmp_path, monkeypatch):
    for number in range(2):
        folder = tmp_path / str(number)
        write_volume(folder / "lung$\\frac$01", [0.9, 0.8, 0.0], [1])
        write_volume(folder / "_50 % {{x}}", [0.5, 0.6], [0])
    sets = [read_results(name, tmp_path / str(number)) for number, name in enumerate(("_a$\\frac$", "cost$a_b$c"))]
    names, images = [shown_name("_a$\\frac$"), shown_name("cost$a_b$c")], {"lung\\$\\frac\\$01", "\u200a_50 % {{x}}"}
    legends = [
        figures_of(monkeypatch, report_plots.scores, sets).legends[0],
        figures_of(monkeypatch, report_plots.by_distance, sets).axes[0].get_legend(),
    ]
    assert [[text.get_text() for text in legend.get_texts()] for legend in legends] == [names, names]
    panels = figures_of(monkeypatch, report_plots.volumes, sets).axes
    assert [axes.get_title() for axes in panels] == names
    assert all({label.get_text() for label in axes.get_yticklabels()} == images for axes in panels)


def test_a_row_of_scores_is_whole_whichever_folders_have_it(tmp_path, monkeypatch):
    write_volume(tmp_path / "with" / "a", [0.5, 0.6, 0.7], [0])
    write_volume(tmp_path / "without" / "a", [0.5, 0.6, 0.7], [0])
    with_score, without = (read_results(name, tmp_path / name) for name in ("with", "without"))
    with_score.result_set.raw_data["sam_score"] = [0.7, 0.8, 0.9]
    for sets in ([with_score], [with_score, without], [without, with_score]):
        axes = figures_of(monkeypatch, report_plots.scores, sets).axes[0]
        bottom, top = axes.get_ylim()
        assert [label.get_text() for label in axes.get_yticklabels()] == ["Jaccard", "Dice", "SAM score"]
        assert all(top < tick < bottom for tick in axes.get_yticks())
        edges = [edge for patch in axes.patches for edge in patch.get_path().vertices[:, 1]]
        assert len(axes.patches) == 2 * len(sets) + 1 and top < min(edges) and max(edges) < bottom


def test_settings_of_one_method_are_not_those_of_another(tmp_path):
    flags = {"window": None, "chain_margin": 2, "growing_opening": 0, "review_below": 0.8}
    write_volume(tmp_path / "chained" / "a", [0.5], method="chain", arguments=flags)
    write_volume(tmp_path / "grown" / "a", [0.5], method="region_growing", arguments=flags)
    write_volume(tmp_path / "old" / "a", [0.5], arguments=flags)
    sets = [read_results(name, tmp_path / name) for name in ("chained", "grown", "old")]
    assert report_tables.settings(sets).rows == (
        ("method", "chain", "region_growing", "–"),
        ("--chain_margin", "2", "–", "2"),
        ("--growing_opening", "–", "0", "0"),
        ("--review_below", "0.8", "0.8", "0.8"),
    )


def test_many_volumes_are_bands_without_names(tmp_path):
    for number in range(61):
        write_volume(tmp_path / "r" / f"volume_{number}", [0.5 + 0.005 * number, 0.9])
    few = dataclasses.replace(one := read_results("r", tmp_path / "r"), left_out=("volume_0",))
    sizes = [Image.open(io.BytesIO(report_plots.volumes([some]))).height for some in (one, few)]
    assert sizes == [round((6 + 16 + 90) / 25.4 * 200 - 0.5), round((6 + 16 + 5 * 60) / 25.4 * 200 - 0.5)]


def test_many_volumes_are_shown_in_part(tmp_path, monkeypatch):
    monkeypatch.setattr(report_tables, "MOST_VOLUMES", 2)
    for name, dice in (("a", [0.9]), ("b", [None]), ("c", [0.1, 0.3]), ("d", [0.4])):
        write_volume(tmp_path / "r" / name, dice)
    for name in ("x", "y", "z"):
        results.write_failure(tmp_path / "r" / name, "is cut", {})
    assert report.main(["-r", str(tmp_path / "r"), "-o", str(tmp_path / "page.html")]) == 0
    page = check_structure((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert [row[0] for row in page.tables["table-volumes"]] == ["Volume", "c", "d"]
    assert [row[0] for row in page.tables["table-failures"]] == ["Volume", "x", "y", "and 1 more"]
    assert (
        page.text.count(
            "Of the 4 volumes of r, these are the 2 with the least mean Dice, worst first; joint_results_*.csv, which "
            "join_results.py writes, has all of them."
        )
        == 1
    )
    assert page.tables["table-overview"][1][2] == "4"


def test_many_things_are_drawn_in_part(tmp_path, monkeypatch):
    for number in range(61):
        write_volume(tmp_path / "r" / f"volume_{number:02}", [0.5 + 0.005 * number, 0.9], prompts=[0])
    one = read_results("r", tmp_path / "r")
    drawn = {}
    monkeypatch.setattr(report_plots, "png_of", lambda figure: drawn.update(figure=figure))
    for most, dots, words in ((100, 61, ""), (20, 16, ", one in 4 drawn")):
        monkeypatch.setattr(report_plots, "MOST_BANDS", most)
        report_plots.volumes([one])
        (axes,) = drawn["figure"].axes
        assert [len(line.get_xdata()) for line in axes.lines] == [dots, dots]
        assert axes.get_ylabel() == f"61 volumes by their mean Dice{words}"
    for most, dots, words in ((1000, 122, "r"), (50, 41, "r (dots: one slice in 3)")):
        monkeypatch.setattr(report_plots, "MOST_DOTS", most)
        report_plots.by_distance([one])
        (axes,) = drawn["figure"].axes
        assert len(axes.lines[0].get_xdata()) == dots and axes.get_legend_handles_labels()[1] == [words]


def test_what_all_runs_say_is_kept_once(tmp_path):
    for number in range(3):
        flags = {"window": [40, 400 + number // 2], "image_file_path": f"scan_{number}.nii"}
        write_volume(tmp_path / f"v{number}", [0.5], arguments=flags, model="tiny", command=f"--number {number}")
    one = read_results("r", tmp_path)
    assert one.told["v0"].said is one.told["v1"].said is not one.told["v2"].said
    assert [volumes for _, volumes in one.said] == [2, 1] and one.told["v0"].said["arguments"] == {"window": [40, 400]}
    assert [volumes for _, volumes in dataclasses.replace(one, left_out=("v0", "v2")).said] == [1]


def test_published_results(real_data, tmp_path):
    folder = real_data / "published_results" / "2-coronacases"
    assert report.main(["-r", str(folder), "-o", str(tmp_path / "page.html")]) == 0
    page = check_structure((tmp_path / "page.html").read_text(encoding="utf-8"))
    (published,) = folder.glob("results_*.csv")
    for row in results.read_table(published, ("metric",), ("metric",)).to_dict("records"):
        (shown,) = [line for line in page.tables["table-summary"] if line[0].lower() == row["metric"]]
        assert (shown[4], shown[8], shown[9]) == tuple(f"{row[name]:.4f}" for name in ("avg", "min", "max"))
    (joint,) = folder.glob("joint_results_*.csv")
    assert len(page.tables["table-volumes"]) == 11 and joint.is_file()
    assert "These runs recorded no times." in "".join(page.text)


# The page lies in a frame of the width asked for, because windows of a browser have a least width of their own.
FRAME = """<!DOCTYPE html><meta charset="utf-8"><iframe srcdoc="{page}"
style="width: {width}px; height: 900px; border: 0">
</iframe><pre id="facts"></pre><script>
addEventListener("load", () => {{
  const frame = document.querySelector("iframe"), page = frame.contentDocument, root = page.documentElement;
  const box = (element) => {{ const at = element.getBoundingClientRect(); return [at.left, at.right, at.height]; }};
  const all = (selector, tell) => [...page.querySelectorAll(selector)].map(tell);
  document.getElementById("facts").textContent = JSON.stringify({{
    width: frame.contentWindow.innerWidth, scroll: root.scrollWidth, client: root.clientWidth,
    headings: all("h2", (one) => one.textContent),
    images: all("img", (one) => [one.complete, one.naturalWidth, ...box(one)]),
    regions: all(".scroll", (one) => [one.querySelector("table").id, ...box(one), one.scrollWidth - one.clientWidth]),
    tables: all("table", (one) => [one.id, one.rows.length, one.caption.textContent, ...box(one)]),
    colours: [getComputedStyle(page.body).color, getComputedStyle(page.body).backgroundColor],
  }});
}});
</script>"""


def shown_by_browser(program, page, width, folder):
    framed = folder / f"frame_{width}.html"
    framed.write_text(FRAME.format(width=width, page=html.escape(page)), encoding="utf-8")
    command = [
        program,
        "--headless",
        *sandbox(),
        "--disable-gpu",
        f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=10000",
        "--dump-dom",
        framed.as_uri(),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    facts = re.search(r'<pre id="facts">(.*?)</pre>', run.stdout, re.DOTALL)
    return json.loads(html.unescape(facts[1]))


@pytest.mark.slow
@pytest.mark.parametrize("width", [1600, 700, 390])
def test_a_browser_shows_it(segmented, hand_made, tmp_path, width):
    program = browser()
    path = tmp_path / "page.html"
    assert report.main(["-r", str(segmented / "found"), str(hand_made), "-o", str(path), "--worst_slices", "4"]) == 0
    text = path.read_text(encoding="utf-8")
    page = check_structure(text)
    facts = shown_by_browser(program, text, width, tmp_path)
    assert facts["width"] == width and facts["scroll"] <= facts["client"]
    assert tuple(facts["headings"]) == SECTIONS
    assert facts["colours"] == ["rgb(26, 26, 26)", "rgb(255, 255, 255)"]
    assert len(facts["images"]) == 3 + 4 == len(page.all("img"))
    for complete, natural, left, right, height in facts["images"]:
        assert complete and natural > 300 and 0 <= left < right <= width and height > 50
    assert {name: rows for name, rows, *_ in facts["tables"]} == {name: len(rows) for name, rows in page.tables.items()}
    assert all(caption and right > left and height > 30 for _, _, caption, left, right, height in facts["tables"])
    assert all(0 <= left < right <= width for _, left, right, _, _ in facts["regions"])
    # on a telephone some tables are wider than their boxes, and scroll in them; between the two the fonts decide
    scrolling = {name for name, *_, hidden in facts["regions"] if hidden > 0}
    if width == 390:
        assert "table-summary" in scrolling
    if width == 1600:
        assert scrolling == set()
