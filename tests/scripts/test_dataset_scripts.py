"""The scripts for whole data sets, from archives on a server to joined tables, on data sets in miniature."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from tests import warm_python
from tests.miniature import CORONACASES, RADIOPAEDIA, covid_archives, montgomery_archive, write_files
from tests.networks import TINY, save_random_weights
from tests.scripts.test_download import PROJECT_ROOT, CheckpointServer, server  # noqa: F401

COVID = [*CORONACASES, *RADIOPAEDIA]
SAM2 = ["--model", TINY.name, "--precision", "fp32", "--device", "cpu"]

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")


class Checkout:
    """A copy of the project that knows of a tiny SAM 2 with random weights, too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("pose", "scripts", "sam2_configs"):
            # with the bytecode, which each copy would have to make again
            shutil.copytree(PROJECT_ROOT / name, folder / name)
        for path in PROJECT_ROOT.glob("*.py"):
            shutil.copy(path, folder)
        self.environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        self.environment |= {"POSE_VENV": str(warm_python.environment()), "OMP_NUM_THREADS": "1"}

    def add_tiny_sam2(self) -> None:
        entry = {key: value for key, value in asdict(TINY).items() if value is not None}
        entry["overrides"] = list(TINY.overrides)
        (self.folder / "sam2_configs" / "tiny_random.yaml").write_text(yaml.safe_dump(entry))
        (self.folder / "model_checkpoints").mkdir()
        save_random_weights(self.folder / "model_checkpoints" / TINY.checkpoint)

    def run(self, script: str, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = ["bash", f"scripts/{script}", *map(str, arguments)]
        if script.endswith(".py"):
            command[0] = str(warm_python.environment() / "bin/python")
        result = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert result.returncode == code, result.stdout + result.stderr
        return result

    def unpack(self, names: list[str], shape: tuple[int, int, int]) -> None:
        """Put a COVID data set where its download script does."""
        for address, content in covid_archives(names, shape).items():
            write_files(self.folder / "datasets" / "covid" / Path(address).stem, {address: content})


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "check out")  # a blank in the path


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def manifest(folder: Path) -> dict:
    return json.loads(only(folder, "run_*.json").read_text())


def all_files(folder: Path) -> dict[Path, int]:
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path: path.stat().st_mtime_ns for path in files}


def assert_done_already(checkout: Checkout, *command: object, groups: list[int]) -> None:
    """Check that the same command again writes nothing and loads no model."""
    before = all_files(checkout.folder)
    again = checkout.run(*command)
    assert all_files(checkout.folder) == before
    *done, last = again.stdout.splitlines()
    assert done == [f"{count} of {count} volumes were done already" for count in groups]
    assert last.startswith("nothing new since ")


@pytest.mark.slow
def test_covid_from_archives_to_tables_with_sam2(checkout: Checkout, server: CheckpointServer) -> None:  # noqa: F811
    server.files = covid_archives(COVID, (40, 44, 3))
    checkout.add_tiny_sam2()
    mirror = ["--mirror", f"http://127.0.0.1:{server.server_port}"]
    checkout.run("download_covid_dataset.sh", *mirror)
    done = checkout.run("nifti_to_numpy.sh")
    assert done.stdout.splitlines()[-1] == "working data in working_data/covid: 40 converted, 0 there already"
    again = checkout.run("nifti_to_numpy.sh")
    assert again.stdout == "working data in working_data/covid: 0 converted, 40 there already\n"
    working = checkout.folder / "working_data" / "covid"

    videos = ["process_covid_videos.sh", *SAM2, "--", "--objects", "per_label"]
    checkout.run(*videos)
    check_results(working / "results_video", COVID)
    for name, windowed in (("coronacases_004", True), ("radiopaedia_10_85902_3", False)):
        record = manifest(working / "results_video" / f"image_{name}")
        assert (record["arguments"]["apply_windowing"], record["arguments"]["objects"]) == (windowed, "per_label")
        assert (record["model"], record["precision"], record["prompted_slices"]) == (TINY.name, "fp32", 1)
    assert_done_already(checkout, *videos, groups=[10, 10])


@pytest.mark.slow
def test_one_prompt_for_the_data_set_with_sam2(checkout: Checkout) -> None:
    names = [*CORONACASES[:2], *RADIOPAEDIA[3:5]]
    checkout.add_tiny_sam2()
    checkout.unpack(names, (40, 44, 3))
    checkout.run("nifti_to_numpy.sh")
    command = ["process_covid_dataset_prompt.sh", *SAM2, "--seed_slice", "1"]
    done = checkout.run(*command)
    assert "masks may be poor" not in done.stderr
    results = checkout.folder / "working_data" / "covid" / "results_dataset_prompt"
    table = check_results(results, names)
    assert [row["image"] for row in table if row["seed_patient"] == "1"] == ["image_coronacases_001"]
    limits = {}
    for name in ("coronacases_002", "radiopaedia_10_85902_3"):
        seed = manifest(results / f"image_{name}")["seed"]["seeds"][0]
        assert (Path(seed["image"]).name, seed["slice"]) == ("image_coronacases_001.npy", 1)
        limits[name] = (seed["grey_limits"], manifest(results / f"image_{name}")["arguments"]["window"])
    assert limits == {
        "coronacases_002": ([-1400, 100], ["lung"]),
        "radiopaedia_10_85902_3": ([-1400, 100], ["127.5", "255"]),
    }
    statistics = {row["metric"]: row for row in rows_of(only(results, "results_*.csv"))}
    assert float(statistics["prompts_used"]["max"]) == 1
    assert_done_already(checkout, *command, groups=[2, 2])

    command[-2:] = ["--seed", RADIOPAEDIA[4], "--results_folder_path", "grey seed"]
    checkout.run(*command)
    for name in names:
        seed = manifest(checkout.folder / "grey seed" / f"image_{name}")["seed"]["seeds"][0]
        assert (Path(seed["image"]).name, seed["grey_limits"]) == (f"image_{RADIOPAEDIA[4]}.npy", [0, 255])


def check_results(results: Path, names: list[str]) -> list[dict[str, str]]:
    """Check that all volumes are in the joined tables with their 3 slices; returns the table of volumes."""
    table = rows_of(only(results, "joint_results_*.csv"))
    assert [row["image"] for row in table] == [f"image_{name}" for name in sorted(names)]
    assert {row["slices"] for row in table} == {"3"}
    raw_data = rows_of(only(results, "joint_raw_data_*.csv"))
    assert len(raw_data) == 3 * len(names)
    assert list(raw_data[0])[:2] == ["image", "slice"]
    return table


@pytest.mark.slow
def test_montgomery_from_archive_to_tables_with_lite_medsam(
    checkout: Checkout,
    server: CheckpointServer,  # noqa: F811
) -> None:
    server.files = montgomery_archive(4)
    checkout.run("download_montgomery_dataset.sh", "--mirror", f"http://127.0.0.1:{server.server_port}")
    done = checkout.run("montgomery_to_numpy.py")
    assert done.stdout == "working data in working_data/montgomery: 4 X-rays converted, 0 there already\n"
    command = [
        "process_montgomery_images.sh",
        "--model",
        "lite_medsam",
        "--threads",
        "2",
        "--",
        "--objects",
        "per_label",
    ]
    checkout.run(*command)
    results = checkout.folder / "working_data/montgomery/results"
    assert {manifest(folder)["threads"] for folder in results.glob("image_*")} == {2}
    table = rows_of(only(results, "joint_results_*.csv"))
    assert [row["image"] for row in table] == [f"image_MCUCXR_{number:04}_{number % 2}" for number in range(1, 5)]
    # dark ellipses in a box each are what the network cannot miss
    assert all(float(row["dice_avg"]) > 0.9 for row in table)
    assert_done_already(checkout, *command, groups=[4])


@pytest.mark.slow
def test_covid_slices_and_volumes_with_lite_medsam(checkout: Checkout) -> None:
    checkout.unpack([CORONACASES[0], RADIOPAEDIA[0]], (96, 96, 3))
    checkout.run("nifti_to_numpy.sh", "--output_folder_path", "my data")
    given = ["--working_data_folder_path", "my data", "--model", "lite_medsam"]
    for script in ("process_covid_images.sh", "process_covid_videos.sh"):
        results = checkout.folder / script / "results"
        # the second script takes the slices that the first has encoded
        kept = ["--embeddings_cache", "embeddings"]
        command = [script, *given, "--results_folder_path", results, "--", "--objects", "per_label", *kept]
        checkout.run(*command)
        table = rows_of(only(results, "joint_results_*.csv"))
        assert len(table) == 2 and all(float(row["volume_dice"]) > 0.8 for row in table)
        assert_done_already(checkout, *command, groups=[1, 1])
    results = checkout.folder / "one prompt"
    checkout.run(
        "process_covid_dataset_prompt.sh", *given, "--seed_slice", "1", "--results_folder_path", results, "--", *kept
    )
    table = rows_of(only(results, "joint_results_*.csv"))
    assert len(table) == 2 and all(float(row["volume_dice"]) > 0.8 for row in table)
    (placed,) = manifest(results / f"image_{RADIOPAEDIA[0]}")["seed"]["placed"]
    assert 0 < placed["score"] <= 1


@pytest.fixture
def two(checkout: Checkout) -> Checkout:
    """A checkout with the working data of one volume of each kind."""
    checkout.unpack([CORONACASES[0], RADIOPAEDIA[0]], (32, 32, 3))
    checkout.run("nifti_to_numpy.sh")
    return checkout


def test_mistakes_are_one_line_and_nothing_is_done(two: Checkout) -> None:
    working = two.folder / "working_data" / "covid"
    for script, arguments, message in (
        ("process_covid_images.sh", ["--image_size", "512"], "--image_size: no such flag; see --help"),
        ("process_covid_images.sh", ["--model", "vit_x"], "--model vit_x: unknown; known are "),
        ("process_covid_videos.sh", ["--working_data_folder_path", "none"], "none: holds no working data"),
        ("process_covid_dataset_prompt.sh", ["--seed", "x"], "--seed x: there is no working_data/covid/image_x"),
        ("process_montgomery_images.sh", [], "working_data/montgomery: holds no working data"),
        ("nifti_to_numpy.sh", ["--input_folder_path", "x"], "x/COVID-19-CT-Seg_20cases: holds no .nii.gz; "),
    ):
        result = two.run(script, *arguments, code=2)
        assert (result.stdout, result.stderr.count("\n")) == ("", 1)
        assert result.stderr.startswith(f"error: {message}")
    (working / "masks_coronacases_001.npy").unlink()
    result = two.run("process_covid_images.sh", "--model", "lite_medsam", code=2)
    image, masks = (f"working_data/covid/{kind}_coronacases_001.npy" for kind in ("image", "masks"))
    assert result.stderr == f"error: {image}: its masks {masks} are missing\n"
    assert not list(working.glob("results*"))
    two.environment["POSE_VENV"] = "none"
    result = two.run("process_covid_images.sh", code=2)
    assert result.stderr == "error: none: is no virtual environment; run scripts/setup.sh first\n"


def test_what_stands_after_two_dashes_is_passed_on(two: Checkout) -> None:
    given = ["process_covid_videos.sh", "--windowed=*", "--", "--method", "region_growing"]
    shown = two.run(*given, "--dry_run")
    assert shown.stdout.count("slices by region_growing and write to working_data/covid/results_video/image_") == 2
    left = [path.name for path in (two.folder / "working_data").rglob("*results*/*")]
    assert sorted(left) == [f"image_{name}_prompt.png" for name in (CORONACASES[0], RADIOPAEDIA[0])]
    two.run(*given)
    results = two.folder / "working_data/covid/results_video"
    for name in (CORONACASES[0], RADIOPAEDIA[0]):
        assert manifest(results / f"image_{name}")["arguments"]["apply_windowing"] is True
    assert_done_already(two, *given, groups=[2])


def test_a_scan_that_cannot_be_converted_does_not_stop_the_others(two: Checkout) -> None:
    scan = two.folder / "datasets/covid/COVID-19-CT-Seg_20cases/coronacases_001.nii.gz"
    scan.write_bytes(scan.read_bytes()[:300])
    result = two.run("nifti_to_numpy.sh", "--output_folder_path", "new", code=1)
    assert (result.stderr.count("\n"), result.stdout.splitlines()[-1]) == (
        1,
        "working data in new: 3 converted, 0 there already, 1 failed",
    )
    assert result.stderr.startswith(f"error: {scan.relative_to(two.folder)}: ")
    assert not (two.folder / "new" / "image_coronacases_001.npy").exists()


def test_a_volume_that_fails_does_not_stop_the_others(checkout: Checkout) -> None:
    checkout.unpack([*CORONACASES[:2], RADIOPAEDIA[0]], (32, 32, 3))
    checkout.run("nifti_to_numpy.sh")
    damaged = checkout.folder / "working_data/covid/image_coronacases_002.npy"
    damaged.write_bytes(damaged.read_bytes()[:500])
    result = checkout.run("process_covid_videos.sh", "--", "--method", "region_growing", code=1)
    assert "1 of 2 volumes failed:" in result.stderr
    table = rows_of(only(checkout.folder / "working_data/covid/results_video", "joint_results_*.csv"))
    failed = {row["image"].removeprefix("image_"): row["failed"] for row in table}
    assert failed == {CORONACASES[0]: "0", CORONACASES[1]: "1", RADIOPAEDIA[0]: "0"}


SCRIPTS = [
    *("download_covid_dataset.sh", "download_montgomery_dataset.sh", "nifti_to_numpy.sh", "montgomery_to_numpy.py"),
    *("process_covid_images.sh", "process_covid_videos.sh", "process_covid_dataset_prompt.sh"),
    "process_montgomery_images.sh",
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_tells_the_flags(script: str) -> None:
    command = [sys.executable if script.endswith(".py") else "bash", str(PROJECT_ROOT / "scripts" / script), "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    text = (PROJECT_ROOT / "scripts" / script).read_text()
    if script.endswith(".sh"):
        (taken,) = [line.split('"')[1].split() for line in text.splitlines() if line.startswith("read_flags ")]
        assert all(f"--{name}" in shown for name in taken if name != "--")
        assert shown.count("\n") == len(shown.splitlines()) and "#!" not in shown and "set -e" not in shown
    else:
        assert "--input_folder_path" in shown and "--output_folder_path" in shown
