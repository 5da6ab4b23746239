"""Tests of pose/runs/segments_written.py: masks in further formats, names of objects, and their volumes in ml."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import process_image
import process_video
from pose.cli import UserError
from pose.scans.masks import read_mask
from pose.scans.seg_nrrd import write_seg_nrrd
from pose.scans.segments import Segment
from pose.scans.volume import read_volume
from tests.cases import AFFINE, two_blocks, write_nifti, write_two_blocks
from tests.scans import made_series as made

VIDEO = ("--method", "region_growing", "-b")
BLOCKS = (Segment(1, "small", (10, 20, 30)), Segment(2, "large", (200, 100, 50)))


def write_named_blocks(folder: Path) -> tuple[Path, Path]:
    scan, labels = two_blocks()
    path = folder / "case.seg.nrrd"
    with path.open("wb") as file:
        write_seg_nrrd(file, labels, AFFINE, BLOCKS)
    return write_nifti(folder / "case.nii.gz", scan), path


def run(*words: object) -> int:
    return process_video.main([*map(str, words), *VIDEO])


def test_objects_keep_the_names_and_colours_of_their_ground_truth(tmp_path: Path) -> None:
    scan, mask = write_named_blocks(tmp_path)
    assert run("-i", scan, "-m", mask, "--objects", "per_label", "--write", "nrrd", "-r", tmp_path / "r") == 0
    [written] = (tmp_path / "r" / "case").glob("segments_*.seg.nrrd")
    found = read_mask(written, read_volume(scan))
    assert found.segments == BLOCKS
    [plain] = (tmp_path / "r" / "case").glob("masks_*.nii.gz")
    np.testing.assert_array_equal(found.voxels, read_mask(plain, read_volume(scan)).voxels)
    [record] = (tmp_path / "r" / "case").glob("run_*.json")
    assert json.loads(record.read_text())["files"]["segments"] == written.name


def test_labels_are_chosen_by_name(tmp_path: Path) -> None:
    scan, mask = write_named_blocks(tmp_path)
    for number, words in enumerate((("--labels", "LARGE"), ("--structure", "large"), ("--labels", 2))):
        assert run("-i", scan, "-m", mask, *words, "-r", tmp_path / str(number)) == 0
    prompts = [next((tmp_path / str(number)).glob("case/sam_prompts_*.json")).read_text() for number in range(3)]
    assert prompts[0] == prompts[1] == prompts[2]
    assert json.loads(prompts[0])["prompts"][0]["box"] == {
        "row_min": 8,
        "column_min": 22,
        "row_max": 23,
        "column_max": 35,
    }
    with pytest.raises(
        UserError, match=r"case.seg.nrrd: holds no 'liver' \(--labels\); it holds small \(1\), large \(2\)"
    ):
        run("-i", scan, "-m", mask, "--labels", "liver", "-r", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_volume_of_each_object_is_a_row_after_the_others(tmp_path: Path) -> None:
    scan, mask = write_two_blocks(tmp_path)
    assert run("-i", scan, "-m", mask, "--objects", "per_label", "-r", tmp_path / "r") == 0
    [path] = (tmp_path / "r" / "case").glob("results_*.csv")
    table = pd.read_csv(path)
    assert table["metric"].tolist()[-3:] == ["next_slice", "ml_object_1", "ml_object_2"]
    # 10 x 14 x 4 and 14 x 16 x 4 voxels of 9 mm^3
    assert table["avg"].tolist()[-2:] == pytest.approx([5.04, 8.064])
    assert table["n"].tolist()[-2:] == [1, 1]


def test_an_object_without_a_name_is_called_by_its_number(tmp_path: Path) -> None:
    scan, _ = write_two_blocks(tmp_path)
    (tmp_path / "p.json").write_text(
        json.dumps(
            [
                {"slice": 3, "object_id": 7, "points": [{"row": 10, "column": 8, "label": 1}]},
                {"slice": 3, "object_id": 9, "name": "large", "points": [{"row": 12, "column": 30, "label": 1}]},
            ]
        )
    )
    assert run("-i", scan, "--prompt_file_path", tmp_path / "p.json", "--write", "nrrd", "-r", tmp_path / "r") == 0
    [written] = (tmp_path / "r" / "case").glob("segments_*.seg.nrrd")
    assert [(one.label, one.name) for one in read_mask(written, read_volume(scan)).segments] == [
        (7, "object 7"),
        (9, "large"),
    ]


@pytest.mark.parametrize("kind", ["seg", "rtstruct"])
@pytest.mark.parametrize("script", [process_video, process_image])
def test_dicom_is_refused_before_the_work_for_what_is_none(tmp_path: Path, kind: str, script) -> None:
    scan, mask = write_two_blocks(tmp_path)
    words = ["-i", str(scan), "-m", str(mask), "-b", "--write", "nrrd", kind, "-r", str(tmp_path / "r")]
    words += ["--model", "lite_medsam"]
    with pytest.raises(UserError) as error:
        script.main(words)
    assert str(error.value) == (
        f"{scan}: --write {kind}: a DICOM file refers to the images it was made from, and this scan is no DICOM "
        "series; nrrd can be"
    )
    assert not (tmp_path / "r").exists()


def test_space_needs_a_geometry(tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", two_blocks()[0])
    words = ("-i", tmp_path / "scan.npy", "--slice", 3, "--point", 8, 10, "--write", "nrrd", "-r", tmp_path / "r")
    with pytest.raises(UserError, match="--write nrrd: needs a geometry, and that of the scan is unknown"):
        run(*words)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A folder of DICOM with a dark block on slices 2 to 4."""
    voxels = np.full((made.ROWS, made.COLUMNS, made.SLICES), 40, np.int16)
    voxels[5:12, 8:16, 2:5] = -800
    made.write_series(tmp_path / "series", voxels)
    return tmp_path / "series"


def test_seg_and_rtstruct_of_a_series_hold_the_mask_of_the_run(tmp_path: Path, series: Path) -> None:
    import pydicom

    words = ("-i", series, "--slice", 3, "--point", 8, 12, "--write", "seg", "rtstruct", "nrrd", "-r", tmp_path / "r")
    assert run(*words) == 0
    scan = read_volume(series, None, None)
    expected = (scan.voxels < 0).astype(np.uint8)
    files = {path.name.partition("_")[0]: path for path in (tmp_path / "r" / "series").iterdir()}
    for kind in ("seg", "rtstruct", "segments"):
        mask = read_mask(files[kind], scan)
        np.testing.assert_array_equal(mask.voxels, expected)
        assert [one.name for one in mask.segments] == ["object 1"]
    algorithm = pydicom.dcmread(files["seg"]).SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("POSE, region_growing", "0.2.0")


def test_headers_that_lack_what_is_needed_are_told_before_the_work(tmp_path: Path, series: Path) -> None:
    import pydicom

    for path in (tmp_path / "series").iterdir():
        header = pydicom.dcmread(path)
        del header.FrameOfReferenceUID
        made.save(header, path)
    with pytest.raises(UserError, match="--write: its headers lack what is needed: .*Frame Of Reference UID"):
        run("-i", series, "--slice", 3, "--point", 8, 12, "--write", "seg", "-r", tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_what_was_not_found_is_not_in_dicom_and_the_log_says_so(tmp_path: Path, series: Path, caplog) -> None:
    from datetime import datetime

    from pose.runs.case import Job, load_case
    from pose.runs.segments_written import writers

    case = load_case(Job(series, None, tmp_path / "r"))
    labels = np.zeros(case.volume.voxels.shape, np.uint8)
    segments = [Segment(1, "liver"), Segment(2, "spleen")]
    assert writers(case, ["seg"], labels, segments, ("POSE", "0"), datetime.now()) == {}
    assert "--write seg: nothing was found of liver, spleen" in caplog.text
    labels[5, 5, 2] = 2
    [(name, (suffix, write))] = writers(case, ["seg"], labels, segments, ("POSE", "0"), datetime.now()).items()
    assert (name, suffix) == ("seg", ".dcm")
    write(tmp_path / "seg.dcm")
    assert [one.name for one in read_mask(tmp_path / "seg.dcm", case.volume).segments] == ["spleen"]
