"""Tests of comparison/hypothesis_test.py, called as from the command line."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from comparison import hypothesis_test
from pose import results
from pose.cli import UserError, run_main


def write_set(folder, volumes, volume_metrics=None):
    for image, values in volumes.items():
        results.write_results(
            folder / image,
            rows=[{"slice": index, "jaccard": value, "dice": value} for index, value in enumerate(values)],
            volume_metrics=volume_metrics and volume_metrics[image],
            prompts_json={},
            manifest={},
            stamp="2026-11-23_10-20-30",
        )
    return folder


def simulated(generator, volumes, effect, shift=0.0):
    """Return two sets of volumes of 20 slices: the second is higher by ``effect``, and by chance differs with
    volumes.
    """
    base = {f"case_{number:02}": generator.uniform(0.5, 0.8, 20) for number in range(volumes)}
    other = {
        image: values + effect + generator.normal(0, shift or 1e-4) + generator.normal(0, 0.01, 20)
        for image, values in base.items()
    }
    return base, other


def run(tmp_path, *flags):
    first, second = tmp_path / "first", tmp_path / "second"
    command = ["-r", f"SAM={first}", f"SAM 2={second}", "-o", str(tmp_path / "out"), "--resamples", "500", *flags]
    assert hypothesis_test.main(command) == 0
    return pd.read_csv(tmp_path / "out" / "hypothesis_test.csv"), pd.read_csv(
        tmp_path / "out" / "hypothesis_test_left_out.csv"
    )


def test_a_known_difference_as_scipy_finds_it(tmp_path, capsys):
    first, second = simulated(np.random.default_rng(1), 12, 0.03)
    write_set(tmp_path / "first", first)
    write_set(tmp_path / "second", second)
    table, left_out = run(tmp_path, "--metrics", "dice")
    slices, volumes = table.to_dict("records")
    assert (slices["level"], slices["n"], volumes["level"], volumes["n"]) == ("slice", 240, "volume", 12)
    pairs = [np.concatenate(list(one.values())) for one in (second, first)]
    expected = stats.ttest_rel(*pairs)
    assert (slices["t"], slices["t_p"]) == pytest.approx(tuple(expected))
    means = [[values.mean() for values in one.values()] for one in (second, first)]
    assert volumes["t"] == pytest.approx(stats.ttest_rel(*means).statistic)
    assert volumes["wilcoxon_p"] == stats.wilcoxon(*means).pvalue == 2 / 2**12
    assert (volumes["wilcoxon_method"], volumes["rank_biserial"]) == ("exact", 1)
    for low, high in (("ci95_low", "ci95_high"), ("ci95_by_volume_low", "ci95_by_volume_high")):
        assert 0.027 < slices[low] < slices["mean_difference"] < slices[high] < 0.033
    assert len(left_out) == 0
    out = capsys.readouterr().out
    assert "all, dice: SAM 2 is higher than SAM by 0.0" in out
    assert (
        "Over volumes the difference is significant at 0.05 (t-test p < 0.001, Wilcoxon p < 0.001 (exact), after" in out
    )
    with Image.open(tmp_path / "out" / "hypothesis_test.png") as picture:
        assert picture.size[0] == int(160 / 25.4 * 200)
    assert (tmp_path / "out" / "hypothesis_test.pdf").is_file()


def test_chance_between_volumes_is_not_taken_for_a_difference(tmp_path, capsys):
    first, second = simulated(np.random.default_rng(8), 8, 0.0, shift=0.05)
    write_set(tmp_path / "first", first)
    write_set(tmp_path / "second", second)
    table, _ = run(tmp_path, "--metrics", "dice")
    slices, volumes = table.to_dict("records")
    assert slices["t_p"] < 0.001 and volumes["t_p"] > 0.05
    assert slices["ci95_by_volume_low"] < 0 < slices["ci95_by_volume_high"]
    assert slices["ci95_low"] > 0 or slices["ci95_high"] < 0
    out = capsys.readouterr().out
    assert "not significant at 0.05: it may be chance" in out
    assert "Taken for independent, slices would give a t-test p < 0.001." in out


def test_rows_without_a_partner_or_a_value(tmp_path, capsys):
    write_set(tmp_path / "first", {"a": [0.1, 0.2, None, 0.4, None], "b": [0.5, 0.75], "x": [1.0]})
    write_set(tmp_path / "second", {"a": [0.2, 0.4, None, None, 0.0, 0.9], "b": [0.75, 0.75]})
    results.write_failure(tmp_path / "second" / "x", "x.nii.gz: is cut", {})
    table, left_out = run(tmp_path, "--metrics", "dice")
    assert left_out.values.tolist() == [
        ["all", "dice", "a", 5, "only in SAM 2"],
        ["all", "dice", "x", 0, "only in SAM"],
        ["all", "dice", "a", 2, "undefined in both"],
        ["all", "dice", "a", 3, "undefined in SAM 2"],
        ["all", "dice", "a", 4, "undefined in SAM"],
    ]
    counts = ["n", "identical", "unpaired_first", "unpaired_second", "undefined_both", "undefined_one", "infinite"]
    assert table.loc[0, counts].tolist() == [4, 1, 1, 1, 1, 2, 0]
    assert table["mean_difference"].tolist() == pytest.approx([(0.1 + 0.2 + 0.25) / 4, (0.15 + 0.125) / 2])
    out = capsys.readouterr().out
    assert "all, SAM 2: x failed and has no scores: x.nii.gz: is cut" in out
    assert "all, dice: left out 1 slices, only in SAM 2" in out
    assert "with so few volumes Wilcoxon's p cannot be below 0.500" in out


def test_metrics_of_whole_volumes_and_holm_over_data_sets(tmp_path):
    generator = np.random.default_rng(3)
    metrics = [
        {
            f"{kind}_{n}": {"volume_dice": generator.random(), "volume_hd95_mm": math.inf if n == 0 else n}
            for kind in ("corona", "radio")
            for n in range(7)
        }
        for _ in range(2)
    ]
    for name, values in zip(("first", "second"), metrics, strict=True):
        write_set(tmp_path / name, {image: [0.5] for image in values}, values)
    table, left_out = run(tmp_path, "--metrics", "volume_dice", "volume_hd95_mm", "--images", "corona*", "radio*")
    assert table[["data_set", "metric", "level", "n", "infinite"]].values.tolist() == [
        ["corona", "volume_dice", "volume", 7, 0],
        ["corona", "volume_hd95_mm", "volume", 7, 1],
        ["radio", "volume_dice", "volume", 7, 0],
        ["radio", "volume_hd95_mm", "volume", 7, 1],
    ]
    p = sorted(table["t_p"].dropna())
    assert sorted(table["t_p_holm"].dropna()) == pytest.approx([min(1, 2 * p[0]), max(min(1, 2 * p[0]), p[1])])
    assert left_out.empty


def distances(values):
    return {f"v{number}": {"volume_hd95_mm": value} for number, value in enumerate(values)}


def test_a_missed_object_is_no_winner(tmp_path, capsys):
    """Ten volumes: the second is nearer by 1 mm on seven, and misses the object on three."""
    for name, values in (("first", [5.0] * 10), ("second", [4.0] * 7 + [math.inf] * 3)):
        write_set(tmp_path / name, {f"v{number}": [0.5] for number in range(10)}, distances(values))
    table, left_out = run(tmp_path, "--metrics", "volume_hd95_mm")
    assert left_out.empty and table[["n", "infinite_first", "infinite_second"]].values.tolist() == [[10, 0, 3]]
    assert table.loc[0, ["mean_first", "mean_second"]].tolist() == [5, math.inf] and np.isnan(table.loc[0, "t_p"])
    out = capsys.readouterr().out
    assert "infinite distances count as the worst: SAM has 0, SAM 2 3 over 10 volumes. Over volumes the diff" in out
    assert "not significant at 0.05" in out and "lower than" not in out


def test_many_missed_objects_lose(tmp_path, capsys):
    for name, values in (("first", [5.0, 6.0, 7.0] * 3), ("second", [math.inf] * 8 + [4.0])):
        write_set(tmp_path / name, {f"v{number}": [0.5] for number in range(9)}, distances(values))
    run(tmp_path, "--metrics", "volume_hd95_mm")
    expected = (
        "Over volumes SAM 2 is higher than SAM, significant by ranks at 0.05 (Wilcoxon p = 0.008 (exact, with ties)"
    )
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize(
    ("failed", "told"),
    [
        (2, "No winner is named: 2 volumes that one failed on could turn it"),
        (0, "Over volumes the difference is significant at 0.05"),
    ],
)
def test_no_winner_over_what_one_set_failed_on(tmp_path, capsys, failed, told):
    images = [f"v{number}" for number in range(8)]
    write_set(tmp_path / "first", {image: [0.5] for image in images})
    write_set(tmp_path / "second", {image: [0.6 + number / 100] for number, image in enumerate(images[failed:])})
    for image in images[:failed]:
        results.write_failure(tmp_path / "second" / image, f"{image}: out of memory", {})
    table, _ = run(tmp_path, "--metrics", "dice")
    assert table["failed_one"].tolist() == [failed, failed]
    out = capsys.readouterr().out
    assert told in out and ("is higher than" in out) is (failed == 0)


def test_several_data_sets(tmp_path, capsys):
    for name in ("first", "second", "third", "fourth"):
        write_set(tmp_path / name, {"a": [0.5, 0.75], "b": [0.5]})
    command = ["-r", f"{tmp_path}/first", f"{tmp_path}/second", "-r", f"{tmp_path}/third", f"{tmp_path}/fourth"]
    command += ["-o", str(tmp_path / "out"), "--metrics", "dice", "--resamples", "50"]
    assert hypothesis_test.main([*command, "--data_set", "CT", "X-ray"]) == 0
    out = capsys.readouterr().out
    assert "CT, dice: first and second do not differ on any of 3 pairs." in out
    assert "X-ray, dice: third and fourth do not differ on any of 3 pairs." in out
    with pytest.raises(UserError, match="--data_set: 1 names for 2 times --results_folder_path"):
        hypothesis_test.main([*command, "--data_set", "CT"])


def test_one_volume_tells_nothing_of_others(tmp_path, capsys):
    write_set(tmp_path / "first", {"a": [0.5, 0.75]})
    write_set(tmp_path / "second", {"a": [0.75, 0.75]})
    table, _ = run(tmp_path, "--metrics", "dice")
    assert table["t_p"].isna().tolist() == [False, True] and table["ci95_by_volume_low"].isna().all()
    assert "they are of one volume, so that nothing follows for others." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--metrics", "dise"], "first: has no metric dise; it has jaccard, dice, sam_score"),
        (["--images", "z*"], "--images z*: matches no image of"),
        (["--images", "*", "*"], "each name and each pattern may be given once"),
    ],
)
def test_mistakes(tmp_path, capsys, flags, message):
    write_set(tmp_path / "first", {"a": [0.5]})
    write_set(tmp_path / "second", {"a": [0.5]})
    command = ["-r", f"{tmp_path}/first", f"{tmp_path}/second", "-o", str(tmp_path / "out"), *flags]
    assert run_main(hypothesis_test.main, command) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_two_sets_of_one_name(tmp_path):
    with pytest.raises(UserError, match="are called results; name them, such as SAM=FOLDER"):
        hypothesis_test.main(["-r", str(tmp_path / "a" / "results"), str(tmp_path / "b" / "results")])


@pytest.mark.parametrize("script", ["hypothesis_test", "mask_sizes", "prompts_saved", "benchmarks.join"])
def test_help_loads_nothing_heavy(script):
    code = (
        "import sys\nimport comparison.%s as script\ntry: script.main(['--help'])\nexcept SystemExit: pass\n"
        "print('loaded:', *sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code % script], capture_output=True, text=True, check=True)
    help_text, loaded = run.stdout.split("loaded: ")
    assert help_text.startswith("usage:")
    assert not {"pandas", "scipy", "matplotlib", "torch", "nibabel"} & set(loaded.split())


def test_published_means_come_out_again(real_data, tmp_path):
    """The published results against themselves: means and counts as published."""
    source = real_data / "published_results" / "2-coronacases"
    if not source.is_dir():
        pytest.skip(f"no published results: {source} is not a folder")
    command = ["-r", f"one={source}", f"other={source}", "-o", str(tmp_path), "--resamples", "100"]
    assert hypothesis_test.main(command) == 0
    table = pd.read_csv(tmp_path / "hypothesis_test.csv")
    published = pd.read_csv(next(source.glob("results_*.csv"))).set_index("metric")["avg"]
    slices = table[table["level"] == "slice"].set_index("metric")
    assert slices["mean_first"].to_dict() == pytest.approx(published.to_dict(), abs=1e-12)
    assert slices["n"].tolist() == [2156, 2156] and slices["undefined_both"].tolist() == [425, 425]
    assert slices["volumes"].tolist() == [10, 10] and slices["t_p"].isna().all()
