""".ci/run and what it calls: what is installed from Debian, by an apt-get that only notes what it is asked for, and the
look over the code.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT_ROOT = Path(__file__).resolve().parents[2]
STEPS = ("setup_tests", "setup", "check", "test")


def write_program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def ci(tmp_path: Path) -> Path:
    """A checkout whose scripts only say that they were called."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(PROJECT_ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    for step in STEPS:
        write_program(tmp_path / "scripts" / f"{step}.sh", f'echo {step} "$@"; exit ${{{step}_code:-0}}')
    return tmp_path


def test_ci_sets_up_looks_and_tests(ci: Path) -> None:
    done = run(ci / ".ci" / "run", "-x", test_code="3")
    assert (done.returncode, done.stdout) == (3, "setup_tests\nsetup\ncheck\ntest -x\n")


@pytest.mark.parametrize("step", ["setup", "check"])
def test_ci_stops_where_a_step_fails(ci: Path, step: str) -> None:
    done = run(ci / ".ci" / "run", **{f"{step}_code": "1"})
    assert done.returncode == 1 and done.stdout.splitlines()[-1] == step


@pytest.fixture
def debian(tmp_path: Path) -> Path:
    """A folder of programs for the PATH: a root's Debian without any of the packages, whose apt-get notes its calls."""
    for name in ("bash", "cat", "cut", "dirname", "head", "mktemp", "rm", "sed"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    write_program(tmp_path / "bin" / "id", "echo ${WHO:-0}")
    write_program(tmp_path / "bin" / "dpkg-query", f'[ -e "{tmp_path}/there_${{!#}}" ] && echo -n installed')
    write_program(
        tmp_path / "bin" / "apt-get",
        f"""echo "$DEBIAN_FRONTEND: $*" >>"{tmp_path}/calls"
case "$*" in *${{LACKING:-nothing}}*) echo "E: Unable to locate package $LACKING"; exit 100 ;; esac""",
    )
    return tmp_path


def setup_tests(debian: Path, **environment: str) -> list[str]:
    done = run(PROJECT_ROOT / "scripts" / "setup_tests.sh", PATH=str(debian / "bin"), **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.replace("(1 s)", "(0 s)").splitlines()


def calls(debian: Path) -> list[str]:
    options = "-q -o DPkg::Lock::Timeout=120 -o Acquire::Retries=1 "
    lines = (debian / "calls").read_text().splitlines()
    assert all(line.startswith(f"noninteractive: {options}") for line in lines)
    return [line.split(options)[1] for line in lines]


def test_what_is_missing_is_installed_without_questions(debian: Path) -> None:
    assert setup_tests(debian) == ["setup: chromium installed (0 s)", "setup: slurm-wlm munge installed (0 s)"]
    install = "install --yes --no-install-recommends"
    assert calls(debian) == ["update", f"{install} chromium", f"{install} slurm-wlm munge"]


def test_what_is_there_is_left_alone(debian: Path) -> None:
    for package in ("chromium", "munge"):
        (debian / f"there_{package}").touch()
    assert setup_tests(debian) == ["setup: chromium: there already", "setup: slurm-wlm installed (0 s)"]
    assert calls(debian) == ["update", "install --yes --no-install-recommends slurm-wlm"]
    (debian / "there_slurm-wlm").touch()
    (debian / "calls").unlink()
    assert setup_tests(debian)[1] == "setup: slurm-wlm munge: there already"
    assert not (debian / "calls").exists()


@pytest.mark.parametrize("lacking", ["chromium", "slurm-wlm"])
def test_one_that_cannot_be_had_does_not_keep_the_other_away(debian: Path, lacking: str) -> None:
    lines = setup_tests(debian, LACKING=lacking)
    names = {"chromium": "chromium", "slurm-wlm": "slurm-wlm munge"}
    reason = f"(Unable to locate package {lacking}); tests that need them are skipped"
    told = f"setup: not installed: {names.pop(lacking)} {reason}"
    assert sorted(lines) == sorted([told, f"setup: {next(iter(names.values()))} installed (0 s)"])


def test_without_a_network_the_tests_are_skipped(debian: Path) -> None:
    write_program(debian / "bin" / "apt-get", "echo 'E: Temporary failure resolving deb.debian.org'; exit 100")
    reason = "(Temporary failure resolving deb.debian.org); tests that need them are skipped"
    assert setup_tests(debian) == [
        f"setup: not installed: {names} {reason}" for names in ("chromium", "slurm-wlm munge")
    ]


def test_only_root_installs_and_only_where_there_is_apt_get(debian: Path) -> None:
    assert setup_tests(debian, WHO="1000")[0] == (
        "setup: not installed: chromium (only root may install); tests that need them are skipped"
    )
    assert not (debian / "calls").exists()
    (debian / "bin" / "apt-get").unlink()
    assert "(no apt-get on this machine)" in setup_tests(debian)[0]


@pytest.mark.parametrize(
    ("failing", "says"),
    [("", ""), ("mypy", "mypy"), ("ruff check,ruff format,mypy", "ruff check, ruff format --check, mypy")],
)
def test_all_of_the_look_over_the_code_is_said_before_it_fails(tmp_path: Path, failing: str, says: str) -> None:
    for name in ("ruff", "mypy"):
        write_program(
            tmp_path / "bin" / name,
            f'said="{name}${{1:+ $1}}"; echo "$said"; case ",$FAILING," in *",$said,"*) exit 1 ;; esac',
        )
    done = run(PROJECT_ROOT / "scripts" / "check.sh", POSE_VENV=str(tmp_path), FAILING=failing)
    assert done.stdout.splitlines() == ["ruff check", "ruff format", "mypy"]
    assert (done.returncode, done.stderr) == ((1, f"check: failed: {says}\n") if says else (0, ""))
