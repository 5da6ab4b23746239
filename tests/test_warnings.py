"""No script lets a warning through: neither one of ours nor one of a library's, and no file is left open."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pose.files.repository import REPOSITORY_FOLDER
from pose.scans.masks import write_mask
from pose.scans.phantom import chest_ct
from pose.scans.volume import write_volume


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a scan and its lung masks, and with results of the scan."""
    folder = tmp_path_factory.mktemp("warnings")
    volume, labels = chest_ct((56, 64, 5))
    write_volume(folder / "a.nii.gz", volume)
    write_mask(folder / "a_mask.nii.gz", labels, volume)
    run_strictly("process_video.py", folder, "-i {0}/a.nii.gz -m {0}/a_mask.nii.gz -b -w --method region_growing")
    return folder


def run_strictly(script: str, folder: Path, arguments: str) -> str:
    """Run a script to its end with every warning an error, those of Python's development mode too; returns its
    stderr.
    """
    command = [sys.executable, "-X", "dev", "-W", "error", script, *arguments.format(folder).split()]
    done = subprocess.run(command, cwd=REPOSITORY_FOLDER, capture_output=True, text=True)
    # one that is raised where nothing can catch it (a file closed by the garbage collector) is printed alone
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("nifti_to_numpy.py", "-i {0}/a.nii.gz -o {0}/a.npz -s"),
        ("nifti_to_numpy.py", "-i {0}/a.nii.gz -o {0}/a.npy"),
        ("scripts/make_phantom.py", "-o {0}/made --shape 32 32 3"),
        ("process_image.py", "-i {0}/a.nii.gz -m {0}/a_mask.nii.gz -b -w -s 2 -d --model lite_medsam --device cpu"),
        ("join_results.py", "-r {0}/results_video"),
    ],
    ids=["to npz", "to npy", "phantom", "process_image", "join_results"],
)
def test_a_script_runs_without_a_warning(folder, script, arguments):
    run_strictly(script, folder, arguments)


def test_a_warning_would_show(folder, tmp_path):
    script = tmp_path / "leaves_a_file_open.py"
    script.write_text("file = open(__file__)\ndel file\n")
    with pytest.raises(AssertionError, match="ResourceWarning: unclosed file"):
        run_strictly(str(script), folder, "")
