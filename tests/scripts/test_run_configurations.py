"""The PyCharm run configurations in .run/: relative paths, arguments that parse, and commands of scripts/README.md."""

from __future__ import annotations

import importlib
import re
import shlex
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

PROJECT_ROOT = Path(__file__).resolve().parents[2]
CONFIGURATIONS = sorted((PROJECT_ROOT / ".run").glob("*.run.xml"))
README = (PROJECT_ROOT / "scripts" / "README.md").read_text(encoding="utf-8")


def options_of(path: Path) -> dict[str, str]:
    """Return name, script, parameters and folder of a run configuration."""
    configuration = ElementTree.parse(path).getroot().find("configuration")
    options = {option.get("name"): option.get("value") for option in configuration.iter("option")}
    return {"name": configuration.get("name"), "type": configuration.get("type"), **options}


def parser_of(script: str):
    module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
    return getattr(module, "make_parser", None) or module.build_parser


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_a_configuration_runs_from_a_clone(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    options = options_of(path)
    assert (options["name"], options["type"]) == (path.name.removesuffix(".run.xml"), "PythonConfigurationType")
    assert options["WORKING_DIRECTORY"] == "$PROJECT_DIR$"
    folder, _, script = options["SCRIPT_NAME"].partition("/")
    assert folder == "$PROJECT_DIR$" and (PROJECT_ROOT / script).is_file()
    words = shlex.split(options["PARAMETERS"])
    parser_of(script)().parse_args(words)
    paths = [word for word in words if "/" in word]
    assert paths and all(word.startswith(("datasets/phantom", "working_data/phantom/")) for word in paths)
    assert not re.search(r'"(/|~|file:|[A-Z]:\\)', text) and "USER_HOME" not in text
    # so that the files one of them reads are those another one writes
    commands = [line.removeprefix("python ") for line in README.splitlines() if line.startswith("python ")]
    assert " ".join([script, *words]) in commands


def test_every_step_has_a_configuration() -> None:
    scripts = {options_of(path)["SCRIPT_NAME"].partition("/")[2] for path in CONFIGURATIONS}
    assert scripts == {
        *("scripts/make_phantom.py", "nifti_to_numpy.py", "process_image.py", "process_video.py", "join_results.py")
    }
    given = {path.name: options_of(path)["PARAMETERS"] for path in CONFIGURATIONS}
    assert "--slice" in given["process slice.run.xml"] and "--slice" not in given["process volume.run.xml"]
