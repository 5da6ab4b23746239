"""comparison/benchmarks/workflow.py and benchmark_engine.py on the smallest of data sets."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from comparison.benchmarks import engine as benchmark_engine
from comparison.benchmarks import workflow as benchmark_workflow
from pose.cli import EXIT_OK, EXIT_USER_ERROR, run_main
from tests import warm_python
from tests.workflow_runs import find_snakemake

snakemake_needed = pytest.mark.skipif(
    find_snakemake() is None, reason="no Snakemake; scripts/setup_workflow.sh installs it"
)


def test_the_table_compares_turn_by_turn() -> None:
    seconds = {"scripts, 1 thread": [10.0, 20.0, 12.0], "engine": [14.0, 22.0, 18.0]}
    assert benchmark_workflow.table(seconds, 4).splitlines()[2:] == [
        "| scripts, 1 thread | 12.0 (10.0 to 20.0) | 1200 (720 to 1440) | - |",
        "| engine | 18.0 (14.0 to 22.0) | 800 (655 to 1029) | 1.00 (0.50 to 1.50) |",
    ]


@pytest.mark.parametrize("script", [benchmark_workflow, benchmark_engine])
def test_without_the_engine(script, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(script.main, ["--snakemake", str(tmp_path / "none")]) == EXIT_USER_ERROR
    assert (
        capsys.readouterr().err
        == f"error: --snakemake {tmp_path}/none: no such file; scripts/setup_workflow.sh installs it\n"
    )


@pytest.mark.slow
@snakemake_needed
def test_every_way_makes_all_results(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(warm_python.environment() / "bin/python"))
    words = ["--volumes", "2", "--shape", "40", "44", "6", "--turns", "1", "--model", "region_growing"]
    assert benchmark_workflow.main([*words, "--snakemake", find_snakemake()]) == EXIT_OK
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[-5:]] == [
        "| scripts, 1 thread",
        "| scripts, 2 threads",
        "| engine, 1 at once, batches of 2",
        "| engine, 1 at once, batches of 1",
        "| engine, 2 at once, batches of 1",
    ]


@pytest.mark.slow
@snakemake_needed
def test_the_engine_alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSE_PYTHON", "")
    # what really passes is no matter: one start took 1 s, the other 5 s, and a hundred of the stand-in 9 s
    clock = SimpleNamespace(perf_counter=iter([0, 1, 4, 9, 16, 25]).__next__)
    monkeypatch.setattr(benchmark_engine, "time", clock)
    words = ["--volumes", "20", "--batch_size", "7", "--jobs", "8", "--turns", "1", "--snakemake", find_snakemake()]
    assert benchmark_engine.main(words) == EXIT_OK
    out = capsys.readouterr().out
    assert re.search(r"^\| 20 \| 6 \| \d+\.\d \| \d+ \|$", out, re.MULTILINE)
    assert "\n| 6 | 4.0 | 0.090 | 0.577 |\n" in out
