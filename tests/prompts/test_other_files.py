"""Tests of pose/prompts/other_files.py: what a file of prompts is, told by its content, and painted masks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import process_video
from pose.cli import UserError
from pose.prompts.other_files import kind_of
from pose.prompts.prompt import Prompt
from pose.prompts.prompt_file import read_prompts
from pose.scans.volume import read_volume
from tests.cases import two_blocks, write_nifti, write_two_blocks
from tests.prompts.markup_files import markup, write_markups


def painted(folder: Path, slices: tuple[int, ...] = (3,)) -> tuple[Path, Path, np.ndarray]:
    """A scan, and its labels kept on a few slices alone."""
    scan, labels = two_blocks()
    labels[:, :, [place for place in range(labels.shape[2]) if place not in slices]] = 0
    return write_nifti(folder / "case.nii.gz", scan), write_nifti(folder / "painted.nii.gz", labels), labels


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x1f\x8b\x08", "mask"),
        (b"PK\x03\x04", "mask"),
        (b"\x93NUMPY", "mask"),
        (b"NRRD0004\n", "mask"),
        (b"\x5c\x01\x00\x00" + bytes(400), "mask"),
        (bytes(128) + b"DICM", "mask"),
        (b"# Markups fiducial file version = 5.6\n", "fcsv"),
        (b"\xef\xbb\xbf\n# Markups", "fcsv"),
        (b'{"prompts": []}', "json"),
        (b"", "json"),
    ],
)
def test_a_file_is_told_by_its_first_bytes_whatever_it_is_called(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "prompts.txt").write_bytes(content)
    assert kind_of(tmp_path / "prompts.txt") == kind


def test_the_slices_of_a_painted_mask_are_found_and_each_label_is_an_object(tmp_path: Path) -> None:
    scan, path, labels = painted(tmp_path, (2, 4))
    shown = read_volume(scan, swap_axes=True)
    rows_first = labels.transpose(1, 0, 2)
    assert read_prompts(path, like=shown) == [
        Prompt(place, label, mask=rows_first[:, :, place] == label, mask_file_path=str(path), mask_label=label)
        for place in (2, 4)
        for label in (1, 2)
    ]


def test_a_painted_mask_is_refused_where_it_is_none_or_of_another_scan(tmp_path: Path) -> None:
    scan, path, labels = painted(tmp_path, ())
    shown = read_volume(scan, swap_axes=True)
    with pytest.raises(UserError, match=f"^{path}: marks nothing$"):
        read_prompts(path, like=shown)
    write_nifti(path, labels[:-1] + 1)
    with pytest.raises(UserError, match="give the mask that was drawn on this scan"):
        read_prompts(path, like=shown)
    many = labels.astype(np.int32)
    many[5, 5, 5] = 70000
    write_nifti(path, many)
    with pytest.raises(UserError, match=f"^{path}: label 70000 cannot number an object, they count from 1 to 65535$"):
        read_prompts(path, like=shown)


def test_a_run_from_a_painted_mask_is_repeated_from_what_it_saved(tmp_path: Path) -> None:
    scan, path, labels = painted(tmp_path)
    words = ["-i", str(scan), "--method", "region_growing", "--prompt_file_path"]
    assert process_video.main([*words, str(path), "-r", str(tmp_path / "first")]) == 0
    [saved] = (tmp_path / "first").glob("case/sam_prompts_*.json")
    assert process_video.main([*words, str(saved), "-r", str(tmp_path / "again")]) == 0
    masks = [next((tmp_path / name).glob("case/masks_*.nii.gz")) for name in ("first", "again")]
    first, again = (read_volume(one).voxels for one in masks)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, two_blocks()[1])
    entries = json.loads(saved.read_text())["prompts"]
    assert [(entry["slice"], entry["object_id"], entry["label"]) for entry in entries] == [(3, 1, 1), (3, 2, 2)]


def test_a_run_from_a_closed_curve_is_repeated_from_what_it_saved(tmp_path: Path) -> None:
    """Its mask came from no file of voxels: the masks of the run hold it."""
    scan, _ = write_two_blocks(tmp_path)
    corners = [(40 - 1.5 * x, 60 - 2.0 * y, -91.0) for x, y in ((4, 6), (4, 19), (13, 19), (13, 6))]
    curve = markup("ClosedCurve", [[-x, -y, z] for x, y, z in corners], name="small")
    path = write_markups(tmp_path / "C.mrk.json", curve)
    words = ["-i", str(scan), "--method", "region_growing", "--prompt_file_path"]
    assert process_video.main([*words, str(path), "-r", str(tmp_path / "first")]) == 0
    [saved] = (tmp_path / "first").glob("case/sam_prompts_*.json")
    assert process_video.main([*words, str(saved), "-r", str(tmp_path / "again")]) == 0
    first, again = (
        read_volume(next((tmp_path / name).glob("case/masks_*.nii.gz"))).voxels for name in ("first", "again")
    )
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, two_blocks()[1] == 1)
    [entry] = json.loads(saved.read_text())["prompts"]
    assert (entry["slice"], entry["name"], entry["label"]) == (3, "small", 1)
