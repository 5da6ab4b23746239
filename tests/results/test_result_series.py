"""pose/results/result_series.py: folders by name, taken together, and subsets of images by the start of their names."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from pose import results
from pose.cli import UserError
from pose.files.repository import REPOSITORY_FOLDER
from pose.files.tables import as_text
from pose.results.result_series import ALL, Subset, check_subsets, read_series, subset, write_outputs
from tests.result_runs import write_published_run, write_run


@pytest.fixture
def folders(tmp_path) -> dict[str, Path]:
    write_run(tmp_path / "ct" / "coronacases_001", [0.5, 1.0], volume_metrics={"volume_dice": 0.8})
    results.write_failure(tmp_path / "ct" / "coronacases_002", "no room", {})
    write_run(tmp_path / "xray" / "MCUCXR_0001_0", [0.9], columns={"hd95_mm": [2.0]})
    write_published_run(tmp_path / "published" / "image_coronacases_001", [None, 0.5])
    return {path.name: path for path in tmp_path.iterdir()}


def test_folders_of_one_name_are_one_series(folders):
    first, second = read_series([("SAM", folders["ct"]), ("old", folders["published"]), ("SAM", folders["xray"])])
    assert (first.name, second.name) == ("SAM", "old")
    raw_data = first.raw_data
    assert raw_data["image"].tolist() == ["coronacases_001"] * 2 + ["MCUCXR_0001_0"]
    assert raw_data["dice"].tolist() == [0.5, 1.0, 0.9] and raw_data.index.tolist() == [0, 1, 2]
    assert raw_data["hd95_mm"].isna().tolist() == [True, True, False]
    assert raw_data["slice"].dtype == "Int64"
    assert first.images == ["coronacases_001", "MCUCXR_0001_0"] and first.failures == {"coronacases_002": "no room"}
    assert first.volume_metrics["volume_dice"].tolist()[0] == 0.8
    assert first.run_files()["MCUCXR_0001_0"].run.parent == folders["xray"] / "MCUCXR_0001_0"
    assert second.run_files()["image_coronacases_001"].run is None


def test_an_image_twice_under_one_name_is_refused(folders):
    with pytest.raises(UserError, match="coronacases_001 is in .*ct as well, and both are named SAM; give them two"):
        read_series([("SAM", folders["ct"]), ("SAM", folders["ct"])])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("all", ALL), ("coronacases", Subset("coronacases", "coronacases")), ("m=MCUCXR", Subset("m", "MCUCXR"))],
)
def test_subsets_of_the_command_line(text, expected):
    assert subset(text) == expected


@pytest.mark.parametrize("text", ["=a", "a="])
def test_half_a_subset(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not NAME=PREFIX"):
        subset(text)


def test_a_subset_goes_by_the_start_of_the_name_published_or_not(folders):
    one = subset("coronacases")
    assert one.holds("coronacases_001") and one.holds("image_coronacases_001")
    assert not one.holds("radiopaedia_4") and not one.holds("old_coronacases_001") and ALL.holds("anything")
    series = read_series([("SAM", folders["ct"])])
    check_subsets([ALL, one, subset("coronacases_002")], series)
    with pytest.raises(UserError, match="--subsets lung: no image is named so; they are coronacases_001, coronacases"):
        check_subsets([subset("lung")], series)
    with pytest.raises(UserError, match="all comes twice"):
        check_subsets([ALL, ALL], series)


def test_outputs_and_text(tmp_path):
    table = pd.DataFrame({"name": ["a", "b"], "n": pd.array([1, None], dtype="Int64"), "value": [0.5, float("nan")]})
    drawn = write_outputs(tmp_path / "new", {"t": table}, {"p": lambda path: [path.with_suffix(".png")]})
    assert drawn == [tmp_path / "new" / "t.csv", tmp_path / "new" / "p.png"]
    assert drawn[0].read_text() == "name,n,value\na,1,0.5\nb,,\n"
    assert [line.split() for line in as_text(table).splitlines()] == [
        ["n", "value"],
        ["a", "1", "0.5000"],
        ["b", "-", "-"],
    ]


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: cannot be written"):
        write_outputs(tmp_path / "file", {}, {})


@pytest.mark.parametrize(
    "script", ["create_comparison_boxplot", "segmentation_times", "center_slice_selection", "error_by_distance"]
)
def test_help_of_the_scripts_imports_nothing_heavy(script):
    code = (
        "import runpy, sys; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_path('comparison/{script}.py', run_name='__main__')\n"
        "except SystemExit as end: print(end.code, [m for m in ('torch', 'pandas', 'matplotlib', 'scipy', 'nibabel')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY_FOLDER)
    assert done.stdout.strip().splitlines()[-1] == "0 []", done.stderr
