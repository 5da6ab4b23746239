"""A small real Slurm on this machine, to try a workflow on nodes that fail.

    python -m tests.slurm_cluster start FOLDER
    python -m tests.slurm_cluster stop FOLDER

``start`` prints the shell commands that make sbatch, squeue and srun speak to it. What it writes lies in FOLDER, the
socket of munge too, so it runs beside a cluster that the machine may already belong to.

Needs root, /proc, slurmctld, slurmd and munged (Debian: apt-get install slurm-wlm munge). Tried with Slurm 22.05.8.
"""

from __future__ import annotations

import argparse
import atexit
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "sinfo"]
SOCKET_PATH_LIMIT = 107  # of Linux; a test's own folder can be longer, so clusters have one from tempfile
SECONDS_TO_START = 40
SECONDS_TO_STOP = 10
# set for each job or by a caller that is a job itself: they would change what the programs ask the small cluster for
INHERITED = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SQUEUE_", "SINFO_")

CONFIGURATION = """\
ClusterName=small
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={port}
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmctldLogFile={folder}/log/slurmctld.log
StateSaveLocation={folder}/state
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmdLogFile={folder}/log/slurmd.%n.log
SlurmdSpoolDir={folder}/spool/%n
SlurmdParameters=config_overrides
AuthType=auth/munge
# a job that is requeued waits until its credential has expired: 121 s unless told otherwise
AuthInfo=socket={folder}/run/munge.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# jobs that wait for a time, as requeued ones do, are otherwise looked at once in a minute
SchedulerParameters=sched_interval=1,bf_interval=1
SwitchType=switch/none
MpiDefault=none
# 2 would bring a node that was taken down straight back
ReturnToService=1
# finished jobs stay in squeue, which is how they are asked for where there is no accounting database
MinJobAge=600
SlurmdTimeout=6
SlurmctldTimeout=10
KillWait=3
JobRequeue=1
"""


@dataclass(frozen=True)
class Job:
    """A job as the controller knows it; ``node`` is empty while it waits."""

    number: int
    state: str
    node: str
    restarts: int
    comment: str
    gpus: int = 0


def why_not() -> str | None:
    """Return why no cluster can be started here, or None."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: apt-get install slurm-wlm munge)"
    if os.geteuid() != 0:
        return "slurmd runs its jobs only as root"
    return None


def configuration(folder: Path, ports: list[int], cpus: int, memory_mb: int, gpus: int) -> str:
    """Return slurm.conf for a controller on the first of ``ports`` and a node on each other one."""
    host = socket.gethostname().partition(".")[0]
    names = [f"node{number}" for number in range(1, len(ports))]
    nodes = [
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={memory_mb}"
        + (f" Gres=gpu:{gpus}" if gpus else "")
        for name, port in zip(names, ports[1:], strict=True)
    ]
    partition = f"PartitionName=main Nodes={','.join(names)} Default=YES MaxTime=INFINITE State=UP"
    return CONFIGURATION.format(host=host, port=ports[0], folder=folder) + "\n".join([*nodes, partition, ""])


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_for(condition: Callable[[], bool], seconds: float, every: float = 0.1) -> bool:
    """Return whether the condition came true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(every)
    return True


class SlurmCluster:
    """A controller and its nodes; ``folder`` is all that another process needs to stop them."""

    def __init__(self, folder: Path, nodes: int = 2, cpus: int = 2, memory_mb: int = 64000, gpus: int = 0) -> None:
        """``cpus``, ``memory_mb`` and ``gpus`` are what each node claims to have; the machine need not have them."""
        self.folder = Path(folder).resolve()
        self.nodes = [f"node{number}" for number in range(1, nodes + 1)]
        self.claims = {"cpus": cpus, "memory_mb": memory_mb, "gpus": gpus}

    @property
    def environment(self) -> dict[str, str]:
        """Environment for programs that use the cluster."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(INHERITED)}
        path = f"{self.folder / 'bin'}{os.pathsep}{kept.get('PATH', os.defpath)}"
        return {**kept, "SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def __enter__(self) -> SlurmCluster:
        atexit.register(self.stop)
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        atexit.unregister(self.stop)

    def start(self) -> None:
        """Start all daemons and wait until every node is idle.

        Raises RuntimeError with the last lines of the logs when they do not come up; nothing is left running then.
        """
        self._write_files()
        try:
            self._start_daemon("munged", *self._munge_arguments())
            self._start_daemon("slurmctld", "-c")  # forget what an earlier cluster in this folder knew
            for node in self.nodes:
                self._start_daemon("slurmd", "-N", node)
            self._wait_until_idle()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every daemon and every job; nothing happens where none is left."""
        for name in ("slurmctld", "munged"):
            self._signal(self._daemon(name), signal.SIGTERM)
        if wait_for(self._end_nodes_until_gone, SECONDS_TO_STOP):
            return
        self._signal(self.processes(), signal.SIGKILL)
        if not wait_for(lambda: not self.processes(), SECONDS_TO_STOP):
            raise RuntimeError(f"still running: processes {self.processes()} of the cluster in {self.folder}")

    def take_down(self, node: str) -> None:
        """Set a node down, as an administrator does; its jobs are ended and requeued."""
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def kill_node(self, node: str) -> None:
        """Kill the daemon of a node and all its jobs, as a power cut does; the controller has to find out."""
        self._signal(self.processes(node), signal.SIGKILL)
        if not wait_for(partial(self._killed, node), SECONDS_TO_STOP):
            raise RuntimeError(f"{node} survived: processes {self.processes(node)}")

    def resume(self, node: str) -> None:
        """Bring a node back, its daemon too, and wait until it is idle."""
        if not self.processes(node):
            self._start_daemon("slurmd", "-N", node)
        if not wait_for(partial(self._resumed, node), SECONDS_TO_START):
            raise RuntimeError(f"{node} did not come back: {self.node_states()[node]}\n{self._log_tails()}")

    def run(self, *command: str) -> str:
        """Return what one of Slurm's programs prints; raises RuntimeError with its message when it fails."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{shlex.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def jobs(self) -> list[Job]:
        """Return all jobs of the last ten minutes, finished ones too, by number."""
        found = []
        for line in self.run("scontrol", "--oneliner", "show", "jobs").splitlines():
            field = dict(re.findall(r"(\S+?)=(\S*)", line))
            if "JobId" in field:
                node = field.get("BatchHost", "") if field["NodeList"] != "(null)" else ""
                gpus = int(field.get("TresPerJob", "0").removeprefix("gres:gpu:"))
                about = (field["JobState"], node, int(field["Restarts"]), field.get("Comment", ""), gpus)
                found.append(Job(int(field["JobId"]), *about))
        return sorted(found, key=lambda job: job.number)

    def node_states(self) -> dict[str, str]:
        """Return each node's state as sinfo has it: idle, mixed, allocated, down; with a * while it does not answer."""
        lines = self.run("sinfo", "--noheader", "--Node", "--format=%N %T").splitlines()
        return dict(line.split() for line in lines)

    def processes(self, node: str | None = None) -> list[int]:
        """Return the daemons, job steps and jobs that live, of one node or of the whole cluster, by process id."""
        return [process for process in _processes() if self._belongs(process, node)]

    def _belongs(self, process: int, node: str | None) -> bool:
        """Daemons and steps hold their log open; what a job started has the node and the cluster in its environment."""
        about = Path("/proc") / str(process)
        try:
            if re.match("slurm|munged", os.path.basename(os.readlink(about / "exe"))):
                held = {os.readlink(each) for each in (about / "fd").iterdir()}
                logs = {str(path) for path in (self.folder / "log").glob(f"slurmd.{node}.log" if node else "*.log")}
                if held & logs:
                    return True
            variables = (about / "environ").read_bytes().split(b"\0")
        except OSError:
            return False  # ended in the meantime
        if f"SLURM_CONF={self.folder}/slurm.conf".encode() not in variables:
            return False
        if node:
            return f"SLURMD_NODENAME={node}".encode() in variables
        return any(variable.startswith(b"SLURMD_NODENAME=") for variable in variables)

    def _write_files(self) -> None:
        for name in ("run", "log", "state", "spool", "bin"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        if self.processes():
            raise RuntimeError(f"{self.folder}: a cluster is running here")
        # that of a job's step, the longest: of one too long, jobs are requeued for ever
        longest = self.folder / "spool" / self.nodes[-1] / f"{self.nodes[-1]}_9999.4294967291"
        if len(os.fsencode(longest)) > SOCKET_PATH_LIMIT:
            raise RuntimeError(f"{longest}: a socket's path has at most {SOCKET_PATH_LIMIT} bytes; use another folder")
        ports = free_ports(1 + len(self.nodes))
        (self.folder / "slurm.conf").write_text(configuration(self.folder, ports, **self.claims))
        self._write_gpus(self.claims["gpus"])
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        # Snakemake's job step clears all variables of Slurm but a few before it calls srun
        wrapper = self.folder / "bin" / "srun"
        command = shlex.join([f"SLURM_CONF={self.folder}/slurm.conf", shutil.which("srun") or "srun"])
        wrapper.write_text(f'#!/bin/sh\nexec env {command} "$@"\n')
        wrapper.chmod(0o755)

    def _write_gpus(self, count: int) -> None:
        """Slurm counts a GPU where its device file is; any file will do while no cgroup guards it."""
        files = [self.folder / "run" / f"gpu{number}" for number in range(count)]
        for path in files:
            path.touch()
        (self.folder / "gres.conf").write_text("".join(f"Name=gpu File={path}\n" for path in files))

    def _munge_arguments(self) -> list[str]:
        path = self.folder / "run" / "munge.socket"
        # without force it wants the folder open to all users, of whom only root is here
        return [
            "--force",
            f"--socket={path}",
            f"--pid-file={self._pid_file('munged')}",
            f"--log-file={self.folder / 'log' / 'munged.log'}",
            f"--key-file={self.folder / 'munge.key'}",
            f"--seed-file={self.folder / 'munge.seed'}",
        ]

    def _start_daemon(self, program: str, *arguments: str) -> None:
        said = self.folder / "log" / f"{program}.start"
        # a file, not a pipe: the daemon keeps it open
        with said.open("w") as output:
            done = subprocess.run([program, *arguments], env=self.environment, stdout=output, stderr=output)
        if done.returncode:
            raise RuntimeError(f"{program} did not start: {said.read_text()}\n{self._log_tails()}")

    def _resumed(self, node: str) -> bool:
        state = self.node_states()[node]
        if state == "down":
            # a node that was only missed may be back by itself just now, which scontrol calls an error
            with suppress(RuntimeError):
                self.run("scontrol", "update", f"nodename={node}", "state=resume")
        return state == "idle"

    def _wait_until_idle(self) -> None:
        def idle() -> bool:
            try:
                states = self.node_states()
            except RuntimeError:
                return False  # the controller does not listen yet
            return set(states.values()) == {"idle"}

        if not wait_for(idle, SECONDS_TO_START):
            raise RuntimeError(f"not idle after {SECONDS_TO_START} s: {', '.join(self.nodes)}\n{self._log_tails()}")

    def _log_tails(self, lines: int = 10) -> str:
        logs = sorted((self.folder / "log").glob("*.log"))
        return "\n".join("\n".join([f"{log}:", *log.read_text().splitlines()[-lines:]]) for log in logs)

    def _pid_file(self, daemon: str) -> Path:
        return self.folder / "run" / f"{daemon}.pid"

    def _daemon(self, name: str) -> list[int]:
        """Return the process in the pid file, unless that number belongs to somebody else by now."""
        path = self._pid_file(name)
        number = path.read_text().strip() if path.is_file() else ""
        return [int(number)] if number and self._belongs(int(number), None) else []

    def _killed(self, node: str) -> bool:
        left = self.processes(node)
        self._signal(left, signal.SIGKILL)
        return not left

    def _end_nodes_until_gone(self) -> bool:
        """Kill what is left on the nodes, steps that began in the meantime too; return whether all has ended."""
        nodes = [path.name.split(".")[1] for path in (self.folder / "log").glob("slurmd.*.log")]
        for node in nodes:
            self._signal(self.processes(node), signal.SIGKILL)
        return not self.processes()

    @staticmethod
    def _signal(processes: list[int], number: signal.Signals) -> None:
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, number)


def _processes() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["start", "stop"])
    parser.add_argument("folder", type=Path)
    for name, value in {"nodes": 2, "cpus": 2, "memory_mb": 64000, "gpus": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    arguments = vars(parser.parse_args())
    action = arguments.pop("action")
    reason = why_not()
    if reason:
        parser.error(reason)
    cluster = SlurmCluster(**arguments)
    if action == "stop":
        cluster.stop()
        return
    cluster.start()
    print(f"export SLURM_CONF={shlex.quote(cluster.environment['SLURM_CONF'])}")
    print(f"export PATH={shlex.quote(str(cluster.folder / 'bin'))}:$PATH")


if __name__ == "__main__":
    main()
