"""paper/metrics_table.py: results side by side, on hand-made runs and on the published ones."""

from __future__ import annotations

import pandas as pd
import pytest

from paper import metrics_table
from pose import results
from pose.cli import run_main


def write_run(folder, dices, manifest=None):
    rows = [{"slice": index, "jaccard": dice / 2, "dice": dice} for index, dice in enumerate(dices)]
    metrics = {"volume_dice": 0.9}
    results.write_results(folder, rows=rows, volume_metrics=metrics, prompts_json={}, manifest=manifest or {})


@pytest.fixture
def folders(tmp_path):
    """Two result sets of three volumes; of the second, one is the seed's own, and one failed."""
    first, second = tmp_path / "first", tmp_path / "second"
    for name, dices in (("coronacases_001", [0.5, 1.0]), ("coronacases_002", [0.8]), ("radiopaedia_1", [0.2, 0.4])):
        write_run(first / f"image_{name}", dices, {"prompted_slices": len(dices), "masked_slices": len(dices)})
    for name, dices, patient in (("coronacases_001", [0.9, 0.9], True), ("coronacases_002", [0.6], False)):
        seed = {"seeds": [{"slice_sha256": "a" * 64}], "seed_patient": patient}
        write_run(second / f"image_{name}", dices, {"prompted_slices": 0, "masked_slices": 4, "seed": seed})
    results.write_failure(second / "image_radiopaedia_1", "too large", {})
    return f"every slice={first}", f"seed={second}"


def test_table_of_data_sets(tmp_path, folders, capsys):
    output = tmp_path / "out"
    arguments = [
        "-r",
        *folders,
        "--data_sets",
        "coronacases",
        "--per_volume",
        "-o",
        str(output),
        "--name",
        "one_prompt",
    ]
    assert metrics_table.main(arguments) == 0
    table = pd.read_csv(output / "one_prompt.csv").set_index(["data_set", "metric", "results"])
    columns = ["min", "max", "avg", "n", "volumes", "failed", "prompts_used", "prompts_saved_percent"]
    rows = {key: row.tolist() for key, row in table[columns].iterrows()}
    assert rows["all", "dice", "every slice"] == pytest.approx([0.2, 0.8, 1.4 / 3, 3, 2, 0, 3, 0])
    assert rows["all", "dice", "seed"] == pytest.approx([0.6, 0.6, 0.6, 1, 1, 1, 1, 75])
    assert rows["coronacases", "jaccard", "seed"] == pytest.approx([0.3, 0.3, 0.3, 1, 1, 0, 1, 75])
    assert table.loc[("all", "dice", "every slice"), "std"] == pytest.approx(pd.Series([0.8, 0.2, 0.4]).std())
    volumes = pd.read_csv(output / "one_prompt_volumes.csv").set_index("image")
    assert volumes["dice every slice"].tolist() == pytest.approx([0.75, 0.8, 0.3])
    assert volumes["dice seed"].tolist() == pytest.approx([0.9, 0.6, float("nan")], nan_ok=True)
    assert volumes.loc["image_coronacases_002", "volume_dice seed"] == 0.9
    assert {path.suffix for path in output.iterdir()} == {".csv", ".tex", ".pdf", ".png"}
    printed = capsys.readouterr().out
    assert "left out of the table of data sets, as seed patient: image_coronacases_001" in printed
    assert "seed has no result of image_radiopaedia_1" in printed


def test_latex(tmp_path):
    rows = [{"results": "A & B", "std": float("nan"), "n": 2}, {"results": "C", "std": 0.1, "n": 3}]
    alike = {"data_set": "all", "metric": "sam_score", "min": 0.25, "max": 1.0, "avg": 0.5}
    metrics_table.write_latex(tmp_path / "table.tex", pd.DataFrame([{**alike, **row} for row in rows]))
    assert (tmp_path / "table.tex").read_text().splitlines()[2:] == [
        r"Data set & Metric & Results & min & max & avg & std & n \\",
        r"\midrule",
        r"all & sam\_score & A \& B & 0.2500 & 1.0000 & 0.5000 & -- & 2 \\",
        r" &  & C & 0.2500 & 1.0000 & 0.5000 & 0.1000 & 3 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--data_sets", "montgomery"], "--data_sets montgomery: no volume's name begins so"),
        (["--metrics", "hd95_cm"], "--metrics hd95_cm: no folder's raw_data has such a column"),
        (["--name", "../table"], "--name: '../table' is not the name of a file"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, folders, words, error, capsys):
    arguments = ["-r", *folders, "-o", str(tmp_path / "out"), *words]
    assert run_main(metrics_table.main, arguments) == 2
    assert capsys.readouterr().err == f"error: {error}\n"
    assert not (tmp_path / "out").exists()


def test_folders_of_one_name_are_refused(folders, capsys):
    assert run_main(metrics_table.main, ["-r", folders[0], folders[0]]) == 2
    assert "two folders are called every slice; name one NAME=FOLDER" in capsys.readouterr().err


def test_published_numbers(tmp_path, real_data):
    folder = real_data / "published_results/2-coronacases"
    metrics_table.main(["-r", f"SAM={folder}", "-o", str(tmp_path)])
    table = pd.read_csv(tmp_path / "metrics.csv").set_index("metric")
    published = pd.read_csv(next(folder.glob("results_*.csv"))).set_index("metric")
    columns = ["min", "max", "avg", "std"]
    assert table["n"].tolist() == [2156, 2156]
    pd.testing.assert_frame_equal(table[columns], published.loc[table.index, columns], rtol=1e-12)
