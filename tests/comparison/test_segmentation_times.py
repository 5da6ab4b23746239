"""comparison/segmentation_times.py: known times, with each way of telling which slice warmed the model up."""

from __future__ import annotations

import pandas as pd
import pytest

from comparison import segmentation_times
from pose.cli import run_main
from tests.result_runs import write_published_run, write_run

KNOWN = {"model": "vit_l", "device": "cpu", "precision": "fp32"}


def run(*arguments) -> int:
    return run_main(segmentation_times.main, [str(argument) for argument in arguments])


def write_times(folder, set_image, first_of_process=None, **manifest):
    """Write a run whose slices took ``set_image`` seconds to encode and half of that to predict."""
    columns = {
        "set_image_time": set_image,
        "predict_image_time": [None if one is None else one / 2 for one in set_image],
        "process_image_time": [None if one is None else one * 1.5 for one in set_image],
    }
    if first_of_process is not None:
        manifest["timing"] = {"repeat": None, "first_of_process": first_of_process}
    return write_run(folder, [0.9] * len(set_image), columns=columns, manifest={**KNOWN, **manifest})


def table_of(folder, *arguments) -> pd.DataFrame:
    out = folder / "out"
    assert run("-r", f"SAM={folder / 'results'}", "--output_folder_path", out, *arguments) == 0
    return pd.read_csv(out / "segmentation_times.csv")


def test_one_process_for_a_data_set_leaves_out_one_slice(tmp_path, capsys):
    write_times(tmp_path / "results" / "b_second", [9.0, 1.0, None, 2.0], first_of_process=True)
    write_times(tmp_path / "results" / "a_first", [3.0, 4.0], first_of_process=False)
    table = table_of(tmp_path, "--subsets", "all", "a", "second=b_")
    assert table["time"].tolist() == ["set image", "predict", "both"] * 3
    names = ["results", "model", "device", "precision", "procedure"]
    assert table.loc[0, names].tolist() == ["SAM", "vit_l", "cpu", "fp32", "one process for the data set"]
    counts = table[["subset", "volumes", "n", "warm_ups_left_out"]][::3].to_numpy().tolist()
    assert counts == [["all", 2, 4, 1], ["a", 1, 2, 0], ["second", 1, 2, 1]]
    assert table["mean"].tolist() == [2.5, 1.25, 3.75, 3.5, 1.75, 5.25, 1.5, 0.75, 2.25]
    assert table["median"].tolist()[:3] == [2.5, 1.25, 3.75]
    assert table["std"][0] == pytest.approx(1.2909944487358056)
    assert "warm-ups are left out" in capsys.readouterr().out
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".csv", ".pdf", ".png"}


def test_one_process_per_image_leaves_out_the_first_slice_of_each(tmp_path):
    write_times(tmp_path / "results" / "a", [9.0, 1.0], first_of_process=True)
    write_times(tmp_path / "results" / "b", [8.0, 2.0, 3.0], first_of_process=True)
    table = table_of(tmp_path)
    names = ["procedure", "n", "warm_ups_left_out", "mean"]
    assert table.loc[0, names].tolist() == ["one process per image", 3, 2, 2.0]


@pytest.mark.parametrize(
    ("warm_up", "expected"),
    [
        ("data_set", ["one process for the data set", 3, 1, 7 / 3]),
        ("image", ["one process per image", 2, 2, 1.5]),
        ("none", ["all slices", 4, 0, 4.0]),
    ],
)
def test_results_that_do_not_tell(tmp_path, capsys, warm_up, expected):
    write_times(tmp_path / "results" / "a", [9.0, 1.0])
    write_times(tmp_path / "results" / "b", [4.0, 2.0])
    assert run("-r", tmp_path / "results", "--output_folder_path", tmp_path / "out") == 2
    assert "it is not recorded which slice warmed the model up; say --warm_up data_set" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    table = table_of(tmp_path, "--warm_up", warm_up)
    assert table.loc[0, ["procedure", "n", "warm_ups_left_out", "mean"]].tolist() == pytest.approx(expected)


def test_repetitions_count_and_their_warm_ups_do_not(tmp_path):
    times = [(4, 1, 0.5, 0.1, 0.6), (4, 0, 9.0, 9.0, 18.0), (4, 2, 0.3, 0.2, 0.5)]
    write_run(
        tmp_path / "results" / "a",
        [0.9],
        times=times,
        manifest={**KNOWN, "timing": {"repeat": 2}},
        columns={name: [1.0] for name in segmentation_times.TIMES},
    )
    table = table_of(tmp_path)
    assert table["procedure"].unique().tolist() == ["each slice repeated 2 times"]
    assert table[["n", "warm_ups_left_out"]].to_numpy().tolist() == [[2, 1]] * 3
    assert table["mean"].tolist() == pytest.approx([0.4, 0.15, 0.55])


def test_settings_are_not_mixed_and_are_told_apart_below_the_boxes(tmp_path):
    write_times(tmp_path / "results" / "a", [9.0, 1.0], first_of_process=True)
    write_times(tmp_path / "results" / "b", [8.0, 0.5], first_of_process=True, device="cuda")
    table = table_of(tmp_path)
    assert table["device"].tolist() == ["cpu"] * 3 + ["cuda"] * 3
    assert table["mean"].tolist() == [1.0, 0.5, 1.5, 0.5, 0.25, 0.75]
    rows = table[table["time"] == "predict"].assign(repeat=None).to_dict("records")
    assert segmentation_times.labels_of(rows) == ["SAM\ncpu\nn 1", "SAM\ncuda\nn 1"]


def test_results_without_times_or_of_a_propagation(tmp_path, capsys):
    write_published_run(tmp_path / "published" / "image_a", [0.5])
    assert run("-r", tmp_path / "published") == 2
    assert "published: no slice has a set_image_time: these results have no times" in capsys.readouterr().err
    write_times(tmp_path / "results" / "a", [1.0, 2.0], method="chain")
    assert run("-r", tmp_path / "results") == 2
    assert "which slice came first is not told; say --warm_up none" in capsys.readouterr().err
    assert table_of(tmp_path, "--warm_up", "none", "--log_scale").loc[0, "mean"] == 1.5
