"""pose/runs/gpus.py: processes on a machine with several GPUs get one each."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pose.runs import gpus

ROOT = Path(__file__).resolve().parents[2]
CLAIM = (
    "import sys; from pathlib import Path; from pose.runs.gpus import claim_gpu; "
    "print(claim_gpu(Path(sys.argv[1])), flush=True); input()"
)


def fake_nvidia_smi(folder: Path, says: str, code: int = 0) -> dict[str, str]:
    """Return an environment whose nvidia-smi prints what it is told, and no variable that names GPUs."""
    program = folder / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nprintf '{says}'\nexit {code}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    environment = {key: value for key, value in os.environ.items() if key != gpus.VISIBLE}
    return {**environment, "PATH": f"{program.parent}:{environment['PATH']}"}


def claim(folder: Path, environment: dict[str, str]) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(folder)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return process


def test_each_process_has_one_of_its_own_until_there_are_more_than_gpus(tmp_path: Path) -> None:
    environment = fake_nvidia_smi(tmp_path, "0\\n1\\n")
    claims = []
    try:
        for expected in ("0", "1", "0", "1"):
            claims.append(claim(tmp_path, environment))
            assert claims[-1].stdout.readline().strip() == expected
        claims[1].kill()  # a claim ends with its process, however that ends
        claims[1].wait()
        claims.append(claim(tmp_path, environment))
        assert claims[-1].stdout.readline().strip() == "1"
        environment[gpus.VISIBLE] = "3,5"
        claims.append(claim(tmp_path, environment))
        assert claims[-1].stdout.readline().strip() == "3"
    finally:
        for process in claims:
            process.kill()
            process.communicate()


@pytest.mark.parametrize(("visible", "found"), [("2", ["2"]), ("", []), ("0,1", ["0", "1"]), ("GPU-ab", ["GPU-ab"])])
def test_the_variable_of_a_scheduler_comes_first(
    monkeypatch: pytest.MonkeyPatch, visible: str, found: list[str]
) -> None:
    monkeypatch.setenv(gpus.VISIBLE, visible)
    assert gpus.visible_gpus() == found


def test_one_gpu_or_none_is_nothing_to_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpus.VISIBLE, "1")
    assert gpus.claim_gpu(tmp_path) is None and os.environ[gpus.VISIBLE] == "1"
    monkeypatch.delenv(gpus.VISIBLE)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.claim_gpu(tmp_path) is None and gpus.VISIBLE not in os.environ


def test_a_driver_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    monkeypatch.setenv("PATH", fake_nvidia_smi(tmp_path, "NVIDIA-SMI has failed", 9)["PATH"])
    assert gpus.visible_gpus() == []
