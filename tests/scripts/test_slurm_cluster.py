"""The small Slurm starts, loses a node in two ways, gets it back, and leaves nothing running."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests import slurm_cluster
from tests.slurm_cluster import Job, SlurmCluster, configuration, free_ports, wait_for, why_not

ROOT = Path(__file__).resolve().parents[2]
with_slurm = pytest.mark.skipif(why_not() is not None, reason=f"no Slurm: {why_not()}")


@pytest.fixture
def short_path():
    """A folder whose path is short enough for sockets below it."""
    with tempfile.TemporaryDirectory(prefix="slurm_") as folder:
        yield Path(folder)


@pytest.fixture
def cluster(short_path):
    with SlurmCluster(short_path, gpus=1) as running:
        yield running
    assert running.processes() == []


def submit(cluster: SlurmCluster, command: str, *flags: str) -> int:
    """Submit a job of one core and return its number."""
    where = f"--output={cluster.folder}/job_%j.txt"
    return int(cluster.run("sbatch", "--parsable", "--mem=100", where, *flags, f"--wrap={command}"))


def waits_for(path: Path) -> str:
    """Return a job that ends when the file is there, as a step of its own."""
    return f"srun -n1 sh -c 'until [ -e {path} ]; do sleep 0.1; done; echo $SLURMD_NODENAME'"


def job(cluster: SlurmCluster, number: int) -> Job:
    return next(each for each in cluster.jobs() if each.number == number)


def becomes(cluster: SlurmCluster, number: int, state: str, node: str, restarts: int = 0, gpus: int = 0) -> bool:
    expected = Job(number, state, node, restarts, "", gpus)
    return wait_for(lambda: job(cluster, number) == expected, seconds=60)


def output(cluster: SlurmCluster, number: int) -> str:
    return (cluster.folder / f"job_{number}.txt").read_text()


def test_the_reason_names_what_is_missing(tmp_path, monkeypatch):
    for name in ("munged", "slurmctld", "srun", "scontrol", "sinfo"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert why_not() == "not installed: slurmd, sbatch (Debian: apt-get install slurm-wlm munge)"
    for name in ("slurmd", "sbatch"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert why_not() == "slurmd runs its jobs only as root"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert why_not() is None


def test_each_node_is_configured_with_its_port():
    lines = configuration(Path("/f"), [7000, 7001, 7002], cpus=3, memory_mb=500, gpus=0).splitlines()
    nodes = [line.split(" NodeAddr=")[1] for line in lines if line.startswith("NodeName=")]
    assert nodes == [f"127.0.0.1 Port={port} CPUs=3 RealMemory=500" for port in (7001, 7002)]
    assert "SlurmctldPort=7000" in lines
    assert "PartitionName=main Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP" in lines


def test_ports_differ():
    assert len(set(free_ports(20))) == 20


def test_programs_find_the_cluster_and_nothing_of_an_outer_job(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SBATCH_PARTITION", "outer")
    monkeypatch.setenv("PATH", "/usr/bin")
    names = ("SLURM_", "SBATCH_", "PATH")
    found = {key: value for key, value in SlurmCluster(tmp_path).environment.items() if key.startswith(names)}
    assert found == {"SLURM_CONF": f"{tmp_path}/slurm.conf", "PATH": f"{tmp_path}/bin:/usr/bin"}


@pytest.mark.slow
@with_slurm
def test_a_node_that_is_taken_down_loses_its_job_to_the_other(cluster, tmp_path):
    go = tmp_path / "go"
    first, second = (submit(cluster, waits_for(go), "--exclusive") for _ in range(2))
    assert becomes(cluster, first, "RUNNING", "node1") and becomes(cluster, second, "RUNNING", "node2")
    assert wait_for(lambda: len(cluster.processes("node1")) > 2, 10)

    cluster.take_down("node1")
    assert becomes(cluster, first, "PENDING", "", restarts=1)
    assert cluster.node_states()["node1"] == "down"
    # only the daemon is left
    assert wait_for(lambda: len(cluster.processes("node1")) == 1, 20)
    go.touch()
    assert becomes(cluster, first, "COMPLETED", "node2", restarts=1)
    assert becomes(cluster, second, "COMPLETED", "node2")
    assert output(cluster, first).splitlines()[-1] == "node2"

    cluster.resume("node1")
    third = submit(cluster, "srun -n1 echo $SLURM_JOB_ID")
    assert becomes(cluster, third, "COMPLETED", "node1")
    assert output(cluster, third) == f"{third}\n"


@pytest.mark.slow
@with_slurm
def test_a_node_that_dies_is_missed_and_loses_its_job_to_the_other(cluster, tmp_path):
    number = submit(cluster, waits_for(tmp_path / "go"))
    assert becomes(cluster, number, "RUNNING", "node1")
    assert wait_for(lambda: len(cluster.processes("node1")) > 2, 10)
    cluster.kill_node("node1")
    assert cluster.processes("node1") == []
    assert job(cluster, number) == Job(number, "RUNNING", "node1", 0, "")
    assert becomes(cluster, number, "RUNNING", "node2", restarts=1)
    (tmp_path / "go").touch()
    assert becomes(cluster, number, "COMPLETED", "node2", restarts=1)
    assert cluster.node_states() == {"node1": "down*", "node2": "idle"}
    cluster.take_down("node2")
    cluster.kill_node("node2")
    for node in ("node1", "node2"):
        cluster.resume(node)
    assert cluster.node_states() == {"node1": "idle", "node2": "idle"}


@pytest.mark.slow
@with_slurm
def test_each_gpu_has_one_job(cluster, tmp_path):
    numbers = [submit(cluster, waits_for(tmp_path / "go"), "--gpus=1") for _ in range(3)]
    assert becomes(cluster, numbers[0], "RUNNING", "node1", gpus=1)
    assert becomes(cluster, numbers[1], "RUNNING", "node2", gpus=1)
    assert becomes(cluster, numbers[2], "PENDING", "", gpus=1)
    (tmp_path / "go").touch()
    assert wait_for(lambda: {each.state for each in cluster.jobs()} == {"COMPLETED"}, 60)


@pytest.mark.slow
@with_slurm
def test_jobs_end_with_the_cluster(cluster, tmp_path):
    number = submit(cluster, f"(trap '' TERM; {waits_for(tmp_path / 'never')}) & wait")
    assert becomes(cluster, number, "RUNNING", "node1")
    assert wait_for(lambda: len(cluster.processes("node1")) > 2, 10)
    cluster.stop()
    assert cluster.processes() == []


@pytest.mark.slow
@with_slurm
def test_a_cluster_that_does_not_start_tells_why_and_leaves_nothing(short_path, monkeypatch):
    monkeypatch.setattr(slurm_cluster, "SECONDS_TO_START", 2)
    cluster = SlurmCluster(short_path, gpus=1)
    monkeypatch.setattr(cluster, "_write_gpus", lambda count: (short_path / "gres.conf").write_text(""))
    with pytest.raises(RuntimeError, match=r"(?s)not idle after 2 s: node1, node2.*gres/gpu count reported lower"):
        cluster.start()
    assert cluster.processes() == []
    monkeypatch.undo()
    with SlurmCluster(short_path) as again:
        assert again.node_states() == {"node1": "idle", "node2": "idle"}
        with pytest.raises(RuntimeError, match="a cluster is running here"):
            SlurmCluster(short_path).start()
        assert len(again.processes()) >= 4


@pytest.mark.slow
@with_slurm
def test_started_and_stopped_from_a_shell(short_path):
    command = [sys.executable, "-m", "tests.slurm_cluster"]
    script = f'eval "$({" ".join(command)} start {short_path} --nodes 3)" && sinfo --noheader --format=%D_%T'
    done = subprocess.run(["sh", "-c", script], cwd=ROOT, capture_output=True, text=True)
    try:
        assert (done.returncode, done.stdout) == (0, "3_idle\n"), done.stderr
        assert len(SlurmCluster(short_path).processes()) >= 5
    finally:
        subprocess.run([*command, "stop", str(short_path)], cwd=ROOT, check=True)
    assert SlurmCluster(short_path).processes() == []


@pytest.mark.slow
@with_slurm
def test_a_program_that_ends_early_stops_its_cluster(short_path):
    code = (
        "import sys; from tests.slurm_cluster import SlurmCluster; "
        f"SlurmCluster({str(short_path)!r}).__enter__(); print('up'); sys.exit(3)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "up\n"), done.stderr
    assert SlurmCluster(short_path).processes() == []


def test_a_folder_too_deep_for_sockets_is_refused(tmp_path):
    deep = tmp_path / ("d" * 100)
    with pytest.raises(RuntimeError, match="a socket's path has at most 107 bytes; use another folder"):
        SlurmCluster(deep).start()
