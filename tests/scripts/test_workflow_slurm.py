"""The workflow over a data set comes through the loss of a node, with the results of a run that nobody disturbed."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kill_and_resume import hidden_files
from tests.slurm_cluster import Job, SlurmCluster, wait_for, why_not
from tests.warm_python import run_script
from tests.workflow_runs import (
    GROWING,
    ROOT,
    assert_same_results,
    find_snakemake,
    listed,
    runs_of,
    workflow_command,
    workflow_environment,
    write_chests,
)

reason = why_not() or (None if find_snakemake() else "no Snakemake; scripts/setup_workflow.sh installs it")
# a batch is halfway for a second or so: on a machine that is busy with other tests that moment can be missed
pytestmark = [pytest.mark.slow, pytest.mark.skipif(reason is not None, reason=str(reason)), pytest.mark.flaky(reruns=2)]

NAMES = [f"p{number}" for number in range(9)]
# so large that a batch lasts some seconds
SHAPE = (120, 160, 28)
# until a test gives up: on a machine that does much else all takes many times as long
SECONDS = 600
# no waiting for the sake of a large cluster
HERE = "--slurm-init-seconds-before-status-checks 2 --latency-wait 5".split()


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("chests")
    write_chests(folder, NAMES, SHAPE)
    return folder / "data"


@pytest.fixture(scope="module")
def by_hand(data, tmp_path_factory) -> Path:
    """Joined results of the script, run by hand over the volumes."""
    results = tmp_path_factory.mktemp("by_hand")
    command = [
        str(ROOT / "process_video.py"),
        "--names",
        *NAMES,
        "--swap_axes",
        "--method",
        "region_growing",
        "--window",
        "lung",
        "--use_bounding_box",
        "--objects",
        "per_label",
        "-r",
        str(results),
        "-i",
        *(str(data / name / "ct.nii.gz") for name in NAMES),
        "-m",
        *(str(data / name / "lungs.nii.gz") for name in NAMES),
    ]
    for words in (command, [str(ROOT / "join_results.py"), "-r", str(results)]):
        run_script(words, ROOT).check_returncode()
    return results


@pytest.fixture
def folder(data, tmp_path) -> Path:
    """A folder to run the workflow in."""
    (tmp_path / "data").symlink_to(data)
    return tmp_path


@pytest.fixture
def cluster():
    # a core for each node: a batch each, and one that waits
    with tempfile.TemporaryDirectory(prefix="slurm_") as short, SlurmCluster(Path(short), cpus=1, gpus=1) as running:
        yield running


def start_workflow(folder: Path, cluster: SlurmCluster, *flags: str) -> subprocess.Popen:
    command = workflow_command(folder, {**GROWING, "batch_size": 3, "gpu": 1}, *HERE, *flags, profile="slurm")
    environment = {**workflow_environment(killed=True), **cluster.environment}
    with (folder / "said.txt").open("a") as output:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)


def said(folder: Path) -> str:
    return (folder / "said.txt").read_text()[-4000:]


def half_done(folder: Path, cluster: SlurmCluster) -> Job | None:
    """Return a job on a node, of whose batch some volumes are done and others are not."""
    for job in cluster.jobs():
        batch = re.fullmatch(r"rule_process_wildcards_(\d+)", job.comment)
        if batch and job.state == "RUNNING":
            names = {name for name, number in listed(folder / "out").items() if number == int(batch[1])}
            done = {path.parent.name for path in (folder / "out" / "results").glob("*/run_*.json")}
            if 0 < len(done & names) < len(names):
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

    assert wait_for(acted, SECONDS, every=0.02) and found, said(folder)
    return found[0]


def check_results(folder: Path, expected: Path) -> None:
    """Every volume was done once, and tables and masks are those of a run by hand."""
    results = folder / "out" / "results"
    assert {path.name: len(list(path.glob("raw_data_*.csv"))) for path in results.glob("*/")} == dict.fromkeys(NAMES, 1)
    assert runs_of(results) == dict.fromkeys(NAMES, 1)
    assert_same_results(results, expected)
    assert hidden_files(results) == []
    assert all(name in (folder / "out" / "report.html").read_text() for name in NAMES)


@pytest.mark.parametrize("way", ["take_down", "kill_node"])
def test_a_node_is_lost_in_the_middle_of_a_batch(folder, cluster, by_hand, way):
    """Taken down by its administrator, or gone without a word: its job runs again on the other one."""
    workflow = start_workflow(folder, cluster)
    try:
        lost = when_halfway(folder, cluster, workflow, getattr(cluster, way))
        assert workflow.wait(timeout=SECONDS) == 0, said(folder)
    finally:
        workflow.kill()
    last = {job.number: job for job in cluster.jobs()}
    again = last.pop(lost.number)
    assert (again.restarts, again.state) == (1, "COMPLETED")
    assert again.node not in ("", lost.node)
    assert {(job.restarts, job.state) for job in last.values()} == {(0, "COMPLETED")}
    assert {job.gpus for job in cluster.jobs() if job.comment.startswith("rule_process_")} == {1}
    assert {job.gpus for job in cluster.jobs() if not job.comment.startswith("rule_process_")} == {0}
    check_results(folder, by_hand)

    # and there is nothing left to do
    submitted = cluster.jobs()
    assert start_workflow(folder, cluster).wait(timeout=SECONDS) == 0, said(folder)
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

    assert start_workflow(folder, cluster).wait(timeout=SECONDS) == 1
    assert "--unlock" in said(folder)
    assert start_workflow(folder, cluster, "--unlock").wait(timeout=SECONDS) == 0
    second = start_workflow(folder, cluster)
    try:
        assert second.wait(timeout=SECONDS) == 0, said(folder)
    finally:
        second.kill()
    assert wait_for(lambda: {job.state for job in cluster.jobs()} == {"COMPLETED"}, 60)
    assert {job.number for job in cluster.jobs()} > set(left)
    check_results(folder, by_hand)
