"""comparison/accuracy_census.py: lists, methods, and where lost Dice goes, on masks made by hand and on two blocks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pandas as pd
import pytest
import yaml

from comparison import accuracy_census as census
from pose import cli, segmenters
from pose.segmenters import loading
from tests.cases import DarkInBox, write_two_blocks

LIST = Path(census.PROJECT_ROOT / "comparison" / "accuracy_census.yaml")
METRICS = ["volume_dice", "mean_slice_dice", "first_end", "last_end", "beyond_voxels", "slice_by_slice_dice"]


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setattr(segmenters, "build_slice_segmenter", lambda *_: DarkInBox())
    monkeypatch.setattr(loading, "kinds_of", lambda spec: DarkInBox.prompt_kinds)
    monkeypatch.setattr(census, "_slice_segmenters", {})
    monkeypatch.delenv("POSE_REAL_DATA", raising=False)


@pytest.fixture
def write_list(tmp_path):
    """Write a list of one object on two blocks, and return its path."""
    write_two_blocks(tmp_path)

    def write(content=None, **changes) -> Path:
        entry = {"name": "both", "image": "case.nii.gz", "masks": "case_mask.nii.gz", "window": "lung", **changes}
        path = tmp_path / "census.yaml"
        path.write_text(yaml.safe_dump({"objects": [entry]} if content is None else content))
        return path

    return write


def arguments_of(*words):
    return census.make_parser().parse_args([str(word) for word in words])


# where Dice is lost


def blank() -> np.ndarray:
    return np.zeros((20, 30, 8), bool)


def body() -> np.ndarray:
    """Two squares of 6 x 6 on slices 2 to 5."""
    truth = blank()
    truth[2:8, 2:8, 2:6] = truth[2:8, 20:26, 2:6] = True
    return truth


def test_each_cause_takes_its_own_voxels():
    truth, result, oracle = body(), body(), body()
    result[:, :, 5] = False  # ends a slice early: 72
    result[10:12, 2:4, :2] = True  # and two slices late at the other end: 8
    result[2:8, 20:26, 3] = False  # loses a part: 36
    result[2, 2:8, 4] = False  # a row too small: 6
    result[8, 2:5, 2] = True  # three pixels too large: 3
    assert census.lost_voxels(truth, result, oracle) == {
        "network": 0,
        "early": 72,
        "late": 8,
        "parts": 36,
        "missed": 6,
        "leak": 3,
    }
    oracle[2, 2:4, 4] = oracle[2:4, 2, 5] = False  # of which 2 and 2 were missed by boxes too
    oracle[8, 2, 2] = True  # 1 found too
    oracle[9, 9, 3] = True  # and this was right in the result
    assert census.lost_voxels(truth, result, oracle) == {
        "network": 5,
        "early": 70,
        "late": 8,
        "parts": 36,
        "missed": 4,
        "leak": 2,
    }
    row = census.measured(truth, result, oracle)
    # 288 of the truth, of which 114 are missed, and 11 in vain
    assert row["volume_dice"] == pytest.approx(2 * 174 / (288 + 185))
    assert (row["first_end"], row["last_end"], row["beyond_voxels"]) == (2, -1, 8)
    assert [row[f"lost_{cause}"] for cause in census.CAUSES] == [share / 125 for share in (5, 70, 8, 36, 4, 2)]
    by_slice = [0, 0, 2 * 72 / 147, 2 * 36 / 108, 2 * 66 / 138, 0]
    assert row["mean_slice_dice"] == pytest.approx(np.mean(by_slice))


def test_half_of_a_part_is_not_lost():
    truth, result = body(), body()
    result[2:5, 2:8, 3] = False  # 18 of 36 are left
    assert census.lost_voxels(truth, result, body())["missed"] == 18
    result[5, 2, 3] = False
    assert census.lost_voxels(truth, result, body())["parts"] == 19


def test_what_is_found_between_two_stretches_of_the_truth_is_a_leak():
    truth, result = body(), body()
    truth[:, :, 3] = False
    assert census.lost_voxels(truth, result, truth) == dict.fromkeys(census.CAUSES, 0) | {"leak": 72}


def test_nothing_found_and_nothing_lost():
    row = census.measured(body(), blank(), body())
    assert row["volume_dice"] == row["mean_slice_dice"] == 0 and row["lost_early"] == 1
    assert np.isnan([row["first_end"], row["last_end"]]).all()
    row = census.measured(body(), body(), blank())
    assert row["volume_dice"] == 1 and row["slice_by_slice_dice"] == 0
    assert np.isnan([row[f"lost_{cause}"] for cause in census.CAUSES]).all()


@pytest.mark.parametrize("seed", range(5))
def test_shares_add_up_to_one(seed):
    rng = np.random.default_rng(seed)
    masks = [rng.random((20, 30, 8)) < 0.3 for _ in range(3)]
    masks[0][:, :, [0, 6, 7]] = masks[1][:, :, [4, 7]] = False
    row = census.measured(*masks)
    assert sum(row[f"lost_{cause}"] for cause in census.CAUSES) == pytest.approx(1)
    wrong = int((masks[0] != masks[1]).sum())
    assert sum(census.lost_voxels(*masks).values()) == wrong
    assert 1 - row["volume_dice"] == pytest.approx(wrong / (masks[0].sum() + masks[1].sum()))


def test_means_are_of_sizes_of_ends_and_of_all_that_is_lost():
    rows = []
    for dice, end, network, seconds in ((0.9, -2, 1.0, 3.0), (0.6, 4, 0.25, 5.0), (1.0, np.nan, np.nan, np.nan)):
        row = {**dict.fromkeys(METRICS, dice), "first_end": end, "last_end": 0, "seconds": seconds}
        row |= {"bad": 3, "bad_marked": 2, "good": 20, "good_marked": 1}
        shares = dict.fromkeys([f"lost_{cause}" for cause in census.CAUSES], 0.0)
        rows.append({**row, **shares, "lost_network": network, "lost_leak": 1 - network})
    mean = census.mean_row("chain", rows)
    assert (mean["name"], mean["first_end"], mean["seconds"]) == ("mean of 3", 3, 4)
    assert [mean[name] for name in ("bad", "bad_marked", "good", "good_marked")] == [9, 6, 60, 3]
    assert mean["volume_dice"] == pytest.approx(2.5 / 3)
    # of the 0.5 that are lost, 0.1 and a quarter of 0.4
    assert (mean["lost_network"], mean["lost_leak"]) == (pytest.approx(0.4), pytest.approx(0.6))


def test_marks_are_counted_on_and_next_to_the_result():
    truth, labels = body(), body().astype(np.uint8)
    labels[:, :, 5] = 0  # bad: just beyond the end, marked
    labels[2:8, 20:26, 4] = 0  # bad: 36 of 72, Dice 2 / 3, not marked
    labels[2:8, 2:5, 3] = 0  # 54 of 72, Dice 6 / 7 is good, marked in vain
    labels[0, 0, 1] = 1  # bad: nothing is there, marked
    found = SimpleNamespace(labels=labels, to_review=[1, 3, 5, 7])
    assert census.marked(truth, found) == {"bad": 3, "bad_marked": 2, "good": 2, "good_marked": 1}
    nothing = SimpleNamespace(labels=np.zeros(truth.shape, np.uint8), to_review=[2])
    assert census.marked(truth, nothing) == {"bad": 4, "bad_marked": 1, "good": 0, "good_marked": 0}


# the whole command


def test_two_blocks(write_list, tmp_path, capsys):
    path = write_list({"methods": ["chain", "region_growing"], "objects": [
        {"name": "both", "image": "case.nii.gz", "masks": "case_mask.nii.gz", "labels": [1, 2], "window": "lung"},
        {"name": "one", "image": "case.nii.gz", "masks": "case_mask.nii.gz", "labels": 1, "window": [-650, 1500]},
    ]})  # fmt: skip
    assert census.main([str(path), "-o", str(tmp_path / "out")]) == 0
    table = pd.read_csv(tmp_path / "out" / "accuracy_census.csv")
    assert table["name"].tolist() == ["both", "both", "one", "one", "mean of 2", "mean of 2"]
    assert table["method"].tolist() == ["chain", "region_growing"] * 3
    for name, value in (("volume_dice", 1), ("slice_by_slice_dice", 1), ("beyond_voxels", 0), ("first_end", 0)):
        assert table[name].tolist() == [pytest.approx(value)] * 6, name
    assert (table["prompt_slice"][:4] == 2).all() and (table["seconds"] > 0).all()
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| both | chain | 2 | 1.000 | 1.000 | +0 | +0 | 0 |")
    assert [line.split(" | ")[0] for line in lines[2:8]] == ["| both", "| one", "| mean of 2"] * 2
    assert {line.count("|") for line in lines[:8]} == {19}


def test_command_line_goes_before_the_list(write_list, tmp_path):
    path = write_list()
    listed, methods = census.read_list(
        arguments_of(path, "--prompt_slice", "4", "--methods", "region_growing", "--data_folder_path", "/scans")
    )
    assert listed == [
        census.Listed("both", Path("/scans/case.nii.gz"), Path("/scans/case_mask.nii.gz"), None, "lung", 4)
    ]
    assert [method.name for method in methods] == ["region_growing"]
    listed, methods = census.read_list(arguments_of(path))
    assert listed[0].image == tmp_path / "case.nii.gz" and listed[0].prompt_slice == "largest"
    assert [method.name for method in methods] == list(census.METHODS)


def test_methods_take_settings():
    method = census.method_of(
        "chain model=tiny checkpoint_file_path=a.pt image_size=512 chain.margin=2 chain.reach=0.3",
        {"embeddings_cache": "c"},
    )
    settings = method.settings
    assert (settings["model"], settings["checkpoint_file_path"], settings["image_size"]) == ("tiny", "a.pt", 512)
    assert (settings["chain"].margin, settings["chain"].reach, settings["chain"].inertia) == (2, 0.3, 0.3)
    of_slices = census.slice_method(method)
    assert of_slices.settings == {key: settings[key] for key in settings if key != "chain"}
    assert census.slice_method(census.method_of("auto model=tiny growing.opening=1")).settings == {
        "method": "chain",
        "model": "tiny",
    }
    growing = census.method_of("region_growing growing.opening=1")
    assert growing.load().segmenter.settings.opening == 1
    assert census.slice_method(growing).settings == {"method": "region_growing"}


@pytest.mark.slow
def test_the_cache_spares_encoding_and_leaves_the_seconds_out(write_list, tmp_path, monkeypatch):
    monkeypatch.undo()
    words = [str(write_list(labels=1)), "--methods", "chain device=cpu", "--embeddings_cache", str(tmp_path / "kept")]
    # slices or planes that are equal would be recalled in the first run already
    scan = nibabel.load(tmp_path / "case.nii.gz")
    noise = np.random.default_rng(0).integers(-20, 21, scan.shape)
    noisy = np.asarray(scan.dataobj).astype(np.int16) + noise.astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(noisy, scan.affine), tmp_path / "case.nii.gz")
    tables = []
    for name in ("first", "second"):
        assert census.main([*words, "--data_folder_path", str(tmp_path), "-o", str(tmp_path / name)]) == 0
        tables.append(pd.read_csv(tmp_path / name / "accuracy_census.csv"))
    assert len(list((tmp_path / "kept").iterdir())) >= 4
    assert tables[0]["seconds"].notna().all() and tables[1]["seconds"].isna().all()
    pd.testing.assert_frame_equal(*(table.drop(columns="seconds") for table in tables))


@pytest.mark.parametrize(
    ("changes", "words", "message"),
    [
        ({"labels": [1, 7]}, [], "case_mask.nii.gz: holds no label 7, of both"),
        ({"labels": 0}, [], "census.yaml: objects[0].labels must be whole numbers above 0, got 0"),
        ({"labels": [True]}, [], "objects[0].labels must be whole numbers above 0, got [True]"),
        ({"window": [1]}, [], "objects[0].window must be a name or [level, width], got [1]"),
        ({"window": "lungs"}, [], "--window lungs: expected one of lung"),
        ({"prompt_slice": "middle"}, [], "objects[0].prompt_slice must be largest, centre or an index, got 'middle'"),
        ({"prompt_slice": 0}, [], "case_mask.nii.gz: slice 0 holds no label, the nearest one with a label is 2"),
        ({"image": 3}, [], "objects[0].image must be a text, got 3"),
        ({"image": "none.nii.gz"}, [], "none.nii.gz: no such file"),
        ({"mask": "x"}, [], "objects[0]: the entry 'mask' is unknown; known are name, image"),
        ({}, ["--names", "other"], "--names other: "),
        ({}, ["--methods", "chain margin"], "method chain margin: margin is not key=value"),
        ({}, ["--methods", "chain chain.margins=2"], "there is no setting chain.margins"),
        ({}, ["--methods", "chain other.margin=2"], "there is no setting other.margin"),
        ({}, ["--methods", "chain margin=2"], "method chain margin=2: "),
        ({}, ["--methods", "sam2_memory"], "method sam2_memory: lite_medsam has no video memory"),
    ],
)
def test_mistakes_are_named(write_list, tmp_path, capsys, changes, words, message):
    path = write_list(**changes)
    assert cli.run_main(census.main, [str(path), *words, "-o", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "holds no list of objects:"),
        ({"objects": []}, "holds no list of objects:"),
        ({"objects": ["lungs"]}, "objects[0] has no entries such as name: and image:"),
        ({"objects": [1], "method": []}, "the entry 'method' is unknown; known are methods, objects"),
        (
            {"objects": [{"name": "a", "image": image, "masks": "c"} for image in ("b", "d")]},
            "two objects have the name a",
        ),
        (
            {"objects": [{"name": "a", "image": "b", "masks": "c"}], "methods": "chain"},
            "methods: 'chain' is not a list",
        ),
    ],
)
def test_lists_that_are_none(write_list, capsys, content, message):
    assert cli.run_main(census.main, [str(write_list(content))]) == 2
    assert message in capsys.readouterr().err


def test_the_list_of_this_folder(real_data):
    listed, methods = census.read_list(arguments_of(LIST, "--data_folder_path", real_data))
    assert [method.name for method in methods] == ["chain", "region_growing"] and len(listed) == 17
    for one in listed:
        task = census.read_task(one)
        assert task.truth[:, :, task.box.slice].any() and task.scan.voxels.shape == task.truth.shape
