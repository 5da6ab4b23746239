"""The workflow over a data set comes through the loss of a node, with the results of a run that nobody disturbed."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cases import two_blocks, write_nifti
from tests.kill_and_resume import hidden_files, joint_tables, joined
from tests.slurm_cluster import Job, SlurmCluster, wait_for, why_not
from tests.workflow_runs import find_snakemake

ROOT = Path(__file__).resolve().parent.parent
reason = why_not() or (None if find_snakemake() else "no Snakemake; scripts/setup_workflow.sh installs it")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(reason is not None, reason=str(reason))]

VOLUMES = 12
BATCH_SIZE = 4
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


@dataclass(frozen=True)
class Loss:
    """What was going on when a node was lost."""

    job: Job
    done: set[str]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with a data set and its settings."""
    for number in range(VOLUMES):
        scan, labels = (block.repeat(4, axis=0).repeat(4, axis=1).repeat(4, axis=2) for block in two_blocks())
        scan[20 + number, 32, 12] = 40  # a hole in the object, elsewhere in each
        write_nifti(tmp_path / "data" / f"p{number:02}_ct.nii.gz", scan)
        write_nifti(tmp_path / "data" / f"p{number:02}_lungs.nii.gz", labels)
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


def half_done(folder: Path, cluster: SlurmCluster) -> Loss | None:
    """Return a job on a node, of whose batch some volumes are done and others are not."""
    for job in cluster.jobs():
        batch = re.fullmatch(r"rule_process_wildcards_(\d+)", job.comment)
        if batch and job.state == "RUNNING":
            names = names_in_batch(folder, batch[1])
            if 0 < len(done(folder) & names) < len(names):
                return Loss(job, done(folder) & names)
    return None


def lose_a_node(folder: Path, cluster: SlurmCluster, workflow: subprocess.Popen, lose) -> Loss:
    """Wait for a job that is halfway, and lose its node."""
    losses: list[Loss] = []

    def found() -> bool:
        if loss := half_done(folder, cluster):
            lose(loss.job.node)
            losses.append(loss)
        return bool(losses) or workflow.poll() is not None

    assert wait_for(found, 120, every=0.02) and losses, said(folder)
    return losses[0]


def undisturbed(folder: Path) -> Path:
    """Run the script by hand over the same volumes, and return its results."""
    names = sorted(path.name.removesuffix("_ct.nii.gz") for path in (folder / "data").glob("*_ct.nii.gz"))
    command = [
        sys.executable, str(ROOT / "process_video.py"), "--names", *names, "--swap_axes", "--method", "region_growing",
        "--window", "lung", "--use_bounding_box", "--objects", "per_label", "-r", "by_hand",
        "-i", *(f"data/{name}_ct.nii.gz" for name in names), "-m", *(f"data/{name}_lungs.nii.gz" for name in names),
    ]  # fmt: skip
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "by_hand"


def check(folder: Path, cluster: SlurmCluster, loss: Loss) -> None:
    """The lost job ran again elsewhere, nothing was done twice, and the tables are those of a run by hand."""
    last = {job.number: job for job in cluster.jobs()}
    again = last.pop(loss.job.number)
    assert (again.restarts, again.state) == (1, "COMPLETED")
    assert again.node not in ("", loss.job.node)
    # jobs that had not begun went to the other node at once
    assert {(job.restarts, job.state) for job in last.values()} == {(0, "COMPLETED")}

    results = folder / "out" / "results"
    expected = joined(undisturbed(folder))
    assert list(expected["joint_results"]["image"]) == [f"p{number:02}" for number in range(VOLUMES)]
    found = joint_tables(results)
    assert found.keys() == expected.keys()
    for name, table in expected.items():
        assert found[name].equals(table), name
    assert {name: len(list((results / name).glob("raw_data_*.csv"))) for name in done(folder)} == {
        f"p{number:02}": 1 for number in range(VOLUMES)
    }
    assert hidden_files(results) == []
    assert (folder / "out" / "report.html").stat().st_size > 1000


@pytest.mark.parametrize("way", ["take_down", "kill_node"])
def test_a_node_is_lost_in_the_middle_of_a_batch(folder, cluster, way):
    """Taken down by its administrator, or gone without a word."""
    workflow = start_workflow(folder, cluster)
    try:
        loss = lose_a_node(folder, cluster, workflow, getattr(cluster, way))
        assert workflow.wait(timeout=180) == 0, said(folder)
    finally:
        workflow.kill()
    check(folder, cluster, loss)

    # and there is nothing left to do
    submitted = cluster.jobs()
    assert start_workflow(folder, cluster).wait(timeout=60) == 0, said(folder)
    assert cluster.jobs() == submitted
