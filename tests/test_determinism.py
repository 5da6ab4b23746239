"""The same input and settings give the same bytes: alone or among other volumes, in any order, beside another
process.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import join_results
import process_image
import process_video
from pose import cli
from pose.files.repository import REPOSITORY_FOLDER
from pose.scans.masks import write_mask
from pose.scans.phantom import chest_ct
from pose.scans.volume import write_volume
from pose.segmenters import models
from tests.networks import TINY, save_random_weights

TIMES = {"set_image_time", "predict_image_time", "process_image_time"}
STATISTICS = ("min", "max", "avg", "std", "n", "q1", "median", "q3")
TIMES_JOINED = {f"{time}_{statistic}" for time in TIMES for statistic in STATISTICS}
# of a manifest, what tells when, by which command, how quickly, and what was edited meanwhile
OF_THE_MOMENT = {
    "timestamp",
    "debug",
    "command",
    "arguments",
    "embeddings_cache",
    "files",
    "started",
    "segmentation_seconds",
    "total_seconds",
    "peak_memory_mb",
    "git_commit",
    "timing",
}
SCRIPTS = {"process_image": process_image, "process_video": process_video}
# many command lines in one process, so that what one of them leaves behind meets the next
DRIVER = """
import json, sys
import process_image, process_video
from pose import cli
from pose.segmenters import models
from tests.networks import TINY

find_model = models.find_model
models.find_model = lambda name, *rest: TINY if name == TINY.name else find_model(name, *rest)
scripts = {"process_image": process_image, "process_video": process_video}
for script, arguments in json.load(sys.stdin):
    if cli.run_main(scripts[script].main, arguments):
        sys.exit(f"failed: {script} {arguments}")
"""

LITE_MEDSAM = ["--model", "lite_medsam", "--device", "cpu", "-b", "--objects", "per_label"]
SAM2 = ["--model", TINY.name, "--checkpoint_file_path", "{folder}/tiny_random.pt", "--device", "cpu"]
SEED = ["--seed_image_file_path", "{folder}/a.nii.gz", "--seed_masks_file_path", "{folder}/a_mask.nii.gz"]
CONFIGURATIONS = {
    "region_growing": ("process_video", ["--method", "region_growing", "-b", "--objects", "per_label", "-d"]),
    # the slices below are encoded again in every process; the chain takes those kept
    "lite_medsam_chain": (
        "process_video",
        [*LITE_MEDSAM, "--precision", "fp32", "--embeddings_cache", "{folder}/embeddings"],
    ),
    "lite_medsam_slices_bf16": ("process_image", [*LITE_MEDSAM, "--precision", "bf16"]),
    "lite_medsam_slices": ("process_image", [*LITE_MEDSAM, "--precision", "fp32"]),
    "lite_medsam_slices_kept": (
        "process_image",
        [*LITE_MEDSAM, "--precision", "fp32", "--embeddings_cache", "{folder}/embeddings"],
    ),
    "sam2_memory": ("process_video", [*SAM2, "-b", "--precision", "fp32"]),
    "sam2_memory_kept": (
        "process_video",
        [*SAM2, "-b", "--precision", "fp32", "--embeddings_cache", "{folder}/embeddings"],
    ),
    "sam2_memory_bf16": ("process_video", [*SAM2, "-b", "--objects", "per_label", "--precision", "bf16"]),
    "sam2_memory_seed": ("process_video", [*SAM2, *SEED, "-b", "--precision", "fp32"]),
    "sam2_slices": ("process_image", [*SAM2, "-b", "--precision", "fp32"]),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the scans and lung masks of two patients, a and b, and the weights of a tiny SAM 2."""
    folder = tmp_path_factory.mktemp("determinism")
    for seed, name in enumerate("ab"):
        volume, labels = chest_ct((56, 64, 3), seed)
        write_volume(folder / f"{name}.nii.gz", volume)
        write_mask(folder / f"{name}_mask.nii.gz", labels, volume)
    save_random_weights(folder / TINY.checkpoint)
    return folder


def command_of(name: str, folder: Path, volumes: str, results: Path) -> tuple[str, list[str]]:
    """Return (script, arguments) of a configuration on volumes, by their letters, in this order."""
    script, arguments = CONFIGURATIONS[name]
    arguments = [argument.format(folder=folder) for argument in arguments]
    images = [str(folder / f"{letter}.nii.gz") for letter in volumes]
    masks = [str(folder / f"{letter}_mask.nii.gz") for letter in volumes]
    return script, ["-i", *images, "-m", *masks, "--swap_axes", "-w", *arguments, "-r", str(results / name / "out")]


def without_times(content: bytes) -> str:
    """Return a CSV cell by cell as it was written, without the columns and the rows of times."""
    header, *rows = csv.reader(io.StringIO(content.decode(), newline=""))
    kept = [index for index, name in enumerate(header) if name not in TIMES | TIMES_JOINED]
    return "\n".join(",".join(row[index] for index in kept) for row in (header, *rows) if row[0] not in TIMES)


def written_to(folder: Path) -> dict[str, bytes | str | dict]:
    """Return what each file below a folder holds, by its path without the time stamp; times are left out."""
    contents: dict[str, bytes | str | dict] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = re.sub(r"_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", "", str(path.relative_to(folder)))
        assert name not in contents
        contents[name] = path.read_bytes()
        if path.suffix == ".csv":
            contents[name] = without_times(contents[name])
        elif path.name.startswith("run_"):
            manifest = json.loads(contents[name])
            contents[name] = {key: value for key, value in manifest.items() if key not in OF_THE_MOMENT}
    return contents


def assert_same(first: Path, second: Path) -> None:
    """Compare two folders of results, each joined to tables first, file by file."""
    for folder in (first, second):
        if not list((folder / "out").glob("joint_raw_data_*.csv")):
            assert cli.run_main(join_results.main, ["-r", str(folder / "out")]) == 0
    one, other = written_to(first), written_to(second)
    assert list(one) == list(other)
    assert [name for name in one if one[name] != other[name]] == []
    masks = [name for name in one if Path(name).name.startswith("masks.")]
    assert masks == ["out/a/masks.nii.gz", "out/b/masks.nii.gz"] and one[masks[0]] != one[masks[1]]
    assert {"out/a/contact_sheet.png", "out/a/sam_prompts.json", "out/joint_raw_data.csv", "out/results.csv"} <= set(
        one
    )


@pytest.mark.parametrize("name", ["region_growing", "sam2_memory"])
def test_a_volume_gives_the_same_alone_and_after_another(folder, tmp_path, monkeypatch, name):
    find_model = models.find_model
    monkeypatch.setattr(
        models, "find_model", lambda model, *rest: TINY if model == TINY.name else find_model(model, *rest)
    )
    for volumes, results in (("ab", "together"), ("b", "alone"), ("a", "alone")):
        script, arguments = command_of(name, folder, volumes, tmp_path / results)
        assert cli.run_main(SCRIPTS[script].main, arguments) == 0
    assert_same(tmp_path / "together" / name, tmp_path / "alone" / name)


@pytest.fixture(scope="module")
def four_processes(folder) -> Path:
    """Results of every configuration: in one process; then, at once, all in reverse order and each volume by itself."""
    names = list(CONFIGURATIONS)
    # as many threads as users have, which do not keep a core busy while they wait for each other
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    environment["OMP_WAIT_POLICY"] = "passive"

    def start(volumes: str, results: str, names: list[str]) -> subprocess.Popen:
        commands = [command_of(name, folder, volumes, folder / results) for name in names]
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", DRIVER],
            cwd=REPOSITORY_FOLDER,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        process.stdin.write(json.dumps(commands))
        process.stdin.close()
        process.stdin = None
        return process

    for group in (
        [("ab", "together", names)],
        [("ba", "reversed", names[::-1]), ("a", "at_once", names), ("b", "at_once", names)],
    ):
        processes = [start(*one) for one in group]
        for process in processes:
            error = process.communicate()[1]
            assert process.returncode == 0 and "Warning" not in error, error
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("other", ["reversed", "at_once"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_process_gives_the_same(four_processes, name, other):
    assert_same(four_processes / "together" / name, four_processes / other / name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lite_medsam_slices", "sam2_memory"])
def test_kept_embeddings_change_nothing(four_processes, name):
    for results in ("together", "reversed", "at_once"):
        assert_same(four_processes / "together" / name, four_processes / results / f"{name}_kept")
