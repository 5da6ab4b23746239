"""Measures what Slurm and the engine add to a job: seconds for which jobs that do nothing occupy a node.

    python -m tests.slurm_job_cost --jobs 12

starts the small Slurm of tests/slurm_cluster.py and runs the workflow there with a stand-in for Python. Slurm keeps
whole seconds, so that the mean over the jobs counts.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from comparison.benchmarks.engine import STEPS_OF_A_BATCH, write_data_set
from tests.slurm_cluster import SlurmCluster, why_not
from tests.workflow_runs import find_snakemake, workflow_command

HERE = "--slurm-init-seconds-before-status-checks 2 --latency-wait 5".split()


def seconds_on_nodes(cluster: SlurmCluster) -> list[float]:
    """Return for how long each job of a batch had a node."""
    found = []
    for line in cluster.run("scontrol", "--oneliner", "show", "jobs").splitlines():
        field = dict(re.findall(r"(\S+?)=(\S*)", line))
        if field.get("Comment", "").startswith(("rule_convert", "rule_process")):
            start, end = (datetime.fromisoformat(field[name]) for name in ("StartTime", "EndTime"))
            found.append((end - start).total_seconds())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=12)
    arguments = parser.parse_args()
    if reason := why_not() or (None if find_snakemake() else "no Snakemake; scripts/setup_workflow.sh installs it"):
        sys.exit(f"error: {reason}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_data_set(folder, arguments.jobs // STEPS_OF_A_BATCH)
        settings = {"images": "data/{name}_ct.nii.gz", "output_folder": "out"}
        command = workflow_command(folder, settings, *HERE, profile="slurm")
        with SlurmCluster(folder / "slurm", cpus=1) as cluster:
            environment = {**os.environ, **cluster.environment, "POSE_PYTHON": str(folder / "stand_in")}
            start = time.perf_counter()
            subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
            seconds = time.perf_counter() - start
            found = seconds_on_nodes(cluster)
    print(f"{len(found)} jobs on two nodes of a core each: {seconds:.0f} s in all, a job on its node for")
    print(f"{statistics.mean(found):.1f} s in the mean ({min(found):.0f} to {max(found):.0f})")


if __name__ == "__main__":
    main()
