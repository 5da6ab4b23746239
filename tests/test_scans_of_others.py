"""The scripts and the Python interface on scans that are not NIfTI: folders of DICOM above all; names, and what no
result tells of a patient.
"""

from __future__ import annotations

import gzip
import json
import logging
import shutil
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest

import nifti_to_numpy
import pose
import process_image
import process_video
from pose.cli import run_main
from pose.runs.case import plan_jobs
from pose.scans.volume import read_volume
from scripts import look
from tests.header_kinds import SimpleITK
from tests.scans import made_dicom as made

SHAPE = (24, 32)
BOX = ("--slice", "3", "--box", "6", "8", "17", "23")
GROWING = ("--method", "region_growing", *BOX)


def block(slice_index: int) -> np.ndarray:
    """A bright block in the dark, the same on each slice, stored as a CT is."""
    pixels = np.full(SHAPE, 24)
    pixels[6:18, 8:24] = 1124
    return pixels + slice_index % 2


def write_scan(folder: Path, **fields: object) -> Path:
    return made.write(folder, [made.image(index, block(index), **fields) for index in range(6)])


def contents(folder: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            found[str(path)] = gzip.decompress(content) if path.name.endswith(".gz") else content
    return found


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_scan(tmp_path / "scans" / "thorax")
    return tmp_path


def test_a_folder_of_dicom_goes_from_a_box_to_a_mask_that_overlays_it(workspace: Path) -> None:
    assert run_main(process_video.main, ["-i", "scans/thorax", *GROWING]) == 0
    folder = workspace / "scans" / "results_video" / "thorax"
    (mask,) = folder.glob("masks_*.nii.gz")
    found = nibabel.load(mask)
    expected = np.zeros((32, 24, 6), np.uint8)
    expected[8:24, 6:18] = 1
    np.testing.assert_array_equal(found.get_fdata(), expected)
    np.testing.assert_allclose(found.affine, [[-0.5, 0, 0, 30], [0, -0.75, 0, -12.5], [0, 0, 2.5, -100], [0, 0, 0, 1]])
    (manifest,) = folder.glob("run_*.json")
    about = json.loads(manifest.read_text())["image"]
    assert (about["path"], about["shape"], about["swap_axes"]) == ("scans/thorax", [24, 32, 6], True)


def test_the_same_prompt_gives_the_same_mask_on_dicom_and_on_its_nifti_file(workspace: Path) -> None:
    volume = read_volume(workspace / "scans/thorax")
    nibabel.save(nibabel.Nifti1Image(volume.voxels, volume.affine), workspace / "scan.nii.gz")
    found = [
        pose.segment(pose.read_scan(path), pose.Prompt(3, box=(6, 8, 17, 23)), model=None, method="region_growing")
        for path in ("scans/thorax", "scan.nii.gz", sorted((workspace / "scans/thorax").iterdir()))
    ]
    assert found[0].labels.sum() == 12 * 16 * 6
    for other in found[1:]:
        np.testing.assert_array_equal(found[0].labels, other.labels)


def test_a_run_is_done_until_a_slice_changes(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    command = ["-i", "scans/thorax", *GROWING, "--resume"]
    assert run_main(process_video.main, command) == 0
    assert run_main(process_video.main, command) == 0
    folder = workspace / "scans" / "results_video" / "thorax"
    assert len(list(folder.glob("run_*.json"))) == 1
    path = sorted((workspace / "scans/thorax").iterdir())[0]
    path.rename(path.with_name("renamed.dcm"))
    assert run_main(process_video.main, command) == 0
    assert len(list(folder.glob("run_*.json"))) == 1
    made.save(made.image(0, block(0) + 1), path.with_name("renamed.dcm"))
    with caplog.at_level(logging.INFO):
        assert run_main(process_video.main, command) == 0
    assert "inputs changed (image); done again" in caplog.text


def test_working_data_of_dicom_and_of_other_formats(workspace: Path) -> None:
    whole = read_volume(workspace / "scans/thorax")
    image = SimpleITK.GetImageFromArray(whole.voxels.transpose(2, 1, 0))
    image.SetOrigin((-30, 12.5, -100))
    image.SetSpacing((0.5, 0.75, 2.5))
    names = ["a.nrrd", "a.mha", "a.hdr"]
    for name in names:
        SimpleITK.WriteImage(image, name)
    targets = [f"{index}.npz" for index in range(4)]
    assert run_main(nifti_to_numpy.main, ["-s", "-i", "scans/thorax", *names, "-o", *targets, "--series", "3"]) == 0
    first = read_volume("0.npz")
    np.testing.assert_array_equal(first.voxels, np.stack([block(index) - 1024 for index in range(6)], axis=2))
    for target in targets:
        np.testing.assert_array_equal(read_volume(target).voxels, first.voxels)
        np.testing.assert_allclose(read_volume(target).affine, first.affine, atol=1e-5)


def test_look_says_what_a_series_is(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scan(workspace / "scans" / "other", series="other", SeriesNumber=8)
    assert run_main(look.main, ["scans", "--series", "8"]) == 0
    said = capsys.readouterr().out
    assert "24 rows x 32 columns x 6 slices" in said
    assert "axial slices; rows count towards the back (P)" in said
    assert (workspace / "look_scans.png").exists()
    assert run_main(look.main, ["scans"]) == 2
    assert "holds 2 series; choose by --series NUMBER or UID" in capsys.readouterr().err


@pytest.mark.slow
def test_an_xray_is_segmented_as_one_slice(workspace: Path) -> None:
    made.save(made.xray(block(0)), workspace / "xray.dcm")
    command = ["-i", "xray.dcm", "--model", "lite_medsam", "--slice", "0", "--box", "6", "8", "17", "23"]
    assert run_main(process_image.main, command) == 0
    (mask,) = (workspace / "results" / "xray").glob("masks_*.npz")
    assert np.load(mask)["voxels"].shape == (24, 32, 1)


# names


def test_volumes_are_called_by_their_folder_or_file(tmp_path: Path) -> None:
    write_scan(tmp_path / "1.2.840.4")
    for name in ("a.zip", "b.nrrd", "c.hdr", "d.dcm", "e.nii.gz"):
        (tmp_path / name).write_bytes(b"x")
    images = [tmp_path / name for name in ("1.2.840.4", "a.zip", "b.nrrd", "c.hdr", "d.dcm", "e.nii.gz")]
    assert [job.name for job in plan_jobs(images, "results")] == ["1.2.840.4", "a", "b", "c", "d", "e"]


def test_folders_of_one_name_have_those_above_before_it(tmp_path: Path) -> None:
    images = [write_scan(tmp_path / patient / "DICOM") for patient in ("p1", "p2")]
    assert [job.name for job in plan_jobs(images, "results")] == ["DICOM", "DICOM"]
    jobs = plan_jobs(images, "results", results_folder=tmp_path / "all")
    assert [job.results_folder for job in jobs] == [tmp_path / "all" / "p1_DICOM", tmp_path / "all" / "p2_DICOM"]
    deeper = [write_scan(tmp_path / patient / "CT" / "DICOM") for patient in ("p1", "p2")]
    jobs = plan_jobs(deeper, "results", results_folder=tmp_path / "all")
    assert [job.name for job in jobs] == ["p1_CT_DICOM", "p2_CT_DICOM"]
    with pytest.raises(pose.UserError, match="both would write to"):
        plan_jobs([images[0], images[0]], "results")


def test_slices_given_one_by_one_are_no_volumes_each(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted(str(path) for path in Path("scans/thorax").iterdir())
    assert run_main(process_video.main, ["-i", *files, *GROWING]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    says = "is a slice of the same series as scans/thorax/040.dcm; give the folder that holds them"
    assert last == f"error: scans/thorax/003.dcm: {says}"
    assert run_main(nifti_to_numpy.main, ["-i", *files, "-o", *(f"{index}.npz" for index in range(6))]) == 2
    assert "give the folder that holds them" in capsys.readouterr().err
    # X-rays of one series are
    for index in range(2):
        made.save(made.xray(block(0), series="xrays", SOPInstanceUID=made.uid(f"{index}")), Path(f"{index}.dcm"))
    assert run_main(nifti_to_numpy.main, ["-i", "0.dcm", "1.dcm", "-o", "0.npz", "1.npz"]) == 0


# patients


def test_no_file_tells_what_dicom_says_of_the_patient(workspace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # what is longer than the standard allows makes the library warn, with the value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_scan(workspace / "scans" / "odd", PatientID="PID4711" + "x" * 80, series="odd")
    command = ["-i", "scans/thorax", "scans/odd", *GROWING, "--debug", "-r", "out", "--gif"]
    assert run_main(process_video.main, command) == 0
    assert run_main(nifti_to_numpy.main, ["-i", "scans/odd", "-o", "out/odd.npz"]) == 0
    assert run_main(nifti_to_numpy.main, ["-i", "scans", "-o", "out/none.npz"]) == 2
    said = capfd.readouterr()
    files = contents(workspace / "out")
    assert len(files) > 12
    for content in [*files.values(), said.out.encode(), said.err.encode()]:
        for word in (b"Mustermann", b"PID4711", b"19640812", b"1964-08-12"):
            assert word not in content


def test_anonymous_results_tell_no_name_of_file_or_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_scan(tmp_path / "Erika_M" / "Mustermann_1964")
    labels = np.zeros((32, 24, 6), np.uint8)
    labels[8:24, 6:18] = 1
    volume = read_volume(tmp_path / "Erika_M" / "Mustermann_1964")
    nibabel.save(nibabel.Nifti1Image(labels, volume.affine), tmp_path / "Erika_M" / "mask.nii.gz")
    of_image = ["-i", "Erika_M/Mustermann_1964", "-m", "Erika_M/mask.nii.gz", "--debug", "-r", "out", "--anonymous"]
    assert run_main(process_video.main, [*of_image, *GROWING]) == 0
    (folder,) = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    assert folder.name.startswith("scan_") and len(folder.name) == 17
    files = contents(tmp_path / "out")
    for name, content in files.items():
        for word in ("Mustermann", "Erika_M", str(tmp_path)):
            assert word.encode() not in content, name
        assert "Mustermann" not in name
    (manifest,) = folder.glob("run_*.json")
    record = json.loads(manifest.read_text())
    assert record["image"]["path"] == folder.name
    assert record["arguments"]["image_file_path"] == [folder.name]
    (prompts,) = folder.glob("sam_prompts_*.json")
    assert json.loads(prompts.read_text())["image"] == folder.name
    # the same volume elsewhere has the same name, another one another
    shutil.copytree("Erika_M/Mustermann_1964", "copy")
    write_scan(tmp_path / "other", series="other")
    names = [job.name for job in plan_jobs([Path("copy"), Path("other")], "results", anonymous=True)]
    assert names[0] == folder.name != names[1]


def test_an_anonymous_failure_tells_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    slices = [made.image(index, block(index)) for index in (0, 1, 3, 4)]
    made.write(tmp_path / "Mustermann", slices)
    command = ["-i", "Mustermann", "-r", "out", "--anonymous", "--record_failures", *GROWING]
    assert run_main(process_video.main, command) == 1
    files = contents(tmp_path / "out")
    assert any("1 slice is missing" in content.decode("utf-8", "replace") for content in files.values())
    assert not any(b"Mustermann" in content for content in files.values())
