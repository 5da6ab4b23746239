"""Tests of the joint tables: reading in blocks and on several cores gives what the plainest join gives, to the byte."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

import join_results
from pose import results
from pose.cli import UserError
from pose.results import in_order, volume_list
from pose.results.joint import Joint, table_of_all
from pose.results.prompts_saved import VolumePrompts
from pose.results.result_set import metrics_table, read_result_set
from pose.scores.statistics import describe
from tests import odd_results, plain_join

# SHA-256 of joint_raw_data, as written when each table was still read by itself.
GOLDEN = {
    "ours": "13a8fc893b9bf551c77bd6c1bc9dfd6dd3a308eb224d1a46506cb563c6156cf7",
    "plain": "3921cbe8ec605f37959c427c3ad6ba3352da45e57778441101f98433e2afed1e",
    "published": "3702fb3922adb87aa0d0572d1095d16ec82f321242068ae456f9538e46affe8e",
    "foreign": "11e3b86bc4c06f5ebec1c94e93b5a1ba9131ba4c432a4e87eab6fd757bd1a990",
}


@pytest.fixture(params=list(odd_results.SETS))
def folder(request, tmp_path):
    odd_results.write_set(request.param, tmp_path)
    return tmp_path


def joined(folder, *flags):
    assert join_results.main(["-r", str(folder), *flags]) == 0
    tables = {}
    for path in folder.glob("*.csv"):
        tables[path.name[: -len("_YYYY-MM-DD_HH-MM-SS.csv")]] = path.read_bytes()
        path.unlink()
    assert [path.name for path in folder.iterdir() if path.is_file()] == []
    return tables


def plainly(folder, include_seed_patient=False):
    tables = plain_join.join(folder, include_seed_patient)
    return {kind: table.to_csv(index=False).encode("utf-8") for kind, table in tables.items()}


@pytest.mark.parametrize("flags", [[], ["--include_seed_patient"]])
def test_tables_are_those_of_the_plain_join(folder, flags):
    found, expected = joined(folder, *flags), plainly(folder, bool(flags))
    assert found.keys() == expected.keys()
    for kind, text in expected.items():
        assert found[kind].decode().splitlines() == text.decode().splitlines()
        assert found[kind] == text


@pytest.mark.parametrize("name", list(odd_results.SETS))
def test_joint_raw_data_is_what_it_was(tmp_path, name):
    odd_results.write_set(name, tmp_path)
    assert hashlib.sha256(joined(tmp_path)["joint_raw_data"]).hexdigest() == GOLDEN[name]


def test_small_blocks_in_two_processes_change_nothing(folder, capsys, monkeypatch):
    whole, said = joined(folder), capsys.readouterr().out
    monkeypatch.setattr(volume_list, "VOLUMES_OF_A_PROCESS", 3)
    monkeypatch.setattr(volume_list, "VOLUMES_AT_ONCE", 2)
    monkeypatch.setattr(in_order, "cores", lambda: 2)
    in_blocks = joined(folder)
    assert in_blocks["joint_raw_data"] == whole["joint_raw_data"]
    assert in_blocks["joint_results"] == whole["joint_results"]
    assert in_blocks["results"] == whole["results"]
    without_stamp = [re.sub(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", "", text) for text in (said, capsys.readouterr().out)]
    assert without_stamp[0] == without_stamp[1]


def test_statistics_do_not_depend_on_the_number_of_threads():
    scores = np.random.default_rng(0).random((5003, 2))
    names, one = ["jaccard", "dice"], np.ones_like(scores)
    described = {name: describe(values) for name, values in zip(names, scores.T, strict=True)}
    images = [f"case_{number}" for number in range(len(scores))]
    prompts = dict.fromkeys(images, VolumePrompts())
    whole = metrics_table(images, [{"volume_dice": value} for value in scores[:, 0]])
    joint = Joint(images, one[:, 0] > 0, {}, prompts, one[:, 0], {}, described, scores, one, whole)
    with threadpool_limits(1, "blas"):
        expected = table_of_all(joint)
    with threadpool_limits(2, "blas"):
        pd.testing.assert_frame_equal(table_of_all(joint), expected, check_exact=True)
    assert expected["volumes"].tolist() == [5003, 5003, 5003]


def test_a_result_set_is_what_the_plain_reader_reads(folder):
    found, (raw_data, metrics, prompts, failures) = read_result_set(folder), plain_join.read(folder)
    pd.testing.assert_frame_equal(found.raw_data, raw_data, check_exact=True)
    pd.testing.assert_frame_equal(found.volume_metrics, metrics, check_exact=True)
    assert (found.prompts, found.failures) == (prompts, failures) and list(found.prompts) == list(prompts)
    for image in prompts:
        assert found.run_files(image) == results.newest_run(folder / image)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3,0.5,0.25,0.5x", "line 5: sam_score '0.5x' is not a number"),
        ("3,0.5,0.25", "line 5: 3 cells under 4 columns"),
        ("2,0.5,0.25,0.5", "slice 2 comes twice"),
        ("3.5,0.5,0.25,0.5", "line 5: slice '3.5' is not a whole number"),
        ("3,0.5,0.25,0.5\n4,,,0.5,", "line 6: 5 cells under 4 columns"),
        ("3,0.5,0.25,0..5", "line 5: sam_score '0..5' is not a number"),
        ("3,0.5,-,0.5", "line 5: dice '-' is not a number"),
    ],
)
def test_one_bad_line_among_many_volumes_is_named(tmp_path, line, message):
    good = ["slice,jaccard,dice,sam_score", *(f"{number},0.25,0.5,0.75" for number in range(3))]
    for number in range(30):
        odd_results.write(tmp_path / f"case_{number:02}", "\n".join([*good, line if number == 17 else "3,,,", ""]))
    (path,) = (tmp_path / "case_17").iterdir()
    with pytest.raises(UserError) as caught:
        join_results.main(["-r", str(tmp_path)])
    assert str(caught.value) == f"{path}: {message}"
    assert list(tmp_path.glob("*.csv")) == list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metric,avg\nvolume_dice,high\n", "line 2: avg 'high' is not a number"),
        ("metric,avg\nvolume_dice,1\nvolume_dice,1\n", "metric volume_dice comes twice"),
        ("metric,mean\n", "has no column 'avg'; its columns are metric, mean"),
    ],
)
def test_one_bad_summary_among_many_is_named(tmp_path, text, message):
    for number in range(9):
        summary = text if number == 4 else "metric,avg\nvolume_dice,0.5\n"
        odd_results.write(tmp_path / f"case_{number}", "slice,jaccard,dice\n0,,\n", summary)
    with pytest.raises(UserError, match=re.escape(f"results_{odd_results.STAMP}.csv: {message}")):
        join_results.main(["-r", str(tmp_path)])


def test_words_beyond_ascii_are_kept(tmp_path):
    for number in range(3):
        summary = "metric,avg\nvolume_größe,0.5\n" if number else "metric,avg\nvolume_dice,0.5\n"
        odd_results.write(tmp_path / f"case_{number}", "slice,jaccard,dice\n0,,\n", summary)
    assert list(read_result_set(tmp_path).volume_metrics) == ["volume_dice", "volume_größe"]


def test_a_column_for_which_there_is_no_place(tmp_path):
    odd_results.write(tmp_path / "a", "slice,jaccard,dice,image\n0,,,1\n")
    with pytest.raises(UserError, match="has a column 'image', where the names of volumes will stand"):
        join_results.main(["-r", str(tmp_path)])


def test_long_tables_are_printed_in_part(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(join_results, "MOST_PRINTED", 2)
    for number in range(5):
        odd_results.write(tmp_path / f"case_{number}", "slice,jaccard,dice\n0,0.5,0.75\n", None, {})
    for number in range(3):
        results.write_failure(tmp_path / f"failed_{number}", "is cut", {})
    assert join_results.main(["-r", str(tmp_path)]) == 0
    out, (path,) = capsys.readouterr().out, tmp_path.glob("joint_results_*.csv")
    assert "case_1" in out and "case_2" not in out and f"\nand 6 more rows in {path}\n" in out
    assert "failed_1" in out and "failed_2" not in out and f"\n  and 1 more, with a 1 under failed in {path}\n" in out
    assert len(path.read_text().splitlines()) == 9
