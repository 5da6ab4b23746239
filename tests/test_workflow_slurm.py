"""The workflow over a data set comes through the loss of a node, with the results of a run that nobody disturbed."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.cases import two_blocks, write_nifti
from tests.kill_and_resume import hidden_files, joint_tables, joined
from tests.slurm_cluster import Job, SlurmCluster, wait_for, why_not
from tests.workflow_runs import find_snakemake

ROOT = Path(__file__).resolve().parent.parent
reason = why_not() or (None if find_snakemake() else "no Snakemake; scripts/setup_workflow.sh installs it")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(reason is not None, reason=str(reason))]

NAMES = [f"p{number}" for number in range(9)]
BATCH_SIZE = 3
SETTINGS = f"""\
images: data/{{name}}_ct.nii.gz
masks: data/{{name}}_lungs.nii.gz
swap_axes: true
output_folder: out
script: process_video
method: region_growing
window: lung
flags: --use_bounding_box --objects per_label
batch_size: {BATCH_SIZE}
"""
# what a small cluster without accounting needs, and no waiting for the sake of a large one
HERE = "--slurm-status-command squeue --slurm-init-seconds-before-status-checks 2 --latency-wait 5".split()


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Volumes large enough for a batch to last some seconds."""
    folder = tmp_path_factory.mktemp("data")
    for number, name in enumerate(NAMES):
        scan, labels = (block.repeat(4, axis=0).repeat(4, axis=1).repeat(4, axis=2) for block in two_blocks())
        scan[20 + number, 32, 12] = 40  # a hole in the object, elsewhere in each
        write_nifti(folder / f"{name}_ct.nii.gz", scan)
        write_nifti(folder / f"{name}_lungs.nii.gz", labels)
    return folder


@pytest.fixture(scope="module")
def by_hand(data, tmp_path_factory) -> dict[str, pd.DataFrame]:
    """The joined tables of the script run by hand over the volumes."""
    results = tmp_path_factory.mktemp("by_hand")
    command = [
        sys.executable, str(ROOT / "process_video.py"), "--names", *NAMES, "--swap_axes", "--method", "region_growing",
        "--window", "lung", "--use_bounding_box", "--objects", "per_label", "-r", str(results),
        "-i", *(str(data / f"{name}_ct.nii.gz") for name in NAMES),
        "-m", *(str(data / f"{name}_lungs.nii.gz") for name in NAMES),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return joined(results)


@pytest.fixture
def folder(data, tmp_path) -> Path:
    """A folder to run the workflow in."""
    (tmp_path / "data").symlink_to(data)
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    return tmp_path


@pytest.fixture
def cluster(tmp_path):
    # a core for each node: a batch each, and one that waits
    with SlurmCluster(tmp_path / "slurm", cpus=1) as running:
        yield running


def start_workflow(folder: Path, cluster: SlurmCluster, *flags: str) -> subprocess.Popen:
    command = [
        find_snakemake(), "--snakefile", ROOT / "scripts" / "Snakefile", "--configfile", "settings.yaml",
        "--profile", ROOT / "scripts" / "profiles" / "slurm", *HERE, *flags,
    ]  # fmt: skip
    environment = {**cluster.environment, "POSE_PYTHON": os.environ.get("POSE_PYTHON", sys.executable)}
    with (folder / "said.txt").open("a") as output:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)


def said(folder: Path) -> str:
    return (folder / "said.txt").read_text()[-4000:]


def names_in_batch(folder: Path, batch: str) -> set[str]:
    with (folder / "out" / "volumes.csv").open(newline="") as file:
        return {row["name"] for row in csv.DictReader(file) if int(row["batch"]) == int(batch)}


def done(folder: Path) -> set[str]:
    return {path.parent.name for path in (folder / "out" / "results").glob("*/run_*.json")}


def half_done(folder: Path, cluster: SlurmCluster) -> Job | None:
    """Return a job on a node, of whose batch some volumes are done and others are not."""
    for job in cluster.jobs():
        batch = re.fullmatch(r"rule_process_wildcards_(\d+)", job.comment)
        if batch and job.state == "RUNNING":
            names = names_in_batch(folder, batch[1])
            if 0 < len(done(folder) & names) < len(names):
                return job
    return None


def when_halfway(folder: Path, cluster: SlurmCluster, workflow: subprocess.Popen, act: Callable[[str], object]) -> Job:
    """Wait for a job that is halfway, act on its node, and return the job as it was before."""
    found: list[Job] = []

    def acted() -> bool:
        if job := half_done(folder, cluster):
            act(job.node)
            found.append(job)
        return bool(found) or workflow.poll() is not None

    assert wait_for(acted, 120, every=0.02) and found, said(folder)
    return found[0]


def check_results(folder: Path, expected: dict[str, pd.DataFrame]) -> None:
    """Every volume was done once, and the tables are those of a run by hand."""
    results = folder / "out" / "results"
    times_done = {path.name: len(list(path.glob("raw_data_*.csv"))) for path in results.iterdir() if path.is_dir()}
    assert times_done == dict.fromkeys(NAMES, 1)
    found = joint_tables(results)
    assert list(found["joint_results"]["image"]) == NAMES
    assert found.keys() == expected.keys()
    for name, table in expected.items():
        assert found[name].equals(table), name
    assert hidden_files(results) == []
    assert (folder / "out" / "report.html").stat().st_size > 1000


@pytest.mark.parametrize("way", ["take_down", "kill_node"])
def test_a_node_is_lost_in_the_middle_of_a_batch(folder, cluster, by_hand, way):
    """Taken down by its administrator, or gone without a word: its job runs again on the other one."""
    workflow = start_workflow(folder, cluster)
    try:
        lost = when_halfway(folder, cluster, workflow, getattr(cluster, way))
        assert workflow.wait(timeout=180) == 0, said(folder)
    finally:
        workflow.kill()
    last = {job.number: job for job in cluster.jobs()}
    again = last.pop(lost.number)
    assert (again.restarts, again.state) == (1, "COMPLETED")
    assert again.node not in ("", lost.node)
    assert {(job.restarts, job.state) for job in last.values()} == {(0, "COMPLETED")}
    check_results(folder, by_hand)

    # and there is nothing left to do
    submitted = cluster.jobs()
    assert start_workflow(folder, cluster).wait(timeout=60) == 0, said(folder)
    assert cluster.jobs() == submitted


def test_the_engine_is_killed_and_called_again_while_its_jobs_run(folder, cluster, by_hand):
    """Jobs outlive it; the second call may submit batches that are at work, which share the volumes then."""
    first = start_workflow(folder, cluster)
    try:
        when_halfway(folder, cluster, first, lambda node: first.kill())
    finally:
        first.kill()
    first.wait()
    left = [job.number for job in cluster.jobs() if job.state != "COMPLETED"]
    assert left

    assert start_workflow(folder, cluster).wait(timeout=60) == 1
    assert "--unlock" in said(folder)
    assert start_workflow(folder, cluster, "--unlock").wait(timeout=60) == 0
    second = start_workflow(folder, cluster)
    try:
        assert second.wait(timeout=180) == 0, said(folder)
    finally:
        second.kill()
    assert wait_for(lambda: {job.state for job in cluster.jobs()} == {"COMPLETED"}, 60)
    assert {job.number for job in cluster.jobs()} > set(left)
    check_results(folder, by_hand)
