"""scripts/Snakefile on one machine: from scans to the report, again, with more volumes, with broken ones, with
a seed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import nibabel
import pytest

from tests import kill_workflow
from tests.scans import made_dicom
from tests.scripts.test_dataset_scripts import Checkout
from tests.warm_python import run_script
from tests.workflow_runs import (
    GROWING,
    ROOT,
    assert_same_results,
    failed_in,
    find_snakemake,
    listed,
    newest,
    run_workflow,
    runs_of,
    tables_of,
    workflow_command,
    workflow_environment,
    write_chests,
)

NAMES = ["anna", "bert", "carl"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_snakemake() is None, reason="no Snakemake; scripts/setup_workflow.sh installs it"),
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """Results of the volumes of ``NAMES``, by the scripts themselves."""
    folder = tmp_path_factory.mktemp("plain")
    write_chests(folder, NAMES)
    files = {kind: [str(folder / "data" / name / f"{kind}.nii.gz") for name in NAMES] for kind in ("ct", "lungs")}
    volumes = ["--image_file_path", *files["ct"], "--masks_file_path", *files["lungs"], "--names", *NAMES]
    what = ["--swap_axes", "--window", "lung", "--use_bounding_box", "--objects", "per_label"]
    results = folder / "results"
    video = ["process_video.py", *volumes, *what, "--method", "region_growing", "-r", str(results)]
    for command in (video, ["join_results.py", "-r", str(results)]):
        run_script([str(ROOT / command[0]), *command[1:]], folder).check_returncode()
    return results


def test_from_scans_to_the_report_and_again(tmp_path: Path, plain: Path) -> None:
    write_chests(tmp_path, NAMES)
    settings = {**GROWING, "batch_size": 2, "output_folder": "the output"}  # a blank in the path
    planned = run_workflow(tmp_path, settings, "--dry-run")
    out = tmp_path / "the output"
    assert "rule convert" in planned and not out.exists()

    said = run_workflow(tmp_path, settings)
    assert "3 of 3 volumes segmented" in said
    assert listed(out) == {"anna": 1, "bert": 1, "carl": 2}
    assert sorted(path.name for path in (out / "batches").iterdir()) == [
        "convert_00001.done",
        "convert_00002.done",
        "process_00001.done",
        "process_00002.done",
    ]
    assert len(list((out / "working_data").glob("image_*.npz"))) == 3
    assert "<html" in (out / "report.html").read_text() and "3 volumes" in (out / "logs" / "report.log").read_text()
    assert_same_results(out / "results", plain)

    left = out / "working_data" / ".part-0123456789ab-image_anna.npz"  # by a conversion that was killed
    left.touch()
    said = run_workflow(tmp_path, settings)
    assert not left.exists()
    assert "rule process" not in said and runs_of(out / "results") == dict.fromkeys(NAMES, 1)

    run_workflow(tmp_path, settings, "--report", "workflow.html")
    assert "report.html" in (tmp_path / "workflow.html").read_text()


@pytest.mark.parametrize("convert", [True, False])
def test_folders_of_dicom_are_volumes(tmp_path: Path, convert: bool) -> None:
    for name in ("anna", "bert"):
        for number, of_scan in ((3, 6), (4, 5)):
            slices = made_dicom.series(of_scan, series=f"{name} {number}", SeriesNumber=number)
            made_dicom.write(tmp_path / "data" / name / str(number), slices)
    box = {"row_min": 1, "column_min": 1, "row_max": 3, "column_max": 4}
    prompts = {"prompts": [{"slice": 2, "box": box}]}
    (tmp_path / "prompts").mkdir()
    for name in ("anna", "bert"):
        (tmp_path / "prompts" / f"{name}.json").write_text(json.dumps(prompts))
    settings = {"images": "data/{name}", "prompts": "prompts/{name}.json", "series": 4, "method": "region_growing"}
    said = run_workflow(tmp_path, {**settings, "swap_axes": True, "convert": convert, "output_folder": "out"})
    assert "2 of 2 volumes segmented" in said
    for name in ("anna", "bert"):
        (mask,) = (tmp_path / "out" / "results" / name).glob("masks_*.nii.gz")
        assert nibabel.load(mask).shape == (6, 5, 5)


def test_volumes_that_come_and_go_leave_other_batches_alone(tmp_path: Path) -> None:
    write_chests(tmp_path, NAMES)
    settings = {**GROWING, "batch_size": 2, "convert": False}
    run_workflow(tmp_path, settings)
    out = tmp_path / "out"
    shutil.copytree(tmp_path / "data" / "anna", tmp_path / "data" / "alba")  # first by name
    said = run_workflow(tmp_path, settings)
    assert listed(out) == {"alba": 3, "anna": 1, "bert": 1, "carl": 2}
    assert said.count("rule process:") == 1 and "4 of 4 volumes segmented" in said
    assert runs_of(out / "results") == dict.fromkeys(["alba", *NAMES], 1)
    assert len(tables_of(out / "results")["joint_results"]) == 4

    # one left out: its batch is looked at, and nothing is segmented; its results must not stay in the tables unseen
    said = run_workflow(tmp_path, {**settings, "exclude": ["b*"]}, code=1)
    assert "out/results/bert: is of no volume of the data set" in said
    shutil.rmtree(out / "results" / "bert")
    assert "3 of 3" in run_workflow(tmp_path, {**settings, "exclude": ["b*"]}, "--forcerun", "join")
    assert runs_of(out / "results") == dict.fromkeys(["alba", "anna", "carl"], 1)
    # another setting does all of them again
    run_workflow(tmp_path, {**settings, "exclude": ["b*"], "flags": "--use_bounding_box"})
    assert runs_of(out / "results") == dict.fromkeys(["alba", "anna", "carl"], 2)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_broken_volume_is_counted_and_done_again_when_it_is_mended(
    tmp_path: Path, plain: Path, batch_size: int
) -> None:
    write_chests(tmp_path, NAMES)
    scan = tmp_path / "data" / "carl" / "ct.nii.gz"
    whole = scan.read_bytes()
    scan.write_bytes(whole[: len(whole) // 2])
    settings = {**GROWING, "batch_size": batch_size}
    said = run_workflow(tmp_path, settings, code=1)
    out = tmp_path / "out"
    assert "2 of 3 volumes segmented" in said
    [(name, reason)] = failed_in(out).items()
    assert name == "carl" and reason.startswith("data/carl/ct.nii.gz: ") and f"carl: {reason}" in said
    table = tables_of(out / "results")["joint_results"].set_index("image")
    assert table["failed"].to_dict() == {"anna": 0, "bert": 0, "carl": 1}
    assert "carl" in (out / "report.html").read_text()

    scan.write_bytes(whole)
    last = 1 if batch_size == 3 else 3
    again = f"out/batches/process_{last:05}.done"
    assert f"the same command with --forcerun {again}" in said
    said = run_workflow(tmp_path, settings, "--forcerun", again)
    assert "3 of 3 volumes segmented" in said and failed_in(out) == {}
    assert runs_of(out / "results") == {"anna": 1, "bert": 1, "carl": 2}  # the failure, and the result
    assert tables_of(out / "results")["joint_results"].equals(tables_of(plain)["joint_results"])


def test_one_seed_for_the_data_set(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "check out")
    shutil.copytree(ROOT / "paper", checkout.folder / "paper")
    checkout.add_tiny_sam2()
    write_chests(checkout.folder, NAMES, (40, 44, 4))
    settings = {
        **GROWING,
        "method": None,
        "model": "tiny_random",
        "batch_size": 2,
        "threads": 2,
        "flags": ["--use_bounding_box", "--device", "cpu"],
        "seed": {"image": "data/bert/ct.nii.gz", "masks": "data/bert/lungs.nii.gz", "slice": "centre"},
    }
    command = workflow_command(checkout.folder, settings, "--cores", 2)
    command[command.index("--snakefile") + 1] = str(checkout.folder / "scripts" / "Snakefile")
    done = subprocess.run(
        command, cwd=checkout.folder, env=workflow_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    out = checkout.folder / "out"
    assert (done.stdout + done.stderr).count("rule seed_memory:") == 1 and (out / "seed.safetensors").is_file()
    manifests = {name: json.loads(newest(out / "results" / name, "run_*.json").read_text()) for name in NAMES}
    assert {name: one["seed"]["seed_patient"] for name, one in manifests.items()} == {
        "anna": False,
        "bert": True,
        "carl": False,
    }
    assert {(one["threads"], one["arguments"]["threads"]) for one in manifests.values()} == {(2, 2)}
    assert len({one["seed"]["seeds"][0]["slice_sha256"] for one in manifests.values()}) == 1
    table = tables_of(out / "results")["results"].set_index("metric")
    assert table.loc["prompts_used", "avg"] == 1
    assert "WARNING" not in (out / "logs" / "process_00001.log").read_text()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"colour": "red"}, "colour: no such setting of a data set"),
        ({"images": "nowhere/{name}.nii.gz"}, "images: nowhere/{name}.nii.gz: no such file"),
        ({"masks": "data/{name}/none.nii.gz"}, "masks: data/anna/none.nii.gz: no such file"),
        ({"flags": "--no_such_flag"}, "unrecognized arguments: --no_such_flag"),
        ({"method": None, "model": "no_such_model"}, "no_such_model"),
    ],
)
def test_a_mistake_ends_it_in_a_line_before_any_volume(tmp_path: Path, change: dict, says: str) -> None:
    write_chests(tmp_path, NAMES[:2])
    said = run_workflow(tmp_path, {**GROWING, **change}, code=1)
    assert says in said and "Traceback" not in said
    assert "rule convert" not in said and not (tmp_path / "out" / "results").exists()


def test_killed_and_started_again_it_gives_what_the_shell_scripts_give(tmp_path: Path) -> None:
    """All processes at once, as by a power cut; then the engine alone, whose jobs go on while the next engine
    starts.
    """
    kill_workflow.data_set(tmp_path, 6)
    kill_workflow.run_shell_scripts(tmp_path, "region_growing")
    for done, engine_alone in ((3, False), (1, True)):
        found = kill_workflow.trial(tmp_path, "region_growing", 6, done, engine_alone)
        assert found["volumes done at the kill"] >= done
        assert (found["volumes"], found["run twice"], found["left behind"]) == (6, 0, 0)


def test_working_data_of_an_earlier_day_is_not_taken_for_the_scan(tmp_path: Path) -> None:
    write_chests(tmp_path, NAMES[:1])
    run_workflow(tmp_path, GROWING)
    results = tmp_path / "out" / "results" / "anna"
    paths = []
    for _ in range(2):
        paths.append(json.loads(newest(results, "run_*.json").read_text())["image"]["path"])
        write_chests(tmp_path / "another", NAMES[:2])
        shutil.copy(tmp_path / "another" / "data" / "bert" / "ct.nii.gz", tmp_path / "data" / "anna" / "ct.nii.gz")
        shutil.rmtree(tmp_path / "another")
        run_workflow(tmp_path, {**GROWING, "convert": False})
    assert (tmp_path / "out" / "working_data" / "image_anna.npz").is_file()
    assert paths == ["out/working_data/image_anna.npz", "data/anna/ct.nii.gz"]


RECORDING = """#!/bin/sh
# stands for Python: notes when a step of a batch begins and ends, and which GPU it sees, and writes that it is done
case $1 in
    *run_batch.py)
        case $2 in convert | process)
            echo "$2 begin" >>"$4/steps"
            sleep 0.4
            echo "$2 end" >>"$4/steps"
            : >"$4/batches/$2_$6.done" ;;
        esac ;;
    *report.py) : >"$3" && : >"${3%.html}.tex" ;;
esac
"""


@pytest.mark.parametrize(("gpus", "most"), [(None, 1), (1, 1), (2, 2)])
def test_no_two_jobs_share_a_gpu_unless_asked(tmp_path: Path, gpus: int | None, most: int) -> None:
    write_chests(tmp_path, ["a", "b", "c", "d"], (32, 32, 3))
    python = tmp_path / "python"
    python.write_text(RECORDING)
    python.chmod(0o755)
    command = workflow_command(tmp_path, {**GROWING, "gpu": 1, "batch_size": 1}, "--cores", 4)
    command += [] if gpus is None else ["--resources", f"gpu={gpus}"]
    environment = {**workflow_environment(), "POSE_PYTHON": str(python)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    at_once = {"convert": [0], "process": [0]}
    for line in (tmp_path / "out" / "steps").read_text().splitlines():
        step, what = line.split()
        at_once[step].append(at_once[step][-1] + (1 if what == "begin" else -1))
    assert max(at_once["process"]) == most and len(at_once["process"]) == 9
    assert max(at_once["convert"]) > 1  # what needs no GPU does not wait for one
