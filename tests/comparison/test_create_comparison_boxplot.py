"""comparison/create_comparison_boxplot.py: known results and the published ones; nothing is dropped."""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from comparison import create_comparison_boxplot
from pose import results
from pose.cli import run_main
from tests.result_runs import write_run


def run(*arguments) -> int:
    return run_main(create_comparison_boxplot.main, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path):
    inf = float("inf")
    write_run(
        tmp_path / "SAM" / "coronacases_001",
        [None, 0.0, 0.8, 0.9, 0.9],
        columns={"hd95_mm": [None, inf, 2, 1, 3]},
        volume_metrics={"volume_dice": 0.85},
    )
    write_run(tmp_path / "SAM" / "radiopaedia_1", [0.6, 0.7], volume_metrics={"volume_dice": 0.65})
    write_run(tmp_path / "SAM 2" / "coronacases_001", [None, 0.5, 0.9, 0.95, None], volume_metrics={"volume_dice": 0.9})
    results.write_failure(tmp_path / "SAM 2" / "radiopaedia_1", "out of memory", {})
    return tmp_path


def test_every_slice_counts_and_failures_are_told(folder, capsys):
    out = folder / "out"
    assert (
        run(
            "-r",
            folder / "SAM",
            folder / "SAM 2",
            "--subsets",
            "all",
            "radiopaedia",
            "--metrics",
            "dice",
            "volume_dice",
            "--output_folder_path",
            out,
        )
        == 0
    )
    table = pd.read_csv(out / "comparison_boxplot.csv")
    counts = ["metric", "subset", "results", "volumes", "failed_volumes", "undefined", "zero", "infinite", "n"]
    assert table[counts].to_numpy().tolist() == [
        ["dice", "all", "SAM", 2, 0, 1, 1, 0, 6],
        ["dice", "all", "SAM 2", 1, 1, 2, 0, 0, 3],
        ["dice", "radiopaedia", "SAM", 1, 0, 0, 0, 0, 2],
        ["dice", "radiopaedia", "SAM 2", 0, 1, 0, 0, 0, 0],
        ["volume_dice", "all", "SAM", 2, 0, 0, 0, 0, 2],
        ["volume_dice", "all", "SAM 2", 1, 1, 0, 0, 0, 1],
        ["volume_dice", "radiopaedia", "SAM", 1, 0, 0, 0, 0, 1],
        ["volume_dice", "radiopaedia", "SAM 2", 0, 1, 0, 0, 0, 0],
    ]
    assert table["median"].tolist() == pytest.approx([0.75, 0.9, 0.65, np.nan, 0.75, 0.9, 0.65, np.nan], nan_ok=True)
    assert table["mean"][0] == pytest.approx(3.9 / 6)
    outliers = pd.read_csv(out / "comparison_boxplot_outliers.csv")
    assert outliers.to_numpy().tolist() == [["dice", "all", "SAM", "coronacases_001", 1, 0.0]]
    assert table["outliers"].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert "failed in SAM 2: radiopaedia_1: out of memory" in capsys.readouterr().out
    with Image.open(out / "comparison_boxplot.png") as picture:
        assert picture.width > picture.height / 2 and len(picture.convert("RGB").getcolors(10**6)) > 20
    assert (out / "comparison_boxplot.pdf").read_bytes().startswith(b"%PDF-")


def test_infinite_distances_are_counted(folder):
    assert run("-r", folder / "SAM", "--metrics", "hd95_mm", "--output_folder_path", folder / "out") == 0
    table = pd.read_csv(folder / "out" / "comparison_boxplot.csv")
    assert table[["n", "infinite", "undefined", "median"]].to_numpy().tolist() == [[3, 1, 3, 2.0]]
    outliers = (folder / "out" / "comparison_boxplot_outliers.csv").read_text()
    assert outliers == "metric,subset,results,image,slice,value\n"


@pytest.mark.parametrize("subsets", [1, 3])
def test_the_caption_is_whole(folder, monkeypatch, subsets):
    figures = []
    monkeypatch.setattr("pose.figures.plots.save_plot", lambda figure, path: figures.append(figure) or [path])
    words = ("all", "coronacases", "radiopaedia")[:subsets]
    assert run("-r", folder / "SAM", "--subsets", *words, "--output_folder_path", folder / "out") == 0
    figures[0].canvas.draw()
    caption = figures[0]._supxlabel
    extent = caption.get_window_extent()
    assert extent.x0 >= 0 and extent.x1 <= figures[0].bbox.width and extent.y0 >= 0
    whole = "line: median, diamond: mean, cross: score of 0, inf: infinite distance"
    assert caption.get_text().replace("\n", " ") == whole and ("\n" in caption.get_text()) == (subsets == 1)


def test_names_are_shown_as_they_are(folder, monkeypatch):
    figures = []
    monkeypatch.setattr("pose.figures.plots.save_plot", lambda figure, path: figures.append(figure) or [path])
    names = ("_a$b_$c", "x$\\frac$")
    given = [f"{name}={folder / results}" for name, results in zip(names, ("SAM", "SAM 2"), strict=True)]
    assert run("-r", *given, "--output_folder_path", folder / "out") == 0
    figures[0].canvas.draw()
    labels = [label.get_text().split("\n")[0] for label in figures[0].axes[0].get_xticklabels()]
    assert labels == ["\u200a_a\\$b_\\$c", "x\\$\\frac\\$"]


def test_what_is_written_below_a_box():
    box = {"results": "SAM", "n": 3, "zero": 2, "infinite": 1, "failed_volumes": 4}
    assert create_comparison_boxplot.label_of(box, "zero") == "SAM\nn 4\n2 zero\n4 failed"
    assert create_comparison_boxplot.label_of({**box, "failed_volumes": 0}, "inf") == "SAM\nn 4\n1 inf"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "volume"], "--metrics volume: not in {0}/SAM; there are jaccard, dice"),
        (["--metrics", "slice"], "--metrics slice: not in"),
        (["--subsets", "montgomery"], "--subsets montgomery: no image is named so"),
    ],
)
def test_mistakes(folder, capsys, arguments, message):
    assert run("-r", folder / "SAM", *arguments, "--output_folder_path", folder / "out") == 2
    assert message.format(folder) in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_the_published_results(real_data, tmp_path):
    published = real_data / "published_results" / "2-coronacases"
    volumes = [f"coronacases_{number:03d}" for number in range(1, 11)]
    assert (
        run("-r", f"SAM={published}", "--subsets", "all", "coronacases", *volumes, "--output_folder_path", tmp_path)
        == 0
    )
    table = pd.read_csv(tmp_path / "comparison_boxplot.csv").set_index(["metric", "subset"])
    stated = {"min": "min", "max": "max", "avg": "mean", "std": "std"}
    joint_results = pd.read_csv(next(published.glob("joint_results_*.csv"))).set_index("image")
    results_of_all = pd.read_csv(next(published.glob("results_*.csv"))).set_index("metric")
    for metric in ("jaccard", "dice"):
        for name, ours in stated.items():
            assert table.loc[(metric, "all"), ours] == pytest.approx(results_of_all.loc[metric, name], abs=1e-12)
            for image, row in joint_results.iterrows():
                here = table.loc[(metric, image.removeprefix("image_"))]
                assert here[ours] == pytest.approx(row[f"{metric}_{name}"], abs=1e-12)
                assert here["n"] + here["undefined"] == row["slices"]
        with next(published.glob("joint_raw_data_*.csv")).open() as file:
            values = [float(row[metric]) for row in csv.DictReader(file) if row[metric]]
        for subset in ("all", "coronacases"):
            box = table.loc[(metric, subset)]
            q1, median, q3 = np.percentile(values, [25, 50, 75])
            reach = 1.5 * (q3 - q1)
            inside = [value for value in values if q1 - reach <= value <= q3 + reach]
            expected = [len(values), q1, median, q3, min(inside), max(inside), len(values) - len(inside)]
            names = ["n", "q1", "median", "q3", "whisker_low", "whisker_high", "outliers"]
            assert box[names].astype(float).tolist() == pytest.approx(expected, abs=1e-12)
