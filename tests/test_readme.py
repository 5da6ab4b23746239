"""The READMEs: every command in them is run on small data, or at least its script is there and takes its flags.

``NOT_RUN`` says which commands are not run here, and why; every other one is, so that a new command is run or fails.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml

from pose import cli
from pose.segmenters import models
from tests import warm_python
from tests.networks import TINY, save_random_weights
from tests.result_runs import write_run

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [*sorted(ROOT.glob("README.md")), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
DOCUMENTS += [ROOT / name / "README.md" for name in ("comparison", "paper", "pose", "scripts", "tests")]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NOT_COMMANDS = {"json", "yaml", "bibtex"}

NOT_RUN = {
    r"scripts/(setup|setup_workflow|test)\.sh": "installs, or runs all tests: tests/scripts/test_setup_scripts.py",
    r"source \.venv/": "activates the environment that this runs in",
    r"python -m pytest": "pytest in pytest",
    r"(ruff|mypy|pre-commit)\b": "checks of the whole repository: continuous integration runs them",
    r"python -m tests\.(fuzz|kill|bad|slurm)": "takes minutes: tests/test_fuzz_readers.py and its like run a part",
    r"scripts/download_": "needs the network: tests/scripts/test_download*.py have a server of their own",
    r"scripts/(nifti_to_numpy|process_)\w+\.sh|scripts/nifti_to_numpy\.sh": "tests/scripts/test_dataset_scripts.py",
    r"python scripts/prompt_in_browser\.py": "serves until it is ended: tests/scripts/test_prompt_in_browser.py",
    r"python scripts/montgomery_to_numpy\.py": "tests/scripts/test_montgomery_to_numpy.py",
    r"paper/\w+\.sh": "tests/paper/test_paper_scripts.py",
    r"python paper/datasets_diversity\.py": "tests/paper/test_datasets_diversity.py",
    r"\.venv_workflow/bin/snakemake": "tests/scripts/test_workflow.py and test_workflow_slurm.py",
    r"python comparison/benchmarks/(?!cluster_model)": "measures for minutes: tests/comparison/benchmarks",
    r"python comparison/resolution_table\.py": "wants published weights, and takes minutes",
    r"python comparison/(accuracy_census|robustness)\.py": "wants real scans: tests/comparison has phantoms",
    r"python process_video\.py .*(sts_001|coarse_lungs)": "the scans are not part of the project",
    r"python process_video\.py .*--model liver": "tests/segmenters/test_fine_tunes.py",
}
# a slice that several commands show LiteMedSAM is encoded once, which is what costs; tests/segmenters look at encoding
KEPT = ["--embeddings_cache", "embeddings"]
# what a real LiteMedSAM works on, also in the place of SAM ViT-L; volumes of many slices; many plots
SLOW = r"lite_medsam|quickstart|phantom|covid|comparison/hypothesis_test|import pose"

FOREIGN_FLAGS = {  # of Snakemake, of pytest, of ruff, and of the published names of a flag that is written as a family
    *("--snakefile", "--configfile", "--profile", "--dry-run", "--unlock", "--cores", "--report", "--resources"),
    *("--slurm-array-jobs", "--check", "--chain_", "--growing_"),
}


@dataclass(frozen=True)
class Block:
    document: Path
    language: str
    text: str

    @property
    def commands(self) -> list[list[str]]:
        """The words of each line as bash makes them: comments gone, braces expanded."""
        lines = [line for line in self.text.replace("\\\n", " ").splitlines() if line.split("#")[0].strip()]
        printed = subprocess.run(
            ["bash", "-c", "\n".join(f"printf '%s\\0' {line}\nprintf '\\n'" for line in lines)],
            capture_output=True,
            text=True,
            check=True,
            cwd="/",  # where no pattern finds a file
        ).stdout
        return [line.split("\0")[:-1] for line in printed.splitlines()]

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}: {self.text.splitlines()[0][:60]}"


def blocks(*languages: str) -> list[Block]:
    found = [Block(path, *match.groups()) for path in DOCUMENTS for match in FENCE.finditer(path.read_text("utf-8"))]
    return [block for block in found if not languages or block.language in languages]


def reason_not_to_run(words: list[str]) -> str | None:
    return next((reason for pattern, reason in NOT_RUN.items() if re.match(pattern, " ".join(words))), None)


def parser_of(script: str) -> argparse.ArgumentParser:
    """Return the parser of a script, named as on the command line; what it is imported from must be there."""
    assert (ROOT / script).is_file(), f"{script} is not there"
    name = script.removesuffix(".py").replace("/", ".")
    module = importlib.import_module("paper.report.page" if name == "paper.report" else name)
    return (getattr(module, "make_parser", None) or module.build_parser)()


@cache
def flags_of(script: str) -> frozenset[str]:
    """Return the long flags of a script: of its parser, or of the help that stands at the head of a shell script."""
    if script.endswith(".py"):
        return frozenset(flag for action in parser_of(script)._actions for flag in action.option_strings)
    text = (ROOT / script).read_text("utf-8")
    named = [name for name in re.findall(r"\w+\.py", text) if (ROOT / name).is_file()]
    sourced = "".join((ROOT / name).read_text("utf-8") for name in re.findall(r"(?:scripts|paper)/\w+\.sh", text))
    own = re.findall(r"--[a-z][\w-]*", text + sourced)
    return frozenset(own).union(*(flags_of(name) for name in named))


def long_flags(words: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if re.match("--[a-z]", word)}


def check_command(words: list[str]) -> None:
    """Check that the script of a command is there and takes its flags; what is no script must be known by name."""
    program, *arguments = words
    if program == "python" and arguments[0] == "-m":
        if arguments[1] != "pytest":
            assert (ROOT / f"{arguments[1].replace('.', '/')}.py").is_file()
            source = (ROOT / f"{arguments[1].replace('.', '/')}.py").read_text("utf-8")
            for flag in (word for word in arguments[2:] if word.startswith("--")):
                assert f'"{flag}"' in source, f"{flag} is not a flag of {arguments[1]}"
        for path in (word for word in arguments if word.startswith("tests/")):
            assert (ROOT / path).exists()
    elif program == "python":
        parser_of(arguments[0]).parse_args(arguments[1:])
    elif program.endswith(".sh"):
        assert os.access(ROOT / program, os.X_OK), f"{program} is not there, or cannot be run"
        subprocess.run(["bash", "-n", ROOT / program], check=True)
        own, passed_on = arguments, []
        if "--" in arguments:
            own, passed_on = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
        assert long_flags(own) <= flags_of(program)
        assert long_flags(passed_on) <= flags_of("process_image.py") | flags_of("process_video.py")
    elif program == ".venv_workflow/bin/snakemake":
        assert {word for word in arguments if word.startswith("--")} <= FOREIGN_FLAGS
        assert all((ROOT / word).exists() for word in arguments if "/" in word)
    elif program in ("ruff", "mypy"):
        assert re.search(rf"^{program}==", (ROOT / "requirements.txt").read_text("utf-8"), re.MULTILINE)
    else:
        assert words == ["source", ".venv/bin/activate"], f"{' '.join(words)}: no way to check this command is known"


def test_every_block_is_of_a_known_language() -> None:
    assert {block.language for block in blocks()} == {"shell", "python", *NOT_COMMANDS}
    for block in blocks("json"):
        json.loads(block.text)


@pytest.mark.parametrize("block", blocks("shell"), ids=str)
def test_scripts_are_there_and_take_their_flags(block: Block) -> None:
    assert block.commands
    for words in block.commands:
        check_command(words)


def test_what_is_not_run_is_still_said() -> None:
    """A reason without a command that it is for is one to delete."""
    commands = [" ".join(words) for block in blocks("shell") for words in block.commands]
    unused = [pattern for pattern in NOT_RUN if not any(re.match(pattern, command) for command in commands)]
    assert not unused


def test_a_command_that_is_not_so_is_found() -> None:
    """What the tests above rely on."""
    for line in ("python no_such.py", "scripts/no_such.sh", "process_video.py", "scripts/quickstart.sh --no_such"):
        with pytest.raises(AssertionError):
            check_command(line.split())
    with pytest.raises(SystemExit):
        check_command("python join_results.py --no_such".split())
    assert reason_not_to_run(["python", "no_such.py"]) is None


def test_flags_and_files_that_the_text_names_are_there() -> None:
    scripts = [path.relative_to(ROOT).as_posix() for pattern in ("*.py", "scripts/*.py") for path in ROOT.glob(pattern)]
    scripts += [path.relative_to(ROOT).as_posix() for path in ROOT.glob("comparison/*.py")]
    scripts += [
        path.relative_to(ROOT).as_posix() for folder in ("scripts", "paper") for path in ROOT.glob(f"{folder}/*.sh")
    ]
    benchmarks = [
        f"comparison/benchmarks/{name}.py" for name in ("embeddings", "page", "propagation", "shortcuts", "workflow")
    ]
    known = FOREIGN_FLAGS.union(*(flags_of(script) for script in [*scripts, "paper/report.py", *benchmarks]))
    for path in DOCUMENTS:
        text = FENCE.sub("", path.read_text("utf-8"))
        for code in re.findall(r"`([^`\n]+)`", text):
            for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", code):
                assert flag in known, f"{path.relative_to(ROOT)}: {flag}"
            for name in re.findall(r"[\w./-]+/[\w-]+\.(?:py|sh|toml)\b", code):
                folders = (ROOT, path.parent)
                assert any((folder / name).is_file() for folder in folders), f"{path.relative_to(ROOT)}: {name}"


def anchors_of(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", path.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere() -> None:
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", path.read_text("utf-8"))):
            file, _, anchor = target.partition("#")
            if file.startswith("https:"):
                continue
            linked = path.parent / file if file else path
            assert linked.exists(), f"{path.relative_to(ROOT)}: {target}"
            assert not anchor or anchor in anchors_of(linked), f"{path.relative_to(ROOT)}: {target}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 250
    text = "".join((ROOT / name).read_text("utf-8") for name in ("README.md", "scripts/README.md"))
    for picture in (ROOT / "images").iterdir():
        assert picture.stat().st_size < 500_000 and f"images/{picture.name})" in text


GROWING = ["-w", "-b", "--method", "region_growing"]


def run(script: str, *arguments: object) -> int:
    module = importlib.import_module("paper.report.page" if script == "paper.report" else script)
    return cli.run_main(module.main, [str(argument) for argument in arguments])


def make_phantom(
    folder: Path, name: str, shape: tuple[int, int, int], seed: int = 0, alike: int = 1
) -> tuple[Path, Path]:
    """Make a scan and its mask, of which so many neighbouring slices are alike: a network encodes them once."""
    made = (*shape[:2], shape[2] // alike)
    assert run("scripts.make_phantom", "-o", folder, "--name", name, "--seed", seed, "--shape", *made) == 0
    paths = folder / f"{name}_ct.nii.gz", folder / f"{name}_lungs.nii.gz"
    for path in paths if alike > 1 else ():
        image = nibabel.load(path)
        voxels = np.repeat(np.asanyarray(image.dataobj), alike, axis=2)
        nibabel.save(nibabel.Nifti1Image(voxels, image.affine @ np.diag([1, 1, 1 / alike, 1])), path)
    return paths


def make_models(folder: Path) -> None:
    """Describe small networks under the names of large ones; ViT-L is LiteMedSAM, which has its weights at hand."""
    (folder / "sam2_configs").mkdir()
    (folder / "model_checkpoints").mkdir()
    save_random_weights(folder / "model_checkpoints" / TINY.checkpoint)
    tiny = {key: value for key, value in asdict(TINY).items() if value} | {"overrides": list(TINY.overrides)}
    lite_medsam = yaml.safe_load((ROOT / "sam2_configs" / "lite_medsam.yaml").read_text("utf-8"))
    for name, entry in (("2.1_tiny", tiny), ("large", tiny), ("lite_medsam", lite_medsam), ("vit_l", lite_medsam)):
        (folder / "sam2_configs" / f"{name}.yaml").write_text(yaml.safe_dump(entry | {"name": name}))


def make_results(folder: Path) -> None:
    """Write results of several volumes under the names that the commands give them."""
    for number, results in enumerate(("results_vit_l", "results_large", "results_video_large")):
        for index, name in enumerate(
            f"image_{data}_{volume}" for data in ("coronacases", "radiopaedia") for volume in range(3)
        ):
            dice = [0.7 + 0.02 * number + 0.01 * index + 0.03 * place for place in range(6)]
            times = {key: [0.5 + 0.1 * place for place in range(6)] for key in ("set_image_time", "predict_image_time")}
            columns = {
                **times,
                "process_image_time": [1.0] * 6,
                "ground_truth_voxels": [40 + 9 * place for place in range(6)],
            }
            manifest = {"model": results, "device": "cpu", "precision": "fp32"}
            manifest["timing"] = {"repeat": None, "first_of_process": index == 0}
            write_run(
                folder / results / name, dice, columns=columns, prompted=[3], spacing_mm=[1, 1, 4], manifest=manifest
            )


def make_chest_scan(folder: Path) -> tuple[Path, Path]:
    return make_phantom(folder / "datasets" / "phantom", "chest_phantom", (256, 256, 40), alike=8)


def make_chest(folder: Path) -> None:
    """Make the synthetic chest CT, its working data and its results where scripts/README.md has them."""
    phantom = make_chest_scan(folder)
    working = [folder / "working_data" / "phantom" / name for name in ("image.npz", "masks.npz")]
    assert run("nifti_to_numpy", "-i", *phantom, "-o", *working, "--swap_axes") == 0
    assert run("process_video", "-i", working[0], "-m", working[1], *GROWING) == 0
    shutil.copytree(working[0].parent / "results_video", working[0].parent / "results")


def make_covid(folder: Path) -> None:
    """Make four volumes of the paper's data set: few pixels, and lungs on the slice that the paper prompts."""
    covid, masks_folder = folder / "datasets/covid/COVID-19-CT-Seg_20cases", folder / "datasets/covid/Lung_Mask"
    for number in range(1, 5):
        scan, masks = make_phantom(folder, f"covid_{number}", (32, 32, 140), number, alike=14)
        for source, target in ((scan, covid), (masks, masks_folder)):
            target.mkdir(parents=True, exist_ok=True)
            source = source.rename(target / f"coronacases_00{number}.nii.gz")
            prefix = "image" if target == covid else "masks"
            converted = folder / "working_data" / "covid" / f"{prefix}_{source.name.removesuffix('.nii.gz')}.npy"
            assert run("nifti_to_numpy", "-i", source, "-o", converted, "--swap_axes") == 0


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder with the files that the commands of the READMEs read, small ones."""
    folder = tmp_path_factory.mktemp("project")
    make_models(folder)
    make_results(folder)
    scan, masks = make_phantom(folder, "my", (128, 128, 36), alike=9)
    # from Python every call encodes again what differs: few slices, and too far apart for planes from the side
    few = nibabel.load(scan).slicer[:, :, :18]
    nibabel.save(nibabel.Nifti1Image(few.dataobj, few.affine @ np.diag([1, 1, 4, 1])), folder / "ct.nii.gz")
    scan, masks = scan.rename(folder / "my_ct.nii.gz"), masks.rename(folder / "my_mask.nii.gz")
    assert run("process_video", "-i", scan, "-m", masks, "--swap_axes", *GROWING) == 0
    return folder


@pytest.fixture
def in_project(project, monkeypatch) -> Path:
    monkeypatch.chdir(project)
    monkeypatch.setattr(models, "CONFIGS_FOLDER", project / "sam2_configs")
    monkeypatch.setattr(models, "CHECKPOINTS_FOLDER", project / "model_checkpoints")
    models.registry.cache_clear()
    yield project
    models.registry.cache_clear()


def run_quickstart(project: Path, script: str, *arguments: str) -> int:
    """Run a script in a copy of the repository that lies in the folder of the files it is given."""
    for name in ("pose", "scripts", "requirements.txt", *(path.name for path in ROOT.glob("*.py"))):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        if not (project / name).exists():
            copy(ROOT / name, project / name)
    quickstart = project / "scripts" / "quickstart.sh"
    text = quickstart.read_text("utf-8")
    assert "--shape 256 256 28" in text or "--shape 64 64 4" in text
    quickstart.write_text(text.replace("--shape 256 256 28", "--shape 64 64 4"), "utf-8")
    environment = {**os.environ, "POSE_VENV": str(warm_python.environment())}
    return subprocess.run(["bash", script, *arguments], cwd=project, env=environment, check=False).returncode


def to_run(block: Block) -> bool:
    return block.language == "python" or any(reason_not_to_run(words) is None for words in block.commands)


def as_parameter(block: Block):
    return pytest.param(block, id=str(block), marks=[pytest.mark.slow] if re.search(SLOW, block.text) else [])


@pytest.mark.parametrize("block", [as_parameter(block) for block in blocks("shell") if to_run(block)])
def test_commands_run(block: Block, in_project: Path) -> None:
    (in_project / "prompts.json").write_text(next((b.text for b in blocks("json") if b.document == block.document), ""))
    for name, make in (("phantom", make_chest), ("covid", make_covid)):
        if name in block.text and not (in_project / "working_data" / name).exists():
            make(in_project)
    for words in block.commands:
        if reason_not_to_run(words):
            continue
        if words[0].endswith(".sh"):
            # without a scan it takes no flags
            assert run_quickstart(in_project, *words, *(KEPT if len(words) > 1 else ())) == 0
        else:
            assert words[0] == "python"
            if words[1] in ("process_image.py", "process_video.py") and not {"region_growing", "--repeat"} & {*words}:
                words = [*words, *(word for word in KEPT if "--embeddings_cache" not in words)]
            assert run(words[1].removesuffix(".py").replace("/", "."), *words[2:]) == 0
            if words[1] == "scripts/make_phantom.py":
                # all its slices differ: the commands that follow get the other one again
                make_chest_scan(in_project)


@pytest.mark.parametrize("block", [as_parameter(block) for block in blocks("python")])
def test_python_runs(block: Block, in_project: Path) -> None:
    """As a program of its own, with the packaged model."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, "-c", block.text], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# How to get each line of the table of errors, in its order.
SCAN = ["--image_file_path", "my_ct.nii.gz", "--swap_axes"]
BOX = ["--model", "lite_medsam", "--slice", "15", "--box", "24", "18", "95", "58"]
MASK = ["--model", "lite_medsam", "--use_bounding_box", "--masks_file_path"]
MISTAKES = [
    [*SCAN, "--model", "lite_medsam"],
    [*SCAN, "--model", "lite_medsam", "--masks_file_path", "my_mask.nii.gz"],
    [*SCAN, "--masks_file_path", "my_mask.nii.gz"],
    [*SCAN, *BOX, "--slice", "36"],
    [*SCAN, *BOX[:-1], "158"],
    [*SCAN, *MASK, "of_another_scan.nii.gz"],
    [*SCAN, *MASK, "resampled.nii.gz"],
    [*SCAN, *MASK, "elsewhere.nii.gz"],
    [*SCAN, *MASK, "my_mask.nii.gz", "--labels", "9"],
    ["--image_file_path", "scan.jpg", *BOX],
]


def shown_errors() -> list[str]:
    section = (ROOT / "README.md").read_text("utf-8").partition("## When it goes wrong")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(.+?)` \|", section, re.MULTILINE)


@pytest.fixture(scope="module")
def wrong_masks(project) -> None:
    mask = nibabel.load(project / "my_mask.nii.gz")
    labels = np.asanyarray(mask.dataobj)
    moved = mask.affine.copy()
    moved[:3, 3] += 5
    nibabel.save(nibabel.Nifti1Image(labels[::2], mask.affine), project / "of_another_scan.nii.gz")
    nibabel.save(nibabel.Nifti1Image(labels, mask.affine @ np.diag([1, 1, 0.5, 1])), project / "resampled.nii.gz")
    nibabel.save(nibabel.Nifti1Image(labels, moved), project / "elsewhere.nii.gz")
    (project / "scan.jpg").touch()


def test_ten_errors_are_shown() -> None:
    assert len(shown_errors()) == len(MISTAKES) == 10


@pytest.mark.parametrize(("shown", "arguments"), list(zip(shown_errors(), MISTAKES)), ids=shown_errors())
def test_a_mistake_says_what_the_readme_shows(shown, arguments, project, wrong_masks, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(project)
    monkeypatch.setattr(models, "CHECKPOINTS_FOLDER", tmp_path)
    assert run("process_video", *arguments, "--results_folder_path", tmp_path / "results") == cli.EXIT_USER_ERROR
    *_, line = capsys.readouterr().err.splitlines()
    assert shown in line and not (tmp_path / "results").exists()
