"""scripts/quickstart.sh on scans of one's own, with and without a mask."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from pose.scans.masks import write_mask
from pose.scans.phantom import chest_ct
from pose.scans.volume import write_volume
from tests import warm_python
from tests.scans import made_dicom

PROJECT_ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")


class Checkout:
    """A copy of the project whose environment is that of the tests, and a scan with its mask elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "check out"
        for name in ("pose", "scripts", "sam2_configs"):
            # with the bytecode, which each copy would have to make again
            shutil.copytree(PROJECT_ROOT / name, self.root / name)
        for path in PROJECT_ROOT.glob("*.py"):
            shutil.copy(path, self.root)
        # any torch is kept: nothing is left to install
        (self.root / "requirements.txt").write_text("torch==2.13.0\n")
        self.user = folder / "user"
        self.user.mkdir()
        self.volume, labels = chest_ct((48, 40, 5), 0)
        write_volume(self.user / "my ct.nii.gz", self.volume)
        write_mask(self.user / "lungs.nii.gz", labels, self.volume)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "POSE_VENV": str(warm_python.environment())}
        command = ["bash", str(self.root / "scripts" / "quickstart.sh"), *arguments]
        return subprocess.run(
            command, cwd=self.user, env=environment, capture_output=True, text=True, timeout=300, check=False
        )


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def after_steps(output: str) -> list[str]:
    return output.rpartition("\n\n")[2].splitlines()


def test_a_scan_alone_is_shown_with_the_command_that_segments_it(checkout: Checkout) -> None:
    result = checkout.run("my ct.nii.gz", "--window", "lung")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    sheet = checkout.root / "quickstart" / "results_video" / "my ct_scan.png"
    assert f"picture:     {sheet.relative_to(checkout.root)}" in lines
    with Image.open(sheet) as picture:
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 10
    assert "shape:       48 rows x 40 columns x 5 slices; they count from 0" in lines

    script, *command = shlex.split(lines[-1])
    assert script == "scripts/quickstart.sh"
    assert command == shlex.split("'my ct.nii.gz' --window lung --slice 2 --box 12 10 35 29")
    result = checkout.run(*command, "--method", "region_growing")
    assert result.returncode == 0, result.stderr
    picture, masks, review, tables = after_steps(result.stdout)
    assert tables.startswith("tables:  quickstart/results_video") and review.startswith("review:  ")
    assert (checkout.root / picture.removeprefix("picture: ")).is_file()
    mask = nibabel.load(checkout.root / masks.removeprefix("masks:   ").partition(" (")[0])
    assert mask.shape == (40, 48, 5) and 0 < mask.get_fdata().sum() < 48 * 40 * 5
    assert np.allclose(mask.affine, nibabel.load(checkout.user / "my ct.nii.gz").affine, atol=1e-3)
    assert not (checkout.root / "quickstart" / "results").exists()


@pytest.mark.slow
def test_with_a_mask_the_end_is_five_lines(checkout: Checkout) -> None:
    # flags go on to both ways: the second takes the slices that the first has encoded
    result = checkout.run("my ct.nii.gz", "lungs.nii.gz", "--window", "lung", "--embeddings_cache", "embeddings")
    assert result.returncode == 0, result.stderr
    # six planes from the side of each lung are encoded as well, two of which both lungs have
    assert len(list((checkout.root / "embeddings").glob("*.safetensors"))) == 5 + 10
    steps = ["== convert", "== a prompt on every slice", "== one prompt for the volume"]
    assert [line for line in result.stdout.splitlines() if line.startswith("==")] == steps
    picture, masks, dice, review, tables = after_steps(result.stdout)
    assert (checkout.root / picture.removeprefix("picture: ")).is_file()
    assert masks.endswith(f"(open it over {checkout.user}/my ct.nii.gz in any viewer)")
    found = re.fullmatch(
        r"Dice:    (0\.\d{3}) from one prompt for the volume, (0\.\d{3}) from a prompt on every slice", dice
    )
    log = (checkout.root / "quickstart" / "log.txt").read_text()
    shown = re.findall(r"^volume_dice +(\S+)", log, re.MULTILINE)
    assert [round(float(value), 2) for value in shown] == [round(float(found[which]), 2) for which in (2, 1)]
    assert re.match(r"review:  \d slices on which the model is in doubt", review)
    assert tables == "tables:  quickstart/results_video, their statistics in quickstart/log.txt"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.nii.gz"], "none.nii.gz: no such file"),
        (["my ct.nii.gz", "none.nii.gz"], "none.nii.gz: no such file"),
        (["--window", "lung"], "--window: the scan comes first; see --help"),
        (["lungs.nii.gz"] * 3, "lungs.nii.gz: a scan and its mask are all that is taken; see --help"),
    ],
)
def test_a_mistake_is_one_line(checkout: Checkout, arguments: list[str], message: str) -> None:
    result = checkout.run(*arguments)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", f"error: {message}\n")
    assert not (checkout.root / "quickstart").exists()


def test_help_shows_the_ways_to_call_it(checkout: Checkout) -> None:
    result = checkout.run("--help")
    assert result.returncode == 0
    assert result.stdout.count("scripts/quickstart.sh") == 5 and "set -e" not in result.stdout


def test_a_folder_of_dicom_with_several_series(checkout: Checkout) -> None:
    for number, name in ((3, "thorax"), (4, "other")):
        made_dicom.write(checkout.user / "ct 1.2.3" / name, made_dicom.series(6, series=name, SeriesNumber=number))
    result = checkout.run("ct 1.2.3")
    assert (result.returncode, result.stdout.splitlines()[-1]) == (2, "== convert")
    assert "holds 2 series; choose by --series NUMBER or UID: 3 'Thorax 2.5'" in result.stderr
    command = ["ct 1.2.3", "--series", "4", "--slice", "2", "--box", "1", "1", "3", "4", "--method", "region_growing"]
    result = checkout.run(*command)
    assert result.returncode == 0, result.stderr
    masks = after_steps(result.stdout)[1].removeprefix("masks:   ").partition(" (")[0]
    assert masks.startswith("quickstart/results_video/ct 1.2.3/masks_")
    assert nibabel.load(checkout.root / masks).shape == (6, 5, 6)
