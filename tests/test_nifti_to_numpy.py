"""nifti_to_numpy.py: the two published commands, what is written, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

import nifti_to_numpy
from pose.cli import run_main
from tests.cases import seconds_of_children

PROJECT_ROOT = Path(__file__).resolve().parent.parent
SOURCE = "datasets/covid/COVID-19-CT-Seg_20cases/coronacases_001.nii.gz"
AFFINE = np.diag([0.5, 0.75, 2.0, 1.0])


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a scan where the published commands look for it; working_data/ is missing."""
    path = tmp_path / SOURCE
    path.parent.mkdir(parents=True)
    voxels = np.arange(-60, 60, dtype=np.int16).reshape(4, 5, 6)
    nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_published_commands(workspace: Path, suffix: str) -> None:
    target = f"working_data/image_coronacases_001{suffix}"
    command = f"nifti_to_numpy.py --input_file_path {SOURCE} --output_file_path {target} --swap_axes"
    script, *words = command.split()
    done = subprocess.run([sys.executable, PROJECT_ROOT / script, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    size = (workspace / target).stat().st_size
    assert done.stdout == f"{target}: 5 x 4 x 6 int16, 0.75 x 0.5 x 2 mm, {size / 1e6:.1f} MB\n"

    beside = [".json"] if suffix == ".npy" else []
    written = sorted(path.suffix for path in (workspace / "working_data").iterdir())
    assert written == [*beside, suffix]
    loaded = np.load(workspace / target, allow_pickle=False)
    voxels = loaded["voxels"] if suffix == ".npz" else loaded
    assert voxels.dtype == np.int16
    np.testing.assert_array_equal(voxels, np.arange(-60, 60).reshape(4, 5, 6).transpose(1, 0, 2))
    if suffix == ".npz":
        np.testing.assert_array_equal(loaded["affine"], AFFINE)
        assert loaded["spacing_mm"].tolist() == [0.75, 0.5, 2.0]
        assert loaded["swap_axes"].item() is True


def test_short_flags_without_swap(workspace: Path) -> None:
    assert nifti_to_numpy.main(["-i", SOURCE, "-o", "scan.npz"]) == 0
    with np.load(workspace / "scan.npz") as archive:
        np.testing.assert_array_equal(archive["voxels"], np.arange(-60, 60).reshape(4, 5, 6))
        assert archive["spacing_mm"].tolist() == [0.5, 0.75, 2.0]
        assert archive["swap_axes"].item() is False


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["-i", "none.nii.gz", "-o", "a.npz"], "none.nii.gz: no such file"),
        (["-i", "scan.npz", "-o", "a.npz"], "scan.npz: is working data already"),
        (["-i", SOURCE, "-o", "a.nii.gz"], "a.nii.gz: working data is .npz or .npy"),
        (["-i", SOURCE, "-o", "a.txt"], "a.txt: working data is .npz or .npy"),
        (["-i", SOURCE, "-o", f"{SOURCE}/a.npz"], "coronacases_001.nii.gz: cannot be made"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    workspace: Path, words: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(nifti_to_numpy.main, words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert named in captured.err
    assert sorted(path.name for path in workspace.iterdir()) == ["datasets"]


def test_a_cut_scan_leaves_nothing_behind(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = Path(SOURCE).read_bytes()
    Path(SOURCE).write_bytes(content[: len(content) // 2])
    assert run_main(nifti_to_numpy.main, ["-i", SOURCE, "-o", "working_data/scan.npz"]) == 2
    assert SOURCE in capsys.readouterr().err
    assert sorted(path.name for path in workspace.iterdir()) == ["datasets"]


def test_help_is_quick() -> None:
    times = []
    for _ in range(3):
        start = seconds_of_children()
        command = [sys.executable, PROJECT_ROOT / "nifti_to_numpy.py", "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        times.append(seconds_of_children() - start)
    assert "--swap_axes" in done.stdout
    assert min(times) < 0.5


def test_real_scan(real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = real_data / "ct_lung_small" / "ct64.nii.gz"
    assert nifti_to_numpy.main(["-i", str(source), "-o", str(tmp_path / "scan.npz"), "--swap_axes"]) == 0
    assert "64 x 64 x 79 int16, 4.172 x 4.172 x 3.987 mm" in capsys.readouterr().out
    with np.load(tmp_path / "scan.npz") as archive:
        expected = np.asarray(nibabel.load(source).dataobj).transpose(1, 0, 2)
        np.testing.assert_array_equal(archive["voxels"], expected)


def test_many_files_of_which_one_is_broken(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "broken.nii").write_bytes(b"no scan")
    sources = [SOURCE, "broken.nii", SOURCE]
    assert nifti_to_numpy.main(["-i", *sources, "-o", "w/a.npz", "new/b.npz", "w/c.npy", "--swap_axes"]) == 1
    assert sorted(path.name for path in (workspace / "w").iterdir()) == ["a.npz", "c.json", "c.npy"]
    assert not (workspace / "new").exists()
    with np.load("w/a.npz") as archive:
        np.testing.assert_array_equal(archive["voxels"], np.load("w/c.npy"))
    said = capsys.readouterr()
    assert said.out.count("5 x 4 x 6 int16") == 2
    assert "1 of 3 files could not be converted:\n  broken.nii: " in said.err
