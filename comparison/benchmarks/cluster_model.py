"""Predict how long a data set takes on a cluster, and what is full first: GPUs, engine, storage or its directory.

A model on paper. The defaults are figures measured for 512 x 512 x 200 voxels and SAM 2.1 large on an H100, each by the
command that --help names, and plain guesses where a cluster's own have to stand: its storage. A job segments batch_size
volumes on one GPU:

  seconds of a job = job + load + batch_size * volume

The volumes take as long as the busiest of four: the GPUs with all jobs, the engine with submitting them, the storage
with the bytes of all volumes, its directory with opening and making their files. Planning comes before; after that the
last batches, while which some GPUs have nothing left to do (volumes are alike here), the join and the report.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from pose import cli

BATCH_SIZES = (1, 10, 50, 200)


@dataclass(frozen=True)
class Cluster:
    """What the prediction rests on; seconds are wall time.

    Attributes:
        volumes: of the data set.
        gpus: jobs that run at the same time, one on each.
        batch_size: volumes of a job.
        volume: seconds that a volume more takes in a job (comparison/benchmarks/profile_volume.py).
        load: seconds to start the script and load the model (comparison/benchmarks/batch.py).
        job: seconds that scheduler and engine occupy a node beside a job (python -m tests.slurm_job_cost).
        submit: seconds that the engine takes to submit a job and to note its end (comparison/benchmarks/engine.py).
        plan: seconds a volume that the engine takes to plan (the same).
        read_mb: that are read for a volume: its scan, and its working data again.
        written_mb: of its working data and results; 1, and half as much read, with convert: false.
        files: opened or made for a volume.
        storage_mb: a second that the shared storage reads and writes.
        directory: files a second that it opens or makes.
        join: seconds a volume of join_results.py (comparison/benchmarks/join.py).
        report: seconds a volume of paper/report.py (the same).
    """

    volumes: int = 100_000
    gpus: int = 100
    batch_size: int = 50
    volume: float = 13.4
    load: float = 12.5
    job: float = 4.2
    submit: float = 0.02
    plan: float = 0.0002
    read_mb: float = 138.0
    written_mb: float = 70.0
    files: float = 25.0
    storage_mb: float = 1000.0
    directory: float = 1000.0
    join: float = 0.0004
    report: float = 0.0006

    @property
    def jobs(self) -> int:
        """Jobs of the step that segments."""
        return math.ceil(self.volumes / self.batch_size)

    @property
    def job_seconds(self) -> float:
        """Seconds of a full job."""
        return self.job + self.load + self.batch_size * self.volume

    def busy(self) -> dict[str, float]:
        """Return the seconds for which each shared thing would be busy if it alone held the data set up."""
        on_gpus = self.jobs * (self.job + self.load) + self.volumes * self.volume
        return {
            "GPUs": on_gpus / self.gpus,
            "engine, submitting": self.jobs * self.submit,
            "storage, bytes": self.volumes * (self.read_mb + self.written_mb) / self.storage_mb,
            "storage, files": self.volumes * self.files / self.directory,
        }

    def alone(self) -> dict[str, float]:
        """Return the seconds of what runs before and after, beside which nothing else does."""
        return {
            "planning": self.volumes * self.plan,
            "last batches": max(0.0, math.ceil(self.jobs / self.gpus) * self.job_seconds - self.busy()["GPUs"]),
            "join": self.volumes * self.join,
            "report": self.volumes * self.report,
        }

    def seconds(self) -> float:
        """Return how long the data set takes."""
        return max(self.busy().values()) + sum(self.alone().values())

    def full_at(self) -> dict[str, float]:
        """Return with how many GPUs each other thing would be as busy as they are."""
        busy = self.busy()
        on_one = busy.pop("GPUs") * self.gpus
        return {name: on_one / seconds if seconds else math.inf for name, seconds in busy.items()}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line: a flag for each figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    described = dict(
        line.strip().split(": ", 1)
        for line in (Cluster.__doc__ or "").split("Attributes:")[1].splitlines()
        if ": " in line
    )
    for one in fields(Cluster):
        kind = cli.positive_whole_number if isinstance(one.default, int) else cli.positive_number
        parser.add_argument(
            f"--{one.name}",
            type=kind,
            default=one.default,
            metavar="N",
            help=f"{described[one.name]} (default: %(default)s)",
        )
    return parser


def table(cluster: Cluster) -> str:
    """Return, as Markdown, what takes how long, and with how many GPUs something else would be full."""
    full = cluster.full_at()
    lines = ["| | hours | share | would be full with |", "|---|---|---|---|"]
    total = cluster.seconds()
    for name, seconds in cluster.busy().items():
        gpus = f"{full[name]:.0f} GPUs" if name in full else "-"
        lines.append(f"| {name} | {seconds / 3600:.2f} | {100 * seconds / total:.1f} % | {gpus} |")
    for name, seconds in cluster.alone().items():
        lines.append(f"| {name} | {seconds / 3600:.2f} | {100 * seconds / total:.1f} % | - |")
    return "\n".join(lines)


def batch_table(cluster: Cluster) -> str:
    """Return, as Markdown, what other sizes of batches would do."""
    lines = ["| batch_size | jobs | minutes a job | hours in all |", "|---|---|---|---|"]
    for size in sorted({*BATCH_SIZES, cluster.batch_size}):
        one = replace(cluster, batch_size=size)
        lines.append(f"| {size} | {one.jobs} | {one.job_seconds / 60:.1f} | {one.seconds() / 3600:.2f} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the prediction."""
    cluster = Cluster(**vars(make_parser().parse_args(argv)))
    busiest = max(cluster.busy(), key=cluster.busy().get)
    first = min(cluster.full_at(), key=cluster.full_at().get)
    hours = f"{cluster.seconds() / 3600:.1f} hours ({cluster.seconds():.0f} s)"
    print(f"{cluster.volumes} volumes on {cluster.gpus} GPUs: {hours}\n\n{table(cluster)}\n")
    told = (
        f"with more GPUs, the first to be full beside them: {first}"
        if busiest == "GPUs"
        else "more GPUs would wait for it"
    )
    print(f"what is full now: {busiest}; {told}\n\n{batch_table(cluster)}")
    return cli.EXIT_OK


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
