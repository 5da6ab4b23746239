"""comparison/benchmarks/cluster_model.py: the prediction, by hand for round figures."""

from __future__ import annotations

import math

import pytest

from comparison.benchmarks import cluster_model
from comparison.benchmarks.cluster_model import Cluster
from pose.cli import EXIT_OK

ROUND = Cluster(
    volumes=1000,
    gpus=10,
    batch_size=20,
    volume=30,
    load=8,
    job=2,
    submit=0.5,
    plan=0.01,
    read_mb=60,
    written_mb=40,
    files=20,
    storage_mb=100,
    directory=1000,
    join=0.002,
    report=0.003,
)


def test_by_hand() -> None:
    assert ROUND.jobs == 50 and ROUND.job_seconds == 610
    assert ROUND.busy() == {
        "GPUs": 3050.0,  # (50 * 10 + 1000 * 30) / 10
        "engine, submitting": 25.0,
        "storage, bytes": 1000.0,
        "storage, files": 20.0,
    }
    assert ROUND.alone() == pytest.approx({"planning": 10, "last batches": 0, "join": 2, "report": 3})
    assert ROUND.seconds() == pytest.approx(3065)  # five rounds of 610 s on all GPUs
    assert ROUND.full_at() == pytest.approx(
        {"engine, submitting": 1220, "storage, bytes": 30.5, "storage, files": 1525}
    )


def test_with_many_gpus_the_storage_holds_it_up() -> None:
    fast = Cluster(**{**vars(ROUND), "gpus": 40})
    assert fast.busy()["GPUs"] == 762.5 and max(fast.busy(), key=fast.busy().get) == "storage, bytes"
    assert fast.alone()["last batches"] == 2 * 610 - 762.5
    assert fast.seconds() == pytest.approx(1000 + 457.5 + 15)


def test_small_and_large_batches_cost_more() -> None:
    hours = {size: Cluster(**{**vars(ROUND), "batch_size": size}).seconds() for size in (1, 20, 40)}
    assert hours == pytest.approx({1: 4015, 20: 3065, 40: 3 * 1210 + 15})


def test_less_jobs_than_gpus_and_odd_figures() -> None:
    few = Cluster(**{**vars(ROUND), "batch_size": 999})
    assert few.jobs == 2 and few.busy()["GPUs"] + few.alone()["last batches"] == pytest.approx(few.job_seconds)
    assert Cluster(**{**vars(ROUND), "submit": 1e-300}).full_at()["engine, submitting"] > 1e200
    assert math.isfinite(Cluster().seconds())


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for name, value in vars(ROUND).items() for word in (f"--{name}", str(value))]
    assert cluster_model.main(words) == EXIT_OK
    out = capsys.readouterr().out
    assert out.startswith("1000 volumes on 10 GPUs: 0.9 hours (3065 s)\n")
    assert "| storage, bytes | 0.28 | 32.6 % | 30 GPUs |" in out
    assert "what is full now: GPUs; with more GPUs, the first to be full beside them: storage, bytes" in out
    assert "| 20 | 50 | 10.2 | 0.85 |" in out
    cluster_model.main([*words, "--gpus", "40"])
    assert "what is full now: storage, bytes; more GPUs would wait for it\n" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cluster_model.main(["--volumes", "0"])
